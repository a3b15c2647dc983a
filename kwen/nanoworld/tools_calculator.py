"""The calculator tool: exact arithmetic with its own small parser, for expressions that a model wrote."""

import re
from fractions import Fraction

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|(.))", re.ASCII | re.DOTALL)
_LONGEST = 100  # characters of an expression: what bounds the depth of brackets and the size of results
_PLACES = 4  # decimals that are shown of a result that has more


class ToolError(ValueError):
    """A call that a tool cannot answer; its text is what the model is told."""


def calculate(expression: str) -> str:
    """The value of an expression of numbers, + - * / and brackets, as `written` writes it.

    Raises ToolError for what is no such expression, for one over 100 characters and for a division by zero.
    """
    if len(expression) > _LONGEST:
        raise ToolError(f"expression is longer than {_LONGEST} characters")
    signs = str.maketrans({"×": "*", "÷": "/", "−": "-", "（": "(", "）": ")"})
    tokens = [number or sign for number, sign in _TOKEN.findall(expression.translate(signs).strip())]
    value, rest = _sum(tokens)
    if rest:
        raise ToolError(f"'{rest[0]}' is out of place in the expression")
    return written(value)


def written(value: Fraction) -> str:
    """A number as tools write it: whole where it is, else with four decimals at most and no zero at the end."""
    if value.denominator == 1:
        return str(value.numerator)
    scaled = round(value * 10**_PLACES)
    whole, part = divmod(abs(scaled), 10**_PLACES)
    digits = f"{whole}.{part:0{_PLACES}d}".rstrip("0").rstrip(".")
    return f"-{digits}" if scaled < 0 else digits


def _sum(tokens: list[str]) -> tuple[Fraction, list[str]]:
    """The value of the sum or difference that the tokens begin with, and the tokens after it."""
    value, tokens = _product(tokens)
    while tokens and tokens[0] in "+-":
        sign, (right, tokens) = tokens[0], _product(tokens[1:])
        value = value + right if sign == "+" else value - right
    return value, tokens


def _product(tokens: list[str]) -> tuple[Fraction, list[str]]:
    """The same for a product or quotient."""
    value, tokens = _factor(tokens)
    while tokens and tokens[0] in "*/":
        sign, (right, tokens) = tokens[0], _factor(tokens[1:])
        if sign == "/" and right == 0:
            raise ToolError("division by zero")
        value = value * right if sign == "*" else value / right
    return value, tokens


def _factor(tokens: list[str]) -> tuple[Fraction, list[str]]:
    """The same for a number, a bracket, or either with a sign before it."""
    if not tokens:
        raise ToolError("the expression ends too early")
    first, rest = tokens[0], tokens[1:]
    if first == "-":
        value, rest = _factor(rest)
        return -value, rest
    if first == "(":
        value, rest = _sum(rest)
        if rest[:1] != [")"]:
            raise ToolError("a bracket is not closed")
        return value, rest[1:]
    if not (first.isascii() and first[0].isdigit()):
        raise ToolError(f"'{first}' is no number")
    return Fraction(first), rest
