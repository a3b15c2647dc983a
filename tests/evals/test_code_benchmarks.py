"""HumanEval and MBPP: the real solutions are right, nothing is wrong, and answers are read in every shape that they come in."""

import json
from pathlib import Path

import pytest

from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.task import Item
from kwen.evals.tasks import find_task
from kwen.evals.tasks.code_answers import cut_at_stop

ROWS = {
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": 'import math\n\n\ndef up(x: float) -> int:\n    """ Round x up. """\n',
        "entry_point": "up",
        "canonical_solution": "    return math.ceil(x)\n",
        "test": "def check(candidate):\n    assert candidate(1.2) == 2\n    assert candidate(3) == 3\n",
    },
    "mbpp": {
        "text": "Write a function to double a number.",
        "code": "def double(x):\r\n  return x * 2",
        "task_id": 11,
        "test_setup_code": "",
        "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
        "challenge_test_list": [],
    },
}


def make_data(folder: Path, **changes: object) -> Path:
    for name, file in (("humaneval", "HumanEval.jsonl"), ("mbpp", "mbpp.jsonl")):
        (folder / name).mkdir(parents=True)
        rows = [ROWS[name] | changes]
        if name == "mbpp":
            rows += [{**ROWS[name], "task_id": number} for number in (2, 3, 4)]
        (folder / name / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def in_chat(name: str, item: Item) -> str:
    code = item.reference if name.startswith("mbpp") else item.extra["problem"].opening + item.reference
    return f"Here it is:\n```python\n{code}\n```\nIt is tested."


NAMES = ["humaneval", "humaneval-chat", "mbpp", "mbpp-chat"]


def real_and_empty(data: Path, name: str, every: int) -> None:
    """Each `every`th problem's own solution is right, and an empty answer to it wrong."""
    task = find_task(name)
    items = task.items(data, 0)
    assert len(items) == (164 if name.startswith("humaneval") else 500)
    items = items[::every]
    texts = [in_chat(name, item) if name.endswith("chat") else item.reference for item in items]
    assert [answer.id for answer in run.judge(task, items, texts) if not (answer.correct and answer.correct_flexible)] == []
    assert not any(answer.correct or answer.correct_flexible for answer in run.judge(task, items, [""] * len(items)))


@pytest.mark.parametrize("name", NAMES)
def test_real_solutions_are_right_and_empty_ones_wrong(shared_data: Path, name: str) -> None:
    real_and_empty(shared_data, name, every=20)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_real_solutions_are_right_and_empty_ones_wrong(shared_data: Path, name: str) -> None:
    real_and_empty(shared_data, name, every=1)


UP = "def up(x):\n    return math.ceil(x)"
ANSWERS = [  # to the made HumanEval problem: (text, strict, flexible)
    ("    return math.ceil(x)\n", True, True),
    ("    return math.ceil(x)\n\ndef other():\n    return 1 / 0\n\nprint(other())", True, True),
    (f"```python\n{UP}\n```", True, True),
    (f"Sure.\n```\nimport math\n{UP}\n```\nDone.", True, True),
    (UP, True, True),
    (f"Sure, this does it:\n\n{UP}\n\nI hope it helps.", False, True),
    ("return math.ceil(x)", False, True),
    ("```python\n    return math.ceil(x)\n```", False, True),
    ("```python\nreturn math.ceil(x)\n```", False, True),
    ("    return math.floor(x)", False, False),
    ("```python\nimport os\nos._exit(0)\n```", False, False),
    ("I do not know.", False, False),
    ("", False, False),
]


def test_known_answers_to_a_problem_in_every_shape(tmp_path: Path) -> None:
    for name in ("humaneval", "humaneval-chat"):
        task = find_task(name)
        items = task.items(make_data(tmp_path / name), 0) * len(ANSWERS)
        answers = run.judge(task, items, [text for text, _, _ in ANSWERS])
        assert [(answer.text, answer.correct, answer.correct_flexible) for answer in answers] == ANSWERS


def test_a_continuation_ends_where_another_thing_begins() -> None:
    assert cut_at_stop("    return 1\n# more\nx") == "    return 1"
    assert cut_at_stop("    if x:\n        print(1)\n") == "    if x:\n        print(1)\n"


def test_saved_answers_are_scored_without_a_model(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    rows = [{"task": "humaneval", "id": "HumanEval/0", "text": ROWS["humaneval"]["canonical_solution"]}]
    rows += [{"task": "mbpp", "id": "11", "text": "```python\ndef double(x):\n    return x + x\n```"}]
    (tmp_path / "saved.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = run.score_saved(tmp_path / "saved.jsonl", ["humaneval", "mbpp"], data=data)
    assert [(results[name]["pass@1"], results[name]["n"]) for name in ("humaneval", "mbpp")] == [(1.0, 1), (1.0, 1)]


def test_prompts_show_what_they_should(tmp_path: Path) -> None:
    data = make_data(tmp_path / "data")
    (shown,) = find_task("mbpp").items(data, 0)
    assert str(shown.prompt).count('"""') == 8 and str(shown.prompt).endswith('assert double(0) == 0\n"""\n')
    (asked,) = find_task("mbpp-chat").items(data, 0)
    assert "assert double(2) == 4" in asked.prompt[0]["content"]  # type: ignore[index]
    (continued,) = find_task("humaneval").items(data, 0)
    assert continued.prompt == ROWS["humaneval"]["prompt"]


@pytest.mark.parametrize(
    ("task", "changes", "problem"),
    [
        ("humaneval", {"prompt": 3}, '"prompt" must be text, not int'),
        ("humaneval", {"entry_point": "down"}, "does not define down"),
        ("mbpp", {"task_id": "11"}, '"task_id" must be a whole number'),
        ("mbpp", {"test_list": []}, '"test_list" must be a list of 1 texts at least'),
        ("mbpp", {"test_list": ["assert ("]}, "its first test is not Python"),
        ("mbpp", {"test_list": ["assert 1"]}, "calls nothing that its code defines"),
    ],
)
def test_a_malformed_problem_is_named_by_its_line(tmp_path: Path, task: str, changes: dict, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        run.check([task], data=make_data(tmp_path / "data", **changes))
    assert "line 1" in str(caught.value) and problem in str(caught.value)


def test_problems_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    for name, file, home in (("humaneval", "HumanEval", "openai/human-eval"), ("mbpp", "mbpp", "google-research/.*/mbpp")):
        with pytest.raises(UserError, match=rf"give --data a folder that holds {name}/ \(published as {home}"):
            run.check([name])
        with pytest.raises(UserError, match=f"{name} does not exist; put the files of {home}.* there"):
            run.check([name], data=tmp_path)
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=f"{name}: no {file}.jsonl or .*; put the files of {home}.* there"):
            run.check([name], data=tmp_path)
