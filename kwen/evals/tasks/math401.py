"""MATH 401, arithmetic from 1+1 to logarithms (Yuan et al., 2023): DIR/math401/math401.json, one {"query", "response"} a line.

For chat models, zero-shot. strict: the number that the reply states as its answer; flexible: the last number. As published, a
number is right where it differs from the response by less than 0.001, and `relative_error` is the mean of
min(10, |number - response| / max(|response|, 1)) over the last numbers, 10 where there is none. An item's id is its place, from
0, and its kind the group of 25 that it is in.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files
from kwen.evals.tasks.numbers import last_number, stated_number
from kwen.verify.answers import number_value

GROUPS = (
    "sums to 10", "sums to 100", "sums to 1,000", "sums to 10^12", "sums with signs", "sums of decimals", "products to 100",
    "products of decimals", "products to 100,000", "quotients", "whole powers", "decimal powers", "with e and pi",
    "long expressions", "trigonometry", "logarithms",
)  # fmt: skip
"""The groups of 25 in the file's order, after the first row, which is Euler's identity."""
TOLERANCE = Fraction(1, 1000)
WORST = 10.0


def items(data: Path | None, seed: int) -> list[Item]:
    """The expressions as conversations."""
    found = []
    files = Files(data, "math401", "math401", "GanjinZero/math401-llm")
    for place, row in enumerate(files.rows("math401.json", json_lines=True)):
        query, response = row.text("query").strip(), row.text("response").strip()
        if number_value(response) is None:
            raise UserError(f'{row.where}: "response" is {response!r}; a number is expected')
        group = "Euler" if place == 0 else GROUPS[min((place - 1) // 25, len(GROUPS) - 1)]
        said = f"Calculate {query.removesuffix('=').strip()}. End with the answer as a decimal number, rounded to four decimals."
        found.append(Item(str(place), [{"role": "user", "content": said}], response, "en", group))
    return found


def _difference(item: Item, number: str) -> Fraction:
    value, right = number_value(number), number_value(item.reference)
    assert value is not None and right is not None
    return abs(value - right)


def near_numbers(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each number is less than `TOLERANCE` from its item's."""
    return [_difference(item, number) < TOLERANCE for item, number in pairs]


def relative_error(item: Item, text: str) -> float:
    """The relative error of the reply's last number, as published."""
    number = last_number(item, text)
    if number is None:
        return WORST
    right = number_value(item.reference)
    assert right is not None
    return float(min(Fraction(WORST), _difference(item, number) / max(abs(right), Fraction(1))))


TASK = Task(
    name="math401",
    version=1,
    kind="generate",
    items=items,
    strict=stated_number,
    flexible=last_number,
    judge=near_numbers,
    measures={"relative_error": relative_error},
    settings={"max_new_tokens": 256, "temperature": 0.0},
)
