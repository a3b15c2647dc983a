"""/v1/messages through Anthropic's client: blocks, their events, tools."""

import json
from typing import Any

import pytest
from serving import Running

anthropic = pytest.importorskip("anthropic", reason="Anthropic's client is absent: pip install anthropic")

TIME = {
    "name": "time",
    "description": "The time",
    "input_schema": {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"]},
}
ASK = [{"role": "user", "content": "the cat sat"}]


@pytest.fixture(scope="module")
def claude(server: Running) -> Any:
    """Anthropic's own client."""
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60)


def say(claude: Any, **asked: Any) -> Any:
    return claude.messages.create(**{"model": "tiny", "messages": ASK, "max_tokens": 20, **asked})


def test_a_message_is_what_the_model_itself_says(claude: Any, server: Running) -> None:
    message = say(claude, system="be a dog")
    chat = [{"role": "system", "content": "be a dog"}, *ASK]
    assert message.content[0].text == server.lm.chat(chat, max_new_tokens=20)["content"]
    assert (message.type, message.role, message.model) == ("message", "assistant", "tiny")
    assert message.usage.output_tokens <= 20 and message.stop_reason in ("end_turn", "max_tokens")


def test_blocks_of_text_are_text(claude: Any) -> None:
    blocks = [{"role": "user", "content": [{"type": "text", "text": "the cat sat"}]}]
    system = [{"type": "text", "text": "be a dog", "cache_control": {"type": "ephemeral"}}]
    assert say(claude, messages=blocks, system=system).content == say(claude, system="be a dog").content


def test_the_clients_own_accumulation_of_a_stream_gives_the_whole(claude: Any) -> None:
    whole = say(claude)
    with claude.messages.stream(model="tiny", messages=ASK, max_tokens=20) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_a_stop_sequence_is_named(claude: Any) -> None:
    text = say(claude).content[0].text
    cut = say(claude, stop_sequences=[text[4:6]])
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", text[4:6])
    assert cut.content[0].text == text[: text.index(text[4:6])]


def test_a_call_goes_round(claude: Any) -> None:
    forced = {"type": "any", "disable_parallel_tool_use": True}
    message = say(claude, tools=[TIME], tool_choice=forced, max_tokens=300)
    (use,) = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use" and use.input["zone"] in ("UTC", "CET")
    with claude.messages.stream(model="tiny", messages=ASK, max_tokens=300, tools=[TIME], tool_choice=forced) as stream:
        assert [block.input for block in stream.get_final_message().content if block.type == "tool_use"] == [use.input]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "noon"}]}
    history = [*ASK, {"role": "assistant", "content": [use.to_dict()]}, {"role": "user", "content": [result]}]
    assert say(claude, messages=history, tools=[TIME]).content
    named = say(claude, tools=[TIME], tool_choice={"type": "tool", "name": "time"}, max_tokens=300)
    assert any(block.type == "tool_use" for block in named.content)


def test_thoughts_are_blocks(claude: Any) -> None:
    message = say(claude, model="thinker", thinking={"type": "enabled", "budget_tokens": 1024})
    assert message.content[0].type == "thinking" and message.content[0].thinking
    off = say(claude, model="thinker", thinking={"type": "disabled"})
    assert off.content[0].type == "text"


def test_tokens_are_counted_as_the_message_counts_them(claude: Any) -> None:
    count = claude.messages.count_tokens(model="tiny", messages=ASK, tools=[TIME]).input_tokens
    usage = say(claude, tools=[TIME]).usage
    assert count == usage.input_tokens + usage.cache_read_input_tokens


def test_errors_have_anthropics_form(claude: Any) -> None:
    with pytest.raises(anthropic.NotFoundError) as unknown:
        say(claude, model="gone")
    assert unknown.value.body["type"] == "error" and unknown.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="image"):
        say(claude, messages=[{"role": "user", "content": [{"type": "image", "source": {}}]}])
    with pytest.raises(anthropic.BadRequestError, match="context"):
        say(claude, messages=[{"role": "user", "content": "one two " * 2000}])


@pytest.mark.parametrize(
    "asked",
    [
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": 5}]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "x", "input": []}]}]},
        {"tools": [{"name": "x"}]},
        {"tool_choice": {"type": "never"}},
        {"tool_choice": {"type": "tool", "name": "gone"}, "tools": [TIME]},
        {"extra_body": {"temperature": 1.5}},
        {"max_tokens": 0},
    ],
)
def test_what_cannot_be_done_is_refused(claude: Any, asked: dict[str, Any]) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        say(claude, **asked)
    assert json.loads(caught.value.response.text)["error"]["message"]
