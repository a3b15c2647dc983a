"""Linear equations with one unknown, worked by moving one thing at a time. The hash of an equation decides its split."""

import random
from decimal import Decimal

from kwen.nanoworld.maths_arithmetic import Exercise, worked_text
from kwen.nanoworld.maths_working import equation
from kwen.nanoworld.names import Language, pick

FORMS = ("plus", "minus", "from", "times", "over", "times_plus", "times_minus", "bracket", "over_plus", "both_sides")
"""The forms of equations, each as often as the others."""

_ASKED: dict[Language, tuple[str, ...]] = {
    "en": ("Solve {e}.", "Solve for {x}: {e}", "Find {x}: {e}.", "What is {x} if {e}?", "{e}. What is {x}?"),
    "zh": ("解方程 {e}。", "解方程：{e}", "已知 {e}，求 {x}。", "如果 {e}，那么 {x} 是多少？", "{e}，{x} 等于多少？"),
}


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + int(rng.random() * (high - low + 1))


def _sided(left: int, operator: str, right: int) -> tuple[str, int]:
    line, result = equation(Decimal(left), operator, Decimal(right))
    return line, int(result)


def linear_equation(rng: random.Random, language: Language, form: str | None = None) -> Exercise:
    """An equation of a form or of any, its solution a whole number."""
    form = form or pick(rng, FORMS)
    x = pick(rng, ("x", "x", "x", "y", "n", "a", "t"))
    a, b, root = _between(rng, 2, 12), _between(rng, 2, 60), _between(rng, 2, 40)
    if form in ("plus", "minus", "from"):
        b, root = _between(rng, 2, 400), _between(rng, 2, 400)
        left, operator, whole, by = {
            "plus": (f"{x} + {b}", "-", root + b, b), "minus": (f"{x} - {b}", "+", root, b), "from": (f"{root + b} - {x}", "-", root + b, b),
        }[form]  # fmt: skip
        value = {"plus": root + b, "minus": root, "from": b}[form]
        line, root = _sided(whole, operator, by)
        equations = [f"{x} = {line}"]
    elif form == "times":
        left, value = f"{a}{x}", a * root
        equations = [f"{x} = {_sided(value, '/', a)[0]}"]
    elif form == "over":
        left, value = f"{x} / {a}", root
        line, root = _sided(value, "*", a)
        equations = [f"{x} = {line}"]
    elif form in ("times_plus", "times_minus"):
        plus = form == "times_plus"
        value = a * root + b if plus else a * root - b
        left = f"{a}{x} {'+' if plus else '-'} {b}"
        if value < 1:
            return linear_equation(rng, language, form)
        equations = [f"{a}{x} = {_sided(value, '-' if plus else '+', b)[0]}", f"{x} = {_sided(a * root, '/', a)[0]}"]
    elif form == "bracket":
        left, value = f"{a}({x} + {b})", a * (root + b)
        equations = [f"{x} + {b} = {_sided(value, '/', a)[0]}", f"{x} = {_sided(root + b, '-', b)[0]}"]
    elif form == "over_plus":
        left, value = f"{x} / {a} + {b}", root + b
        line, _ = _sided(value, "-", b)
        last, solution = _sided(root, "*", a)
        equations, root = [f"{x} / {a} = {line}", f"{x} = {last}"], solution
    else:
        fewer, more = _between(rng, 2, 8), _between(rng, 2, 9)
        left = f"{fewer + more}{x} + {b}"
        value = b + more * root
        equations = [_sided(fewer + more, "-", fewer)[0], f"{more}{x} = {_sided(value, '-', b)[0]}", f"{x} = {_sided(more * root, '/', more)[0]}"]
        return _asked(rng, form, f"{left} = {fewer}{x} + {value}", x, equations, root, language)
    return _asked(rng, form, f"{left} = {value}", x, equations, root, language)


def _asked(rng: random.Random, form: str, text: str, x: str, equations: list[str], root: int, language: Language) -> Exercise:
    asked = pick(rng, _ASKED[language]).format(e=text, x=x)
    # The letter is no part of the key: the same equation in another letter is the same equation.
    return Exercise(form, text.replace(x, "x"), asked, worked_text(equations, str(root), language), str(root))
