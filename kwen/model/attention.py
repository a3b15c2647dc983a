"""Causal attention that knows documents and a cache of keys and values.

Legend: B batch, T new tokens, M cached positions, S cache slots, H query heads, K key/value heads, E head dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kwen.model.config import ModelConfig

_BUCKET = 32  # cached positions are read in multiples of this, so that shapes repeat and little is read in vain


class KVCache:
    """Keys and values of `slots` sequences, (S, K, M, E) a layer; the token at position p of a slot lies at index p.

    A query at position p reads indices 0 to p of its slot, so what lies beyond (right padding, an earlier sequence in the
    same slot) is never seen and needs no clearing.
    """

    def __init__(
        self, config: ModelConfig, slots: int, max_length: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        shape = (slots, config.num_key_value_heads, max_length, config.head_dim)
        self.slots, self.max_length = slots, max_length
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]

    def copy(self, sources: list[int], targets: list[int], length: int) -> None:
        """Copy positions 0 to `length` - 1 of each slot of `sources` to the slot of `targets` that stands beside it.

        No slot is both a source and a target.
        """
        for store in self.keys + self.values:
            for source, target in zip(sources, targets, strict=True):
                store[target, :, :length].copy_(store[source, :, :length])


class CacheView:
    """One forward pass's use of a KVCache: which slots, which positions, how far to read, and the mask."""

    def __init__(self, cache: KVCache, positions: Tensor, slots: Tensor | None) -> None:
        self.cache, self.positions = cache, positions
        self.leading = slots is None  # rows 0 to B-1 use the slots of the same numbers and are read as views
        self.slots = torch.arange(positions.shape[0], device=positions.device) if slots is None else slots
        furthest = int(positions.max()) + 1
        if furthest > cache.max_length:
            raise ValueError(f"position {furthest - 1} does not fit a cache of {cache.max_length}")
        self.length = min(-(-furthest // _BUCKET) * _BUCKET, cache.max_length)
        indices = torch.arange(self.length, device=positions.device)
        self.mask = indices <= positions[:, None, :, None]  # (B, 1, T, M)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k, v (B, K, T, E) at their positions; return the slots' keys and values (B, K, M, E)."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        rows = self.slots[:, None]
        keys[rows, :, self.positions] = k.transpose(1, 2).to(keys.dtype)
        values[rows, :, self.positions] = v.transpose(1, 2).to(values.dtype)
        if self.leading:
            B = k.shape[0]
            return keys[:B, :, : self.length], values[:B, :, : self.length]
        return keys[self.slots, :, : self.length], values[self.slots, :, : self.length]


def document_mask(documents: Tensor, seen_by: Tensor | None = None) -> Tensor:
    """(B, 1, T, T) bool: a token sees itself and earlier tokens of its own document; `documents` is (B, T) ids.

    seen_by: (B, T), which other document continues from a token and sees it too; an id that no document has for none.
    """
    T = documents.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=documents.device).tril()
    seen = documents[:, :, None] == documents[:, None, :]
    if seen_by is not None:
        seen = seen | (documents[:, :, None] == seen_by[:, None, :])
    return seen[:, None] & causal


def document_positions(documents: Tensor, seen_by: Tensor | None = None) -> Tensor:
    """(B, T) positions that start again at 0 with each document, or go on from the tokens that the document continues from.

    Documents are runs of equal ids; `seen_by` is as in `document_mask`.
    """
    T = documents.shape[1]
    index = torch.arange(T, device=documents.device).expand_as(documents)
    starts = torch.ones_like(documents, dtype=torch.bool)
    starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
    own = index - torch.where(starts, index, 0).cummax(dim=1).values
    return own if seen_by is None else own + (documents[:, :, None] == seen_by[:, None, :]).sum(dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention of q (B, H, T, E) over k, v (B, K, M, E); causal where `mask` is None. (B, H, T, E)"""
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """The same as two matrix products and a softmax, with an additive `bias` (B, 1, T, M) of 0 and minus infinity.

    For training on a CPU at short lengths: fused by torch.compile it beats the flash kernel there (docs/log.md).
    """
    heads, groups = q.shape[1], q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5 + bias
    assert scores.shape[1] == heads
    return scores.float().softmax(dim=-1).to(v.dtype) @ v
