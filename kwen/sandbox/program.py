"""Running untrusted Python: one program, or hundreds."""

import contextlib
import os
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

from kwen.errors import UserError
from kwen.progress import Progress, silent
from kwen.sandbox.forkserver import DISK_BYTES, OUTPUT_BYTES
from kwen.sandbox.jail import Jail, JailDied, Result, working_tool

UNSAFE_WARNING = "SANDBOX OFF: unsafe=True runs untrusted code with your own rights, files and network"
_MIN_MEMORY_MB = 64  # the interpreter alone needs half of it


def run(
    code: str, stdin: str | bytes = "", timeout_s: float = 5.0, memory_mb: int = 512, unsafe: bool = False
) -> Result:
    """Run the Python text `code` once, as `python program.py` in an empty /tmp would, in a jail of its own.

    See `run_many` for what the program can and cannot do. `unsafe=True` runs it unprotected, with this user's rights, and
    says so on stderr; it is for machines where no jail can be had. Raises UserError where there is neither bubblewrap nor
    nsjail, or where limits make no sense.
    """
    return run_many([code], [stdin], timeout_s, memory_mb, workers=1, unsafe=unsafe)[0]


def run_many(
    programs: Sequence[str],
    stdins: Sequence[str | bytes] | None = None,
    timeout_s: float = 5.0,
    memory_mb: int = 512,
    workers: int | None = None,
    prelude: str = "",
    show: Sequence[str] = (),
    unsafe: bool = False,
    progress: Progress = silent,
) -> list[Result]:
    """Run each program once; results in the order of `programs`. Scores hundreds of small programs a second or two.

    `workers` jails run side by side (default: one a core), each with one fork server that forks an interpreter for every
    program. `prelude` is trusted Python text that the fork server runs once for all (imports, functions): every program starts
    with its names. `show` names further files and folders of the host that programs may read (another language's interpreter),
    each at its own path.

    What a program gets: the standard library; its text in /tmp/program.py, its input on stdin; an empty /tmp (64 MiB, with
    /dev/shm in it), which ends with it. `timeout_s` of wall time, and of CPU time for each process; `memory_mb` of address
    space for each process, and of resident memory for all its processes together (watched every 20 ms, where the jail can
    have a /proc); 60 processes and threads; files of 64 MiB; 1 MiB kept of each of stdout and stderr. When it ends, all that
    it started is killed.

    What holds, for root and for an ordinary user:
    - No network, no host files but the interpreter and the C libraries (read only), no /proc, no environment, no terminal. It
      runs as an unprivileged user with no capability and no way to gain one, in its own user, pid, mount, network, IPC and UTS
      namespaces. With pyseccomp installed, ptrace, new namespaces, mounts, sockets other than AF_UNIX, and rarely tested parts
      of the kernel are refused too.
    - One program cannot see, signal, or change another, nor the process that reports its result: each has its own pid, mount
      and IPC namespace, no process that it descends from ever held another's text or output, and its only way out is its own
      stdout and stderr.
    - A jail that dies (the machine ran out of memory) costs the program that it was running, whose result says so; the rest
      goes to a new one.
    What does not: the kernel and the processor are shared, so a kernel hole or a side channel is not stopped; before Linux
    5.14 processes are counted by user, so an ordinary user's own count there.

    Raises UserError where there is neither bubblewrap nor nsjail, or where limits make no sense.
    """
    if not 0 < timeout_s < 1e6:
        raise UserError(f"sandbox: timeout_s is {timeout_s}: give a number of seconds above 0")
    if not _MIN_MEMORY_MB <= memory_mb <= 1 << 20:
        raise UserError(f"sandbox: memory_mb is {memory_mb}: give {_MIN_MEMORY_MB} or more, up to {1 << 20}")
    inputs = [""] * len(programs) if stdins is None else list(stdins)
    if len(inputs) != len(programs):
        raise UserError(f"sandbox: {len(programs)} programs but {len(inputs)} stdins: give one for each")
    if unsafe:
        print(UNSAFE_WARNING, file=sys.stderr, flush=True)
        codes = [f"{prelude}\n".encode() + _bytes(code) for code in programs]
        return [_run_unprotected(code, stdin, timeout_s, memory_mb) for code, stdin in zip(codes, inputs, strict=True)]
    working_tool()  # its UserError, if any, before any thread
    tasks: queue.SimpleQueue[int] = queue.SimpleQueue()
    finished: queue.SimpleQueue[tuple[int, Result | BaseException]] = queue.SimpleQueue()
    for index in range(len(programs)):
        tasks.put(index)

    def work() -> None:
        """One jail at a time, from this thread alone: a jail dies with the thread that started it."""
        with contextlib.ExitStack() as stack:
            jail = None
            while (index := _next(tasks)) is not None:
                try:
                    jail = jail or stack.enter_context(Jail(*working_tool(), prelude, show))
                    finished.put((index, jail.run(_bytes(programs[index]), _bytes(inputs[index]), timeout_s, memory_mb)))
                except JailDied as died:
                    stack.close()
                    jail = None
                    finished.put((index, Result("", f"{died}\n", -signal.SIGKILL, died.late, timeout_s if died.late else 0.0)))
                except BaseException as failure:
                    finished.put((index, failure))
                    return

    count = min(len(programs), workers or len(os.sched_getaffinity(0)))
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    results: dict[int, Result] = {}
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(programs):
            index, outcome = finished.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results[index] = outcome
            progress(len(results), len(programs))
    finally:
        while _next(tasks) is not None:  # on an interrupt, what has not begun does not begin
            pass
        for thread in threads:
            thread.join()
    return [results[index] for index in range(len(programs))]


def _next(tasks: "queue.SimpleQueue[int]") -> int | None:
    try:
        return tasks.get_nowait()
    except queue.Empty:
        return None


def _bytes(text: str | bytes) -> bytes:
    """UTF-8; a lone surrogate, which no UTF-8 can hold, becomes a question mark."""
    return text.encode(errors="replace") if isinstance(text, str) else text


def _run_unprotected(code: bytes, stdin: str | bytes, timeout_s: float, memory_mb: int) -> Result:
    """Run a program as an ordinary child process, with limits on time, memory, file size and output only."""
    with tempfile.TemporaryDirectory(prefix="kwen-unsafe-") as folder:
        script = os.path.join(folder, "program.py")
        with open(script, "wb") as file:
            file.write(code)
        with open(f"{folder}/out", "w+b") as out, open(f"{folder}/err", "w+b") as err, open(f"{folder}/in", "w+b") as source:
            source.write(_bytes(stdin))
            source.seek(0)
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-B", script], stdin=source, stdout=out, stderr=err, cwd=folder, start_new_session=True
            )
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))
            timed_out = False
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                timed_out = True
            finally:
                wall_s = time.monotonic() - began
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            cut = max(os.fstat(out.fileno()).st_size, os.fstat(err.fileno()).st_size) > OUTPUT_BYTES
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read(OUTPUT_BYTES).decode(errors="replace"))
            return Result(texts[0], texts[1], process.returncode, timed_out, wall_s, cut)
