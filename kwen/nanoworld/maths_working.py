"""Arithmetic written out so that a small model can follow it: an equation a step, digit by digit where numbers are big.

`47 + 38 = 85` is told as it is. `468 + 75 = [8+5=13 6+7+1=14 4+0+1=5] 543` works from the last digit to the first, each with what
was carried; products likewise, for each digit of the smaller factor; `5286 / 6 = [52/6=8r4 48/6=8r0 6/6=1r0] 881` is long division.
Numbers are exact decimals.
"""

from decimal import Decimal

EASY_SUM, EASY_FACTOR = 100, 12
"""Sums of numbers up to the first, and products of factors up to the second, are told without working."""


def text_of(number: Decimal) -> str:
    """A number in digits, without zeros at the end of its decimals."""
    return format(number.normalize() if number else Decimal(0), "f")


def places_of(number: Decimal) -> int:
    """How many decimals a number has."""
    return len(text_of(number).partition(".")[2])


def equation(left: Decimal, operator: str, right: Decimal) -> tuple[str, Decimal]:
    """`left operator right = result`, with its working where it is not easy, and the result.

    Raises ValueError for a quotient that has no end, for a divisor above `EASY_FACTOR` that is needed in working, and for a sum
    with working and a sign.
    """
    result = _apply(left, operator, right)
    working = "" if _is_easy(left, operator, right, result) else _working(left, operator, right, result)
    return f"{text_of(left)} {operator} {text_of(right)} = {f'[{working}] ' if working else ''}{text_of(result)}", result


def _apply(left: Decimal, operator: str, right: Decimal) -> Decimal:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    quotient = left / right
    if quotient * right != left:
        raise ValueError(f"{left} / {right} has no end")
    return quotient


def _is_easy(left: Decimal, operator: str, right: Decimal, result: Decimal) -> bool:
    """Whether a model may know it by heart."""
    if any(places_of(number) for number in (left, right, result)):
        return False
    if operator in "+-":
        return max(abs(left), abs(right), abs(result)) <= EASY_SUM
    return max(left, right) <= EASY_FACTOR if operator == "*" else max(right, result) <= EASY_FACTOR


def _working(left: Decimal, operator: str, right: Decimal, result: Decimal) -> str:
    if min(left, right, result) < 0:
        raise ValueError(f"no working for {left} {operator} {right}: it has a sign")
    if operator in "+-":
        places = max(places_of(left), places_of(right))
        return (_add if operator == "+" else _subtract)(_digits(left, places), _digits(right, places))
    if operator == "*":
        larger, smaller = sorted((_whole(left), _whole(right)), key=lambda n: (len(str(n).rstrip("0")), n), reverse=True)
        return _multiply(larger, smaller)
    if right > EASY_FACTOR or places_of(right):
        raise ValueError(f"no working for division by {right}")
    return _divide(_digits(left, max(places_of(left), places_of(result))), int(right))


def _whole(number: Decimal) -> int:
    """The number's digits without its point."""
    return int(number.scaleb(places_of(number)))


def _digits(number: Decimal, places: int) -> str:
    """The digits of a number with so many decimals, without the point."""
    return str(int(number.scaleb(places)))


def _columns(top: str, bottom: str) -> list[tuple[int, int]]:
    """Pairs of digits from the last to the first."""
    width = max(len(top), len(bottom))
    return [(int(a), int(b)) for a, b in zip(reversed(top.zfill(width)), reversed(bottom.zfill(width)), strict=True)]


def _add(top: str, bottom: str) -> str:
    parts, carry = [], 0
    for a, b in _columns(top, bottom):
        total = a + b + carry
        parts.append(f"{a}+{b}{'+1' if carry else ''}={total}")
        carry = total // 10
    return " ".join(parts)


def _subtract(top: str, bottom: str) -> str:
    parts, borrowed = [], 0
    for a, b in _columns(top, bottom):
        a += 10 * (a < b + borrowed)
        parts.append(f"{a}-{b}{'-1' if borrowed else ''}={a - b - borrowed}")
        borrowed = a >= 10
    return " ".join(parts)


def _by_digit(number: int, digit: int) -> str:
    parts, carry = [], 0
    for figure in reversed(str(number)):
        product = int(figure) * digit + carry
        parts.append(f"{figure}*{digit}{f'+{carry}' if carry else ''}={product}")
        carry = product // 10
    return " ".join(parts)


def _multiply(larger: int, smaller: int) -> str:
    """The larger factor by each digit of the smaller from the last, with its value, and the sums of these."""
    figures = [(int(figure), place) for place, figure in enumerate(reversed(str(smaller))) if figure != "0"]
    if len(figures) == 1:
        return _by_digit(larger, figures[0][0])
    parts, total = [], 0
    for digit, place in figures:
        value = larger * digit * 10**place
        parts.append(f"{_by_digit(larger, digit)} {value}")
        if total:
            parts.append(f"{_add(str(total), str(value))} {total + value}")
        total += value
    return "; ".join(parts)


def _divide(digits: str, divisor: int) -> str:
    parts, rest, begun = [], 0, False
    for figure in digits:
        rest = rest * 10 + int(figure)
        if rest >= divisor or begun:
            begun = True
            parts.append(f"{rest}/{divisor}={rest // divisor}r{rest % divisor}")
            rest %= divisor
    return " ".join(parts)
