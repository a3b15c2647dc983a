import json
import time
from pathlib import Path

import pytest

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.task import Item
from kwen.evals.tasks import find_task
from kwen.evals.tasks.bbh import form_of, last_answer, stated_answer

PROMPT = "Not for training.\n-----\nCount the lamps.\n\nIn words.\n" + "".join(
    f"\nQ: {n} lamps and one?\nA: Let's think step by step.\nOne more. So the answer is {n + 1}.\n" for n in range(1, 4)
)


def make_data(folder: Path, prompt: str = PROMPT, rows: object = None) -> Path:
    (folder / "bbh").mkdir(parents=True)
    examples = rows or [{"input": "5 lamps and one?", "target": "6"}, {"input": "7 lamps and one?", "target": "8"}]
    (folder / "bbh" / "lamp_counting.json").write_text(json.dumps({"canary": "x", "examples": examples}))
    (folder / "bbh" / "lamp_counting.txt").write_text(prompt)
    return folder


@pytest.mark.parametrize("name", ["bbh", "bbh-0-shot"])
def test_every_real_target_is_right_where_stated_and_another_is_wrong(shared_data: Path, name: str) -> None:
    task = find_task(name)
    items = task.items(shared_data, 0)
    targets = [item.extra["target"] for item in items]
    assert len(items) == 6511 and len({item.tag for item in items}) == 27
    told = run.judge(task, items, [f"We look at it.\nSo the answer is {target}." for target in targets])
    assert [item.id for item, answer in zip(items, told, strict=True) if not (answer.correct and answer.correct_flexible)] == []
    loose = run.judge(task, items, [f"We looked at it: {target}" for target in targets])
    assert not any(answer.correct for answer in loose)
    assert [item.id for item, answer in zip(items, loose, strict=True) if not answer.correct_flexible] == []
    others = [
        next(other for other in targets[place - place % 100 :] + targets if other.lower() != target.lower())
        for place, target in enumerate(targets)
    ]
    wrong = run.judge(task, items, [f"So the answer is {other}." for other in others])
    assert not any(answer.correct or answer.correct_flexible for answer in wrong)


def test_the_real_prompts_are_the_published_ones(shared_data: Path) -> None:
    by_task = {item.tag: item for item in find_task("bbh").items(shared_data, 0)}
    for name, item in by_task.items():
        published = (shared_data / "bbh" / f"{name}.txt").read_text().split("-----\n", 1)[1]
        assert item.opening + "".join(map(str, item.shots)) == published.rstrip() + "\n\n", name
        assert len(item.shots) == 3 and not any("\n\n" in str(shot).removesuffix("\n\n") for shot in item.shots), name
        assert "26b5c67b" not in item.opening


@pytest.mark.parametrize(
    ("target", "text", "strict", "flexible"),
    [
        ("(B)", "So the answer is (B).", True, True),
        ("(B)", "So the answer is B.", True, True),
        ("(B)", "The answer is **(B) a lamp**.", True, True),
        ("(B)", "(A) is wrong. So it is (B).", False, True),
        ("(B)", "The answer is (A). No: the answer is (B).", True, True),
        ("(B)", "The answer is (C), not (B).", False, False),
        ("yes", "So the answer is Yes.", True, True),
        ("No", "Yes and no. The answer is: no", True, True),
        ("No", "nothing is known", False, False),
        ("False", "True is wrong, thus False", False, True),
        ("valid", "So the answer is invalid.", False, False),
        ("24", "So the answer is 24.", True, True),
        ("24", "4 * 6 = 24", False, True),
        ("-219", "So the answer is -219.", True, True),
        ("24", "So the answer is 240.", False, False),
        ("] } ]", "So the answer is ] } ].", True, True),
        ("] } ]", "So the answer is ]}].", True, True),
        ("] } ]", "So the answer is ] }.", False, False),
        ("] } ]", "We need: ] } ]", False, True),
        ("arson newt oven", "So the answer is arson newt oven.", True, True),
        ("arson newt oven", "So the answer is arson, newt, oven.", True, True),
        ("arson newt oven", "So the answer is newt arson oven.", False, False),
        ("arson newt oven", "", False, False),
    ],
)
def test_answers_are_read_in_the_form_of_the_target(target: str, text: str, strict: bool, flexible: bool) -> None:
    item = Item("0", "?", "", "en", "x", {"target": target})
    right = stated_answer(item, f"So the answer is {target}.")
    assert right is not None
    assert (stated_answer(item, text) == right, last_answer(item, text) == right) == (strict, flexible)


@pytest.mark.parametrize("target", ["(B)", "yes", "24", "] } ]", "arson newt"])
@pytest.mark.parametrize("unit", ["(", "answer is ", "(A", ") ", "1,", "yes", "a: ", "\n"])
def test_hostile_answers_are_read_fast(target: str, unit: str) -> None:
    item = Item("0", "?", "", "en", "x", {"target": target})
    begin = time.thread_time()
    last_answer(item, unit * (100_000 // len(unit)))
    assert time.thread_time() - begin < 2
    assert form_of(target) != "words" or target == "arson newt"


def test_the_two_protocols_over_own_files(tmp_path: Path, long_lm: LanguageModel) -> None:
    data = make_data(tmp_path)
    shot, chat = (find_task(name).items(data, 0)[0] for name in ("bbh", "bbh-0-shot"))
    assert (shot.id, shot.tag, shot.opening) == ("lamp_counting/0", "lamp_counting", "Count the lamps.\n\nIn words.\n\n")
    assert shot.shots[0] == "Q: 1 lamps and one?\nA: Let's think step by step.\nOne more. So the answer is 2.\n\n"
    assert shot.prompt == "Q: 5 lamps and one?\nA: Let's think step by step.\n"
    said = chat.prompt[0]["content"]  # type: ignore[index]
    assert "5 lamps and one?" in said and "where X is a number." in said
    result = run.evaluate(long_lm, ["bbh"], data=data, limit=1)["bbh"]
    assert result["settings"]["shots"] == 3 and result["by_kind"].keys() == {"lamp_counting"} and "fewer_shots" not in result


def test_broken_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lamp_counting.txt: a line"):
        run.check(["bbh"], data=make_data(tmp_path / "a", prompt="Count.\n\nQ: 1?\nA: 2"))
    with pytest.raises(UserError, match='lamp_counting.json, row 1: "target" must be text'):
        run.check(["bbh"], data=make_data(tmp_path / "b", rows=[{"input": "?", "target": 3}]))
    (make_data(tmp_path / "c") / "bbh" / "lamp_counting.txt").unlink()
    with pytest.raises(UserError, match="no lamp_counting.txt"):
        run.check(["bbh"], data=tmp_path / "c")
    (tmp_path / "d" / "bbh").mkdir(parents=True)
    with pytest.raises(UserError, match="no NAME.json"):
        run.check(["bbh-0-shot"], data=tmp_path / "d")
