"""What the page shows of a conversation, and what it keeps of one."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.agent import events
from kwen.errors import UserError
from kwen.serve.page_conversation import IMAGE_BYTES, Conversation, Sampling, Side, exported, place_of_turn, question_before
from kwen.serve.page_text import fenced, safe_markdown, split_thought, typed, untyped
from kwen.serve.page_view import Turn, shown, with_thoughts_apart

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(100)).decode()
MESSAGES = [
    {"role": "user", "content": "plot it"},
    {
        "role": "assistant", "content": "Drawing.", "reasoning_content": "a plot",
        "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "python", "arguments": '{"code": "plot()"}'}}],
    },
    {"role": "tool", "content": "done", "tool_call_id": "call_0", "name": "python", "images": [PNG]},
    {"role": "assistant", "content": "There."},
]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "safe"),
    [
        ("a <script>x</script> b", "a &lt;script>x&lt;/script> b"),
        ("![alt](http://x/y.png)", "[picture: alt](http://x/y.png)"),
        ("a < b and `<div>` and ``![`<``", "a < b and `<div>` and ``![`<``"),
        ("```html\n<b>![x](y)\n```\n<b>", "```html\n<b>![x](y)\n```\n&lt;b>"),
        ("~~~\n```\n<i>\n~~~\n<i>", "~~~\n```\n<i>\n~~~\n&lt;i>"),
        ("```mermaid\ngraph\n```", "```text\ngraph\n```"),
        ("one `tick\n\nand <b>` more", "one `tick\n\nand &lt;b>` more"),
    ],
)
def test_outside_code_no_tag_begins_and_no_picture_is_loaded(written: str, safe: str) -> None:
    assert safe_markdown(written) == safe


@given(st.text(alphabet=st.characters(exclude_characters="\u2060", exclude_categories=["Cs"])))
def test_what_a_user_typed_comes_back_after_an_edit(text: str) -> None:
    assert untyped(typed(text)) == text


@given(st.text(alphabet="`~a\n ", max_size=60))
def test_nothing_ends_a_block_of_code_from_within(text: str) -> None:
    first, *inside, last = fenced(text).split("\n")
    assert first == last and set(first) == {"`"}
    assert not any(line.strip().startswith(first) for line in inside)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>a\nb</think>\n\nc", ("a\nb", "c")),
        ("a</think>c", ("a", "c")),
        ("<think>still", ("still", "")),
        ("plain <think> word", ("", "plain <think> word")),
    ],
)
def test_a_thought_stands_apart_from_the_answer(text: str, parts: tuple[str, str]) -> None:
    assert split_thought(text) == parts


def test_calls_and_thoughts_are_folded_and_images_are_not() -> None:
    page = shown(MESSAGES)
    assert [message["role"] for message in page.messages] == ["user", *["assistant"] * 5]
    assert [message.get("metadata", {}).get("title") for message in page.messages] == [
        None, "Thought", None, "python · plot()", None, None,
    ]  # fmt: skip
    assert page.messages[4]["content"]["text"].endswith(f"(data:image/png;base64,{PNG})")
    assert page.origins == [0, 1, 1, 1, 1, 3]


def test_a_call_without_its_result_is_pending_only_while_the_answer_runs() -> None:
    for running, status in ((True, "pending"), (False, "done")):
        assert shown(MESSAGES[:2], running).messages[-1]["metadata"]["status"] == status


def test_a_stopped_turn_keeps_what_was_said_and_no_call_without_its_result() -> None:
    turn = Turn()
    turn.add(events.TextDelta(1, "Two calls."))
    for call in ("call_0", "call_1"):
        turn.add(events.CallStart(1, call, "clock", "{}"))
    turn.add(events.CallEnd(1, "call_0", "clock", "{}", "noon"))
    assert [message["role"] for message in turn.messages] == ["assistant", "tool"]
    said, result = turn.unfinished(0)
    assert [call["id"] for call in said["tool_calls"]] == [result["tool_call_id"]] == ["call_0"]
    assert turn.unfinished(1) == []


def test_thoughts_in_the_text_are_not_shown_to_the_model_again_as_text() -> None:
    message = with_thoughts_apart({"role": "assistant", "content": "<think>seven</think>Seven."})
    assert message == {"role": "assistant", "content": "Seven.", "reasoning_content": "seven"}


def test_a_conversation_is_named_after_its_first_question_and_survives_the_browser() -> None:
    conversation = Conversation(sides=[Side(model="a", messages=[{"role": "user", "content": "\n  Why is\nit so? "}])])
    again = Conversation.read(json.loads(json.dumps(conversation.touched())))
    assert again == conversation
    assert again.title == "Why is"


@pytest.mark.parametrize(
    "value",
    [
        "text", {"id": "../x"}, {"sides": [{"model": "a", "messages": [{"role": "boss", "content": ""}]}]},
        {"sides": [{"model": "a"}] * 3}, {"sampling": {"temperature": "hot"}}, {"sampling": {"seed": -1}},
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(UserError) as refused:
        Conversation.read(value)
    assert "\n" not in str(refused.value)


def test_only_png_images_of_tools_are_kept_and_the_newest_where_there_are_too_many() -> None:
    hostile = [{"role": "tool", "content": "", "images": [PNG, "x); evil(", 7, base64.b64encode(b"<svg>").decode()]}]
    read = Conversation.read({"sides": [{"model": "a", "messages": hostile}]})
    assert read is not None and read.sides[0].messages[0]["images"] == [PNG]
    large = PNG + "A" * (IMAGE_BYTES // 2)
    many = [{"role": "tool", "content": str(number), "images": [large]} for number in range(3)]
    conversation = Conversation(sides=[Side(model="a", messages=many)])
    kept = conversation.touched()["sides"][0]["messages"]
    assert ["images" in message for message in kept] == [False, False, True]


def test_no_seed_is_an_empty_field() -> None:
    assert Sampling(seed=" ").seed is None  # type: ignore[arg-type]
    assert Sampling(seed="7").seed == 7  # type: ignore[arg-type]


def test_places_of_questions() -> None:
    assert question_before(MESSAGES, 3) == 0
    with pytest.raises(UserError):
        question_before([{"role": "assistant", "content": "hi"}], 0)
    twice = [*MESSAGES, {"role": "user", "content": "again"}]
    assert [place_of_turn(twice, turn) for turn in range(3)] == [0, 4, 5]


def test_exports_hold_everything_and_json_is_openais() -> None:
    conversation = Conversation(system="Be brief.", sides=[Side(model="a", messages=MESSAGES)])
    conversation.touched()
    name, _, text = exported(conversation, "json")
    assert name == "plot-it.json"
    messages = json.loads(text)["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert not any("images" in message for message in messages)
    name, _, text = exported(conversation, "markdown")
    assert name == "plot-it.md"
    for part in ("# plot it", "Be brief.", "> a plot", "plot()", "done", PNG, "There."):
        assert part in text
