"""Files of a folder by relative name, without ever following a link; used on both sides of a session's jail.

A session's workspace is a file system in memory inside its jail. Files travel to and from the host as bytes through the trusted
supervisor, never by a shared mount: what a cell makes can then reach the host only as a plain file of mode 0644 under a checked
name. A link, device, pipe, socket or setuid bit has no way through, a full or endless folder harms the jail alone, and the
host's folder needs no owner that the jail's user shares.
"""

import contextlib
import os
import stat
from collections.abc import Iterable
from typing import BinaryIO

MAX_DEPTH, MAX_LISTED = 16, 4096
Snapshot = dict[str, tuple[int, int, int, int]]  # name: size, inode, and the times of content and of change in ns

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_name(name: str) -> str:
    """`name` if it names a file below a folder in plain characters; else ValueError."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or len(os.fsencode(part)) > 255 for part in parts) or len(parts) > MAX_DEPTH:
        raise ValueError(f"{name!r} is no file name inside the workspace")
    if not name.isprintable():  # control characters, and surrogates for bytes that are no UTF-8
        raise ValueError(f"{name!r} has characters that a file name here may not have")
    return name


def scan(folder: int) -> Snapshot:
    """The regular files below an open folder, sorted by name; others, and names that `check_name` refuses, are left out."""
    found: Snapshot = {}

    def enter(fd: int, prefix: str, depth: int) -> None:
        with os.scandir(fd) as entries:
            for entry in entries:
                if len(found) >= MAX_LISTED:
                    return
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if depth < MAX_DEPTH:
                        try:
                            inner = os.open(entry.name, _FOLDER, dir_fd=fd)
                        except OSError:  # closed by its mode
                            continue
                        try:
                            enter(inner, f"{name}/", depth + 1)
                        finally:
                            os.close(inner)
                elif entry.is_file(follow_symlinks=False) and _is_plain(name):
                    status = entry.stat(follow_symlinks=False)
                    found[name] = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)

    enter(folder, "", 1)
    return dict(sorted(found.items()))


def _is_plain(name: str) -> bool:
    try:
        check_name(name)
    except ValueError:
        return False
    return True


def _parent(folder: int, name: str, make: bool) -> tuple[int, str]:
    """The open folder that holds `name`, to be closed by the caller, and the last part of the name."""
    *parents, last = check_name(name).split("/")
    fd = os.dup(folder)
    try:
        for part in parents:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=fd)
            inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
    except BaseException:
        os.close(fd)
        raise
    return fd, last


def open_file(folder: int, name: str) -> BinaryIO:
    """A regular file below an open folder, for reading. OSError, or ValueError where it is something else."""
    parent, last = _parent(folder, name, make=False)
    try:
        fd = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError(f"{name!r} is no regular file")
    return open(fd, "rb")


def make_file(folder: int, name: str, chunks: Iterable[bytes]) -> None:
    """Write a file below an open folder: aside, then renamed over what has its name (a link is replaced, not followed).

    Folders on the way are made. OSError, or ValueError for a name that `check_name` refuses.
    """
    parent, last = _parent(folder, name, make=True)
    try:
        aside = f".{os.getpid()}.aside"
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent)
        try:
            with open(fd, "wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            os.replace(aside, last, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.unlink(aside, dir_fd=parent)
            raise
    finally:
        os.close(parent)
