"""Token shards: many documents of ids in one memory-mapped file, each found in constant time.

header.json    {"format": "kwen-shards", "version": 1, "dtype": "uint16", "documents": N, "tokens": T, "vocab_size": V}
tokens.bin     T little-endian ids, document after document
offsets.npy    N + 1 int64: document i is tokens[offsets[i]:offsets[i + 1]]
"""

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kwen.errors import UserError
from kwen.files import folder_aside, write_json

_FORMAT, _VERSION = "kwen-shards", 1
_DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}


def write_shards(documents: Iterator[Sequence[int]], out: Path | str, vocab_size: int) -> dict[str, Any]:
    """Write the documents' ids to the folder `out` (all of it or nothing) and return its header.

    Two bytes an id where the vocabulary fits them, else four. Memory holds one document and eight bytes for each. Raises
    UserError for an id outside the vocabulary, naming the document.
    """
    name = "uint16" if vocab_size <= 1 << 16 else "uint32"
    offsets = [0]
    with folder_aside(out) as folder:
        with open(folder / "tokens.bin", "wb") as file:
            for index, document in enumerate(documents):
                ids = np.asarray(document, dtype=np.int64)
                if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
                    wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
                    raise UserError(f"{out}: document {index} holds the id {wrong}, outside the vocabulary of {vocab_size}")
                file.write(ids.astype(_DTYPES[name]).tobytes())
                offsets.append(offsets[-1] + ids.size)
        np.save(folder / "offsets.npy", np.asarray(offsets, dtype="<i8"), allow_pickle=False)
        header = {
            "format": _FORMAT,
            "version": _VERSION,
            "dtype": name,
            "documents": len(offsets) - 1,
            "tokens": offsets[-1],
            "vocab_size": vocab_size,
        }
        write_json(folder / "header.json", header)
    return header


class TokenShards:
    """Reads what `write_shards` wrote; tokens stay on disk until they are used. Raises UserError for a damaged folder.

    `tokens` is all ids, (T,) uint16 or uint32; document i is tokens[offsets[i]:offsets[i + 1]], `offsets` (N + 1,) int64.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        header = self._header()
        self.vocab_size: int = header["vocab_size"]
        self.total_tokens: int = header["tokens"]
        dtype = _DTYPES[header["dtype"]]
        try:
            self.offsets = np.load(self.path / "offsets.npy", allow_pickle=False)
            size = (self.path / "tokens.bin").stat().st_size
        except (OSError, ValueError, EOFError) as error:
            raise self._fault(str(error)) from None
        offsets = self.offsets
        if offsets.shape != (header["documents"] + 1,) or offsets.dtype != np.int64:
            raise self._fault(f"offsets.npy does not describe {header['documents']} documents")
        if offsets[0] != 0 or offsets[-1] != self.total_tokens or (np.diff(offsets) < 0).any():
            raise self._fault("offsets.npy does not rise from 0 to the number of tokens")
        if size != self.total_tokens * dtype.itemsize:
            raise self._fault(f"tokens.bin holds {size} bytes where {self.total_tokens * dtype.itemsize} belong")
        self.tokens: np.ndarray = (
            np.memmap(self.path / "tokens.bin", dtype=dtype, mode="r") if self.total_tokens else np.empty(0, dtype)
        )

    def __len__(self) -> int:
        """The number of documents."""
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each document, (N,) int64."""
        return np.diff(self.offsets)

    def document(self, index: int) -> np.ndarray:
        """The ids of document `index`, a read-only view (length,) of uint16 or uint32. Raises IndexError past the end."""
        if not 0 <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def _header(self) -> dict[str, Any]:
        try:
            header = json.loads((self.path / "header.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path}: no token shards here (header.json is missing)") from None
        except (OSError, ValueError) as error:
            raise self._fault(f"header.json: {error}") from None
        if not isinstance(header, dict) or header.get("format") != _FORMAT or header.get("version") != _VERSION:
            raise self._fault(f"header.json does not say {_FORMAT}, version {_VERSION}")
        counts = [header.get(key) for key in ("documents", "tokens", "vocab_size")]
        if header.get("dtype") not in _DTYPES or any(type(count) is not int or count < 0 for count in counts):
            raise self._fault("header.json has a wrong dtype or count")
        return header

    def _fault(self, what: str) -> UserError:
        return UserError(f"{self.path}: damaged token shards, {what}; build them again")
