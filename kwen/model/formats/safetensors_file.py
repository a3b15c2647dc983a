"""The safetensors format: 8 bytes of header length, a JSON header, then every tensor's bytes without gap or overlap.

Reading trusts nothing: every length, type, shape and offset of the header is checked against the file's size before a
tensor is touched. Writing streams one tensor at a time and gives the same bytes as the `safetensors` package, so that equal
weights are equal files. Format: the README of huggingface/safetensors.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kwen.errors import UserError
from kwen.model.formats.tensors import LazyTensor, SourceFile, StoredTensor, as_bytes, materialize, unsplit_operations

MAX_HEADER_BYTES = 16 << 20
"""A header of this size names a hundred thousand tensors; the format itself would allow 100 MB."""
MAX_DIMENSIONS = 8
FLOAT_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""The dtypes that a weight can have here."""
DTYPES = {"F64": torch.float64, "F32": torch.float32, "I32": torch.int32, "BF16": torch.bfloat16, "F16": torch.float16}
"""Those and the words of packed weights, in the order in which the format sorts them."""
_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def read_safetensors(path: Path, dtypes: Mapping[str, torch.dtype] = FLOAT_DTYPES) -> dict[str, StoredTensor]:
    """The tensors of the file at `path`, checked, unread, by name; all of `dtypes`.

    Raises UserError, naming file and tensor, for a header that is cut short, not JSON, too large, or that disagrees with
    the file: unknown dtype, bad shape, a size that is not shape times dtype, offsets outside the file, overlap, a hole.
    """
    file = SourceFile(path)
    if file.size < 8:
        raise UserError(f"{path}: {file.size} bytes are no safetensors file; it is cut short or something else")
    length = int.from_bytes(file.read(0, 8, "the header's length"), "little")
    if length > MAX_HEADER_BYTES:
        raise UserError(f"{path}: the header claims {length} bytes, more than {MAX_HEADER_BYTES}; no safetensors weight file")
    if 8 + length > file.size:
        raise UserError(f"{path}: the header claims {length} bytes, the file has {file.size}; it is cut short, fetch it again")
    header = _parse_header(path, file.read(8, length, "the header"))
    start, size = 8 + length, file.size - 8 - length
    tensors: dict[str, StoredTensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, begin, end = _check_entry(f"{path}: tensor {name}", entry, size, dtypes)
        spans.append((begin, end, name))
        tensors[name] = StoredTensor(file, name, start + begin, shape, dtype)
    _check_layout(path, sorted(spans), size)
    return tensors


def _parse_header(path: Path, data: bytes) -> dict[str, Any]:
    """The header without its `__metadata__`; UserError unless it is one JSON object without a repeated name."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            raise ValueError("a name occurs twice")
        return values

    try:
        header = json.loads(data.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: the header is not valid JSON ({error}); the file is damaged, fetch it again") from error
    if not isinstance(header, dict):
        raise UserError(f"{path}: the header is not a JSON object; the file is damaged, fetch it again")
    header.pop("__metadata__", None)
    return header


def _check_entry(
    where: str, entry: Any, size: int, dtypes: Mapping[str, torch.dtype]
) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of a header entry whose tensor fits `size` bytes of data."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise UserError(f"{where}: its header entry is not dtype, shape and data_offsets; the file is damaged")
    name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(name, str) or name not in dtypes:
        known = ", ".join(dtypes)
        raise UserError(
            f"{where} has dtype {str(name)[:40]!r}; weights of {known} are read, quantised ones as GPTQ, AWQ and GGUF"
        )
    if not _whole_numbers(shape) or len(shape) > MAX_DIMENSIONS:
        raise UserError(f"{where}: its shape is no list of at most {MAX_DIMENSIONS} whole numbers; the file is damaged")
    if not _whole_numbers(offsets) or len(offsets) != 2 or not 0 <= offsets[0] <= offsets[1] <= size:
        raise UserError(f"{where}: its data_offsets lie outside the {size} bytes of data; the file is cut short or damaged")
    dtype = dtypes[name]
    if math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise UserError(f"{where}: shape {shape} of {name} does not take the {offsets[1] - offsets[0]} bytes of its data_offsets")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 48 for value in values)


def _check_layout(path: Path, spans: list[tuple[int, int, str]], size: int) -> None:
    """UserError unless the sorted (begin, end, name) spans cover bytes 0 to `size` without overlap or hole."""
    reached, before = 0, ""
    for begin, end, name in spans:
        if begin < reached:
            raise UserError(f"{path}: tensor {name} overlaps tensor {before}; the file is damaged or was made to deceive")
        if begin > reached:
            raise UserError(f"{path}: {begin - reached} bytes before tensor {name} belong to no tensor; the file is damaged")
        reached, before = end, name
    if reached != size:
        raise UserError(f"{path}: {size - reached} bytes after the last tensor belong to none; the file is damaged")


def write_safetensors(path: Path, tensors: Mapping[str, LazyTensor], dtype: torch.dtype | None = None) -> None:
    """Write `tensors` to a new file at `path` in `dtype` (default: each as stored), one at a time.

    The bytes depend on names and values alone: tensors lie by dtype, then name, and the only metadata is the `format: pt`
    that transformers asks for. For an artifact call it inside `kwen.files.folder_aside`.
    """
    rank = list(DTYPES.values())
    entries = [(rank.index(dtype or tensor.dtype), name, tensor) for name, tensor in tensors.items()]
    entries.sort(key=lambda entry: entry[:2])
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for index, name, tensor in entries:
        end = position + math.prod(tensor.shape) * rank[index].itemsize
        header[name] = {"dtype": _DTYPE_NAMES[rank[index]], "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file, unsplit_operations():
        file.write(len(text).to_bytes(8, "little") + text)
        for index, _, tensor in entries:
            file.write(as_bytes(materialize(tensor, rank[index])))
        file.flush()
        os.fsync(file.fileno())
