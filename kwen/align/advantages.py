"""Rewards and advantages of policy-gradient methods, as functions of padded tensors.

Legend: N answers, R sampled tokens of the longest one. Every tensor is float32 (N, R) unless said, with a bool mask of the same
shape; the tokens that a tool wrote are not in it at all, so a recursion steps over them.
"""

from typing import Literal

import torch
from torch import Tensor

from kwen.train.parallel import Group

KL = Literal["k1", "k2", "k3"]


def kl_estimate(logprobs: Tensor, reference: Tensor, kind: KL = "k1") -> Tensor:
    """KL(policy || reference) of each sampled token, by estimator (Schulman, "Approximating KL divergence").

    With d = logprob - reference logprob: k1 is d, unbiased; k2 is d^2 / 2, of low variance; k3 is exp(-d) - 1 + d, both.
    """
    difference = logprobs - reference
    if kind == "k1":
        return difference
    if kind == "k2":
        return 0.5 * difference.square()
    return torch.exp(-difference) - 1 + difference


def token_rewards(scores: Tensor, kl: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """Minus `coefficient` times the KL at every token, and at the last one of an answer its score (N,) as well."""
    rewards = torch.where(mask, -coefficient * kl, 0.0)
    last = mask.sum(dim=1) - 1
    rows = (last >= 0).nonzero()[:, 0]
    rewards[rows, last[rows]] += scores[rows]
    return rewards


def generalized_advantages(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns by GAE (arXiv 1506.02438, eq. 16); the value at t was read before token t.

    What lies past the end is worth 0. Returns are advantages plus values, before any whitening.
    """
    advantages = torch.zeros_like(rewards)
    following, next_value = rewards.new_zeros(len(rewards)), rewards.new_zeros(len(rewards))
    for t in reversed(range(rewards.shape[1])):
        here = mask[:, t]
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(here, delta + gamma * lam * following, following)
        next_value = torch.where(here, values[:, t], next_value)
        advantages[:, t] = torch.where(here, following, 0.0)
    return advantages, torch.where(mask, advantages + values, 0.0)


def whiten(values: Tensor, mask: Tensor, group: Group) -> Tensor:
    """`values` less their mean, over their standard deviation, both over the masked tokens of all ranks."""
    count, total, squares = _sums(values[mask], group)
    mean = total / count.clamp(min=1)
    variance = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
    return torch.where(mask, (values - mean.float()) / (variance.float() + 1e-8).sqrt(), 0.0)


def centred(scores: Tensor, samples: int) -> Tensor:
    """Scores (N,) less the mean of the `samples` answers to the same query, which stand side by side.

    Pairs teach a reward model differences between answers to one prompt; its level from one prompt to the next is left to chance
    (the Bradley-Terry likelihood does not see it), and where it differs more than answers do it drowns them.
    """
    groups = scores.view(-1, samples)
    return (groups - groups.mean(dim=1, keepdim=True)).flatten()


class RunningMoments:
    """Mean and standard deviation of all scores so far, over all ranks; they are part of a run's state."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0

    def update(self, scores: Tensor, group: Group) -> tuple[float, float]:
        """Take in this rank's scores (N,); the mean and standard deviation of this batch alone, over all ranks."""
        count, total, squares = _sums(scores, group).tolist()
        mean = total / count
        batch_squares = max(squares - count * mean * mean, 0.0)
        change, whole = mean - self.mean, self.count + count
        self.squares += batch_squares + change * change * self.count * count / whole
        self.mean += change * count / whole
        self.count = whole
        return mean, (batch_squares / count) ** 0.5

    @property
    def deviation(self) -> float:
        """The standard deviation; 1 before there are two scores."""
        return (self.squares / self.count) ** 0.5 if self.count > 1 and self.squares > 0 else 1.0

    def state(self) -> dict[str, float]:
        """The moments as plain numbers."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load(self, state: dict[str, float]) -> None:
        """Take up what `state` gave."""
        self.count, self.mean, self.squares = state["count"], state["mean"], state["squares"]


def _sums(values: Tensor, group: Group) -> Tensor:
    """Count, sum and sum of squares of `values` over all ranks, float64 (3,)."""
    wide = values.double()
    return group.add(torch.stack((torch.ones_like(wide).sum(), wide.sum(), wide.square().sum())))
