"""SFT in several stages and with tools: one after the other, curves joined, what is done is not done again."""

import json
from pathlib import Path

import pytest
from tiny_family import Family

from kwen.align.chat_model import load_tokenizer
from kwen.align.datasets import ChatFile, as_documents, conversations, tokenize_conversations
from kwen.align.sft import SFTConfig, finetune
from kwen.errors import UserError
from kwen.files import file_hash
from kwen.nanoworld.tool_tasks import tool_tasks
from kwen.text.chatml import render
from kwen.train.parallel import Ranks

TRAINING = {"batch_tokens": 512, "sequence_length": 256, "precision": "float32", "log_every": 2, "optimizer": {"lr": 1e-3}}
DATA = [{"kind": "nanoworld", "count": 40}]


def config(first: int, second: int) -> SFTConfig:
    stage = {"data": [{"kind": "nanoworld", "count": 30}], "training": {**TRAINING, "steps": second}}
    return SFTConfig(data=DATA, masking="content", training={**TRAINING, "steps": first}, then=[stage])


def test_a_later_stage_goes_on_from_the_one_before(family: Family, tmp_path: Path) -> None:
    alone = SFTConfig(data=DATA, masking="content", training={**TRAINING, "steps": 4})
    with Ranks(1) as ranks:
        places = {"seed": 0, "base": family.chat, "ranks": ranks}
        finetune(alone, out=tmp_path / "alone", work=tmp_path / "alone-work", **places)
        (tmp_path / "out").mkdir()
        metrics = finetune(config(4, 6), out=tmp_path / "out", work=tmp_path / "work", **places)
    assert metrics["steps"] == 10 and metrics["conversations"] > 60
    assert file_hash(tmp_path / "work" / "model-1" / "model.safetensors") == file_hash(tmp_path / "alone" / "model.safetensors")
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 4, 6, 8, 10]


def test_a_finished_stage_is_not_trained_again(family: Family, tmp_path: Path) -> None:
    with Ranks(1) as ranks:
        places = {"seed": 0, "base": family.chat, "ranks": ranks, "work": tmp_path / "work"}
        first = finetune(config(2, 2), out=tmp_path / "one", **places)
        seen: list[str] = []
        finetune(
            config(2, 2), out=tmp_path / "two", **places,
            progress=lambda done, total, **facts: seen.append(str(facts.get("stage"))),
        )  # fmt: skip
    assert set(seen) == {"2"}
    assert file_hash(tmp_path / "one" / "model.safetensors") == file_hash(tmp_path / "two" / "model.safetensors")
    assert first["steps"] == 4 and not (tmp_path / "one" / "metrics.json").exists()


def test_adapters_are_trained_in_one_stage() -> None:
    stage = {"data": DATA, "training": {**TRAINING, "steps": 2}}
    with pytest.raises(ValueError, match="lora trains one stage"):
        SFTConfig(data=DATA, training={**TRAINING, "steps": 2}, lora={"r": 2}, then=[stage])


def test_a_file_brings_tools_along_and_they_are_rendered(family: Family, tmp_path: Path) -> None:
    task = next(tool_tasks(0, 1, kinds=["one"]))
    row = {"messages": task.messages, "tools": task.definitions()}
    (tmp_path / "tools.jsonl").write_text(json.dumps(row) + "\n")
    source = ChatFile(kind="messages", path=tmp_path / "tools.jsonl")
    (found,) = conversations(source, 0)
    assert found.tools == task.definitions()
    tokenizer = load_tokenizer(family.chat)
    documents, counts = as_documents([tokenize_conversations([source], tokenizer, seed=0, masking="content", longest=4096)], 4096)
    expected = render(task.messages, tokenizer, tools=task.definitions(), masking="content")
    assert documents.tokens.tolist() == expected.token_ids and counts["data_trained_tokens"] == sum(expected.loss_mask) > 0
    (tmp_path / "tools.jsonl").write_text(json.dumps({**row, "tools": [{"function": {}}]}) + "\n")
    with pytest.raises(UserError, match=r"tools.jsonl:1: tools\[0\]: must hold a function with a name"):
        list(conversations(source, 0))
