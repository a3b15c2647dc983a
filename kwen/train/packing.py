"""Which piece of which document stands where in which row: the plan of one epoch, made from lengths alone."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Packing = Literal["best_fit", "concatenate"]


@dataclass(frozen=True)
class Plan:
    """Rows of an epoch as pieces of the flat token array, sorted by row.

    Piece i fills columns [column[i], column[i] + length[i]) of its row with inputs tokens[start : start + length] and targets
    one token later. Row r owns the pieces [row_starts[r], row_starts[r + 1]). When concatenated, a piece's last target is the
    first token of the piece that follows, so one piece more stands at the end.
    """

    start: np.ndarray
    length: np.ndarray
    column: np.ndarray
    row_starts: np.ndarray

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.row_starts) - 1


def plan_epoch(offsets: np.ndarray, row_length: int, packing: Packing, seed: int, epoch: int) -> Plan:
    """The plan of `epoch`: a pure function of its arguments, with the same number of rows for every epoch.

    offsets: (documents + 1,) where each document begins in the flat token array.
    best_fit: documents longer than a row are cut, pieces go where they leave least room (arXiv 2404.10830), so that few are
    cut and none sees another. concatenate: documents in random order, end to end, cut at `row_length` (the report, 2.4).
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(offsets) - 1)
    if packing == "concatenate":
        return _concatenated(offsets, order, row_length)
    start, length = _pieces(offsets, order, row_length)
    row, column = _best_fit(length, row_length)
    shuffled = generator.permutation(int(row.max()) + 1 if len(row) else 0)
    row = shuffled[row]
    sorting = np.lexsort((column, row))
    row_starts = np.searchsorted(row[sorting], np.arange(len(shuffled) + 1))
    return Plan(start[sorting], length[sorting], column[sorting], row_starts)


def _pieces(offsets: np.ndarray, order: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut each document's predicted positions (all tokens but its first) into pieces of at most `row_length`."""
    predicted = (offsets[1:] - offsets[:-1] - 1)[order]
    count = -(-predicted // row_length)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    start = np.repeat(offsets[:-1][order], count) + within * row_length
    length = np.minimum(np.repeat(predicted, count) - within * row_length, row_length)
    return start, length


def _best_fit(length: np.ndarray, row_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every piece by best-fit decreasing; `free` has bit n set while a row with n columns left is open."""
    rows, columns = np.empty(len(length), np.int64), np.empty(len(length), np.int64)
    open_rows: list[list[int]] = [[] for _ in range(row_length + 1)]
    free, count = 0, 0
    for piece in np.argsort(-length, kind="stable").tolist():
        size = int(length[piece])
        fitting = free >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[left].pop()
            if not open_rows[left]:
                free &= ~(1 << left)
        else:
            row, left, count = count, row_length, count + 1
        rows[piece], columns[piece] = row, row_length - left
        if left > size:
            open_rows[left - size].append(row)
            free |= 1 << (left - size)
    return rows, columns


def _concatenated(offsets: np.ndarray, order: np.ndarray, row_length: int) -> Plan:
    """Rows cut from the shuffled stream; what is left over at the end (less than a row) is dropped."""
    lengths = (offsets[1:] - offsets[:-1])[order]
    stream = np.cumsum(lengths)
    total = int(stream[-1]) if len(stream) else 0
    rows = max(total - 1, 0) // row_length
    # Every row and every document begins a piece; a piece ends where the next begins.
    begins = np.unique(np.concatenate((np.arange(rows + 1) * row_length, stream[:-1][stream[:-1] < rows * row_length])))
    length = np.diff(begins, append=rows * row_length + 1)
    document = np.searchsorted(stream, begins, side="right")
    start = offsets[:-1][order][document] + begins - (stream - lengths)[document]
    row_starts = np.searchsorted(begins, np.arange(rows + 1) * row_length)
    return Plan(start, length, begins % row_length, row_starts)
