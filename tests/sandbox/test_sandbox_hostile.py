"""Hostile programs: none gets out, harms anything, outlives its run, or takes more than its limit and a second."""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hostile_programs import OVER_MEMORY, PROGRAMS, TIMED_OUT

from kwen.sandbox import Result, describe, run_many, tools
from kwen.sandbox.forkserver import OUTPUT_BYTES

HANG_S, OTHER_S = 0.7, 6.0  # wall limits of those that never end by themselves, and of the others
MEMORY_MB = 256


def processes_of(uids: set[int]) -> list[psutil.Process]:
    """Live processes of these users."""
    found = []
    for process in psutil.process_iter(["uids", "status"]):
        if process.info["uids"] and process.info["uids"].real in uids and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def nothing_left(uids: set[int]) -> bool:
    """Whether the jails' processes are gone, within a second of the kernel's time to bury them."""
    deadline = time.monotonic() + 1
    while processes_of(uids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not processes_of(uids)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that anyone may read and write."""
    path = tmp_path / "canary.txt"
    path.write_text("secret")
    path.chmod(0o666)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    return path


def run_all(canary: Path, runner: Callable[..., list[Result]]) -> dict[str, Result]:
    """Every hostile program's result, by name."""
    texts = dict(zip(PROGRAMS, hostile_texts(canary), strict=True))
    results: dict[str, Result] = {}
    for names, limit_s in ((TIMED_OUT, HANG_S), (PROGRAMS.keys() - TIMED_OUT, OTHER_S)):
        ordered = sorted(names)
        found = runner(programs=[texts[name] for name in ordered], timeout_s=limit_s, memory_mb=MEMORY_MB)
        results |= dict(zip(ordered, found, strict=True))
    return results


def hostile_texts(canary: Path) -> list[str]:
    facts = {"canary": str(canary), "project": str(Path(__file__).parents[2]), "pid": str(os.getpid())}
    texts = []
    for text in PROGRAMS.values():
        for name, value in facts.items():
            text = text.replace("{" + name + "}", value)
        texts.append(text.replace("{{", "{").replace("}}", "}"))
    return texts


def check(by_name: dict[str, Result], canary: Path) -> None:
    """What must hold whoever ran the programs, and with whatever tool."""
    for name, result in by_name.items():
        assert "ESCAPED" not in result.stdout, (name, result.stdout[:200])
        assert result.wall_s < (HANG_S if name in TIMED_OUT else OTHER_S) + 1, (name, result.wall_s)
        assert len(result.stdout) <= OUTPUT_BYTES, name
    assert {name for name, result in by_name.items() if result.timed_out} == TIMED_OUT
    assert canary.read_text() == "secret"
    assert by_name["kill_supervisor"].stdout == "alive\n" and by_name["kill_everything"].stdout == "nobody\n"
    assert by_name["daemon"].stdout == by_name["daemon_holding_stdout"].stdout == "left\n"
    assert by_name["daemon_holding_stdout"].wall_s < OTHER_S
    assert "MemoryError" in by_name["memory"].stderr and "MemoryError" in by_name["memory_slowly"].stderr
    for name in OVER_MEMORY:
        assert by_name[name].exit_code == -9 and "memory limit of 256 MB" in by_name[name].stderr, (name, by_name[name])
    for name in ("print_for_ever", "huge_stderr"):
        assert by_name[name].output_cut and by_name[name].stderr.endswith(f"output cut after {OUTPUT_BYTES} bytes\n")
    for name in ("huge_file", "many_files", "shared_memory_files", "many_inodes"):
        assert "OSError" in by_name[name].stderr, (name, by_name[name].stderr[-200:])
    assert by_name["segfault"].exit_code == -11 and by_name["abort"].exit_code == -6
    assert by_name["leave"].exit_code == 7 and by_name["forge_result"].exit_code == 9
    assert "RecursionError" in by_name["recursion"].stderr


@pytest.mark.parametrize("tool", ["bubblewrap", "nsjail"])
def test_hostile_programs_are_held(
    tool: str, use_tool: Callable[[str], None], canary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tool(tool)
    uids: set[int] = set()
    choose = tools.unused_uid
    monkeypatch.setattr(tools, "unused_uid", lambda: (uid := choose(), uids.add(uid))[0])
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    needed = describe()
    if not (needed["seccomp"] and needed["tree_memory_limit"]):
        pytest.skip(f"this machine cannot have every guarantee: {needed}")
    before = set(psutil.Process().children(recursive=True))  # of other tests, such as Python's own resource tracker
    check(run_all(canary, run_many), canary)
    assert not os.listdir(tmp_path / "temporary")
    assert not set(psutil.Process().children(recursive=True)) - before
    assert os.geteuid() != 0 or (uids and nothing_left(uids))


def test_hostile_programs_are_held_for_an_ordinary_user(
    ordinary_user: Callable[..., tuple[list[Result], int]], canary: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    uids: set[int] = set()

    def runner(**request: object) -> list[Result]:
        results, uid = ordinary_user(**request)
        uids.add(uid)
        return results

    check(run_all(canary, runner), canary)
    assert nothing_left(uids)
