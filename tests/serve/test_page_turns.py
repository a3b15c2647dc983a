"""Answers and agents of the page: whose they are, how they end."""

import time
from collections.abc import Iterator

import pytest
from page_serving import PLOT, Scripted, Served, call

from kwen.errors import UserError
from kwen.serve.page_conversation import Conversation, Sampling, Side
from kwen.serve.page_turns import Answer, Turns


def conversation(*models: str, tools: list[str] | None = None) -> Conversation:
    return Conversation(tools=tools or [], sides=[Side(model=model) for model in models])


def ask(turns: Turns, about: Conversation, question: str, visitor: str = "me") -> list[Answer]:
    """Answer, wait, and let the conversation go on with it."""
    answers = turns.begin(visitor, about, question, range(len(about.sides)))
    for answer in answers:
        assert answer.done.wait(30)
        answer.side.messages = answer.messages
    return answers


@pytest.fixture
def turns() -> Iterator[Turns]:
    script = {
        "remember": [call("python", code="x = 41; open('note.txt', 'w').write('mine')"), "Done."],
        "recall": [call("python", code="print(x + 1)"), "There."],
        "plot": [call("python", code=PLOT), "There."],
        "sum": ["So:\n" + call("calculator", expression="6 * 7"), "42."],
        "long": ["word " * 5000],
        "sleep": [call("python", code="import time; time.sleep(3)"), "awake"],
    }
    made = Turns(
        {"first": Served("first", Scripted(script, 0.001)), "second": Served("second", Scripted({}))},  # type: ignore[dict-item]
        ["python", "calculator"],
    )
    yield made
    made.close()


def test_two_models_answer_the_same_question(turns: Turns) -> None:
    about = conversation("first", "second", tools=["calculator"])
    ask(turns, about, "sum")
    assert [message["role"] for message in about.sides[0].messages] == ["user", "assistant", "tool", "assistant"]
    assert about.sides[0].messages[2]["content"] == "42"
    assert [message["content"] for message in about.sides[1].messages] == ["sum", "You said: sum"]


def test_system_prompt_and_settings_reach_the_model_and_tools_only_when_on(turns: Turns) -> None:
    about = conversation("second")
    about.system, about.sampling = "Be brief.", Sampling(temperature=0.5, top_k=3, seed=9, max_new_tokens=77)
    ask(turns, about, "hello")
    lm = turns.models["second"].lm
    assert [message["role"] for message in lm.prompts[-1]] == ["system", "user"]  # type: ignore[attr-defined]
    settings = lm.settings[-1]  # type: ignore[attr-defined]
    assert {key: settings[key] for key in ("temperature", "top_k", "seed", "max_new_tokens")} == {
        "temperature": 0.5, "top_k": 3, "seed": 9, "max_new_tokens": 77,
    }  # fmt: skip


@pytest.mark.slow
def test_an_interpreter_lives_as_long_as_its_conversation_and_is_nobody_elses(turns: Turns) -> None:
    about = conversation("first", tools=["python"])
    ask(turns, about, "remember")
    ask(turns, about, "recall")
    assert about.sides[0].messages[-2]["content"] == "42"
    other = about.model_copy(deep=True)
    other.sides[0].messages = []
    ask(turns, other, "recall", visitor="somebody else who knows the conversation's id")
    assert "NameError" in other.sides[0].messages[2]["content"]
    assert len(turns._desks) == 2
    turns.forget("me", about.id)
    assert len(turns._desks) == 1
    about.sides[0].messages = []
    ask(turns, about, "recall")
    assert "NameError" in about.sides[0].messages[2]["content"]


@pytest.mark.slow
def test_images_of_a_tool_are_part_of_the_conversation(turns: Turns) -> None:
    about = conversation("first", tools=["python"])
    ask(turns, about, "plot")
    (image,) = about.sides[0].messages[2]["images"]
    assert image.startswith("iVBORw0KGgo")
    ask(turns, about, "and now?")
    assert about.sides[0].messages[2]["images"] == [image]


def test_what_a_stopped_answer_said_stays(turns: Turns) -> None:
    about = conversation("first")
    (answer,) = turns.begin("me", about, "long", [0])
    while answer.changes < 5:
        time.sleep(0.01)
    turns.stop("somebody else", about.id)
    assert not answer.stop.is_set()
    turns.stop("me", about.id)
    assert answer.done.wait(5)
    question, said = answer.messages
    assert question["content"] == "long" and 0 < len(said["content"]) < 5000
    assert turns.models["first"].lm.left == 1  # type: ignore[attr-defined]


@pytest.mark.slow
def test_an_answer_that_is_stopped_in_a_tool_can_be_left_and_the_next_one_waits_for_it(turns: Turns) -> None:
    about = conversation("first", tools=["python"])
    (answer,) = turns.begin("me", about, "sleep", [0])
    while not answer.changes:
        time.sleep(0.01)
    answer.stop.set()
    assert [message["role"] for message in answer.messages_to_keep] == ["user"]
    with pytest.raises(UserError, match="still being answered"):
        turns.begin("me", about, "sum", [0])
    assert answer.done.wait(10)


def test_agents_are_closed_when_nothing_is_asked_of_them() -> None:
    made = Turns({"a": Served("a", Scripted({}))}, idle_s=0.0)  # type: ignore[dict-item]
    for _ in range(3):
        ask(made, conversation("a"), "hello")
    made._end_idle()
    assert len(made._desks) == 0
    made.close()


def test_a_visitor_keeps_only_so_many_agents(turns: Turns) -> None:
    for _ in range(12):
        ask(turns, conversation("second"), "hello")
    assert len(turns._desks) <= 9


@pytest.mark.parametrize(
    ("about", "question", "told"),
    [
        (conversation("first"), "  ", "write something"),
        (conversation("third"), "hello", "no model 'third'"),
        (conversation("first", tools=["search"]), "hello", "'search' is not offered"),
        (conversation("second", "third"), "hello", "no model 'third'"),
    ],
)
def test_what_cannot_be_answered_is_refused_and_starts_nothing(
    turns: Turns, about: Conversation, question: str, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        turns.begin("me", about, question, range(len(about.sides)))
    assert not turns.models["second"].lm.prompts  # type: ignore[attr-defined]


def test_a_failing_model_is_one_line_for_the_user_and_a_traceback_for_the_operator(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Scripted):
        def stream_turn(self, *arguments: object, **settings: object):  # type: ignore[no-untyped-def, override]
            raise RuntimeError("secret detail")

    made = Turns({"a": Served("a", Broken({}))})  # type: ignore[dict-item]
    (answer,) = ask(made, conversation("a"), "hello")
    assert answer.error == "the server failed at this answer; its log says how"
    assert "secret detail" in caplog.text
    made.close()
