"""The trusted process inside a jail: for every program it is sent, one supervisor that runs it and reports.

The host runs this file inside bubblewrap or nsjail, as an unprivileged user with CAP_SYS_ADMIN in
the jail's own user namespace only. Three kinds of process follow from it:

    fork server   reads fixed-size headers (numbers, no text) from the host and forks; its memory never holds a program,
                  an input or an output, so what it hands to its children by fork tells them nothing
    supervisor    process 1 of a pid, mount and IPC namespace made for one program: reads that program from the host,
                  mounts an empty /tmp, forks the program, captures its output, holds it to its limits, reports, exits.
                  Process 1 cannot be signalled from inside its namespace, and its end kills everything inside
    program       drops every capability, takes its resource limits and the seccomp filter, then runs

The wire, little-endian. Host to jail: `HELLO`, filter, prelude; then for each program `PROGRAM`, code, stdin. Jail to host: b"R"
when ready; then for each program `RESULT`, stdout, stderr.
Only the standard library's cheapest modules are imported, since this runs at every start of a jail: `_signal`, for one, is
`signal` without the enumerations that take longer to build than an interpreter takes to start, and `_ctypes` spares the 3 of
its 11 ms that `ctypes` takes.
"""

import _ctypes
import _signal as signal
import atexit
import gc
import os
import resource
import select
import struct
import sys
import time
from _frozen_importlib_external import SourceFileLoader  # importlib.machinery's
from types import CodeType, ModuleType, TracebackType

HELLO = struct.Struct("<II")  # bytes of filter, bytes of prelude
PROGRAM = struct.Struct("<dIII")  # wall seconds, memory in MB, bytes of code, bytes of stdin
RESULT = struct.Struct("<iBBdII")  # exit code, timed out, output cut, wall seconds, bytes of stdout, bytes of stderr

OUTPUT_BYTES = 1 << 20  # kept of each of stdout and stderr
DISK_BYTES = 64 << 20  # /tmp and /dev/shm together, and any one file
MAX_PROCESSES = 64  # processes and threads, counted by user and user namespace, so our own few are among them
MAX_FILES = 256
TICK_S = 0.02  # how often the memory of the whole tree is looked at
PROGRAM_PATH = "/tmp/program.py"

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/capability.h
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MNT_DETACH = 1, 2, 4, 8, 4096, 2
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 4, 22, 38, 2
CAPABILITY_VERSION_3 = 0x20080522


class _Int(_ctypes._SimpleCData):
    _type_ = "i"


class _Char(_ctypes._SimpleCData):
    _type_ = "c"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class CLibrary:
    """The C library's functions: what `ctypes.CDLL(None, use_errno=True)` is."""

    def __getattr__(self, name: str) -> "_Function":
        everything = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # this process's own libraries
        function = _Function(_ctypes.dlsym(everything, name))
        setattr(self, name, function)
        return function


libc = CLibrary()
main_module = ModuleType("__main__")  # the program's, with the prelude's names in it


def check(result: int, what: str) -> None:
    """Raise the C library's error if `result` says that there is one."""
    if result != 0:
        number = _ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()), f"mount {target}")


def read_exactly(fd: int, count: int) -> bytes:
    """`count` bytes; fewer only where the other side closed."""
    parts, missing = [], count
    while missing and (part := os.read(fd, min(missing, 1 << 20))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """All of `data`, however often the pipe is full."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def settle() -> None:
    """Make this process a trusted one of the jail: deaf to signals, closed to other processes, with few open files."""
    for signal_number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # A handler, even Python's own for SIGINT, would make process 1 reachable by that signal.
        signal.signal(signal_number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl PR_SET_DUMPABLE")
    packages = os.path.join(os.path.dirname(os.__file__), "site-packages")
    if os.path.isdir(packages):  # what is installed beside the interpreter is no part of it
        mount("tmpfs", packages, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV)


def serve() -> int:
    """The fork server's life, until the host closes its end: returns its exit code."""
    host_in, host_out = os.dup(0), os.dup(1)
    settle()
    filter_bytes, prelude_bytes = HELLO.unpack(read_exactly(host_in, HELLO.size))
    seccomp_filter = read_exactly(host_in, filter_bytes)
    exec(compile(read_exactly(host_in, prelude_bytes), "/prelude.py", "exec", dont_inherit=True), main_module.__dict__)
    gc.freeze()  # collections in the children would copy the shared pages
    os.write(host_out, b"R")
    while len(header := read_exactly(host_in, PROGRAM.size)) == PROGRAM.size:
        child = os.fork()
        if child == 0:
            # A process may enter one new pid namespace only, so a fork in between makes it.
            check(libc.unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC), "unshare")
            supervisor = os.fork()
            if supervisor == 0:
                supervise(host_in, host_out, seccomp_filter, *PROGRAM.unpack(header))
            os._exit(1 if os.waitpid(supervisor, 0)[1] else 0)
        if os.waitpid(child, 0)[1]:
            return 1  # the stream may be out of step: the host starts a new jail
    return 0


def supervise(
    host_in: int, host_out: int, seccomp_filter: bytes, timeout_s: float, memory_mb: int, code_bytes: int, stdin_bytes: int
) -> None:
    """Run one program, report, exit."""
    if os.getpid() != 1:
        os._exit(1)  # kill(-1) below is for a pid namespace of our own
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={DISK_BYTES},nr_inodes=4096,mode=0700")
    mount("/tmp", "/dev/shm", "", MS_BIND)
    os.chdir("/tmp")
    proc = open_and_hide_proc()
    with open(PROGRAM_PATH, "wb") as file:
        file.write(read_exactly(host_in, code_bytes))
    stdin = os.memfd_create("stdin")
    write_all(stdin, read_exactly(host_in, stdin_bytes))
    os.lseek(stdin, 0, os.SEEK_SET)
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    began = time.monotonic()
    program = os.fork()
    if program == 0:
        for source, target in ((stdin, 0), (out_write, 1), (err_write, 2)):
            os.dup2(source, target)
        os.closerange(3, MAX_FILES)
        run_program(timeout_s, memory_mb, seccomp_filter)
    for fd in (stdin, out_write, err_write):
        os.close(fd)
    status, timed_out, captured, cut, over_memory = watch(
        program, host_in, out_read, err_read, proc, began + timeout_s, memory_mb
    )
    wall_s = time.monotonic() - began
    notes = [f"killed: over its memory limit of {memory_mb} MB\n"] if over_memory else []
    if cut:
        notes.append(f"output cut after {OUTPUT_BYTES} bytes\n")
    stdout, stderr = bytes(captured[out_read]), bytes(captured[err_read]) + "".join(notes).encode()
    code = os.waitstatus_to_exitcode(status)
    write_all(host_out, RESULT.pack(code, timed_out, cut, wall_s, len(stdout), len(stderr)) + stdout + stderr)
    os._exit(0)


def open_and_hide_proc() -> int | None:
    """A handle on this pid namespace's /proc for the supervisor, which alone sees it; None where proc cannot be mounted.

    While it is there, further user namespaces are forbidden in the jail, so that this holds without a seccomp filter too.
    """
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError:
        proc = None
    else:
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
        proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    while libc.umount2(b"/proc", MNT_DETACH) == 0:  # ours, and the jail's below it
        pass
    if os.listdir("/proc"):  # the jail's, which a user namespace of our own may not take away
        mount("tmpfs", "/proc", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV)
    return proc


def watch(
    program: int, host_in: int, out_read: int, err_read: int, proc: int | None, deadline: float, memory_mb: int
) -> tuple[int, bool, dict[int, bytearray], bool, bool]:
    """Capture output until the program ends, its time is over, or its tree holds too much memory; then kill the tree.

    Returns (wait status, timed out, output by pipe, output cut, over memory).
    """
    captured = {out_read: bytearray(), err_read: bytearray()}
    cut = timed_out = over_memory = False
    poll = select.poll()
    ended = os.pidfd_open(program)
    for fd in (out_read, err_read, ended):
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    poll.register(host_in, 0)  # only its end: a program does not outlive the host

    def capture(fd: int) -> int | None:
        """Take what is in the pipe and keep what fits: how many bytes there were, 0 at its end, None if it is empty."""
        nonlocal cut
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return None
        room = OUTPUT_BYTES - len(captured[fd])
        captured[fd] += data[:room]
        cut = cut or len(data) > room
        return len(data)

    running, next_look = True, 0.0
    while running and not timed_out and not over_memory:
        left_s = max(0.0, deadline - time.monotonic())
        for fd, _ in poll.poll(min(left_s, TICK_S) * 1000):
            if fd == host_in:
                os._exit(1)
            elif fd == ended:
                running = False
            elif capture(fd) == 0:
                poll.unregister(fd)
        now = time.monotonic()
        timed_out = running and now >= deadline
        if running and proc is not None and now >= next_look:
            next_look = now + TICK_S
            over_memory = tree_is_over(proc, memory_mb << 20)
    os.kill(-1, signal.SIGKILL)  # everything in this pid namespace but process 1, which we are
    status = 0
    while True:
        try:
            pid, ended_status = os.wait()
        except ChildProcessError:
            break
        status = ended_status if pid == program else status
    for fd in captured:
        while capture(fd):
            pass
    timed_out = timed_out or os.waitstatus_to_exitcode(status) == -signal.SIGXCPU
    return status, timed_out, captured, cut, over_memory


def tree_is_over(proc: int, limit: int) -> bool:
    """Whether the processes of this pid namespace, process 1 left out, hold more than `limit` bytes together.

    Resident pages are summed first, which is quick and counts a shared page once for each that shares it; only a sum over
    the limit is counted again by the kernel's proportional shares.
    """
    pids = [name for name in os.listdir(proc) if name.isdigit() and name != "1"]
    resident = {pid: resident_bytes(proc, pid) for pid in pids}
    return sum(resident.values()) > limit and sum(proportional_bytes(proc, pid) or resident[pid] for pid in pids) > limit


def read_proc(proc: int, path: str) -> str:
    """A file of /proc; empty for a process that has ended, or that does not let itself be looked at."""
    try:
        with open(os.open(path, os.O_RDONLY, dir_fd=proc)) as file:
            return file.read()
    except OSError:
        return ""


def resident_bytes(proc: int, pid: str) -> int:
    """Resident memory of a process."""
    fields = read_proc(proc, f"{pid}/statm").split()
    return int(fields[1]) * resource.getpagesize() if fields else 0


def proportional_bytes(proc: int, pid: str) -> int:
    """Resident memory of a process where a page shared by n processes counts as 1/n."""
    lines = read_proc(proc, f"{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


class Loader(SourceFileLoader):
    """Compiles the file, without a look for compiled files beside it."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file."""
        return self.source_to_code(self.get_data(self.path), self.path)


def run_program(timeout_s: float, memory_mb: int, seccomp_filter: bytes) -> None:
    """In the program's own process: give up every right, then run the file as `python program.py` would. Never returns."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    cpu_s = int(timeout_s) + 2
    for kind, limit in (
        (resource.RLIMIT_AS, memory_mb << 20),
        (resource.RLIMIT_NPROC, MAX_PROCESSES),
        (resource.RLIMIT_FSIZE, DISK_BYTES),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    give_up_rights(seccomp_filter)
    import _sitebuiltins
    import builtins

    builtins.exit = builtins.quit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")  # type: ignore[assignment]
    main_module.__file__ = PROGRAM_PATH
    sys.modules["__main__"] = main_module
    sys.argv = [PROGRAM_PATH]
    sys.path.insert(0, os.path.dirname(PROGRAM_PATH))
    try:
        Loader("__main__", PROGRAM_PATH).exec_module(main_module)
        code = 0
    except SystemExit as leaving:
        code = exit_code(leaving)
    except BaseException as error:
        code = 1
        trace: TracebackType | None = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != PROGRAM_PATH:
            trace = trace.tb_next  # the frames of this file would only confuse
        sys.excepthook(type(error), error.with_traceback(trace), trace)
    # What an interpreter does at its end, save tearing down every module: that costs as much as all the rest.
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # closed, or replaced by the program
    os._exit(code & 0xFF)


def exit_code(leaving: SystemExit) -> int:
    """The exit code that `raise SystemExit(...)` means; a text is printed and means 1."""
    if leaving.code is None or isinstance(leaving.code, int):
        return leaving.code or 0
    print(leaving.code, file=sys.stderr)
    return 1


def give_up_rights(seccomp_filter: bytes) -> None:
    """No capability, no way to gain one by execve, and the system calls of `seccomp_filter` (BPF; empty: no filter) denied."""
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS")
    header = struct.pack("<Ii", CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, bytes(24)), "capset")
    # Readable again by processes of its own user, so that the supervisor can count its memory; no other program sees it.
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl PR_SET_DUMPABLE")
    if seccomp_filter:
        instructions = (_Char * len(seccomp_filter)).from_buffer_copy(seccomp_filter)
        program = struct.pack("@HP", len(seccomp_filter) // 8, _ctypes.addressof(instructions))
        check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0), "prctl PR_SET_SECCOMP")


if __name__ == "__main__":
    sys.exit(serve())
