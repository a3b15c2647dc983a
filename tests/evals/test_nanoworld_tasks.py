import pytest

from kwen.errors import UserError
from kwen.evals import run
from kwen.evals.task import Item, Task, prompt_hash
from kwen.evals.tasks import TASKS, find_task

NANOWORLD = [f"nanoworld-{name}" for name in ("facts", "problems", "functions", "reading")]
assert set(NANOWORLD) < set(TASKS)


def oracle(task: Task, item: Item) -> str:
    """A right reply in the form that training shows."""
    if task.name == "nanoworld-functions":
        return f"```python\n{item.reference}\n```"
    return f"The answer is {item.reference}."


def verdicts(name: str, index: int, text: str) -> tuple[bool, bool]:
    """(strict, flexible) of one reply to item `index`."""
    task = find_task(name)
    (answer,) = run.judge(task, [task.items(None, 0)[index]], [text])
    return answer.correct, answer.correct_flexible


@pytest.mark.parametrize("name", NANOWORLD)
def test_the_right_answers_score_everything_and_wrong_ones_nothing(name: str) -> None:
    task = find_task(name)
    items = task.items(None, 0)
    answers = run.judge(task, items, [oracle(task, item) for item in items])
    assert len(items) == 300 and all(answer.correct and answer.correct_flexible for answer in answers)
    nothing = run.judge(task, items[:20], ["I do not know."] * 20)
    assert not any(answer.correct or answer.correct_flexible for answer in nothing)


@pytest.mark.parametrize("name", NANOWORLD)
def test_items_are_a_pure_function_of_the_seed(name: str) -> None:
    task = find_task(name)
    assert prompt_hash(task.items(None, 0)) == prompt_hash(task.items(None, 0)) != prompt_hash(task.items(None, 1))
    assert {item.language for item in task.items(None, 0)} == {"en", "zh"}


@pytest.mark.parametrize("name", ["nanoworld-facts", "nanoworld-reading"])
def test_naming_a_wrong_answer_later_is_wrong_strictly_only(name: str) -> None:
    task = find_task(name)
    items = task.items(None, 0)
    index = next(index for index, item in enumerate(items) if item.extra["question"].competitors)
    right, wrong = items[index].reference, items[index].extra["question"].competitors[0]
    assert verdicts(name, index, f"Well. {right}, I think. Or {wrong}.") == (False, True)
    assert verdicts(name, index, f"{wrong}. No, {right}.") == (False, False)
    assert verdicts(name, index, f"Let me see.\nIt is {right}") == (True, True)
    assert verdicts(name, index, "") == (False, False)


def test_a_function_without_a_block_is_right_flexibly_only() -> None:
    code = find_task("nanoworld-functions").items(None, 0)[0].reference
    assert verdicts("nanoworld-functions", 0, code) == (False, True)
    assert verdicts("nanoworld-functions", 0, f"Here it is:\n```\n{code}\n```\nGood luck.") == (True, True)
    assert verdicts("nanoworld-functions", 0, f"```python\nimport os\nos._exit(0)\n{code}\n```") == (False, False)


def test_a_number_without_the_asked_form_is_right_flexibly_only() -> None:
    item = find_task("nanoworld-problems").items(None, 0)[0]
    wrong = int(item.reference) + 1
    assert verdicts("nanoworld-problems", 0, f"There are {item.reference} of them.") == (False, True)
    assert verdicts("nanoworld-problems", 0, f"{wrong} - 1 = {item.reference}. The answer is {item.reference}.") == (True, True)
    assert verdicts("nanoworld-problems", 0, f"{wrong} - 1 = {item.reference}. 答案是{item.reference}。") == (True, True)
    assert verdicts("nanoworld-problems", 0, f"{item.reference} + 1 = {wrong}. The answer is {wrong}.") == (False, False)


def test_functions_are_refused_without_a_sandbox_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise UserError("sandbox: neither bubblewrap nor nsjail is installed")

    monkeypatch.setattr(run.sandbox, "describe", none)
    with pytest.raises(UserError, match="nanoworld-functions runs code.*neither bubblewrap nor nsjail"):
        run.check(["nanoworld-facts", "nanoworld-functions"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NANOWORLD)
def test_the_nearest_training_question_helps_little(name: str) -> None:
    task = find_task(name)
    items = task.items(None, 0)
    assert task.baseline is not None
    answers = run.judge(task, items, task.baseline(items, 0))
    score = sum(answer.correct for answer in answers) / len(items)
    assert score <= (1.0 if name == "nanoworld-facts" else 0.35)
