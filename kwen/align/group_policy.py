"""Policy gradients without a value model: an answer is measured against the other answers to its query.

Legend: N answers, R sampled tokens of the longest one; answers to one query stand side by side.
"""

from typing import Literal

import torch
from torch import Tensor

Variant = Literal["grpo", "gspo", "dapo", "cispo"]

CLIPS: dict[Variant, tuple[float, float]] = {
    "grpo": (0.2, 0.2),
    "gspo": (3e-4, 4e-4),  # its paper, section 5.1
    "dapo": (0.2, 0.28),  # its paper, section 3.1: the upper bound is the higher one
    "cispo": (1.0, 4.0),  # no lower bound (its paper, section 3.1); at most 5, of the range that arXiv 2510.13786 found alike
}
"""How far a ratio may fall below 1 and rise above it, by variant."""

_ANSWER_MEAN: tuple[Variant, ...] = ("grpo", "gspo")


def group_advantages(scores: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Advantages (N,) of `scores` (N,), and whether all answers of the group have one score, bool (N,).

    Score less the group's mean, over the group's standard deviation (arXiv 2402.03300, section 4.1.2), of `samples` answers.
    """
    groups = scores.view(-1, samples)
    advantages = (groups - groups.mean(dim=1, keepdim=True)) / (groups.std(dim=1, keepdim=True) + 1e-4)
    equal = (groups == groups[:, :1]).all(dim=1, keepdim=True).expand_as(groups)
    return torch.where(equal, 0.0, advantages).flatten(), equal.flatten()


def group_policy_loss(
    variant: Variant,
    new: Tensor,
    old: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    low: float,
    high: float,
    answers: float,
    tokens: float,
    penalty: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """This part's share of the loss, a scalar, and where the clip binds, bool (N, R).

    With the ratio r = exp(new - old) of a token, its answer's advantage A, and clip(r) in [1 - low, 1 + high]:
      grpo   -min(r A, clip(r) A), the mean of each answer, then the mean over answers (arXiv 2402.03300, eq. 3)
      gspo   the same, r being the geometric mean of the answer's ratios (arXiv 2507.18071, eq. 5 and 7)
      dapo   grpo's with high > low, a mean over all tokens of the batch alike (arXiv 2503.14476, eq. 8)
      cispo  -sg(clip(r)) A new, no token without a gradient; a mean over all tokens (arXiv 2506.13585, eq. 4 and 5)
    new, old: logprobs (N, R); advantages (N,); mask (N, R) is false past an answer's end. answers, tokens: how many the batch
    has over all parts and ranks, so that the shares add up to the mean. penalty: (N, R), added to each token's loss.
    """
    log_ratio = torch.where(mask, new - old, 0.0)
    lengths = mask.sum(dim=1, keepdim=True).clamp(min=1)
    if variant == "gspo":
        log_ratio = (log_ratio.sum(dim=1, keepdim=True) / lengths).expand(mask.shape)
    ratio, gain = log_ratio.exp(), advantages[:, None]
    clipped = ratio.clamp(1 - low, 1 + high)
    if variant == "cispo":
        losses, binds = -clipped.detach() * gain * new, ratio != clipped
    else:
        losses, binds = -torch.minimum(ratio * gain, clipped * gain), ratio * gain > clipped * gain
    weights = 1 / (answers * lengths) if variant in _ANSWER_MEAN else torch.full_like(lengths, 1 / tokens, dtype=new.dtype)
    return (torch.where(mask, losses + penalty, 0.0) * weights).sum(), binds & mask
