"""Chinese word problems in the shape of Math23K: the schemas of `maths` with larger numbers, and those of three steps.

The hash of (schema, numbers) decides the split. Training also keeps away from number tuples that `maths` holds out.
"""

import random
import zlib
from decimal import Decimal

from kwen.nanoworld.items import ITEMS, Item
from kwen.nanoworld.maths import SCHEMAS, split_of_numbers
from kwen.nanoworld.maths_arithmetic import Exercise, worked_text
from kwen.nanoworld.maths_chinese import CHINESE
from kwen.nanoworld.maths_three_steps import THREE_STEPS, THREE_STEPS_CHINESE
from kwen.nanoworld.maths_working import equation
from kwen.nanoworld.names import Names, Split, pick

STEPS = {name: steps for name, steps in SCHEMAS.items() if name != "older"} | THREE_STEPS  # nobody is 300 years old
WORDINGS = CHINESE | THREE_STEPS_CHINESE
LARGEST = 999
"""The largest number on the way of any problem."""
_BY_STEPS = tuple(tuple(name for name, steps in STEPS.items() if len(steps) == count) for count in (1, 2, 3))
_HELD_OUT = 8  # one number tuple in this many


def split_of_problem(schema: str, numbers: tuple[int, ...]) -> Split | None:
    """The split that a schema's number tuple belongs to for ever; None for one that only `maths` holds out."""
    if zlib.crc32(f"zh {schema} {numbers}".encode()) % _HELD_OUT == 0:
        return "held_out"
    return None if schema in SCHEMAS and split_of_numbers(schema, numbers) == "held_out" else "train"


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _draw(rng: random.Random, steps: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of a schema: small ones for factors and divisors, larger ones for the rest; a first dividend is a multiple."""
    letters = sorted({letter for step in steps for letter in (step[0], step[2]) if letter in "abcd"})
    factors = {letter for step in steps if step[1] == "*" for letter in (step[0], step[2])}
    divisors = {step[2] for step in steps if step[1] == "/"}
    large = {step[0] for step in steps if step[1] == "*" and step[2] in "abcd" and step[0] in "abcd" and rng.random() < 0.5}
    most = 300 if len(steps) < 3 or not factors else 200
    drawn: dict[str, int] = {}
    for letter in letters:
        if letter in large:
            drawn[letter] = _between(rng, 3, 60)
        elif letter in factors or letter in divisors:
            drawn[letter] = _between(rng, 2, 12 if letter in factors else 9)
        else:
            drawn[letter] = _between(rng, 2, most) if rng.random() < 0.8 else _between(rng, 2, 40)
    if steps[0][1] == "/":
        drawn["a"] = drawn["b"] * _between(rng, 2, 60)
    return tuple(drawn[letter] for letter in letters)


def _worked(steps: tuple[str, ...], numbers: tuple[int, ...]) -> tuple[list[str], int] | None:
    """The equations and the result; None where a result is not whole, not between 1 and `LARGEST`, or has no working."""
    values = dict(zip("abcd", numbers, strict=False))
    equations = []
    for name, step in zip("pqr", steps, strict=False):
        left, right = (int(side) if side.isdigit() else values[side] for side in (step[0], step[2]))
        if step[1] == "/" and left % right:
            return None
        try:
            line, result = equation(Decimal(left), step[1], Decimal(right))
        except ValueError:
            return None
        if not 0 < result <= LARGEST:
            return None
        equations.append(line)
        values[name] = values["r"] = int(result)
    return equations, values["r"]


def chinese_problem(rng: random.Random, names: Names) -> Exercise:
    """A problem of the split of `names`: one in five has one step, two have two, two have three."""
    schema = pick(rng, _BY_STEPS[pick(rng, (0, 1, 1, 2, 2))])
    steps = STEPS[schema]
    while True:
        numbers = _draw(rng, steps)
        found = _worked(steps, numbers)
        if found is not None and split_of_problem(schema, numbers) == names.split:
            break
    equations, result = found
    item: Item = pick(rng, ITEMS)
    n, m = names.some(rng, "zh", 2)
    text = pick(rng, WORDINGS[schema]).format(n=n, m=m, x=item.chinese, u=item.measure, **dict(zip("abcd", numbers, strict=False)))
    form = ("one step", "two steps", "three steps")[len(steps) - 1]
    return Exercise(form, f"{schema} {numbers}", text, worked_text(equations, str(result), "zh"), str(result))
