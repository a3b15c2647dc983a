"""Texts by their language, for comparing tokenizers: the language is what the data itself says.

a built corpus               its held-out documents, by their language
XML of the UDHR project      the language's name in the root's attribute n
Markdown with front matter   its key lang
any other text               the nearest folder that is a language tag (de, zh-hans); else unknown
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from kwen.corpus import archives, reading, records
from kwen.corpus.extract import decode, from_markdown
from kwen.corpus.pipeline import STATISTICS, UNKNOWN
from kwen.errors import UserError

# Patterns that never cross a sign of markup, so that a file of nothing but such signs is read in linear time too.
_TAG = re.compile(r"<[^<>]*>")
_UDHR = re.compile(r"<udhr\s[^<>]*>")
_NAME = re.compile(r"""\sn=(?:"([^"<>]+)"|'([^'<>]+)')""")
_LANG = re.compile(r"""^lang[ \t]*:[ \t]*["']?([\w-]+)""", re.MULTILINE)
_LANGUAGE_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}")
_HEAD_CHARACTERS = 4096


def texts_by_language(source: Path) -> Iterator[tuple[str, str]]:
    """(language, text) of every text in a corpus, folder, file or archive, in the source's order.

    Raises UserError for a path that does not exist, a damaged archive, and a source without text.
    """
    empty = True
    for language, text in _of_corpus(source) if (source / STATISTICS).is_file() else _of_files(source):
        if text.strip():
            empty = False
            yield language, text
    if empty:
        raise UserError(f"{source}: no text in it; name a corpus with a held-out part, or a folder, file or archive of text")


def _of_corpus(corpus: Path) -> Iterator[tuple[str, str]]:
    return ((document.get("language") or UNKNOWN, document["text"]) for document in reading.documents(corpus, "held_out"))


def _of_files(source: Path) -> Iterator[tuple[str, str]]:
    for entry in archives.entries(source.expanduser(), _is_text):
        if isinstance(entry, archives.Refused):
            continue
        suffix = _suffix(entry.label)
        if suffix not in (".xml", ".md"):
            for record in records.records(entry.label, entry.stream, "text"):
                if isinstance(record, records.Record):
                    yield _of_path(entry.label), record.text
            continue
        text, _ = decode(entry.stream.read(archives.MAX_FILE_BYTES))
        if suffix == ".xml":
            yield from _of_udhr(text)
        else:
            yield _of_front_matter(text) or _of_path(entry.label), from_markdown(text)


def _suffix(label: str) -> str:
    return PurePosixPath(label.lower().removesuffix(".gz")).suffix


def _is_text(label: str) -> bool:
    return records.suffix_of(label) is not None or _suffix(label) == ".xml"


def _of_udhr(text: str) -> Iterator[tuple[str, str]]:
    """The declaration in one language; nothing for the project's index and template, which name none."""
    root = _UDHR.search(text, 0, _HEAD_CHARACTERS)
    name = _NAME.search(root.group()) if root and "<udhrs" not in text[: root.start()] else None
    if root and name:
        lines = (line.strip() for line in html.unescape(_TAG.sub("\n", text[root.end() :])).splitlines())
        yield html.unescape(name[1] or name[2]), "\n".join(line for line in lines if line)


def _of_front_matter(text: str) -> str | None:
    body = from_markdown(text)
    found = _LANG.search(text[: len(text) - len(body)][:_HEAD_CHARACTERS]) if len(body) < len(text) else None
    return found[1] if found else None


def _of_path(label: str) -> str:
    folders = reversed(PurePosixPath(label).parts[:-1])
    return next((folder for folder in folders if _LANGUAGE_TAG.fullmatch(folder)), UNKNOWN)
