"""The small process between Kwen and an MCP server's command: it leaves nothing of that command behind.

Kwen runs this file with the isolated interpreter (`python -I -S mcp_keeper.py NAMES COMMAND...`). It starts the command on its
own stdin, stdout and stderr, with the environment variables NAMES (comma-separated: the interpreter adds one of its own that
is not passed on), and waits. Three things end the command: its own exit, a SIGTERM from Kwen, and Kwen's death (also by SIGKILL:
the kernel then sends this process a SIGTERM). In each case every process that came of the command is killed, those that moved
to a session of their own too: as the "child subreaper" of its descendants (prctl(2)) this process becomes the parent of each
one whose parent dies, so killing children until there are none reaches all. Without Linux only the process group is killed.

Only the standard library's cheapest modules are imported: this runs at every start of a server.
"""

import contextlib
import os
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
GRACE_S = 1.0  # between the polite signal and the deadly one
KILL_S = 1.5  # for killing what is left; more only if processes fork faster than they are killed


def be_told_and_be_parent() -> None:
    """Ask Linux for a SIGTERM when Kwen dies, and for the orphans among the descendants."""
    import ctypes

    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """The process ids whose parent this process is, by /proc."""
    mine, found = os.getpid(), []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", encoding="latin-1") as file:
            # After the name, which may hold anything but ends at the last bracket: state, parent.
            if int(file.read().rpartition(")")[2].split()[1]) == mine:
                found.append(int(entry))
    return found


def send(processes: list[int], signal_number: int) -> None:
    """Signal each one that still lives."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal_number)


def reap() -> tuple[dict[int, int], bool]:
    """The exit codes of the children that have ended, and whether any child is left."""
    ended = {}
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    except ChildProcessError:
        return ended, False
    return ended, True


def kill_the_rest() -> None:
    """Kill children until there are none: the children of each one killed become children here."""
    until = time.monotonic() + KILL_S
    while reap()[1] and time.monotonic() < until:
        send(children(), signal.SIGKILL)
        time.sleep(0.002)


def keep(names: list[str], command: list[str]) -> int:
    """Run `command`, with those environment variables only, to its end or ours.

    Returns its exit code as a shell would: 128 and the signal's number for a kill.
    """
    linux = sys.platform == "linux"
    kwen = os.getppid()
    if linux:
        be_told_and_be_parent()
        if os.getppid() != kwen:  # died before it could be asked
            return 1
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    env = {name: os.environ[name] for name in names if name in os.environ}
    try:
        server = os.posix_spawn(command[0], command, env, setsigdef=(signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE))
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # so that the pipes close when the server closes them
        os.dup2(nothing, stream)
    deadline = None
    while True:
        ended, _ = reap()
        if server in ended or (deadline is not None and time.monotonic() >= deadline):
            break
        waited = select.select([wake_read], [], [], None if deadline is None else max(0.0, deadline - time.monotonic()))
        if waited[0] and signal.SIGTERM in os.read(wake_read, 512) and deadline is None:
            deadline = time.monotonic() + GRACE_S
            send(children() if linux else [server], signal.SIGTERM)
    if linux:
        kill_the_rest()
    else:
        os.killpg(0, signal.SIGKILL)  # this process is in the group: nothing comes after
    code = ended.get(server, -signal.SIGKILL)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1].split(","), sys.argv[2:]))
