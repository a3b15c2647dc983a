"""One step of a composed function: what it takes and gives, as an expression in Python and in JavaScript, and as a closure.

In expressions `{v}` is the value, `{k}` the step's number, `{p}` the first name of a pair and `{q}` its second. Phrases are what
follows "a function that takes a list of numbers," and 给它一个数的列表，.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["list", "pair", "number", "text", "words", "counts", "truth"]
CodeLanguage = Literal["python", "javascript"]


@dataclass(frozen=True)
class Step:
    """One idea. `weight` is 2 for those that need a helper or a small algorithm of their own, else 1.

    `numbers` are the values that its number may have; `before` are lines that come before the expression, in each language.
    `wants` says what input makes sense: "natural" (no negative numbers), "positive", "short" (200 at most), "few"
    (30 at most), "wide" (several digits), "sorted".
    """

    name: str
    group: str
    takes: Kind
    gives: Kind
    python: str
    javascript: str
    run: Callable[[Any, int], Any]
    english: tuple[str, ...]
    chinese: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    helper: str = ""
    before: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    wants: frozenset[str] = frozenset()
    weight: int = 1


@dataclass(frozen=True)
class Helper:
    """A function that a step calls: its name and lines in each language, and its closure."""

    python_name: str
    javascript_name: str
    python: tuple[str, ...]
    javascript: tuple[str, ...]
    run: Callable[..., Any]


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a


HELPERS: dict[str, Helper] = {
    "prime": Helper(
        "is_prime", "isPrime",
        ("def is_prime(n):", "    for d in range(2, n):", "        if n % d == 0:", "            return False", "    return n > 1"),
        ("function isPrime(n) {", "  for (let d = 2; d < n; d++) {", "    if (n % d === 0) return false;", "  }", "  return n > 1;", "}"),
        _is_prime,
    ),
    "gcd": Helper(
        "gcd", "gcd",
        ("def gcd(a, b):", "    while b:", "        a, b = b, a % b", "    return a"),
        ("function gcd(a, b) {", "  while (b) {", "    [a, b] = [b, a % b];", "  }", "  return a;", "}"),
        _gcd,
    ),
    "digit_sum": Helper(
        "digit_sum", "digitSum",
        ("def digit_sum(n):", "    return sum(int(d) for d in str(n))"),
        ("function digitSum(n) {", "  return [...String(n)].reduce((a, d) => a + Number(d), 0);", "}"),
        lambda n: sum(int(digit) for digit in str(n)),
    ),
    "mirrored": Helper(
        "is_mirrored", "isMirrored",
        ("def is_mirrored(n):", "    return str(n) == str(n)[::-1]"),
        ("function isMirrored(n) {", '  return String(n) === [...String(n)].reverse().join("");', "}"),
        lambda n: str(n) == str(n)[::-1],
    ),
}  # fmt: skip
