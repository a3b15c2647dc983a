"""Messages are checked once, and what is wrong is said with its place."""

from typing import Any

import pytest

from kwen.errors import UserError
from kwen.text.messages import validate_messages, validate_tools

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": [1, "é"]}'}}


def test_messages_take_one_form() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "hi", "name": "ann", "weight": 1},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        {"role": "assistant", "content": "done", "tool_calls": [], "reasoning_content": "because"},
    ]
    before = repr(messages)
    assert validate_messages(messages) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi", "name": "ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": [1, "é"]}}}],
        },
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        {"role": "assistant", "content": "done", "reasoning_content": "because"},
    ]
    assert repr(messages) == before
    assert validate_messages(validate_messages(messages)) == validate_messages(messages)


@pytest.mark.parametrize(
    ("arguments", "expected"), [("", {}), (None, {}), ({}, {}), ('{"a": 1}', {"a": 1}), ({"a": 1}, {"a": 1})]
)
def test_arguments_become_an_object(arguments: Any, expected: dict[str, Any]) -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": arguments}}]}
    assert validate_messages([message])[0]["tool_calls"][0]["function"]["arguments"] == expected


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "empty"),
        ("hi", "must be a list"),
        ({"role": "user"}, "must be a list"),
        (["hi"], r"messages\[0\]: must be an object"),
        ([{"content": "x"}], r"messages\[0\]\.role: None is unknown"),
        ([{"role": "user", "content": "x"}, {"role": "robot"}], r"messages\[1\]\.role: 'robot' is unknown; use one of system"),
        ([{"role": "user", "content": 1}], r"messages\[0\]\.content: must be"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"content\[0\]: only text parts .*image_url"),
        ([{"role": "user", "tool_calls": [CALL]}], "only an assistant"),
        ([{"role": "assistant", "tool_calls": "x"}], r"tool_calls: must be a list"),
        ([{"role": "assistant", "tool_calls": [1]}], r"tool_calls\[0\]"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": ""}}]}], r"function\.name"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], "not JSON"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}], "an object"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[" * 100_000}}]}], "not JSON"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": object()}}}]}], "not JSON"),
        ([{"role": "tool", "content": "x", "tool_call_id": 3}], "tool_call_id: must be a string"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(messages: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        validate_messages(messages)
    assert "\n" not in str(refused.value)


def test_tools_are_definitions_with_names() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    assert validate_tools([tool]) == [tool]
    assert validate_tools(None) is None
    assert validate_tools([]) is None
    for wrong in ("x", [1], [{}], [{"function": {"name": 1}}], [{"function": {"name": "f", "x": {1}}}]):
        with pytest.raises(UserError, match="tools"):
            validate_tools(wrong)  # type: ignore[arg-type]
