import json
from pathlib import Path

import pytest

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.tasks import find_task

EXPRESSIONS = [
    ("e^(iπ)+1=", "0"), ("1+1=", "2"), *[(f"{n}+2=", str(n + 2)) for n in range(24)], ("16÷83=", "0.1928"), ("3*π=", "9.4245"),
]  # fmt: skip
PROBLEMS = [
    ("35", "花池栽了44棵树，间隔是20米，周长是多少米？", "x=44*20", "880"),
    ("36", "用去全长的(1/4)，还剩多少？", "x=1-(1/4)", "((3)/(4))"),
    ("37", "利率是多少？", "x=(5-4)/4*100%+0-0", "25%"),
    ("38", "共几千克？", "x=1+(2/3)", "1((2)/(3))"),
]


def math401_data(folder: Path) -> Path:
    (folder / "math401").mkdir(parents=True)
    lines = [json.dumps({"query": query, "response": response}, ensure_ascii=False) for query, response in EXPRESSIONS]
    (folder / "math401" / "math401.json").write_text("\n".join(lines) + "\n")
    return folder


def math23k_data(folder: Path, name: str = "test23k.json") -> Path:
    (folder / "math23k").mkdir(parents=True, exist_ok=True)
    rows = [dict(zip(("id", "original_text", "equation", "ans"), problem, strict=True)) for problem in PROBLEMS]
    (folder / "math23k" / name).write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    return folder


def score(task: str, data: Path, texts: list[str]) -> dict:
    items = find_task(task).items(data, 0)
    rows = [{"task": task, "id": item.id, "text": text} for item, text in zip(items, texts, strict=False)]
    (data / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run.score_saved(data / "saved.jsonl", [task], data=data)[task]


def test_math401_is_read_as_published_and_judged_within_a_thousandth(tmp_path: Path) -> None:
    data = math401_data(tmp_path)
    items = find_task("math401").items(data, 0)
    assert [item.tag for item in items[:2] + items[25:27]] == ["Euler", "sums to 10", "sums to 10", "sums to 100"]
    right = score("math401", data, [f"So the answer is {item.reference}." for item in items])
    assert right["accuracy"] == right["accuracy_flexible"] == 1.0 and right["relative_error"] == 0.0
    last = [""] * 26
    near = score("math401", data, [*last, "It makes 16/83", "The answer is 9.4260"])
    assert near["accuracy"] == 0.0 and near["accuracy_flexible"] == pytest.approx(1 / 28)
    assert near["relative_error"] == pytest.approx((26 * 10 + abs(16 / 83 - 0.1928) + 0.0015 / 9.4245) / 28, abs=1e-6)


def test_math23k_compares_fractions_mixed_numbers_and_percentages_as_numbers(tmp_path: Path) -> None:
    data = math23k_data(tmp_path)
    items = find_task("math23k").items(data, 0)
    assert [item.id for item in items] == ["35", "36", "37", "38"] and {item.language for item in items} == {"zh"}
    assert [item.tag for item in items] == ["1 operation", "1 operation", "4+ operations", "1 operation"]
    told = score("math23k", data, ["答案是880米。", "答案是0.75", "答案是 1/4", "一共5/3千克"])
    assert (told["accuracy"], told["accuracy_flexible"]) == (0.75, 1.0)
    assert score("math23k", data, ["答案是88", "答案是3", "答案是0.2", "答案是1"])["accuracy_flexible"] == 0.0


def test_what_is_not_there_or_broken_is_one_line(tmp_path: Path) -> None:
    data = math401_data(math23k_data(tmp_path))
    (data / "math401" / "math401.json").write_text('{"query": "1+1=", "response": "2"}\n{"query": "2", "response": "two"}\n')
    with pytest.raises(UserError, match="math401.json, line 2: \"response\" is 'two'"):
        run.check(["math401"], data=data)
    math23k_data(data, "a_test.json")
    with pytest.raises(UserError, match="holds 2 .json or .jsonl files"):
        run.check(["math23k"], data=data)
    with pytest.raises(UserError, match="published as GanjinZero/math401-llm"):
        run.check(["math401"])


def test_both_are_asked_of_a_model(long_lm: LanguageModel, tmp_path: Path) -> None:
    data = math401_data(math23k_data(tmp_path))
    result = run.evaluate(long_lm, ["math401", "math23k"], data=data, limit=1)
    assert result["math401"]["by_kind"].keys() == {"Euler"} and result["math23k"]["by_language"].keys() == {"zh"}
