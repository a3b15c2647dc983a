"""Causal attention that knows documents, windows, and a cache of keys and values.

Legend: B batch, T new tokens, M cached positions, N cache blocks, G groups of layers, H query heads, K key/value heads, E head
dim.
"""

import math
import mmap
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from kwen.model.config import ModelConfig

BLOCK = 32
"""Positions of one block of the paged cache."""


@dataclass(frozen=True)
class CacheLayout:
    """Which layers share a table of cache blocks: groups of equally many layers, those of one group with the same window.

    windows: (G,), of each group, None where a query sees all. group, slot: (layers,), of each layer its group and its number in
    it. A block holds BLOCK positions of all layers of one group, so any group can use any block, and what a windowed group
    gives back another can take. A model without windows is one group.
    """

    windows: tuple[int | None, ...]
    group: tuple[int, ...]
    slot: tuple[int, ...]

    @classmethod
    def of(cls, config: ModelConfig) -> "CacheLayout":
        """The layout of a model: as few groups as there can be."""
        depth = math.gcd(*Counter(config.windows).values())
        seen: Counter[int | None] = Counter()
        groups: dict[tuple[int | None, int], int] = {}
        group, slot = [], []
        for window in config.windows:
            group.append(groups.setdefault((window, seen[window] // depth), len(groups)))
            slot.append(seen[window] % depth)
            seen[window] += 1
        return cls(tuple(window for window, _ in groups), tuple(group), tuple(slot))

    @property
    def depth(self) -> int:
        """Layers of a group."""
        return len(self.slot) // len(self.windows)


def untouched_zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Zeros which on a CPU take no memory before they are written: a large cache can be reserved for what may come."""
    if torch.device(device).type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return torch.zeros(*shape, dtype=dtype)
    # Pages of the system's own: malloc would hand out memory that was freed before, which has to be cleared.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        pages.madvise(mmap.MADV_HUGEPAGE)  # blocks are read in any order: fewer misses of the table of pages
    return torch.frombuffer(pages, dtype=dtype).view(*shape)


class PagedCache:
    """Keys and values in N blocks of BLOCK positions, (N, BLOCK, K, E) for each layer of a group; empty until `reserve`.

    dtype: what they are kept in; int8 with a float32 scale for each position and head (report section 10.1).

    Position p of a sequence lies in block p // BLOCK of the sequence's own table of blocks, one table for each group of layers. A
    query reads the positions up to its own, so what lies beyond (padding, an earlier sequence's) is never seen and needs no
    clearing; nor does what lies before its window.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self.blocks, self.layout = 0, CacheLayout.of(config)
        depth, shape = self.layout.depth, (0, BLOCK, config.num_key_value_heads, config.head_dim)
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(depth)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(depth)]
        scales = shape[:3] if dtype == torch.int8 else (0,)
        self.key_scales = [torch.zeros(scales, device=device) for _ in range(depth)]
        self.value_scales = [torch.zeros(scales, device=device) for _ in range(depth)]
        one = config.head_dim * self.keys[0].element_size() + 4 * (dtype == torch.int8)
        self.block_bytes = 2 * depth * BLOCK * config.num_key_value_heads * one

    def reserve(self, blocks: int) -> None:
        """Make it `blocks` blocks; what is in it stays."""
        for store in (self.keys, self.values, self.key_scales, self.value_scales):
            for slot, held in enumerate(store):
                store[slot] = untouched_zeros((blocks, *held.shape[1:]), held.dtype, held.device)
                store[slot][: len(held)] = held
        self.blocks = blocks

    def copy(self, source: int, target: int) -> None:
        """Copy one block."""
        for store in (*self.keys, *self.values, *self.key_scales, *self.value_scales):
            if store.dim() > 1:
                store[target].copy_(store[source])


class PagedView:
    """One forward pass's use of a PagedCache: which blocks each row reads and where it writes.

    tables: (G, B, blocks) of each row, as many as its furthest position needs at least. positions: (B, T). written: (G, B, T),
    the block that takes each token's key and value.
    """

    def __init__(self, cache: PagedCache, tables: Tensor, positions: Tensor, written: Tensor) -> None:
        self.cache, self.tables, self.positions, self.written = cache, tables, positions, written
        self._seen = {window: self._mask(window) for window in cache.layout.windows}

    def _mask(self, window: int | None) -> tuple[int, Tensor]:
        """The first column of the tables that any query sees, and which of the positions from there on: (B, 1, T, M)."""
        queries, columns = self.positions[:, None, :, None], self.tables.shape[2]
        first = 0 if window is None else max(int(self.positions.min()) - window + 1, 0) // BLOCK
        indices = torch.arange(first * BLOCK, columns * BLOCK, device=queries.device)
        mask = indices <= queries
        return first, mask if window is None else mask & (indices > queries - window)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Write k, v (B, K, T, E) at their positions, and attend with q (B, H, T, E) to what each row has: (B, H, T, E)."""
        cache, group = self.cache, self.cache.layout.group[layer]
        slot = self._write_both(layer, k, v)
        first, mask = self._seen[cache.layout.windows[group]]
        tables = self.tables[group, :, first:]
        keys = self._read(cache.keys[slot], cache.key_scales[slot], tables, k.dtype)
        return attend(q, keys, self._read(cache.values[slot], cache.value_scales[slot], tables, v.dtype), mask)

    def _write_both(self, layer: int, k: Tensor, v: Tensor) -> int:
        """Write, and tell the layer's slot."""
        cache = self.cache
        slot, written = cache.layout.slot[layer], self.written[cache.layout.group[layer]]
        self._write(cache.keys[slot], cache.key_scales[slot], written, k)
        self._write(cache.values[slot], cache.value_scales[slot], written, v)
        return slot

    def _write(self, store: Tensor, scales: Tensor, written: Tensor, new: Tensor) -> None:
        places, new_BTKE = self.positions % BLOCK, new.transpose(1, 2)
        if store.dtype != torch.int8:
            store[written, places] = new_BTKE.to(store.dtype)
            return
        scale = new_BTKE.float().abs().amax(dim=-1) / 127
        levels = new_BTKE.float() / torch.where(scale > 0, scale, 1.0)[..., None]
        store[written, places] = levels.round().to(torch.int8)
        scales[written, places] = scale

    def _read(self, store: Tensor, scales: Tensor, tables: Tensor, dtype: torch.dtype) -> Tensor:
        """The rows' keys or values (B, K, M, E), gathered."""
        read = store[tables].to(dtype)
        if store.dtype == torch.int8:
            read = read * scales[tables][..., None].to(dtype)
        return read.flatten(1, 2).transpose(1, 2)


_NOWHERE = 1 << 40  # beyond all positions


class FlexView(PagedView):
    """The same through FlexAttention, which reads the blocks where they lie: for GPUs, and caches that are not int8.

    Each row's table, from the first block that its queries see on, is its list of the mask's blocks; within them a number for
    each row and block tells where its positions begin.
    """

    def __init__(self, cache: PagedCache, tables: Tensor, positions: Tensor, written: Tensor) -> None:
        self.cache, self.tables, self.positions, self.written = cache, tables, positions, written
        self._masks = [self._blocks(*one) for one in zip(tables, cache.layout.windows, strict=True)]

    def _blocks(self, tables: Tensor, window: int | None) -> BlockMask:
        """Which blocks and positions the queries of one group of layers see through its tables (B, blocks)."""
        positions, (B, T), blocks = self.positions, self.positions.shape, self.cache.blocks
        starts = torch.arange(0, tables.shape[1] * BLOCK, BLOCK, device=tables.device).expand_as(tables)
        unseen = starts > positions.amax(dim=1, keepdim=True)  # padding of the table
        rows = F.pad(positions, (0, -T % BLOCK)).view(B, 1, -1, BLOCK)
        counts = rows.amax(dim=-1) // BLOCK + 1  # (B, 1, blocks of queries)
        wide = F.pad(tables, (0, blocks - tables.shape[1]))  # as many columns as there are blocks: torch's compiler asks for it
        indices = wide[:, None, None].expand(-1, -1, counts.shape[2], -1)
        if window is not None:
            unseen |= starts + BLOCK <= positions.amin(dim=1, keepdim=True) - (window - 1)  # given back
            lowest = F.pad(positions, (0, -T % BLOCK), value=_NOWHERE).view(B, 1, -1, BLOCK).amin(dim=-1)
            skipped = (lowest - (window - 1)).clamp(min=0) // BLOCK
            counts = counts - skipped
            columns = torch.arange(blocks, device=tables.device) + skipped[..., None]
            every = tables[:, None, None].expand(-1, -1, counts.shape[2], -1)
            indices = every.gather(3, columns.clamp(max=tables.shape[1] - 1))
        first = torch.full((B, blocks), _NOWHERE, device=tables.device)
        first.scatter_reduce_(1, tables, starts.masked_fill(unseen, _NOWHERE), "amin")

        before = None if window is None else positions - window

        def seen(b: Tensor, h: Tensor, query: Tensor, at: Tensor) -> Tensor:
            key = first[b, at // BLOCK] + at % BLOCK
            sees = key <= positions[b, query]
            return sees if before is None else sees & (key > before[b, query])

        return BlockMask.from_kv_blocks(
            counts.int(), indices.int().contiguous(), BLOCK_SIZE=(BLOCK, BLOCK), seq_lengths=(T, blocks * BLOCK),
            compute_q_blocks=False, mask_mod=seen,
        )  # fmt: skip

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As PagedView's."""
        slot = self._write_both(layer, k, v)
        rows, mask = (len(q), -1, -1, -1), self._masks[self.cache.layout.group[layer]]
        stores = self.cache.keys[slot], self.cache.values[slot]
        keys, values = (store.flatten(0, 1).transpose(0, 1).expand(rows) for store in stores)
        run = cast(Callable[..., Any], _compiled_flex_attention() if q.is_cuda else flex_attention)
        options: Any = {"BLOCK_M": BLOCK, "BLOCK_N": BLOCK}
        grouped = q.shape[1] != k.shape[1]
        y = run(q.to(keys.dtype), keys, values, block_mask=mask, enable_gqa=grouped, kernel_options=options)
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


def window_mask(positions: Tensor, window: int, mask: Tensor | None) -> Tensor:
    """`mask` (B or 1, 1, T, T; causal where None) without the keys that lie `window` or more before the query.

    positions: (B or 1, T), as they count within each document."""
    near = (positions[:, :, None] - positions[:, None, :] < window)[:, None]
    return near.tril() if mask is None else near & mask


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
