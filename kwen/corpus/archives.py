"""Files of a source as streams: a folder, one file, and the members of .tar, .tar.gz, .tgz, .zip and .gz archives.

Archives are hostile. Nothing is ever written to disk; a member's name is only a label; links, devices, encrypted and sparse
members are left out; what an archive expands to is bounded while it is read, whatever its headers claim. A damaged archive,
or one that expands past the bounds, is a UserError that names it: the user excludes it, or fetches it again.
"""

import gzip
import io
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from kwen.errors import UserError

MAX_FILE_BYTES = 256 << 20  # one file or member that is read as a whole
MAX_TAR_BYTES = 1 << 30  # a tar's members are held in memory to be put in order
MAX_EXPANSION = 200  # bytes out for a byte in; text and markup reach 10, logs 50, a bomb 1,000
FREE_EXPANSION = 64 << 20  # below this many bytes nothing is judged by its expansion

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
ARCHIVE_SUFFIXES = (*TAR_SUFFIXES, ".zip", ".gz")

_DAMAGE = (zlib.error, EOFError, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One readable file. `label` is its path within the source, `file` the part of it that lies on disk; `stream` is valid
    until the next entry is asked for."""

    label: str
    file: str
    stream: BinaryIO


@dataclass(frozen=True, slots=True)
class Refused:
    """A file or member that is left out, and why."""

    label: str
    reason: str


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Sort key that puts chapter-2 before chapter-10."""
    # 18 digits at most in one number: a hostile name could hold millions.
    parts = re.split(r"([0-9]{1,18})", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def clean_label(name: str) -> str:
    """A member's name as a relative path of printable characters, without `..`, for labels alone."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    printable = "".join(c if c.isprintable() else "?" for c in "/".join(parts))
    return printable.encode("utf-8", "replace").decode() or "?"


def disk_files(root: Path) -> Iterator[tuple[str, Path]]:
    """(label, path) of every file under `root` in natural order, or of `root` itself; hidden files and folders are not seen.

    Symbolic links below `root` are not followed. Raises UserError where `root` does not exist.
    """
    if root.is_file():
        yield root.name, root
        return
    if not root.is_dir():
        raise UserError(f"{root}: no such file or folder; correct the path of this source")
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(folder, name) for name in names if not name.startswith(".")]
        found += [(path.relative_to(root).as_posix(), path) for path in paths]
    yield from sorted(found, key=lambda pair: natural_key(pair[0]))


def entries(root: Path, wanted: Callable[[str], bool]) -> Iterator[Entry | Refused]:
    """The files of `root`, archives opened, whose labels are `wanted`, in natural order within the folder and each archive."""
    for label, path in disk_files(root):
        if path != root and not stat.S_ISREG(path.lstat().st_mode):
            yield Refused(label, "not a regular file")
        elif label.lower().endswith(TAR_SUFFIXES):
            yield from _tar_entries(label, path, wanted)
        elif label.lower().endswith(".zip"):
            yield from _zip_entries(label, path, wanted)
        elif wanted(label):
            with open(path, "rb") as file:
                if label.lower().endswith(".gz"):
                    inner = _Bounded(gzip.GzipFile(fileobj=file), _Budget(path))
                    yield Entry(label, label, io.BufferedReader(inner))
                else:
                    yield Entry(label, label, file)


class _Budget:
    """How many bytes an archive may still expand to; shared by the streams of its members."""

    def __init__(self, path: Path, ceiling: int | None = None) -> None:
        self.path = path
        self.left = max(FREE_EXPANSION, MAX_EXPANSION * path.stat().st_size)
        if ceiling is not None:
            self.left = min(self.left, ceiling)

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UserError(
                f"{self.path}: expands to more than {MAX_EXPANSION} times its size or to more than it may; "
                "exclude it, or unpack it yourself and name the folder"
            )

    def damaged(self, error: Exception) -> UserError:
        return UserError(f"{self.path}: damaged or cut off ({error}); fetch it again, or exclude it")


class _Bounded(io.RawIOBase):
    """A decompressed stream that charges a budget for what it gives, and names the archive when it turns out damaged."""

    def __init__(self, stream: BinaryIO | gzip.GzipFile, budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except _DAMAGE as error:
            raise self._budget.damaged(error) from None
        self._budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def _tar_entries(label: str, path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry | Refused]:
    """Members in natural order. They lie in the tar in any order and it cannot be searched, so the wanted ones are held."""
    budget = _Budget(path, ceiling=MAX_TAR_BYTES)
    found: list[tuple[str, bytes | str]] = []
    with open(path, "rb") as file:
        stream = file if label.lower().endswith(".tar") else gzip.GzipFile(fileobj=file)
        try:
            with tarfile.open(fileobj=io.BufferedReader(_Bounded(stream, budget)), mode="r|") as tar:
                for member in tar:
                    name = f"{label}/{clean_label(member.name)}"
                    if member.isdir() or not wanted(name):
                        continue
                    if not member.isreg() or member.issparse():
                        found.append((name, "not a regular file"))
                    elif member.size > MAX_FILE_BYTES:
                        found.append((name, "larger than 256 MiB"))
                    else:
                        content = tar.extractfile(member)
                        found.append((name, content.read() if content else b""))
        except UserError:
            raise
        except (*_DAMAGE, ValueError) as error:
            raise budget.damaged(error) from None
    for name, data in sorted(found, key=lambda pair: natural_key(pair[0])):
        yield Refused(name, data) if isinstance(data, str) else Entry(name, label, io.BytesIO(data))


def _zip_entries(label: str, path: Path, wanted: Callable[[str], bool]) -> Iterator[Entry | Refused]:
    budget = _Budget(path)
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGE, ValueError, NotImplementedError) as error:
        raise budget.damaged(error) from None
    with archive:
        named = [(f"{label}/{clean_label(info.filename)}", info) for info in archive.infolist() if not info.is_dir()]
        for name, info in sorted(named, key=lambda pair: natural_key(pair[0])):
            if not wanted(name):
                continue
            if stat.S_ISLNK(info.external_attr >> 16):
                yield Refused(name, "not a regular file")
            elif info.flag_bits & 1:
                yield Refused(name, "encrypted")
            elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                yield Refused(name, "compressed by an unusual method")
            else:
                try:
                    stream = archive.open(info)
                except (*_DAMAGE, NotImplementedError) as error:
                    raise budget.damaged(error) from None
                with stream:
                    yield Entry(name, label, io.BufferedReader(_Bounded(stream, budget)))  # type: ignore[arg-type]
