"""Reading numbers and short answers out of text, and comparing them."""

import time
from fractions import Fraction
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.verify.answers import extract_number, normalise, number_value, same_number, same_text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234,567.50 dollars", "1234567.5"),
        ("12,34,567", "1234567"),
        ("1{,}234", "1234"),
        ("$-5", "-5"),
        ("-$5", "-5"),
        ("−7", "-7"),
        ("x = -2", "-2"),
        ("007", "7"),
        (".50", "0.5"),
        ("-0", "0"),
        ("3.00", "3"),
        ("3/4", "3/4"),
        ("6/3", "2"),
        ("1 3/4 cups", "7/4"),
        ("2又1/3", "7/3"),
        ("1(1/2)", "3/2"),
        ("½", "1/2"),
        ("3½", "7/2"),
        ("-½", "-1/2"),
        (r"\frac{3}{4}", "3/4"),
        (r"-\dfrac12", "-1/2"),
        (r"1\frac{1}{2}", "3/2"),
        ("12.50%", "12.5%"),
        (r"12.5\%", "12.5%"),
        ("５０％", "50%"),
        ("１，２３４．５元", "1234.5"),
        ("共有5个苹果", "5"),
        ("3万人", "30000"),
        ("1.2亿", "120000000"),
        ("1.5e3", "1500"),
        (r"1.5\times 10^{-3}", "0.0015"),
        ("5 m²", "5"),
        ("H2O has 3 atoms", "3"),
    ],
)
def test_a_number_has_one_canonical_form(text: str, number: str) -> None:
    assert extract_number(text, "flexible") == number
    assert extract_number(f"The answer is {text}") == number


@pytest.mark.parametrize("text", ["", "none", "x1 and SHA256", "答案是不知道", "9" * 1000, "2^", "½"[1:]])
def test_no_number_is_none(text: str) -> None:
    assert extract_number(text, "strict") is None
    assert extract_number(text, "flexible") in (None, "2")


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("He has 5. So 5 + 3 = 8.\n#### 8", "8", "8"),
        ("The answer is $18. She had 3 left over.", "18", "3"),
        ("Therefore, the answer is: 3 + 4 = 7.", "7", "7"),
        ("The final answer is **42**", "42", "42"),
        ("Answer:\n\n18 apples in 2 boxes", "18", "2"),
        ("答案是５０％。一共2人", "50%", "2"),
        ("答：小明有12个苹果。", "12", "12"),
        (r"so \boxed{\frac{3}{4}} of 8", "3/4", "8"),
        ("#### 1,018", "1018", "1018"),
        ("the answer is 4? No, the answer is 5", "5", "5"),
        ("10 - 5 = 5", None, "5"),
        ("10 - 4", None, "4"),
        ("from 10-15", None, "15"),
        ("(3,4)", None, "4"),
        ("nothing marked 7", None, "7"),
    ],
)
def test_strict_wants_a_mark_and_flexible_takes_the_last(text: str, strict: str | None, flexible: str) -> None:
    assert extract_number(text, "strict") == strict
    assert extract_number(text, "flexible") == flexible


@given(st.fractions(max_denominator=1000), st.booleans())
def test_a_fraction_is_read_as_what_was_written(value: Fraction, spaced: bool) -> None:
    written = f"{value.numerator} / {value.denominator}" if spaced else f"{value.numerator}/{value.denominator}"
    assert number_value(written) == value
    assert same_number(written, value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12))
def test_a_decimal_is_read_with_and_without_separators(value: object) -> None:
    assert number_value(f"{value:,}") == number_value(f"{value:f}") == Fraction(str(value))


def test_equal_numbers() -> None:
    equal = [("1,000", "1000.0"), ("3/4", 0.75), ("50%", "0.5"), ("50%", 50), ("$12", "12 dollars"), (1 / 3, "1/3"), ("0", 0)]
    for left, right in equal:
        assert same_number(left, right) and same_number(right, left)
    other = [("3", "4"), ("3 4", "3"), ("", ""), ("-5", "5"), (float("nan"), "1"), ("0.33", "1/3"), (float("inf"), "1")]
    for left, right in other:
        assert not same_number(left, right) and not same_number(right, left)
    assert same_number("0.33", "1/3", tolerance=0.02)


def test_equal_texts() -> None:
    for left, right in [
        ("The  Eiffel Tower.", "eiffel tower"),
        ("ＡＢＣ", "abc"),
        ("“红色”。", "红色"),
        ("1,000", "1000"),
        ("A", "a"),
        ("(B)", "b"),
        ("Straße", "STRASSE"),
        ("New York, USA", "new york usa"),
    ]:
        assert same_text(left, right) and same_text(right, left)
    for left, right in [("3.5", "35"), ("-5", "5"), ("cat", "cats"), ("5 km", "5 miles"), ("A", "the"), ("yes", "")]:
        assert not same_text(left, right) and not same_text(right, left)


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    for mode in ("strict", "flexible"):
        assert extract_number(text, mode) is None or number_value(extract_number(text, mode) or "") is not None
    assert same_text(text, text)
    assert normalise(normalise(text)) == normalise(text) or "^" in normalise(text) or "\\" in text


PIECES = ["1,", "111,", "9", "1/", "-", "1 ", r"\frac{", "#### ", "answer is ", "(1/", ".1", " ", "1e", "a1", "1×10^"]
PIECES += ["{,}", "\\", "."]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("mode", ["strict", "flexible"])
def test_time_is_linear_in_the_text(piece: str, mode: Literal["strict", "flexible"]) -> None:
    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        began = time.process_time()
        extract_number("answer is " + text, mode)
        same_text(text, text + "x")
        return time.process_time() - began

    seconds(1000)
    assert seconds(40_000) < 1.5, "0.4 s at most on one core; a quadratic pattern takes minutes"
