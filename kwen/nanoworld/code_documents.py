"""Code to go on pretraining with: functions with comments, docstrings and tests, and small modules, in both languages."""

import random
from collections.abc import Iterator

from kwen.nanoworld.code_step import CodeLanguage
from kwen.nanoworld.code_tasks import LEVELS, CodeTask, as_code_answer, code_task
from kwen.nanoworld.documents import CHINESE_SHARE, Document
from kwen.nanoworld.names import Language, Names, Split, pick
from kwen.nanoworld.world import build_world

STYLES: tuple[str, ...] = ("request", "request", "commented", "documented", "tested", "tested", "module", "module")
"""The kinds of code documents, as often as each comes."""

_TITLES: dict[Language, tuple[str, ...]] = {
    "en": ("Small functions.", "A few helpers.", "Functions and their tests."),
    "zh": ("几个小函数。", "一些辅助函数。", "函数和它们的测试。"),
}


def _sentence(task: CodeTask) -> str:
    """The description as a sentence of its own."""
    return task.description[0].upper() + task.description[1:] + ("." if task.language == "en" else "。")


def _commented(task: CodeTask) -> str:
    """The description as a comment above the code."""
    return f"{'#' if task.code_language == 'python' else '//'} {_sentence(task)}\n{task.code}"


def _documented(task: CodeTask) -> str:
    """The description as a docstring in the function, or as JSDoc above it."""
    if task.code_language == "javascript":
        head, mark, rest = task.code.rpartition(f"function {task.entry_point}(")
        return f"{head}/** {_sentence(task)} */\n{mark}{rest}"
    head, mark, rest = task.code.rpartition(f"def {task.entry_point}(")
    signature, _, body = rest.partition("\n")
    return f'{head}{mark}{signature}\n    """{_sentence(task)}"""\n{body}'


def _tested(rng: random.Random, task: CodeTask) -> str:
    """The code, and some of its visible tests below."""
    tests = rng.sample(task.tests, 1 + int(rng.random() * len(task.tests)))
    code = pick(rng, (_commented, _documented))(task)
    if task.code_language == "python":
        if rng.random() < 0.5:
            body = "\n".join(f"    {test}" for test in tests)
            return f"{code}\n\n\ndef test_{task.entry_point}():\n{body}"
        return code + "\n\n\n" + "\n".join(tests)
    return code + "\n\n" + "\n".join(tests)


def _module(rng: random.Random, tasks: list[CodeTask], language: Language) -> str:
    """Two or three functions under a title; a helper that several use stands once."""
    python = tasks[0].code_language == "python"
    gap = "\n\n\n" if python else "\n\n"
    parts: list[str] = []
    for task in tasks:
        blocks = _documented(task).split(gap)
        parts += [block for block in blocks if block not in parts]
    title = pick(rng, _TITLES[language])
    return gap.join([f'"""{title}"""' if python else f"/* {title} */", *parts])


def code_documents(seed: int, split: Split, count: int, javascript: float = 0.3, world_seed: int = 0) -> Iterator[Document]:
    """`count` documents of a split, each a pure function of the arguments and its number; their kind is "code-" and a style.

    `javascript` is the share in that language, the rest is Python. No held-out name or combination is in a training document.
    """
    names = Names(split, build_world(world_seed).taken_names)
    for number in range(count):
        rng = random.Random(f"{seed}/code documents/{split}/{number}")
        language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
        code_language: CodeLanguage = "javascript" if rng.random() < javascript else "python"
        style = pick(rng, STYLES)
        tasks = [
            code_task(rng, pick(rng, LEVELS), code_language, language, names)
            for _ in range(2 + int(rng.random() * 2) if style == "module" else 1)
        ]
        if style == "request":
            text = f"{tasks[0].request}\n{as_code_answer(tasks[0])}"
        elif style == "module":
            text = _module(rng, tasks, language)
        else:
            text = {"commented": _commented, "documented": _documented}[style](tasks[0]) if style != "tested" else _tested(rng, tasks[0])
        yield Document(text, language, f"code-{style}")
