"""Rejection sampling: what is kept, in which order, and that a killed run goes on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_chat import make_chat, sums, write_rows

from kwen.align import rejection
from kwen.align.datasets import ChatFile, conversations
from kwen.align.rejection import CONVERSATIONS, RejectionConfig, distinct_answers, sample_right_answers
from kwen.align.rollouts import Rollout
from kwen.align.verifiable import Task
from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer
from kwen.train.parallel import Ranks


@pytest.fixture(scope="module")
def chat(chat_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("rejection") / "chat", chat_tokenizer)


def config_of(tmp_path: Path, **changes: Any) -> RejectionConfig:
    path = tmp_path / "sums.jsonl"
    if not path.exists():
        write_rows(path, sums(5))
    small = {"samples": 6, "sequence_length": 96, "max_new_tokens": 6, "temperature": 1.0, "queries_at_once": 2}
    return RejectionConfig.model_validate({"data": [{"kind": "numbers", "path": str(path)}], **small, **changes})


def sample(config: RejectionConfig, chat: Path, folder: Path) -> tuple[dict[str, Any], bytes]:
    with Ranks(1) as ranks:
        counts = sample_right_answers(config, seed=0, policy=chat, out=folder / "out", work=folder / "work", ranks=ranks)
    return counts, (folder / "out" / CONVERSATIONS).read_bytes()


def right_by_length(asked: Sequence[Task], replies: Sequence[str], ended: Sequence[bool]) -> list[float]:
    """Random models are never right: take a third of their answers for right."""
    return [float(len(reply) % 3 == 0 and reply.strip() != "") for reply in replies]


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores by `right_by_length`, and every answer counts as ended."""
    roll_out = rejection.roll_out

    def ended(*args: Any, **settings: Any) -> list[Rollout]:
        return [Rollout(r.query, r.token_ids, r.sampled, True, r.text) for r in roll_out(*args, **settings)]

    monkeypatch.setattr(rejection, "score_answers", right_by_length)
    monkeypatch.setattr(rejection, "roll_out", ended)


def test_shortest_first_and_each_answer_once() -> None:
    def rollout(length: int, text: str) -> Rollout:
        return Rollout(0, list(range(length)), [True] * length, True, text)

    answers = [rollout(5, "b c"), rollout(3, "x"), rollout(4, "b  c\n"), rollout(3, "a"), rollout(1, " "), rollout(6, "x")]
    assert [(answer.length, answer.text) for answer in distinct_answers(answers)] == [(3, "x"), (3, "a"), (4, "b  c\n")]


@pytest.mark.usefixtures("lenient")
def test_right_answers_become_sft_data_with_their_counts(chat: Path, tmp_path: Path) -> None:
    counts, _ = sample(config_of(tmp_path), chat, tmp_path)
    assert counts["queries"] == 5 and counts["answers"] == 30
    assert counts["right"] == counts["repeated"] + counts["dropped"] + counts["kept"] > 0 and counts["dropped"] == 0
    assert json.loads((tmp_path / "out" / "counts.json").read_text()) == counts
    rows = [messages for _, messages, _ in conversations(ChatFile(kind="messages", path=tmp_path / "out" / CONVERSATIONS), 0)]
    assert len(rows) == counts["kept"] and all(row[-1]["role"] == "assistant" and row[-1]["content"] for row in rows)
    few, _ = sample(config_of(tmp_path, keep=1), chat, tmp_path / "few")
    assert few["kept"] == few["queries_solved"] == counts["queries_solved"] and few["dropped"] == counts["kept"] - few["kept"]


@pytest.mark.usefixtures("lenient")
def test_a_run_that_was_cut_and_one_in_other_parts_give_the_same_file(
    chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = sample(config_of(tmp_path), chat, tmp_path / "whole")
    scorer, calls = right_by_length, []

    def fails_at_second(*args: Any) -> list[float]:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scorer(*args)

    monkeypatch.setattr(rejection, "score_answers", fails_at_second)
    with pytest.raises(KeyboardInterrupt):
        sample(config_of(tmp_path), chat, tmp_path / "cut")
    assert len(list((tmp_path / "cut" / "work").glob("*.json"))) == 1
    assert sample(config_of(tmp_path), chat, tmp_path / "cut")[1] == whole
    assert len(calls) == 4  # two before the cut, and two parts that were missing
    assert sample(config_of(tmp_path, queries_at_once=5), chat, tmp_path / "other")[1] == whole


def test_no_right_answer_is_an_error(chat: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of 30 answers scored 0.9"):
        sample(config_of(tmp_path), chat, tmp_path)
