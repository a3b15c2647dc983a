"""HumanEval, 164 Python functions to complete (Chen et al., 2021): DIR/humaneval/HumanEval.jsonl, .gz too.

humaneval        for base models, zero-shot: the function's beginning as a text to continue, up to the next thing at its left edge
humaneval-chat   for chat models: the same beginning in a conversation

strict: a fenced block that defines the function, or the continuation; flexible: the function wherever and however it stands. A
block may rely on what stands above the function in the prompt. Ids are the file's ("HumanEval/0"); the kind is the length of
the canonical solution.
"""

import gzip
import zlib
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.generations import check_text, parse_rows
from kwen.evals.task import Item, Task
from kwen.evals.tasks.code_answers import STOP, CodeProblem, flexible_code, pass_tests, strict_code
from kwen.text.messages import Message

_CHAT = "Complete this Python function. Answer with the whole function in one code block."


def read_rows(data: Path | None, name: str, folder: str, file: str) -> list[tuple[str, dict[str, object]]]:
    """(where it stands, row) for each line of `data`/folder/file, packed or not.

    Raises UserError without `data`, the file or any row, for a damaged file, and with the line number for a malformed row.
    """
    if data is None:
        raise UserError(f"{name} needs its problems: give --data a folder that holds {folder}/{file}")
    path = data / folder / file
    if not path.is_file():
        path = path.with_name(path.name + ".gz")
    if not path.is_file():
        raise UserError(f"{path.with_suffix('')}: no such file; give --data a folder that holds {folder}/{file}")
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged or cut off ({error}); fetch it again") from None
    rows = [(f"{path}, line {number}", row) for number, row in parse_rows(content.splitlines(), path)]
    if not rows:
        raise UserError(f"{path}: no problem in it")
    return rows


def length_kind(solution: str) -> str:
    """The kind of a problem by the lines of its solution."""
    lines = sum(bool(line.strip()) for line in solution.splitlines())
    return "1 to 3 lines" if lines <= 3 else "4 to 8 lines" if lines <= 8 else "9+ lines"


def _items(data: Path | None, chat: bool) -> list[Item]:
    found = []
    for where, row in read_rows(data, "humaneval", "humaneval", "HumanEval.jsonl"):
        keys = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
        task_id, prompt, entry_point, solution, test = (check_text(row.get(key), f'{where}: "{key}"') for key in keys)
        before, mark, rest = prompt.rpartition(f"def {entry_point}(")
        if not mark:
            raise UserError(f'{where}: "prompt" does not define {entry_point}')
        problem = CodeProblem(entry_point, before, mark + rest, f"{test}\n\ncheck({entry_point})\n")
        asked: list[Message] | str = prompt
        if chat:
            asked = [{"role": "user", "content": f"{_CHAT}\n\n```python\n{prompt.rstrip()}\n```"}]
        found.append(Item(task_id, asked, solution, "en", length_kind(solution), {"problem": problem}))
    return found


def continued(data: Path | None, seed: int) -> list[Item]:
    """The prompts as texts to continue."""
    return _items(data, chat=False)


def asked(data: Path | None, seed: int) -> list[Item]:
    """The prompts as conversations."""
    return _items(data, chat=True)


TASK = Task(
    name="humaneval",
    version=1,
    kind="generate",
    items=continued,
    strict=strict_code,
    flexible=flexible_code,
    judge=pass_tests,
    metric="pass@1",
    settings={"max_new_tokens": 512, "temperature": 0.0, "stop": list(STOP)},
    needs_sandbox=True,
)

CHAT_TASK = Task(
    name="humaneval-chat",
    version=1,
    kind="generate",
    items=asked,
    strict=strict_code,
    flexible=flexible_code,
    judge=pass_tests,
    metric="pass@1",
    settings={"max_new_tokens": 768, "temperature": 0.0},
    needs_sandbox=True,
)
