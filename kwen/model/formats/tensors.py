"""Weights that are read when asked for: every format hands out its tensors as `LazyTensor`s.

A read goes straight from the file into the memory of the parameter that it fills, by rows, through a small scratch
buffer where a conversion is needed: loading never holds a second copy of anything. Reads are positioned reads of
one open file, not page faults of a mapping: they cost the same processor time (a third more where a dtype is converted), the
file's pages do not count as the process's memory, and a file cut short while it is read gives an error line where a mapping
would kill the process.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from kwen.errors import UserError
from kwen.model.formats.dequantize import QuantType, dequantize_into

SCRATCH_VALUES = 1 << 18
"""Values converted at a time: a float32 chunk of 1 MiB stays in a core's own cache."""


@contextmanager
def unsplit_operations() -> Iterator[None]:
    """Torch operations of this thread run on this thread alone, as those on chunks of a megabyte should.

    Waking torch's other threads for every chunk costs more than the chunk, a hundred times more on a busy machine; loading
    works on two tensors at once instead.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class LazyTensor(Protocol):
    """A tensor somewhere else: its shape and stored dtype now, its values on `read`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, as the model's parameter has it."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that holds the stored values exactly (float32 for quantised ones)."""

    def read(self, out: Tensor, start: int = 0) -> None:
        """Fill `out`, a contiguous CPU tensor of any floating dtype, with the rows from `start` on; len(out) says how many."""


def materialize(tensor: LazyTensor, dtype: torch.dtype | None = None) -> Tensor:
    """The whole of `tensor` as an ordinary CPU tensor in `dtype` (default: as stored)."""
    out = torch.empty(tensor.shape, dtype=dtype or tensor.dtype)
    tensor.read(out)
    return out


def row_size(shape: Sequence[int]) -> int:
    """Values in one row, that is one index of the first dimension."""
    return math.prod(shape[1:])


class SourceFile:
    """An open file read by position, from several threads at once; it knows its path for error lines."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (stays open as long as the tensors that read it)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
        self.path = path
        self.size = os.fstat(self._file.fileno()).st_size

    def read_into(self, buffer: memoryview, offset: int, what: str) -> None:
        """Fill `buffer` (bytes) with what lies at `offset`; UserError names `what` if the file ends before that."""
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self._file.fileno(), [buffer[done:]], offset + done)
            except OSError as error:
                raise UserError(f"{self.path}: reading {what} failed ({error.strerror or error})") from error
            if count == 0:
                raise UserError(f"{self.path}: the file ends inside {what}; it is cut short, fetch it again")
            done += count

    def read(self, offset: int, size: int, what: str) -> bytes:
        """`size` bytes at `offset`."""
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), offset, what)
        return bytes(buffer)


def as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous CPU tensor as writable bytes."""
    if tensor.numel() == 0:
        return memoryview(bytearray())
    return tensor.view(-1).view(torch.uint8).numpy().data


@dataclass(frozen=True)
class StoredTensor:
    """Values of a plain dtype, row after row, at a byte offset of a file."""

    file: SourceFile
    name: str
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`."""
        flat, itemsize = out.view(-1), self.dtype.itemsize
        position = self.offset + start * row_size(self.shape) * itemsize
        if out.dtype == self.dtype:
            self.file.read_into(as_bytes(flat), position, f"tensor {self.name}")
            return
        scratch = torch.empty(min(flat.numel(), SCRATCH_VALUES), dtype=self.dtype)
        for first in range(0, flat.numel(), SCRATCH_VALUES):
            chunk = flat[first : first + SCRATCH_VALUES]
            stored = scratch[: chunk.numel()]
            self.file.read_into(as_bytes(stored), position + first * itemsize, f"tensor {self.name}")
            chunk.copy_(stored)


@dataclass(frozen=True)
class QuantizedTensor:
    """Blocks of a ggml quantisation at a byte offset of a file; a row is a whole number of blocks."""

    file: SourceFile
    name: str
    offset: int
    shape: tuple[int, ...]
    kind: QuantType
    dtype: torch.dtype = torch.float32

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`; the arithmetic is float32 whatever the dtype of `out`."""
        kind = self.kind
        values = out.view(-1, kind.block_values)
        position = self.offset + start * row_size(self.shape) // kind.block_values * kind.block_bytes
        step = SCRATCH_VALUES // kind.block_values
        raw = torch.empty(min(len(values), step), kind.block_bytes, dtype=torch.uint8)
        wide = None if out.dtype == torch.float32 else torch.empty(len(raw), kind.block_values)
        for first in range(0, len(values), step):
            chunk = values[first : first + step]
            blocks = raw[: len(chunk)]
            self.file.read_into(as_bytes(blocks), position + first * kind.block_bytes, f"tensor {self.name}")
            if wide is None:
                dequantize_into(kind, blocks, chunk)
            else:
                dequantize_into(kind, blocks, wide[: len(chunk)])
                chunk.copy_(wide[: len(chunk)])

    def read_blocks(self) -> Tensor:
        """All blocks as they are, uint8 (n, block_bytes)."""
        count = math.prod(self.shape) // self.kind.block_values
        raw = torch.empty(count, self.kind.block_bytes, dtype=torch.uint8)
        self.file.read_into(as_bytes(raw), self.offset, f"tensor {self.name}")
        return raw


@dataclass(frozen=True)
class MemoryTensor:
    """A tensor that is in memory already, on any device."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """See `LazyTensor.shape`."""
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        """See `LazyTensor.dtype`."""
        return self.tensor.dtype

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`."""
        out.copy_(self.tensor.detach()[start : start + len(out)])


@dataclass(frozen=True)
class RowSlice:
    """Rows `first` to `first + count` of another tensor: one third of Qwen-1's fused c_attn."""

    base: LazyTensor
    first: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """See `LazyTensor.shape`."""
        return (self.count, *self.base.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """See `LazyTensor.dtype`."""
        return self.base.dtype

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`."""
        self.base.read(out, self.first + start)


@dataclass(frozen=True)
class StackedRows:
    """Several tensors one below the other: q, k and v fused into Qwen-1's c_attn."""

    parts: tuple[LazyTensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """See `LazyTensor.shape`."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """See `LazyTensor.dtype`."""
        return self.parts[0].dtype

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`."""
        top, stop = 0, start + len(out)
        for part in self.parts:
            first, last = max(start, top), min(stop, top + part.shape[0])
            if first < last:
                part.read(out[first - start : last - start], first - top)
            top += part.shape[0]


def half_split(rows: Tensor, heads: int) -> Tensor:
    """`rows` (n, ...) of `heads` heads, interleaved as `HalfSplitRows` says, in half-split order."""
    return rows.view(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


@dataclass(frozen=True)
class HalfSplitRows:
    """A LLaMA query or key projection of a GGUF file with its rows back in half-split order.

    llama.cpp's converter interleaves each head's rows (0, E/2, 1, E/2 + 1, ...) because ggml rotates neighbouring pairs for
    this architecture; the model here rotates pairs (i, i + E/2), as Hugging Face's does. A read covers whole heads.
    """

    base: LazyTensor
    heads: int

    @property
    def shape(self) -> tuple[int, ...]:
        """See `LazyTensor.shape`."""
        return self.base.shape

    @property
    def dtype(self) -> torch.dtype:
        """See `LazyTensor.dtype`."""
        return self.base.dtype

    def read(self, out: Tensor, start: int = 0) -> None:
        """See `LazyTensor.read`."""
        height = self.shape[0] // self.heads
        half = height // 2
        assert start % height == 0 and len(out) % height == 0, "heads are read whole"
        pairs = min(half, max(1, SCRATCH_VALUES // (2 * row_size(self.shape))))
        interleaved = torch.empty((2 * pairs, *self.shape[1:]), dtype=out.dtype)
        for head in range(0, len(out), height):
            for first in range(0, half, pairs):
                count = min(pairs, half - first)
                rows = interleaved[: 2 * count]
                self.base.read(rows, start + head + 2 * first)
                out[head + first : head + first + count] = rows[0::2]
                out[head + half + first : head + half + first + count] = rows[1::2]
