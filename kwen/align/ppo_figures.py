"""What a PPO run tells of itself: the figures of each step over all ranks, and answers from before and after."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from kwen.align.reward import score_rows
from kwen.align.rollouts import Pack, Rollout, roll_out
from kwen.train.parallel import Group

if TYPE_CHECKING:
    from kwen.align.ppo import PPO

SAMPLES = 12
"""Queries whose answers are kept from before and after."""


def add_up(sums: Mapping[str, float], group: Group) -> dict[str, float]:
    """Every named sum over all ranks, which all give the same names."""
    names = sorted(sums)
    totals = group.add(torch.tensor([sums[name] for name in names], dtype=torch.float64, device=group.device)).tolist()
    return dict(zip(names, totals, strict=True))


def rollout_figures(
    rollouts: Sequence[Rollout],
    packs: Sequence[Pack],
    scores: Tensor,
    *,
    entropies: Sequence[Tensor],
    kls: Sequence[Tensor],
    values: Sequence[Tensor],
    returns: Sequence[Tensor],
    group: Group,
) -> dict[str, float]:
    """Of one step's answers: KL from the reference (nats an answer, and a token), entropy, length in tokens, how the score
    goes with the length, the shares that ended and that said nothing, and how well the values foretold the returns."""
    lengths = torch.tensor([float(rollout.length) for rollout in rollouts], device=scores.device)
    flat_returns = torch.cat([part[pack.mask] for part, pack in zip(returns, packs, strict=True)])
    errors = torch.cat([(r - v)[pack.mask] for r, v, pack in zip(returns, values, packs, strict=True)])
    sums = {
        "answers": float(len(rollouts)),
        "tokens": float(lengths.sum()),
        "ended": float(sum(rollout.ended for rollout in rollouts)),
        "empty": float(sum(not rollout.text.strip() for rollout in rollouts)),
        "kl": float(sum(kl.sum() for kl in kls)),
        "entropy": float(sum(part.sum() for part in entropies)),
    }
    pairs = {"score": (scores, lengths), "return": (flat_returns, errors)}
    for name, (x, y) in pairs.items():
        moments = {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}
        sums |= {f"{name}/{key}": float(value.double().sum()) for key, value in moments.items()}
    totals = add_up(sums, group)
    answers, tokens = totals["answers"], max(totals["tokens"], 1.0)
    (score_variance, length_variance, covariance), (return_variance, error_variance, _) = (
        _moments(totals, name, count) for name, count in (("score", answers), ("return", tokens))
    )
    varied = score_variance > 1e-12 and length_variance > 1e-12
    return {
        "kl": totals["kl"] / answers,
        "kl_token": totals["kl"] / tokens,
        "entropy": totals["entropy"] / tokens,
        "length": totals["tokens"] / answers,
        "score_length_correlation": covariance / math.sqrt(score_variance * length_variance) if varied else 0.0,
        "ended": totals["ended"] / answers,
        "empty": totals["empty"] / answers,
        "return": totals["return/x"] / tokens,
        "explained_variance": 1 - error_variance / return_variance if return_variance > 1e-12 else 0.0,
    }


def _moments(totals: Mapping[str, float], name: str, count: float) -> tuple[float, float, float]:
    """Variance of x, variance of y, covariance."""
    x, y, xx, yy, xy = (totals[f"{name}/{key}"] / count for key in ("x", "y", "xx", "yy", "xy"))
    return xx - x * x, yy - y * y, xy - x * y


def before_and_after(run: "PPO") -> list[dict[str, Any]]:
    """The first queries' likeliest answers by the reference (before) and the policy (after), with their scores."""
    prompts = list(enumerate(run.queries[:SAMPLES]))
    stops, longest = run.tokenizer.eos_token_ids, run.config.max_new_tokens
    answers = [
        roll_out(
            model, run.tokenizer, prompts, [0] * len(prompts), samples=1, max_new_tokens=longest, temperature=0.0, top_p=1.0,
            stop_token_ids=stops,
        )
        for model in (run.reference, run.policy)
    ]  # fmt: skip
    scores = [score_rows(run.reward, [run.as_scored(rollout) for rollout in part]) for part in answers]
    return [
        {
            "query": run.tokenizer.decode(token_ids),
            "before": answers[0][number].text,
            "after": answers[1][number].text,
            "score_before": scores[0][number],
            "score_after": scores[1][number],
        }
        for number, token_ids in prompts
    ]
