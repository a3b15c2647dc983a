"""Maths for a maths model: every line of working true, every answer exact, every split kept."""

import random
import re
import string
from fractions import Fraction

import pytest

from kwen.errors import UserError
from kwen.nanoworld.maths import split_of_numbers
from kwen.nanoworld.maths_arithmetic import FORMS, arithmetic
from kwen.nanoworld.maths_equations import FORMS as EQUATION_FORMS
from kwen.nanoworld.maths_equations import linear_equation
from kwen.nanoworld.maths_problems_chinese import LARGEST, STEPS, WORDINGS, chinese_problem
from kwen.nanoworld.maths_tasks import KINDS, QUESTION_KINDS, MathsKind, exercise, maths_dialogues, maths_questions
from kwen.nanoworld.maths_three_steps import THREE_STEPS, THREE_STEPS_CHINESE
from kwen.nanoworld.names import Language, Names
from kwen.verify.answers import extract_number, same_number

EQUATION = re.compile(r"(-?[\d.]+) ([-+*/]) (-?[\d.]+) = (?:\[[^]]*\] )?(-?\d[\d.]*\d|-?\d)")
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def value(expression: str) -> Fraction:
    """Evaluates sums, products, powers and brackets on its own: nothing of the module under test takes part."""
    tokens = re.findall(r"\d+(?:\.\d+)?|[-+*/^()]", expression.replace("×", "*").replace("÷", "/"))

    def atom() -> Fraction:
        token = tokens.pop(0)
        if token == "(":
            inner = total()
            assert tokens.pop(0) == ")"
            return inner
        return Fraction(token)

    def power() -> Fraction:
        base = atom()
        if tokens and tokens[0] == "^":
            tokens.pop(0)
            return base ** int(atom())
        return base

    def product() -> Fraction:
        result = power()
        while tokens and tokens[0] in "*/":
            result = result * power() if tokens.pop(0) == "*" else result / power()
        return result

    def total() -> Fraction:
        result = product()
        while tokens and tokens[0] in "+-":
            result = result + product() if tokens.pop(0) == "+" else result - product()
        return result

    found = total()
    assert not tokens
    return found


def holds(left: str, operator: str, right: str, result: str) -> bool:
    a, b = Fraction(left), Fraction(right)
    return {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[operator] == Fraction(result)


def working_holds(worked: str) -> bool:
    """Whether all small lines inside brackets are true: 8+5=13, 6*3+1=19, 52/6=8r4."""
    for bracket in re.findall(r"\[([^]]*)\]", worked):
        for line in re.findall(r"[\d+*/-]+=[\dr]+", bracket):
            left, _, right = line.partition("=")
            quotient, _, rest = right.partition("r")
            if rest:
                top, _, divisor = left.partition("/")
                if int(quotient) * int(divisor) + int(rest) != int(top):
                    return False
            elif value(left) != int(right):
                return False
    return True


@pytest.mark.parametrize("form", FORMS)
def test_arithmetic_is_exact_and_its_working_true(form: str) -> None:
    rng = random.Random(form)
    for number in range(120):
        made = arithmetic(rng, LANGUAGES[number % 2], form)
        assert value(made.key) == Fraction(made.answer)
        equations = EQUATION.findall(made.worked)
        assert equations and all(holds(*parts) for parts in equations) and Fraction(equations[-1][-1]) == Fraction(made.answer)
        assert working_holds(made.worked) and len(made.worked) < 240
        assert same_number(extract_number(made.worked) or "none", Fraction(made.answer), tolerance=0.0)


@pytest.mark.parametrize("form", EQUATION_FORMS)
def test_a_solution_solves_its_equation(form: str) -> None:
    rng = random.Random(form)
    for number in range(120):
        made = linear_equation(rng, LANGUAGES[number % 2], form)
        sides = [re.sub(r"(\d)(?=[x(])", r"\1*", side).replace("x", made.answer) for side in made.key.split(" = ")]
        assert value(sides[0]) == value(sides[1]), made
        assert working_holds(made.worked) and extract_number(made.worked) == made.answer
        assert all(holds(*parts) for parts in EQUATION.findall(made.worked))


def test_chinese_problems_are_right_whole_and_told_fully() -> None:
    rng, names = random.Random("zh"), Names("train")
    forms = set()
    for _ in range(1_500):
        made = chinese_problem(rng, names)
        schema = made.key.split(" ")[0]
        equations = EQUATION.findall(made.worked)
        assert len(equations) == len(STEPS[schema]) and all(holds(*parts) for parts in equations)
        assert made.worked.endswith(f"答案是{made.answer}。") and 0 < int(made.answer) <= LARGEST and working_holds(made.worked)
        numbers = tuple(map(int, re.findall(r"\d+", made.key.partition("(")[2])))
        assert all(str(number) in made.text for number in numbers) and "{" not in made.text
        assert schema in THREE_STEPS or split_of_numbers(schema, numbers) == "train"
        forms.add((schema, made.form))
    assert {schema for schema, _ in forms} == set(STEPS)
    assert {form for _, form in forms} == {"one step", "two steps", "three steps"}


def test_every_three_step_wording_tells_each_number_once() -> None:
    assert set(THREE_STEPS) == set(THREE_STEPS_CHINESE) and set(STEPS) <= set(WORDINGS)
    for schema, wordings in THREE_STEPS_CHINESE.items():
        needed = sorted({letter for step in THREE_STEPS[schema] for letter in (step[0], step[2]) if letter in "abcd"})
        for wording in wordings:
            slots = [slot for _, slot, _, _ in string.Formatter().parse(wording) if slot is not None]
            assert sorted(slot for slot in slots if slot in "abcd") == needed, wording


@pytest.mark.parametrize("kind", QUESTION_KINDS)
def test_questions_are_held_out_and_a_pure_function_of_the_seed(kind: MathsKind) -> None:
    questions = maths_questions(kind)
    assert questions[:20] == maths_questions(kind, 0, 20) != maths_questions(kind, 1, 20)
    assert len({question.id for question in questions}) == 400
    assert {question.language for question in questions} == ({"zh"} if kind == "problems-zh" else {"en", "zh"})
    rng, names = random.Random("train"), Names("train")
    training = {exercise(rng, kind, names)[0].key for _ in range(1_500)}
    held_rng, held_names = random.Random("held"), Names("held_out")
    assert not training & {exercise(held_rng, kind, held_names)[0].key for _ in range(400)}


def test_dialogues_have_the_asked_kinds_and_short_answers() -> None:
    made = list(maths_dialogues(0, 2_000))
    assert made[:20] == list(maths_dialogues(0, 20)) and {dialogue.kind for dialogue in made} == set(KINDS)
    assert max(len(dialogue.messages[1]["content"]) for dialogue in made) < 240
    assert {dialogue.kind for dialogue in maths_dialogues(0, 50, ["equations"])} == {"equations"}


def test_unknown_kinds_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="no kind 'algebra'"):
        maths_questions("algebra")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no kind 'problems'"):
        maths_questions("problems")
    with pytest.raises(UserError, match="no kind given"):
        list(maths_dialogues(0, 1, []))
