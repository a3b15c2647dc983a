"""Word problems: enough schemas in both languages, right arithmetic, and number tuples that stay in their split."""

import random
import re
import string

import pytest

from kwen.nanoworld import maths_chinese, maths_english
from kwen.nanoworld.comparisons import comparison
from kwen.nanoworld.maths import (
    LARGEST,
    ONE_STEP,
    SCHEMAS,
    TWO_STEP,
    Problem,
    draw_numbers,
    problem,
    split_of_numbers,
    sums,
    work_out,
    worked_answer,
)
from kwen.nanoworld.names import Language, Names, Split

EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def problems(split: Split, language: Language, count: int) -> list[Problem]:
    rng, names = random.Random(f"problems/{split}/{language}"), Names(split)
    return [problem(rng, language, names) for _ in range(count)]


def holds(left: str, operator: str, right: str, result: str) -> bool:
    a, b, c = int(left), int(right), int(result)
    return {"+": a + b == c, "-": a - b == c, "*": a * b == c, "/": b * c == a}[operator]


def test_there_are_twenty_schemas_of_each_kind_in_both_languages() -> None:
    assert len(ONE_STEP) >= 20 and len(TWO_STEP) >= 20
    assert set(maths_english.ENGLISH) == set(maths_chinese.CHINESE) == set(SCHEMAS)


@pytest.mark.parametrize("table", [maths_english.ENGLISH, maths_chinese.CHINESE])
def test_every_wording_tells_each_number_once(table: dict[str, tuple[str, ...]]) -> None:
    for schema, wordings in table.items():
        assert len(set(wordings)) >= 2
        needed = sorted({letter for step in SCHEMAS[schema] for letter in step if letter in "abc"})
        for wording in wordings:
            slots = [slot for _, slot, _, _ in string.Formatter().parse(wording) if slot is not None]
            assert sorted(slot for slot in slots if slot in "abc") == needed, (schema, wording)
            assert set(slots) <= {*needed, "n", "m", "x", "one", "u"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_worked_answer_is_right_and_ends_in_the_result(language: Language) -> None:
    for made in problems("train", language, 5_000) + problems("held_out", language, 500):
        equations = EQUATION.findall(made.worked)
        assert len(equations) == len(SCHEMAS[made.schema])
        assert all(holds(*equation) for equation in equations)
        assert int(equations[-1][-1]) == made.result
        assert made.worked.endswith(f"The answer is {made.result}." if language == "en" else f"答案是{made.result}。")
        assert all(0 < int(number) <= LARGEST for equation in equations for number in equation[::2])
        assert all(str(number) in made.text for number in made.numbers)
        assert "{" not in made.text


def test_no_held_out_number_tuple_of_a_schema_is_in_training() -> None:
    training = {(made.schema, made.numbers) for language in LANGUAGES for made in problems("train", language, 20_000)}
    held_out = {(made.schema, made.numbers) for language in LANGUAGES for made in problems("held_out", language, 2_000)}
    assert {schema for schema, _ in held_out} == {schema for schema, _ in training} == set(SCHEMAS)
    assert not training & held_out


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_schema_has_number_tuples_enough_in_both_splits(schema: str) -> None:
    rng = random.Random(f"tuples/{schema}")
    drawn = {draw_numbers(rng, schema) for _ in range(1_500)}
    held_out = {numbers for numbers in drawn if split_of_numbers(schema, numbers) == "held_out"}
    assert len(held_out) >= 30 and len(drawn - held_out) >= 30


def test_sums_practise_every_equation_that_problems_need() -> None:
    rng = random.Random("drill")
    drilled = {line for _ in range(20_000) for line in sums(rng)}
    needed = [" ".join(equation) for made in problems("held_out", "en", 2_000) for equation in EQUATION.findall(made.worked)]
    needed = [re.sub(r" (\d+)$", r" = \1", line) for line in needed]
    assert sum(line in drilled for line in needed) / len(needed) > 0.99
    assert all(int(number) <= LARGEST for line in drilled for number in re.findall(r"\d+", line))


def test_a_worked_answer_has_the_regular_form() -> None:
    assert work_out(("a*b", "c-r"), (3, 4, 20)) == (["3 * 4 = 12", "20 - 12 = 8"], 8)
    assert worked_answer(["12 + 7 = 19"], 19, "en") == "12 + 7 = 19. The answer is 19."
    assert worked_answer(["12 + 7 = 19"], 19, "zh") == "12 + 7 = 19。答案是19。"


def test_plain_sums_are_right() -> None:
    rng = random.Random("sums")
    for _ in range(500):
        assert all(holds(*match.groups()) for match in map(EQUATION.fullmatch, sums(rng)) if match)
        assert all(EQUATION.fullmatch(line) for line in sums(rng))


@pytest.mark.parametrize("language", LANGUAGES)
def test_comparisons_are_right(language: Language) -> None:
    rng = random.Random(f"comparisons/{language}")
    words = {"en": ("larger", "smaller", "small to large"), "zh": ("大", "小", "从小到大")}[language]
    for _ in range(2_000):
        made = comparison(rng, language)
        asked, told = (list(map(int, re.findall(r"\d+", text))) for text in (made.request, made.answer))
        if len(asked) == 2:
            larger = words[0] in made.answer
            assert told == sorted(asked, reverse=larger)
        elif len(asked) == 3:
            assert told in (sorted(asked), sorted(asked, reverse=True))
            assert (told == sorted(asked)) == (words[2] in made.request or "smallest to" in made.request)
        elif told:
            word = re.findall(r"[a-z]+", made.answer)[1 if language == "en" else 0]
            word = word if language == "zh" else re.findall(r"word ([a-z]+) has", made.answer)[0]
            assert told == [len(word)]
        else:
            ordered = re.findall(r"[a-z]+", made.answer)
            assert ordered == sorted(ordered) and all(one in made.request for one in ordered)
