"""Batches as a pure function of (seed, step).

    documents -> plan of the epoch (packing) -> rows -> the global batch of a step -> a rank's share -> micro-batches

Legend: B rows, T columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from kwen.errors import UserError
from kwen.text.shards import TokenShards
from kwen.train.packing import Packing, Plan, plan_epoch


@dataclass(frozen=True)
class Documents:
    """Documents of token ids in one flat array; `trained` (one bool a token) says which tokens carry loss, None for all.

    splits: for pairs, which lie in one document so that both sides share a batch, the length of each one's first side; the
    sides become documents of their own in the batch. prompts: how much of the first side the second one continues from, so that
    what both begin with stands there once.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    trained: np.ndarray | None = None
    splits: np.ndarray | None = None
    prompts: np.ndarray | None = None

    @classmethod
    def from_shards(cls, shards: TokenShards) -> "Documents":
        """The documents of a shards folder, still memory-mapped."""
        return cls(shards.tokens, np.asarray(shards.offsets))

    @classmethod
    def from_rows(cls, rows: list[list[int]], trained: list[list[bool]]) -> "Documents":
        """Documents held in memory, each with its loss mask of equal length."""
        offsets = np.cumsum([0] + [len(row) for row in rows])
        flat = np.fromiter((token for row in rows for token in row), np.int64, int(offsets[-1]))
        mask = np.fromiter((token for row in trained for token in row), np.bool_, int(offsets[-1]))
        return cls(flat, offsets, mask)

    def save(self, folder: Path) -> None:
        """Keep the documents as plain arrays in `folder`, from where every rank loads them."""
        for name, array in vars(self).items():
            if array is not None:
                np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> "Documents":
        """The documents that `save` kept."""
        kept = {field.name: folder / f"{field.name}.npy" for field in fields(cls)}
        return cls(**{name: np.load(path, allow_pickle=False) for name, path in kept.items() if path.is_file()})


@dataclass(frozen=True)
class Batch:
    """Rows of training data, each (B, T): inputs, their next tokens, loss weights (0 or 1), and document ids.

    seen_by: for pairs with a common prompt, the other document that sees a token, -2 for none.
    """

    token_ids: Tensor
    targets: Tensor
    weights: Tensor
    documents: Tensor
    seen_by: Tensor | None = None

    def rows(self, start: int, stop: int) -> "Batch":
        """The rows [start, stop)."""
        return self._each(lambda part: part[start:stop])

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on another device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        parts = (self.token_ids, self.targets, self.weights, self.documents)
        changed = Batch(*(change(part) for part in parts))
        return changed if self.seen_by is None else replace(changed, seen_by=change(self.seen_by))


class CopyDrill(BaseModel):
    """Rows that hold a random block again and again, with loss on the repeats only: exercise for copying (ours).

    `first_share` of the rows during the first tenth of training, `share` after that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    first_share: float = Field(0.0, ge=0, le=1)
    share: float = Field(0.0, ge=0, le=1)


class Batches:
    """The batches of a training run: `batches(step)` is the global batch of that step, whatever came before."""

    def __init__(
        self,
        documents: Documents,
        *,
        row_length: int,
        rows: int,
        seed: int,
        packing: Packing = "best_fit",
        drill: CopyDrill | None = None,
        drill_ids: int = 0,
        steps: int = 0,
    ) -> None:
        """rows: B of the global batch. drill_ids: the drill draws ids below it. steps: length of training, for the drill.

        Raises UserError when the documents do not fill one batch.
        """
        self.documents, self.row_length, self.rows, self.seed, self.packing = documents, row_length, rows, seed, packing
        self.drill, self.drill_ids, self.steps = drill or CopyDrill(), drill_ids, steps
        self._epoch, self._plan = 0, plan_epoch(documents.offsets, row_length, packing, seed, 0)
        if self._plan.rows < rows:
            tokens = int(documents.offsets[-1])
            raise UserError(
                f"the training text has {tokens:,} tokens, which fill {self._plan.rows} rows of {row_length}; one batch needs "
                f"{rows} rows: give more text, or lower batch_tokens"
            )

    @property
    def rows_per_epoch(self) -> int:
        """How many rows pass over all documents once."""
        return self._plan.rows

    def _plan_of(self, epoch: int) -> Plan:
        if epoch != self._epoch:
            self._plan = plan_epoch(self.documents.offsets, self.row_length, self.packing, self.seed, epoch)
            self._epoch = epoch
        return self._plan

    def __call__(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        """Rows [rank * rows / world, (rank + 1) * rows / world) of the global batch of `step` (0-based)."""
        share = self.rows // world
        B, T = share, self.row_length
        token_ids, targets = np.zeros((B, T), np.int64), np.zeros((B, T), np.int64)
        weights, documents = np.zeros((B, T), np.float32), np.full((B, T), -1, np.int64)
        seen_by = None if self.documents.prompts is None else np.full((B, T), -2, np.int64)
        for b in range(B):
            index = step * self.rows + rank * share + b
            if not self._fill_drill(step, index, token_ids[b], targets[b], weights[b], documents[b]):
                self._fill(index, token_ids[b], targets[b], weights[b], documents[b], None if seen_by is None else seen_by[b])
        batch = Batch(*(torch.from_numpy(part) for part in (token_ids, targets, weights, documents)))
        return batch if seen_by is None else replace(batch, seen_by=torch.from_numpy(seen_by))

    def _fill(
        self,
        index: int,
        token_ids: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        documents: np.ndarray,
        seen_by: np.ndarray | None,
    ) -> None:
        plan = self._plan_of(index // self._plan.rows)
        row = index % plan.rows
        for number, piece in enumerate(range(plan.row_starts[row], plan.row_starts[row + 1])):
            start, length, column = plan.start[piece], plan.length[piece], plan.column[piece]
            own = length - 1 if self.packing == "concatenate" else length  # targets that lie in the piece's own document
            place, own_place = slice(column, column + length), slice(column, column + own)
            token_ids[place] = self.documents.tokens[start : start + length]
            targets[own_place] = self.documents.tokens[start + 1 : start + own + 1]
            documents[place] = 0 if self.packing == "concatenate" else number
            if self.documents.splits is not None:
                pair = np.searchsorted(self.documents.offsets, start, side="right") - 1
                middle = column + self.documents.splits[pair]
                documents[column:middle], documents[middle : column + length] = 2 * number, 2 * number + 1
                if seen_by is not None and self.documents.prompts is not None:
                    seen_by[column : column + self.documents.prompts[pair]] = 2 * number + 1
            trained = self.documents.trained
            weights[place] = 1.0
            if trained is not None:
                weights[own_place] = trained[start + 1 : start + own + 1]
            if own < length:
                follows = plan.start[piece + 1]
                targets[column + own] = self.documents.tokens[follows]
                weights[column + own] = 1.0 if trained is None else trained[follows]

    def _fill_drill(
        self, step: int, index: int, token_ids: np.ndarray, targets: np.ndarray, weights: np.ndarray, documents: np.ndarray
    ) -> bool:
        share = self.drill.first_share if step < self.steps / 10 else self.drill.share
        if share == 0:
            return False
        generator = np.random.Generator(np.random.PCG64([self.seed, index, 1]))
        if generator.random() >= share:
            return False
        block = generator.integers(0, self.drill_ids, generator.integers(4, self.row_length // 2 + 1))
        row = np.resize(block, self.row_length + 1)
        token_ids[:], targets[:], documents[:] = row[:-1], row[1:], 0
        weights[len(block) :] = 1.0
        return True
