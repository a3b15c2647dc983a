"""The language of a text, as the data itself says it."""

import io
import tarfile
from pathlib import Path

import pytest

from kwen.corpus.by_language import texts_by_language
from kwen.corpus.pipeline import CorpusConfig, build
from kwen.errors import UserError

UDHR = """<?xml version="1.0"?>

<udhr iso639-3='cri' key='007' n='S&#227;otomense' xmlns="http://efele.net/udhr">
  <title>Declara&#x00E7;ao</title>
  <preamble><para>One &lt;two&gt;</para></preamble>
</udhr>
"""


def test_each_form_says_its_language(tmp_path: Path) -> None:
    (tmp_path / "zh-hans").mkdir()
    (tmp_path / "articles").mkdir()
    (tmp_path / "zh-hans" / "a.md").write_text("她说。")
    (tmp_path / "zh-hans" / "b.md").write_text("---\ntitle: x\nlang: de\n---\nlang: fr\nSie sagt.")
    (tmp_path / "articles" / "c.txt").write_text("Nobody says.")
    (tmp_path / "udhr_007.xml").write_text(UDHR)
    (tmp_path / "index.xml").write_text("<udhrs><udhr n='Index'/>x</udhrs>")
    (tmp_path / "template.xml").write_text("<udhr n=''><title>@</title></udhr>")
    found = list(texts_by_language(tmp_path))
    assert found == [
        ("unknown", "Nobody says."),
        ("Sãotomense", "Declaraçao\nOne <two>"),
        ("zh-hans", "她说。"),
        ("de", "lang: fr\nSie sagt."),
    ]


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        for name, text in (("x/pt/a.md", "Olá"), ("x/udhr_1.xml", UDHR)):
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    assert [language for language, _ in texts_by_language(tmp_path / "all.tar.gz")] == ["pt", "Sãotomense"]


def test_of_a_corpus_the_held_out_part_is_read(tmp_path: Path) -> None:
    source = {"kind": "nanoworld", "count": 20, "held_out_count": 12}
    (tmp_path / "corpus").mkdir()
    build(CorpusConfig.model_validate({"sources": [source]}), 0, tmp_path / "corpus")
    found = list(texts_by_language(tmp_path / "corpus"))
    assert len(found) == 12 and {language for language, _ in found} <= {"en", "zh", "code"}


def test_no_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.md").write_text(" \n")
    for path, said in ((tmp_path, "no text in it"), (tmp_path / "absent", "no such file")):
        with pytest.raises(UserError, match=said):
            list(texts_by_language(path))


def test_markup_of_nothing_but_signs_takes_linear_time(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<udhr n='x'>text" + "<" * 2_000_000)
    (tmp_path / "b.xml").write_text("<udhr" * 400_000)
    assert len(list(texts_by_language(tmp_path))) == 1


def test_real_languages(shared_data: Path) -> None:
    guide = {language for language, _ in texts_by_language(shared_data / "opensource_guide")}
    assert len(guide) == 29 and {"en", "zh-hans", "pcm"} <= guide
    names = {language for language, _ in texts_by_language(shared_data / "udhr")}
    assert len(names) > 500 and "English" in names
