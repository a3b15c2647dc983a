"""The one-idea functions of `functions` for code tasks: their bodies in JavaScript, and closures that give hidden tests their values."""

import random
from collections.abc import Callable
from math import factorial, prod
from typing import Any

from kwen.nanoworld.functions_numbers import Family
from kwen.nanoworld.names import pick

_TEXTS = ("moon", "old lamp", "the red kite", "noon", "sky", "apple", "a stone wheel", "river", "level", "new garden door", "ox", "radar")

# For each family its closure, and its JavaScript body: one expression to return, or several statements.
BODIES: dict[str, tuple[Callable[..., Any], str | tuple[str, ...]]] = {
    "double": (lambda a: a * 2, "{a} * 2"), "triple": (lambda a: a * 3, "{a} * 3"), "square": (lambda a: a * a, "{a} * {a}"),
    "cube": (lambda a: a**3, "{a} ** 3"), "half": (lambda a: a / 2, "{a} / 2"), "next": (lambda a: a + 1, "{a} + 1"),
    "previous": (lambda a: a - 1, "{a} - 1"), "add_ten": (lambda a: a + 10, "{a} + 10"), "negate": (lambda a: -a, "-{a}"),
    "is_even": (lambda a: a % 2 == 0, "{a} % 2 === 0"), "is_odd": (lambda a: a % 2 == 1, "{a} % 2 !== 0"),
    "is_positive": (lambda a: a > 0, "{a} > 0"), "is_negative": (lambda a: a < 0, "{a} < 0"), "absolute": (abs, "Math.abs({a})"),
    "last_digit": (lambda a: a % 10, "{a} % 10"), "digit_count": (lambda a: len(str(a)), "String({a}).length"),
    "digit_sum": (lambda a: sum(map(int, str(a))), "[...String({a})].reduce((a, d) => a + Number(d), 0)"),
    "reverse_digits": (lambda a: int(str(a)[::-1]), 'Number([...String({a})].reverse().join(""))'),
    "factorial": (factorial, ("let result = 1;", "for (let i = 2; i <= {a}; i++) {", "  result *= i;", "}", "return result;")),
    "sum_up_to": (lambda a: a * (a + 1) // 2, "{a} * ({a} + 1) / 2"),
    "count_up": (lambda a: list(range(1, a + 1)), "Array.from({ length: {a} }, (_, i) => i + 1)"),
    "count_down": (lambda a: list(range(a, 0, -1)), "Array.from({ length: {a} }, (_, i) => {a} - i)"),
    "evens_below": (lambda a: list(range(0, a, 2)), "Array.from({ length: {a} }, (_, i) => i).filter((i) => i % 2 === 0)"),
    "minutes": (lambda a: a * 60, "{a} * 60"), "metres": (lambda a: a * 1000, "{a} * 1000"),
    "fahrenheit": (lambda a: a * 9 / 5 + 32, "{a} * 9 / 5 + 32"), "sum": (lambda a, b: a + b, "{a} + {b}"),
    "difference": (lambda a, b: a - b, "{a} - {b}"), "product": (lambda a, b: a * b, "{a} * {b}"),
    "quotient": (lambda a, b: a // b, "Math.floor({a} / {b})"), "remainder": (lambda a, b: a % b, "{a} % {b}"),
    "power": (lambda a, b: a**b, "{a} ** {b}"), "larger": (max, "Math.max({a}, {b})"), "smaller": (min, "Math.min({a}, {b})"),
    "average": (lambda a, b: (a + b) / 2, "({a} + {b}) / 2"), "distance": (lambda a, b: abs(a - b), "Math.abs({a} - {b})"),
    "equal": (lambda a, b: a == b, "{a} === {b}"), "multiple": (lambda a, b: a % b == 0, "{a} % {b} === 0"),
    "perimeter": (lambda a, b: 2 * (a + b), "2 * ({a} + {b})"), "sum_three": (lambda a, b, c: a + b + c, "{a} + {b} + {c}"),
    "volume": (lambda a, b, c: a * b * c, "{a} * {b} * {c}"), "largest_three": (max, "Math.max({a}, {b}, {c})"),
    "between": (lambda a, b, c: b <= a <= c, "{b} <= {a} && {a} <= {c}"), "total": (sum, "{a}.reduce((a, item) => a + item, 0)"),
    "largest": (max, "Math.max(...{a})"), "smallest": (min, "Math.min(...{a})"), "size": (len, "{a}.length"),
    "first": (lambda a: a[0], "{a}[0]"), "last": (lambda a: a[-1], "{a}.at(-1)"), "reverse": (lambda a: a[::-1], "[...{a}].reverse()"),
    "sort": (sorted, "[...{a}].sort((a, b) => a - b)"),
    "sort_down": (lambda a: sorted(a, reverse=True), "[...{a}].sort((a, b) => b - a)"),
    "mean": (lambda a: sum(a) / len(a), "{a}.reduce((a, item) => a + item, 0) / {a}.length"),
    "evens": (lambda a: [x for x in a if x % 2 == 0], "{a}.filter((item) => item % 2 === 0)"),
    "odds": (lambda a: [x for x in a if x % 2 == 1], "{a}.filter((item) => item % 2 !== 0)"),
    "positives": (lambda a: [x for x in a if x > 0], "{a}.filter((item) => item > 0)"),
    "doubles": (lambda a: [x * 2 for x in a], "{a}.map((item) => item * 2)"), "squares": (lambda a: [x * x for x in a], "{a}.map((item) => item * item)"),
    "count_evens": (lambda a: sum(x % 2 == 0 for x in a), "{a}.filter((item) => item % 2 === 0).length"),
    "multiply_all": (prod, ("let result = 1;", "for (const item of {a}) {", "  result *= item;", "}", "return result;")),
    "is_empty": (lambda a: not a, "{a}.length === 0"),
    "unique": (lambda a: sorted(set(a)), "[...new Set({a})].sort((a, b) => a - b)"),
    "spread": (lambda a: max(a) - min(a), "Math.max(...{a}) - Math.min(...{a})"), "without_first": (lambda a: a[1:], "{a}.slice(1)"),
    "count_of": (lambda a, b: a.count(b), "{a}.filter((item) => item === {b}).length"), "contains": (lambda a, b: b in a, "{a}.includes({b})"),
    "first_some": (lambda a, b: a[:b], "{a}.slice(0, {b})"), "add_each": (lambda a, b: [x + b for x in a], "{a}.map((item) => item + {b})"),
    "above": (lambda a, b: [x for x in a if x > b], "{a}.filter((item) => item > {b})"), "append": (lambda a, b: [*a, b], "[...{a}, {b}]"),
    "text_length": (len, "{a}.length"), "upper": (str.upper, "{a}.toUpperCase()"), "lower": (str.lower, "{a}.toLowerCase()"),
    "text_reverse": (lambda a: a[::-1], '[...{a}].reverse().join("")'), "first_letter": (lambda a: a[0], "{a}[0]"),
    "last_letter": (lambda a: a[-1], "{a}.at(-1)"), "palindrome": (lambda a: a == a[::-1], '{a} === [...{a}].reverse().join("")'),
    "vowels": (lambda a: sum(c in "aeiou" for c in a), '[...{a}].filter((c) => "aeiou".includes(c)).length'),
    "word_count": (lambda a: len(a.split()), '{a}.split(" ").filter((word) => word).length'),
    "words": (str.split, '{a}.split(" ").filter((word) => word)'), "no_spaces": (lambda a: a.replace(" ", ""), '{a}.replaceAll(" ", "")'),
    "shout": (lambda a: a + "!", '{a} + "!"'),
    "longest_word": (lambda a: max(a.split(), key=len), '{a}.split(" ").reduce((best, word) => (word.length > best.length ? word : best))'),
    "repeat": (lambda a, b: a * b, "{a}.repeat({b})"), "text_start": (lambda a, b: a[:b], "{a}.slice(0, {b})"),
    "join_texts": (lambda a, b: a + " " + b, '{a} + " " + {b}'), "starts_with": (str.startswith, "{a}.startsWith({b})"),
    "ends_with": (str.endswith, "{a}.endsWith({b})"),
}  # fmt: skip


def javascript(family: Family, name: str, parameters: tuple[str, ...]) -> str:
    """A family's function in JavaScript."""
    body = BODIES[family.name][1]
    lines = (f"return {body};",) if isinstance(body, str) else body
    for slot, parameter in zip(("{a}", "{b}", "{c}"), parameters, strict=False):
        lines = tuple(line.replace(slot, parameter) for line in lines)
    return "\n".join([f"function {name}({', '.join(parameters)}) {{", *(f"  {line}" for line in lines), "}"])


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def hidden_arguments(rng: random.Random, family: Family, shown: list[list[Any]], count: int) -> list[list[Any]]:
    """Up to `count` further arguments for a family, of the kinds and signs that its own tests have, none of them among `shown`."""
    numbers = [value for arguments in shown for value in _whole_numbers(arguments)]
    low = min(0, *numbers) if numbers else 0
    found: list[list[Any]] = []
    for _ in range(count * 20):
        if len(found) == count:
            break
        made = [_argument(rng, kind, low, place) for place, kind in enumerate(family.parameters)]
        if family.name in ("starts_with", "ends_with") and rng.random() < 0.6:
            text = made[0]
            made[1] = text[:2] if family.name == "starts_with" else text[-2:]
        if made not in shown and made not in found and _is_defined(family, made):
            found.append(made)
    return found


def _whole_numbers(arguments: list[Any]) -> list[int]:
    flat = [item for argument in arguments for item in (argument if isinstance(argument, list) else [argument])]
    return [item for item in flat if isinstance(item, int)]


def _argument(rng: random.Random, kind: str, low: int, place: int) -> Any:
    if kind == "n":
        return _between(rng, -12 if low < 0 else 0, 12 if place == 0 else 5)
    if kind == "l":
        return [_between(rng, -9 if low < 0 else 0, 9) for _ in range(_between(rng, 1, 6))]
    return pick(rng, _TEXTS)


def _is_defined(family: Family, arguments: list[Any]) -> bool:
    """Whether the family says what these arguments give."""
    try:
        BODIES[family.name][0](*arguments)
    except (ValueError, ZeroDivisionError, IndexError):
        return False
    return True
