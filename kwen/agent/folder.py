"""The read and search tools: text files of one folder, and of no other place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kwen.agent.tool import cut
from kwen.errors import UserError

_MAX_BYTES = 2_000_000  # of a file that is read
_MAX_FILES = 5000  # that are looked at
_MAX_HITS = 20
_PAGE = 6000  # characters a call gives


class Folder:
    """A folder's text files by relative name. Links are followed only as far as they stay inside."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()

    def read(self, path: Annotated[str, Field(max_length=300)], start_line: int = 1) -> str:
        """Read a text file, or list a folder.

        Args:
            path: the file's name, relative to the folder; "." lists all files
            start_line: the first line to show; long files come in pages
        """
        target = self._inside(path)
        if target.is_dir():
            names = [self._name(file) for file in self._files(target)]
            return cut("\n".join(names), _PAGE) or "(no files)"
        lines = self._text(target).splitlines()
        if lines and not 1 <= start_line <= len(lines):
            raise UserError(f"{path} has {len(lines)} lines; start_line is {start_line}")
        shown: list[str] = []
        size = 0
        for line in lines[start_line - 1 :]:
            size += len(line) + 1
            if size > _PAGE and shown:
                break
            shown.append(cut(line, _PAGE))
        following = start_line + len(shown)
        if following <= len(lines):
            shown.append(f"[lines {following} to {len(lines)} follow: read on with start_line {following}]")
        return "\n".join(shown) or "(empty)"

    def search(self, words: Annotated[str, Field(max_length=200)]) -> str:
        """Find lines in the folder's files that hold the given words.

        Args:
            words: words to look for, upper and lower case alike; lines with most of them come first
        """
        wanted = list(dict.fromkeys(words.lower().split()))
        if not wanted:
            raise UserError("words is empty; give at least one word")
        hits: list[tuple[int, int, str]] = []
        for file in self._files(self._root):
            try:
                text = self._text(file)
            except UserError:  # pictures and the like hold no lines
                continue
            for number, line in enumerate(text.splitlines(), start=1):
                found = sum(word in line.lower() for word in wanted)
                if found:
                    hits.append((-found, len(hits), f"{self._name(file)}:{number}: {cut(line.strip(), 300)}"))
        if not hits:
            return f"nothing found for {' '.join(wanted)}"
        best = sorted(hits)[:_MAX_HITS]
        more = f"\n[{len(hits) - len(best)} further lines]" if len(hits) > len(best) else ""
        return "\n".join(line for _, _, line in best) + more

    def _inside(self, path: str) -> Path:
        try:
            target = (self._root / path).resolve()
        except (OSError, ValueError, RuntimeError):  # a NUL character, or links in a circle
            target = Path("/")
        if not target.is_relative_to(self._root):
            raise UserError(f"{path!r} is outside the folder; only files inside it can be read")
        if not target.exists():
            raise UserError(f"there is no {path!r}; . lists the files")
        return target

    def _files(self, under: Path) -> Iterator[Path]:
        count = 0
        for path in sorted(under.rglob("*")):
            hidden = any(part.startswith(".") for part in path.relative_to(self._root).parts)
            if hidden or not path.is_file() or not path.resolve().is_relative_to(self._root):
                continue
            yield path
            count += 1
            if count == _MAX_FILES:
                return

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()

    def _text(self, file: Path) -> str:
        name = self._name(file)
        if not file.is_file():
            raise UserError(f"{name} is no file")
        try:
            with open(file, "rb") as stream:
                data = stream.read(_MAX_BYTES + 1)
        except OSError as error:
            raise UserError(f"{name} cannot be read ({error.strerror})") from None
        if len(data) > _MAX_BYTES:
            raise UserError(f"{name} has more than {_MAX_BYTES // 1_000_000} MB; it is too large to read")
        if b"\0" in data:
            raise UserError(f"{name} is no text file")
        return data.decode("utf-8", errors="replace")
