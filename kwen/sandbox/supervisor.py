"""The trusted process of one session inside its jail: keeps the session's files, runs its cells, holds them to their limits.

It is process 1 of the session's own namespaces (session_server.py forks it) and alone holds the socket to the host. The
interpreter, its child, is without rights, and whatever it reports is hostile: sizes are limited, a report must begin with the
cell's random number, and text and images are only passed on as bytes.

The interpreter is stopped (SIGSTOP) while no cell runs, and what else a cell started is killed at the cell's end: nothing of a
session runs while nobody waits for it, and files do not change while they are listed or read.

The wire to the host, little-endian: `REQUEST`, name, data; then `REPLY`, payload. The payload of a cell's reply is text, error,
then each image after its size (interpreter.py); of a list, for each file `FILE` and name; of a read, the file's bytes.
"""

import _signal as signal
import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kwen.sandbox import forkserver
from kwen.sandbox.workspace import Snapshot, make_file, open_file, scan

REQUEST = struct.Struct("<BdIQ")  # operation, wall seconds, bytes of name, bytes of data
REPLY = struct.Struct("<BBidIIIQQ")  # end, timed out, status, wall s, head, tail, error bytes, cut output bytes, rest's bytes
FILE = struct.Struct("<QHB")  # size, bytes of name, made or changed by the last cell
RUN, PUT, LIST, GET = range(4)  # operations
KEPT, DIED, MEMORY, PROTOCOL, STUBBORN, REFUSED = range(6)  # how a cell ended for its session, or a file operation

WORKSPACE_BYTES = 256 << 20
HEAD_BYTES, TAIL_BYTES = 48 << 10, 16 << 10  # kept of a cell's output
INTERRUPT_S = 0.4  # for a cell to obey an interrupt
_INTERRUPT_AGAIN_S = 0.1  # the first may fall where Python throws it away, as in a destructor
MAX_CODE_BYTES = 1 << 20


@dataclass
class Output:
    """The first and last bytes of what was printed."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    cut: int = 0

    def add(self, data: bytes) -> None:
        """Keep what fits."""
        room = HEAD_BYTES - len(self.head)
        self.head += data[:room]
        self.tail += data[max(room, 0) :]
        if (over := len(self.tail) - TAIL_BYTES) > 0:
            del self.tail[:over]
            self.cut += over


@dataclass
class Child:
    """A running interpreter."""

    pid: int
    ended: int  # a pidfd
    output: int
    commands: int
    reports: int

    def close(self) -> None:
        """Close our ends."""
        for fd in (self.ended, self.output, self.commands, self.reports):
            os.close(fd)


class Report:
    """An interpreter's report as it arrives: `add` bytes until `done`. ValueError for what no honest one would send."""

    def __init__(self, nonce: bytes) -> None:
        from kwen.sandbox import interpreter as wire

        self._wire = wire
        self._nonce, self._data = nonce, bytearray()
        self._at, self._images = 0, 0  # where the next image's size stands; images still missing
        self.error_bytes = 0
        self.done = False

    def command(self, code: bytes) -> bytes:
        """What asks an interpreter for this report."""
        return self._wire.COMMAND.pack(self._nonce, len(code)) + code

    @property
    def rest(self) -> bytes:
        """The error's bytes, then each image after its size."""
        return bytes(self._data[self._wire.REPORT.size :])

    def add(self, data: bytes) -> None:
        """More bytes of the pipe."""
        self._data += data
        if not self._at:
            if len(self._data) < self._wire.REPORT.size:
                return
            nonce, self.error_bytes, self._images = self._wire.REPORT.unpack_from(self._data)
            if nonce != self._nonce or self.error_bytes > self._wire.ERROR_BYTES or self._images > self._wire.MAX_IMAGES:
                raise ValueError("not a report")
            self._at = self._wire.REPORT.size + self.error_bytes
        while self._images and len(self._data) >= self._at + self._wire.SIZE.size:
            (size,) = self._wire.SIZE.unpack_from(self._data, self._at)
            if size > self._wire.IMAGE_BYTES:
                raise ValueError("an image too large")
            if len(self._data) < self._at + self._wire.SIZE.size + size:
                return
            self._at += self._wire.SIZE.size + size
            self._images -= 1
        if not self._images and len(self._data) >= self._at:
            if len(self._data) > self._at:
                raise ValueError("more than a report")
            self.done = True


class Supervisor:
    """One session's keeper. Process 1 of a pid namespace, except for a session without a jail."""

    def __init__(self, host: socket.socket, workspace: str, memory_mb: int, proc: int | None, start: Callable[[], Child]) -> None:
        self.host, self.memory_mb, self.proc, self.start = host, memory_mb, proc, start
        self.workspace = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY)
        self.child: Child | None = None
        self.seen: Snapshot = {}  # the files before the last cell
        self.output = Output()

    def serve(self) -> None:
        """Answer the host until it closes its end. Never returns."""
        self.child = self.start()
        self.host.sendall(b"R")
        try:
            while len(head := self._receive(REQUEST.size)) == REQUEST.size:
                self._answer(*REQUEST.unpack(head))
        except OSError as error:
            if not isinstance(error, ConnectionError):
                raise
        finally:
            self.kill()
            os._exit(0)

    def _answer(self, operation: int, timeout_s: float, name_bytes: int, data_bytes: int) -> None:
        name, chunks = self._receive(name_bytes).decode(), self._chunks(data_bytes)
        if operation == RUN:
            self.run(b"".join(chunks), timeout_s)
            return
        try:
            if operation == GET:
                with open_file(self.workspace, name) as file:
                    size = os.fstat(file.fileno()).st_size
                    self.host.sendall(REPLY.pack(KEPT, 0, 0, 0.0, 0, 0, 0, 0, size))
                    if size:
                        self.host.sendfile(file, count=size)
                return
            if operation == PUT:
                make_file(self.workspace, name, chunks)
            listing = b"" if operation == PUT else self._listing()
        except ConnectionError:
            raise
        except (OSError, ValueError) as error:
            for _ in chunks:  # what is not wanted any more
                pass
            text = (getattr(error, "strerror", None) or str(error)).encode(errors="replace")
            self.host.sendall(REPLY.pack(REFUSED, 0, 0, 0.0, 0, 0, len(text), 0, 0) + text)
        else:
            self.host.sendall(REPLY.pack(KEPT, 0, 0, 0.0, 0, 0, 0, 0, len(listing)) + listing)

    def _listing(self) -> bytes:
        """Every file, and whether it is new or another than before the last cell."""
        parts = []
        for name, facts in scan(self.workspace).items():
            encoded = name.encode()
            parts.append(FILE.pack(facts[0], len(encoded), self.seen.get(name) != facts) + encoded)
        return b"".join(parts)

    def run(self, code: bytes, timeout_s: float) -> None:
        """Run one cell and report."""
        began = time.monotonic()
        self.seen, self.output = scan(self.workspace), Output()
        if self.child is None:
            self.child = self.start()
        report = Report(os.urandom(8))
        end, timed_out = self._watch(self.child, report, code, began + timeout_s)
        status = 0
        if end == KEPT:
            self._stop(self.child)
            self._drain(self.child)
        else:
            status, report = self.kill(), Report(b"")
        wall_s = time.monotonic() - began
        head, tail = bytes(self.output.head), bytes(self.output.tail)
        rest = report.rest
        reply = REPLY.pack(end, timed_out, status, wall_s, len(head), len(tail), report.error_bytes, self.output.cut, len(rest))
        self.host.sendall(reply + head + tail + rest)

    def _watch(self, child: Child, report: Report, code: bytes, deadline: float) -> tuple[int, bool]:
        """Until the cell's report is there, or its session cannot go on: (how it ended, whether its time was over)."""
        pending = memoryview(report.command(code))
        poll = select.poll()
        for fd in (child.output, child.reports, child.ended):
            poll.register(fd, select.POLLIN)
        poll.register(child.commands, select.POLLOUT)
        poll.register(self.host, 0)  # only its end
        os.kill(child.pid, signal.SIGCONT)
        timed_out, next_look, next_interrupt = False, 0.0, 0.0
        while True:
            now = time.monotonic()
            if now >= deadline:
                if timed_out:
                    return STUBBORN, True
                self._stop(child)
                timed_out, deadline = True, time.monotonic() + INTERRUPT_S
                os.kill(child.pid, signal.SIGCONT)
            if timed_out and now >= next_interrupt:
                next_interrupt = now + _INTERRUPT_AGAIN_S
                os.kill(child.pid, signal.SIGINT)
            if self.proc is not None and now >= next_look:
                if self._is_over(self.proc):
                    return MEMORY, timed_out
                looked = time.monotonic()  # many large processes take long to look at: a fifth of the time at most goes to it
                next_look = looked + max(forkserver.TICK_S, 4 * (looked - now))
            for fd, _ in poll.poll(min(max(0.0, deadline - time.monotonic()), forkserver.TICK_S) * 1000):
                if fd == self.host.fileno():
                    raise ConnectionResetError
                if fd == child.ended:
                    return DIED, timed_out
                if fd == child.commands:
                    try:
                        pending = pending[os.write(fd, pending) :]
                    except OSError:  # it closed its end, and its own end will follow
                        pending = pending[:0]
                    if not pending:
                        poll.unregister(fd)
                elif fd == child.output:
                    if self._capture(child) == 0:
                        poll.unregister(fd)
                elif data := os.read(fd, 1 << 16):
                    try:
                        report.add(data)
                    except ValueError:
                        return PROTOCOL, timed_out
                    if report.done:  # what it keeps counts too: a cell may be done before the next look at its memory
                        return (MEMORY if self.proc is not None and self._is_over(self.proc) else KEPT), timed_out
                else:  # closed by all who could write a report: it will end, or its time will
                    poll.unregister(fd)

    def _is_over(self, proc: int) -> bool:
        """Whether the session holds too much memory. The kernel's shares are asked for (as forkserver.tree_is_over does) while
        all is stopped: with a processor full of forks we would not get through them.
        """
        limit = self.memory_mb << 20
        pids = [name for name in os.listdir(proc) if name.isdigit() and name != "1"]
        resident = {pid: forkserver.resident_bytes(proc, pid) for pid in pids}
        if sum(resident.values()) <= limit:
            return False
        os.kill(-1, signal.SIGSTOP)
        over = sum(forkserver.proportional_bytes(proc, pid) or resident[pid] for pid in pids) > limit
        os.kill(-1, signal.SIGCONT)
        return over

    def _capture(self, child: Child) -> int | None:
        """Take what is in the output's pipe: how many bytes, 0 at its end, None if it is empty."""
        try:
            data = os.read(child.output, 1 << 16)
        except BlockingIOError:
            return None
        self.output.add(data)
        return len(data)

    def _drain(self, child: Child) -> None:
        """Take the last output; for a while only, since without a pid namespace others may still write."""
        limit = time.monotonic() + INTERRUPT_S
        while self._capture(child) and time.monotonic() < limit:
            pass

    def _stop(self, child: Child) -> None:
        """Stop the interpreter, and kill all else that a cell started: stopped at one stroke, nothing can fork meanwhile."""
        if os.getpid() == 1:
            os.kill(-1, signal.SIGSTOP)
        else:
            os.kill(child.pid, signal.SIGSTOP)
        if self.proc is not None:
            others = [int(name) for name in os.listdir(self.proc) if name.isdigit() and int(name) not in (1, child.pid)]
            for pid in others:
                os.kill(pid, signal.SIGKILL)
            for pid in others:
                # Those whose parent is gone are ours to bury; the others wait for the interpreter to ask for them.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        limit = time.monotonic() + INTERRUPT_S  # the signal is not yet the stop: a thread on another processor runs on a little
        while time.monotonic() < limit:
            if os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                break
            time.sleep(0.0002)

    def kill(self) -> int:
        """End all that runs in the session; the interpreter's exit status, as `os.waitstatus_to_exitcode` gives it."""
        if self.child is None:
            return 0
        child, self.child = self.child, None
        with contextlib.suppress(ProcessLookupError):
            if os.getpid() == 1:
                os.kill(-1, signal.SIGKILL)  # everything in this pid namespace but ourselves
            else:
                os.killpg(child.pid, signal.SIGKILL)
        status = 0
        while True:
            try:
                pid, ended = os.wait()
            except ChildProcessError:
                break
            status = ended if pid == child.pid else status
        self._drain(child)
        child.close()
        return os.waitstatus_to_exitcode(status)

    def _receive(self, count: int) -> bytes:
        return forkserver.read_exactly(self.host.fileno(), count)

    def _chunks(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes from the host, in pieces."""
        while count:
            piece = self._receive(min(count, 1 << 20))
            if not piece:
                raise ConnectionResetError
            count -= len(piece)
            yield piece
