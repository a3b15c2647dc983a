"""Sources: patterns, labels, held-out files, and the two sources that every machine has."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from kwen.corpus import interpreter
from kwen.corpus.documents import Document, Excluded
from kwen.corpus.sources import FolderSource, InterpreterSource, NanoworldSource, Source, matches, read
from kwen.errors import UserError


def source(**settings: Any) -> Source:
    made: Source = TypeAdapter(Source).validate_python(settings)
    return made


def documents(of: Source) -> list[Document]:
    return [item for item in read(of) if isinstance(item, Document)]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    for name, text in {
        "tom/1.txt": "Tom one",
        "tom/2.txt": "Tom two",
        "emma/1.md": "---\ntitle: Emma\n---\nEmma one",
        "emma/toc.txt": "contents",
        "emma/cover.png": "image",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("pattern", "label", "does"),
    [
        ("*.md", "a/b/c.md", True),
        ("toc.xhtml", "book.tar.gz/text/toc.xhtml", True),
        ("book.*", "book.tar.gz/text/toc.xhtml", True),
        ("text", "book.tar.gz/text/toc.xhtml", True),
        ("book", "book.tar.gz/text/toc.xhtml", False),
        ("book.tar.gz/*", "book.tar.gz/text/toc.xhtml", True),
        ("text/*", "book.tar.gz/text/toc.xhtml", False),
        ("*.MD", "a.md", False),
    ],
)
def test_patterns(pattern: str, label: str, does: bool) -> None:
    assert matches(pattern, label) is does


def test_a_folder_gives_documents_with_ids_that_do_not_name_its_place(library: Path) -> None:
    found = list(read(source(kind="folder", path=library, language="en", exclude=["toc.*"])))
    assert found == [
        Document("library/emma/1.md", "Emma one", "library", language="en", file="emma/1.md"),
        Excluded("library/emma/cover.png", "library", "not a text format"),
        Document("library/tom/1.txt", "Tom one", "library", language="en", file="tom/1.txt"),
        Document("library/tom/2.txt", "Tom two", "library", language="en", file="tom/2.txt"),
    ]


def test_include_and_held_out_patterns(library: Path) -> None:
    held = source(kind="folder", path=library, include=["*.txt"], held_out={"files": ["tom"]})
    assert [(document.id, document.held_out) for document in documents(held)] == [
        ("library/emma/toc.txt", False),
        ("library/tom/1.txt", True),
        ("library/tom/2.txt", True),
    ]


def test_a_held_out_pattern_that_matches_nothing_is_a_mistake(library: Path) -> None:
    with pytest.raises(UserError, match=r"'tim'.*matches no document"):
        documents(source(kind="folder", path=library, held_out={"files": ["tom", "tim"]}))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"):
        documents(source(kind="folder", path=tmp_path / "absent"))


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "web", "path": "x"},
        {"kind": "folder"},
        {"kind": "folder", "path": "x", "held_out": {"share": 1.0}},
        {"kind": "folder", "path": "x", "pattern": "*"},
        {"kind": "folder", "path": "x", "name": "a/b"},
        {"kind": "nanoworld", "count": 0},
        {"kind": "interpreter", "parts": []},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(**settings)


def test_names_default_to_what_the_source_is(tmp_path: Path) -> None:
    assert FolderSource(kind="folder", path=tmp_path / "books.tar.gz").label == "books.tar.gz"
    assert NanoworldSource(kind="nanoworld", count=1).label == "nanoworld"
    assert InterpreterSource(kind="interpreter", name="python").label == "python"


def test_nanoworld_gives_both_of_its_splits() -> None:
    found = documents(source(kind="nanoworld", count=20, held_out_count=5))
    assert [document.held_out for document in found] == [False] * 20 + [True] * 5
    assert found[0].id == "nanoworld/train/1" and found[20].id == "nanoworld/held_out/1"
    assert {document.language for document in found} <= {"en", "zh"} and all(document.kind for document in found)


def test_interpreter_documents_are_real_bounded_and_repeatable() -> None:
    settings = source(kind="interpreter", limit_bytes=60_000)
    found = documents(settings)
    assert documents(settings) == found
    for part, language in (("documentation", "en"), ("source", "code")):
        texts = [document for document in found if document.kind == part]
        assert {document.language for document in texts} == {language}
        assert 59_000 < sum(len(document.text.encode()) for document in texts) <= 60_000
    assert not any(interpreter.__file__ in document.text for document in found)


def test_interpreter_documentation_covers_modules_and_built_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    # In order of name the two come among the first, and the whole library need not be parsed.
    monkeypatch.setattr(interpreter, "_scattered", sorted)
    wanted = {
        "documentation/builtin/builtins": "str.upper($self, /)\n\nReturn a copy",
        "documentation/module/__future__.py": "Module __future__\n\nRecord of phased-in incompatible language changes.",
    }
    texts = interpreter.documentation()
    while wanted:
        label, text = next(texts)
        assert wanted.pop(label, "") in text
