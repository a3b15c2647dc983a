"""/v1/responses through OpenAI's client: items, their events, tools, formats."""

import json
from typing import Any

import jsonschema
import openai
import pytest
from serving import Running

TIME = {
    "type": "function",
    "name": "time",
    "parameters": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]},
}


def respond(client: openai.OpenAI, **asked: Any) -> Any:
    return client.responses.create(**{"model": "tiny", "input": "the cat sat", "max_output_tokens": 20, **asked})


def test_a_response_is_what_the_model_itself_says(client: openai.OpenAI, server: Running) -> None:
    response = respond(client, instructions="be a dog")
    messages = [{"role": "system", "content": "be a dog"}, {"role": "user", "content": "the cat sat"}]
    assert response.output_text == server.lm.chat(messages, max_new_tokens=20)["content"]
    assert (
        response.object == "response"
        and response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    )


def test_items_are_the_conversation(client: openai.OpenAI, server: Running) -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "one"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "two"}]},
        {"role": "user", "content": "three"},
    ]
    messages = [{"role": role, "content": text} for role, text in (("user", "one"), ("assistant", "two"), ("user", "three"))]
    assert respond(client, input=items).output_text == server.lm.chat(messages, max_new_tokens=20)["content"]


def test_the_status_says_whether_the_answer_is_whole(client: openai.OpenAI, server: Running) -> None:
    cut = respond(client, max_output_tokens=2)
    if cut.usage.output_tokens == 2:
        assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens"
    schema = {"enum": ["cat", "dog"]}
    whole = respond(client, max_output_tokens=200, text={"format": {"type": "json_schema", "name": "pet", "schema": schema}})
    jsonschema.validate(json.loads(whole.output_text), schema)
    assert whole.status == "completed"


def test_the_events_build_the_response(client: openai.OpenAI) -> None:
    whole = respond(client)
    events = list(respond(client, stream=True))
    assert [event.type for event in events[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].type == f"response.{whole.status}" and events[-1].response.output_text == whole.output_text
    assert [event.type for event in events[-4:-1]] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
    ]  # fmt: skip


def test_the_clients_own_accumulation_of_a_stream_works(client: openai.OpenAI) -> None:
    wanted: Any = {"format": {"type": "json_schema", "name": "pet", "schema": {"enum": ["cat", "dog"]}}}
    asked: dict[str, Any] = {"model": "tiny", "input": "the cat sat", "max_output_tokens": 200, "text": wanted}
    with client.responses.stream(**asked) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == client.responses.create(**asked).output_text


def test_a_call_goes_round(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"tools": [TIME], "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 300}
    whole = respond(client, **asked)
    (call,) = [item for item in whole.output if item.type == "function_call"]
    assert call.name == "time" and json.loads(call.arguments)["zone"] in ("UTC", "CET")
    events = list(respond(client, **asked, stream=True))
    deltas = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    (done,) = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert deltas == done.arguments == call.arguments
    turn = [{"role": "user", "content": "what time is it"}, call.to_dict()]
    turn.append({"type": "function_call_output", "call_id": call.call_id, "output": "noon"})
    assert respond(client, input=turn, tools=[TIME]).output
    named = respond(client, **{**asked, "tool_choice": {"type": "function", "name": "time"}})
    assert named.output[-1].name == "time"


def test_thoughts_are_items_before_the_answer_and_can_be_sent_back(client: openai.OpenAI) -> None:
    events = list(respond(client, model="thinker", stream=True))
    final = events[-1].response
    assert final.output[0].type == "reasoning" and final.usage.output_tokens_details.reasoning_tokens > 0
    text = "".join(event.delta for event in events if event.type == "response.reasoning_text.delta")
    assert text == final.output[0].content[0].text
    history = [
        {"role": "user", "content": "a"},
        final.output[0].to_dict(),
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert respond(client, input=history).output
    assert respond(client, model="thinker", reasoning={"effort": "none"}).output[0].type == "message"


def test_logprobs_come_with_the_text(client: openai.OpenAI) -> None:
    response = respond(client, top_logprobs=2, include=["message.output_text.logprobs"])
    told = response.output[0].content[0].logprobs
    assert len(told) == response.usage.output_tokens and len(told[0].top_logprobs) == 2


def test_a_conversation_that_is_too_long_is_refused_or_truncated_as_asked(client: openai.OpenAI) -> None:
    items = [{"role": ("user", "assistant")[n % 2], "content": "one two three " * 40} for n in range(31)]
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, input=items)
    assert caught.value.code == "context_length_exceeded"
    assert respond(client, input=items, truncation="auto").usage.input_tokens < 2048


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"input": [{"type": "computer_call"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0]"),
        ({"input": []}, "input"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "response_format"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_cannot_be_done_is_refused(client: openai.OpenAI, asked: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        respond(client, **asked)
    assert caught.value.param.startswith(param)
