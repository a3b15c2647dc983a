"""What a request changes in its logits before a token is drawn: penalties, biases, stop tokens that may not come yet.

In this order: repetition penalty over prompt and answer (CTRL, Keskar et al. 2019: positive logits divided, negative multiplied);
presence and frequency penalty over the answer (OpenAI's definition: minus presence, minus frequency times the count); bias;
minimum length.
"""

import math
from collections import Counter

import torch
from torch import Tensor

from kwen.engine.request import Request


def adjust(scores_V: Tensor, request: Request) -> None:
    """Change one row of logits, float32 (V,), in place."""
    params = request.params
    if params.repetition_penalty != 1:
        seen = _ids({*request.prompt, *request.token_ids}, scores_V)
        values = scores_V[seen]
        scores_V[seen] = torch.where(values > 0, values / params.repetition_penalty, values * params.repetition_penalty)
    if params.presence_penalty or params.frequency_penalty:
        counts = Counter(request.token_ids)
        said = _ids(counts, scores_V)
        times = torch.tensor([counts[token] for token in counts], dtype=torch.float32, device=scores_V.device)
        scores_V[said] -= params.presence_penalty + params.frequency_penalty * times
    if params.logit_bias:
        biased = _ids([token for token, _ in params.logit_bias], scores_V)
        scores_V[biased] += torch.tensor([bias for _, bias in params.logit_bias], device=scores_V.device)
    if len(request.token_ids) < params.min_new_tokens:
        scores_V[_ids(request.stop_token_ids, scores_V)] = -math.inf


def _ids(tokens: object, like: Tensor) -> Tensor:
    return torch.tensor([*tokens], dtype=torch.int64, device=like.device)  # type: ignore[misc]
