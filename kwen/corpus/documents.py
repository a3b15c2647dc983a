"""What sources yield: documents, and what was left out with the reason."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus.

    `id` is unique within the corpus and never depends on where the source lies on a disk. `file` is the label of the file it
    came from (an archive's name for its members), so that held-out text can be measured file by file. `held_out` is true
    where the source itself puts the document there (a file pattern, nanoworld's own split). `invalid_utf8` counts the
    replacement characters that decoding had to put in.
    """

    id: str
    text: str
    source: str
    language: str | None = None
    kind: str | None = None
    file: str | None = None
    held_out: bool = False
    invalid_utf8: int = 0


@dataclass(frozen=True, slots=True)
class Excluded:
    """Something that did not become a document: where it lies, why, and the beginning of its text if there was one."""

    id: str
    source: str
    reason: str
    text: str = ""
