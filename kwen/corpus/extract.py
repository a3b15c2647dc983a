"""Plain text from bytes: decoding, (X)HTML, Markdown, and the one normal form that every document takes.

HTML goes through resiliparse where it is installed (the extra `kwen[data]`), else through the standard library's parser.
Both leave out navigation, scripts and the marks of footnotes, and put a blank line between paragraphs; they differ in lists
and tables, so `HTML_EXTRACTOR` is recorded in a corpus's statistics.
"""

import importlib.util
import re
import unicodedata
from html.parser import HTMLParser

HTML_EXTRACTOR = "resiliparse" if importlib.util.find_spec("resiliparse") else "html.parser"

# Elements whose content is no part of the text.
SKIPPED_ELEMENTS = frozenset({"title", "script", "style", "template", "noscript", "nav", "iframe", "textarea"})
# Footnote marks and their way back, by EPUB's vocabulary and by ARIA's: a bare number in the middle of a sentence is noise.
NOTE_MARKS = frozenset({"noteref", "backlink", "doc-noteref", "doc-backlink"})
SELECTORS = ("nav", *(f'[{key}~="{mark}"]' for key in (r"epub\:type", "role") for mark in sorted(NOTE_MARKS)))

# fmt: off
BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption",
    "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "legend", "li", "main", "ol", "p",
    "pre", "section", "summary", "table", "tr", "ul",
])
# fmt: on
# Void elements never have an end tag, so they must not count as open.
VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])

# An XHTML file may write <script/>; to an HTML parser that opens an element which swallows the rest of the file.
_SELF_CLOSED = re.compile(r"<(script|style|title|textarea|iframe|noscript|template)\b([^<>]*)/>", re.IGNORECASE)
# What HTML calls whitespace: a no-break space is not among it.
_MARKUP_SPACE = re.compile(r"[ \t\n\r\f]+")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?=\s*[\w.-]+[ \t]*:)(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")

# Layout characters that carry no text: soft hyphen, word joiner, byte order mark.
_LAYOUT = re.compile("[\u00ad\u2060\ufeff]")
# Typographic spaces; the ideographic space U+3000 stays, Chinese text indents with it.
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f]")
_LINE_ENDS = ("\r\n", "\r", "\v", "\f", "\u0085", "\u2028", "\u2029")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_BLANK_RUNS = re.compile(r"\n{4,}")


def decode(data: bytes) -> tuple[str, int]:
    """`data` as UTF-8 text, and how many replacement characters stand where it was not UTF-8. A byte order mark goes."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode(), 0
    except UnicodeDecodeError:
        text = data.decode(errors="replace")
        return text, text.count("\ufffd") - data.count("\ufffd".encode())


def repair_surrogates(text: str) -> tuple[str, int]:
    """`text` with surrogate pairs joined and lone surrogates replaced (JSON's \\ud800 can write them), and how many were."""
    try:
        text.encode()
    except UnicodeEncodeError:
        repaired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return repaired, repaired.count("\ufffd") - text.count("\ufffd")
    return text, 0


def normalize(text: str) -> str:
    """The form in which a document is kept.

    NFC; line ends as \\n; typographic spaces as spaces; layout and control characters gone; no spaces before a line's end;
    at most two blank lines in a row (Python source keeps its own); no blank lines around the text, where its first line keeps
    its indentation. Normalising twice changes nothing.
    """
    if not text.isascii():
        text = _LAYOUT.sub("", _SPACES.sub(" ", text))
    for line_end in _LINE_ENDS:
        text = text.replace(line_end, "\n")
    text = _CONTROLS.sub("", text)
    # After the deletions: they can bring a base letter and its accent together.
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    return _BLANK_RUNS.sub("\n\n\n", text).strip("\n")


def from_markdown(text: str) -> str:
    """Markdown as it is written, without a YAML front matter block at its start."""
    return _FRONT_MATTER.sub("", text.replace("\r\n", "\n"), count=1)


def from_html(text: str) -> str:
    """The readable text of an HTML or XHTML page: a blank line between blocks, a line end for <br>."""
    text = _SELF_CLOSED.sub(r"<\1\2></\1>", text)
    if HTML_EXTRACTOR == "resiliparse":
        from resiliparse.extract.html2text import extract_plain_text

        return str(extract_plain_text(text, alt_texts=False, skip_elements=SELECTORS))
    return from_html_simply(text)


def from_html_simply(text: str) -> str:
    """`from_html` through the standard library's parser."""
    parser = _TextParser()
    parser.feed(text)
    parser.close()
    parser.end_block()
    return "\n\n".join(parser.blocks)


class _TextParser(HTMLParser):
    """Collects blocks of lines: whitespace collapses to one space outside <pre>, skipped elements leave nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self.lines: list[list[str]] = [[]]
        self.skipping: list[str] = []
        self.preformatted = False
        self.bullet = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.skipping:
            # The same name inside a skipped element must end first (<nav> in <nav>).
            if tag == self.skipping[0]:
                self.skipping.append(tag)
        elif tag == "br":
            self.lines.append([])
        elif tag not in VOID and (tag in SKIPPED_ELEMENTS or _is_note_mark(attrs)):
            self.skipping.append(tag)
        elif tag in BLOCKS:
            self.end_block()
            self.preformatted = tag == "pre"
            if tag == "li":
                self.bullet = "\u2022 "
        elif tag in ("td", "th"):
            self.lines[-1].append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.skipping:
            if tag == self.skipping[0]:
                self.skipping.pop()
        elif tag in BLOCKS:
            self.end_block()

    def handle_data(self, data: str) -> None:
        if not self.skipping:
            self.lines[-1].append(data)

    def end_block(self) -> None:
        """Close the block that is open, if it holds any text."""
        lines = ["".join(pieces) for pieces in self.lines]
        if not self.preformatted:
            lines = [_MARKUP_SPACE.sub(" ", line).strip(" ") for line in lines]
        block = "\n".join(lines).strip("\n")
        if block.strip():
            # An item's bullet waits for its first text, which may stand in a <p> of its own.
            self.blocks.append(self.bullet + block)
            self.bullet = ""
        self.lines, self.preformatted = [[]], False


def _is_note_mark(attrs: list[tuple[str, str | None]]) -> bool:
    return any(key in ("epub:type", "role") and not NOTE_MARKS.isdisjoint((value or "").split()) for key, value in attrs)
