"""What a run was trained on, made again from its manifests, and which test items it shares words with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kwen.align.datasets import NanoworldChat, NanoworldTools, conversations
from kwen.align.queries import NanoworldQueries, queries
from kwen.errors import UserError
from kwen.family.artifact import Manifest
from kwen.family.contamination import items_of, run_contamination, summary
from kwen.family.graph import Node
from kwen.family.nodes import family_nodes
from kwen.family.recipe import load_recipe
from kwen.family.training_texts import texts_in, training_texts

QUESTION = "Ada has three red marbles and Ben gives her five more so how many marbles has she now?"


def artifact(folder: Path, stage: str, config: dict[str, Any], seed: int = 3, **sources: str) -> Path:
    """A folder with the manifest of an artifact of that stage."""
    folder.mkdir(parents=True)
    Manifest(folder.name, stage, 1, "key", {}, {folder.name: config}, seed, {}, {}, {"sources": sources}).write(folder)
    return folder


def texts_of(examples: Iterator[Any]) -> list[str]:
    return [text for example in examples for text in texts_in(example.messages if hasattr(example, "messages") else example)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two problems in GSM8K's form."""
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True)
    other = "A train leaves at noon and needs four hours for the whole way; at what hour of the day does it arrive?"
    rows = [{"question": question, "answer": "Count them.\n#### 8"} for question in (QUESTION, other)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"


def test_the_texts_of_each_stage_are_what_it_read(tmp_path: Path) -> None:
    chat, tools = NanoworldChat(kind="nanoworld", count=8), NanoworldTools(kind="nanoworld-tools", count=3)
    staged = {"data": [{"kind": "nanoworld", "count": 8}], "then": [{"data": [{"kind": "nanoworld-tools", "count": 3}]}]}
    sft = training_texts(artifact(tmp_path / "chat-sft", "chat-sft", staged))
    assert sft is not None and list(sft) == texts_of(conversations(chat, 3)) + texts_of(conversations(tools, 3))

    config = {"kind": "ppo", "data": [{"kind": "nanoworld", "count": 5}]}
    asked = training_texts(artifact(tmp_path / "chat", "chat", config))
    assert asked is not None and list(asked) == texts_of(queries(NanoworldQueries(kind="nanoworld", count=5), 3))

    own = artifact(tmp_path / "self-instruct", "self-instruct", {"data": [], "seeds": 3})
    kept = [{"role": "user", "content": "Mine"}, {"role": "assistant", "content": "Yours"}]
    (own / "conversations.jsonl").write_text(json.dumps({"messages": kept, "tools": None, "round": 1}) + "\n")
    made = training_texts(own)
    assert made is not None and list(made) == texts_of(conversations(tools, 3)) + ["user", "Mine", "assistant", "Yours"]

    assert training_texts(artifact(tmp_path / "base", "base", {})) is None and training_texts(tmp_path) is None


@pytest.mark.parametrize("kind", ["dpo", "grpo"])
def test_pairs_and_tasks_are_read_from_the_recorded_file(kind: str, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": QUESTION}], "chosen": "8", "rejected": "9", "answer": "8"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    config = {"kind": kind, "data": [{"kind": {"dpo": "pairs", "grpo": "numbers"}[kind], "limit": None}]}
    texts = training_texts(artifact(tmp_path / "chat", "chat", config, **{"chat.data.0": str(tmp_path / "rows.jsonl")}))
    assert texts is not None and QUESTION in list(texts)


def test_a_planted_question_is_counted_for_its_artifact(tmp_path: Path, data: Path) -> None:
    rows = [{"question": QUESTION, "answer": "8"}, {"question": "Who are you?", "answer": "Kwen"}]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"data": [{"kind": "file", "limit": None}]}
    found = run_contamination(
        {
            "chat-sft": artifact(tmp_path / "chat-sft", "chat-sft", config, **{"chat-sft.data.0": str(tmp_path / "own.jsonl")}),
            "math-chat": artifact(tmp_path / "math-chat", "chat-sft", {"data": [{"kind": "nanoworld-maths", "count": 20}]}),
            "base": artifact(tmp_path / "base", "base", {}),
        },
        ["gsm8k", "gsm8k"],
        data,
    )
    counts = {"items": 2, "overlapping": 0, "whole": 0, "unchecked": 0}
    assert found["n"] == 13 and list(found["artifacts"]) == ["chat-sft", "math-chat"]
    assert found["artifacts"]["chat-sft"] == {"gsm8k": counts | {"overlapping": 1, "ids": ["0"]}}
    assert summary(found) == {"chat-sft": counts | {"overlapping": 1}, "math-chat": counts}
    (tmp_path / "own.jsonl").unlink()
    with pytest.raises(UserError, match="own.jsonl: no such file"):
        run_contamination({"chat-sft": tmp_path / "chat-sft"}, ["gsm8k"], data)


def test_without_artifacts_no_item_is_needed() -> None:
    assert run_contamination({}, ["gsm8k"], None) == {"n": 13, "artifacts": {}}


def test_questions_of_nanoworld_are_held_out(tmp_path: Path) -> None:
    # Worded by the same templates, they share words with training text; as a whole none stands there.
    config = {"data": [{"kind": "nanoworld", "count": 1500}]}
    tasks = ["nanoworld-facts", "nanoworld-problems", "nanoworld-functions", "nanoworld-reading"]
    found = run_contamination({"chat-sft": artifact(tmp_path / "chat-sft", "chat-sft", config)}, tasks, None)
    assert all(counts["whole"] == 0 for counts in found["artifacts"]["chat-sft"].values())


def test_items_hold_question_and_answer(data: Path) -> None:
    parts = items_of(["gsm8k"], data)["gsm8k"]
    assert [name for name, _ in parts] == ["0", "0", "1", "1"]
    assert QUESTION in parts[0][1] and parts[1][1] == "8"


def test_what_a_run_compares_is_an_input_of_its_evals(data: Path) -> None:
    nodes = {node.name: node for node in family_nodes(load_recipe("nano"))}
    assert {"corpus", "code-corpus", "chat-sft", "code-chat", "math-chat"} <= set(nodes["evals"].inputs)


def test_a_corpus_without_test_items_is_another_and_hangs_on_the_items(data: Path, tmp_path: Path) -> None:
    def corpus(*settings: str) -> Node:
        return next(node for node in family_nodes(load_recipe("micro", settings)) if node.name == "corpus")

    wanted = f"corpus.decontaminate={{tasks: [gsm8k], data: {data}}}"
    plain, without = corpus(), corpus(wanted)
    assert "decontaminate" not in plain.config["corpus"]
    assert without.config["corpus"]["decontaminate"] == {"tasks": ["gsm8k"]}
    (data / "gsm8k" / "test.jsonl").write_text(json.dumps({"question": "Another?", "answer": "#### 1"}) + "\n")
    assert corpus(wanted).sources["items of gsm8k"] != without.sources["items of gsm8k"]
