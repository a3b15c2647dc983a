"""Parsers of both call formats: what a turn says, whatever pieces it comes in."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kwen.engine.hermes import HermesParser
from kwen.engine.lenient_json import StrictJson
from kwen.engine.react import ReActParser
from kwen.engine.tool_calls import (
    ArgumentsDelta,
    CallEnd,
    CallParser,
    CallStart,
    ContentDelta,
    ThoughtDelta,
    join_deltas,
    message_of,
)

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"],
        },
    },
}  # fmt: skip
PYTHON = {
    "type": "function",
    "function": {
        "name": "python",
        "description": "Run code.",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    },
}
TOOLS = [ADD, PYTHON]


def read(parser: CallParser, pieces: list[str]) -> list[Any]:
    return join_deltas([*(event for piece in pieces for event in parser.feed(piece)), *parser.finish()])


def hermes(text: str) -> dict[str, Any]:
    return message_of(read(HermesParser(), [text]))


def react(text: str, thinking: bool = False) -> dict[str, Any]:
    return message_of(read(ReActParser(TOOLS, thinking=thinking), [text]))


def calls(message: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", [])]


def test_hermes_text_thoughts_and_several_calls() -> None:
    message = hermes(
        "<think>\nTwo sums.\n</think>\n\nLet me see.\n"
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>\n'
        '<tool_call>\n{"arguments": {"a": 3, "b": 4}, "name": "add"}\n</tool_call>'
    )
    assert message["content"] == "Let me see." and message["reasoning_content"] == "Two sums."
    assert calls(message) == [("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})]
    assert [call["id"] for call in message["tool_calls"]] == ["call_0", "call_1"]


def test_hermes_arguments_stream_before_the_call_ends() -> None:
    parser = HermesParser(first_call=3)
    events = parser.feed('<tool_call>\n{"name": "say", "arguments": {"text": "hel')
    assert events == [CallStart(0, "call_3", "say"), ArgumentsDelta(0, '{"text": "hel')]
    assert parser.feed('lo"}') == [ArgumentsDelta(0, 'lo"}')]
    assert parser.feed("}\n</tool_call>") == [CallEnd(0, "call_3", "say", '{"text": "hello"}', "", '<tool_call>\n{"name": "say", '
                                                      '"arguments": {"text": "hello"}}\n</tool_call>')]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("{'name': 'add', 'arguments': {'a': 1, 'b': True,}}", {"a": 1, "b": True}),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', {"a": 1}),
        ('{"name": "add"}', {}),
        ('{"name": "add", "arguments": null}', {}),
        ('{"name": "add", "parameters": {"a": 5}}', {"a": 5}),
        ('{"name": "add", "arguments": {"t": "</tool_call> <tool_call>"}}', {"t": "</tool_call> <tool_call>"}),
        ('{"name": "add", "arguments": {"a": 1}}}', {"a": 1}),
        ('{"name": "add", "arguments": {"t": "two\nlines \\d"}}', {"t": "two\nlines \\d"}),
    ],
)
def test_hermes_reads_what_models_write(written: str, arguments: dict[str, Any]) -> None:
    assert calls(hermes(f"<tool_call>\n{written}\n</tool_call>")) == [("add", arguments)]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("add(1, 2)", "not JSON"),
        ('{"arguments": {}}', "no \"name\""),
        ('{"name": "add", "arguments": [1]}', "must be a JSON object"),
        ('{"name": "add", "arguments": {"a": 1}', "comma or the closing }"),
        ('{"name": "add", "arguments": {"a": 1}, "arguments": {"a": 2}}', "not JSON"),
        ('{"name": "add", "arguments": {"a": "\\ud800"}}', "not JSON"),
        ("[" * 100, "nested too deep"),
    ],
)
def test_hermes_says_what_is_wrong_and_goes_on(written: str, problem: str) -> None:
    text = f'<tool_call>{written}</tool_call><tool_call>{{"name": "add", "arguments": {{}}}}</tool_call>'
    events = read(HermesParser(), [text])
    bad, good = [event for event in events if isinstance(event, CallEnd)]
    assert problem in bad.problem and bad.written == f"<tool_call>{written}</tool_call>" and bad.arguments == ""
    assert good.problem == "" and good.id == "call_1"
    assert f"<tool_call>{written}</tool_call>" in message_of(events)["content"]


def test_hermes_cut_off_inside_a_call() -> None:
    (end,) = [event for event in read(HermesParser(), ['<tool_call>{"name": "add", "arg']) if isinstance(event, CallEnd)]
    assert end.problem == "the call is cut off before its JSON ends" and end.name == "add"


def test_hermes_prompt_that_opened_the_thoughts() -> None:
    assert message_of(read(HermesParser(thinking=True), ["hm</think>\n\nyes"])) == {
        "role": "assistant", "content": "yes", "reasoning_content": "hm",
    }  # fmt: skip


def test_a_think_tag_inside_an_answer_is_text() -> None:
    assert hermes("use <think> tags </think>")["content"] == "use <think> tags </think>"


def test_react_call() -> None:
    message = react('Thought: I need a sum.\nAction: add\nAction Input: {"a": 1, "b": 2}\nObservation: 3\nThought: guess')
    assert message["reasoning_content"] == "I need a sum." and message["content"] == ""
    assert calls(message) == [("add", {"a": 1, "b": 2})]


def test_react_answer_in_a_turn_that_goes_on() -> None:
    message = react(" I now know the final answer.\nFinal Answer: 3\nThought: no\n\nQuestion: more?", thinking=True)
    assert message["content"] == "3\nThought: no" and message["reasoning_content"] == "I now know the final answer."


def test_react_question_said_again_before_the_call() -> None:
    assert calls(react('Question: 1 + 2?\nAction: add\nAction Input: {"a": 1}')) == [("add", {"a": 1})]


def test_react_turn_that_ends_in_a_thought_has_it_for_an_answer() -> None:
    assert react(" It is 3.", thinking=True)["content"] == "It is 3."


def test_react_plain_answer_is_content() -> None:
    assert react("Just hello.\nAnd more") == {"role": "assistant", "content": "Just hello.\nAnd more"}


@pytest.mark.parametrize(
    ("name", "written", "arguments"),
    [
        ("add", "{a: 1, 'b': 2,}", {"a": 1, "b": 2}),
        ("add", '{"a": 1, // one\n "b": 0x10}', {"a": 1, "b": 16}),
        ("python", "```py\nprint(1)\nAction: no mark here\n```", {"code": "print(1)\nAction: no mark here"}),
        ("python", "```print(1)```", {"code": "print(1)"}),
        ("python", "print(1)", {"code": "print(1)"}),
        ("python", '"print(1)"', {"code": "print(1)"}),
        ("python", '```json\n{"code": "1"}\n```', {"code": '{"code": "1"}'}),
        ("add", '```json\n{"a": 1}\n```', {"a": 1}),
        ("add", "", {}),
    ],
)
def test_react_input_is_loaded_leniently(name: str, written: str, arguments: dict[str, Any]) -> None:
    assert calls(react(f"Thought: go\nAction: {name}\nAction Input: {written}\nObservation:")) == [(name, arguments)]
    assert calls(react(f"Thought: go\nAction: {name}\nAction Input: {written}\n")) == [(name, arguments)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Action: add\nAction Input: 1 and 2", "must be a JSON object"),
        ('Action: add\nAction Input: {"a": 1', "cut off"),
        ('Action: add\nAction Input: {"a": one}', "text needs quotes"),
        ("Action:\nAction Input: {}", "names no action"),
    ],
)
def test_react_says_what_is_wrong(text: str, problem: str) -> None:
    (end,) = [event for event in read(ReActParser(TOOLS), [text]) if isinstance(event, CallEnd)]
    assert problem in end.problem and end.written.startswith("Action:")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.sampled_from([None, 1]), st.booleans())
def test_strict_json_comes_out_as_it_went_in(value: Any, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    machine = StrictJson()
    out = "".join(machine.feed(character) for character in text + " ")
    assert not machine.problem and out.strip() == text.strip() and machine.ended


PARTS = st.lists(
    st.sampled_from(
        [
            "<think>", "</think>", "<tool_call>", "</tool_call>", '{"name": "add", "arguments": ', '{"a": 1, "b": [2]}', "}", "{",
            "\n", " ", "hello", "<", "<tool", '"', "'", "\\", "Thought:", "\nAction:", "\nAction Input:", "\nObservation:",
            "\nFinal Answer:", "\nQuestion:", "add", "```py\n", "```", "Action", "é", ",", ":", "/", "*", "x1", "\\u00", "null",
        ]
    ),
    max_size=25,
)  # fmt: skip


@example(["<tool_call>", "null", "<think>"], [], False)
@example(["<tool_call>", "null", ","], [], False)
@settings(max_examples=400)
@given(PARTS, st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_any_cutting_gives_the_same_events(parts: list[str], cuts: list[int], thinking: bool) -> None:
    text = "".join(parts)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]
    for make in (lambda: HermesParser(thinking=thinking), lambda: ReActParser(TOOLS, thinking=thinking)):
        whole = read(make(), [text])
        assert read(make(), pieces) == whole == read(make(), list(text))
        started: dict[int, str] = {}
        for event in whole:
            if isinstance(event, CallStart):
                started[event.index] = ""
            elif isinstance(event, ArgumentsDelta):
                started[event.index] += event.text
            elif isinstance(event, CallEnd) and not event.problem:
                assert started[event.index] == event.arguments  # what was streamed is what the call has
                assert isinstance(json.loads(event.arguments), dict)
            else:
                assert isinstance(event, ContentDelta | ThoughtDelta | CallEnd)
