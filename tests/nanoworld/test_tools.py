"""The tools: what they answer, what they refuse, how they are described, and which of them training never sees."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.nanoworld.names import Language, Names
from kwen.nanoworld.tools import TOOLS, can_replace, tool_names
from kwen.nanoworld.tools_calculator import ToolError, calculate
from kwen.nanoworld.tools_records import RECORDS
from kwen.nanoworld.world import build_world
from kwen.text.control import tool_line
from kwen.text.messages import validate_tools

WORLD = build_world(0)
LANGUAGES: tuple[Language, ...] = ("en", "zh")


def test_there_are_tools_enough_in_both_splits_with_short_definitions() -> None:
    assert len(TOOLS) >= 24 and len(tool_names("held_out")) >= 6
    assert set(tool_names("train")) | set(tool_names("held_out")) == set(TOOLS)
    for name, tool in TOOLS.items():
        assert tool.name == name == name.lower() and name.isidentifier()
        assert len(tool.description_en.split()) <= 9 and len(tool.description_zh) <= 14
        assert 1 <= len(tool.types) <= 3 and set(tool.types.values()) <= {"string", "integer", "number"}
        assert tool.parameters["required"] == list(tool.types)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_tools_are_described_alike(language: Language) -> None:
    assert len({tool.definition(language)["function"]["description"] for tool in TOOLS.values()}) == len(TOOLS)


def test_definitions_are_in_the_form_of_openai() -> None:
    definitions = [tool.definition("zh") for tool in TOOLS.values()]
    assert validate_tools(definitions) == definitions
    assert tool_line(TOOLS["order"].definition()) == "order(item: string, count: integer): order an item"


def test_tools_that_can_do_each_others_work_are_known() -> None:
    assert can_replace("python", "calculator") and not can_replace("price", "weather")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("34 * 7", "238"), ("2 + 3 * 4", "14"), ("(2 + 3) * 4", "20"), ("7 / 2", "3.5"), ("1 / 3", "0.3333"), ("-3 - -4", "1"),
        ("8 / 4 / 2", "1"), ("0.1 + 0.2", "0.3"), ("12×3", "36"), ("（1 + 2）÷ 4", "0.75"), ("-1 / 8", "-0.125"),
        ("-1 / 100000", "0"),
    ],
)  # fmt: skip
def test_the_calculator_knows_precedence_brackets_and_exact_decimals(expression: str, value: str) -> None:
    assert calculate(expression) == value


WRONG = ("", "1 +", "2 ** 3", "(1", "1)", "a", "²", "1 / 0", "1 / (2 - 2)", "3 4", "1" * 101, "(" * 100, "--" * 50)


@pytest.mark.parametrize("expression", WRONG)
def test_the_calculator_refuses_what_is_no_expression(expression: str) -> None:
    with pytest.raises(ToolError):
        calculate(expression)
    assert TOOLS["calculator"].call({"expression": expression}).startswith("error: ")


@given(a=st.integers(-999, 999), b=st.integers(-999, 999), c=st.integers(1, 99))
def test_the_calculator_agrees_with_python(a: int, b: int, c: int) -> None:
    assert calculate(f"{a} * {c} + ({b} - {c})") == str(a * c + (b - c))
    assert calculate(f"({a} * {c}) / {c}") == str(a)


@given(st.text(max_size=40))
def test_no_text_makes_a_tool_fail(text: str) -> None:
    for tool in TOOLS.values():
        if tool.run is not None:
            values = {"string": text, "integer": 7, "number": 1.5}
            assert tool.call({name: values[kind] for name, kind in tool.types.items()})


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("price", {}, "item is missing"), ("price", {"item": 3}, "item must be a string"), ("price", {"item": " "}, "characters"),
        ("price", {"item": "Vorin", "shop": "x"}, "shop is no parameter of price"), ("price", {"item": "x" * 2000}, "characters"),
        ("order", {"item": "Vorin", "count": True}, "integer"), ("order", {"item": "Vorin", "count": 0}, "from 1"),
        ("order", {"item": "Vorin", "count": 2.5}, "integer"), ("timer", {"minutes": 10**18}, "too large"),
        ("percent", {"percent": float("nan"), "value": 1}, "too large"), ("calendar", {"date": "May 32"}, "no date"),
        ("weekday", {"date": "13月1日"}, "no date"), ("weekday", {"date": "Foo 3"}, "no date"),
        ("convert", {"value": 1, "unit": "km", "to": "kg"}, "cannot be"),
        ("convert", {"value": 1, "unit": "foot", "to": "m"}, "no unit"),
        ("distance", {"start": "Vorin", "goal": "vorin"}, "the same"), ("lookup", {"name": "Vorin", "fact": "shoe"}, "no fact"),
        ("repeat", {"text": "x", "count": 10**6}, "at most"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_answered_with_an_error(name: str, arguments: dict[str, object], part: str) -> None:
    result = TOOLS[name].call(arguments)
    assert result.startswith("error: ") and part in result and "\n" not in result


def test_python_is_left_to_the_interpreter() -> None:
    with pytest.raises(ValueError, match="interpreter"):
        TOOLS["python"].call({"code": "print(1)"})


def test_tools_answer_in_the_language_of_the_call_and_always_the_same() -> None:
    rng, names = random.Random("tools"), Names("train", WORLD.taken_names)
    for record in RECORDS.values():
        for language in LANGUAGES:
            name = names.name(rng, language)
            result = TOOLS[record.name].call({record.parameter: name})
            assert result == TOOLS[record.name].call({record.parameter: name})
            assert any("一" <= char <= "鿿" for char in result) == (language == "zh") or result.isdigit()
    assert len({TOOLS["price"].call({"item": names.name(rng, "en")}) for _ in range(60)}) > 15


def test_what_the_world_knows_the_tools_tell() -> None:
    for fact in WORLD.facts:
        for language in LANGUAGES:
            subject = fact.subject.name(language)
            value = fact.value(language)
            assert TOOLS["lookup"].call({"name": subject, "fact": fact.relation}) == value
            if fact.relation == "home":
                assert TOOLS["home"].call({"person": subject}) == value
            if fact.relation == "age":
                assert TOOLS["age"].call({"person": subject}).startswith(value)


def test_map_calendar_and_units_hold_together() -> None:
    towns = WORLD.of_kind("town")
    there = TOOLS["distance"].call({"start": towns[0].english, "goal": towns[1].english})
    assert there == TOOLS["distance"].call({"start": towns[1].english, "goal": towns[0].english})
    chinese = TOOLS["distance"].call({"start": towns[0].chinese, "goal": towns[1].chinese})
    assert chinese.removesuffix("公里") == there.removesuffix(" km")
    assert TOOLS["way"].call({"start": "Vorin", "goal": "Belto"}) in {town.english for town in towns}
    assert TOOLS["weekday"].call({"date": "January 1"}) == "Monday" and TOOLS["weekday"].call({"date": "1月8日"}) == "星期一"
    assert TOOLS["weekday"].call({"date": "March 1"}) == "Thursday"
    assert TOOLS["convert"].call({"value": 2.5, "unit": "km", "to": "m"}) == "2500 m"
    assert TOOLS["convert"].call({"value": 90, "unit": "分钟", "to": "小时"}) == "1.5小时"
    assert TOOLS["percent"].call({"percent": 15, "value": 80}) == "12"
    assert TOOLS["reverse"].call({"text": "Vorin"}) == "niroV" and TOOLS["letters"].call({"text": "Vorin"}) == "5"


def test_another_world_has_other_values() -> None:
    names = [Names("train").name(random.Random(f"{i}"), "en") for i in range(40)]
    assert [TOOLS["price"].call({"item": n}) for n in names] != [TOOLS["price"].call({"item": n}, 1) for n in names]
