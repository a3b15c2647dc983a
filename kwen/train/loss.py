"""The one loss reduction: cross-entropy summed over tokens, each weighted by one over the global count of trained tokens.

Because every token carries its final weight before anything is summed, the loss and its gradient are the same for any
micro-batch, accumulation, or number of ranks: contributions only add.

`linear_cross_entropy` never holds the logits of a batch. It takes the trained tokens alone, in chunks; for each chunk it makes
the logits, their loss and their gradient at once, and keeps only the gradients of the hidden states and of the projection.

Legend: N tokens, C tokens of a chunk, D hidden, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

CHUNK = 512
ChunkFunction = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def chunk_loss(hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of one chunk, with its gradients by hidden (C, D) and weight (V, D); targets, weights (C,).

    Products run in the dtype of `hidden`, the softmax in float32.
    """
    logits = (hidden @ weight.T).float()
    logsumexp = logits.logsumexp(dim=-1, keepdim=True)
    target_logits = logits.gather(1, targets[:, None])
    loss = ((logsumexp - target_logits)[:, 0] * weights).sum()
    is_target = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]
    gradient = (((logits - logsumexp).exp() - is_target.float()) * weights[:, None]).to(hidden.dtype)
    return loss, gradient @ weight, gradient.T @ hidden


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, weights: Tensor, dtype: torch.dtype, chunk: ChunkFunction):  # noqa: ANN001, ANN205
        low, low_weight = hidden.to(dtype), weight.to(dtype)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight)
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], CHUNK):
            part = slice(start, start + CHUNK)
            part_loss, part_hidden, part_weight = chunk(low[part], low_weight, targets[part], weights[part])
            loss += part_loss
            hidden_gradient[part] = part_hidden
            weight_gradient += part_weight
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return loss

    @staticmethod
    def backward(ctx, scale: Tensor):  # noqa: ANN001, ANN205
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return hidden_gradient * scale, weight_gradient * scale, None, None, None, None


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
