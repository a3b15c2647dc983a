"""Where sessions come from, on the host: one jail a process, whose server has IPython loaded and forks each session from it."""

import atexit
import contextlib
import importlib.util
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from kwen.errors import UserError
from kwen.sandbox import seccomp, session_server
from kwen.sandbox.jail import working_tool
from kwen.sandbox.tools import jail_command

START_S = 60.0  # for IPython, numpy, pandas and matplotlib to load on a busy machine; some 2 s on an idle one
_FORK_S = 20.0
_SHOWN = ("IPython", "numpy", "pandas", "matplotlib")  # their folders of packages are shown in the jail


class PoolDied(Exception):
    """The session server did not come up, or is gone."""


class Pool:
    """A jail with a session server. It lives until `close` or the end of the process; its sessions end with it."""

    def __init__(self) -> None:
        tool, with_proc = working_tool()
        command = jail_command(tool, with_proc, package_folders())
        self.owner = os.getpid()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._last_line = ""
        self._lock = threading.Lock()
        started = threading.Event()

        def keep() -> None:
            """Start the jail and stay: a jail dies with the thread that started it."""
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env={"PATH": "/usr/bin:/bin"},
                    cwd="/",
                    start_new_session=True,
                )
            started.set()
            assert self._process.stderr is not None
            with self._process.stderr as stderr:
                for line in stderr:
                    self._last_line = line.decode(errors="replace").strip() or self._last_line
            self._process.wait()

        self._keeper = threading.Thread(target=keep, name="kwen-sandbox-pool", daemon=True)
        self._keeper.start()
        started.wait()
        try:
            self._control.settimeout(START_S)
            self._control.send(b"F" + seccomp.filter_bytes())
            if self._control.recv(1) != b"R":
                raise OSError("it ended at its start")
        except OSError as error:
            self.close()
            raise PoolDied(self._last_line or str(error)) from None

    def open(self, memory_mb: int) -> socket.socket:
        """A new session's socket, ready. Raises PoolDied."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                socket.send_fds(self._control, [session_server.START.pack(memory_mb)], [theirs.fileno()])
            await_ready(ours, _FORK_S)
        except OSError as error:
            ours.close()
            raise PoolDied(self._last_line or str(error)) from None
        return ours

    def close(self) -> None:
        """Kill the jail with all its sessions; harmless when it is gone."""
        self._control.close()
        if self.owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._keeper.join()


def await_ready(link: socket.socket, limit_s: float) -> None:
    """Wait for the byte that a supervisor sends when it is ready; OSError where it does not come."""
    link.settimeout(limit_s)
    if link.recv(1) != b"R":
        raise OSError("the session ended at its start")


_pool: Pool | None = None
_lock = threading.Lock()


def open_session(memory_mb: int) -> socket.socket:
    """A new session from this process's pool, which is started where there is none, or only a dead one.

    Raises UserError where no jail can be had, or the session server does not come up in one.
    """
    global _pool
    with _lock:
        for _ in range(2):
            if _pool is None or _pool.owner != os.getpid():
                try:
                    _pool = Pool()
                except PoolDied as died:
                    reason = f"sandbox: no session can start in a jail here ({died}): pass unsafe=True to run unprotected"
                    raise UserError(reason) from None
                atexit.register(_pool.close)
            try:
                return _pool.open(memory_mb)
            except PoolDied as died:
                _forget(_pool)
                reason, _pool = str(died), None
    raise UserError(f"sandbox: no session can start here ({reason}): is there enough memory?")


def close_pool() -> None:
    """End this process's pool and every session of it; the next session starts another."""
    global _pool
    with _lock:
        if _pool is not None:
            _forget(_pool)
        _pool = None


def _forget(pool: Pool) -> None:
    atexit.unregister(pool.close)
    pool.close()


def open_unprotected(folder: Path, memory_mb: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A session without a jail, with files in `folder`: its socket and its process."""
    ours, theirs = socket.socketpair()
    code = "import sys; from kwen.sandbox import session_server as s; s.serve_unprotected(sys.argv[1], int(sys.argv[2]))"
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", code, str(folder), str(memory_mb)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    try:
        await_ready(ours, START_S)
    except OSError:
        ours.close()
        process.kill()
        process.wait()
        raise UserError("sandbox: the session did not start; what it said is above") from None
    return ours, process


def package_folders() -> list[str]:
    """The folders that hold IPython and what else of `_SHOWN` is installed; UserError without IPython."""
    folders = []
    for name in _SHOWN:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            folders.append(str(Path(spec.origin).parents[1].resolve()))
        elif name == "IPython":
            raise UserError('sandbox: a session needs IPython: pip install "kwen[agent]"')
    return list(dict.fromkeys(folders))


def receive(link: socket.socket, count: int, deadline: float) -> bytes:
    """Exactly `count` bytes by `deadline` (time.monotonic); OSError (TimeoutError where late) if they do not come."""
    parts = []
    while count:
        poll = select.poll()
        poll.register(link, select.POLLIN)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError("the session did not answer in time")
        part = link.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionResetError("the session's jail ended")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
