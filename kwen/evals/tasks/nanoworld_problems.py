"""Word problems of one and two steps, with numbers that their schema never had in training.

strict: the number after "the answer is" or 答案是; flexible: the last number of the reply.
"""

from collections.abc import Sequence

from kwen.evals.task import Item, Task
from kwen.evals.tasks.nanoworld import HeldOut, nearest_training_answers
from kwen.verify.answers import extract_number, same_number


def stated_number(item: Item, text: str) -> str | None:
    """The number that the reply states as its answer."""
    return extract_number(text, "strict")


def last_number(item: Item, text: str) -> str | None:
    """The last number of the reply."""
    return extract_number(text, "flexible")


def equal_numbers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each number equals its item's."""
    return [same_number(number, item.reference) for item, number in pairs]


TASK = Task(
    name="nanoworld-problems",
    version=1,
    kind="generate",
    items=HeldOut("problems"),
    strict=stated_number,
    flexible=last_number,
    judge=equal_numbers,
    settings={"max_new_tokens": 96, "temperature": 0.0},
    baseline=nearest_training_answers,
)
