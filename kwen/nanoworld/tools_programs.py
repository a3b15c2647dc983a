"""Small programs for the python tool: what is asked, the code that a good answer runs, and what it prints.

The output is worked out here beside the code, not by running it; a test runs all of them in the sandbox.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from kwen.nanoworld.names import Language, Names, pick
from kwen.nanoworld.tools_wordings import Requests


@dataclass(frozen=True, slots=True)
class Program:
    """A request with its slots filled, code, and the text that the code prints."""

    request: str
    code: str
    output: str


# Each: requests, then a function from random numbers to the slots (among them those of the code), the code, and its output.
_Slots = dict[str, object]
_Drawn = tuple[_Slots, str, str]


def _sum(rng: random.Random, word: str) -> _Drawn:
    a, b = pick(rng, range(2, 40)), pick(rng, range(41, 99))
    return {"a": a, "b": b}, f"print(sum(range({a}, {b} + 1)))", str(sum(range(a, b + 1)))


def _sorted(rng: random.Random, word: str) -> _Drawn:
    numbers = rng.sample(range(2, 99), 4)
    return {"list": _listed(numbers)}, f"print(sorted({numbers}))", str(sorted(numbers))


def _largest(rng: random.Random, word: str) -> _Drawn:
    numbers = rng.sample(range(100, 999), 4)
    return {"list": _listed(numbers)}, f"print(max({numbers}))", str(max(numbers))


def _power(rng: random.Random, word: str) -> _Drawn:
    a, b = pick(rng, range(3, 30)), pick(rng, range(3, 7))
    return {"a": a, "b": b}, f"print({a} ** {b})", str(a**b)


def _remainder(rng: random.Random, word: str) -> _Drawn:
    a, b = pick(rng, range(200, 999)), pick(rng, range(7, 60))
    return {"a": a, "b": b}, f"print({a} % {b})", str(a % b)


def _divisors(rng: random.Random, word: str) -> _Drawn:
    a = pick(rng, range(20, 200))
    divisors = [n for n in range(1, a + 1) if a % n == 0]
    return {"a": a}, f"print([n for n in range(1, {a} + 1) if {a} % n == 0])", str(divisors)


def _common(rng: random.Random, word: str) -> _Drawn:
    unit = pick(rng, range(3, 20))
    a, b = unit * pick(rng, range(5, 20)), unit * pick(rng, range(21, 40))
    return {"a": a, "b": b}, f"import math\nprint(math.gcd({a}, {b}))", str(math.gcd(a, b))


def _upper(rng: random.Random, word: str) -> _Drawn:
    return {"word": word}, f'print("{word}".upper())', word.upper()


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


PROGRAMS: dict[str, tuple[Requests, Callable[[random.Random, str], _Drawn]]] = {
    "sum": (Requests(
        ("Use Python: the sum of all numbers from {a} to {b}.", "Run code to add all numbers from {a} to {b}."), ("用 Python 求{a}到{b}所有数的和。", "运行代码，把{a}到{b}的数都加起来。"),
        ("Could you add all numbers from {a} to {b} in Python?",), ("你可以用 Python 把{a}到{b}的数加起来吗？",),
    ), _sum),
    "sorted": (Requests(
        ("Use Python to sort {list}.", "Run code that sorts {list}."), ("用 Python 给{list}排序。", "运行代码，给{list}排序。"),
        ("Could you sort {list} in Python?",), ("你可以用 Python 把{list}排序吗？",),
    ), _sorted),
    "largest": (Requests(
        ("Use Python: the largest of {list}.", "Run code to find the largest of {list}."), ("用 Python 找{list}中最大的数。", "运行代码，找出{list}里最大的。"),
        ("Could you find the largest of {list} in Python?",), ("你可以用 Python 找出{list}里最大的数吗？",),
    ), _largest),
    "power": (Requests(
        ("Use Python: {a} to the power {b}.", "Run code for {a} to the power {b}."), ("用 Python 求{a}的{b}次方。", "运行代码，求{a}的{b}次方。"),
        ("Could you raise {a} to the power {b} in Python?",), ("你可以用 Python 算{a}的{b}次方吗？",),
    ), _power),
    "remainder": (Requests(
        ("Use Python: the remainder of {a} by {b}.", "Run code for the remainder of {a} by {b}."), ("用 Python 求{a}除以{b}的余数。", "运行代码，求{a}除以{b}的余数。"),
        ("Could you find the remainder of {a} by {b} in Python?",), ("你可以用 Python 算{a}除以{b}的余数吗？",),
    ), _remainder),
    "divisors": (Requests(
        ("Use Python: all divisors of {a}.", "Run code that finds the divisors of {a}."), ("用 Python 求{a}的所有因数。", "运行代码，找出{a}的因数。"),
        ("Could you find the divisors of {a} in Python?",), ("你可以用 Python 找{a}的因数吗？",),
    ), _divisors),
    "common": (Requests(
        ("Use Python: the greatest common divisor of {a} and {b}.", "Run code for the greatest common divisor of {a} and {b}."), ("用 Python 求{a}和{b}的最大公因数。", "运行代码，求{a}和{b}的最大公因数。"),
        ("Could you find the greatest common divisor of {a} and {b} in Python?",), ("你可以用 Python 算{a}和{b}的最大公因数吗？",),
    ), _common),
    "upper": (Requests(
        ("Use Python to write {word} in capitals.", "Run code that puts {word} in capitals."), ("用 Python 把 {word} 变成大写。", "运行代码，把 {word} 变成大写。"),
        ("Could you put {word} in capitals in Python?",), ("你可以用 Python 把 {word} 变成大写吗？",),
    ), _upper),
}  # fmt: skip
"""Every program: how it is asked for, and how its slots, code and output are drawn (given a new English word)."""


def program(rng: random.Random, language: Language, names: Names, kind: str | None = None) -> Program:
    """One of the programs, or one of `kind`, asked for in a phrasing of the split of `names`."""
    requests, draw = PROGRAMS[kind or pick(rng, tuple(PROGRAMS))]
    slots, code, output = draw(rng, names.name(rng, "en").lower())
    return Program(pick(rng, requests.requests(language, names.split)).format(**slots), code, output)
