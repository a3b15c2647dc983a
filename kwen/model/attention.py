"""Causal attention that knows documents and a cache of keys and values.

Legend: B batch, T new tokens, M cached positions, N cache blocks, H query heads, K key/value heads, E head dim.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from kwen.model.config import ModelConfig

BLOCK = 32
"""Positions of one block of the paged cache."""


class PagedCache:
    """Keys and values in blocks of BLOCK positions, (N, BLOCK, K, E) a layer for N blocks; empty until `reserve`.

    dtype: what they are kept in; int8 with a float32 scale for each position and head (report section 10.1).

    Position p of a sequence lies in block p // BLOCK of the sequence's own table of blocks. A query reads the positions up to its
    own, so what lies beyond (padding, an earlier sequence's) is never seen and needs no clearing.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self.blocks = 0
        shape = (0, BLOCK, config.num_key_value_heads, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        scales = shape[:3] if dtype == torch.int8 else (0,)
        self.key_scales = [torch.zeros(scales, device=device) for _ in range(config.num_hidden_layers)]
        self.value_scales = [torch.zeros(scales, device=device) for _ in range(config.num_hidden_layers)]
        one = config.head_dim * self.keys[0].element_size() + 4 * (dtype == torch.int8)
        self.block_bytes = 2 * config.num_hidden_layers * BLOCK * config.num_key_value_heads * one

    def reserve(self, blocks: int) -> None:
        """Make it `blocks` blocks; what is in it stays."""
        for store in (self.keys, self.values, self.key_scales, self.value_scales):
            for layer, held in enumerate(store):
                store[layer] = held.new_zeros(blocks, *held.shape[1:])
                store[layer][: len(held)] = held
        self.blocks = blocks

    def copy(self, source: int, target: int) -> None:
        """Copy one block."""
        for store in (*self.keys, *self.values, *self.key_scales, *self.value_scales):
            if store.dim() > 1:
                store[target].copy_(store[source])


class PagedView:
    """One forward pass's use of a PagedCache: which blocks each row reads and where it writes.

    tables: (B, blocks) of each row, as many as its furthest position needs at least. positions: (B, T). written: (B, T), the
    block that takes each token's key and value.
    """

    def __init__(self, cache: PagedCache, tables: Tensor, positions: Tensor, written: Tensor) -> None:
        self.cache, self.tables, self.positions, self.written = cache, tables, positions, written
        indices = torch.arange(tables.shape[1] * BLOCK, device=positions.device)
        self.mask = indices <= positions[:, None, :, None]  # (B, 1, T, M)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write k, v (B, K, T, E) at their positions, and attend with q (B, H, T, E) to what each row has: (B, H, T, E)."""
        cache = self.cache
        self._write_both(layer, k, v)
        keys = self._read(cache.keys[layer], cache.key_scales[layer], k.dtype)
        return attend(q, keys, self._read(cache.values[layer], cache.value_scales[layer], v.dtype), self.mask)

    def _write_both(self, layer: int, k: Tensor, v: Tensor) -> None:
        cache = self.cache
        self._write(cache.keys[layer], cache.key_scales[layer], k)
        self._write(cache.values[layer], cache.value_scales[layer], v)

    def _write(self, store: Tensor, scales: Tensor, new: Tensor) -> None:
        places, new_BTKE = self.positions % BLOCK, new.transpose(1, 2)
        if store.dtype != torch.int8:
            store[self.written, places] = new_BTKE.to(store.dtype)
            return
        scale = new_BTKE.float().abs().amax(dim=-1) / 127
        levels = new_BTKE.float() / torch.where(scale > 0, scale, 1.0)[..., None]
        store[self.written, places] = levels.round().to(torch.int8)
        scales[self.written, places] = scale

    def _read(self, store: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """The rows' keys or values (B, K, M, E), gathered."""
        read = store[self.tables].to(dtype)
        if store.dtype == torch.int8:
            read = read * scales[self.tables][..., None].to(dtype)
        return read.flatten(1, 2).transpose(1, 2)


_NOWHERE = 1 << 40  # beyond all positions


class FlexView(PagedView):
    """The same through FlexAttention, which reads the blocks where they lie: for GPUs, and caches that are not int8.

    Each row's table is its list of the mask's blocks; within them a number for each row and block tells where its positions
    begin.
    """

    def __init__(self, cache: PagedCache, tables: Tensor, positions: Tensor, written: Tensor) -> None:
        self.cache, self.tables, self.positions, self.written = cache, tables, positions, written
        (B, T), blocks = positions.shape, cache.blocks
        starts = torch.arange(0, tables.shape[1] * BLOCK, BLOCK, device=tables.device).expand_as(tables)
        starts = starts.masked_fill(starts > positions.amax(dim=1, keepdim=True), _NOWHERE)  # padding of the table
        first = torch.full((B, blocks), _NOWHERE, device=tables.device).scatter_reduce_(1, tables, starts, "amin")
        rows = F.pad(positions, (0, -T % BLOCK)).view(B, 1, -1, BLOCK)
        counts = (rows.amax(dim=-1) // BLOCK + 1).int()  # (B, 1, blocks of queries)
        wide = F.pad(tables, (0, blocks - tables.shape[1]))  # as many columns as there are blocks: torch's compiler asks for it
        indices = wide[:, None, None].expand(-1, -1, counts.shape[2], -1).int().contiguous()
        self._mask = BlockMask.from_kv_blocks(
            counts, indices, BLOCK_SIZE=(BLOCK, BLOCK), seq_lengths=(T, blocks * BLOCK), compute_q_blocks=False,
            mask_mod=lambda b, h, query, at: first[b, at // BLOCK] + at % BLOCK <= positions[b, query],
        )  # fmt: skip

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As PagedView's."""
        self._write_both(layer, k, v)
        rows = len(q), -1, -1, -1
        stores = self.cache.keys[layer], self.cache.values[layer]
        keys, values = (store.flatten(0, 1).transpose(0, 1).expand(rows) for store in stores)
        run = cast(Callable[..., Any], _compiled_flex_attention() if q.is_cuda else flex_attention)
        options: Any = {"BLOCK_M": BLOCK, "BLOCK_N": BLOCK}
        grouped = q.shape[1] != k.shape[1]
        y = run(q.to(keys.dtype), keys, values, block_mask=self._mask, enable_gqa=grouped, kernel_options=options)
        return cast(Tensor, y).to(q.dtype)


@lru_cache(maxsize=1)
def _compiled_flex_attention() -> Callable[..., Any]:
    return torch.compile(flex_attention)


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
