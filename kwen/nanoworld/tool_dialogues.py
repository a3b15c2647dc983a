"""Tools to learn from: dialogues to fine-tune on, and plain texts to pretrain on in which their words and shapes occur.

A model shall choose by what a description says and not by heart. So in many dialogues the tools are ones that exist for once ("lamp
of a baker"), and any tool may bear an invented name.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kwen.nanoworld.documents import Document, checked_mix
from kwen.nanoworld.names import Language, Names, Split, pick
from kwen.nanoworld.talk import system
from kwen.nanoworld.tool_setting import Setting, toolbox, with_invented
from kwen.nanoworld.tool_tasks import ToolTask, conversation, draw_task
from kwen.nanoworld.tools import TOOLS, WorldTool
from kwen.nanoworld.world import World, build_world
from kwen.text.control import TOOLS_HEAD, TOOLS_TAIL, tool_line

CHINESE_SHARE = 0.4
"""The share of dialogues and documents that are in Chinese."""
TOOL_DIALOGUE_MIX: dict[str, float] = {"one": 40, "two": 20, "three": 8, "four": 4, "unneeded": 16, "missing": 12}
"""How often each kind of task comes in dialogues, as relative weights."""
TOOL_DOCUMENT_MIX: dict[str, float] = {"tools": 2, "call": 4, "result": 2, "whole": 4}
"""How often each kind of document comes: a list of tools, a request with its call, a result with its answer, all of it."""
_INVENTED_SHARE, _INVENTED = 0.4, 6  # how often dialogues are about tools that exist for once, and how many there are then
_RENAMED_SHARE = 0.2  # how often a tool has an invented name
_SYSTEM_SHARE = 0.05  # the share of dialogues with a system message of their own
_KEEP_THEIR_NAMES = ("python", "calculator")


@dataclass(frozen=True, slots=True)
class ToolDialogue:
    """Messages in OpenAI's chat form, the definitions of the offered tools, language and kind (of `TOOL_DIALOGUE_MIX`)."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    language: Language
    kind: str


def tool_dialogues(
    seed: int,
    count: int,
    mix: Mapping[str, float] = TOOL_DIALOGUE_MIX,
    world_seed: int = 0,
) -> Iterator[ToolDialogue]:
    """`count` training dialogues with tools, each a pure function of (seed, its number, mix, world). Raises
    UserError for a mix that cannot be drawn from.
    """
    world = build_world(world_seed)
    kinds, weights = checked_mix(mix, TOOL_DIALOGUE_MIX)
    for number in range(count):
        rng = random.Random(f"{seed}/tool_dialogues/{number}")
        kind = rng.choices(kinds, cum_weights=weights)[0]
        task, tools = _drawn(rng, world, kind, "train")
        definitions = [tool.definition(task.language) for tool in tools]
        messages = [{"role": "system", "content": system(rng, task.language)}] if rng.random() < _SYSTEM_SHARE else []
        yield ToolDialogue(messages + task.messages, definitions, task.language, kind)


def _drawn(rng: random.Random, world: World, kind: str, split: Split) -> tuple[ToolTask, list[WorldTool]]:
    """A task on training tools, or on ones that exist for once, and its offered tools, some of them renamed."""
    box = toolbox("train")
    if kind in ("one", "two", "unneeded", "missing") and rng.random() < _INVENTED_SHARE:
        box = with_invented(box, rng, _INVENTED)
    language: Language = "zh" if rng.random() < CHINESE_SHARE else "en"
    names = Names(split, world.taken_names)
    task = draw_task(Setting(rng, world, language, names, box), kind)  # type: ignore[arg-type]
    new = {tool: tool for tool in task.tools}
    for tool in task.tools:
        name = names.name(rng, "en").lower()
        renamed = tool not in _KEEP_THEIR_NAMES and rng.random() < _RENAMED_SHARE
        if renamed and name not in TOOLS and name not in new.values():
            new[tool] = name
    calls = tuple(replace(call, name=new[call.name]) for call in task.calls)
    messages = conversation(task.messages[0]["content"], calls, task.ideal)
    offered = [replace(box.tools[tool], name=new[tool]) for tool in task.tools]
    return replace(task, tools=tuple(new.values()), calls=calls, messages=messages), offered


def tool_documents(
    seed: int, split: Split, count: int, mix: Mapping[str, float] = TOOL_DOCUMENT_MIX, world_seed: int = 0
) -> Iterator[Document]:
    """`count` short texts of a split with tools, calls and results as chat writes them; never of held-out tools.

    Each is a pure function of (seed, split, its number, mix, world). Raises UserError for a mix that cannot be drawn from.
    """
    world = build_world(world_seed)
    kinds, weights = checked_mix(mix, TOOL_DOCUMENT_MIX)
    for number in range(count):
        rng = random.Random(f"{seed}/tool_documents/{split}/{number}")
        kind = rng.choices(kinds, cum_weights=weights)[0]
        task, tools = _drawn(rng, world, pick(rng, ("one", "one", "one", "two")), split)
        yield Document(_written(kind, task, tools), task.language, kind)


def _written(kind: str, task: ToolTask, tools: list[WorldTool]) -> str:
    """A document of that kind about a task."""
    defined = [tool_line(tool.definition(task.language)) for tool in tools]
    if kind == "tools":
        return "\n".join(("<tools>", *defined)) + TOOLS_TAIL
    request = str(task.messages[0]["content"])
    called = [
        f"<tool_call>\n{json.dumps({'name': call.name, 'arguments': call.arguments}, ensure_ascii=False)}\n</tool_call>"
        for call in task.calls
    ]
    results = [f"<tool_response>\n{call.result}\n</tool_response>" for call in task.calls]
    if kind == "call":
        return f"{request}\n{called[0]}"
    if kind == "result":
        return f"{results[-1]}\n{task.ideal}"
    turns = [text for pair in zip(called, results, strict=True) for text in pair]
    return "\n".join((TOOLS_HEAD, *defined)) + TOOLS_TAIL + "\n" + "\n".join((request, *turns, task.ideal))
