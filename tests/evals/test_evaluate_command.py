import json
from pathlib import Path

import pytest

from kwen.cli.main import exit_code
from kwen.evals.tasks.nanoworld import HeldOut


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = exit_code(["eval", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_json_has_the_contracts_form(tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "held_out.jsonl").write_text('{"text": "A lamp.", "language": "en"}\n{"text": "一盏灯。", "language": "zh"}\n')
    code, out, _ = run(capsys, tiny_folder, "--tasks", "nanoworld-facts,perplexity", "--limit", 2, "--data", tmp_path,
                       "--json", tmp_path / "scores.json", "--out", tmp_path / "kept")  # fmt: skip
    assert code == 0 and "nanoworld-facts" in out and "bits a byte" in out
    scores = json.loads((tmp_path / "scores.json").read_text())
    facts = scores["nanoworld-facts"]
    assert {"accuracy", "accuracy_stderr", "accuracy_flexible", "n", "ended"} <= set(facts)
    assert {"version", "prompt_hash", "model_hash", "settings", "by_kind"} <= set(facts)
    assert facts["n"] == 2 and 0 <= facts["accuracy"] <= 1 and set(facts["by_language"]) <= {"en", "zh"}
    assert scores["perplexity"]["bits_per_byte"] > 0 and scores["perplexity"]["n"] == 2
    assert len((tmp_path / "kept" / "nanoworld-facts.jsonl").read_text().splitlines()) == 3


def test_saved_answers_need_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = HeldOut("facts")(None, 0)[:4]
    texts = [f"It is {item.reference}." for item in asked[:3]] + ["I do not know."]
    rows = [{"task": "nanoworld-facts", "id": item.id, "text": text} for item, text in zip(asked, texts, strict=True)]
    (tmp_path / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run(capsys, "--tasks", "nanoworld-facts", "--generations", tmp_path / "saved.jsonl",
                       "--json", tmp_path / "s.json")  # fmt: skip
    scores = json.loads((tmp_path / "s.json").read_text())["nanoworld-facts"]
    assert code == 0 and "75.0 ± 25.0" in out
    assert (scores["accuracy"], scores["n"], scores["missing"]) == (0.75, 4, 296)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--tasks", "nanoworld-facts"], "needs a MODEL, or --generations"),
        (["m", "--tasks", "nanoworld-facts", "--generations", "g.jsonl"], "give exactly one of the two"),
        (["--tasks", "nanoworld-facts", "--generations", "g.jsonl", "--out", "o"], "leave one of the two out"),
        (["--tasks", "nanoworld-facts", "--generations", "none.jsonl"], "none.jsonl: no such file"),
        (["m", "--tasks", "nanoworld-fact"], "did you mean nanoworld-facts"),
        (["m", "--tasks", "perplexity"], "give --data a folder"),
        (["m", "--tasks", ","], "no task is named"),
        (["m", "--tasks", "nanoworld-facts", "--limit", "0"], "limit 0"),
        (["m", "--tasks", "nanoworld-facts", "--json", "no/such/folder.json"], "does not exist"),
        (["no/such/model", "--tasks", "nanoworld-facts"], "no/such/model"),
        (["m"], "tasks"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1 and problem in err
    assert list(tmp_path.iterdir()) == []
