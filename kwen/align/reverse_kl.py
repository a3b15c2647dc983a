"""KL(student || teacher) of next-token distributions over the whole vocabulary, exact, without the logits of a batch.

The logits of a chunk of tokens, their divergence and its gradient are made at once; only gradients by the student's hidden
states and projection are kept.
Legend: N tokens, D and U hidden sizes of student and teacher, V vocabulary.
"""

import torch
from torch import Tensor

from kwen.train.loss import CHUNK


class _LinearReverseKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, teacher_hidden, teacher_weight, scale, temperature, dtype):  # noqa: ANN001, ANN205
        low, low_weight, low_teacher, low_teacher_weight = (
            part.to(dtype) for part in (hidden, weight, teacher_hidden, teacher_weight)
        )
        divergence = hidden.new_empty(len(hidden), dtype=torch.float32)
        hidden_gradient = torch.empty_like(low)
        weight_gradient = torch.zeros_like(low_weight, dtype=torch.float32)
        for start in range(0, len(low), CHUNK):
            part = slice(start, start + CHUNK)
            student = ((low[part] @ low_weight.T).float() / temperature).log_softmax(dim=-1)
            teacher = ((low_teacher[part] @ low_teacher_weight.T).float() / temperature).log_softmax(dim=-1)
            difference, chances = student - teacher, student.exp()
            divergence[part] = (chances * difference).sum(dim=-1)
            # By a logit z: chance * (log(student / teacher) - divergence).
            gradient = (chances * (difference - divergence[part, None]) * (scale / temperature)).to(dtype)
            hidden_gradient[part] = gradient @ low_weight
            weight_gradient += gradient.T @ low[part]
        ctx.save_for_backward(hidden_gradient.to(hidden.dtype), weight_gradient.to(weight.dtype))
        ctx.mark_non_differentiable(divergence)
        return divergence.sum() * scale, divergence

    @staticmethod
    def backward(ctx, gradient: Tensor, _: Tensor):  # noqa: ANN001, ANN205
        by_hidden, by_weight = ctx.saved_tensors
        return by_hidden * gradient, by_weight * gradient, None, None, None, None, None


def linear_reverse_kl(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    scale: float,
    temperature: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """`scale` times the sum over tokens of KL(student || teacher), a scalar, and the KL of each token (N,), in nats, float32.

    hidden (N, D), weight (V, D): the student's, by which the sum can be differentiated. teacher_hidden (N, U), teacher_weight
    (V, U). temperature: divides both logits. dtype: of the products.
    """
    return _LinearReverseKL.apply(hidden, weight, teacher_hidden, teacher_weight, scale, temperature, dtype)
