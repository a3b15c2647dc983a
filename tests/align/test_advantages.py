"""Rewards and advantages against their definitions written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.align.advantages import RunningMoments, centred, generalized_advantages, kl_estimate, token_rewards, whiten
from kwen.train.parallel import Group


def brute_force(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    """Sums over all later steps of (gamma lam)^k delta, straight from the paper's definition."""
    n = len(rewards)
    deltas = [rewards[t] + gamma * (values[t + 1] if t + 1 < n else 0.0) - values[t] for t in range(n)]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, n)) for t in range(n)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([1.0, 0.9]), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_gae_equals_its_definition(seed: int, gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 7, (4,), generator=generator)
    mask = torch.arange(7) < lengths[:, None]
    rewards, values = (torch.where(mask, torch.randn(4, 7, generator=generator), 0.0) for _ in range(2))
    advantages, returns = generalized_advantages(rewards, values, mask, gamma, lam)
    for row, length in enumerate(lengths.tolist()):
        expected = brute_force(rewards[row, :length].tolist(), values[row, :length].tolist(), gamma, lam)
        assert advantages[row, :length].tolist() == pytest.approx(expected, abs=1e-5)
        targets = [e + v for e, v in zip(expected, values[row, :length].tolist(), strict=True)]
        assert returns[row, :length].tolist() == pytest.approx(targets, abs=1e-5)
        assert not advantages[row, length:].any() and not returns[row, length:].any()


def test_centred_scores_forget_how_high_a_query_is_scored() -> None:
    scores = torch.tensor([1.0, 3.0, -7.0, -5.0, 4.0, 4.0])
    assert centred(scores, 2).tolist() == [-1.0, 1.0, -1.0, 1.0, 0.0, 0.0]
    raised = scores + torch.tensor([9.0, 9.0, -2.0, -2.0, 0.0, 0.0])
    assert torch.equal(centred(raised, 2), centred(scores, 2))


def test_the_score_comes_at_the_last_token_and_the_kl_everywhere() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    kl = torch.full((3, 3), 0.5)
    rewards = token_rewards(torch.tensor([2.0, -1.0, 9.0]), kl, mask, 0.1)
    assert torch.allclose(rewards, torch.tensor([[-0.05, -0.05, 1.95], [-1.05, 0, 0], [0, 0, 0]]))


def test_estimators_agree_in_the_mean_and_are_zero_for_equal_models() -> None:
    generator = torch.Generator().manual_seed(1)
    p, q = (torch.randn(50, generator=generator).mul(0.3).log_softmax(0) for _ in range(2))
    exact = (p.exp() * (p - q)).sum()
    for kind, tolerance in (("k1", 1e-6), ("k3", 1e-6), ("k2", 0.02)):
        assert kl_estimate(p, p, kind).abs().max() == 0
        assert float((p.exp() * kl_estimate(p, q, kind)).sum()) == pytest.approx(float(exact), abs=tolerance)


def test_whitened_values_have_mean_zero_and_variance_one() -> None:
    generator = torch.Generator().manual_seed(2)
    values, mask = torch.randn(6, 9, generator=generator) * 3 + 5, torch.rand(6, 9, generator=generator) > 0.4
    white = whiten(values, mask, Group())
    assert abs(float(white[mask].mean())) < 1e-5
    assert float(white[mask].std(unbiased=False)) == pytest.approx(1, abs=1e-4)
    assert not white[~mask].any()


def test_running_moments_are_those_of_all_scores_so_far_and_resume() -> None:
    generator = torch.Generator().manual_seed(3)
    parts = [torch.randn(n, generator=generator) * n + 100 for n in (3, 1, 8)]
    moments = RunningMoments()
    for part in parts:
        mean, deviation = moments.update(part, Group())
        assert mean == pytest.approx(float(part.mean()), rel=1e-6)
        assert deviation == pytest.approx(float(part.double().std(unbiased=False)), rel=1e-4, abs=1e-9)
        again = RunningMoments()
        again.load(moments.state())
        moments = again
    together = torch.cat(parts).double()
    assert moments.mean == pytest.approx(float(together.mean()), rel=1e-9)
    assert moments.deviation == pytest.approx(float(together.std(unbiased=False)), rel=1e-9)
