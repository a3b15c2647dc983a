"""Tools to learn from: dialogues to fine-tune on, and plain texts to pretrain on in which their words and shapes occur.

A model shall choose by what a description says and not by heart. So in many dialogues the tools are ones that exist for once ("lamp
of a baker"), and any tool may bear an invented name.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from kwen.nanoworld.documents import Document, checked_mix
from kwen.nanoworld.interpreter_tasks import INTERPRETER_KINDS, InterpreterTask, draw_interpreter_task
from kwen.nanoworld.names import Language, Names, Numbers, Split, numbers_of, pick
from kwen.nanoworld.talk import system
from kwen.nanoworld.tool_setting import Call, Setting, toolbox, with_invented
from kwen.nanoworld.tool_tasks import ToolTask, another_task, conversation, draw_task
from kwen.nanoworld.tools import TOOLS, WorldTool, can_replace
from kwen.nanoworld.world import World, build_world
from kwen.text.control import as_json, tools_text

CHINESE_SHARE = 0.4
"""The share of dialogues and documents that are in Chinese."""
TOOL_DIALOGUE_MIX: dict[str, float] = {
    "one": 40, "two": 20, "three": 8, "four": 6, "unneeded": 16, "missing": 14, "interpreter": 16,
}  # fmt: skip
"""How often each kind of task comes in dialogues, as relative weights."""
TOOL_DOCUMENT_MIX: dict[str, float] = {"tools": 2, "call": 4, "result": 2, "whole": 4}
"""How often each kind of document comes: a list of tools, a request with its call, a result with its answer, all of it."""
_INVENTED_SHARE, _INVENTED = 0.4, 6  # how often dialogues are about tools that exist for once, and how many there are then
_REQUESTS = (1, 1, 2)  # how many requests a conversation has: told once, tools serve them all
_LONG = ("three", "four", "interpreter")  # what fills a conversation by itself
_RENAMED_SHARE = 0.2  # how often a tool has an invented name
_SYSTEM_SHARE = 0.05  # the share of dialogues with a system message of their own
_KEEP_THEIR_NAMES = ("python", "calculator")


Task = ToolTask | InterpreterTask


@dataclass(frozen=True, slots=True)
class ToolDialogue:
    """Messages in OpenAI's chat form, the definitions of the offered tools, the language, and the kind (of `TOOL_DIALOGUE_MIX`) of
    each request."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    language: Language
    kinds: tuple[str, ...]


def tool_dialogues(
    seed: int,
    count: Numbers,
    mix: Mapping[str, float] = TOOL_DIALOGUE_MIX,
    world_seed: int = 0,
) -> Iterator[ToolDialogue]:
    """`count` training dialogues of one or two requests with tools, each a pure function of (seed, its number, mix, world). Raises
    UserError for a mix that cannot be drawn from.
    """
    world = build_world(world_seed)
    drawn = checked_mix(mix, TOOL_DIALOGUE_MIX)
    for number in numbers_of(count):
        rng = random.Random(f"{seed}/tool_dialogues/{number}")
        tasks, tools = draw_tasks(rng, world, drawn, pick(rng, _REQUESTS), "train")
        language = tasks[0].language
        messages = [{"role": "system", "content": system(rng, language)}] if rng.random() < _SYSTEM_SHARE else []
        definitions = [tool.definition(language) for tool in tools]
        yield ToolDialogue([*messages, *_joined(tasks)], definitions, language, tuple(task.kind for task in tasks))


def tool_sets(seed: int | str, count: int, world_seed: int = 0) -> Iterator[tuple[Language, list[WorldTool]]]:
    """`count` sets of tools such as dialogues offer, each with the language that it is told in; pure like these."""
    world = build_world(world_seed)
    mix = checked_mix({"one": 1}, TOOL_DIALOGUE_MIX)
    for number in range(count):
        tasks, tools = draw_tasks(random.Random(f"{seed}/tool_sets/{number}"), world, mix, 1, "train")
        yield tasks[0].language, tools


def draw_tasks(
    rng: random.Random, world: World, mix: tuple[Sequence[str], Sequence[float]], requests: int, split: Split
) -> tuple[list[Task], list[WorldTool]]:
    """Tasks of one conversation on training tools, or on ones that exist for once, and its offered tools, some of them renamed."""
    kinds, weights = mix
    kind: Any = rng.choices(kinds, cum_weights=weights)[0]
    box = toolbox("train")
    if kind == "interpreter":
        return _of_interpreter(rng, world, split)
    if kind not in _LONG and rng.random() < _INVENTED_SHARE:
        box = with_invented(box, rng, _INVENTED)
    language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
    names = Names(split, world.taken_names)
    at = Setting(rng, world, language, names, box)
    drawn = [draw_task(at, kind)]
    offered = drawn[0].tools
    for _ in range(requests - 1 if kind not in _LONG else 0):
        kind = rng.choices(kinds, cum_weights=weights)[0]
        if task := another_task(at, kind if kind not in _LONG else "one", offered):
            drawn.append(task)
    new = {tool: tool for tool in offered}
    for tool in offered:
        name = names.name(rng, "en").lower()
        rename = tool not in _KEEP_THEIR_NAMES and rng.random() < _RENAMED_SHARE
        if rename and name not in TOOLS and name not in new.values():
            new[tool] = name
    renamed = [
        replace(task, tools=tuple(new.values()), calls=tuple(replace(call, name=new[call.name]) for call in task.calls))
        for task in drawn
    ]
    return [*renamed], [replace(box.tools[tool], name=new[tool]) for tool in offered]


def _of_interpreter(rng: random.Random, world: World, split: Split) -> tuple[list[Task], list[WorldTool]]:
    """A task for a code interpreter, which is offered alone or with a tool that does other work."""
    language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
    names = Names(split, world.taken_names)
    task = draw_interpreter_task(rng, pick(rng, INTERPRETER_KINDS), language, names)
    others = [name for name in toolbox("train").asked if not can_replace("python", name)]
    offered = ["python", *([pick(rng, others)] if rng.random() < 0.5 else [])]
    rng.shuffle(offered)
    return [task], [TOOLS[name] for name in offered]


def _joined(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """The messages of tasks as one conversation."""
    first = accumulate((len(task.calls) for task in tasks), initial=1)
    return [
        message
        for task, number in zip(tasks, first, strict=False)
        for message in conversation(str(task.messages[0]["content"]), task.calls, task.ideal, number)
    ]


def tool_documents(
    seed: int, split: Split, count: int, kinds: Mapping[str, float] = TOOL_DOCUMENT_MIX, world_seed: int = 0
) -> Iterator[Document]:
    """`count` short texts of a split with tools, calls and results as chat writes them; never of held-out tools.

    Each is a pure function of (seed, split, its number, kinds, world). Raises UserError for kinds that cannot be drawn from.
    """
    world = build_world(world_seed)
    names, weights = checked_mix(kinds, TOOL_DOCUMENT_MIX)
    asked_of_part = checked_mix({"one": 3, "two": 1}, TOOL_DIALOGUE_MIX)
    asked_of_whole = checked_mix({"one": 6, "two": 2, "interpreter": 2}, TOOL_DIALOGUE_MIX)
    for number in range(count):
        rng = random.Random(f"{seed}/tool_documents/{split}/{number}")
        kind = rng.choices(names, cum_weights=weights)[0]
        mix, requests = (asked_of_whole, pick(rng, _REQUESTS)) if kind == "whole" else (asked_of_part, 1)
        tasks, tools = draw_tasks(rng, world, mix, requests, split)
        yield Document(_written(kind, tasks, tools), tasks[0].language, kind)


def _written(kind: str, tasks: Sequence[Task], tools: Sequence[WorldTool]) -> str:
    """A document of that kind about tasks."""
    told = tools_text(tool.definition(tasks[0].language) for tool in tools)
    if kind == "tools":
        return told
    if kind == "call":
        return f"{tasks[0].messages[0]['content']}\n{call_text(tasks[0].calls[0])}"
    if kind == "result":
        return f"{result_text(tasks[0].calls[-1])}\n{tasks[0].ideal}"
    said = []
    for task in tasks:
        turns = [text for call in task.calls for text in (call_text(call), result_text(call))]
        said += [str(task.messages[0]["content"]), *turns, task.ideal]
    return "\n".join((told, *said))


def call_text(call: Call) -> str:
    """A call as the assistant's turn writes it."""
    return f"<tool_call>\n{as_json({'name': call.name, 'arguments': call.arguments})}\n</tool_call>"


def result_text(call: Call) -> str:
    """The result of a call as it is told in a user's turn."""
    return f"<tool_response>\n{call.result}\n</tool_response>"
