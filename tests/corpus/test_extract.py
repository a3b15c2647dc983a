"""Text from bytes: decoding, the normal form and its laws, Markdown, and (X)HTML by both extractors."""

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kwen.corpus import extract

CHAPTER = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" xml:lang="en-GB">
	<head><title>I</title><script src="x.js"/></head>
	<body epub:type="bodymatter">
		<nav><ol><li>Contents</li></ol></nav>
		<section><h2>I</h2>
			<p>Left <i>Munich</i> at 8:35 <abbr>p.m.</abbr>, on
				1st May.<a href="endnotes.xhtml#note-1" epub:type="noteref">1</a></p>
			<blockquote><p>\u201cYour friend,<br/>
				\u201cDracula.\u201d</p></blockquote>
			<hr/>
			<p>Caf\u00e9 &amp; tea &lt;hot&gt;.</p>
		</section>
	</body>
</html>"""
CHAPTER_TEXT = "I\n\nLeft Munich at 8:35 p.m., on 1st May.\n\n\u201cYour friend,\n\u201cDracula.\u201d\n\nCaf\u00e9 & tea <hot>."

EXTRACTORS = [
    pytest.param(extract.from_html_simply, id="html.parser"),
    pytest.param(
        extract.from_html,
        id="resiliparse",
        marks=pytest.mark.skipif(
            extract.HTML_EXTRACTOR != "resiliparse", reason="resiliparse is absent: pip install 'kwen[data]'"
        ),
    ),
]


@pytest.mark.parametrize("from_html", EXTRACTORS)
def test_a_chapter_becomes_paragraphs_without_navigation_and_note_marks(from_html: Callable[[str], str]) -> None:
    assert extract.normalize(from_html(CHAPTER)) == CHAPTER_TEXT


@pytest.mark.parametrize("from_html", EXTRACTORS)
def test_a_head_without_an_end_tag_swallows_nothing(from_html: Callable[[str], str]) -> None:
    assert from_html("<head><title>t</title><body><p>kept").strip() == "kept"


@pytest.mark.parametrize("from_html", EXTRACTORS)
def test_a_self_closed_script_swallows_nothing(from_html: Callable[[str], str]) -> None:
    assert from_html("<html><script/><p>kept</p><style>p { }</style></html>").strip() == "kept"


@pytest.mark.parametrize("from_html", EXTRACTORS)
@pytest.mark.parametrize(
    "page", ["", "<", "<p", "</p></p>", "<p><b>x", "&#xD800;&#0;&bogus;", "<!--", "<![CDATA[x", "<nav>" * 500]
)
def test_broken_markup_is_not_an_error(from_html: Callable[[str], str], page: str) -> None:
    assert isinstance(from_html(page), str)


def test_preformatted_text_keeps_its_lines_and_lists_their_bullets() -> None:
    page = "<p>a  b</p><pre>x\n    y</pre><ul><li><p>one</p></li><li>two</li></ul>"
    assert extract.from_html_simply(page) == "a b\n\nx\n    y\n\n\u2022 one\n\n\u2022 two"


@given(st.text())
@example("a\r\n\r\n\r\n\r\nb \t\n")
@example("e\u00ad\u0301")
@example("\ufeff\n \nx")
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = extract.normalize(text)
    assert extract.normalize(once) == once
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a \t\nb", "a\nb"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("\n\n  a\n\n", "  a"),
        ("e\u0301", "\u00e9"),
        ("p.\u00a0m.\u2060\u2014x\u00ady", "p. m.\u2014xy"),
        ("\u3000\u4f60\u597d", "\u3000\u4f60\u597d"),
        ("a\x00\x1bb\tc", "ab\tc"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert extract.normalize(text) == normal


@given(st.text())
def test_valid_utf8_decodes_to_itself(text: str) -> None:
    data = text.encode()
    if not data.startswith(b"\xef\xbb\xbf"):
        assert extract.decode(data) == (text, 0)


def test_invalid_utf8_is_replaced_and_counted_but_not_a_replacement_character_of_the_text() -> None:
    assert extract.decode(b"caf\xe9 \xef\xbf\xbd \xff") == ("caf\ufffd \ufffd \ufffd", 2)


def test_a_byte_order_mark_is_no_text() -> None:
    assert extract.decode(b"\xef\xbb\xbfx") == ("x", 0)


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert extract.repair_surrogates("\ud83d\ude00 \ud800 ok") == ("\U0001f600 \ufffd ok", 1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("---\ntitle: x\ntags: [a]\n---\n# Head\n", "# Head\n"),
        ("---\r\ntitle: x\r\n---\r\nbody", "body"),
        ("---\nlang: fa\n...\nbody", "body"),
        ("# Head\n\n---\nx: y\n---\n", "# Head\n\n---\nx: y\n---\n"),
        ("---\nA line under a rule.\n\n---\nb", "---\nA line under a rule.\n\n---\nb"),
        ("---\ntitle: never closed\n", "---\ntitle: never closed\n"),
    ],
)
def test_only_front_matter_leaves_markdown(text: str, kept: str) -> None:
    assert extract.from_markdown(text) == kept
