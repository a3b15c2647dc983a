import json
from pathlib import Path

import pytest

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.tasks import find_task

SUBJECTS = ("algebra", "geometry", "number_theory", "prealgebra")


def row(number: int, subject: str = "Algebra") -> dict:
    return {"problem": f"What is {number} + 1?", "level": "Level 1", "type": subject,
            "solution": f"It is $\\boxed{{{number + 1}}}$."}  # fmt: skip


def make_data(folder: Path) -> Path:
    for split in ("train", "test"):
        for place, subject in enumerate(SUBJECTS):
            for number in (2, 10):
                path = folder / "math" / split / subject / f"{number}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(row(10 * place + number, subject.title())))
    long = row(5, "Algebra") | {"problem": "Draw [asy] a lamp. How many?"}
    (folder / "math" / "train" / "algebra" / "1.json").write_text(json.dumps(long))
    return folder


def test_folders_are_read_in_order_with_worked_examples_of_four_subjects(tmp_path: Path, long_lm: LanguageModel) -> None:
    data = make_data(tmp_path)
    items = find_task("math").items(data, 0)
    assert [item.id for item in items[:3]] == ["algebra/2", "algebra/10", "geometry/2"]
    assert (items[0].reference, items[0].tag, len(items)) == ("3", "Algebra", 8)
    assert items[0].prompt == "Problem:\nWhat is 2 + 1?\n\nSolution:\n"
    first, *rest = items[0].shots
    assert first == "Problem:\nWhat is 2 + 1?\n\nSolution:\nIt is $\\boxed{3}$.\nThe final answer is $3$.\n\n" and len(rest) == 3
    told = run.judge(find_task("math"), items, [f"So.\nThe final answer is ${item.reference}$." for item in items])
    assert all(answer.correct and answer.correct_flexible for answer in told)
    wrong = run.judge(find_task("math"), items, [f"\\boxed{{{item.reference}1}}" for item in items])
    assert not any(answer.correct or answer.correct_flexible for answer in wrong)
    result = run.evaluate(long_lm, ["math", "math-0-shot"], data=data, limit=1)
    assert result["math"]["settings"]["shots"] == 4 and result["math-0-shot"]["by_kind"].keys() == {"Algebra"}


def test_the_subset_file_is_read_and_a_missing_library_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "math").mkdir()
    rows = [
        {"problem": "?", "solution": "x", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 2,
         "unique_id": "test/algebra/807.json"}
    ]  # fmt: skip
    (tmp_path / "math" / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (item,) = find_task("math-0-shot").items(tmp_path, 0)
    assert (item.id, item.reference, item.tag) == ("algebra/807", "\\frac{1}{2}", "Algebra")
    (tmp_path / "saved.jsonl").write_text(json.dumps({"task": "math-0-shot", "id": item.id, "text": "\\boxed{0.5}"}))
    monkeypatch.setattr("kwen.evals.tasks.maths.available", lambda: False)
    result = run.score_saved(tmp_path / "saved.jsonl", ["math-0-shot"], data=tmp_path)["math-0-shot"]
    assert result["accuracy"] == 1.0 and "without math-verify" in result["note"]
    monkeypatch.setattr("kwen.evals.tasks.maths.available", lambda: True)
    assert "note" not in run.score_saved(tmp_path / "saved.jsonl", ["math-0-shot"], data=tmp_path)["math-0-shot"]
    with pytest.raises(UserError, match="no train.jsonl"):
        run.check(["math"], data=tmp_path)


def test_broken_problems_are_one_line(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    path = data / "math" / "test" / "algebra" / "2.json"
    path.write_text(json.dumps(row(1) | {"solution": "no box"}))
    with pytest.raises(UserError, match='algebra/2.json: "solution" has no answer'):
        run.check(["math"], data=data)
    path.write_text("{")
    with pytest.raises(UserError, match="algebra/2.json: not JSON"):
        run.check(["math-0-shot"], data=data)
    with pytest.raises(UserError, match="published as hendrycks/math"):
        run.check(["math"])
