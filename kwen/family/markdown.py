"""The report's Markdown twin, made from the page itself: the same text, tables and commands, without the drawings.

index.html -> the elements that our pages are made of, one after the other -> report.md
"""

import re
from html.parser import HTMLParser

_HEADS = {"h1": "# ", "h2": "## ", "h3": "### "}
_BLOCKS = {*_HEADS, "summary", "p", "li", "figcaption", "dt", "dd", "pre"}
_SKIPPED = ("style", "svg", "title")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


def from_page(page: str) -> str:
    """A page of ours as Markdown. Text stands escaped, so that what a model said is text there too."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(reader.lines)).strip() + "\n"


class _Reader(HTMLParser):
    """Collects Markdown lines. A block is text up to its end tag; a table is rows of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.skipping = 0
        self.block: str | None = None
        self.text = ""
        self.row: list[str] | None = None
        self.lists: list[str] = []
        self.summary = ""
        self.legend: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self.skipping += 1
        elif tag == "table":
            self._end_block()
            self._say_summary()
        elif tag == "tr":
            self.row = []
        elif tag in ("th", "td"):
            self.text = ""
        elif tag in ("ul", "ol"):
            self._end_block()
            self.lists.append(tag)
        elif tag == "figure":
            self._end_block()
            self.legend, self.summary = "", ""
        elif tag == "br":
            self.text += "; "
        elif tag in _BLOCKS:
            self._end_block()
            self.block = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self.skipping -= 1
        elif tag in ("th", "td") and self.row is not None:
            self.row.append(_one_line(self.text))
            self.text = ""
        elif tag == "tr" and self.row is not None:
            self.lines.append("| " + " | ".join(self.row) + " |")
            self.row = None
        elif tag == "thead":
            columns = self.lines[-1].count(" | ") + 1
            self.lines.append("|" + " --- |" * columns)
            self.lines.insert(-2, "")
        elif tag == "table":
            self.lines.append("")
        elif tag in ("ul", "ol"):
            self._end_block()
            self.lists.pop()
        elif tag == "figure":
            self.legend = None
        elif tag == self.block:
            self._end_block()

    def handle_data(self, data: str) -> None:
        if self.skipping:
            return
        if self.block == "pre":
            self.text += data
        elif self.block is not None or self.row is not None:
            self.text += _SPECIAL.sub(r"\\\1", data)

    def _end_block(self) -> None:
        tag, text = self.block, self.text
        self.block, self.text = None, ""
        if tag is None or self.row is not None or not text.strip():
            return
        if tag == "summary":
            self.summary = "" if self.lists else _one_line(text)
            return
        if tag == "p" and self.legend is not None:
            self.legend = _one_line(text)
            return
        self._say_summary()
        if tag == "pre":
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            self.lines += ["", fence, *text.splitlines(), fence, ""]
        elif tag in _HEADS:
            self.lines += ["", _HEADS[tag] + _one_line(text), ""]
        elif tag == "dt":
            self.lines.append(f"- {_one_line(text)}:")
        elif tag == "dd":
            self.lines[-1] += f" {_one_line(text)}"
        elif self.lists:
            mark = "1. " if self.lists[-1] == "ol" else "- "
            self.lines.append("   " * (len(self.lists) - 1) + mark + _one_line(text))
        elif tag == "figcaption":
            self.lines += ["", f"*Drawn on the page: {_one_line(text)}{f' ({self.legend})' if self.legend else ''}*", ""]
        else:
            self.lines += ["", _at_start(_one_line(text)), ""]

    def _say_summary(self) -> None:
        """What a fold is called, before the first thing in it; a fold of a drawing alone says nothing."""
        if self.summary:
            self.lines += ["", f"**{self.summary}**", ""]
        self.summary = ""


def _at_start(text: str) -> str:
    """A paragraph that would begin a list stays a paragraph."""
    return re.sub(r"^(\d{1,9})([.)])", r"\1\\\2", text) if text[:1].isdigit() else re.sub(r"^([-+=])", r"\\\1", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
