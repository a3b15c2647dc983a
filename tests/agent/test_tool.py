"""Tools from functions, and what a model is told when one goes wrong."""

import enum
import threading
import time
from typing import Annotated, Any, Literal

import pydantic
import pytest

from kwen.agent.docstrings import describe
from kwen.agent.tool import File, Tool, ToolResult, cut
from kwen.errors import UserError

PNG = b"\x89PNG\r\n\x1a\nrest"


def order(item: str, count: int = 1, colours: list[str] | None = None, size: Literal["s", "m"] = "m") -> str:
    """Order an item
    from the shop.

    It is sent at once.

    Args:
        item: what to order
        count (int): how many,
            at least one
    """
    return f"{count} {item} {colours} {size}"


def test_a_function_becomes_a_definition() -> None:
    function = Tool.of(order).definition()["function"]
    assert function["name"] == "order" and function["description"] == "Order an item from the shop."
    assert function["parameters"] == {
        "type": "object",
        "properties": {
            "item": {"type": "string", "description": "what to order"},
            "count": {"type": "integer", "default": 1, "description": "how many, at least one"},
            "colours": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
            "size": {"type": "string", "enum": ["s", "m"], "default": "m"},
        },
        "required": ["item"],
        "additionalProperties": False,
    }


def test_arguments_are_converted_and_defaults_filled_in() -> None:
    assert Tool.of(order).run({"item": "lamp", "count": "2"}) == ToolResult("2 lamp None m")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "item is missing"),
        ({"item": "a", "count": "many"}, "count should be a valid integer, unable to parse string as an integer, not 'many'"),
        ({"item": "a", "price": 3}, "price is no argument of this tool"),
        ({"item": "a", "size": "xl"}, "size should be 's' or 'm', not 'xl'"),
        ({"item": "a", "colours": ["r", 3]}, "colours"),
    ],
)
def test_wrong_arguments_are_told_with_what_is_expected(arguments: dict[str, Any], told: str) -> None:
    result = Tool.of(order).run(arguments)
    assert result.error and result.text.startswith("error: wrong arguments: ") and told in result.text
    assert "item: string" in result.text and "size: 's' | 'm' (optional)" in result.text and "\n" not in result.text


def test_names_that_pydantic_keeps_for_itself_are_plain_parameters() -> None:
    def odd(model_config: int, schema: str, _private: bool, title: str, /, json: float = 0.5) -> list[Any]:
        return [model_config, schema, _private, title, json]

    tool = Tool.of(odd)
    assert set(tool.parameters["properties"]) == {"model_config", "schema", "_private", "title", "json"}
    arguments = {"model_config": 1, "schema": "s", "_private": True, "title": "t"}
    assert tool.run(arguments).text == '[1,"s",true,"t",0.5]'


class Colour(enum.Enum):
    RED = "red"


class Point(pydantic.BaseModel):
    x: int


def test_models_enums_and_annotations_work() -> None:
    def paint(colour: Colour, at: Point, size: Annotated[int, pydantic.Field(gt=0)]) -> dict[str, Any]:
        return {"colour": colour, "x": at.x, "size": size}

    tool = Tool.of(paint)
    assert tool.run({"colour": "red", "at": {"x": 3}, "size": 1}).text == '{"colour":"red","x":3,"size":1}'
    assert "size should be greater than 0, not 0" in tool.run({"colour": "red", "at": {"x": 3}, "size": 0}).text


def test_methods_coroutines_and_callable_objects_are_functions_too() -> None:
    class Shop:
        def price(self, item: str) -> int:
            return len(item)

        def __call__(self, item: str) -> str:
            return item.upper()

    async def wait(seconds: float) -> str:
        return f"waited {seconds}"

    assert Tool.of(Shop().price).run({"item": "abc"}).text == "3"
    assert Tool.of(Shop(), name="shop").run({"item": "abc"}).text == "ABC"
    assert Tool.of(wait).run({"seconds": 0.5}).text == "waited 0.5"


def untyped(a, b: int) -> int:  # type: ignore[no-untyped-def]
    return b


def many(*values: int) -> int:
    return 0


def loose(**values: int) -> int:
    return 0


def unknown(a: "Nowhere") -> int:  # type: ignore[name-defined] # noqa: F821
    return 0


def of_thread(a: threading.Thread) -> int:
    return 0


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "parameter a has no type; write it as a: int"),
        (many, r"\*values has no names"),
        (loose, r"\*\*values has no names"),
        (unknown, "signature cannot be read"),
        (of_thread, "type cannot be checked"),
        (lambda: 1, "a name has 1 to 64 letters"),
    ],
)
def test_functions_that_are_no_tool_are_refused_in_one_line(function: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Tool.of(function)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", "two words", "a\nAction: b", 'a"b', "x" * 65, "a,b", "a]"])
def test_names_that_no_format_can_carry_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="a name has"):
        Tool(name, "", {"type": "object"}, lambda arguments: "")


def test_a_schema_must_be_of_an_object() -> None:
    with pytest.raises(UserError, match="must be a JSON schema of type object, not 'string'"):
        Tool("a", "", {"type": "string"}, lambda arguments: "")


def raising() -> None:
    raise KeyError("gone")


def leaving() -> None:
    raise SystemExit(3)


def hanging() -> None:
    time.sleep(20)


def test_whatever_a_tool_does_a_short_text_comes_back() -> None:
    assert Tool.of(raising).run({}) == ToolResult("error: KeyError: 'gone'", error=True)
    assert Tool.of(leaving).run({}) == ToolResult("error: SystemExit: 3", error=True)
    began = time.monotonic()
    hung = Tool.of(hanging, timeout_s=0.2).run({})
    assert hung.error and "did not answer within 0.2 s; the call was given up" in hung.text
    assert time.monotonic() - began < 2
    assert Tool("a", "", {}, lambda arguments: {}[1]).run({}).error


def test_long_answers_are_cut_with_a_mark() -> None:
    text = Tool("a", "", {}, lambda arguments: "x" * 1_000_000 + "end").run({}).text
    assert len(text) < 8200 and "[992,003 of 1,000,003 characters left out here]" in text and text.endswith("end")
    assert cut("short", 8000) == "short"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "done"), ("a", "a"), (3, "3"), (2.5, "2.5"), ([1, "é"], '[1,"é"]'), ({"a": None}, '{"a":null}'), ("\ud800", "?")],
)
def test_results_are_text(value: Any, text: str) -> None:
    assert Tool("a", "", {}, lambda arguments: value).run({}).text == text


def test_images_and_files_are_carried() -> None:
    assert Tool("a", "", {}, lambda arguments: PNG).run({}).images == (PNG,)
    result = Tool("a", "", {}, lambda arguments: ToolResult("two", files=(File("a.csv", b"1"),))).run({})
    assert result.files == (File("a.csv", b"1"),) and result.text == "two"


def test_docstrings_of_three_kinds() -> None:
    numpy = "Do it.\n\nParameters\n----------\na, b : int\n    Two\n    numbers.\nc\n    Third.\n\nReturns\n-------\nint"
    assert describe(numpy) == ("Do it.", {"a": "Two numbers.", "b": "Two numbers.", "c": "Third."})
    assert describe("Do\n    it.\n    :param int a: the\n        first\n    :param b: second\n    :returns: c")[1] == {
        "a": "the first", "b": "second",
    }  # fmt: skip
    assert describe("Args:\n    a: one\n\n    b: two\nReturns:\n    c: no") == ("", {"a": "one", "b": "two"})
    assert describe(None) == ("", {})
