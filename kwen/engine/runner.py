"""What the scheduler asks of whatever computes the model: one pass over a ragged batch, and a cache in blocks.

Legend: N new tokens of all sequences together, S sequences, G groups of layers, R rows (tokens whose logits are wanted), V
vocabulary.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from kwen.model.attention import BLOCK as BLOCK

CacheDtype = Literal["float32", "bfloat16", "int8"]
CACHE_DTYPES: dict[CacheDtype, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""What keys and values can be kept in; int8 with a scale for each position and head (report section 10.1)."""


@dataclass(frozen=True)
class Step:
    """One pass: the new tokens of several sequences one after the other.

    token_ids, positions: int32 (N,). starts: int32 (S + 1,), where each sequence's tokens begin, and N. tables: int32 (G, S,
    blocks), the cache blocks of each sequence, position p in block p // BLOCK, for each group of the model's `CacheLayout`;
    numbers of blocks that were given back can be anything. rows: int32 (R,), the tokens whose logits are wanted. lengths: int32
    (S,), how long each sequence is that its logits are to be for, which decides dynamic NTK's base.
    """

    token_ids: np.ndarray
    positions: np.ndarray
    starts: np.ndarray
    tables: np.ndarray
    rows: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class Logits:
    """Float32 logits (R, V), valid until the next pass, and of each row: best, the first largest one's token (int64); most, its
    value; log_sum, the logarithm of the sum of exp(logit - most)."""

    values: Tensor
    best: Tensor
    most: Tensor
    log_sum: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Logits":
        """From the logits alone."""
        most, best = values.max(dim=-1)
        return cls(values, best, most, (values - most[:, None]).exp().sum(dim=-1).log())

    def part(self, first: int, last: int) -> "Logits":
        """The rows [first, last), without a copy."""
        return Logits(*(one[first:last] for one in (self.values, self.best, self.most, self.log_sum)))

    def logprobs(self, tokens: Tensor) -> Tensor:
        """The logprob float32 (R,) of one token (int64) a row: full vocabulary, temperature 1."""
        return self.values.gather(1, tokens[:, None])[:, 0] - self.most - self.log_sum


class Runner(Protocol):
    """A model with a paged cache of keys and values.

    block_bytes: memory of one block in all layers of a group. batch_invariant: whether a row's logits have the same bits in any
    batch.
    """

    block_bytes: int
    batch_invariant: bool

    def reserve(self, blocks: int) -> None:
        """Make room for `blocks` blocks, numbers 0 to blocks - 1; what is in the cache stays."""

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block's keys and values."""

    def refresh(self) -> bool:
        """Take over weights that have changed since; whether any had, in which case what is in the cache is of no use."""

    def forward(self, step: Step) -> Logits:
        """Extend the cache by the step's tokens and give the logits of its rows."""
