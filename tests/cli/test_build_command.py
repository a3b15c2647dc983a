"""`kwen build`, `status`, `report` and `doctor` as a user meets them, on a family of text alone."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from kwen.cli.display import LiveLines, display, headline, one_line_progress, sparkline
from kwen.cli.main import exit_code
from kwen.family.artifact import Manifest
from kwen.family.graph import Job, Node, Stage, Step


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.yaml"
    sections = ["corpus: {sources: [{kind: nanoworld, count: 30}]}", "tokenizer: {vocab_size: 400, extra_tokens: 5}"]
    path.write_text("\n".join(["name: text", *sections, ""]))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard output of a command that must succeed."""
    assert exit_code(list(arguments)) == 0
    return capsys.readouterr().out


def test_build_status_report_and_again(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = run(capsys, "build", str(recipe), "--dry-run")
    assert "build  corpus      not built yet" in planned and not (tmp_path / "runs").exists()
    built = run(capsys, "build", str(recipe))
    assert "done   tokenizer" in built and "report: runs/text/report/index.html" in built
    assert "kept   corpus" in run(capsys, "build", str(recipe))
    listed = run(capsys, "status", "runs/text")
    names = ["corpus", "tokenizer", "shards", "report"]
    assert [line.split()[:2] for line in listed.splitlines()] == [["done", name] for name in names]
    told = run(capsys, "build", str(recipe), "--dry-run", "--set", "tokenizer.vocab_size=420")
    assert "build  tokenizer   tokenizer.vocab_size 400 -> 420" in told
    assert "maybe  shards      if tokenizer comes out changed" in told
    assert "2 to build, 1 more if an input changes, 1 up to date" in told
    log = (tmp_path / "runs" / "text" / "build.log").read_text()
    assert "start  corpus      not built yet" in log and "\x1b" not in log
    assert run(capsys, "report", "runs/text").strip() == "runs/text/report/index.html"
    numbers = json.loads(run(capsys, "report", "runs/text", "--json"))
    assert numbers["artifacts"]["tokenizer"]["metrics"]["vocab_size"] == 400 and numbers["record"]["wall_s"] > 0


def test_only_one_artifact_and_a_report_of_what_stands(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "build", str(recipe), "--only", "tokenizer")
    assert not (tmp_path / "runs" / "text" / "shards").exists()
    assert run(capsys, "report", "runs/text").strip() == "runs/text/report/index.html"
    assert "shards" not in json.loads(run(capsys, "report", "runs/text", "--json"))["artifacts"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["build", "no-such"], "no recipe 'no-such'"),
        (["build", "micro", "--set", "base.hiden_size=3"], "recipes/micro.yaml: base.hiden_size is not a key; did you mean"),
        (["build", "text.yaml", "--only", "bas"], "no artifact 'bas' in this family"),
        (["status", "nowhere"], "nowhere: no run of a family here"),
        (["report", "nowhere"], "nowhere: no run of a family here"),
    ],
)
def test_mistakes_are_one_line_and_2(recipe: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    assert exit_code(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {told}") and err.count("\n") == 1


def test_another_familys_folder_is_left_alone(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "build", str(recipe), "--only", "corpus", "--out", "here")
    (tmp_path / "other.yaml").write_text(recipe.read_text().replace("name: text", "name: other"))
    assert exit_code(["build", "other.yaml", "--out", "here"]) == 2
    assert "holds the family 'text', not 'other'" in capsys.readouterr().err


def test_doctor_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "doctor")
    for word in ("processor", "threads", "precision", "memory", "disk", "GPU", "torch", "sandbox", "tensorboard"):
        assert word in told


def stage(job: Job) -> dict[str, object]:
    return {}


def test_the_terminal_shows_one_line_an_artifact_and_the_live_one_with_its_curve() -> None:
    console = Console(force_terminal=True, width=100, color_system=None, file=io.StringIO())
    plain = Console(width=100, file=io.StringIO(), record=True)
    steps = [Step(Node(name, Stage("shards", 1, stage), {}), "build") for name in ("shards", "base", "evals")]
    with display(console) as watcher:
        assert isinstance(watcher, LiveLines)
        watcher.planned(steps)
        watcher.started("shards", ())
        metrics = {"train": {"tokens": 12_300_000, "bytes_per_token": 3.8}}
        watcher.finished(Manifest("shards", "shards", 1, "", {}, {}, 0, {}, metrics, {"wall_s": 11.0}), True)
        watcher.started("base", ())
        for step in range(1, 9):
            watcher.progressed("base", step, 16, 103.0, {"loss": 8.0 - step, "tokens_per_s": 17_900.0})
    plain.print(watcher)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "done   shards" in shown and "12.3M tokens · 3.80 bytes a token" in shown and "0:11" in shown
    shown = plain.export_text()
    assert "now    base" in shown and "50 % · loss 0.000 █▇▆▅▄▃▂▁ · 17.9k tokens/s" in shown
    assert "next   evals" in shown and "about 1:43 left" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_a_stage_alone_is_told_in_plain_lines_when_not_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with one_line_progress(Console(), "pretrain") as progress:
        for step in range(100):
            progress(step + 1, 100, loss=2.5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "start  pretrain" and len(lines) == 11 and lines[-1].startswith("now    pretrain    100 % · loss 2.5")


def test_sparkline_and_headline(tmp_path: Path) -> None:
    assert sparkline([3, 2, 1]) == "█▅▁" and sparkline([]) == "" and sparkline([1, 1]) == "▁▁"
    assert len(sparkline([1.0] * 999)) == 20
    assert str(tmp_path / "new") in headline(tmp_path / "new") and "GiB free" in headline(tmp_path / "new")
