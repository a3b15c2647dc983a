"""The laws of the build graph, on a family of three small stages: a list, a sum of it, and a note on both."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kwen.errors import UserError
from kwen.family.artifact import read_manifest
from kwen.family.build import build, hash_cache, locked
from kwen.family.graph import Job, Node, Stage, plan, select
from kwen.files import write_json


def _list(job: Job) -> dict[str, Any]:
    write_json(job.out / "list.json", [int(job.settings["base"]) * i for i in range(int(job.settings["length"]))])
    return {"length": job.settings["length"], "record": {"tokens_per_s": 12.5}}


def _sum(job: Job) -> dict[str, Any]:
    numbers = json.loads((job.inputs["list"] / "list.json").read_text())
    write_json(job.out / "sum.json", sum(numbers) % int(job.settings["modulus"]))
    return {}


def _note(job: Job) -> dict[str, Any]:
    parts = [json.loads((job.inputs["list"] / "list.json").read_text()), json.loads((job.inputs["sum"] / "sum.json").read_text())]
    write_json(job.out / "note.json", parts)
    return {}


def family(base: int = 3, length: int = 4, modulus: int = 10, version: int = 1, source: Path | None = None) -> list[Node]:
    """list -> sum -> note, and list -> note."""
    settings = {"list": {"base": base, "length": length}, "sum": {"modulus": modulus}, "note": {}}

    def node(name: str, run: Any, version: int, inputs: tuple[str, ...], sources: dict[str, Path | str]) -> Node:
        return Node(name, Stage(name, version, run), {name: settings[name]}, settings[name], inputs, sources)

    return [
        node("list", _list, 1, (), {"words": source} if source is not None else {}),
        node("sum", _sum, version, ("list",), {}),
        node("note", _note, 1, ("list", "sum"), {}),
    ]


class Diary:
    """A watcher that remembers which artifacts were built and which were kept."""

    def __init__(self) -> None:
        self.built: list[str] = []
        self.kept: list[str] = []

    def planned(self, steps: Sequence[Any]) -> None: ...
    def started(self, name: str, reasons: Sequence[str]) -> None: ...
    def progressed(self, name: str, done: float, total: float, left: float | None, facts: Any) -> None: ...
    def failed(self, name: str) -> None: ...

    def finished(self, manifest: Any, built: bool) -> None:
        (self.built if built else self.kept).append(manifest.name)


def run_build(nodes: list[Node], run: Path, **options: Any) -> list[str]:
    """Build and return the names of what was built."""
    diary = Diary()
    build(nodes, run, options.pop("seed", 0), [diary], **options)
    return diary.built


def reasons(nodes: list[Node], run: Path, seed: int = 0) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {step.node.name: (step.state, step.reasons) for step in plan(nodes, run, seed, hash_cache(run))}


def test_a_second_build_builds_nothing(tmp_path: Path) -> None:
    assert run_build(family(), tmp_path) == ["list", "sum", "note"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json") if ".work" not in path.parts}
    assert run_build(family(), tmp_path) == []
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json") if ".work" not in path.parts}


def test_a_changed_key_rebuilds_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    run_build(family(), tmp_path)
    assert run_build(family(modulus=7), tmp_path) == ["sum", "note"]


def test_an_input_that_comes_out_equal_leaves_its_dependants(tmp_path: Path) -> None:
    run_build(family(base=3, modulus=10), tmp_path)
    assert run_build(family(base=3, modulus=5), tmp_path) == ["sum", "note"]  # 18 % 10 = 8, 18 % 5 = 3
    assert run_build(family(base=3, modulus=15), tmp_path) == ["sum"]  # 18 % 15 = 3 again: the note stands


def test_dry_run_says_what_and_why(tmp_path: Path) -> None:
    assert reasons(family(), tmp_path)["list"] == ("build", ("not built yet",))
    run_build(family(), tmp_path)
    assert {state for state, _ in reasons(family(), tmp_path).values()} == {"done"}
    changed = reasons(family(length=9), tmp_path)
    assert changed["list"] == ("build", ("list.length 4 -> 9",))
    assert changed["sum"] == ("maybe", ("if list comes out changed",))
    assert changed["note"][0] == "maybe"
    assert reasons(family(version=2), tmp_path)["sum"] == ("build", ("stage sum version 1 -> 2",))
    assert reasons(family(), tmp_path, seed=5)["sum"][1][0] == "seed 0 -> 5"


def test_a_changed_or_missing_file_is_noticed_and_named(tmp_path: Path) -> None:
    run_build(family(), tmp_path)
    (tmp_path / "sum" / "sum.json").write_text("4\n")
    assert reasons(family(), tmp_path)["sum"] == ("build", ("sum.json was changed after it was made",))
    assert run_build(family(), tmp_path) == ["sum"]
    (tmp_path / "list" / "list.json").unlink()
    assert reasons(family(), tmp_path)["list"] == ("build", ("list.json is missing",))
    assert run_build(family(), tmp_path) == ["list"]


def test_verify_reads_files_whose_size_and_time_did_not_change(tmp_path: Path) -> None:
    run_build(family(), tmp_path)
    path = tmp_path / "sum" / "sum.json"
    stat = path.stat()
    path.write_text("9\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run_build(family(), tmp_path) == []
    assert run_build(family(), tmp_path, verify=True) == ["sum"]


def test_a_source_outside_the_run_is_an_input_by_content_not_by_path(tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.mkdir()
    (words / "a.txt").write_text("one")
    run = tmp_path / "run"
    run_build(family(source=words), run)
    moved = words.rename(tmp_path / "moved")
    assert run_build(family(source=moved), run) == []
    (moved / "a.txt").write_text("two")
    assert reasons(family(source=moved), run)["list"] == ("build", ("words changed",))
    with pytest.raises(UserError, match="no such file or folder"):
        build(family(source=words), run, 0)


def test_manifest_says_what_it_was_made_from_and_hashes_no_record(tmp_path: Path) -> None:
    run_build(family(), tmp_path)
    listed, note = read_manifest(tmp_path / "list"), read_manifest(tmp_path / "note")
    assert listed is not None and note is not None
    assert listed.metrics == {"length": 4} and listed.record["tokens_per_s"] == 12.5 and listed.record["wall_s"] >= 0
    assert note.inputs["list"] == listed.content and note.config == {"note": {}}
    again = tmp_path / "again"
    run_build(family(), again)
    other = read_manifest(again / "note")
    assert other is not None and (other.key, other.content) == (note.key, note.content)


def test_only_builds_the_named_artifact_and_its_ancestors(tmp_path: Path) -> None:
    assert [node.name for node in select(family(), ["sum"])] == ["list", "sum"]
    assert run_build(select(family(), ["sum"]), tmp_path) == ["list", "sum"]
    with pytest.raises(UserError, match="no artifact 'sums' in this family; it has list, sum, note"):
        select(family(), ["sums"])


def test_a_second_build_in_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match=f"another build is at work here .process {os.getpid()}."):
        build(family(), tmp_path, 0)
    assert run_build(family(), tmp_path) == ["list", "sum", "note"]


def test_a_failing_stage_leaves_the_old_artifact(tmp_path: Path) -> None:
    run_build(family(), tmp_path)
    kept = (tmp_path / "sum" / "sum.json").read_bytes()
    with pytest.raises(ZeroDivisionError):
        build(family(modulus=0), tmp_path, 0)
    assert (tmp_path / "sum" / "sum.json").read_bytes() == kept
    assert not list(tmp_path.glob(".*.aside"))
    assert run_build(family(), tmp_path) == []


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    def fill(job: Job) -> dict[str, Any]:
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    nodes = [Node("list", Stage("list", 1, fill), {})]
    with pytest.raises(UserError, match="the disk is full; make room and run the same command again"):
        build(nodes, tmp_path, 0)


def test_scratch_belongs_to_one_key_and_survives_a_failure(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def half(job: Job) -> dict[str, Any]:
        seen.append(sorted(path.name for path in job.work.iterdir()))
        (job.work / "checkpoint").write_text("half way")
        if len(seen) < 4:
            raise KeyboardInterrupt
        return {}

    for step in (1, 1, 2, 2):
        nodes = [Node("list", Stage("list", 1, half), {"list": {"step": step}})]
        if len(seen) < 3:
            with pytest.raises(KeyboardInterrupt):
                build(nodes, tmp_path, 0)
        else:
            build(nodes, tmp_path, 0)
    assert seen == [["key"], ["checkpoint", "key"], ["key"], ["checkpoint", "key"]]
    assert not (tmp_path / ".work" / "list").exists()


def test_killed_at_any_moment_the_same_command_ends_the_same(tmp_path: Path) -> None:
    program = tmp_path / "slow.py"
    program.write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from kwen.family.build import build
            from kwen.family.graph import Job, Node, Stage

            def write(job: Job) -> dict:
                with open(job.out / "big.txt", "w") as file:
                    for i in range(30):
                        file.write(f"{job.name} {i}\\n" * 50)
                        file.flush()
                        time.sleep(0.005)
                return {}

            nodes = [Node("a", Stage("a", 1, write), {}), Node("b", Stage("b", 1, write), {}, None, ("a",))]
            build(nodes, Path(sys.argv[1]), 0)
            """
        )
    )

    def start(run: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(program), str(run)], stderr=subprocess.PIPE)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait(30) == 0
    for delay in (0.1, 0.25):
        process = start(killed)
        deadline = time.monotonic() + 20
        while not (killed / "build.log").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for name in ("a", "b"):  # whatever stands is whole
            if (killed / name).exists():
                assert (killed / name / "big.txt").read_bytes() == (whole / name / "big.txt").read_bytes()
    assert start(killed).wait(30) == 0
    for name in ("a", "b"):
        one, other = read_manifest(killed / name), read_manifest(whole / name)
        assert one is not None and other is not None and (one.key, one.files) == (other.key, other.files)
    assert sorted(path.name for path in killed.iterdir() if path.name.endswith((".aside", ".old"))) == []
