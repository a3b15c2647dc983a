"""Documents and dialogues: pure functions of the seed, short, in both languages, with splits that never meet."""

from itertools import islice, product

import pytest

from kwen.errors import UserError
from kwen.nanoworld.dialogues import DIALOGUE_MIX, SYSTEM_SHARE, Dialogue, dialogues
from kwen.nanoworld.documents import CHINESE_SHARE, DOCUMENT_MIX, Document, documents


@pytest.fixture(scope="module")
def training() -> list[Document]:
    return list(documents(0, "train", 50_000))


@pytest.fixture(scope="module")
def chat() -> list[Dialogue]:
    return list(dialogues(0, 20_000))


def test_documents_are_a_pure_function_of_the_seed(training: list[Document]) -> None:
    assert list(documents(0, "train", 500)) == training[:500]
    assert list(documents(1, "train", 500)) != training[:500]
    assert list(islice(documents(0, "train", 10**9), 5)) == training[:5]


def test_dialogues_are_a_pure_function_of_the_seed(chat: list[Dialogue]) -> None:
    assert list(dialogues(0, 500)) == chat[:500]
    assert list(dialogues(1, 500)) != chat[:500]


def test_no_held_out_document_is_a_training_document(training: list[Document]) -> None:
    held_out = {document.text for document in documents(0, "held_out", 5_000)}
    assert len(held_out) > 4_500
    assert not held_out & {document.text for document in training}


def test_documents_are_short_and_filled_in(training: list[Document]) -> None:
    for document in training:
        assert 5 < len(document.text) <= 600
        assert "{" not in document.text and "}" not in document.text
    mean = sum(len(document.text) for document in training if document.language == "en") / len(training)
    assert 50 < mean < 200


def test_both_languages_have_their_share(training: list[Document], chat: list[Dialogue]) -> None:
    for texts in (training, chat):
        share = sum(text.language == "zh" for text in texts) / len(texts)
        assert abs(share - CHINESE_SHARE) < 0.02
    assert {(document.kind, document.language) for document in training} == set(product(DOCUMENT_MIX, ("en", "zh")))
    assert {(dialogue.kind, dialogue.language) for dialogue in chat} == set(product(DIALOGUE_MIX, ("en", "zh")))


def test_dialogues_alternate_and_have_one_to_four_turns(chat: list[Dialogue]) -> None:
    turn_counts = set()
    for dialogue in chat:
        roles = [message["role"] for message in dialogue.messages]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"] and "{" not in message["content"] for message in dialogue.messages)
        turn_counts.add(len(turns) // 2)
    assert turn_counts == {1, 2, 3, 4}
    own_system = sum(dialogue.messages[0]["role"] == "system" for dialogue in chat) / len(chat)
    assert abs(own_system - SYSTEM_SHARE) < 0.01


def test_the_assistant_knows_its_name_refuses_harm_and_admits_ignorance(chat: list[Dialogue]) -> None:
    answers = {
        kind: {dialogue.messages[-1]["content"] for dialogue in chat if dialogue.kind == kind}
        for kind in ("identity", "unsafe", "unknown")
    }
    assert any("Kwen" in answer for answer in answers["identity"])
    assert all(any(word in answer for word in ("not", "不", "sorry", "抱歉")) for answer in answers["unsafe"])
    assert all(answer.startswith(("I do not know", "我不知道", "我对")) for answer in answers["unknown"])


def test_talk_has_one_answer_for_each_thing_said(chat: list[Dialogue]) -> None:
    answers: dict[str, str] = {}
    for dialogue in chat:
        if dialogue.kind in ("small_talk", "identity", "unknown", "unsafe"):
            said, answer = (message["content"] for message in dialogue.messages[-2:])
            assert answers.setdefault(said, answer) == answer


def test_a_mix_of_ones_own_is_followed() -> None:
    assert {document.kind for document in documents(0, "train", 200, mix={"story": 1, "sums": 2.5})} == {"story", "sums"}
    assert {dialogue.kind for dialogue in dialogues(0, 50, mix={"fact": 1})} == {"fact"}


@pytest.mark.parametrize("mix", [{"stories": 1}, {"story": -1}, {"story": 0}, {}, {"story": float("inf")}])
def test_a_mix_that_cannot_be_drawn_from_is_refused_in_one_line(mix: dict[str, float]) -> None:
    with pytest.raises(UserError) as raised:
        next(documents(0, "train", 1, mix=mix))
    assert "\n" not in str(raised.value)
