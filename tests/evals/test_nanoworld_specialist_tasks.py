"""The specialists' tasks: 400 items each, right answers all right, the judge strict about form and number."""

import pytest

from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.task import prompt_hash
from kwen.evals.tasks import find_task
from kwen.evals.tasks.nanoworld_code import task_of
from kwen.nanoworld.code_tasks import as_code_answer
from kwen.verify.javascript import find_node

CODE = [f"nanoworld-code-{part}" for part in ("1", "2", "3", "js")]
MATHS = [f"nanoworld-{part}" for part in ("arithmetic", "equations", "problems-zh")]


@pytest.mark.parametrize("name", CODE + MATHS)
def test_items_are_400_and_a_pure_function_of_the_seed(name: str) -> None:
    task = find_task(name)
    items = task.items(None, 0)
    assert len(items) == len({item.id for item in items}) == 400
    assert prompt_hash(items) == prompt_hash(task.items(None, 0)) != prompt_hash(task.items(None, 1))


@pytest.mark.parametrize("name", CODE)
def test_reference_code_is_right_in_a_block_and_nothing_is_wrong(name: str) -> None:
    if name.endswith("js"):
        try:
            find_node()
        except UserError as error:
            pytest.skip(str(error))
    task = find_task(name)
    items = task.items(None, 0)[:12]
    right = run.judge(task, items, [as_code_answer(task_of(item)) for item in items])
    assert all(answer.correct and answer.correct_flexible for answer in right)
    bare = run.judge(task, items[:4], [item.reference for item in items[:4]])
    assert not any(answer.correct for answer in bare) and all(answer.correct_flexible for answer in bare)
    empty = run.judge(task, items[:4], ["I do not know."] * 4)
    assert not any(answer.correct or answer.correct_flexible for answer in empty)


@pytest.mark.parametrize("name", MATHS)
def test_worked_answers_are_right_and_the_next_number_is_wrong(name: str) -> None:
    task = find_task(name)
    items = task.items(None, 0)
    right = run.judge(task, items, [item.extra["question"].worked for item in items])
    assert all(answer.correct and answer.correct_flexible for answer in right)
    wrong = run.judge(task, items, [f"The answer is {item.reference}1." for item in items])
    assert not any(answer.correct or answer.correct_flexible for answer in wrong)
    plain = run.judge(task, items, [f"It makes {item.reference}" for item in items])
    assert all(answer.correct_flexible and not answer.correct for answer in plain)


def test_big_numbers_must_be_equal_exactly() -> None:
    task = find_task("nanoworld-arithmetic")
    item = max(task.items(None, 0), key=lambda item: float(item.reference))
    (near,) = run.judge(task, [item], [f"The answer is {float(item.reference) + 0.01:.2f}."])
    assert not near.correct
