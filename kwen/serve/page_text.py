"""A model's words as Markdown that shows what was written and fetches nothing.

Outside code no tag begins and no picture is loaded: `<` before a tag becomes an entity, `![alt](address)` a link. The page
sanitises what it renders, and its content policy lets no picture in from elsewhere; this is the first of the three, and the one
that keeps "what does <div> do?" readable.
"""

import re

from kwen.engine.hermes import THINK, THINK_END

_FENCE = re.compile(r"^[\s>]*(`{3,}|~{3,})(.*)$")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)\1(?!`)", re.DOTALL)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_JOINER = "\u2060"


def safe_markdown(text: str) -> str:
    """`text` with its Markdown and code as they are, without tags and pictures."""
    parts: list[str] = []
    plain: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if fence:
            parts.append(line)
            if mark and mark[1].startswith(fence) and not mark[2].strip():
                fence = ""
        elif mark and not (mark[1][0] == "`" and "`" in mark[2]):
            parts.append(_outside_code("".join(plain)))
            plain = []
            fence = mark[1]
            parts.append(line.replace("mermaid", "text") if mark[2].strip().startswith("mermaid") else line)
        else:
            plain.append(line)
    parts.append(_outside_code("".join(plain)))
    return "".join(parts)


def typed(text: str) -> str:
    """What a user wrote, shown as written; an invisible character keeps tags and pictures from beginning. `untyped` undoes it."""
    return _TAG.sub(f"<{_JOINER}", text).replace("![", f"!{_JOINER}[")


def untyped(text: str) -> str:
    """The user's text again, after an edit in the page."""
    return text.replace(f"<{_JOINER}", "<").replace(f"!{_JOINER}[", "![")


def fenced(text: str, language: str = "") -> str:
    """`text` as a block of code that nothing in it can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def split_thought(text: str) -> tuple[str, str]:
    """(thought, answer) of a turn that still carries its thoughts between <think> and </think>; the second may not be there yet,
    the first may have stood in the prompt."""
    thought, end, answer = text.partition(THINK_END)
    opened = thought.lstrip().startswith(THINK)
    if not end and not opened:
        return "", text
    return thought.lstrip().removeprefix(THINK).strip(), answer.lstrip()


def _outside_code(text: str) -> str:
    parts, at = [], 0
    for span in _CODE_SPAN.finditer(text):
        parts += [_defused(text[at : span.start()]), span[0]]
        at = span.end()
    return "".join([*parts, _defused(text[at:])])


def _defused(text: str) -> str:
    return _TAG.sub("&lt;", text).replace("![", "[picture: ")
