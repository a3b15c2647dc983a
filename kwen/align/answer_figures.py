"""What a run that learns from its own answers tells of them, over all ranks."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kwen.align.rollouts import Pack, Rollout
from kwen.train.parallel import Group


def add_up(sums: Mapping[str, float], group: Group) -> dict[str, float]:
    """Every named sum over all ranks, which all give the same names."""
    names = sorted(sums)
    totals = group.add(torch.tensor([sums[name] for name in names], dtype=torch.float64, device=group.device)).tolist()
    return dict(zip(names, totals, strict=True))


def answer_figures(
    rollouts: Sequence[Rollout],
    group: Group,
    *,
    scores: Tensor | None = None,
    packs: Sequence[Pack] = (),
    entropies: Sequence[Tensor] | None = None,
    kls: Sequence[Tensor] | None = None,
) -> dict[str, float]:
    """Of one step's answers: length in tokens, the shares that ended and that said nothing; and as far as given, the mean and
    deviation of `scores` (N,) and how they go with the length, and of `packs` (which may leave answers out) the entropy of a
    token, and the KL from the reference in nats an answer and a token. `entropies` and `kls`, one a pack, are 0 past the end."""
    lengths = torch.tensor([float(rollout.length) for rollout in rollouts], dtype=torch.float64)
    sums = {
        "answers": float(len(rollouts)),
        "tokens": float(lengths.sum()),
        "ended": float(sum(rollout.ended for rollout in rollouts)),
        "empty": float(sum(not rollout.text.strip() for rollout in rollouts)),
        "packed": float(sum(len(pack.rollouts) for pack in packs)),
        "packed_tokens": float(sum(pack.actions for pack in packs)),
        "entropy": float(sum(part.sum() for part in entropies or ())),
        "kl": float(sum(part.sum() for part in kls or ())),
    }
    if scores is not None:
        sums |= product_sums(scores.double().cpu(), lengths)
    totals = add_up(sums, group)
    answers, packed, tokens = (max(totals[name], 1.0) for name in ("answers", "packed", "packed_tokens"))
    figures = {name: totals[total] / answers for name, total in (("length", "tokens"), ("ended", "ended"), ("empty", "empty"))}
    if entropies is not None:
        figures["entropy"] = totals["entropy"] / tokens
    if kls is not None:
        figures |= {"kl": totals["kl"] / packed, "kl_token": totals["kl"] / tokens}
    if scores is not None:
        variance, of_length, covariance = moments(totals, answers)
        varied = variance > 1e-12 and of_length > 1e-12
        figures |= {
            "score": totals["x"] / answers,
            "score_deviation": math.sqrt(max(variance, 0.0)),
            "score_length_correlation": covariance / math.sqrt(variance * of_length) if varied else 0.0,
        }
    return figures


def product_sums(x: Tensor, y: Tensor) -> dict[str, float]:
    """The sums that `moments` reads, of float64 (N,) both."""
    parts = {"x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}
    return {name: float(part.sum()) for name, part in parts.items()}


def moments(totals: Mapping[str, float], count: float) -> tuple[float, float, float]:
    """Variance of x, variance of y, covariance."""
    x, y, xx, yy, xy = (totals[name] / count for name in ("x", "y", "xx", "yy", "xy"))
    return xx - x * x, yy - y * y, xy - x * y
