"""The model through torch, on any device: what runs where there are no native kernels.

On a GPU FlexAttention reads the cache's blocks where they lie, and steps of one token a sequence are captured (`captured`);
elsewhere, and from a cache of int8, blocks are gathered for each pass.

Legend: N new tokens, S sequences, B sequences of one group, T most new tokens of one, R rows with logits.
"""

import numpy as np
import torch
from torch import Tensor

from kwen.engine.captured import CapturedSteps
from kwen.engine.runner import CACHE_DTYPES, CacheDtype, Logits, Step
from kwen.model.attention import BLOCK, FlexView, PagedCache, PagedView
from kwen.model.transformer import Transformer

_LIKE_LENGTH = 0.75  # sequences whose new tokens are at least this share of the longest one's go through together


class TorchRunner:
    """Runs `model` by its own forward pass over a `PagedCache`.

    cache_dtype: of keys and values, by default the model's. on_gpu: whether to go the way of GPUs, by default on one.
    """

    batch_invariant = False

    def __init__(self, model: Transformer, cache_dtype: CacheDtype | None = None, on_gpu: bool | None = None) -> None:
        self._model = model
        weight = model.model.embed_tokens.weight
        self._device = weight.device
        dtype = weight.dtype if cache_dtype is None else CACHE_DTYPES[cache_dtype]
        self._cache = PagedCache(model.config, dtype, weight.device)
        self.block_bytes = self._cache.block_bytes
        self._seen: list[tuple[int, int]] = []
        on_gpu = self._device.type == "cuda" if on_gpu is None else on_gpu
        self._view = FlexView if on_gpu and dtype != torch.int8 else PagedView
        self._captured = CapturedSteps(self._decode, self._device) if self._view is FlexView else None

    def refresh(self) -> bool:
        """Weights are read as they are at every pass; whether any has changed."""
        seen = [(one.data_ptr(), 0 if one.is_inference() else one._version) for one in self._model.parameters()]
        changed, self._seen = seen != self._seen, seen
        if changed and self._captured is not None:
            self._captured.forget()
        return changed

    def reserve(self, blocks: int) -> None:
        """Make room for `blocks` blocks, and one that takes what padding writes."""
        self._cache.reserve(blocks + 1)
        if self._captured is not None:
            self._captured.forget()

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block's keys and values."""
        self._cache.copy(source, target)

    def forward(self, step: Step) -> Logits:
        """Extend the cache by the step's tokens and give the logits of its rows."""
        counts = np.diff(step.starts)
        if self._captured is not None and len(step.rows) == len(step.token_ids) == len(counts):
            return Logits.of(self._captured.run(step, self._cache.blocks - 1).float())
        hidden_ND: Tensor | None = None
        for group in _groups(counts):
            hidden_BTD = self._group(step, group, int(counts[group].max()))
            if hidden_ND is None:
                hidden_ND = hidden_BTD.new_empty(len(step.token_ids), hidden_BTD.shape[-1])
            for row, sequence in enumerate(group):
                hidden_ND[step.starts[sequence] : step.starts[sequence + 1]] = hidden_BTD[row, : counts[sequence]]
        assert hidden_ND is not None
        rows = torch.from_numpy(step.rows.astype(np.int64)).to(self._device)
        return Logits.of(self._model.project(hidden_ND[rows]).float())

    def _group(self, step: Step, group: list[int], longest: int) -> Tensor:
        """Hidden states (B, T, D) of some sequences, each padded on its right; padding's keys go to the last block."""
        tokens_BT = np.zeros((len(group), longest), dtype=np.int64)
        positions_BT = np.repeat(step.positions[step.starts[group], None], longest, axis=1).astype(np.int64)
        blocks_GBT = np.full((len(step.tables), len(group), longest), self._cache.blocks - 1, dtype=np.int64)
        for row, sequence in enumerate(group):
            own = slice(step.starts[sequence], step.starts[sequence + 1])
            count = own.stop - own.start
            tokens_BT[row, :count] = step.token_ids[own]
            positions_BT[row, :count] = step.positions[own]
            blocks_GBT[:, row, :count] = step.tables[:, sequence, step.positions[own] // BLOCK]
        furthest = int(positions_BT.max()) // BLOCK + 1
        tokens, positions, blocks, tables, lengths = (
            torch.from_numpy(array.astype(np.int64)).to(self._device)
            for array in (tokens_BT, positions_BT, blocks_GBT, step.tables[:, group, :furthest], step.lengths[group])
        )
        view = self._view(self._cache, tables, positions, blocks)
        return self._model.hidden(tokens, positions=positions, cache=view, lengths=lengths)

    def _decode(self, tokens: Tensor, positions: Tensor, written: Tensor, tables: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, V) of one new token (B, 1) a sequence."""
        view = self._view(self._cache, tables, positions, written)
        return self._model.project(self._model.hidden(tokens, positions=positions, cache=view, lengths=lengths)[:, 0])


def _groups(counts: np.ndarray) -> list[list[int]]:
    """Sequences of like counts together, the longest first."""
    groups: list[list[int]] = []
    for sequence in np.argsort(-counts, kind="stable").tolist():
        if groups and counts[sequence] >= _LIKE_LENGTH * counts[groups[-1][0]]:
            groups[-1].append(sequence)
        else:
            groups.append([sequence])
    return groups
