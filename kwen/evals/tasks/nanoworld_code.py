"""Functions of three levels to write in Python, and in JavaScript, judged by visible and hidden tests in the sandbox.

nanoworld-code-1 asks for one idea, -2 for two put together, -3 for three or for a small algorithm with another idea; held out
are names and, at levels 2 and 3, combinations. nanoworld-code-js asks for levels 2 and 3 in turn.
strict: the code of a fenced block; flexible: without one, the reply itself is the code.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from kwen.evals.task import Item, Task
from kwen.nanoworld.code_step import CodeLanguage
from kwen.nanoworld.code_tasks import CodeTask, Level, code_tasks
from kwen.text.messages import Message
from kwen.verify import javascript
from kwen.verify.code_tests import extract_code, passes

COUNT = 400
"""Held-out functions of each task."""


class HeldOutCode:
    """The `items` of a task: its held-out functions for a seed, the levels taking turns; they need no data folder."""

    def __init__(self, language: CodeLanguage, *levels: Level) -> None:
        self.language, self.levels = language, levels

    def __call__(self, data: Path | None, seed: int) -> list[Item]:
        each = COUNT // len(self.levels)
        made = [list(code_tasks(seed, each, level, self.language, "held_out")) for level in self.levels]
        return [_item(task) for turn in zip(*made, strict=True) for task in turn]


def _item(task: CodeTask) -> Item:
    asked = cast(list[Message], [{"role": "user", "content": task.request}])
    return Item(task.id, asked, task.code, task.language, task.kind, {"task": task})


def task_of(item: Item) -> CodeTask:
    """The function behind an item."""
    return cast(CodeTask, item.extra["task"])


def fenced_code(item: Item, text: str) -> str | None:
    """The fenced block that defines the asked function; None for a reply without any block."""
    code = code_or_all(item, text)
    return code if code != text else None


def code_or_all(item: Item, text: str) -> str:
    """The fenced block that defines the asked function, else the whole reply."""
    task = task_of(item)
    extract = extract_code if task.code_language == "python" else javascript.extract_code
    return extract(text, task.entry_point)


def _judge(check: Callable[..., list[bool]]) -> Callable[[Sequence[tuple[Item, str]]], list[bool]]:
    def pass_tests(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
        """Whether each code passes its function's tests, all in one go through the sandbox."""
        return check([(code, "\n".join(task_of(item).tests + task_of(item).hidden)) for item, code in pairs])

    return pass_tests


def _as_document(item: Item) -> str:
    """How a text to pretrain on begins that holds the request and its code."""
    return f"{task_of(item).request}\n"


def _task(name: str, language: CodeLanguage, *levels: Level) -> Task:
    return Task(
        name=name,
        version=1,
        kind="generate",
        items=HeldOutCode(language, *levels),
        strict=fenced_code,
        flexible=code_or_all,
        judge=_judge(passes if language == "python" else javascript.passes),
        settings={"max_new_tokens": 256, "temperature": 0.0},
        needs_sandbox=True,
        base_prompt=_as_document,
    )


LEVEL_1 = _task("nanoworld-code-1", "python", 1)
LEVEL_2 = _task("nanoworld-code-2", "python", 2)
LEVEL_3 = _task("nanoworld-code-3", "python", 3)
JAVASCRIPT = _task("nanoworld-code-js", "javascript", 2, 3)
