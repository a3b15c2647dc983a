"""Group advantages and each variant's loss against its formula written out, number by number."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.align.group_policy import CLIPS, Variant, group_advantages, group_policy_loss

LENGTHS = [3, 1, 5, 2]


def example(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """New and old logprobs with ratios on both sides of every clip, advantages of both signs, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(5) < torch.tensor(LENGTHS)[:, None]
    old = -torch.rand(4, 5, generator=generator) * 3
    new = (old + 2 * torch.randn(4, 5, generator=generator)).requires_grad_()
    return new, old, torch.randn(4, generator=generator), mask


def written_out(variant: Variant, new: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor) -> torch.Tensor:
    """The loss as its paper has it, token by token in Python."""
    low, high = CLIPS[variant]
    answers, flat = [], []
    for i, length in enumerate(LENGTHS):
        ratios = [torch.exp(new[i, t] - old[i, t]) for t in range(length)]
        if variant == "gspo":
            ratios = [torch.exp(sum(new[i, t] - old[i, t] for t in range(length)) / length)] * length  # type: ignore[arg-type]
        losses = []
        for t, ratio in enumerate(ratios):
            clipped = torch.clamp(ratio, 1 - low, 1 + high)
            if variant == "cispo":
                losses.append(-clipped.detach() * advantages[i] * new[i, t])
            else:
                losses.append(-torch.minimum(ratio * advantages[i], clipped * advantages[i]))
        answers.append(torch.stack(losses).mean())
        flat += losses
    return torch.stack(answers).mean() if variant in ("grpo", "gspo") else torch.stack(flat).mean()


@pytest.mark.parametrize("variant", ["grpo", "gspo", "dapo", "cispo"])
def test_loss_and_gradient_equal_the_papers_formula(variant: Variant) -> None:
    new, old, advantages, mask = example(0)
    low, high = CLIPS[variant]
    loss, clipped = group_policy_loss(
        variant, new, old, advantages, mask, low=low, high=high, answers=4, tokens=float(mask.sum())
    )
    expected = written_out(variant, new, old, advantages)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    found, wanted = torch.autograd.grad(loss, new)[0], torch.autograd.grad(expected, new)[0]
    assert torch.allclose(found, wanted, atol=1e-6)
    assert not found[~mask].any() and not clipped[~mask].any() and clipped.any()
    if variant == "cispo":
        assert (found[mask] != 0).all()  # no token without a gradient
    elif variant != "gspo":
        assert not found[clipped].any()


@pytest.mark.parametrize("variant", ["grpo", "gspo", "dapo", "cispo"])
def test_parts_add_up_to_the_whole_and_padding_is_nothing(variant: Variant) -> None:
    new, old, advantages, mask = example(1)
    penalty = torch.where(mask, 0.1, float("nan"))
    settings = {"low": 0.2, "high": 0.3, "answers": 4.0, "tokens": float(mask.sum())}
    whole, _ = group_policy_loss(variant, new, old, advantages, mask, penalty=penalty, **settings)
    parts = 0.0
    for i, length in enumerate(LENGTHS):
        row = (new[i : i + 1, :length], old[i : i + 1, :length], advantages[i : i + 1], mask[i : i + 1, :length])
        parts += float(group_policy_loss(variant, *row, penalty=0.1, **settings)[0].detach())
    assert float(whole.detach()) == pytest.approx(parts, abs=1e-6)


@pytest.mark.parametrize("variant", ["grpo", "gspo", "dapo", "cispo"])
def test_at_ratio_one_every_variant_has_the_policy_gradient(variant: Variant) -> None:
    new, _, advantages, mask = example(2)
    low, high = CLIPS[variant]
    loss, clipped = group_policy_loss(
        variant, new, new.detach(), advantages, mask, low=low, high=high, answers=4, tokens=float(mask.sum())
    )
    [found] = torch.autograd.grad(loss, new)
    lengths = torch.tensor(LENGTHS)[:, None]
    weights = 1 / (4.0 * lengths) if variant in ("grpo", "gspo") else torch.full((4, 1), 1 / float(mask.sum()))
    assert torch.allclose(found, torch.where(mask, -advantages[:, None] * weights, 0.0), atol=1e-6)
    assert not clipped.any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=8, max_size=8))
def test_advantages_are_standard_scores_within_the_group(scores: list[float]) -> None:
    advantages, equal = group_advantages(torch.tensor(scores), 4)
    for start in (0, 4):
        group = scores[start : start + 4]
        mean = sum(group) / 4
        deviation = math.sqrt(sum((score - mean) ** 2 for score in group) / 3)
        same = len(set(group)) == 1
        assert equal[start : start + 4].tolist() == [same] * 4
        expected = [0.0 if same else (score - mean) / (deviation + 1e-4) for score in group]
        assert advantages[start : start + 4].tolist() == pytest.approx(expected, abs=1e-5)
