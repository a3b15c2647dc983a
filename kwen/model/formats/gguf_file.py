"""The container of a GGUF file: header, metadata and where each tensor lies, with everything checked before it is used.

Format: ggml's `docs/gguf.md`. Versions 2 and 3, little-endian. A count, length, offset or size is compared with what the
file still holds before anything is read or allocated by it, so a hostile file costs an error line and no more.
"""

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.model.formats.dequantize import PLAIN_TYPES, QUANT_TYPES, REFUSED_TYPES
from kwen.model.formats.tensors import LazyTensor, QuantizedTensor, SourceFile, StoredTensor

MAGIC = b"GGUF"
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_ARRAY = 1 << 24
MAX_NAME = 1 << 10
"""Far beyond any real file: the largest vocabularies have 2**18 entries, the deepest models some thousand tensors."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True)
class GGUFFile:
    """Metadata (numbers, text, lists of them) and unread tensors of a GGUF file, by their names in the file."""

    metadata: dict[str, Any]
    tensors: dict[str, LazyTensor]


class _Cursor:
    """A position in the header that refuses to pass the end of the file."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.position = path, data, 0

    def fail(self, what: str) -> UserError:
        return UserError(f"{self.path}: {what}; the file is cut short or damaged, fetch it again")

    def take(self, size: int, what: str) -> int:
        """Pass `size` bytes; returns where they start."""
        start = self.position
        if size > len(self.data) - start:
            raise self.fail(f"{what} takes {size} bytes where {len(self.data) - start} are left")
        self.position = start + size
        return start

    def number(self, code: str, what: str) -> Any:
        layout = struct.Struct("<" + code)
        return layout.unpack_from(self.data, self.take(layout.size, what))[0]

    def text(self, what: str, limit: int | None = None) -> str:
        size = self.number("Q", what)
        if limit is not None and size > limit:
            raise self.fail(f"{what} is a name of {size} bytes")
        start = self.take(size, what)
        return self.decode(self.data[start : start + size], what)

    def decode(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.fail(f"{what} is not valid UTF-8") from error

    def value(self, kind: int, what: str) -> Any:
        """A metadata value of type number `kind`."""
        if kind == _STRING:
            return self.text(what)
        if kind == _ARRAY:
            return self.array(what)
        if kind not in _SCALARS:
            raise self.fail(f"{what} has the unknown type {kind}")
        return self.number(_SCALARS[kind], what)

    def array(self, what: str) -> list[Any]:
        kind, count = self.number("I", what), self.number("Q", what)
        if count > MAX_ARRAY:
            raise self.fail(f"{what} claims {count} entries")
        if kind == _STRING:
            return self._texts(count, what)
        if kind not in _SCALARS:
            raise self.fail(f"{what} is an array of the unknown or nested type {kind}")
        size = struct.calcsize(_SCALARS[kind]) * count
        return list(struct.unpack_from(f"<{count}{_SCALARS[kind]}", self.data, self.take(size, what)))

    def _texts(self, count: int, what: str) -> list[str]:
        """A vocabulary's strings; the loop is spelled out because there are hundreds of thousands of them."""
        if 8 * count > len(self.data) - self.position:
            raise self.fail(f"{what} claims {count} strings where {len(self.data) - self.position} bytes are left")
        data, position, end, length = self.data, self.position, len(self.data), struct.Struct("<Q").unpack_from
        texts: list[str] = []
        for _ in range(count):
            if position + 8 > end:
                raise self.fail(f"{what} ends inside an entry")
            start = position + 8
            position = start + length(data, position)[0]
            if position > end:
                raise self.fail(f"{what} has an entry that reaches past the end of the file")
            texts.append(self.decode(data[start:position], what))
        self.position = position
        return texts


def read_gguf(path: Path) -> GGUFFile:
    """The metadata and tensors of the GGUF file at `path`, checked.

    Tensors are F32, F16, BF16, F64 or one of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K; their shapes are rows first, as
    torch has them. Raises UserError for any other type, by its name, and for every disagreement between header and file.
    """
    source = SourceFile(path)
    if source.size < 24 or source.read(0, 4, "the magic") != MAGIC:
        raise UserError(f"{path}: not a GGUF file (it does not begin with GGUF, or is shorter than a header)")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(path, data)
        cursor.position = 4
        version = cursor.number("I", "the version")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            kind = "is big-endian" if swapped in (2, 3) else f"has GGUF version {version}"
            raise UserError(f"{path}: it {kind}; little-endian versions 2 and 3 are read")
        tensor_count, key_count = cursor.number("Q", "the tensor count"), cursor.number("Q", "the key count")
        if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
            raise cursor.fail(f"the header claims {tensor_count} tensors and {key_count} keys")
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = cursor.text("a metadata key", MAX_NAME)
            if key in metadata:
                raise cursor.fail(f"the metadata key {key} occurs twice")
            metadata[key] = cursor.value(cursor.number("I", f"the type of {key}"), f"metadata key {key}")
        infos = [_tensor_info(cursor) for _ in range(tensor_count)]
        header_end = cursor.position
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or not 8 <= alignment <= 1 << 16 or alignment & (alignment - 1):
        raise UserError(f"{path}: general.alignment is {str(alignment)[:40]}; a power of two from 8 to 65536 is expected")
    return GGUFFile(metadata, _place_tensors(source, infos, -(-header_end // alignment) * alignment, alignment))


def _tensor_info(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape with rows first, ggml type, offset in the data) of the next tensor."""
    name = cursor.text("a tensor's name", MAX_NAME)
    what = f"tensor {name}"
    dimensions = cursor.number("I", what)
    if not 1 <= dimensions <= 4:
        raise cursor.fail(f"{what} has {dimensions} dimensions")
    sizes = [cursor.number("Q", what) for _ in range(dimensions)]
    if not all(0 < size < 1 << 40 for size in sizes):
        raise cursor.fail(f"{what} has the shape {sizes}")
    return name, tuple(reversed(sizes)), cursor.number("I", what), cursor.number("Q", what)


def _place_tensors(
    source: SourceFile, infos: list[tuple[str, tuple[int, ...], int, int]], data_start: int, alignment: int
) -> dict[str, LazyTensor]:
    """Tensors by name; UserError for an unknown type, a repeated name, an offset outside the file, or an overlap."""
    tensors: dict[str, LazyTensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, shape, kind, offset in infos:
        where = f"{source.path}: tensor {name}"
        if name in tensors:
            raise UserError(f"{where} occurs twice; the file is damaged")
        if kind not in QUANT_TYPES and kind not in PLAIN_TYPES:
            known = ", ".join([entry[0] for entry in PLAIN_TYPES.values()] + [entry.name for entry in QUANT_TYPES.values()])
            raise UserError(f"{where} has type {REFUSED_TYPES.get(kind, kind)}, which is not read; types read: {known}")
        begin = data_start + offset
        if kind in QUANT_TYPES:
            quant = QUANT_TYPES[kind]
            if shape[-1] % quant.block_values:
                raise UserError(f"{where}: rows of {shape[-1]} do not divide into {quant.name} blocks of {quant.block_values}")
            size = math.prod(shape) // quant.block_values * quant.block_bytes
            tensors[name] = QuantizedTensor(source, name, begin, shape, quant)
        else:
            size = math.prod(shape) * PLAIN_TYPES[kind][1].itemsize
            tensors[name] = StoredTensor(source, name, begin, shape, PLAIN_TYPES[kind][1])
        if offset % alignment or begin + size > source.size:
            raise UserError(
                f"{where}: {size} bytes at offset {offset} do not fit the file of {source.size} bytes (data from "
                f"{data_start}, alignment {alignment}); it is cut short or damaged"
            )
        spans.append((begin, begin + size, name))
    spans.sort()
    for (_, end, before), (begin, _, name) in zip(spans, spans[1:], strict=False):
        if begin < end:
            raise UserError(f"{source.path}: tensor {name} overlaps tensor {before}; the file is damaged or was made to deceive")
    return tensors
