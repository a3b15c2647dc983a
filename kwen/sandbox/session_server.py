"""The session server inside a jail: IPython loaded once, a process forked for every session.

The host runs this inside the same kind of jail as the fork server. Again three kinds of process follow from it:

    session server   has IPython, numpy, pandas and matplotlib loaded; for each session the host sends it a socket, and it forks.
                     It never sees a cell, a file or an output
    supervisor       process 1 of a session's own pid, mount, IPC and, where it can be had, user namespace (supervisor.py)
    interpreter      its child, without rights, as a program of `run` is; runs the cells (interpreter.py)

The wire from the host: a byte and the filter; back b"R" when ready; then for each session `START` beside its socket, on which
the supervisor says b"R".
"""

import _signal as signal
import gc
import os
import resource
import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kwen.sandbox import forkserver
from kwen.sandbox.forkserver import check, libc, mount
from kwen.sandbox.supervisor import WORKSPACE_BYTES, Child, Supervisor

if TYPE_CHECKING:
    from kwen.sandbox.interpreter import Interpreter

START = struct.Struct("<I")  # memory in MB
WORKSPACE_INODES = 8192
_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_M_ARENA_MAX = -8  # malloc.h
_COMMANDS, _REPORTS = 3, 4  # the interpreter's descriptors


def serve(packages: list[str]) -> int:
    """The session server's life, until the host closes its end: returns its exit code."""
    control = socket.socket(fileno=os.dup(0))
    forkserver.settle()
    mount("tmpfs", "/tmp", "tmpfs", forkserver.MS_NOSUID | forkserver.MS_NODEV, f"size={forkserver.DISK_BYTES}")
    seccomp_filter = control.recv(1 << 16)[1:]  # a byte before it: an empty message would be the end
    libc.mallopt(_M_ARENA_MAX, 2)  # each thread's own arena would take 64 MiB of a session's address space
    interpreter = _warm(packages)
    space = _address_space()
    gc.freeze()  # collections in the children would copy the shared pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the sessions
    control.send(b"R")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, START.size, 1)
        if not message:
            return 0
        (memory_mb,) = START.unpack(message)
        if os.fork() == 0:
            control.close()
            _enter_namespaces()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                start = partial(_start, interpreter, memory_mb, space, seccomp_filter)
                _supervise(socket.socket(fileno=descriptors[0]), memory_mb, start)
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def serve_unprotected(workspace: str, memory_mb: int) -> None:
    """One session without a jail: its socket is descriptor 0."""
    host = socket.socket(fileno=os.dup(0))
    os.environ |= {"KWEN_WORKSPACE": workspace, "MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1"}
    interpreter = _warm([])
    os.chdir(workspace)
    start = partial(_start, interpreter, memory_mb, _address_space(), None)
    Supervisor(host, workspace, memory_mb, None, start).serve()


def _warm(packages: list[str]) -> "Interpreter":
    """Everything that a session needs loaded, as each of them will find it."""
    sys.path[:] = [path for path in sys.path if path != "/"]
    sys.path += packages
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # threads do not survive a fork
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # Arrow's own asks for more addresses at once than a session may have
    if packages:
        os.environ |= {"MPLBACKEND": "Agg", "MPLCONFIGDIR": "/tmp/.matplotlib", "IPYTHONDIR": "/tmp/.ipython"}
        os.environ["PYTHONPATH"] = os.pathsep.join(packages)
        sys.path.insert(0, "/")
    from kwen.sandbox.interpreter import Interpreter

    sys.path[:] = [path for path in sys.path if path != "/"]
    interpreter = Interpreter()
    sys.path.insert(0, "")  # a cell imports from the folder that it is in, as in any interactive Python
    return interpreter


def _address_space() -> int:
    """Bytes of address space of this process; a guess where there is no /proc."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 1 << 30


def _enter_namespaces() -> None:
    """Namespaces for one session. A user namespace of its own makes the kernel count its processes apart from other sessions'."""
    flags = forkserver.CLONE_NEWPID | forkserver.CLONE_NEWNS | forkserver.CLONE_NEWIPC
    own = os.getuid(), os.getgid()
    if not os.path.exists("/proc/self/uid_map") or libc.unshare(flags | _CLONE_NEWUSER) != 0:
        check(libc.unshare(flags), "unshare")
        return
    check(libc.prctl(forkserver.PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl PR_SET_DUMPABLE")  # else the maps are not ours to write
    for name, text in (("setgroups", "deny"), ("uid_map", f"{own[0]} {own[0]} 1"), ("gid_map", f"{own[1]} {own[1]} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    check(libc.prctl(forkserver.PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl PR_SET_DUMPABLE")


def _supervise(host: socket.socket, memory_mb: int, start: Callable[[], Child]) -> None:
    """Build the session's own file system, then serve it. Never returns."""
    if os.getpid() != 1:
        os._exit(1)  # kill(-1) is for a pid namespace of our own
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    flags = forkserver.MS_NOSUID | forkserver.MS_NODEV
    mount("tmpfs", "/tmp", "tmpfs", flags, f"size={forkserver.DISK_BYTES},nr_inodes=4096,mode=0700")
    mount("/tmp", "/dev/shm", "", forkserver.MS_BIND)
    mount("tmpfs", "/workspace", "tmpfs", flags, f"size={WORKSPACE_BYTES},nr_inodes={WORKSPACE_INODES},mode=0700")
    os.chdir("/workspace")
    proc = forkserver.open_and_hide_proc()
    Supervisor(host, "/workspace", memory_mb, proc, start).serve()


def _start(interpreter: "Interpreter", memory_mb: int, space: int, seccomp_filter: bytes | None) -> Child:
    """Fork an interpreter; with a filter (it may be empty) it gives up its rights, with None it is unprotected."""
    out_read, out_write = os.pipe()
    commands_read, commands_write = os.pipe()
    reports_read, reports_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        null = os.open("/dev/null", os.O_RDONLY)
        kept = [fd if fd > _REPORTS else os.dup(fd) for fd in (null, out_write, commands_read, reports_write)]
        while min(kept) <= _REPORTS:
            kept = [fd if fd > _REPORTS else os.dup(fd) for fd in kept]
        for fd, target in zip((kept[0], kept[1], kept[1], kept[2], kept[3]), range(5), strict=True):
            os.dup2(fd, target, inheritable=target <= 2)
        os.closerange(_REPORTS + 1, max(forkserver.MAX_FILES, 1024))
        os.setsid()
        limits = [(resource.RLIMIT_AS, space + (memory_mb << 20)), (resource.RLIMIT_FSIZE, WORKSPACE_BYTES)]
        if seccomp_filter is not None:
            limits += [(resource.RLIMIT_NPROC, forkserver.MAX_PROCESSES), (resource.RLIMIT_MEMLOCK, 0)]
            limits += [(resource.RLIMIT_MSGQUEUE, 0)]
        for kind, limit in limits:
            resource.setrlimit(kind, (limit, limit))
        for number in (signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if seccomp_filter is not None:
            forkserver.give_up_rights(seccomp_filter)
        try:
            interpreter.serve(_COMMANDS, _REPORTS)
        finally:
            os._exit(1)
    for fd in (out_write, commands_read, reports_write):
        os.close(fd)
    for fd in (out_read, commands_write, reports_read):
        os.set_blocking(fd, False)
    return Child(pid, os.pidfd_open(pid), out_read, commands_write, reports_read)
