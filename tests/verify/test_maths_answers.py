import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.verify.math_verify_pool import available, verify
from kwen.verify.maths import boxed, compare, last_answer, same_answers, spelling, stated_answer

SAME = [
    (r"\frac{1}{2}", "0.5"),
    (r"\dfrac12", "1/2"),
    (r"-\tfrac{3}{4}", "-.75"),
    ("(1,2)", r"\left( 1, 2 \right)"),
    ("[0, 1)", "[0,1)"),
    (r"(0,\frac{1}{2}]", "(0,.5]"),
    (r"\{1,2\}", r"\{ 2, 1.0 \}"),
    ("2, 1", "1,2"),
    ("x = 5", "5"),
    (r"x\in[0,1]", "[0,1]"),
    (r"5\text{ cm}^2", "5"),
    (r"90^\circ", "90"),
    (r"90^{\circ}", "90"),
    (r"10\%", "10"),
    (r"\$1,234.00", "1234"),
    ("1{,}234", "1234"),
    (r"\text{Friday}", "friday."),
    (r"\sqrt3", r"\sqrt{3}"),
    (r"2\cdot x", r"2 \times x"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
]
DIFFERENT = [("1", "2"), ("(1,2)", "(2,1)"), ("(0,1]", "[0,1]"), ("", "5"), ("0.333", "1/3"), ("(1,2)", "(1,3)"), ("-5", "5")]
OPEN = [(r"2\sqrt{3}", r"\sqrt{12}", True), ("1+x^2", "x^2+1", True), ("x^2-1", "x^2+1", False), ("a b", "c", False)]


@pytest.mark.parametrize(("answer", "right"), SAME)
def test_spellings_of_one_answer_are_the_same(answer: str, right: str) -> None:
    assert compare(answer, right) is True and compare(right, answer) is True


@pytest.mark.parametrize(("answer", "right"), DIFFERENT)
def test_numbers_tuples_and_intervals_that_differ_are_told(answer: str, right: str) -> None:
    assert compare(answer, right) is False and same_answers([(answer, right)]) == [False]


@pytest.mark.parametrize(("answer", "right", "same"), OPEN)
def test_what_needs_algebra_is_left_open_and_math_verify_decides_it(answer: str, right: str, same: bool) -> None:
    assert compare(answer, right) is None
    if available():
        assert same_answers([(answer, right)]) == [same]


def test_without_math_verify_open_pairs_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwen.verify.math_verify_pool.available", lambda: False)
    assert same_answers([("1+x", "x+1"), ("0.5", "1/2")]) == [False, True]


def test_a_pair_that_takes_for_ever_is_wrong_and_the_rest_is_judged() -> None:
    if not available():
        pytest.skip("math-verify is not installed")
    begin = time.monotonic()
    slow, fast = ("9^{9^{9^{9}}}", "3"), (r"2\sqrt{3}", r"\sqrt{12}")
    assert verify([fast, slow, fast, ("x", "y"), fast], timeout_s=3.0) == [True, False, True, False, True]
    assert time.monotonic() - begin < 60
    assert verify([]) == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{1} or \fbox{\{1, {2}\}}.", r"\{1, {2}\}"),
        (r"\boxed 7$", "7"),
        (r"\boxed{\text{a}\\b}", r"\text{a}\\b"),
        (r"\boxed{1", None),
        ("nothing", None),
    ],
)
def test_the_last_box_is_read_with_its_inner_braces(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("The final answer is $\\frac{1}{2}$. I hope so.", "\\frac{1}{2}", "\\frac{1}{2}"),
        ("The answer is 0.5. Good.", "0.5", "0.5"),
        ("Answer: **12**\nBye 3", "12", "12"),
        ("\\boxed{3} so the answer is 4", "4", "4"),
        ("The answer is 4, hence \\boxed{5}.", "5", "5"),
        ("Then $x$ is $y = 5$", None, "5"),
        ("It makes 1,200 in all", None, "1200"),
        ("no", None, None),
    ],
)
def test_answers_are_found(text: str, strict: str | None, flexible: str | None) -> None:
    assert (stated_answer(text), last_answer(text)) == (strict, flexible)


@given(st.text(alphabet="\\{}()[]$^_,. 0123456789abcfrtx%", max_size=60))
def test_an_answer_is_itself_and_one_spelling_stays(text: str) -> None:
    assert compare(text, text) is bool(spelling(text))


@pytest.mark.parametrize(
    "unit", ["(", "\\frac{", "\\boxed{", "$", "{", "}", " ", "\\text{", "1,", "\\", "answer is ", "x=", "5 "]
)
def test_hostile_texts_are_read_fast(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    begin = time.thread_time()
    boxed(text), stated_answer(text), last_answer(text), spelling(text), compare(text[:2000], text[:1999])
    assert compare(text, text + "1") is False
    assert time.thread_time() - begin < 2
