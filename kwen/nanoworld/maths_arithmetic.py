"""Arithmetic in the shape of Math401: big numbers, decimals, powers, the order of operations, brackets. Answers are exact.

The hash of an expression decides its split, in both languages and however it is asked.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from kwen.nanoworld.maths_working import equation, text_of
from kwen.nanoworld.names import Language, pick


@dataclass(frozen=True)
class Exercise:
    """Something to work out: its form, the text whose hash decides its split, the question, the worked answer and the result."""

    form: str
    key: str
    text: str
    worked: str
    answer: str


@dataclass(frozen=True)
class Sum:
    """An operation on two numbers or operations; "^" has a whole number on its right."""

    left: "Sum | Decimal"
    operator: str
    right: "Sum | Decimal"


_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 3}
_ASKED: dict[Language, tuple[str, ...]] = {
    "en": ("What is {e}?", "Calculate {e}.", "{e} =", "Work out {e}.", "How much is {e}?", "Compute {e}."),
    "zh": ("计算 {e}。", "{e} 等于多少？", "{e} =", "求 {e} 的值。", "算一算：{e}", "{e} 是多少？"),
}


def written(value: "Sum | Decimal") -> str:
    """An expression with the brackets that it needs."""
    if isinstance(value, Decimal):
        return text_of(value)
    left, right = written(value.left), written(value.right)
    if isinstance(value.left, Sum) and _RANK[value.left.operator] < _RANK[value.operator]:
        left = f"({left})"
    if isinstance(value.right, Sum) and (
        _RANK[value.right.operator] < _RANK[value.operator]
        or (_RANK[value.right.operator] == _RANK[value.operator] and value.operator in "-/")
    ):
        right = f"({right})"
    return f"{left}^{right}" if value.operator == "^" else f"{left} {value.operator} {right}"


def work(value: "Sum | Decimal") -> tuple[list[str], Decimal]:
    """The equations that lead to an expression's value, in the order of operations, and the value; ValueError as `equation`."""
    if isinstance(value, Decimal):
        return [], value
    first, left = work(value.left)
    second, right = work(value.right)
    equations, result = first + second, left
    if value.operator == "^":
        for _ in range(int(right) - 1):
            line, result = equation(result, "*", left)
            equations.append(line)
        return equations, result
    line, result = equation(left, value.operator, right)
    return [*equations, line], result


def _whole(rng: random.Random, low: int, high: int) -> Decimal:
    return Decimal(low + int(rng.random() * (high - low + 1)))


def _long(rng: random.Random, least: int, most: int) -> Decimal:
    """A whole number of so many digits."""
    length = least + int(rng.random() * (most - least + 1))
    return _whole(rng, 10 ** (length - 1), 10**length - 1)


def _decimal(rng: random.Random, high: int, places: int) -> Decimal:
    return _whole(rng, 1, high * 10**places).scaleb(-places)


def _small(rng: random.Random) -> Sum:
    return Sum(_whole(rng, 1, 100), pick(rng, "+-"), _whole(rng, 1, 100))


def _difference(left: Decimal, right: Decimal) -> Sum:
    return Sum(max(left, right), "-", min(left, right))


def _quotient(rng: random.Random) -> Sum:
    divisor = _whole(rng, 2, 12)
    return Sum(divisor * _long(rng, 2, 4), "/", divisor)


def _decimal_product(rng: random.Random) -> Sum:
    left = _decimal(rng, 60, pick(rng, (1, 1, 2)))
    return Sum(left, "*", _whole(rng, 2, 9) if rng.random() < 0.6 else _decimal(rng, 1, 1))


def _decimal_quotient(rng: random.Random) -> Sum:
    divisor = _whole(rng, 2, 9)
    return Sum(divisor * _decimal(rng, 40, pick(rng, (1, 1, 2))), "/", divisor)


def _power(rng: random.Random) -> Sum:
    base = _whole(rng, 2, 15)
    power = Sum(base, "^", Decimal(2 if base > 9 else pick(rng, (2, 3, 3, 4)) if base > 4 else pick(rng, (3, 4, 5))))
    if rng.random() < 0.3:
        return power
    return Sum(power, "+", _whole(rng, 1, 99)) if rng.random() < 0.6 else Sum(power, "-", _whole(rng, 1, 20))


def _mixed(rng: random.Random) -> Sum:
    a, b, c = _whole(rng, 5, 200), _whole(rng, 2, 30), _whole(rng, 2, 9)
    form = int(rng.random() * 5)
    if form == 0:
        return Sum(a, "+", Sum(b, "*", c))
    if form == 1:
        return Sum(Sum(b, "*", c), "-", _whole(rng, 1, 30))
    if form == 2:
        return Sum(Sum(a, "-", _whole(rng, 1, 30)), "+", b)
    if form == 3:
        return Sum(Sum(b * c, "/", c), "+", a)
    return Sum(Sum(_whole(rng, 2, 12), "*", _whole(rng, 2, 12)), "+", Sum(b, "*", c))


def _brackets(rng: random.Random) -> Sum:
    a, b, c = _whole(rng, 5, 60), _whole(rng, 2, 40), _whole(rng, 2, 9)
    form = int(rng.random() * 5)
    if form == 0:
        return Sum(Sum(a, "+", b), "*", c)
    if form == 1:
        return Sum(c, "*", _difference(a + b, b))
    if form == 2:
        return Sum(Sum(a * c - b, "+", b), "/", c) if a * c > b else Sum(Sum(a, "+", b), "*", c)
    if form == 3:
        return Sum(a + b + 20, "-", _difference(a + 3, _whole(rng, 1, 7)))
    return Sum(Sum(_whole(rng, 2, 30), "+", _whole(rng, 2, 30)), "*", _difference(c + b, b))


FORMS: dict[str, Callable[[random.Random], Sum]] = {
    "small": _small,
    "add": lambda rng: Sum(_long(rng, 3, 6), "+", _long(rng, 2, 6)),
    "subtract": lambda rng: _difference(_long(rng, 3, 6), _long(rng, 2, 6)),
    "multiply": lambda rng: Sum(_long(rng, 2, 4), "*", _whole(rng, 2, 9)),
    "multiply_long": lambda rng: Sum(_long(rng, 2, 3), "*", _whole(rng, 11, 99)),
    "divide": _quotient,
    "decimal_add": lambda rng: Sum(_decimal(rng, 90, pick(rng, (1, 2))), "+", _decimal(rng, 90, pick(rng, (1, 2)))),
    "decimal_subtract": lambda rng: _difference(_decimal(rng, 90, pick(rng, (1, 2))), _decimal(rng, 90, pick(rng, (1, 2)))),
    "decimal_multiply": _decimal_product,
    "decimal_divide": _decimal_quotient,
    "power": _power,
    "mixed": _mixed,
    "brackets": _brackets,
}
"""The forms of expressions, each as often as the others."""


def arithmetic(rng: random.Random, language: Language, form: str | None = None) -> Exercise:
    """An expression to work out, of a form or of any."""
    form = form or pick(rng, list(FORMS))
    while True:
        value = FORMS[form](rng)
        try:
            equations, result = work(value)
        except ValueError:  # a sign or an endless quotient on the way
            continue
        key = written(value)
        shown = key.replace("*", "×").replace("/", "÷") if rng.random() < 0.25 else key
        asked = pick(rng, _ASKED[language]).format(e=shown)
        return Exercise(form, key, asked, worked_text(equations, text_of(result), language), text_of(result))


def worked_text(equations: list[str], answer: str, language: Language) -> str:
    """Equations and answer as the assistant writes them."""
    if language == "en":
        return "".join(f"{line}. " for line in equations) + f"The answer is {answer}."
    return "".join(f"{line}。" for line in equations) + f"答案是{answer}。"
