"""The calculator tool: exact arithmetic on what a model wrote, parsed with Python's own grammar and never run.

Whole numbers, fractions and decimals are exact; a decimal is what was written, not its nearest float. Roots, powers with a
fraction and functions such as `sin` give floats.
"""

import ast
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from kwen.errors import UserError

_MAX_CHARACTERS = 200
_MAX_BITS = 4096  # of a result: about 1,200 digits
_PLACES = 12  # significant digits of what has no end
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "（": "(", "）": ")", "，": ",", "^": "^"})
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
Number = Fraction | float


def calculate(expression: Annotated[str, Field(max_length=_MAX_CHARACTERS)]) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: numbers with + - * / // % ** and brackets, and functions such as sqrt, round, min, max, log, sin; for
            example (17 + 3) * 2.5
    """
    if len(expression) > _MAX_CHARACTERS:
        raise UserError(f"the expression has more than {_MAX_CHARACTERS} characters; work it out in parts")
    text = expression.strip().rstrip("=?").strip().translate(_SIGNS).replace("^", "**")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        problem = error.msg if isinstance(error, SyntaxError) else "it is nested too deep"
        raise UserError(f"{expression!r} is no arithmetic ({problem}); write it as (17 + 3) * 2.5") from None
    try:
        return shown(_value(tree.body, text))
    except ZeroDivisionError:
        raise UserError("division by zero") from None
    except OverflowError:
        raise UserError("the result is too large") from None
    except RecursionError:
        raise UserError("the expression is nested too deep; work it out in parts") from None


def shown(value: Number) -> str:
    """A number as people write it: 391, 2.5, -0.125; 12 significant digits where there is no end, with the fraction beside."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError("the result is no number")
        if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        return f"{value:.{_PLACES}g}"
    if value.denominator == 1:
        return str(value.numerator)
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest == 1 and places <= 30:
        digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
        return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
    near = f"{float(value):.{_PLACES}g}"
    return f"{near} (exactly {value})" if len(str(value)) <= 24 else near


def _value(node: ast.expr, text: str) -> Number:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return _bounded(Fraction(node.value))
    if isinstance(node, ast.Constant) and type(node.value) is float:
        return _decimal(node.value, (ast.get_source_segment(text, node) or "0").replace("_", ""))
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        value = _value(node.operand, text)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _bounded(_operation(node.op, _value(node.left, text), _value(node.right, text)))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _bounded(_function(node.func.id, [_value(part, text) for part in node.args]))
    part = ast.get_source_segment(text, node) or text
    raise UserError(f"{part[:60]!r} is no arithmetic; use numbers, + - * / // % ** ( ) and {', '.join(_FUNCTIONS)}")


def _decimal(near: float, written: str) -> Fraction:
    """The number that was written; `near`, its float, tells first whether it has a size worth working with."""
    if math.isinf(near):
        raise OverflowError
    return Fraction(written) if near else Fraction(0)


def _operation(operator: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(operator, ast.Add):
        return left + right
    if isinstance(operator, ast.Sub):
        return left - right
    if isinstance(operator, ast.Mult):
        return left * right
    if isinstance(operator, ast.Div):
        return left / right
    if isinstance(operator, ast.FloorDiv):
        return Fraction(left // right)
    if isinstance(operator, ast.Mod):
        return left % right
    if isinstance(operator, ast.Pow):
        return _power(left, right)
    raise UserError("of the operators only + - * / // % ** are known")


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        size = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
        if size > 1 and abs(exponent.numerator) * (size - 1) > _MAX_BITS:  # known before the work is done
            raise OverflowError
        if abs(exponent.numerator) > 10 * _MAX_BITS:  # 1, 0 and -1
            exponent = exponent % 2 + 2 if exponent > 0 else -(exponent % 2) - 2
        return Fraction(base**exponent)
    if base < 0:
        raise UserError("a negative number has no power that is a fraction")
    return float(base) ** float(exponent)


def _bounded(value: Number) -> Number:
    if isinstance(value, Fraction) and max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * _MAX_BITS:
        raise OverflowError
    return value


def _round(value: Number, digits: Number = Fraction(0)) -> Number:
    """Half away from zero, as people round."""
    scale = Fraction(10) ** max(-_PLACES * 2, min(_PLACES * 2, int(digits)))
    scaled = Fraction(value) * scale
    return Fraction(math.floor(abs(scaled) + Fraction(1, 2)) * (1 if scaled >= 0 else -1)) / scale


def _root(value: Number) -> Number:
    if value < 0:
        raise UserError("a negative number has no square root")
    if isinstance(value, Fraction):
        above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if above * above == value.numerator and below * below == value.denominator:
            return Fraction(above, below)
    return math.sqrt(value)


_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "sqrt": _root, "abs": abs, "round": _round, "min": min, "max": max,
    "floor": lambda value: Fraction(math.floor(value)), "ceil": lambda value: Fraction(math.ceil(value)),
    "sum": lambda *values: sum(values, Fraction(0)), "factorial": lambda value: Fraction(_factorial(value)),
    "gcd": lambda *values: Fraction(math.gcd(*map(_whole, values))), "log": math.log, "log10": math.log10, "log2": math.log2,
    "ln": math.log, "exp": math.exp, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos,
    "atan": math.atan, "radians": math.radians, "degrees": math.degrees,
}  # fmt: skip


def _whole(value: Number) -> int:
    if value != int(value):
        raise UserError(f"{shown(value)} is no whole number")
    return int(value)


def _factorial(value: Number) -> int:
    if not 0 <= value <= 450:
        raise UserError("factorial takes whole numbers from 0 to 450")
    return math.factorial(_whole(value))


def _function(name: str, values: list[Number]) -> Number:
    if name not in _FUNCTIONS:
        raise UserError(f"{name} is unknown; the functions are {', '.join(_FUNCTIONS)}")
    try:
        return _FUNCTIONS[name](*values)
    except TypeError:
        raise UserError(f"{name} does not take {len(values)} numbers") from None
    except UserError:
        raise
    except ValueError:
        raise UserError(f"{name} is not defined for {', '.join(map(shown, values))}") from None
