"""What quantising costs: perplexity and the share of equal first choices on held-out text, by plain forward passes.

Legend: R rows, T tokens of a row, V vocabulary, N predicted tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kwen.model.transformer import Transformer
from kwen.progress import Progress, silent

_PROJECTED_NUMBERS = 2**24
"""Logits held at once (64 MiB in float32), whatever the vocabulary."""


@dataclass(frozen=True)
class Reading:
    """How a model read a text: nats, the sum over its N predicted tokens; choices (N,), the token it held likeliest at each."""

    nats: float
    choices: Tensor

    @property
    def perplexity(self) -> float:
        """exp of the mean nats of a token."""
        return math.exp(self.nats / len(self.choices))

    def agreement(self, original: "Reading") -> float:
        """The share of tokens at which both models hold the same one likeliest."""
        return float((self.choices == original.choices).double().mean())


@torch.inference_mode()
def read_rows(model: Transformer, rows: Tensor, progress: Progress = silent) -> Reading:
    """`model` on the token ids `rows` (R, T), T > 1: every token of a row but its first is predicted from those before it."""
    nats, choices = 0.0, []
    device = model.model.embed_tokens.weight.device
    step = max(1, _PROJECTED_NUMBERS // model.config.vocab_size)
    for number, row in enumerate(rows.to(device)):
        hidden = model.hidden(row[None])[0]
        for first in range(0, len(row) - 1, step):
            targets = row[first + 1 : first + 1 + step]
            logits = model.project(hidden[first : first + len(targets)]).float()
            nats += float(cross_entropy(logits, targets, reduction="none").double().sum())
            choices.append(logits.argmax(dim=-1).cpu())
        progress(number + 1, len(rows), perplexity=math.exp(nats / sum(map(len, choices))))
    return Reading(nats, torch.cat(choices))
