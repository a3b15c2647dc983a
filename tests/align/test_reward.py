"""The reward model: what it learns, how it is read, and that transformers reads it alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_family import Family

import kwen
from kwen.align.preferences import tokenize_pairs
from kwen.align.reward import PairwiseLogistic, RewardConfig, RewardModel, score_ends, score_rows, scoring_model, train_reward
from kwen.errors import UserError
from kwen.model.formats.load import load_checkpoint
from kwen.text.messages import Message
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batches, Documents
from kwen.train.parallel import Ranks
from kwen.verify.pairs import Pair

TRAINING: dict[str, Any] = {
    "steps": 30, "batch_tokens": 512, "sequence_length": 256, "precision": "float32",
    "optimizer": {"lr": 3e-3}, "schedule": {"kind": "constant"},
}  # fmt: skip


def kind_pairs(folder: Path, count: int = 60) -> Path:
    """Pairs in which the kind answer is chosen: something that a tiny model can learn."""
    rows = [
        {
            "messages": [{"role": "user", "content": f"Question {number}?"}],
            "chosen": f"Yes, gladly, {number}.",
            "rejected": f"No, never, {number}.",
            "tag": "even" if number % 2 == 0 else "odd",
        }
        for number in range(count)
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def trained(family: Family, folder: Path, world: int = 1, **changes: Any) -> Path:
    config = RewardConfig(**{"data": [{"kind": "pairs", "path": str(kind_pairs(folder))}], "training": TRAINING | changes})
    out = folder / f"reward{world}"
    out.mkdir()
    with Ranks(world) as ranks:
        train_reward(config, seed=0, base=family.chat, out=out, work=folder / f"work{world}", ranks=ranks)
    return out


def test_pairs_are_told_apart_and_saved_as_transformers_reads_them(family: Family, tmp_path: Path) -> None:
    out = trained(family, tmp_path)
    model = RewardModel.load(out)
    asked = {"role": "user", "content": "Question 7?"}
    sides = [[asked, {"role": "assistant", "content": text}] for text in ("Yes, gladly, 7.", "No, never, 7.")]
    scores = model.score(sides)
    assert scores[0] > scores[1] + 0.5

    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    theirs = AutoModelForSequenceClassification.from_pretrained(out).eval()
    rows = [model.token_ids(side) for side in sides]
    with torch.no_grad():
        for row, score in zip(rows, scores, strict=True):
            assert float(theirs(torch.tensor([row])).logits[0, 0]) == pytest.approx(score, abs=1e-4)
        pad = AutoTokenizer.from_pretrained(out).pad_token_id
        longest = max(map(len, rows))
        padded = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        both = theirs(padded, attention_mask=(padded != pad).long()).logits[:, 0]
    assert both.tolist() == pytest.approx(scores, abs=1e-4)


def test_a_fresh_head_scores_zero_and_the_first_loss_is_one_bit(family: Family) -> None:
    model = scoring_model(load_checkpoint(family.chat))
    tokens = np.arange(5, 5 + 2 * 21) % 300
    documents = Documents(tokens, np.array([0, 21, 42]), np.ones(42, bool), np.array([9, 12]))
    batch = Batches(documents, row_length=20, rows=2, seed=0)(0)
    objective = PairwiseLogistic(model, torch.float32, False)
    assert float(objective.count(batch)) == 2
    loss, others = objective.loss(batch, 2.0)
    assert float(loss) == pytest.approx(np.log(2), abs=1e-6) and others["accuracy"] == 0.0


def test_both_sides_of_a_pair_are_documents_of_their_own() -> None:
    documents = Documents(np.arange(14), np.array([0, 8, 14]), np.ones(14, bool), np.array([3, 2]))
    batch = Batches(documents, row_length=12, rows=1, seed=0)(0)
    ids = batch.documents[0].tolist()
    runs = [ids.count(value) for value in sorted(set(ids))]
    assert sorted(runs) == [2, 3, 3, 4]
    assert int(score_ends(batch.documents).sum()) == 4
    assert score_ends(torch.tensor([[0, 0, 1, -1]])).tolist() == [[False, True, True, False]]


def test_a_prompt_that_both_sides_share_is_read_once_with_equal_scores(family: Family) -> None:
    model = RewardModel.load(family.reward)
    asked: list[list[Message]] = [[{"role": "user", "content": f"How many lamps has house {n}?"}] for n in (5, 12)]
    shown = [Pair(messages, "It has seven lamps.", "None.", "lamps", "here") for messages in asked]
    replies = [(pair, text) for pair in shown for text in (pair.chosen, pair.rejected)]
    alone = model.score([[*pair.messages, {"role": "assistant", "content": text}] for pair, text in replies])
    sizes = []
    for prompt_once in (True, False):
        documents, _, counts = tokenize_pairs(shown, model.tokenizer, longest=250, prompt_once=prompt_once)
        sizes.append(counts["data_tokens"])
        batch = Batches(documents, row_length=250, rows=1, seed=0)(0)
        with torch.no_grad():
            hidden = model.model.hidden(batch.token_ids, documents=batch.documents, seen_by=batch.seen_by)
        found = model.model.scores(hidden[score_ends(batch.documents)]).tolist()
        assert sorted(found) == pytest.approx(sorted(alone), abs=1e-5)
    assert sizes[0] < sizes[1]


def test_a_score_does_not_depend_on_what_stands_beside_it(family: Family) -> None:
    model = scoring_model(load_checkpoint(family.reward))
    rows = [list(range(3, 3 + n)) for n in (40, 5, 17, 60)]
    together = score_rows(model, rows)
    assert together == pytest.approx([score_rows(model, [row])[0] for row in rows], abs=1e-5)


def test_two_ranks_equal_one(family: Family, tmp_path: Path) -> None:
    found = []
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        out = trained(family, folder, world, steps=6, optimizer={"lr": 1e-3})
        found.append(scoring_model(load_checkpoint(out)).state_dict())
    assert max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0]) < 1e-5


def test_bad_pairs_and_models_are_one_line(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a reward model, which scores text"):
        kwen.load(family.reward)
    with pytest.raises(UserError, match="a language model; a reward model is what"):
        RewardModel.load(family.chat)
    with Ranks(1) as ranks, pytest.raises(UserError, match="no pairs to learn from"):
        train_reward(RewardConfig(training=TRAINING), seed=0, base=family.chat, out=tmp_path, work=tmp_path, ranks=ranks)
    model = RewardModel(scoring_model(load_checkpoint(family.reward)), Tokenizer.load(family.reward))
    with pytest.raises(UserError, match="exceeds the reward model's context of 256"):
        model.score([[{"role": "user", "content": "long " * 400}, {"role": "assistant", "content": "No."}]])
