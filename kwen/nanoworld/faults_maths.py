"""Near misses of worked problems: each follows from one slip, with everything after it consistent."""

import re

from kwen.nanoworld.faults import Fault, Scene
from kwen.nanoworld.maths import SCHEMAS, work_out, worked_answer
from kwen.nanoworld.names import pick

_EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
LARGEST_SLIP = 200
"""No faulty result is this large: it would be told from a right one by its size alone."""
_SLIPS = (-10, -2, -1, -1, 1, 1, 2, 10)


def numbers_of(answer: str, schema: str) -> tuple[int, ...]:
    """The numbers of a problem, from its worked answer, in the order of its schema."""
    equations = _EQUATION.findall(answer)
    values: dict[str, int] = {}
    for step, (left, _, right, _) in zip(SCHEMAS[schema], equations, strict=True):
        values |= {step[0]: int(left), step[2]: int(right)}
    return tuple(values[letter] for letter in "abc" if letter in values)


def wrong_operation(scene: Scene) -> str | None:
    """One step with another operation, where that still gives whole positive numbers."""
    steps = SCHEMAS[scene.prompt.kind]
    numbers = numbers_of(scene.prompt.answer, scene.prompt.kind)
    options = []
    for place, step in enumerate(steps):
        for operator in "+-*/":
            changed = (*steps[:place], step[0] + operator + step[2], *steps[place + 1 :])
            if operator != step[1] and _whole(changed, numbers):
                options.append(changed)
    return _worked(scene, pick(scene.rng, options), numbers) if options else None


def wrong_number(scene: Scene) -> str | None:
    """One number of the text misread."""
    steps = SCHEMAS[scene.prompt.kind]
    numbers = numbers_of(scene.prompt.answer, scene.prompt.kind)
    place = int(scene.rng.random() * len(numbers))
    changed = tuple(number + pick(scene.rng, _SLIPS) * (at == place) for at, number in enumerate(numbers))
    return _worked(scene, steps, changed) if min(changed) > 0 and _whole(steps, changed) else None


def wrong_sum(scene: Scene) -> str | None:
    """One equation with a wrong result, on which the next step goes on."""
    steps = SCHEMAS[scene.prompt.kind]
    numbers = numbers_of(scene.prompt.answer, scene.prompt.kind)
    equations, _ = work_out(steps, numbers)
    place = int(scene.rng.random() * len(steps))
    sum_, _, result = equations[place].rpartition(" ")
    slipped = int(result) + pick(scene.rng, _SLIPS)
    lines = [*equations[:place], f"{sum_} {slipped}"]
    if place + 1 < len(steps):
        values = dict(zip("abc", numbers, strict=False)) | {"r": slipped}
        left, operator, right = tuple(steps[place + 1])
        next_step, pair = (f"a{operator}b",), (values[left], values[right])
        if not _whole(next_step, pair):
            return None
        more, last = work_out(next_step, pair)
        return worked_answer(lines + more, last, scene.prompt.language) if slipped > 0 else None
    return worked_answer(lines, slipped, scene.prompt.language) if slipped > 0 else None


def first_step_only(scene: Scene) -> str | None:
    """A problem of two steps that ends after the first."""
    steps = SCHEMAS[scene.prompt.kind]
    if len(steps) == 1:
        return None
    return _worked(scene, steps[:1], numbers_of(scene.prompt.answer, scene.prompt.kind))


def wrong_result(scene: Scene) -> str | None:
    """Right equations, and another number as the answer."""
    result = int(scene.prompt.value) + pick(scene.rng, _SLIPS)
    if result < 1:
        return None
    equations, _ = work_out(SCHEMAS[scene.prompt.kind], numbers_of(scene.prompt.answer, scene.prompt.kind))
    return worked_answer(equations, result, scene.prompt.language)


def no_working(scene: Scene) -> str:
    """The right answer without its equations: right, but not worked out."""
    return worked_answer([], int(scene.prompt.value), scene.prompt.language)


def _whole(steps: tuple[str, ...], numbers: tuple[int, ...]) -> bool:
    """Whether every step gives a whole positive number, small enough for a likely slip."""
    values = dict(zip("abc", numbers, strict=False))
    for left, operator, right in map(tuple, steps):
        a, b = values[left], values[right]
        if operator == "/" and (b < 1 or a % b):
            return False
        values["r"] = {"+": a + b, "-": a - b, "*": a * b, "/": a // max(1, b)}[operator]
        if not 0 < values["r"] < LARGEST_SLIP:
            return False
    return True


def _worked(scene: Scene, steps: tuple[str, ...], numbers: tuple[int, ...]) -> str:
    equations, result = work_out(steps, numbers)
    return worked_answer(equations, result, scene.prompt.language)


MATHS: dict[str, Fault] = {
    "wrong_operation": wrong_operation, "wrong_number": wrong_number, "wrong_sum": wrong_sum, "first_step_only": first_step_only,
    "wrong_result": wrong_result, "no_working": no_working,
}  # fmt: skip
"""The faults of worked problems, by name."""
