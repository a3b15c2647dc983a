"""Both call formats from the outside: OpenAI messages with tools in, the exact prompt, and the same messages back."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_chat import make_chat
from transformers.utils.chat_template_utils import render_jinja_template

from kwen.engine.call_format import call_format_of, needs_tool_prompt, tool_prompt
from kwen.engine.hermes import HermesParser
from kwen.engine.language_model import load
from kwen.engine.react import STOP, react_prompt
from kwen.engine.tool_calls import CallEnd, TurnEnd, message_of
from kwen.errors import UserError
from kwen.text.chatml import CHATML_TEMPLATE
from kwen.text.messages import validate_messages
from kwen.text.templates import render_text
from kwen.text.tokenizer import Tokenizer

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add {name} numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
PYTHON = {
    "type": "function",
    "function": {
        "name": "python",
        "name_for_human": "code interpreter",
        "description_for_model": "运行代码",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}},
    },
}


def called(name: str, arguments: Any, id: str = "call_0") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


WHOLE = [
    {"role": "user", "content": "Both?"},
    {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "Two of them.",
        "tool_calls": [called("add", {"a": 1, "t": "é </tool_call> \\d \"q\""}), called("python", {"code": "1\n"}, "call_1")],
    },
    {"role": "tool", "content": "<dry>", "tool_call_id": "call_0"},
    {"role": "tool", "content": "7", "tool_call_id": "call_1"},
]  # fmt: skip


@pytest.fixture(params=["qwen2.5-instruct", "qwen3"])
def released(request: pytest.FixtureRequest, shared_data: Path) -> str:
    return (shared_data / "chat_templates" / f"{request.param}.jinja").read_text()


def test_a_template_with_tools_wants_hermes_and_one_without_react(released: str) -> None:
    assert call_format_of(released) == call_format_of(CHATML_TEMPLATE) == call_format_of(None) == "hermes"
    assert call_format_of("{% for message in messages %}{{ message.content }}{% endfor %}") == "react"
    assert call_format_of(released, "react") == "react"
    with pytest.raises(UserError, match="'xml' is unknown; use one of hermes, react"):
        call_format_of(None, "xml")


def test_a_hermes_prompt_is_the_templates_own(released: str, tokenizer: Tokenizer) -> None:
    shown = tool_prompt(WHOLE, [ADD, PYTHON], "hermes")
    judged = render_jinja_template(
        conversations=[validate_messages(WHOLE)], tools=[ADD, PYTHON], chat_template=released, add_generation_prompt=True
    )
    assert render_text(released, shown.messages, tokenizer, tools=shown.tools) == judged[0][0]
    assert (shown.opening, shown.stop, shown.first_call) == ("", (), 2)


def test_what_a_template_writes_of_a_call_is_read_back(released: str, tokenizer: Tokenizer) -> None:
    text = render_text(released, WHOLE[:2], tokenizer, tools=[ADD, PYTHON], add_generation_prompt=False)
    turn = text[text.index("<|im_start|>assistant\n") + len("<|im_start|>assistant\n") : text.rindex("<|im_end|>")]
    parser = HermesParser()
    message = message_of([*parser.feed(turn), *parser.finish()])
    assert message["content"] == "I look." and message["tool_calls"] == WHOLE[1]["tool_calls"]
    assert message.get("reasoning_content") == ("Two of them." if "<think>" in released else None)


def test_a_react_prompt_is_qwens() -> None:
    prompt = react_prompt([{"role": "system", "content": "S"}, {"role": "user", "content": "How many?\n"}], [ADD, PYTHON])
    assert prompt.opening == "" and prompt.messages[0] == {"role": "system", "content": "S"}
    assert prompt.messages[1]["content"] == (
        "Answer the following questions as best you can. You have access to the following APIs:\n\n"
        "add: Call this tool to interact with the add API. What is the add API useful for? Add {name} numbers. Parameters: "
        '{"type": "object", "properties": {"a": {"type": "integer"}}} Format the arguments as a JSON object.\n\n'
        "python: Call this tool to interact with the code interpreter API. What is the code interpreter API useful for? 运行代码 "
        'Parameters: {"type": "object", "properties": {"code": {"type": "string"}}} '
        "Enclose the code within triple backticks (`) at the beginning and end of the code.\n\n"
        "Use the following format:\n\n"
        "Question: the input question you must answer\n"
        "Thought: you should always think about what to do\n"
        "Action: the action to take, should be one of [add, python]\n"
        "Action Input: the input to the action\n"
        "Observation: the result of the action\n"
        "... (this Thought/Action/Action Input/Observation can be repeated zero or more times)\n"
        "Thought: I now know the final answer\n"
        "Final Answer: the final answer to the original input question\n\n"
        "Begin!\n\n"
        "Question: How many?"
    )
    assert STOP == ("Observation:", "Observation:\n")


def test_a_react_history_is_one_assistant_turn_that_goes_on() -> None:
    prompt = react_prompt(WHOLE, [ADD, PYTHON])
    assert [message["role"] for message in prompt.messages] == ["user"]
    assert prompt.opening == (
        'Thought: Two of them.\nAction: add\nAction Input: {"a": 1, "t": "é </tool_call> \\\\d \\"q\\""}\nObservation: <dry>'
        "\nAction: python\nAction Input: ```py\n1\n\n```\nObservation: 7\nThought:"
    )
    later = react_prompt([*WHOLE, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "And?"}], [ADD])
    assert [message["role"] for message in later.messages] == ["user", "assistant", "user"] and later.opening == ""
    assert later.messages[0]["content"] == "Both?"  # the instruction stands with the question that is asked now
    assert later.messages[1]["content"].endswith(
        "Observation: 7\nThought: I now know the final answer.\nFinal Answer: Done."
    )
    assert later.messages[2]["content"].endswith("Begin!\n\nQuestion: And?")
    with pytest.raises(UserError, match="a tool result needs the assistant's call before it"):
        react_prompt([{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}], None)
    with pytest.raises(UserError, match="no user message"):
        react_prompt([{"role": "system", "content": "x"}], [ADD])


def test_results_find_their_calls_by_id() -> None:
    swapped = [WHOLE[0], WHOLE[1], WHOLE[3], WHOLE[2]]
    assert react_prompt(swapped, None).opening.index("python") < react_prompt(swapped, None).opening.index("Action: add")


def test_only_conversations_with_tools_are_read_for_calls() -> None:
    assert needs_tool_prompt(WHOLE, None) and needs_tool_prompt([], [ADD])
    assert not needs_tool_prompt([{"role": "user", "content": "<tool_call>"}], None)


@pytest.mark.parametrize("call_format", ["hermes", "react"])
def test_chat_with_tools_gives_openais_message_and_deltas(tmp_path: Path, tokenizer: Tokenizer, call_format: str) -> None:
    lm = load(make_chat(tmp_path / "chat", tokenizer, context=2048))
    assert lm.call_format == "hermes"
    options: dict[str, Any] = {"max_new_tokens": 24, "call_format": call_format, "temperature": 1.0, "seed": 1}
    message = lm.chat(WHOLE, tools=[ADD], **options)
    assert message["role"] == "assistant" and isinstance(message["content"], str)
    deltas = list(lm.stream_chat(WHOLE, tools=[ADD], **options))
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert "".join(delta.get("content", "") for delta in deltas) == message["content"]
    turn = list(lm.stream_turn(WHOLE, tools=[ADD], **options))
    assert isinstance(turn[-1], TurnEnd) and turn[-1].completion_tokens <= 24 and turn[-1].prompt_tokens > 50
    assert message_of(event for event in turn if not isinstance(event, TurnEnd)) == message
    lm.chat([*WHOLE, message], tools=[ADD], **options)  # usable as history


def test_constrained_chat_gives_a_valid_call_with_arguments_as_json_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pytest.importorskip("llguidance")
    from kwen.engine.constrain import Grammar

    lm = load(make_chat(tmp_path / "chat", tokenizer, context=2048))
    enumerated = {"a": {"type": "integer", "minimum": 1, "maximum": 9}}
    small = {"type": "object", "properties": enumerated, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": small}}
    for call_format in ("hermes", "react"):
        grammar = Grammar.tool_calls([tool], call_format, required=True, parallel=False)
        options: dict[str, Any] = {"max_new_tokens": 1100, "call_format": call_format, "grammar": grammar}
        message = lm.chat([{"role": "user", "content": "go"}], tools=[tool], **options)
        assert "tool_calls" in message, (call_format, message)
        (call,) = message["tool_calls"]
        assert call["function"]["name"] == "add" and call["id"] == "call_0" and call["type"] == "function"
        assert 1 <= json.loads(call["function"]["arguments"])["a"] <= 9
        ends = [event for event in lm.stream_turn([{"role": "user", "content": "go"}], tools=[tool], **options)]
        assert [event.problem for event in ends if isinstance(event, CallEnd)] == [""]


def test_hermes_for_a_template_without_tools_is_plain_turns() -> None:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    shown = tool_prompt([{"role": "system", "content": "S"}, *WHOLE], [ADD], "hermes", template)
    assert shown.tools is None and [turn["role"] for turn in shown.messages] == ["system", "user", "assistant", "user"]
    assert shown.messages[0]["content"].startswith("S\n\n# Tools") and '"name": "add"' in shown.messages[0]["content"]
    assert shown.messages[2]["content"].startswith('I look.\n<tool_call>\n{"name": "add", "arguments": {"a": 1, ')
    assert shown.messages[3]["content"] == "<tool_response>\n<dry>\n</tool_response>\n<tool_response>\n7\n</tool_response>"
