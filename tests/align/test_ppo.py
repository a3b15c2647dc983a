"""PPO on a tiny family: what must hold exactly, and a problem whose best answer is known."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_family import Family

from kwen.align import ppo
from kwen.align.ppo import PPO, PPOConfig, reinforce, reinforce_rank
from kwen.align.rollouts import Rollout, pack_rollouts, rollout_logprobs, rollout_values
from kwen.errors import UserError
from kwen.model.formats.load import load_checkpoint
from kwen.progress import Progress, silent
from kwen.train.loop import NextToken
from kwen.train.parallel import Group, Ranks

SMALL: dict[str, Any] = {
    "steps": 3, "warmup_steps": 2, "queries": 4, "samples": 2, "sequence_length": 96, "max_new_tokens": 12,
    "precision": "float32", "policy": {"lr": 1e-3}, "value": {"lr": 1e-3}, "rows_at_once": 2,
}  # fmt: skip


def settings_of(family: Family, **changes: Any) -> dict[str, Any]:
    return {**SMALL, "data": [{"kind": "messages", "path": str(family.queries)}], **changes}


def run_of(family: Family, work: Path, **changes: Any) -> PPO:
    config = PPOConfig(**settings_of(family, **changes))
    shards = family.shards if config.pretrain_coefficient else None
    return PPO(config, seed=0, policy=family.chat, reward=family.reward, shards=shards, work=work, group=Group())


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_first_policy_step_has_ratio_one_and_kl_zero(family: Family, tmp_path: Path) -> None:
    run = run_of(family, tmp_path, warmup_steps=0)
    facts = run.step(0)
    assert facts["ratio"] == pytest.approx(1.0, abs=1e-12)
    assert facts["kl"] == 0.0 and facts["drift"] == 0.0 and facts["policy_clipped"] == 0.0
    assert run.step(1)["kl"] != 0.0


def test_the_warm_up_leaves_the_policy_bit_for_bit_and_moves_the_value_model(family: Family, tmp_path: Path) -> None:
    run = run_of(family, tmp_path)
    before, value = weights(run.policy), weights(run.value)
    for step in range(2):
        facts = run.step(step)
        assert "policy_loss" not in facts
    assert equal(weights(run.policy), before) and not equal(weights(run.value), value)
    run.step(2)
    assert not equal(weights(run.policy), before)
    assert equal(weights(run.reference), before)


def test_where_answers_are_measured_against_each_other_values_start_from_zero(family: Family, tmp_path: Path) -> None:
    run = run_of(family, tmp_path, warmup_steps=0, centre_queries=True, kl_coefficient=0.0, unended_penalty=0.0)
    assert run.value.score is not None and not run.value.score.weight.any()
    facts = run.step(0)
    assert facts["return"] == pytest.approx(0.0, abs=0.5) and facts["explained_variance"] == pytest.approx(0.0, abs=1e-9)
    assert run.value.score.weight.any()
    assert run_of(family, tmp_path).value.score is not None and run_of(family, tmp_path).value.score.weight.any()  # type: ignore[union-attr]


def test_the_pretraining_gradient_adds_exactly(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[float, dict[str, torch.Tensor]] = {}

    def gradients(coefficient: float) -> dict[str, torch.Tensor]:
        run = run_of(family, tmp_path, warmup_steps=0, pretrain_coefficient=coefficient)

        def keep(step: int) -> float:
            seen[coefficient] = {name: p.grad.clone() for name, p in run.policy.named_parameters() if p.grad is not None}
            return 1.0

        monkeypatch.setattr(run, "update", keep)
        run.step(0)
        return seen[coefficient]

    without, with_it = gradients(0.0), gradients(0.25)
    run = run_of(family, tmp_path, pretrain_coefficient=0.25)
    assert run.pretraining is not None
    objective = NextToken(run.policy, torch.float32, False)
    batch = run.pretraining(0)
    objective.loss(batch, float(objective.count(batch)))[0].backward()
    for name, p in run.policy.named_parameters():
        assert p.grad is not None
        assert torch.allclose(with_it[name], without[name] + 0.25 * p.grad, atol=1e-7), name


def test_packing_changes_nothing(family: Family, tmp_path: Path) -> None:
    run = run_of(family, tmp_path)
    rollouts = [
        Rollout(0, list(range(5, 5 + n)), [False] * 3 + [True] * (n - 3), True, "") for n in (9, 4, 30, 12, 17)
    ]
    together = pack_rollouts(rollouts, range(5), 48, 8)
    assert len(together) == 1
    for number in range(5):
        [alone] = pack_rollouts(rollouts, [number], 64, 1)
        row, length = together[0].rollouts.index(number), rollouts[number].length
        for read in (
            lambda pack: rollout_logprobs(run.policy, pack, 1.0, torch.float32)[0],
            lambda pack: rollout_values(run.value, pack, torch.float32),
        ):
            packed = read(together[0])[row]
            assert torch.allclose(packed[:length], read(alone)[0], atol=1e-5)
            assert not packed[length:].any()


def test_tokens_of_a_tool_are_neither_trained_nor_counted(family: Family, tmp_path: Path) -> None:
    rollout = Rollout(0, [7, 8, 9, 10, 11, 12], [False, True, True, False, False, True], True, "")
    [pack] = pack_rollouts([rollout], [0], 8, 1)
    assert pack.targets.tolist() == [[8, 9, 12]] and pack.places.tolist() == [[0, 1, 4]]
    assert rollout.length == 3


@pytest.mark.parametrize("rows_at_once", [1, 8])
def test_micro_batches_change_nothing(family: Family, tmp_path: Path, rows_at_once: int) -> None:
    runs = [run_of(family, tmp_path, warmup_steps=0, rows_at_once=rows) for rows in (2, rows_at_once)]
    for run in runs:
        run.step(0)
    for a, b in zip(weights(runs[0].policy), weights(runs[1].policy), strict=True):
        assert torch.allclose(a, b, atol=2e-5)


def ranked(group: Group, *, arguments: dict[str, Any], progress: Progress = silent) -> list[list[float]]:
    """The trained policy's weights as lists; importable, so that ranks can run it."""
    model, _, _ = reinforce_rank(group, **arguments, progress=progress)
    return [p.flatten().tolist() for p in model.parameters()]


def test_two_ranks_equal_one(family: Family, tmp_path: Path) -> None:
    found = []
    for world in (1, 2):
        work = tmp_path / str(world)
        work.mkdir()
        # A large eps keeps an update in proportion to its gradient: else a rounding error of a tiny one is a whole step.
        slow = {"policy": {"lr": 1e-3, "eps": 1e-2}, "value": {"lr": 1e-3, "eps": 1e-2}}
        config = settings_of(family, pretrain_coefficient=0.1, steps=2, warmup_steps=1, minibatches=2, **slow)
        places = {"policy": str(family.chat), "reward": str(family.reward), "shards": str(family.shards), "work": str(work)}
        with Ranks(world) as ranks:
            found.append(ranks.run(ranked, {"arguments": {"config": config, "seed": 0, **places}}))
    assert max(abs(x - y) for a, b in zip(*found, strict=True) for x, y in zip(a, b, strict=True)) < 1e-5


def test_an_interrupted_run_ends_bit_for_bit_as_one_that_was_not(family: Family, tmp_path: Path) -> None:
    def trained(work: Path, stop_after: int | None) -> list[torch.Tensor]:
        def stop(done: float, total: float, **facts: float | str) -> None:
            if done == stop_after:
                raise KeyboardInterrupt

        run = run_of(family, work, checkpoint_every=2, pretrain_coefficient=0.1)
        return weights(run.train(stop)[0])

    whole = trained(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", 3)
    assert equal(trained(tmp_path / "cut", None), whole)
    logs = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_problem_with_a_known_optimum_is_solved(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward is 1 for an answer whose last token is below 40: the policy learns to end with such a token."""

    def score(model: torch.nn.Module, rows: list[list[int]]) -> list[float]:
        return [float(row[-2] < 40) + 1e-6 * len(row) for row in rows]

    monkeypatch.setattr(ppo, "score_rows", score)
    run = run_of(
        family, tmp_path, warmup_steps=0, steps=60, queries=8, samples=4, max_new_tokens=2, kl_coefficient=0.0, epochs=2,
        policy={"lr": 1e-2, "weight_decay": 0.0}, value={"lr": 1e-2, "weight_decay": 0.0}, top_p=1.0,
    )  # fmt: skip
    scores = [run.step(step)["score"] for step in range(60)]
    assert scores[0] < 0.3 and sum(scores[-5:]) / 5 > 0.9


def test_the_chat_model_is_written_with_its_samples_and_curve(family: Family, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with Ranks(1) as ranks:
        metrics = reinforce(
            PPOConfig(**settings_of(family)), seed=0, policy=family.chat, reward=family.reward, out=out, work=tmp_path / "work",
            ranks=ranks,
        )  # fmt: skip
    assert load_checkpoint(out).config == load_checkpoint(family.chat).config
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5] and metrics["queries"] > 4
    assert {"kl", "kl_token", "length", "score_length_correlation", "entropy", "ended", "explained_variance"} <= rows[-1].keys()
    samples = json.loads((out / "samples.json").read_text())
    assert samples and {"query", "before", "after", "score_before", "score_after"} == samples[0].keys()


def test_bad_runs_end_with_one_line(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="a language model where a reward model is needed"):
        config = PPOConfig(**settings_of(family))
        PPO(config, seed=0, policy=family.chat, reward=family.chat, shards=None, work=tmp_path, group=Group())
    with pytest.raises(UserError, match="no query of at most"):
        run_of(family, tmp_path, sequence_length=16, max_new_tokens=12)
    run = run_of(family, tmp_path, kl_stop=1e-9, warmup_steps=0, policy={"lr": 1.0})
    with pytest.raises(UserError, match="the KL of an answer burst"):
        run.train(silent)
    monkeypatch.setattr(ppo, "score_rows", lambda model, rows: [0.5] * len(rows))
    with pytest.raises(UserError, match="every answer the score 0.5"):
        run_of(family, tmp_path).step(0)
    monkeypatch.setattr(ppo, "score_rows", lambda model, rows: [float("nan")] * len(rows))
    with pytest.raises(UserError, match="scores that are no numbers"):
        run_of(family, tmp_path).step(0)
