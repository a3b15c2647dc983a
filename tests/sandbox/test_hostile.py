"""Hostile programs: none gets out, harms anything, outlives its run, or takes more than its limit and a second.

Each way of running them (as root with either tool, as an ordinary user) runs all of them once, each followed by a program that
must work; then there is one test for each.
"""

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import only_tool, run_as_ordinary_user, sessions_as_ordinary_user
from hostile_programs import CELLS, CELLS_TIMED_OUT, OVER_MEMORY, PROGRAMS, TIMED_OUT

from kwen.errors import UserError
from kwen.sandbox import Outcome, Result, Session, describe, pool, run_many, tools
from kwen.sandbox.forkserver import OUTPUT_BYTES

HANG_S, OTHER_S = 0.3, 6.0  # wall limits of those that never end by themselves, and of the others
MEMORY_MB, CELL_MEMORY_MB = 256, 320
WELL = "print('all is well')"
ROOT_ONLY = "the other tests run as an ordinary user already"
# In a session: 3 and 4 are its own pipes; a thread that finds no memory may leave its starter waiting.
CELL_OPENS, CELL_MAY_HANG = {"descriptors"}, {"thread_bomb", "deep_folders", "c_stack"}
SESSION_PROGRAMS = {**{name: text for name, text in PROGRAMS.items() if name not in CELL_OPENS}, **CELLS}
SESSION_TIMED_OUT = TIMED_OUT | CELLS_TIMED_OUT


@dataclass
class Ran:
    """The results of one way of running them all."""

    by_name: dict[str, Any]
    next_by_name: dict[str, Any]
    canary: str  # its text afterwards
    left: list[str]  # files and processes


def processes_of(uids: set[int]) -> list[str]:
    """Live processes of these users."""
    found = []
    for process in psutil.process_iter(["uids", "status", "name"]):
        if process.info["uids"] and process.info["uids"].real in uids and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"process {process.pid} {process.info['name']}")
    return found


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[tuple[Path, set[int], list[str]]]:
    """A canary file that anyone may write, a set for the user ids of jails, and, when left, what was left behind."""
    canary, temporary = folder / "canary.txt", folder / "temporary"
    canary.write_text("secret")
    canary.chmod(0o666)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o055)
    temporary.mkdir()
    uids: set[int] = set()
    left: list[str] = []
    choose = tools.unused_uid
    before = set(psutil.Process().children(recursive=True))  # of other tests, such as Python's own resource tracker
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0kwen-hostile-{os.getpid()}")
        listener.listen()
        patch.setattr(tools, "unused_uid", lambda: (uid := choose(), uids.add(uid))[0])
        patch.setattr(tempfile, "tempdir", str(temporary))
        yield canary, uids, left
    deadline = time.monotonic() + 1  # the kernel's time to bury
    while processes_of(uids) and time.monotonic() < deadline:
        time.sleep(0.02)
    left += os.listdir(temporary) + processes_of(uids)
    left += [str(process) for process in set(psutil.Process().children(recursive=True)) - before]


def need_every_guarantee() -> None:
    try:
        has = describe()
    except UserError as error:
        pytest.skip(str(error))
    if not (has["seccomp"] and has["tree_memory_limit"]):
        pytest.skip(f"this machine cannot have every guarantee: {has}")


def filled(text: str, canary: Path) -> str:
    for name, value in {"canary": str(canary), "project": str(Path(__file__).parents[2]), "pid": str(os.getpid())}.items():
        text = text.replace("{" + name + "}", value)
    return text.replace("{{", "{").replace("}}", "}")


@pytest.fixture(scope="module", params=["bubblewrap", "nsjail", "ordinary user"])
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Every program's result through `run_many`."""
    with contextlib.ExitStack() as stack:
        if request.param != "ordinary user":
            stack.enter_context(only_tool(request.param))
        elif os.geteuid() != 0:
            pytest.skip(ROOT_ONLY)
        need_every_guarantee()
        by_name: dict[str, Result] = {}
        next_by_name: dict[str, Result] = {}
        with watched(tmp_path_factory.mktemp("host")) as (canary, uids, left):
            for names, limit_s in ((TIMED_OUT, HANG_S), (PROGRAMS.keys() - TIMED_OUT, OTHER_S)):
                ordered = sorted(names)
                programs = [text for name in ordered for text in (filled(PROGRAMS[name], canary), WELL)]
                limits: dict[str, Any] = {"timeout_s": limit_s, "memory_mb": MEMORY_MB}
                if request.param == "ordinary user":
                    results, uid = run_as_ordinary_user(programs=programs, **limits)
                    uids.add(uid)
                else:
                    results = run_many(programs, **limits)
                by_name |= dict(zip(ordered, results[::2], strict=True))
                next_by_name |= dict(zip(ordered, results[1::2], strict=True))
        yield Ran(by_name, next_by_name, canary.read_text(), left)


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_hostile_program_is_held(name: str, ran: Ran) -> None:
    result = ran.by_name[name]
    assert "ESCAPED" not in result.stdout, result.stdout[:200]
    assert result.wall_s < (HANG_S if name in TIMED_OUT else OTHER_S) + 1
    assert result.timed_out == (name in TIMED_OUT)
    assert len(result.stdout) <= OUTPUT_BYTES
    assert ran.next_by_name[name].stdout == "all is well\n", ran.next_by_name[name]
    if name in OVER_MEMORY:
        assert result.exit_code == -9 and f"memory limit of {MEMORY_MB} MB" in result.stderr
    wanted = {
        "kill_supervisor": "alive\n",
        "kill_parent": "alive\n",
        "kill_everything": "nobody\n",
        "daemon": "left\n",
        "daemon_holding_stdout": "left\n",
    }
    assert result.stdout == wanted.get(name, result.stdout)
    error = {
        **dict.fromkeys(("memory", "memory_slowly", "zip_bomb"), "MemoryError"),
        **dict.fromkeys(("huge_file", "many_files", "shared_memory_files", "many_inodes"), "OSError"),
        **dict.fromkeys(("huge_argv", "descriptor_bomb"), "OSError"),
        **dict.fromkeys(("recursion", "c_recursion"), "RecursionError"),
        **dict.fromkeys(("print_for_ever", "huge_stderr"), f"output cut after {OUTPUT_BYTES} bytes\n"),
    }
    assert error.get(name, "") in result.stderr
    codes = {"segfault": -11, "c_stack": -11, "abort": -6, "leave": 7, "forge_result": 9}
    assert result.exit_code == codes.get(name, result.exit_code)


def test_hostile_programs_leave_nothing(ran: Ran) -> None:
    assert ran.canary == "secret" and ran.left == []


@pytest.fixture(scope="module", params=["bubblewrap", pytest.param("ordinary user", marks=pytest.mark.slow)])
def sessions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Every program's outcome as a cell of a session of its own."""
    pytest.importorskip("IPython")
    with contextlib.ExitStack() as stack:
        if request.param != "ordinary user":
            stack.enter_context(only_tool(request.param))
        elif os.geteuid() != 0:
            pytest.skip(ROOT_ONLY)
        need_every_guarantee()
        pool.close_pool()
        by_name: dict[str, Outcome] = {}
        next_by_name: dict[str, Outcome] = {}
        with watched(tmp_path_factory.mktemp("host")) as (canary, uids, left):
            for names, limit_s in ((SESSION_TIMED_OUT, HANG_S), (SESSION_PROGRAMS.keys() - SESSION_TIMED_OUT, OTHER_S)):
                ordered = sorted(names)
                cells = [[filled(SESSION_PROGRAMS[name], canary), WELL] for name in ordered]
                if request.param == "ordinary user":
                    found, uid = sessions_as_ordinary_user(cells=cells, timeout_s=limit_s, memory_mb=CELL_MEMORY_MB)
                    uids.add(uid)
                    outcomes = [[Outcome(**fields | {"images": []}) for fields in pair] for pair in found]
                else:
                    outcomes = [in_a_session(pair, limit_s) for pair in cells]
                by_name |= {name: pair[0] for name, pair in zip(ordered, outcomes, strict=True)}
                next_by_name |= {name: pair[1] for name, pair in zip(ordered, outcomes, strict=True)}
            pool.close_pool()
        yield Ran(by_name, next_by_name, canary.read_text(), left)


def in_a_session(cells: list[str], limit_s: float) -> list[Outcome]:
    with Session(timeout_s=limit_s, memory_mb=CELL_MEMORY_MB) as session:
        return [session.run(cell) for cell in cells]


@pytest.mark.parametrize("name", sorted(SESSION_PROGRAMS))
def test_a_hostile_cell_is_held(name: str, sessions: Ran) -> None:
    outcome, after = sessions.by_name[name], sessions.next_by_name[name]
    assert "ESCAPED" not in outcome.text, outcome.text[:200]
    assert outcome.wall_s < (HANG_S if name in SESSION_TIMED_OUT else OTHER_S) + 1
    if name not in CELL_MAY_HANG:
        assert (outcome.timed_out or outcome.ended) if name in SESSION_TIMED_OUT else not outcome.timed_out, outcome
    assert all(image.startswith(b"\x89PNG") for image in outcome.images)
    wanted: dict[str, Callable[[], bool]] = {
        "kill_supervisor": lambda: outcome.ended or outcome.text == "alive\n",
        "memory_slowly": lambda: outcome.ended and "over the memory limit" in (outcome.error or ""),
        "memory_tree": lambda: outcome.ended and "over the memory limit" in (outcome.error or ""),
        "segfault": lambda: outcome.ended and "SIGSEGV" in (outcome.error or ""),
        "garbage_everywhere": lambda: outcome.ended and "reports" in (outcome.error or ""),
        "forged_report": lambda: outcome.ended and "reports" in (outcome.error or ""),
        "no_image": lambda: outcome.images == [],
        "strange_names": lambda: outcome.files == ["-rf"],
    }
    assert wanted.get(name, lambda: True)(), outcome
    # A cell may spoil its own interpreter, whose names are its own; then the supervisor has another.
    spoilt = {"other_interpreter", "other_displayhook", "closed_streams", "nonblocking", "late_killer", "timers"}
    assert after.text == "all is well\n" or (name in spoilt and after.error is not None), after


def test_hostile_cells_leave_nothing(sessions: Ran) -> None:
    assert sessions.canary == "secret" and sessions.left == []
