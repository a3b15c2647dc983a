"""The one loss reduction: cross-entropy summed over tokens, each weighted by one over the global count of trained tokens.

Because every token carries its final weight before anything is summed, the loss and its gradient are the same for any
micro-batch, accumulation, or number of ranks: contributions only add.

`linear_cross_entropy` never holds the logits of a batch. It takes the trained tokens alone, in chunks; for each chunk it makes
the logits, their loss and their gradient at once, and keeps only the gradients of the hidden states and of the projection.
`token_logprobs` gives each token's own logprob instead, for losses that are not a sum of logprobs; its backward pass makes the
logits of a chunk again.

Legend: N tokens, C tokens of a chunk, D hidden, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 512
ChunkFunction = Callable[[Tensor, Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor | None]]


def chunk_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, frozen: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Loss of one chunk, with its gradients by hidden (C, D) and, unless `frozen`, by weight (V, D); targets, weights (C,).

    Products run in the dtype of `hidden`, the softmax in float32.
    """
    logits = (hidden @ weight.T).float()
    logsumexp = logits.logsumexp(dim=-1, keepdim=True)
    target_logits = logits.gather(1, targets[:, None])
    loss = ((logsumexp - target_logits)[:, 0] * weights).sum()
    is_target = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    gradient = (((logits - logsumexp).exp() - is_target.float()) * weights[:, None]).to(hidden.dtype)
    return loss, gradient @ weight, None if frozen else gradient.T @ hidden


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype, chunk: ChunkFunction):  # noqa: ANN001, ANN205
        low, low_weight = hidden.to(dtype), weight.to(dtype)
        hidden_gradient = torch.empty_like(hidden)
        frozen = not ctx.needs_input_grad[1]
        weight_gradient = None if frozen else torch.zeros_like(weight)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            part_loss, part_hidden, part_weight = chunk(low[part], low_weight, targets[part], weights[part], frozen)
            loss += part_loss
            hidden_gradient[part] = part_hidden
            if weight_gradient is not None and part_weight is not None:
                weight_gradient += part_weight
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return loss

    @staticmethod
    def backward(ctx, scale: Tensor):  # noqa: ANN001, ANN205
        hidden_gradient, weight_gradient = ctx.saved_tensors
        by_weight = None if weight_gradient is None else weight_gradient * scale
        return hidden_gradient * scale, by_weight, None, None, None, None


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    chunk: ChunkFunction = chunk_loss,
) -> Tensor:
    """Sum over tokens of weights * cross-entropy of hidden @ weight.T, as a float32 scalar that can be differentiated.

    hidden (N, D), weight (V, D), targets (N,) ids, weights (N,) float32; tokens of weight 0 cost nothing.
    dtype: of the matrix products. chunk: `chunk_loss`, or the same compiled.
    """
    trained = weights.nonzero()[:, 0]
    pad = -len(trained) % CHUNK  # whole chunks, so that a compiled one sees a single shape; weight 0 adds nothing
    indices = torch.cat((trained, trained.new_zeros(pad)))
    chosen = torch.cat((weights[trained], weights.new_zeros(pad)))
    return _LinearCrossEntropy.apply(hidden.index_select(0, indices), weight, targets[indices], chosen, dtype, chunk)


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, dtype: torch.dtype):  # noqa: ANN001, ANN205
        low, low_weight = hidden.to(dtype), weight.to(dtype)
        logprobs, entropy = hidden.new_empty(len(hidden), dtype=torch.float32), hidden.new_empty(len(hidden), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            all_logprobs = ((low[part] @ low_weight.T).float() / temperature).log_softmax(dim=-1)
            logprobs[part] = all_logprobs.gather(1, targets[part, None])[:, 0]
            entropy[part] = -(all_logprobs.exp() * all_logprobs).sum(dim=-1)
        ctx.save_for_backward(low, low_weight, targets)
        ctx.temperature, ctx.dtypes = temperature, (hidden.dtype, weight.dtype)
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx, scale: Tensor, _: Tensor):  # noqa: ANN001, ANN205
        low, low_weight, targets = ctx.saved_tensors
        hidden_gradient = torch.empty_like(low)
        weight_gradient = torch.zeros_like(low_weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        for start in range(0, len(low), CHUNK):
            part = slice(start, start + CHUNK)
            gradient = -((low[part] @ low_weight.T).float() / ctx.temperature).softmax(dim=-1)
            gradient.scatter_add_(1, targets[part, None], torch.ones_like(gradient[:, :1]))
            gradient = (gradient * (scale[part, None] / ctx.temperature)).to(low.dtype)
            hidden_gradient[part] = gradient @ low_weight
            if weight_gradient is not None:
                weight_gradient += gradient.T @ low[part]
        own, of_weight = ctx.dtypes
        return hidden_gradient.to(own), None if weight_gradient is None else weight_gradient.to(of_weight), None, None, None


def token_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, temperature: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Logprobs of `targets` over the full vocabulary at `temperature`, and the entropy there; float32 (N,) both.

    hidden (N, D), weight (V, D), targets (N,) ids. The logprobs can be differentiated, the entropy not. dtype: of the products.
    """
    return _LinearLogprobs.apply(hidden, weight, targets, temperature, dtype)
