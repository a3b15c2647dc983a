"""DPO against its formulas written out, and what a run of it must keep."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_chat import equal, largest_difference, make_chat, weights, write_rows

from kwen.align.dpo import DirectPreference, DPOConfig, preference_losses, train_dpo, train_dpo_rank
from kwen.align.lora import LoRAConfig, add_lora, fold_adapter
from kwen.align.preferences import Pair, tokenize_pairs
from kwen.model.formats.checkpoint import build_model
from kwen.model.formats.load import load_checkpoint
from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent
from kwen.text.tokenizer import Tokenizer
from kwen.train.batches import Batch, Batches
from kwen.train.parallel import Group, Ranks

PAIRS = [
    Pair([{"role": "user", "content": f"Name {n}."}], f"It is number {n}.", f"I say {n + 3} " * (n % 3 + 1), "t", f"pair {n}")
    for n in range(24)
]
TRAINING = {"steps": 4, "batch_tokens": 512, "sequence_length": 128, "precision": "float32", "optimizer": {"lr": 1e-3}}


@pytest.fixture(scope="module")
def chat(chat_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chat(tmp_path_factory.mktemp("dpo") / "chat", chat_tokenizer)


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"messages": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected} for pair in PAIRS]
    return write_rows(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows)


def config_of(pairs_file: Path, training: dict[str, Any] | None = None, **changes: Any) -> DPOConfig:
    settings = {"data": [{"kind": "pairs", "path": str(pairs_file)}], "training": TRAINING | (training or {}), **changes}
    return DPOConfig.model_validate(settings)


def moved(model: Transformer, seed: int) -> Transformer:
    """The model with noise on every weight: a policy in the middle of training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.03)
    return model


def side_logprobs(model: Transformer, tokenizer: Tokenizer, pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Logprob of each token of both replies, from each conversation alone through the plain logits."""
    documents, _, _ = tokenize_pairs([pair], tokenizer, longest=256)
    assert documents.splits is not None and documents.trained is not None
    middle, sides = int(documents.splits[0]), []
    for part in (slice(0, middle), slice(middle, len(documents.tokens) - 1)):
        token_ids, trained = torch.tensor(documents.tokens[part]), torch.tensor(documents.trained[part])
        logprobs = model(token_ids[None])[0].log_softmax(-1)[:-1].gather(1, token_ids[1:, None])[:, 0]
        sides.append(logprobs[trained[1:]])
    return sides[0], sides[1]


def batch_of(tokenizer: Tokenizer, rows: int) -> Batch:
    documents, _, _ = tokenize_pairs(PAIRS[: 3 * rows], tokenizer, longest=128)
    return Batches(documents, row_length=128, rows=rows, seed=0)(0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"beta": 0.5, "label_smoothing": 0.2},
        {"loss": "ipo", "beta": 0.3},
        {"loss": "ipo", "length_normalized": True},
        {"length_normalized": True, "beta": 2.0},
        {"sft_coefficient": 0.7},
    ],
)
def test_loss_and_gradient_equal_the_formula_written_out(
    chat: Path, chat_tokenizer: Tokenizer, pairs_file: Path, changes: dict[str, Any]
) -> None:
    config = config_of(pairs_file, **changes)
    model = build_model(load_checkpoint(chat), torch.float32).train()
    objective = DirectPreference(config, model, torch.float32, False)
    reference = copy.deepcopy(model)
    moved(model, 1)
    documents, _, _ = tokenize_pairs(PAIRS[:6], chat_tokenizer, longest=128)
    rows = Batches(documents, row_length=128, rows=1, seed=0).rows_per_epoch
    batch = Batches(documents, row_length=128, rows=rows, seed=0)(0)
    assert float(objective.count(batch)) == 6
    loss, facts = objective.loss(batch, 6)

    expected: list[torch.Tensor] = []
    margins: list[float] = []
    for pair in PAIRS[:6]:
        policy = side_logprobs(model, chat_tokenizer, pair)
        with torch.no_grad():
            base = side_logprobs(reference, chat_tokenizer, pair)
        reduce = torch.mean if config.length_normalized else torch.sum
        h = reduce(policy[0] - base[0]) - reduce(policy[1] - base[1])
        if config.loss == "ipo":
            value = (h - 1 / (2 * config.beta)) ** 2
        else:
            value = -(1 - config.label_smoothing) * torch.log(torch.sigmoid(config.beta * h))
            value = value - config.label_smoothing * torch.log(torch.sigmoid(-config.beta * h))
        expected.append(value - config.sft_coefficient * policy[0].mean())
        margins.append(config.beta * float(h.detach()))
    plain = torch.stack(expected).mean()
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert facts["margin"] == pytest.approx(sum(margins) / 6, rel=1e-4, abs=1e-6)
    assert facts["accuracy"] == pytest.approx(sum(m > 0 for m in margins) / 6)
    assert facts["chosen_reward"] - facts["rejected_reward"] == pytest.approx(facts["margin"], abs=1e-5)
    found = torch.autograd.grad(loss, list(model.parameters()))
    for a, b in zip(found, torch.autograd.grad(plain, list(model.parameters())), strict=True):
        assert torch.allclose(a, b, atol=1e-5, rtol=1e-4)


def test_at_the_first_step_policy_and_reference_differ_by_nothing(
    chat: Path, chat_tokenizer: Tokenizer, pairs_file: Path
) -> None:
    model = build_model(load_checkpoint(chat), torch.float32).train()
    objective = DirectPreference(config_of(pairs_file), model, torch.float32, False)
    batch = batch_of(chat_tokenizer, 2)
    loss, facts = objective.loss(batch, float(objective.count(batch)))
    assert facts["margin"] == facts["chosen_reward"] == facts["rejected_reward"] == 0.0
    assert float(loss.detach()) == pytest.approx(math.log(2), rel=1e-6)


def test_a_model_with_an_adapter_is_its_own_reference(chat: Path, chat_tokenizer: Tokenizer, pairs_file: Path) -> None:
    pytest.importorskip("peft")
    batch = batch_of(chat_tokenizer, 2)
    adapted, whole = (build_model(load_checkpoint(chat), torch.float32).train() for _ in range(2))
    add_lora(adapted, LoRAConfig(r=4), seed=0)
    objectives = [DirectPreference(config_of(pairs_file), model, torch.float32, False) for model in (adapted, whole)]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in adapted.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=generator) * 0.1)
    folded = copy.deepcopy(adapted)
    fold_adapter(folded)
    whole.load_state_dict(folded.state_dict())
    losses = [objective.loss(batch, float(objective.count(batch))) for objective in objectives]
    assert losses[0][1] == pytest.approx(losses[1][1], abs=1e-5) and losses[0][1]["margin"] != 0
    assert objectives[0]._reference is adapted  # no second copy of the weights


def test_smoothing_wants_a_finite_margin_and_ipo_a_given_one() -> None:
    margin = torch.linspace(-5, 30, 3501, dtype=torch.float64)
    zero = torch.zeros_like(margin)
    smoothed = preference_losses(margin, zero, loss="sigmoid", beta=0.5, label_smoothing=0.1)
    assert float(margin[smoothed.argmin()]) == pytest.approx(math.log(9) / 0.5, abs=0.02)
    ipo = preference_losses(margin, zero, loss="ipo", beta=0.1)
    assert float(margin[ipo.argmin()]) == pytest.approx(5.0, abs=0.01)


def test_a_run_learns_the_pairs_and_writes_a_chat_model(chat: Path, pairs_file: Path, tmp_path: Path) -> None:
    config = config_of(pairs_file, {"steps": 25, "optimizer": {"lr": 3e-3}, "log_every": 5})
    with Ranks(1) as ranks:
        metrics = train_dpo(config, seed=0, policy=chat, out=tmp_path / "out", work=tmp_path / "work", ranks=ranks)
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["accuracy"] == 1.0 and rows[-1]["margin"] > 1 and rows[-1]["loss"] < rows[0]["loss"] / 2
    assert metrics["pairs"] == 24 and json.loads((tmp_path / "out" / "data.json").read_text())["pairs"] == 24
    assert load_checkpoint(tmp_path / "out").config == load_checkpoint(chat).config
    assert Tokenizer.load(tmp_path / "out").chat_template == Tokenizer.load(chat).chat_template


def arguments_of(config: DPOConfig, chat: Path, tokenizer: Tokenizer, work: Path) -> dict[str, Any]:
    work.mkdir()
    documents, _, _ = tokenize_pairs(PAIRS, tokenizer, longest=128)
    for name in ("tokens", "offsets", "trained", "splits"):
        np.save(work / f"{name}.npy", getattr(documents, name))
    return {"config": config.model_dump(), "seed": 0, "policy": str(chat), "work": str(work), "data": {}}


def ranked(group: Group, *, arguments: dict[str, Any], progress: Progress = silent) -> list[list[float]]:
    """The trained weights as lists; importable, so that ranks can run it."""
    return [p.flatten().tolist() for p in train_dpo_rank(group, **arguments, progress=progress)[0].parameters()]


def test_two_ranks_equal_one(chat: Path, chat_tokenizer: Tokenizer, pairs_file: Path, tmp_path: Path) -> None:
    found = []
    for world in (1, 2):
        arguments = arguments_of(config_of(pairs_file), chat, chat_tokenizer, tmp_path / str(world))
        with Ranks(world) as ranks:
            found.append(ranks.run(ranked, {"arguments": arguments}))
    assert largest_difference(*found) < 1e-5


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(
    chat: Path, chat_tokenizer: Tokenizer, pairs_file: Path, tmp_path: Path
) -> None:
    config = config_of(pairs_file, {"steps": 6, "checkpoint_every": 2, "log_every": 1})

    def stop(done: float, total: float, **facts: float | str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = arguments_of(config, chat, chat_tokenizer, tmp_path / "whole")
    cut = arguments_of(config, chat, chat_tokenizer, tmp_path / "cut")
    expected = weights(train_dpo_rank(Group(), **whole, progress=silent)[0])
    with pytest.raises(KeyboardInterrupt):
        train_dpo_rank(Group(), **cut, progress=stop)
    # The reference of the run that goes on is the initial model, not the checkpoint.
    assert equal(weights(train_dpo_rank(Group(), **cut, progress=silent)[0]), expected)


def test_smoothing_is_refused_where_it_means_nothing(pairs_file: Path) -> None:
    with pytest.raises(ValidationError, match="label_smoothing is for the sigmoid loss"):
        config_of(pairs_file, loss="ipo", label_smoothing=0.1)
