"""Where text comes from: the kinds of source a recipe can name, and reading each as documents.

folder        a folder, file or archive of text, Markdown, (X)HTML, JSON, JSONL, Parquet
nanoworld     the seeded world's own documents; nanoworld-tools and nanoworld-code: those about tools and of code
interpreter   the running interpreter's documentation and standard library
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from kwen.corpus import archives, interpreter, records
from kwen.corpus.documents import Document, Excluded
from kwen.errors import UserError
from kwen.nanoworld.code_documents import code_documents
from kwen.nanoworld.documents import Document as WorldDocument
from kwen.nanoworld.documents import documents as nanoworld_documents
from kwen.nanoworld.names import Split
from kwen.nanoworld.tool_dialogues import tool_documents

Patterns = tuple[str, ...]


class HeldOut(BaseModel):
    """Which documents of a source are kept from training: those of files that match a pattern, and a share of the others.

    The share is decided by each text's own hash, so it does not change when other documents come or go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.0, ge=0.0, lt=1.0)
    files: Patterns = ()


class _Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", pattern=r"^[\w.-]*$", description="the label in statistics; the kind's own name where empty")

    @property
    def label(self) -> str:
        """The name under which the source's documents are counted; the first part of their ids."""
        return self.name or self._default_name()

    @property
    def held_out_share(self) -> float:
        """The share of documents that the pipeline holds out by hash."""
        return 0.0

    def _default_name(self) -> str:
        return str(self.kind)  # type: ignore[attr-defined]  # every source has one


class FolderSource(_Source):
    """A folder, file or archive. Patterns are globs whose * also crosses folders; one without / is compared with each part of
    a file's path within the source (archives count as folders), one with / with the whole path."""

    kind: Literal["folder"]
    path: Path
    include: Patterns = ()
    exclude: Patterns = ()
    text_key: str = "text"
    language: str | None = None
    held_out: HeldOut = HeldOut()

    @property
    def held_out_share(self) -> float:
        return self.held_out.share

    def _default_name(self) -> str:
        return self.path.expanduser().resolve().name or "folder"


class NanoworldSource(_Source):
    """Documents of the seeded world, with its own held-out split. `seed` is the world's, not the build's: the questions of an
    evaluation must be about the same world."""

    kind: Literal["nanoworld"]
    count: int = Field(ge=1)
    held_out_count: int = Field(default=0, ge=0)
    seed: int = 0


class NanoworldToolsSource(_Source):
    """Lists of tools, calls, results and answers, as a chat with tools holds them; a split and a world as above."""

    kind: Literal["nanoworld-tools"]
    count: int = Field(ge=1)
    held_out_count: int = Field(default=0, ge=0)
    seed: int = 0


class NanoworldCodeSource(_Source):
    """Functions of three levels with comments and tests, alone and in modules; `javascript` is the share in that language."""

    kind: Literal["nanoworld-code"]
    count: int = Field(ge=1)
    held_out_count: int = Field(default=0, ge=0)
    seed: int = 0
    javascript: float = Field(default=0.3, ge=0, le=1)


class InterpreterSource(_Source):
    """The running interpreter's documentation (English) and standard library source (language `code`)."""

    kind: Literal["interpreter"]
    parts: tuple[Literal["documentation", "source"], ...] = Field(default=("documentation", "source"), min_length=1)
    limit_bytes: int | None = Field(default=None, ge=1, description="UTF-8 bytes of each part, the last text cut to fit")
    held_out: HeldOut = HeldOut()

    @property
    def held_out_share(self) -> float:
        return self.held_out.share


WorldSource = NanoworldSource | NanoworldToolsSource | NanoworldCodeSource
Source = Annotated[FolderSource | WorldSource | InterpreterSource, Field(discriminator="kind")]


def read(source: Source) -> Iterator[Document | Excluded]:
    """The documents of `source` as they lie there (not normalised), in an order that the source alone decides.

    Raises UserError where the path does not exist, an archive is damaged, or a held-out pattern matches no file: a typing
    error there would train on the very text that is to be kept for measuring.
    """
    if isinstance(source, FolderSource):
        yield from _read_folder(source)
    elif isinstance(source, InterpreterSource):
        yield from _read_interpreter(source)
    else:
        yield from _read_nanoworld(source)


def matches(pattern: str, label: str) -> bool:
    """Whether a source's pattern matches a file's path within the source (see `FolderSource`)."""
    return fnmatchcase(label, pattern) if "/" in pattern else any(fnmatchcase(part, pattern) for part in label.split("/"))


class _HeldOutFiles:
    """Applies held-out patterns, and knows at the end which of them matched nothing."""

    def __init__(self, source: FolderSource | InterpreterSource) -> None:
        self.name, self.patterns = source.label, source.held_out.files
        self.unused = dict.fromkeys(self.patterns)

    def match(self, label: str) -> bool:
        matched = [pattern for pattern in self.patterns if matches(pattern, label)]
        for pattern in matched:
            self.unused.pop(pattern, None)
        return bool(matched)

    def check(self) -> None:
        if self.unused:
            raise UserError(
                f"source {self.name}: held_out.files pattern {next(iter(self.unused))!r} matches no document; correct it"
            )


def _read_folder(source: FolderSource) -> Iterator[Document | Excluded]:
    name, held_out = source.label, _HeldOutFiles(source)

    def wanted(label: str) -> bool:
        included = not source.include or any(matches(pattern, label) for pattern in source.include)
        return included and not any(matches(pattern, label) for pattern in source.exclude)

    for entry in archives.entries(source.path.expanduser(), wanted):
        id = f"{name}/{entry.label}"
        if isinstance(entry, archives.Refused):
            yield Excluded(id, name, entry.reason)
            continue
        if records.suffix_of(entry.label) is None:
            yield Excluded(id, name, "not a text format")
            continue
        is_held_out = held_out.match(entry.label)
        for record in records.records(entry.label, entry.stream, source.text_key):
            record_id = id if record.number is None else f"{id}#{record.number}"
            if isinstance(record, records.Unreadable):
                yield Excluded(record_id, name, record.reason)
            else:
                yield Document(
                    record_id,
                    record.text,
                    name,
                    language=source.language,
                    file=entry.file,
                    held_out=is_held_out,
                    invalid_utf8=record.invalid_utf8,
                )
    held_out.check()


def _world_documents(source: WorldSource, split: Split, count: int) -> Iterator[WorldDocument]:
    if isinstance(source, NanoworldToolsSource):
        return tool_documents(source.seed, split, count)
    if isinstance(source, NanoworldCodeSource):
        return code_documents(source.seed, split, count, source.javascript)
    return nanoworld_documents(source.seed, split, count)


def _read_nanoworld(source: WorldSource) -> Iterator[Document]:
    name = source.label
    splits: tuple[tuple[Split, int], ...] = (("train", source.count), ("held_out", source.held_out_count))
    for split, count in splits:
        for number, document in enumerate(_world_documents(source, split, count), 1):
            yield Document(
                f"{name}/{split}/{number}",
                document.text,
                name,
                language="code" if isinstance(source, NanoworldCodeSource) else document.language,
                kind=document.kind,
                held_out=split == "held_out",
            )


def _read_interpreter(source: InterpreterSource) -> Iterator[Document]:
    name, held_out = source.label, _HeldOutFiles(source)
    for part in dict.fromkeys(source.parts):
        left = source.limit_bytes
        for label, text in interpreter.documentation() if part == "documentation" else interpreter.source_code():
            if left is not None:
                if left <= 0:
                    break
                # The last one is cut: to look for one that fits would favour short texts.
                text = text.encode()[:left].decode(errors="ignore")
                left -= len(text.encode())
            yield Document(
                f"{name}/{label}",
                text,
                name,
                language="en" if part == "documentation" else "code",
                kind=part,
                held_out=held_out.match(label),
            )
    held_out.check()
