"""What a session gives a cell and its caller, and what the caller's host is spared."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.sandbox import Session, describe, pool, session
from kwen.sandbox.workspace import check_name, make_file, open_file, scan

pytest.importorskip("IPython")
ROOT = Path(__file__).resolve().parents[2]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def sandbox_or_skip() -> None:
    try:
        describe()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def shell() -> Iterator[Session]:
    with Session(timeout_s=5) as opened:
        yield opened


def test_names_live_from_cell_to_cell(shell: Session) -> None:
    assert shell.run("x = 20\ndef double(n): return 2 * n").text == ""
    outcome = shell.run("print('printed')\nimport sys\nprint('and told', file=sys.stderr)\ndouble(x) + 2")
    assert (outcome.text, outcome.error, outcome.images, outcome.files) == ("printed\nand told\n42\n", None, [], [])
    assert not outcome.timed_out and not outcome.ended and 0 < outcome.wall_s < 5
    assert shell.run("_").text == "42\n" and shell.run("double(1);").text == ""


def test_an_error_is_the_cells_own_lines_and_the_exception(shell: Session) -> None:
    shell.run("import json\ndef load(text):\n    return json.loads(text)")
    error = shell.run("a = 1\nload('{')").error
    assert error == (
        "In [2] line 2: load('{')\nIn [1] line 3 in load: return json.loads(text)\n"
        "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )
    assert shell.run("b = 1\nprint(").error == "line 2: print(\n" + " " * 14 + "^\nSyntaxError: incomplete input"
    deep = shell.run("def f(): return f()\nf()").error or ""
    assert len(deep.splitlines()) == 8 and "more calls" in deep and deep.endswith("maximum recursion depth exceeded")
    assert len(shell.run("raise ValueError('x' * 100_000)").error or "") < 2000
    assert shell.run("import sys; sys.exit(3)").error == "In [6] line 1: import sys; sys.exit(3)\nSystemExit: 3"


def test_an_error_in_a_file_of_the_workspace_shows_its_line(shell: Session) -> None:
    shell.run("open('helper.py', 'w').write('def divide(a):\\n    return 1 / a\\n')")
    error = shell.run("import helper\nhelper.divide(0)").error
    assert error == (
        "In [2] line 2: helper.divide(0)\nhelper.py line 2 in divide: return 1 / a\nZeroDivisionError: division by zero"
    )


def test_figures_come_back_without_set_up() -> None:
    pytest.importorskip("matplotlib")
    with Session() as shell:
        drawn = shell.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2]);\nplt.show()\nplt.figure(); plt.bar([1], [2]);")
        assert [image[:8] for image in drawn.images] == [PNG, PNG] and drawn.text == "" and drawn.error is None
        assert shell.run("plt.get_fignums()").text == "[]\n"
        assert len(shell.run("figure, axes = plt.subplots()\nfigure").images) == 1, "as a value and as an open figure: once"
        assert len(shell.run("import pandas as pd; pd.Series([1, 2]).plot()").images) == 1
        assert shell.run("plt.plot([1], [1, 2])").error is not None
        assert len(shell.run("%matplotlib inline\nfor _ in range(20): plt.figure()").images) == 16


def test_text_is_cut_in_its_middle_and_has_no_colours(shell: Session) -> None:
    text = shell.run("print('first'); print('x' * 3_000_000); print('last')").text
    assert len(text) < session.TEXT_CHARS + 60 and text.startswith("first\n") and text.endswith("last\n")
    assert "characters cut ...]" in text
    assert shell.run(r"print('\x1b[31mred\x1b[0m 10%\r20%\r30% \ud800 文')").text == "30% \\ud800 文\n"
    assert shell.run("import os; os.write(1, b'\\xff\\n');").text == "�\n"


def test_a_cell_that_is_stopped_leaves_the_names(shell: Session) -> None:
    began = time.monotonic()
    outcome = shell.run("kept = 1\nprint('begun')\nwhile True:\n    kept += 0", timeout_s=0.5)
    assert time.monotonic() - began < 1.5
    assert outcome.timed_out and not outcome.ended and outcome.text == "begun\n"
    assert (outcome.error or "").endswith("TimeoutError: stopped after 0.5 s; the names so far are kept")
    assert shell.run("kept").text == "1\n"


def test_a_cell_that_does_not_obey_costs_the_names_and_not_the_files(shell: Session) -> None:
    shell.run("name = 1\nopen('kept.txt', 'w').write('x')")
    deaf = "import time\nwhile True:\n    try: time.sleep(9)\n    except BaseException: pass"
    began = time.monotonic()
    outcome = shell.run(deaf, timeout_s=0.4)
    assert time.monotonic() - began < 1.4
    assert outcome.timed_out and outcome.ended and "without its names" in (outcome.error or "")
    assert "NameError" in (shell.run("name").error or "")
    assert shell.files() == ["kept.txt"]


def test_memory_over_the_limit_ends_the_interpreter_and_a_hopeless_request_does_not() -> None:
    with Session(memory_mb=256) as shell:
        hopeless = shell.run("x = bytearray(4 << 30)")
        assert "MemoryError" in (hopeless.error or "") and not hopeless.ended
        grown = shell.run("x = []\nwhile True: x.append(bytearray(1 << 20))")
        assert grown.ended and (grown.error or "").startswith("MemoryError: over the memory limit of 256 MB")
        assert shell.run("1 + 1").text == "2\n"


def test_a_crash_and_an_exit_end_the_interpreter_only(shell: Session) -> None:
    assert "SIGSEGV" in (shell.run("import ctypes; ctypes.string_at(0)").error or "")
    outcome = shell.run("import os; print('bye', flush=True); os._exit(3)")
    assert outcome.ended and outcome.text == "bye\n" and "exit code 3" in (outcome.error or "")
    assert shell.run("1").text == "1\n"


def test_what_a_cell_starts_ends_with_it(shell: Session) -> None:
    fork = "import os, time\nif os.fork() == 0:\n    while True: open('tick', 'a').write('x')\ntime.sleep(0.1)"
    assert shell.run(fork).error is None
    size = len(shell.get("tick"))
    time.sleep(0.2)
    assert size > 0 and len(shell.get("tick")) == size
    shell.run("open('tock', 'w')")
    assert shell.get("tock") == b""
    count = "def count():\n    while True: open('tock', 'a').write('x')\n"
    shell.run(f"import threading\n{count}threading.Thread(target=count).start()")
    size = len(shell.get("tock"))
    time.sleep(0.2)
    assert len(shell.get("tock")) == size, "threads stand still between cells"


def test_a_forked_cell_reports_once(shell: Session) -> None:
    shell.run("import os; os.fork()")
    assert shell.run("1 + 1").text == "2\n"


def test_files_go_in_and_out(shell: Session, tmp_path: Path) -> None:
    table = tmp_path / "数据 1.csv"
    table.write_text("a\n1\n2\n")
    assert shell.put(table) == "数据 1.csv"
    outcome = shell.run("import os\nos.makedirs('out')\nopen('out/sum.txt', 'w').write(open('数据 1.csv').read())")
    assert outcome.files == ["out/sum.txt"] and shell.files() == ["out/sum.txt", "数据 1.csv"]
    assert shell.get("out/sum.txt") == b"a\n1\n2\n"
    assert shell.run("open('out/sum.txt', 'a').write('3')").files == ["out/sum.txt"]
    assert shell.run("os.remove('out/sum.txt')").files == [] and shell.files() == ["数据 1.csv"]
    for name in ("absent", "../etc/passwd", "/etc/passwd", "out", "a\0b", "", "out/../x"):
        with pytest.raises(UserError, match="cannot be had"):
            shell.get(name)
    with pytest.raises(UserError, match="cannot be read"):
        shell.put(tmp_path / "absent")


def test_only_plain_files_leave_the_session(tmp_path: Path) -> None:
    folder, secret = tmp_path / "workspace", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "given.txt").write_text("given")
    (folder / "link").symlink_to(secret)
    (folder / "inner").symlink_to(tmp_path)
    with Session(folder) as shell:
        assert shell.files() == ["given.txt"]
        outcome = shell.run(
            "import os\n"
            "os.symlink('/etc/passwd', 'passwd'); os.mkfifo('pipe'); os.link('given.txt', 'hard')\n"
            "open('tool', 'w').write('x'); os.chmod('tool', 0o6777)\n"
            "open('link', 'w').write('own'); os.mkdir('inner'); open('inner/secret', 'w').write('overwritten')\n"
            "open(b'\\xff', 'w').write('x'); open('a\\nb', 'w').write('x'); open('sparse', 'w').truncate(200 << 20)\n"
            "open('given.txt', 'a').write(' and changed')\n"
        )
        assert outcome.error is None
        assert outcome.files == ["given.txt", "hard", "inner/secret", "link", "sparse", "tool"]
        assert "not copied out of the session: inner/secret" in outcome.text
        with pytest.raises(UserError):
            shell.get("passwd")
        again = shell.run("os.remove('sparse'); open('sparse2', 'w').truncate(200 << 20)")
        assert "not copied out of the session: sparse2" in again.text
        assert shell.put(secret) == "secret" and (folder / "secret").read_text() == "secret"
    assert sorted(os.listdir(folder)) == ["given.txt", "hard", "inner", "link", "secret", "sparse", "tool"]
    assert (folder / "given.txt").read_text() == "given and changed" and (folder / "tool").stat().st_mode & 0o7777 == 0o644
    assert not (folder / "link").is_symlink() and (folder / "link").read_text() == "own"
    assert secret.read_text() == "secret"


@pytest.mark.parametrize("name", ["/a", "a/../b", "..", ".", "", "a//b", "a/", "a\nb", "\udcff", "x" * 256, "a/" * 16 + "a"])
def test_names_that_climb_or_trick_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        check_name(name)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for use in (lambda: make_file(folder, name, [b"x"]), lambda: open_file(folder, name)):
            with pytest.raises(ValueError):
                use()
        assert scan(folder) == {}
    finally:
        os.close(folder)


def test_sessions_share_nothing(tmp_path: Path) -> None:
    with Session() as first, Session() as second:
        first.run("import builtins, os; builtins.mark = 1; open('/tmp/left', 'w').write('x'); open('left', 'w').write('x')")
        seen = second.run("import os; print(os.listdir('/tmp'), os.listdir('.'), 'mark' in dir(__builtins__))")
        assert seen.text.startswith("[] [] False\n")
        assert first.run("import numpy; numpy.random.random()").text != second.run("import numpy; numpy.random.random()").text
        bomb = first.run("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", timeout_s=0.5)
        assert bomb.timed_out
        assert second.run("import subprocess, sys\nsubprocess.run([sys.executable, '-c', '1']).returncode").text == "0\n"


@pytest.mark.parametrize("tool", ["bubblewrap", "nsjail"])
def test_either_tool_holds_a_session(tool: str, use_tool: Callable[[str], None]) -> None:
    use_tool(tool)
    pool.close_pool()
    try:
        with Session() as shell:
            assert shell.run("import os; os.getpid(), os.getuid(), os.listdir('/proc'), os.getcwd()").text.replace("\n", "") == (
                "(2, 1000, [], '/workspace')"
            )
    finally:
        pool.close_pool()


def test_a_lost_pool_costs_the_session_and_not_the_next() -> None:
    with Session() as shell:
        shell.run("x = 1")
        pool.close_pool()
        outcome = shell.run("x")
        assert outcome.ended and "names and files are gone" in (outcome.error or "")
        assert "NameError" in (shell.run("x").error or "")
    with pytest.raises(UserError, match="closed"):
        shell.run("1")


def test_a_session_started_in_a_thread_outlives_it() -> None:
    import threading

    pool.close_pool()
    opened: list[Session] = []
    thread = threading.Thread(target=lambda: opened.append(Session()))
    thread.start()
    thread.join()
    with opened[0] as shell:
        time.sleep(0.2)
        assert shell.run("1 + 1").text == "2\n"


def test_a_killed_host_leaves_no_session() -> None:
    script = "from kwen.sandbox import Session, pool\ns = Session()\nprint(pool._pool._process.pid, flush=True)\n"
    script += "s.run('while True: pass', 60)"
    host = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT)
    assert host.stdout is not None
    leader = host.stdout.readline().decode().strip()
    time.sleep(0.2)
    host.kill()
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + 2
    while (left := group(leader)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def group(leader: str) -> list[str]:
    """Live processes of a process group."""
    rows = [line.split(None, 2) for line in subprocess.check_output(["ps", "-eo", "pgid,stat,args"], text=True).splitlines()]
    return [row[2] for row in rows if row[0] == leader and not row[1].startswith("Z")]


def test_unsafe_says_so_once_and_works(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(session, "_warned", False)
    with Session(tmp_path, unsafe=True) as shell, Session(unsafe=True):
        assert shell.run("x = 1\nx + 1").text == "2\n"
        assert shell.run("open('made.txt', 'w').write('x')").files == ["made.txt"]
        assert shell.run("while True: pass", timeout_s=0.3).timed_out and shell.run("x").text == "1\n"
        folder = shell.run("import os; print(os.getcwd())").text.strip()
    assert capfd.readouterr().err.count("SANDBOX OFF") == 1
    assert (tmp_path / "made.txt").read_text() == "x" and not os.path.exists(folder)


def test_without_ipython_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = pool.importlib.util.find_spec
    monkeypatch.setattr(pool.importlib.util, "find_spec", lambda name: None if name == "IPython" else find(name))
    with pytest.raises(UserError, match=r'pip install "kwen\[agent\]"'):
        Session()


def test_importing_the_sandbox_does_not_load_ipython() -> None:
    code = "import sys, kwen.sandbox; kwen.sandbox.Session; print({'IPython', 'numpy', 'matplotlib'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT) == "set()\n"


SENSELESS = [{"timeout_s": 0}, {"memory_mb": 1}, {"timeout_s": float("nan")}, {"workspace": Path("/dev/null")}]


@pytest.mark.parametrize("wrong", SENSELESS)
def test_senseless_sessions_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="sandbox: "):
        Session(**wrong)  # type: ignore[arg-type]
