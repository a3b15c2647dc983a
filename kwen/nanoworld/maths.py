"""Word problems with worked answers, and plain sums.

A schema is a list of steps over its numbers: "a+b" first, then a step on the running result "r". The hash of (schema, numbers)
decides the split, so a held-out problem's numbers never met their schema in training, in either language. The plain sums practise
the equations of all schemas, so arithmetic itself is known and a held-out problem asks which arithmetic to do.
"""

import random
import zlib
from dataclasses import dataclass

from kwen.nanoworld.items import ITEMS, Item
from kwen.nanoworld.maths_chinese import CHINESE
from kwen.nanoworld.maths_english import ENGLISH
from kwen.nanoworld.names import Language, Names, Split, pick


@dataclass(frozen=True)
class Problem:
    """A word problem with its numbers, worked answer and result."""

    schema: str
    numbers: tuple[int, ...]
    text: str
    worked: str
    result: int


SCHEMAS: dict[str, tuple[str, ...]] = {
    "gain": ("a+b",), "together": ("a+b",), "two_days": ("a+b",), "two_boxes": ("a+b",), "more_than": ("a+b",),
    "older": ("a+b",), "bus_on": ("a+b",), "pages_read": ("a+b",), "give": ("a-b",), "lose": ("a-b",), "sell": ("a-b",),
    "fewer": ("a-b",), "difference": ("a-b",), "pages_left": ("a-b",), "bus_off": ("a-b",), "spend": ("a-b",),
    "need": ("a-b",), "bags": ("a*b",), "daily": ("a*b",), "price": ("a*b",), "rows": ("a*b",), "share": ("a/b",),
    "pack": ("a/b",), "reading_days": ("a/b",), "gain_give": ("a+b", "r-c"), "give_gain": ("a-b", "r+c"),
    "gain_gain": ("a+b", "r+c"), "give_give": ("a-b", "r-c"), "bus_both": ("a+b", "r-c"), "bus_off_on": ("a-b", "r+c"),
    "bags_plus": ("a*b", "r+c"), "bags_minus": ("a*b", "r-c"), "price_plus": ("a*b", "r+c"), "price_off": ("a*b", "r-c"),
    "change": ("a*b", "c-r"), "join_share": ("a+b", "r/c"), "give_share": ("a-b", "r/c"), "share_plus": ("a/b", "r+c"),
    "share_minus": ("a/b", "r-c"), "both_daily": ("a+b", "r*c"), "kept_daily": ("a-b", "r*c"), "more_total": ("a+b", "a+r"),
    "fewer_total": ("a-b", "a+r"), "pages_two_days": ("a-b", "r-c"), "boxes_left": ("a/b", "r-c"), "rows_plus": ("a*b", "r+c"),
}  # fmt: skip
"""Every schema's steps: the first 24 have one, the other 22 two."""

ONE_STEP = tuple(name for name, steps in SCHEMAS.items() if len(steps) == 1)
TWO_STEP = tuple(name for name, steps in SCHEMAS.items() if len(steps) == 2)
# How hard the sums are: the largest number of any problem; the largest first result of a two-step one; the most that a second
# step adds or takes away.
LARGEST, LARGEST_FIRST, LARGEST_CHANGE = 50, 35, 15
LARGEST_FACTOR = 12


def _held_out_share(steps: tuple[str, ...]) -> int:
    """One number tuple in this many is held out: more of the tuples of products and quotients, which are few, than of others."""
    if not any(operator in step for step in steps for operator in "*/"):
        return 8
    return 2 if len(steps) == 1 else 4


_HELD_OUT_SHARE = {name: _held_out_share(steps) for name, steps in SCHEMAS.items()}


def split_of_numbers(schema: str, numbers: tuple[int, ...]) -> Split:
    """The split that a schema's number tuple belongs to for ever."""
    return "held_out" if zlib.crc32(f"{schema} {numbers}".encode()) % _HELD_OUT_SHARE[schema] == 0 else "train"


def _between(rng: random.Random, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + int(rng.random() * (high - low + 1))


def _factors(rng: random.Random, largest: int) -> tuple[int, int]:
    """Two factors from 2 to 12 whose product is `largest` at most."""
    left = _between(rng, 2, min(LARGEST_FACTOR, largest // 2))
    return left, _between(rng, 2, min(LARGEST_FACTOR, largest // left))


def _operands(rng: random.Random, operator: str, result: int | None, largest: int) -> tuple[int, int]:
    """Two numbers for a first step: with that result if one is asked for, else with numbers and results up to `largest`."""
    if operator == "*":
        return _factors(rng, largest)
    if operator == "/":
        divisor, quotient = _factors(rng, largest)
        return divisor * quotient, divisor
    if operator == "+":
        total = result if result is not None else _between(rng, 5, largest)
        left = _between(rng, max(1, total - 40), total - 1)
        return left, total - left
    rest = result if result is not None else _between(rng, 1, largest - 2)
    removed = _between(rng, 1, min(40, LARGEST - rest, largest))
    return rest + removed, removed


def _numbers(rng: random.Random, steps: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of a schema's form, drawn so that most keep every result within bounds; products and quotients are of the tables."""
    operator = steps[0][1]
    if len(steps) == 1:
        return _operands(rng, operator, None, LARGEST)
    left, then, _ = tuple(steps[1])
    if then == "*":  # the first step's result is a factor
        factor, days = _factors(rng, LARGEST)
        return *_operands(rng, operator, factor, LARGEST_CHANGE), days
    if then == "/":
        divisor, quotient = _factors(rng, LARGEST_FIRST)
        return *_operands(rng, operator, divisor * quotient, LARGEST_CHANGE), divisor
    a, b = _operands(rng, operator, None, LARGEST_FIRST)
    result = _apply(a, operator, b)
    if "c" not in steps[1]:  # the second step adds the first number again
        return a, b
    if left == "c":
        return a, b, _between(rng, result + 1, min(LARGEST, result + LARGEST_CHANGE))
    if then == "+":
        return a, b, _between(rng, 2, min(LARGEST_CHANGE, LARGEST - result))
    return a, b, _between(rng, 2, max(2, min(LARGEST_CHANGE, result - 1)))


def _apply(left: int, operator: str, right: int) -> int:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left // right


def work_out(steps: tuple[str, ...], numbers: tuple[int, ...]) -> tuple[list[str], int]:
    """The equations of a schema's steps, one text each, and the last result."""
    values = dict(zip("abc", numbers, strict=False))
    equations = []
    for step in steps:
        left, operator, right = values[step[0]], step[1], values[step[2]]
        values["r"] = _apply(left, operator, right)
        equations.append(f"{left} {operator} {right} = {values['r']}")
    return equations, values["r"]


def draw_numbers(rng: random.Random, schema: str, split: Split | None = None) -> tuple[int, ...]:
    """Numbers of the schema, of the split if one is given, that keep every result between 1 and `LARGEST`."""
    steps = SCHEMAS[schema]
    while True:
        numbers = _numbers(rng, steps)
        if min(numbers) > 1 and 0 < work_out(steps, numbers)[1] <= LARGEST and split in (None, split_of_numbers(schema, numbers)):
            return numbers


def _schema(rng: random.Random) -> str:
    """A schema: one and two steps equally often."""
    return pick(rng, ONE_STEP if rng.random() < 0.5 else TWO_STEP)


def worked_answer(equations: list[str], result: int, language: Language) -> str:
    """Equations and result as the assistant writes them: "12 + 7 = 19. The answer is 19."."""
    if language == "en":
        return "".join(f"{equation}. " for equation in equations) + f"The answer is {result}."
    return "".join(f"{equation}。" for equation in equations) + f"答案是{result}。"


def problem(rng: random.Random, language: Language, names: Names) -> Problem:
    """A word problem of the split of `names`, one and two steps equally often."""
    schema = _schema(rng)
    numbers = draw_numbers(rng, schema, names.split)
    item: Item = pick(rng, ITEMS)
    n, m = names.some(rng, language, 2)
    wording = pick(rng, (ENGLISH if language == "en" else CHINESE)[schema])
    slots = dict(zip("abc", numbers, strict=False))
    if language == "en":
        text = wording.format(n=n, m=m, x=item.many, one=item.one, **slots)
    else:
        text = wording.format(n=n, m=m, x=item.chinese, u=item.measure, **slots)
    equations, result = work_out(SCHEMAS[schema], numbers)
    return Problem(schema, numbers, text, worked_answer(equations, result, language), result)


def sums(rng: random.Random) -> list[str]:
    """Five to eight plain equations, as in a table of sums: each a step that problems of any split need, as often as they do."""
    equations = []
    for _ in range(_between(rng, 5, 8)):
        schema = _schema(rng)
        equations.append(pick(rng, work_out(SCHEMAS[schema], draw_numbers(rng, schema))[0]))
    return equations
