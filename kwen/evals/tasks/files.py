"""A benchmark's published files, read where they lie: loose, packed (.gz), or members of a .tar, .tar.gz, .tgz or .zip.

A file is found by the end of its path, so that it does not matter in which folders a publisher or a user packed it. Rows come
with where they stand, so that every error names file and line. Nothing is unpacked to disk, and what a packed file may grow to
is bounded.
"""

import csv
import gzip
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from kwen.errors import UserError
from kwen.evals.generations import check_text, parse_rows
from kwen.evals.tasks.sources import SOURCES

MAX_BYTES = 1 << 30
"""Of one unpacked file, and of all members that are read of one archive."""
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")
_PARQUET_BATCH = 1024
"""Rows decoded at a time."""
_DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)
csv.field_size_limit(1 << 24)


@dataclass(frozen=True)
class Row:
    """One row of a file; `where` names the file and the line (or the number of the row, in a JSON list)."""

    where: str
    values: dict[str, Any]

    def text(self, key: str) -> str:
        """The text at `key`. UserError where it is no text."""
        return check_text(self.values.get(key), f'{self.where}: "{key}"')

    def texts(self, key: str, least: int = 1) -> list[str]:
        """The list of texts at `key`, `least` of them at least."""
        values = self.values.get(key)
        if not isinstance(values, list) or len(values) < least:
            raise UserError(f'{self.where}: "{key}" must be a list of {least} texts at least')
        return [check_text(value, f'{self.where}: "{key}"') for value in values]

    def choice(self, key: str, labels: Sequence[str]) -> int:
        """The place among `labels` of the right answer at `key`, given as a label or as its number from 0."""
        value = self.values.get(key)
        named = value.strip() if isinstance(value, str) else value
        if isinstance(named, str) and named in (known := list(labels)):
            return known.index(named)
        number = int(named) if isinstance(named, str) and named.isascii() and named.isdigit() and len(named) < 4 else named
        if type(number) is int and 0 <= number < len(labels):
            return number
        raise UserError(f'{self.where}: "{key}" is {value!r}; it must be one of {", ".join(labels)} or a number from 0')


class Files:
    """The files of one benchmark under `data`/`folder`.

    Raises UserError, naming the task, where it looked, and `home`, the place where the publisher keeps them, if nothing is there.
    """

    def __init__(self, data: Path | None, task: str, folder: str, home: str) -> None:
        self._task, self._home = task, home
        self.root = None if data is None else data / folder
        if self.root is None:
            raise UserError(f"{task} needs its data: give --data a folder that holds {folder}/ (published as {home})")
        if not self.root.is_dir():
            known = f"fetches {SOURCES[folder].repository}" if folder in SOURCES else "does not fetch them"
            raise UserError(f"{task}: {self.root} does not exist; put the files of {home} there (kwen eval --hub {known})")
        self._found = _scan(self.root, tuple(sorted((p, p.stat().st_mtime_ns) for p in self.root.rglob("*") if p.is_file())))

    def names(self, suffix: str) -> list[str]:
        """The paths that end in `suffix`, sorted."""
        return sorted(name for name in self._found if name.endswith(suffix))

    def following(self, template: str) -> list[str]:
        """What stands for {} in the paths that end in `template` ("dev/{}.csv"), each once, sorted."""
        before, _, after = template.partition("{}")
        found = set()
        for path in self.names(after):
            stem = path.removesuffix(after).rpartition("/")[2]
            if f"/{path}".endswith(f"/{before}{stem}{after}"):
                found.add(stem)
        return sorted(found)

    def subjects(self, template: str) -> list[str]:
        """`following`, with a UserError where there is none."""
        found = self.following(template)
        if not found:
            raise UserError(f"{self._task}: no {template.format('SUBJECT')} in {self.root}; put the files of {self._home} there")
        return found

    def first(self, *names: str) -> str:
        """The first of `names` that is there: publishers and their mirrors call one file by several. UserError where none is."""
        for name in names:
            if self._paths(name):
                return name
        raise UserError(f"{self._task}: no {' or '.join(names)} in {self.root}; put the files of {self._home} there")

    def read(self, name: str) -> bytes:
        """A file's bytes, by its path or the end of it. UserError where there is none, or several that differ."""
        paths = self._paths(self.first(name))
        content = self._found[paths[0]]()
        for path in paths[1:]:
            if self._found[path]() != content:
                raise UserError(f"{self._task}: {paths[0]} and {path} in {self.root} differ; keep one of them")
        return content

    def _paths(self, name: str) -> list[str]:
        return [name] if name in self._found else sorted(path for path in self._found if path.endswith(f"/{name}"))

    def labels(self, name: str, labels: Sequence[str], rows: Sequence[Row]) -> list[int]:
        """The place among `labels` of each line of a file that holds the labels of `rows`, one a line. UserError for a line
        with none of them, and for more or fewer lines than rows."""
        where = f"{self.root}/{name}"
        lines = self.read(name).decode("utf-8", "replace").split()
        for number, line in enumerate(lines, start=1):
            if line not in labels:
                raise UserError(f"{where}, line {number}: {line[:40]!r} is no label; it must be one of {', '.join(labels)}")
        if len(lines) != len(rows):
            raise UserError(f"{where}: {len(lines)} labels for {len(rows)} rows; both files must be of one split")
        return [list(labels).index(line) for line in lines]

    @staticmethod
    def labelled(rows: Sequence[Row], key: str, labels: Sequence[str]) -> list[int]:
        """The place among `labels` of the label that each row holds at `key`, as text or as a number. UserError for another."""
        for row in rows:
            if str(row.values.get(key)) not in labels:
                raise UserError(f'{row.where}: "{key}" is {row.values.get(key)!r}; it must be one of {", ".join(labels)}')
        return [list(labels).index(str(row.values[key])) for row in rows]

    def rows(self, name: str, columns: Sequence[str] | None = None, json_lines: bool = False) -> list[Row]:
        """The rows of a .jsonl, .json (a list, or an object that holds one under "examples" or "example"), .csv, .tsv or .parquet
        file.

        columns: the names of a table's columns where its first line does not give them. json_lines: a .json file that is JSON
        lines all the same. UserError for a row that cannot be read, and for a file without any.
        """
        where = f"{self.root}/{name}"
        content = self.read(name)
        if name.endswith(".jsonl") or json_lines:
            rows = [Row(f"{where}, line {n}", row) for n, row in parse_rows(content.splitlines(), Path(where))]
        elif name.endswith(".json"):
            rows = _json_rows(content, where)
        elif name.endswith(".parquet"):
            rows = _parquet_rows(content, where)
        else:
            rows = _table(content, where, "\t" if name.endswith(".tsv") else ",", columns)
        if not rows:
            raise UserError(f"{where}: no row in it")
        return rows


def _json_rows(content: bytes, where: str) -> list[Row]:
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    if isinstance(value, dict):
        value = next((value[key] for key in ("examples", "example") if isinstance(value.get(key), list)), None)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UserError(f'{where}: a list of objects is expected, or an object with one under "examples"')
    return [Row(f"{where}, row {number}", row) for number, row in enumerate(value, start=1)]


def _table(content: bytes, where: str, delimiter: str, columns: Sequence[str] | None) -> list[Row]:
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter)
        names = list(columns) if columns is not None else next(reader, [])
        rows = []
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(names):
                raise UserError(f"{where}, line {reader.line_num}: {len(cells)} cells, but {len(names)} columns")
            rows.append(Row(f"{where}, line {reader.line_num}", dict(zip(names, cells, strict=True))))
        return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where}: not a table in UTF-8 ({error})") from None


def _parquet_rows(content: bytes, where: str) -> list[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f'{where}: reading Parquet needs pyarrow; pip install "kwen[data]"') from None
    rows: list[Row] = []
    size = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content)).iter_batches(batch_size=_PARQUET_BATCH):
            size += batch.nbytes
            if size > MAX_BYTES:
                raise UserError(f"{where}: unpacks to more than {MAX_BYTES >> 20} MiB")
            rows += [Row(f"{where}, row {len(rows) + n}", values) for n, values in enumerate(batch.to_pylist(), start=1)]
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{where}: not readable as Parquet ({reason}); fetch it again") from None
    return rows


@lru_cache(maxsize=32)
def _scan(root: Path, files: tuple[tuple[Path, int], ...]) -> dict[str, Callable[[], bytes]]:
    """Path within `root`, archives opened and .gz taken off -> what reads the file. A loose file goes before a packed one of the
    same path. Left out are names that begin with a dot: what macOS puts into archives beside a file (._NAME), and `.hub.json`."""
    found: dict[str, Callable[[], bytes]] = {}
    for path, _ in files:
        name = path.relative_to(root).as_posix()
        if name.endswith(_ARCHIVES):
            for member, content in _members(path).items():
                found.setdefault(member, partial(bytes, content))
        elif name.endswith(".gz"):
            found.setdefault(name.removesuffix(".gz"), partial(_unpack, path))
        else:
            found[name] = path.read_bytes
    return {name: read for name, read in found.items() if not name.rpartition("/")[2].startswith(".")}


def _unpack(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_BYTES + 1)
    except _DAMAGE as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch it again") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB")
    return content


def _members(path: Path) -> dict[str, bytes]:
    """The regular files of an archive."""
    found: dict[str, bytes] = {}
    left = MAX_BYTES

    def take(name: str, file: Any) -> None:
        nonlocal left
        content = file.read(left + 1)
        left -= len(content)
        if left < 0:
            raise UserError(f"{path}: unpacks to more than {MAX_BYTES >> 20} MiB")
        found[name] = content

    try:
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        with archive.open(info) as file:
                            take(info.filename, file)
        else:
            with tarfile.open(path, "r:*") as packed:
                for member in packed:
                    if member.isreg() and (opened := packed.extractfile(member)) is not None:
                        take(member.name, opened)
    except (*_DAMAGE, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path}: damaged, encrypted or cut off ({error}); fetch it again") from None
    return found
