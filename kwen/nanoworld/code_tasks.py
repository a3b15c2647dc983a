"""Code tasks of three levels in Python and JavaScript: requests in both languages, code, visible and hidden tests.

level 1   one idea: the families of `functions`; held out are the names
level 2   two steps put together; held out are names and combinations
level 3   three steps, or two of which one brings a helper or a small algorithm of its own; held out as in level 2

Visible tests may be told in a request; hidden ones judge. Held-out functions carry held-out names, so no text of a held-out task is
in training.
"""

import ast
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from kwen.errors import UserError
from kwen.nanoworld import code_chains, code_families
from kwen.nanoworld.code_chains import HIDDEN, VISIBLE, check_line
from kwen.nanoworld.code_step import CodeLanguage, Kind
from kwen.nanoworld.dialogues import Dialogue
from kwen.nanoworld.documents import CHINESE_SHARE
from kwen.nanoworld.functions import FAMILIES, PARAMETERS, write
from kwen.nanoworld.names import Language, Names, Numbers, Split, numbers_of, pick
from kwen.nanoworld.world import build_world

Level = Literal[1, 2, 3]
LEVELS: tuple[Level, ...] = get_args(Level)
CODE_LANGUAGES: tuple[CodeLanguage, ...] = get_args(CodeLanguage)
TOLD = 0.3
"""The share of requests that name the parameters, and of those that tell a test."""

_LABELS: dict[CodeLanguage, str] = {"python": "Python", "javascript": "JavaScript"}
_TAKES: dict[Kind, tuple[str, str]] = {
    "list": ("a list of numbers", "一个数的列表"),
    "pair": ("two lists of numbers", "两个数的列表"),
    "number": ("a number", "一个数"),
    "text": ("a text", "一段文字"),
}
_CHAIN_REQUESTS: dict[Language, tuple[str, ...]] = {
    "en": (
        "Write a {l} function {f} that takes {i}, {d} and returns the result.", "Write the {l} function {f}: it takes {i}, {d}, and returns that.",
        "Define a function {f} in {l} that takes {i}, {d} and gives back the result.", "I need a {l} function {f} which takes {i}, {d} and returns the result.",
    ),
    "zh": (
        "用 {l} 写一个函数 {f}：给它{i}，{d}，返回结果。", "请写 {l} 函数 {f}，参数是{i}，{d}，然后返回。", "定义一个 {l} 函数 {f}：输入{i}，{d}，返回得到的结果。",
    ),
}  # fmt: skip
_FAMILY_REQUESTS: dict[Language, tuple[str, ...]] = {
    "en": ("Write a {l} function {f} that {d}.", "Define a function {f} in {l} that {d}.", "I need a {l} function {f} which {d}."),
    "zh": ("用 {l} 写一个函数 {f}，{d}。", "请写 {l} 函数 {f}，{d}。", "定义一个 {l} 函数 {f}，{d}。"),
}


@dataclass(frozen=True)
class CodeTask:
    """A function to write. `kind` is what it starts from ("list", "text", ...); `combination` decides its split at levels 2 and 3.

    `tests` may be shown and `hidden` are kept back: Python asserts, or JavaScript's `assertEqual(f(3), 9);`, one a line.
    """

    id: str
    level: Level
    code_language: CodeLanguage
    language: Language
    kind: str
    combination: str
    entry_point: str
    request: str
    description: str
    code: str
    tests: tuple[str, ...]
    hidden: tuple[str, ...]


def as_code_answer(task: CodeTask) -> str:
    """The code as the assistant answers with it: one fenced block and nothing else."""
    return f"```{task.code_language}\n{task.code}\n```"


def code_task(rng: random.Random, level: Level, code_language: CodeLanguage, language: Language, names: Names) -> CodeTask:
    """One task (its id empty) of the split of `names`."""
    name = names.function_name(rng)
    shows_parameters, shows_test = rng.random() < TOLD, rng.random() < TOLD
    if level == 1:
        family = pick(rng, FAMILIES)
        parameters = pick(rng, PARAMETERS[family.parameters]) if shows_parameters else PARAMETERS[family.parameters][0]
        description = pick(rng, family.english if language == "en" else family.chinese)
        code = (write if code_language == "python" else code_families.javascript)(family, name, parameters)
        shown = [ast.literal_eval(f"[{arguments}]") for arguments, _ in family.tests]
        further = code_families.hidden_arguments(rng, family, shown, HIDDEN)
        run = code_families.BODIES[family.name][0]
        calls = [(arguments, run(*arguments)) for arguments in shown + further]
        kind, combination, visible = "one idea", family.name, len(shown)
        request = pick(rng, _FAMILY_REQUESTS[language])
        taken = ""
    else:
        chain, inputs = code_chains.draw_chain(rng, level, names.split)
        parameters = code_chains.parameters_of(chain, rng if shows_parameters else None)
        description = _told(rng, chain, language)
        code = code_chains.write_chain(chain, name, parameters, code_language)
        calls = [(code_chains.arguments_of(chain, value), code_chains.run_chain(chain, value)) for value in inputs]
        kind, visible = chain[0].step.takes, VISIBLE
        combination = code_chains.chain_key([link.step for link in chain])
        request = pick(rng, _CHAIN_REQUESTS[language])
        taken = _TAKES[chain[0].step.takes][0 if language == "en" else 1]
    shown_name = f"{name}({', '.join(parameters)})" if shows_parameters else name
    text = request.format(l=_LABELS[code_language], f=shown_name, d=description, i=taken)
    if shows_test:
        arguments, value = calls[0]
        call = f"{name}({', '.join(code_chains.literal(argument, code_language) for argument in arguments)})"
        told = code_chains.literal(value, code_language)
        text += f" For example, {call} is {told}." if language == "en" else f"例如 {call} 得到 {told}。"
    lines = [check_line(name, arguments, value, code_language) for arguments, value in calls]
    return CodeTask("", level, code_language, language, kind, combination, name, text, description, code,
                    tuple(lines[:visible]), tuple(lines[visible:]))  # fmt: skip


def _told(rng: random.Random, chain: code_chains.Chain, language: Language) -> str:
    """What the steps do, one clause each."""
    clauses = [
        pick(rng, link.step.english if language == "en" else link.step.chinese).replace("{k}", str(link.number)) for link in chain
    ]
    return ", ".join(clauses) if language == "en" else "，再".join(clauses)


def code_tasks(
    seed: int, count: int, level: Level, language_of_code: CodeLanguage = "python", split: Split = "train", world_seed: int = 0
) -> Iterator[CodeTask]:
    """`count` tasks of a level, each a pure function of the arguments and its number; all requests differ.

    Raises UserError for an unknown level or language.
    """
    checked_levels([level])
    if language_of_code not in CODE_LANGUAGES:
        raise UserError(f"nanoworld code: no language '{language_of_code}'; the languages are {', '.join(CODE_LANGUAGES)}")
    names = Names(split, build_world(world_seed).taken_names)
    seen: set[str] = set()
    number = 0
    while len(seen) < count:
        rng = random.Random(f"{seed}/code/{level}/{language_of_code}/{split}/{number}")
        language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
        made = code_task(rng, level, language_of_code, language, names)
        if made.request not in seen:
            seen.add(made.request)
            values = {**vars(made), "id": f"code-{level}-{language_of_code}-{seed}-{number}"}
            yield CodeTask(**values)
        number += 1


def checked_levels(levels: Sequence[Level]) -> list[Level]:
    """The levels. Raises UserError for none and for an unknown one."""
    for level in levels:
        if level not in LEVELS:
            raise UserError(f"nanoworld code: no level {level}; the levels are {', '.join(map(str, LEVELS))}")
    if not levels:
        raise UserError("nanoworld code: no level given; the levels are 1, 2, 3")
    return list(levels)


def code_dialogues(
    seed: int, count: Numbers, levels: Sequence[Level] = LEVELS, javascript: float = 0.25, world_seed: int = 0
) -> Iterator[Dialogue]:
    """`count` training dialogues, one request and its code each; a level as often as it stands in `levels`.

    `javascript` is the share of dialogues in that language. Raises UserError as `code_tasks` does, and for a share outside 0 to 1.
    """
    wanted = checked_levels(levels)
    if not 0 <= javascript <= 1:
        raise UserError(f"nanoworld code: javascript is {javascript}: give a share from 0 to 1")
    names = Names("train", build_world(world_seed).taken_names)
    for number in numbers_of(count):
        rng = random.Random(f"{seed}/code dialogues/{number}")
        level = pick(rng, wanted)
        code_language: CodeLanguage = "javascript" if rng.random() < javascript else "python"
        language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
        task = code_task(rng, level, code_language, language, names)
        messages = [{"role": "user", "content": task.request}, {"role": "assistant", "content": as_code_answer(task)}]
        yield Dialogue(messages, language, f"code-{level}-{code_language}")
