"""What HumanEval and MBPP share: the code in an answer that continues a text or is a chat reply, and the judge."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kwen.evals.task import Item
from kwen.verify.code_tests import extract_code, passes

STOP = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\nassert ", "\n```", "\n@")
"""Where the continuation of a function ends: at the next thing that is not indented (Chen et al., 2021)."""
_FIRST_WORDS = ("def ", "async def ", "class ", "import ", "from ")
TIMEOUT_S = 20.0
"""For one answer: MBPP's slowest reference code takes 5 s of it on a busy core."""


@dataclass(frozen=True)
class CodeProblem:
    """What judges an answer. `before` is the code above the function that it may rely on (imports, helpers); `opening` is the
    text that an answer without a block continues: the function's beginning, or nothing."""

    entry_point: str
    before: str
    opening: str
    tests: str


def problem_of(item: Item) -> CodeProblem:
    """The problem behind an item."""
    found: CodeProblem = item.extra["problem"]
    return found


def cut_at_stop(text: str, stop: Sequence[str] = STOP) -> str:
    """A continuation up to where another thing begins."""
    return text[: min((place for mark in stop if (place := text.find(mark)) >= 0), default=len(text))]


def strict_code(item: Item, text: str) -> str | None:
    """The fenced block that defines the function; without any block, the text as the continuation of the item's opening."""
    problem = problem_of(item)
    code = extract_code(text, problem.entry_point)
    if code != text:
        return f"{problem.before}\n{code}" if _defines(code, problem.entry_point) else None
    return problem.before + problem.opening + (cut_at_stop(text) if problem.opening else text)


def flexible_code(item: Item, text: str) -> str | None:
    """As `strict_code`, and further: a block that holds only the body, a function amid prose, a body without its indent."""
    problem = problem_of(item)
    code = extract_code(text, problem.entry_point)
    if _defines(code, problem.entry_point):
        return f"{problem.before}\n{_longest_python(code, problem.entry_point)}"
    if not problem.opening:
        return code
    body = cut_at_stop(code)
    first = next((line for line in body.splitlines() if line.strip()), "")
    if first and not first[0].isspace():
        body = "".join(f"    {line}" for line in body.splitlines(keepends=True))
    return problem.before + problem.opening + body


def _defines(code: str, entry_point: str) -> bool:
    return re.search(rf"^[ \t]*(?:async )?def {re.escape(entry_point)} ?\(", code, re.MULTILINE) is not None


def _longest_python(code: str, entry_point: str) -> str:
    """From the first line that is code to the last with which the whole still parses and defines the function; else all of it."""
    lines = code.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith(_FIRST_WORDS)][:1]
    for start in [0, *starts]:
        for end in range(len(lines), start, -1):
            part = "\n".join(lines[start:end])
            if not _defines(part, entry_point):
                break
            if _parses(part):
                return part
    return code


def _parses(code: str) -> bool:
    if len(code) > 20_000:
        return False
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def pass_tests(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    """Whether each code passes its problem's tests, all in one go through the sandbox."""
    return passes([(code, problem_of(item).tests) for item, code in pairs], timeout_s=TIMEOUT_S)
