"""The code interpreter: a stateful IPython session in a jail of its own.

    with Session() as session:
        session.put(Path("sales.csv"))
        outcome = session.run("import pandas as pd; pd.read_csv('sales.csv').plot()")
        outcome.images[0]  # a PNG

    Session --socket--> [jail: supervisor, process 1 of the session's namespaces --pipes--> interpreter (IPython)]

What the interpreter's side does and is held to: supervisor.py; how files travel: workspace.py.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from kwen.errors import UserError
from kwen.sandbox import pool, supervisor
from kwen.sandbox.program import UNSAFE_WARNING
from kwen.sandbox.supervisor import FILE, REPLY, REQUEST, WORKSPACE_BYTES
from kwen.sandbox.workspace import MAX_LISTED, check_name, make_file, open_file, scan

TEXT_CHARS = 10_000  # of a cell's text; the first three quarters and the last quarter stay of more
_GRACE_S = 0.5  # for a reply beyond the time limit and the time to obey an interrupt
_TRANSFER_S = 20.0  # for a reply to be read or a file to travel
_CLOSE_S = 1.0
_MIN_MEMORY_MB = 64
_PNG = b"\x89PNG\r\n\x1a\n"
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_warned = False
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Outcome:
    """What a cell did.

    `text` is what IPython would print: stdout and stderr in order, then the last expression's value, without colours or prompts;
    what is over 10,000 characters is cut from its middle with a mark. `error` is None, or the lines of the cell that led to the
    exception and the exception itself; for a cell that was stopped, why. `images` are PNG files: each figure that was open at
    the end or at `plt.show()`, each image displayed. `files` were made or changed by this cell, by name in the workspace.
    `timed_out`: the time was over. `ended`: the interpreter was lost; the next cell finds a new one without any names.
    """

    text: str
    error: str | None = None
    images: list[bytes] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    timed_out: bool = False
    ended: bool = False
    wall_s: float = 0.0


class Session:
    """A stateful IPython interpreter in a jail of its own; a context manager. For one thread at a time.

    Cells run one after another in /workspace, with numpy, pandas and matplotlib if they are installed here; they see no other
    file of the host but those packages, and are held as programs of `run` are (`run_many` says how), with these limits:
    `timeout_s` of wall time a cell, after which it is interrupted, and killed with all names where it does not obey within
    0.4 s; `memory_mb` for all of the session's processes together beside the loaded packages: one request beyond it is a
    MemoryError, growing beyond it ends the interpreter; 60 processes and threads, which end with their cell; 256 MiB in
    /workspace and 64 MiB in /tmp. Between cells nothing of the session runs.

    `workspace` is a folder of the host, made if absent: its files are copied in when the session starts, and what a cell made or
    changed is copied back after each cell, as plain files (workspace.py says why it is not shared). Nothing is deleted there,
    links there are neither read nor followed. Without it the files end with the session.

    `unsafe=True` runs cells unprotected, with this user's rights, and says so on stderr once.

    Raises UserError where IPython or a tool that builds jails is missing, where limits make no sense, and where the workspace
    is no folder or holds too much.
    """

    def __init__(
        self, workspace: Path | None = None, timeout_s: float = 10.0, memory_mb: int = 1024, unsafe: bool = False
    ) -> None:
        _check_time(timeout_s)
        if not _MIN_MEMORY_MB <= memory_mb <= 1 << 20:
            raise UserError(f"sandbox: memory_mb is {memory_mb}: give {_MIN_MEMORY_MB} or more, up to {1 << 20}")
        pool.package_folders()  # its UserError, if any, before anything is made
        self.timeout_s, self.memory_mb = timeout_s, memory_mb
        self._unsafe, self._closed = unsafe, False
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._temporary: Path | None = None
        self._folder: int | None = None
        self._copied: dict[str, int] = {}  # bytes of each file that came out of the jail
        if workspace is not None:
            try:
                workspace.mkdir(parents=True, exist_ok=True)
                self._folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise UserError(f"sandbox: the workspace {workspace} cannot be used ({error.strerror}): give a folder") from None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(self, code: str, timeout_s: float | None = None) -> Outcome:
        """Run a cell; it sees the names of those before it. Returns within the limit and a second, whatever the cell does.

        Raises UserError for a senseless limit, more than 1 MiB of code, and a closed session.
        """
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        _check_time(limit_s)
        cell = code.encode(errors="replace")
        if len(cell) > supervisor.MAX_CODE_BYTES:
            raise UserError(f"sandbox: a cell of {len(cell)} bytes: give {supervisor.MAX_CODE_BYTES} at most")
        link, began = self._open(), time.monotonic()
        try:
            self._send(link, supervisor.RUN, "", cell, limit_s)
            answer_s = limit_s + supervisor.INTERRUPT_S + _GRACE_S
            reply = REPLY.unpack(pool.receive(link, REPLY.size, time.monotonic() + answer_s))
            end, timed_out, status, wall_s, head_bytes, tail_bytes, error_bytes, cut, rest_bytes = reply
            rest = pool.receive(link, head_bytes + tail_bytes + rest_bytes, time.monotonic() + _TRANSFER_S)
            listed = self._list(link)
        except OSError as lost:
            self._lose()
            late = isinstance(lost, TimeoutError)
            reason = f"{'TimeoutError' if late else 'RuntimeError'}: {lost}; the session starts again, names and files are gone"
            return Outcome("", reason, timed_out=late, ended=True, wall_s=time.monotonic() - began)
        printed, rest = rest[: head_bytes + tail_bytes], rest[head_bytes + tail_bytes :]
        text = _text(printed[:head_bytes], printed[head_bytes:], cut)
        error = _plain(rest[:error_bytes]) or None
        changed = {name: size for name, (size, new) in listed.items() if new}
        text += self._copy_out(link, changed)
        return Outcome(
            text=text,
            error=self._explain(end, bool(timed_out), status, limit_s, error),
            images=_images(rest[error_bytes:]),
            files=list(changed),
            timed_out=bool(timed_out),
            ended=end != supervisor.KEPT,
            wall_s=wall_s,
        )

    def put(self, path: Path) -> str:
        """Copy a user's file into the workspace, over one of the same name; its name there, the path's last part.

        Raises UserError where the file cannot be read or has no place.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"sandbox: {path} cannot be read: {error.strerror}") from None
        self._ask(lambda link: self._put(link, path.name, data))
        if self._folder is not None:
            try:
                make_file(self._folder, path.name, [data])
            except OSError as error:
                raise UserError(f"sandbox: {path.name} cannot be written to the workspace's folder: {error.strerror}") from None
        return path.name

    def files(self) -> list[str]:
        """The names of the regular files in the workspace, sorted; 4,096 at most."""
        return list(self._ask(self._list))

    def get(self, name: str) -> bytes:
        """A file of the workspace. Raises UserError where there is none of that name."""

        def fetch(link: socket.socket) -> bytes:
            return self._exchange(link, supervisor.GET, check_name(name))

        try:
            return self._ask(fetch)
        except ValueError as error:
            raise UserError(f"sandbox: {name!r} cannot be had from the workspace: {error}") from None

    def close(self) -> None:
        """End the session and all that runs in it; harmless when it is closed."""
        self._closed = True
        self._lose()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def _open(self) -> socket.socket:
        """The link to the session; a new session, with the workspace's files, where there is none."""
        global _warned
        if self._closed:
            raise UserError("sandbox: the session is closed: make another")
        if self._link is not None:
            return self._link
        if self._unsafe:
            if not _warned:
                _warned = True
                print(UNSAFE_WARNING, file=sys.stderr, flush=True)
            self._temporary = Path(tempfile.mkdtemp(prefix="kwen-unsafe-"))
            self._link, self._process = pool.open_unprotected(self._temporary, self.memory_mb)
        else:
            self._link = pool.open_session(self.memory_mb)
        try:
            self._copy_in(self._link)
        except BaseException:
            self._lose()
            raise
        return self._link

    def _copy_in(self, link: socket.socket) -> None:
        """Put the files of the host's folder, if there is one, into a new session."""
        if self._folder is None:
            return
        found = scan(self._folder)
        total = sum(facts[0] for facts in found.values())
        if total > WORKSPACE_BYTES or len(found) >= MAX_LISTED:
            raise UserError(
                f"sandbox: the workspace holds {len(found)} files of {total >> 20} MiB in all: "
                f"give a folder of less than {MAX_LISTED} files and {WORKSPACE_BYTES >> 20} MiB"
            )
        for name in found:
            with open_file(self._folder, name) as file:
                self._put(link, name, file.read())

    def _lose(self) -> None:
        """Close the link, wait for the supervisor to have ended all, and remove what an unprotected session left."""
        if self._link is not None:
            with self._link, contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_WR)
                self._link.settimeout(_CLOSE_S)
                while self._link.recv(1 << 16):
                    pass
            self._link = None
        if self._process is not None:
            try:
                self._process.wait(_CLOSE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def _ask(self, question: Callable[[socket.socket], Answer]) -> Answer:
        """A question to the session; where it is gone, the same to a new one."""
        try:
            return question(self._open())
        except OSError:
            self._lose()
            return question(self._open())

    def _send(self, link: socket.socket, operation: int, name: str, data: bytes, timeout_s: float = 0.0) -> None:
        encoded = name.encode()
        link.settimeout(_TRANSFER_S)
        link.sendall(REQUEST.pack(operation, timeout_s, len(encoded), len(data)) + encoded + data)

    def _exchange(self, link: socket.socket, operation: int, name: str = "", data: bytes = b"") -> bytes:
        """A file operation's payload. OSError where the session is lost; ValueError, with the reason, where it refuses."""
        self._send(link, operation, name, data)
        deadline = time.monotonic() + _TRANSFER_S
        end, *_, error_bytes, _, rest_bytes = REPLY.unpack(pool.receive(link, REPLY.size, deadline))
        payload = pool.receive(link, error_bytes + rest_bytes, deadline)
        if end != supervisor.KEPT:
            raise ValueError(payload.decode(errors="replace"))
        return payload

    def _put(self, link: socket.socket, name: str, data: bytes) -> None:
        try:
            if len(data) > WORKSPACE_BYTES:
                raise ValueError(f"it has {len(data) >> 20} MiB, the workspace {WORKSPACE_BYTES >> 20}")
            self._exchange(link, supervisor.PUT, check_name(name), data)
        except ValueError as error:
            raise UserError(f"sandbox: {name!r} cannot be put into the workspace: {error}") from None

    def _list(self, link: socket.socket) -> dict[str, tuple[int, bool]]:
        """Size of each file, and whether the last cell made or changed it."""
        data, at, found = self._exchange(link, supervisor.LIST), 0, {}
        while at < len(data):
            size, name_bytes, new = FILE.unpack_from(data, at)
            at += FILE.size + name_bytes
            found[check_name(data[at - name_bytes : at].decode())] = (size, bool(new))
        return found

    def _copy_out(self, link: socket.socket, changed: dict[str, int]) -> str:
        """Copy these files to the host's folder; a note for the text about those that stay behind."""
        left = []
        for name, size in changed.items() if self._folder is not None else ():
            total = sum(self._copied.values()) - self._copied.get(name, 0) + size
            if total > WORKSPACE_BYTES or len(self._copied.keys() | {name}) > MAX_LISTED:
                left.append(name)
                continue
            self._copied[name] = size
            assert self._folder is not None
            try:
                make_file(self._folder, name, [self._exchange(link, supervisor.GET, name)])
            except (OSError, ValueError):
                left.append(name)
        return f"\n[not copied out of the session: {', '.join(left)[:500]}]" if left else ""

    def _explain(self, end: int, timed_out: bool, status: int, limit_s: float, error: str | None) -> str | None:
        """The error of a cell, also where it was stopped or took the interpreter with it."""
        if end == supervisor.KEPT and not timed_out:
            return error
        if end == supervisor.KEPT:
            lines = [line for line in (error or "").splitlines() if not line.startswith("KeyboardInterrupt")]
            return "\n".join([*lines, f"TimeoutError: stopped after {limit_s:g} s; the names so far are kept"])
        if end == supervisor.DIED:
            left = f"ended by {_signal_name(-status)}" if status < 0 else f"left with exit code {status}"
            reason = f"SystemExit: the interpreter was {left}" if status < 0 else f"SystemExit: the interpreter {left}"
        else:
            reason = {
                supervisor.MEMORY: f"MemoryError: over the memory limit of {self.memory_mb} MB",
                supervisor.PROTOCOL: "RuntimeError: the cell broke into the interpreter's own reports",
                supervisor.STUBBORN: f"TimeoutError: over {limit_s:g} s, and the cell did not obey an interrupt",
            }[end]
        return f"{reason}; the session starts again without its names, its files are kept"


def _check_time(timeout_s: float) -> None:
    if not 0 < timeout_s < 1e6:
        raise UserError(f"sandbox: timeout_s is {timeout_s}: give a number of seconds above 0")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _plain(data: bytes) -> str:
    """Text without terminal codes; of a line that was written over after a carriage return, what was last."""
    lines = _ANSI.sub("", data.decode(errors="replace")).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def _text(head: bytes, tail: bytes, cut: int) -> str:
    """What was printed, with a mark where it is cut: `cut` bytes are missing between `head` and `tail`."""
    first, last = (_plain(head + tail), "") if not cut else (_plain(head), _plain(tail))
    missing = cut
    if len(first) + len(last) > TEXT_CHARS:
        whole = first + last
        first, last = whole[: TEXT_CHARS * 3 // 4], whole[-TEXT_CHARS // 4 :]
        missing += len(whole) - len(first) - len(last)
    return f"{first}\n[... {missing} characters cut ...]\n{last}" if missing else first


def _images(data: bytes) -> list[bytes]:
    """The images after their sizes; what is no PNG is left out."""
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return [image for image in found if image.startswith(_PNG)]
