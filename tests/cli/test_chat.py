"""`kwen chat` and `kwen generate`, as a user's shell meets them."""

import io
import json
import sys
from pathlib import Path

import pytest

from kwen.cli.chat import Conversation
from kwen.cli.main import exit_code
from kwen.cli.streaming import PieceWriter
from kwen.engine.sampler import default_sampling
from kwen.errors import UserError

SETTINGS = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0, "max_new_tokens": 16, "seed": 0}


class Parrot:
    """Answers with what it was told, in pieces; the only part of a model that a conversation needs."""

    generation_config: dict[str, object] = {}

    def stream_chat(self, messages, stop=(), **settings):  # noqa: ANN001, ANN003, ANN201
        if messages[-1]["content"] == "too long":
            raise UserError("chat: the newest turn is too long")
        words = [message["content"] for message in messages]
        return iter([{"role": "assistant", "content": ""}, *({"content": f"{word};"} for word in words)])


@pytest.fixture
def conversation() -> Conversation:
    return Conversation(Parrot(), "parrot", dict(SETTINGS))  # type: ignore[arg-type]


def test_the_whole_conversation_reaches_the_model(conversation: Conversation) -> None:
    conversation.command("/system be brief")
    assert "".join(conversation.answer("hello")) == "be brief;hello;"
    assert "".join(conversation.answer("again")) == "be brief;hello;be brief;hello;;again;"
    conversation.command("/clear")
    assert "".join(conversation.answer("new")) == "be brief;new;"
    conversation.command("/system -")
    conversation.command("/clear")
    assert "".join(conversation.answer("new")) == "new;"


def test_a_stopped_answer_stays_in_the_history_as_far_as_it_came(conversation: Conversation) -> None:
    conversation.command("/system a")
    pieces = conversation.answer("b")
    assert [next(pieces), next(pieces)] == ["", "a;"]
    pieces.close()
    assert conversation.turns == [{"role": "user", "content": "b"}, {"role": "assistant", "content": "a;"}]


def test_a_turn_that_the_model_cannot_take_is_forgotten(conversation: Conversation) -> None:
    with pytest.raises(UserError):
        list(conversation.answer("too long"))
    assert conversation.turns == []


def test_settings_are_checked_and_kept_as_they_were_when_wrong(conversation: Conversation) -> None:
    assert "temperature 0.5" in conversation.command("/set temperature 0.5")
    assert "seed 7" in conversation.command("/seed 7")
    for line, said in [
        ("/set temperature hot", "must be a number"),
        ("/set top_p 3", "top_p is 3.0"),
        ("/set colour 3", "colour is no setting; the settings are temperature"),
        ("/seed x", "seed must be a whole number"),
        ("/dance", "/dance is no command"),
        ("/save", "needs the name of a file"),
    ]:
        with pytest.raises(UserError, match=said):
            conversation.command(line)
    assert conversation.settings == SETTINGS | {"temperature": 0.5, "seed": 7}
    assert all(name in conversation.command("/help") for name in conversation.commands)


def test_saving_writes_the_messages_and_spares_other_files(conversation: Conversation, tmp_path: Path) -> None:
    list(conversation.answer("hello"))
    conversation.command(f"/save {tmp_path}/talk.json")
    conversation.command(f"/save {tmp_path}/talk.json")
    saved = json.loads((tmp_path / "talk.json").read_text())
    assert saved["messages"] == conversation.turns and saved["model"] == "parrot"
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        conversation.command(f"/save {tmp_path}/mine.txt")
    with pytest.raises(UserError, match="cannot be written"):
        conversation.command(f"/save {tmp_path}/no/folder.json")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_checkpoints_own_settings_hold_where_it_samples() -> None:
    assert default_sampling({"temperature": 0.6, "top_k": 20})["temperature"] == 0.0
    assert default_sampling({"do_sample": True, "top_p": 0.8, "top_k": None}) == {
        "temperature": 1.0, "top_p": 0.8, "top_k": 0, "repetition_penalty": 1.0,
    }  # fmt: skip


def test_a_models_words_cannot_steer_the_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, file = Terminal(), io.StringIO()
    for out in (terminal, file):
        writer = PieceWriter(out, "  ")
        writer.write("a\x1b]0;owned\x07\u202eb\n")
        writer.write("世界")
        writer.end()
    assert terminal.getvalue() == "a␛]0;owned␇\ufffdb\n  世界\n"
    assert file.getvalue() == "a\x1b]0;owned\x07\u202eb\n  世界\n"


def test_generate_and_chat_on_a_real_model(
    smollm2_gguf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(smollm2_gguf)
    assert exit_code(["generate", model, "The capital of France is", "--max-new-tokens", "8", "--stop", "."]) == 0
    assert capsys.readouterr().out == " Paris\n"
    assert exit_code(["chat", model, "--message", "What is the capital of France?", "--max-new-tokens", "16"]) == 0
    assert "Paris" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("/set max_new_tokens 6\n\n/nonsense\nHello\n/quit\nnever\n"))
    assert exit_code(["chat", model]) == 0
    streams = capsys.readouterr()
    assert streams.out.count("\n") == 2 and "/nonsense is no command" in streams.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "no/such/model", "hi"], "no model at no/such/model"),
        (["chat", "no/such/model", "--message", "hi"], "no model at no/such/model"),
        (["generate", "no/such/model"], "Missing argument"),
    ],
)
def test_mistakes_end_with_one_line_and_exit_code_2(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(arguments) == 2
    streams = capsys.readouterr()
    assert streams.out == "" and said in streams.err and len(streams.err.splitlines()) == 1
