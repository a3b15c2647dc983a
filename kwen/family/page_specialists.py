"""The page's sections on tools, interpreter and agent (Tables 6 to 9, Figure 5), code (10, 11) and mathematics (12)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from kwen.family.document import Document
from kwen.family.page_tables import report_table
from kwen.family.recipe import INTERPRETER

_CALL = re.compile(r"(\w+)\((\{.*\})\)")


def specialists(shown: Document) -> Iterator[str]:
    """The three sections."""
    parts = {"Tools, interpreter, agent": range(6, 10), "Code": (10, 11), "Mathematics": (12,)}
    for title, numbers in parts.items():
        yield f'<section id="{title.partition(",")[0].lower()}"><h2>{title}</h2>'
        for number in numbers:
            yield from report_table(shown.tables[number - 1])
            if number == 8:
                yield from _case(shown.report["samples"])
        yield "</section>"


def _case(samples: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Figure 5: one kept answer with the interpreter; a right one with code where there is one, of the last model that has it."""
    cases = [sample for sample in samples if sample["task"] == INTERPRETER]
    yield '<div class="block" id="figure-5"><h3>Figure 5. A case with the interpreter</h3>'
    if not cases:
        yield f'<p class="missing">Not run, because no answer to {INTERPRETER} was kept.</p></div>'
        return
    chosen = max(reversed(cases), key=lambda case: (bool(_CALL.search(case["answer"])), case["correct"]))
    yield f'<div class="sample"><p class="you" dir="auto">{escape(chosen["question"])}</p>'
    for line in chosen["answer"].split("\n"):
        call = _CALL.fullmatch(line)
        code = _code(call[2]) if call is not None else None
        yield f"<pre>{escape(code)}</pre>" if code is not None else f'<p class="kwen" dir="auto">{escape(line)}</p>'
    mark, word = ("good", "right") if chosen["correct"] else ("bad", "wrong")
    yield f'<p class="verdict"><span class="{mark}">{word}</span> · {escape(chosen["model"])}</p></div>'
    yield "<p><small>The report's own case: asked to plot a file, Qwen-Chat prints its columns first, Code LLaMA plots columns"
    yield " that do not exist.</small></p></div>"


def _code(arguments: str) -> str | None:
    """The code of a call's arguments; None where they hold none."""
    try:
        value = json.loads(arguments)
    except ValueError:
        return None
    return value["code"] if isinstance(value, dict) and isinstance(value.get("code"), str) else None
