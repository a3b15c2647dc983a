"""Arithmetic in Math401's shape, linear equations, and Chinese word problems in Math23K's shape, none of them met in training.

strict: the number after "the answer is" or 答案是; flexible: the last number of the reply. Numbers must be equal exactly.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from kwen.evals.task import Item, Task
from kwen.evals.tasks.numbers import last_number, stated_number
from kwen.nanoworld.maths_tasks import MathsKind, maths_questions
from kwen.text.messages import Message
from kwen.verify.answers import same_number

COUNT = 400
"""Held-out questions of each task."""


class HeldOutMaths:
    """The `items` of a task: its held-out questions for a seed; they need no data folder."""

    def __init__(self, kind: MathsKind) -> None:
        self.kind = kind

    def __call__(self, data: Path | None, seed: int) -> list[Item]:
        return [
            Item(asked.id, cast(list[Message], asked.messages), asked.answer, asked.language, asked.form, {"question": asked})
            for asked in maths_questions(self.kind, seed, COUNT)
        ]


def exact_numbers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each number is exactly its item's."""
    return [same_number(number, item.reference, tolerance=0.0) for item, number in pairs]


def _task(name: str, kind: MathsKind) -> Task:
    return Task(
        name=name,
        version=1,
        kind="generate",
        items=HeldOutMaths(kind),
        strict=stated_number,
        flexible=last_number,
        judge=exact_numbers,
        settings={"max_new_tokens": 224, "temperature": 0.0},
    )


ARITHMETIC = _task("nanoworld-arithmetic", "arithmetic")
EQUATIONS = _task("nanoworld-equations", "equations")
PROBLEMS_ZH = _task("nanoworld-problems-zh", "problems-zh")
