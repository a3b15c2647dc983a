"""Comparisons sampled from models: better answers first, spread over topics, the same for equal seeds."""

import json
from pathlib import Path

import pytest
from tiny_family import Family

from kwen.align.preferences import PairsFile, pairs, write_pairs
from kwen.align.sampled import SampledConfig, sampled_pairs
from kwen.align.sft import SFTConfig, finetune
from kwen.errors import UserError
from kwen.nanoworld.oracle import prefer
from kwen.nanoworld.prompts import prompts
from kwen.train.parallel import Group, Ranks
from kwen.verify.oracle import grade_replies

TALK = ("small_talk", "identity")
CONFIG = SampledConfig(pairs=12, test_pairs=10, prompts=40, topics=TALK, temperatures=(0.7, 1.5), max_new_tokens=40)


@pytest.fixture(scope="module")
def talker(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chat model after some steps on small talk: it answers in sentences, the right one now and then."""
    folder = tmp_path_factory.mktemp("talker")
    told = [[*p.messages, {"role": "assistant", "content": p.answer}] for p in prompts(0, 60, "train", TALK)]
    (folder / "talk.jsonl").write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in told))
    training = {"steps": 80, "batch_tokens": 1024, "sequence_length": 256, "precision": "float32", "optimizer": {"lr": 1e-2}}
    config = SFTConfig(data=[{"kind": "messages", "path": str(folder / "talk.jsonl")}], masking="content", training=training)
    with Ranks(1) as ranks:
        finetune(config, seed=0, base=family.chat, out=folder / "out", work=folder / "work", ranks=ranks)
    return folder / "out"


def test_the_oracle_puts_the_chosen_answer_first(talker: Path, tmp_path: Path) -> None:
    arguments = {"models": [talker], "config": CONFIG, "seed": 0, "split": "train"}
    found = sampled_pairs(Group(), **arguments)
    assert found and len(found) <= CONFIG.pairs
    asked = {prompt.id: prompt for prompt in prompts(0, CONFIG.prompts, "train", TALK)}
    known = [asked[pair.where] for pair in found]
    better, worse = (grade_replies(known, [getattr(pair, side) for pair in found]) for side in ("chosen", "rejected"))
    assert all(prefer(one, two) == "a" for one, two in zip(better, worse, strict=True))
    assert [pair.tag for pair in found] == [prompt.topic for prompt in known]
    with Ranks(2) as ranks:
        assert found == ranks.run(sampled_pairs, arguments) == ranks.run(sampled_pairs, arguments)
    assert write_pairs(tmp_path / "pairs.jsonl", found) == len(found)
    kept = list(pairs(PairsFile(kind="pairs", path=tmp_path / "pairs.jsonl"), 0))
    assert [(pair.chosen, pair.rejected, pair.tag) for pair in kept] == [(p.chosen, p.rejected, p.tag) for p in found]


def test_answers_that_are_all_alike_are_no_comparison(talker: Path) -> None:
    with pytest.raises(UserError, match="gave no two answers of different grades"):
        config = CONFIG.model_copy(update={"temperatures": (0.0,), "prompts": 11})
        sampled_pairs(Group(), models=[talker], config=config, seed=0, split="train")
