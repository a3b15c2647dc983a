"""The texts inside one file, by its suffix: whole files, JSON, JSON lines, Parquet."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from kwen.corpus.archives import MAX_FILE_BYTES
from kwen.corpus.extract import decode, from_html, from_markdown, repair_surrogates
from kwen.errors import UserError

WHOLE_SUFFIXES = (".txt", ".rst", ".md", ".html", ".htm", ".xhtml")
RECORD_SUFFIXES = (".jsonl", ".json", ".parquet")
MAX_LINE_BYTES = 64 << 20  # one line of a .jsonl file
PARQUET_BATCH = 1024  # rows decoded at a time


@dataclass(frozen=True, slots=True)
class Record:
    """One text of a file: its number counted from 1 (None where the file is one text), and repaired characters in it."""

    number: int | None
    text: str
    invalid_utf8: int = 0


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record that is none, and why; `number` as in `Record`."""

    number: int | None
    reason: str


def suffix_of(label: str) -> str | None:
    """The suffix by which a file is read, in lower case and below .gz; None where it is not a text format."""
    name = PurePosixPath(label.lower().removesuffix(".gz"))
    return name.suffix if name.suffix in WHOLE_SUFFIXES + RECORD_SUFFIXES else None


def records(label: str, stream: BinaryIO, text_key: str) -> Iterator[Record | Unreadable]:
    """The texts of the file `label` (its suffix must be one of the above), in order.

    JSON objects and Parquet rows give the value under `text_key`: a string, or a list of strings joined by line ends; a bare
    JSON string is a text itself. Raises UserError for a Parquet file that is damaged or has no such column.
    """
    suffix = suffix_of(label)
    if suffix == ".jsonl":
        yield from _json_lines(stream, text_key)
        return
    data = stream.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        yield Unreadable(None, "larger than 256 MiB")
    elif suffix == ".parquet":
        yield from _parquet_rows(label, data, text_key)
    elif suffix == ".json":
        yield from _json_values(data, text_key)
    else:
        text, invalid = decode(data)
        if suffix == ".md":
            text = from_markdown(text)
        elif suffix in (".html", ".htm", ".xhtml"):
            text = from_html(text)
        yield Record(None, text, invalid)


def _json_lines(stream: BinaryIO, text_key: str) -> Iterator[Record | Unreadable]:
    number = 0
    while line := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE_BYTES)
            yield Unreadable(number, "line longer than 64 MiB")
        elif line.strip():
            yield _parsed(number, line, text_key)


def _json_values(data: bytes, text_key: str) -> Iterator[Record | Unreadable]:
    text, invalid = decode(data)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        yield Unreadable(None, "not JSON")
        return
    if not isinstance(value, list):
        yield _of_value(None, value, text_key, invalid)
        return
    for number, item in enumerate(value, 1):
        # Where in the file the broken bytes lie is unknown here: the first record answers for them.
        yield _of_value(number, item, text_key, invalid if number == 1 else 0)


def _parsed(number: int, line: bytes, text_key: str) -> Record | Unreadable:
    text, invalid = decode(line)
    try:
        return _of_value(number, json.loads(text), text_key, invalid)
    except (ValueError, RecursionError):
        return Unreadable(number, "not JSON")


def _of_value(number: int | None, value: Any, text_key: str, invalid: int) -> Record | Unreadable:
    if isinstance(value, dict):
        value = value.get(text_key)
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return Unreadable(number, f"no text under {text_key!r}")
    text, repaired = repair_surrogates(value)
    return Record(number, text, invalid + repaired)


def _parquet_rows(label: str, data: bytes, text_key: str) -> Iterator[Record | Unreadable]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{label}: reading Parquet needs pyarrow; pip install 'kwen[data]'") from None
    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        if text_key not in file.schema_arrow.names:
            names = ", ".join(file.schema_arrow.names[:12])
            raise UserError(f"{label}: no column {text_key!r} (it has {names}); set text_key of this source")
        for batch in file.iter_batches(batch_size=PARQUET_BATCH, columns=[text_key]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield _of_value(number, value, text_key, 0)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{label}: not readable as Parquet ({' '.join(str(error).split())[:120]}); exclude it") from None
