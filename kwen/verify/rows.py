"""Files of rows (SFT conversations, preference pairs): JSON lines or one JSON array, packed by gzip or not.

    file -> rows, each with its place "file:line" -> the one kind that all rows are of

What a row's keys mean is told by the modules that know the kinds. Files are hostile: what is read at once is bounded, and
whatever is not a row is a UserError with its place.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from kwen.errors import UserError

MAX_LINE_BYTES = 64 << 20  # one line of JSON lines
MAX_ARRAY_BYTES = 512 << 20  # a JSON array is held in memory as a whole

Row = dict[str, Any]


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """(where, row) of every JSON object in the file, `where` being "path:line" of its beginning; blank lines are skipped.

    Raises UserError for a missing or damaged file, text that is not UTF-8 or not JSON, and values that are not objects.
    """
    with _opened(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            text = _decode(line, path, number)
            if number == 1:
                text = text.removeprefix("\ufeff")
            if not text.strip():
                continue
            if text.lstrip()[0] == "[":
                yield from _array(text + _decode(stream.read(MAX_ARRAY_BYTES + 1), path, number + 1), path, number)
                return
            if len(line) > MAX_LINE_BYTES:
                raise UserError(f"{path}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB; fix or remove it")
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                _not_json(path, number, error)
            yield f"{path}:{number}", _object(value, path, number)


def kind_of(path: Path, classify: Callable[[Row], str | None], known: Mapping[str, str]) -> str:
    """The kind of the rows of a file, by `classify` (None: unknown); `known` maps each kind to how its rows look, for errors.

    Raises UserError for a file without rows, rows of no known kind, and rows of several kinds, with their counts and the
    first place of each.
    """
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    keys: list[str] = []
    for where, row in read_rows(path):
        kind = classify(row) or "unknown"
        counts[kind] += 1
        if kind not in first:
            first[kind] = where
            keys = sorted(row) if kind == "unknown" else keys
    if not counts:
        raise UserError(f"{path}: no rows; give JSON lines or a JSON array of objects")
    if len(counts) > 1:
        found = ", ".join(f"{count} {kind} (first {first[kind]})" for kind, count in counts.items())
        raise UserError(f"{path}: rows of different kinds: {found}; give each kind a file of its own")
    (kind,) = counts
    if kind == "unknown":
        raise UserError(f"{first[kind]}: keys {', '.join(keys)[:200]} are of no known kind; use {'; '.join(known.values())}")
    return kind


def text_of(row: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    """The string under `key`, or `default` where it is missing or null. Raises UserError naming `where` otherwise."""
    value = row.get(key)
    if value is None:
        value = default
    if not isinstance(value, str):
        problem = "is missing" if value is None else f"must be a string, not {type(value).__name__}"
        raise UserError(f'{where}: "{key}" {problem}; fix or remove the row')
    return value


def list_of(row: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """The list under `key`. Raises UserError naming `where` otherwise."""
    value = row.get(key)
    if not isinstance(value, list):
        problem = "is missing" if value is None else f"must be a list, not {type(value).__name__}"
        raise UserError(f'{where}: "{key}" {problem}; fix or remove the row')
    return value


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes as a stream, unpacked where it is a gzip file, whatever its name."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; give JSON lines or a JSON array, packed by gzip or not")
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream  # type: ignore[misc]
            else:
                yield file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None


def _decode(data: bytes, path: Path, number: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number += data.count(b"\n", 0, error.start)
        raise UserError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the file") from None


def _array(text: str, path: Path, number: int) -> Iterator[tuple[str, Row]]:
    """The objects of a JSON array, decoded one by one so that each has its line; `number` is the line `text` begins in."""
    if len(text) > MAX_ARRAY_BYTES:
        raise UserError(f"{path}: a JSON array of more than {MAX_ARRAY_BYTES >> 20} MiB; convert it to JSON lines")
    decoder = json.JSONDecoder()
    at, counted = _space(text, text.index("[") + 1), 0
    while text[at : at + 1] != "]":
        number += text.count("\n", counted, at)
        counted = at
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            _not_json(path, number, error)
        yield f"{path}:{number}", _object(value, path, number)
        at = _space(text, at)
        if text[at : at + 1] == ",":
            at = _space(text, at + 1)
        elif text[at : at + 1] != "]":
            _not_json(path, number, "the array is cut off or lacks a comma after this row")
    if text[at + 1 :].strip():
        raise UserError(f"{path}: something follows the JSON array; give one array, or JSON lines")


def _space(text: str, at: int) -> int:
    """The next place from `at` on that is no white space."""
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _object(value: Any, path: Path, number: int) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{path}:{number}: a row must be a JSON object, not {type(value).__name__}; fix or remove it")
    return value


def _not_json(path: Path, number: int, error: Exception | str) -> NoReturn:
    problem = error.msg if isinstance(error, json.JSONDecodeError) else error  # its own line and column are of this row alone
    raise UserError(f"{path}:{number}: not JSON ({problem}); fix or remove the row") from None
