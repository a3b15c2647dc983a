"""A running jail: started, sent one program after another, and killed as a whole.

    host process  --stdin-->  [bubblewrap | nsjail]  ->  fork server  ->  supervisor  ->  program
                  <-stdout--                              (forkserver.py; one supervisor a program)
"""

import contextlib
import functools
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from kwen.sandbox import forkserver, seccomp
from kwen.sandbox.tools import Tool, installed_tools, jail_command, no_tool_error

_START_S = 20.0  # for a jail to come up on a busy machine; it takes some 30 ms on an idle one
_GRACE_S = 0.9  # for the supervisor's report to arrive after a program's time is over


@dataclass(frozen=True)
class Result:
    """What a program did.

    `exit_code` is negative for the signal that ended it. Output is kept up to 1 MiB a stream; `output_cut` says that there was
    more, and so does the last line of `stderr`, as it does for a program killed over its memory limit.
    """

    stdout: str
    stderr: str
    exit_code: int
    timed_out: bool
    wall_s: float
    output_cut: bool = False


class JailDied(Exception):
    """The jail ended, or did not answer in time (`late`), before it reported on a program."""

    def __init__(self, reason: str, late: bool = False) -> None:
        super().__init__(reason)
        self.late = late


class Jail:
    """One jail with its fork server. A context manager; leaving it kills everything inside.

    Raises JailDied from the constructor where the jail does not come up, with the last line of what it said.
    """

    def __init__(
        self, tool: Tool, with_proc: bool = True, prelude: str = "", show: Sequence[str] = ()
    ) -> None:
        self._process = subprocess.Popen(
            jail_command(tool, with_proc, show=show),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            start_new_session=True,
        )
        try:
            rules, first = seccomp.filter_bytes(), prelude.encode()
            self._send(forkserver.HELLO.pack(len(rules), len(first)) + rules + first)
            self._receive(1, time.monotonic() + _START_S)
        except JailDied as error:
            raise JailDied(self._last_words() or str(error)) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Jail":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(self, code: bytes, stdin: bytes, timeout_s: float, memory_mb: int) -> Result:
        """Run one program to its end; after a JailDied this jail is of no more use."""
        header = forkserver.PROGRAM.pack(timeout_s, memory_mb, len(code), len(stdin))
        try:
            self._send(header + code + stdin)
            head = self._receive(forkserver.RESULT.size, time.monotonic() + timeout_s + _GRACE_S)
            exit_code, timed_out, cut, wall_s, out_bytes, err_bytes = forkserver.RESULT.unpack(head)
            output = self._receive(out_bytes + err_bytes, time.monotonic() + _START_S)
        except JailDied as died:
            raise JailDied(self._last_words() or str(died), died.late) from None
        stdout, stderr = (part.decode(errors="replace") for part in (output[:out_bytes], output[out_bytes:]))
        return Result(stdout, stderr, exit_code, bool(timed_out), wall_s, bool(cut))

    def close(self) -> None:
        """Kill the jail and wait for it to be gone; harmless when it is."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            forkserver.write_all(self._process.stdin.fileno(), data)
        except BrokenPipeError:
            raise JailDied("the jail closed its input") from None

    def _receive(self, count: int, deadline: float) -> bytes:
        """Exactly `count` bytes by `deadline` (time.monotonic)."""
        assert self._process.stdout is not None
        fd, parts = self._process.stdout.fileno(), []
        while count:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise JailDied("the jail did not answer in time", late=True)
            part = os.read(fd, min(count, 1 << 20))
            if not part:
                raise JailDied("the jail ended")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _last_words(self) -> str:
        """Kill the jail and close it; the last line that it wrote to stderr."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        assert self._process.stderr is not None
        if self._process.stderr.closed:
            return ""
        lines = self._process.stderr.read().decode(errors="replace").strip().splitlines()
        self.close()
        return lines[-1] if lines else ""


@functools.cache
def working_tool() -> tuple[Tool, bool]:
    """The first tool that really builds a jail here, and whether the jail can have its own /proc; asked once a process.

    Raises UserError that says what to install where there is none.
    """
    reason = "neither bubblewrap nor nsjail is installed"
    for tool in installed_tools():
        for with_proc in (True, False):
            try:
                with Jail(tool, with_proc) as jail:
                    if jail.run(b"print(6 * 7)", b"", 5.0, 256).stdout == "42\n":
                        return tool, with_proc
            except JailDied as died:
                reason = f"{tool.name} cannot build a jail here ({died})"
    raise no_tool_error(reason)


def describe() -> dict[str, str | bool]:
    """What this machine's sandbox is made of, for `kwen doctor`; raises UserError where there is none."""
    tool, with_proc = working_tool()
    return {
        "tool": tool.name,
        "path": str(tool.path),
        "seccomp": bool(seccomp.filter_bytes()),
        "tree_memory_limit": with_proc,
        "leaves_root": os.geteuid() == 0,
    }
