"""/v1/chat/completions through OpenAI's own client: every feature, whole and streamed, sync and async."""

import asyncio
import json
from typing import Any, Literal

import jsonschema
import openai
import pydantic
import pytest
from serving import Running

ASK = [{"role": "user", "content": "the cat sat"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
            "required": ["city", "days"],
        },
    },
}
TIME = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}


def joined(stream: Any) -> tuple[str, list[Any]]:
    """The content of a stream's first choice, and its chunks."""
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices and chunk.choices[0].index == 0)
    return text, chunks


def test_an_answer_is_what_the_model_itself_says(client: openai.OpenAI, server: Running) -> None:
    answer = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=12)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == server.lm.chat(ASK, max_new_tokens=12)["content"]
    assert answer.object == "chat.completion" and answer.model == "tiny" and answer.id.startswith("chatcmpl-")
    assert answer.usage is not None and answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_joins_to_the_whole_answer_and_tells_usage_only_when_asked(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20)
    text, chunks = joined(client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20, stream=True))
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert all(chunk.usage is None for chunk in chunks)
    told = list(
        client.chat.completions.create(
            model="tiny", messages=ASK, max_tokens=20, stream=True, stream_options={"include_usage": True}
        )
    )
    assert told[-1].choices == [] and told[-1].usage.to_dict()["completion_tokens"] == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in told[:-1])


def test_the_asynchronous_client_gets_many_answers_at_once(server: Running) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

            async def one(number: int) -> str:
                messages = [{"role": "user", "content": f"the cat {number}"}]
                pieces = await client.chat.completions.create(model="tiny", messages=messages, max_tokens=15, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in pieces])

            return await asyncio.gather(*map(one, range(24)))

    expected = [server.lm.chat([{"role": "user", "content": f"the cat {n}"}], max_new_tokens=15)["content"] for n in range(24)]
    assert asyncio.run(ask()) == expected


def test_equal_seeds_give_equal_answers_and_n_answers_differ(client: openai.OpenAI) -> None:
    def texts(seed: int, n: int) -> list[str]:
        answer = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20, temperature=1, seed=seed, n=n)
        assert [choice.index for choice in answer.choices] == list(range(n))
        return [choice.message.content or "" for choice in answer.choices]

    assert texts(5, 3) == texts(5, 3) and texts(5, 3)[0] == texts(5, 1)[0]
    assert len(set(texts(5, 3))) == 3 and texts(6, 1) != texts(5, 1)


def test_streamed_choices_come_side_by_side(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=15, temperature=1, seed=3, n=3)
    texts, ends = ["", "", ""], {}
    for chunk in client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=15, temperature=1, seed=3, n=3, stream=True
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
    assert texts == [choice.message.content for choice in whole.choices]
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}


def test_max_completion_tokens_goes_before_max_tokens_and_ends_as_length(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=50, max_completion_tokens=4, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None and answer.usage.completion_tokens == 4
    assert answer.choices[0].finish_reason == "length"


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=40).choices[0].message.content or ""
    stop = whole[6:9]
    cut = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=40, stop=stop)
    assert cut.choices[0].message.content == whole[: whole.index(stop)] and cut.choices[0].finish_reason == "stop"
    text, _ = joined(client.chat.completions.create(model="tiny", messages=ASK, max_tokens=40, stop=[stop, "zzz"], stream=True))
    assert text == whole[: whole.index(stop)]


def test_logprobs_name_tokens_bytes_and_alternatives(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=8, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    assert b"".join(bytes(token.bytes) for token in content).decode(errors="replace") == answer.choices[0].message.content
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].logprob == max(top.logprob for top in token.top_logprobs)
        assert token.top_logprobs[0].token == token.token  # greedy: the likeliest was taken
    _, chunks = joined(
        client.chat.completions.create(model="tiny", messages=ASK, max_tokens=8, logprobs=True, top_logprobs=3, stream=True)
    )
    streamed = [token for chunk in chunks for choice in chunk.choices if choice.logprobs for token in choice.logprobs.content]
    assert [token.token for token in streamed] == [token.token for token in content]


def test_biases_and_penalties_change_what_is_sampled(client: openai.OpenAI, server: Running) -> None:
    letter = server.lm.tokenizer.encode("z")[0]
    biased = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=5, logit_bias={str(letter): 100})
    assert biased.choices[0].message.content == "zzzzz"
    for name in ("presence_penalty", "frequency_penalty"):
        told = client.chat.completions.create(
            model="tiny", messages=ASK, max_tokens=5, logit_bias={str(letter): 5}, **{name: 2.0}
        )
        assert told.usage.completion_tokens >= 1
    plain = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=60).choices[0].message.content
    for extra in ({"repetition_penalty": 5.0}, {"presence_penalty": 2.0, "frequency_penalty": 2.0}):
        assert (
            plain
            != client.chat.completions.create(model="tiny", messages=ASK, max_tokens=60, extra_body=extra)
            .choices[0]
            .message.content
        )


def test_min_tokens_keeps_an_answer_from_ending(client: openai.OpenAI, server: Running) -> None:
    end = {str(token): 100.0 for token in server.lm.stop_token_ids}
    ended = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=9, logit_bias=end)
    assert (ended.usage.completion_tokens, ended.choices[0].finish_reason) == (0, "stop")
    kept = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=9, logit_bias=end, extra_body={"min_tokens": 6})
    assert (kept.usage.completion_tokens, kept.choices[0].finish_reason) == (6, "stop")


def test_a_json_schema_is_upheld(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["cat", "dog"]}, "legs": {"type": "integer", "minimum": 0, "maximum": 8}},
        "required": ["animal", "legs"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}}
    for temperature in (0, 1):
        answer = client.chat.completions.create(
            model="tiny", messages=ASK, max_tokens=80, response_format=wanted, temperature=temperature, seed=1
        )
        jsonschema.validate(json.loads(answer.choices[0].message.content), schema)
    text, _ = joined(
        client.chat.completions.create(model="tiny", messages=ASK, max_tokens=80, response_format=wanted, stream=True)
    )
    jsonschema.validate(json.loads(text), schema)


def test_json_object_and_the_guided_extras_are_upheld(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, max_tokens=60, response_format={"type": "json_object"}, temperature=1, seed=2
    )
    assert isinstance(json.loads(answer.choices[0].message.content), dict)

    def guided(**extra: Any) -> str:
        made = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=20, temperature=1, seed=4, extra_body=extra)
        return made.choices[0].message.content

    assert guided(guided_choice=["cat", "a (dog)"]) in ("cat", "a (dog)")
    assert guided(guided_regex="[0-9]{3}-x").endswith("-x")
    assert guided(structured_outputs={"regex": "(ab){2}"}) == "abab"
    assert guided(guided_grammar='start: "left" | "right"') in ("left", "right")
    assert json.loads(guided(guided_json={"const": 7})) == 7


def test_a_required_call_is_made_with_valid_arguments(client: openai.OpenAI) -> None:
    for choice, names in (
        ("required", {"weather", "time"}),
        ({"type": "function", "function": {"name": "weather"}}, {"weather"}),
    ):
        answer = client.chat.completions.create(
            model="tiny", messages=ASK, tools=[WEATHER, TIME], tool_choice=choice, max_tokens=400, parallel_tool_calls=False
        )
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.name in names and call.type == "function" and call.id
        if call.function.name == "weather":
            jsonschema.validate(json.loads(call.function.arguments), WEATHER["function"]["parameters"])
        assert answer.choices[0].finish_reason == "tool_calls" and answer.choices[0].message.content is None


def test_streamed_calls_join_to_the_same_call(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": "tiny", "messages": ASK, "tools": [WEATHER], "tool_choice": "required", "max_tokens": 400, "seed": 3,
        "temperature": 1, "parallel_tool_calls": False,
    }  # fmt: skip
    (whole,) = client.chat.completions.create(**asked).choices[0].message.tool_calls
    deltas = [
        call
        for chunk in client.chat.completions.create(**asked, stream=True)
        for choice in chunk.choices
        for call in choice.delta.tool_calls or ()
    ]
    assert deltas[0].id and deltas[0].function.name == "weather"
    assert all(delta.id is None for delta in deltas[1:]) and len(deltas) > 2
    assert "".join(delta.function.arguments or "" for delta in deltas) == whole.function.arguments


def test_parallel_calls_come_with_ids_of_their_own(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny", messages=ASK, tools=[TIME], tool_choice="required", max_tokens=300, temperature=1, seed=1
    )
    calls = answer.choices[0].message.tool_calls
    assert calls and len({call.id for call in calls}) == len(calls)


def test_tool_choice_none_hides_the_tools(client: openai.OpenAI) -> None:
    without = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=10)
    hidden = client.chat.completions.create(model="tiny", messages=ASK, max_tokens=10, tools=[WEATHER], tool_choice="none")
    assert hidden.choices[0].message.content == without.choices[0].message.content
    assert hidden.usage.prompt_tokens == without.usage.prompt_tokens


def test_a_conversation_with_calls_and_results_goes_on(client: openai.OpenAI) -> None:
    call = {"id": "call_7", "type": "function", "function": {"name": "time", "arguments": "{}"}}
    history = [
        *ASK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_7", "content": "noon"},
    ]
    answer = client.chat.completions.create(model="tiny", messages=history, tools=[TIME], max_tokens=10)
    assert answer.choices[0].message.content is not None or answer.choices[0].message.tool_calls


def test_tools_beside_a_response_format_give_a_call_or_json(client: openai.OpenAI) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["yes", "no"]}}}
    for seed in range(4):
        message = client.chat.completions.create(
            model="tiny", messages=ASK, tools=[TIME], response_format=wanted, max_tokens=60, temperature=1.5, seed=seed,
            parallel_tool_calls=False,
        ).choices[0].message  # fmt: skip
        assert message.tool_calls or json.loads(message.content) in ("yes", "no")


def test_a_schema_beyond_any_grammar_is_refused_only_where_a_call_is_required(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"x": {"type": "array", "uniqueItems": True, "items": {"not": {"type": "null"}}}},
    }
    odd = {"type": "function", "function": {"name": "odd", "parameters": parameters}}
    with pytest.raises(openai.BadRequestError, match="odd"):
        client.chat.completions.create(model="tiny", messages=ASK, tools=[odd], tool_choice="required", max_tokens=5)
    free = client.chat.completions.create(model="tiny", messages=ASK, tools=[odd], max_tokens=5)
    assert free.usage.completion_tokens > 0


def test_thoughts_are_reasoning_content(client: openai.OpenAI, server: Running) -> None:
    answer = client.chat.completions.create(model="thinker", messages=ASK, max_tokens=12)
    message = answer.choices[0].message
    assert message.to_dict()["reasoning_content"] and message.content == ""
    assert answer.usage.completion_tokens_details.reasoning_tokens == answer.usage.completion_tokens
    chunks = list(client.chat.completions.create(model="thinker", messages=ASK, max_tokens=12, stream=True))
    thoughts = "".join(chunk.choices[0].delta.to_dict().get("reasoning_content") or "" for chunk in chunks)
    assert thoughts == message.to_dict()["reasoning_content"]


def test_thinking_can_be_turned_off_and_is_off_where_the_answer_must_be_json(client: openai.OpenAI) -> None:
    for extra in ({"chat_template_kwargs": {"enable_thinking": False}}, {"reasoning_effort": "none"}):
        off = client.chat.completions.create(model="thinker", messages=ASK, max_tokens=12, extra_body=extra)
        assert "reasoning_content" not in off.choices[0].message.to_dict() and off.choices[0].message.content
    formatted = client.chat.completions.create(
        model="thinker", messages=ASK, max_tokens=60, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(formatted.choices[0].message.content), dict)


def test_models_answer_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny", "other", "thinker"]
    assert client.models.retrieve("other").id == "other"
    one, two = (client.chat.completions.create(model=name, messages=ASK, max_tokens=20) for name in ("tiny", "other"))
    assert one.choices[0].message.content != two.choices[0].message.content
    with pytest.raises(openai.NotFoundError, match="tiny, other, thinker") as caught:
        client.chat.completions.create(model="gone", messages=ASK)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gone")


def test_a_prompt_over_the_context_is_refused_with_the_numbers(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="2,?048") as caught:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "one two " * 2000}], max_tokens=5)
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match=r"up to 4,000.*2,048"):
        client.chat.completions.create(model="tiny", messages=ASK, max_tokens=4000)


class Animal(pydantic.BaseModel):
    """What the client's own helper asks for."""

    kind: Literal["cat", "dog"]
    legs: Literal[2, 4]


def test_the_clients_own_helpers_parse_and_accumulate(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(model="tiny", messages=ASK, response_format=Animal, max_tokens=200)
    assert isinstance(parsed.choices[0].message.parsed, Animal)
    tool = openai.pydantic_function_tool(Animal)
    with client.chat.completions.stream(
        model="tiny", messages=ASK, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_tokens=300
    ) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Animal)
    assert any(event.type == "tool_calls.function.arguments.delta" for event in events)
