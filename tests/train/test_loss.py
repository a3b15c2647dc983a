"""Logprobs of chosen tokens against the plain computation, values and gradients."""

import torch

from kwen.train.loss import CHUNK, token_logprobs


def test_logprobs_entropy_and_gradients_equal_the_plain_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    N, D, V, temperature = CHUNK + 37, 16, 50, 0.7
    hidden, weight = torch.randn(N, D, generator=generator), torch.randn(V, D, generator=generator)
    targets, scale = torch.randint(0, V, (N,), generator=generator), torch.randn(N, generator=generator)
    gradients = []
    for plain in (False, True):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        if plain:
            everything = (h @ w.T / temperature).log_softmax(dim=-1)
            logprobs, entropy = everything.gather(1, targets[:, None])[:, 0], -(everything.exp() * everything).sum(dim=-1)
        else:
            logprobs, entropy = token_logprobs(h, w, targets, temperature=temperature)
            assert not entropy.requires_grad
        (logprobs * scale).sum().backward()
        gradients.append((logprobs.detach(), entropy.detach(), h.grad, w.grad))
    for ours, theirs in zip(*gradients, strict=True):
        assert ours is not None and theirs is not None
        assert torch.allclose(ours, theirs, atol=2e-4)


def test_a_frozen_projection_gets_no_gradient() -> None:
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(11, 8)
    logprobs, _ = token_logprobs(hidden, weight, torch.tensor([1, 2, 3, 4]))
    logprobs.sum().backward()
    assert hidden.grad is not None and weight.grad is None
