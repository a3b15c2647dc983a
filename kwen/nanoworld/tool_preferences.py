"""Preferences about tool use: the ideal turn against one with a realistic fault, at any point of a conversation with tools.

The conversations are plain messages, as ChatML writes tools, calls and results; so reward models and policies read them like any other.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from kwen.errors import UserError
from kwen.nanoworld.documents import checked_mix
from kwen.nanoworld.names import Language, pick
from kwen.nanoworld.tool_dialogues import TOOL_DIALOGUE_MIX, Task, call_text, draw_tasks, result_text
from kwen.nanoworld.tool_setting import Call
from kwen.nanoworld.tools import WorldTool
from kwen.nanoworld.tools_wordings import NO_TOOL
from kwen.nanoworld.world import build_world
from kwen.text.control import tools_text

_MIX = {kind: TOOL_DIALOGUE_MIX[kind] for kind in ("one", "two", "three", "unneeded", "missing")}


@dataclass(frozen=True, slots=True)
class ToolTurn:
    """A conversation that waits for the assistant, the ideal turn, and what faults are made from: the call that is due (None: an
    answer is), the results so far, and the tools."""

    messages: list[dict[str, str]]
    ideal: str
    language: Language
    due: Call | None
    told: tuple[Call, ...]
    tools: tuple[WorldTool, ...]


@dataclass(frozen=True, slots=True)
class ToolPreference:
    """Two turns for one conversation, the first preferred; fault: what is wrong with the worse one; flipped: the label is wrong."""

    messages: list[dict[str, str]]
    chosen: str
    rejected: str
    language: Language
    fault: str
    flipped: bool


def tool_turns(seed: int | str, count: int, world_seed: int = 0) -> Iterator[ToolTurn]:
    """`count` turns of training tasks, each a pure function of (seed, its number, world)."""
    world = build_world(world_seed)
    mix = checked_mix(_MIX, TOOL_DIALOGUE_MIX)
    for number in range(count):
        rng = random.Random(f"{seed}/tool_turns/{number}")
        [task], tools = draw_tasks(rng, world, mix, 1, "train")
        yield _turn(task, tools, int(rng.random() * (len(task.calls) + 1)))


def _turn(task: Task, tools: list[WorldTool], place: int) -> ToolTurn:
    """The turn of a task after `place` calls."""
    messages = [
        {"role": "system", "content": tools_text(tool.definition(task.language) for tool in tools)},
        {"role": "user", "content": str(task.messages[0]["content"])},
    ]
    for call in task.calls[:place]:
        messages += [{"role": "assistant", "content": call_text(call)}, {"role": "user", "content": result_text(call)}]
    due = task.calls[place] if place < len(task.calls) else None
    ideal = call_text(due) if due else task.ideal
    return ToolTurn(messages, ideal, task.language, due, tuple(task.calls[:place]), tuple(tools))


def tool_preferences(seed: int, count: int, *, noise: float = 0.15, world_seed: int = 0) -> Iterator[ToolPreference]:
    """`count` preferences, each a pure function of (seed, its number, world); a share `noise` has its turns exchanged.

    Raises UserError for noise outside [0, 1).
    """
    if not 0 <= noise < 1:
        raise UserError(f"nanoworld tool preferences: noise is {noise}; give a share from 0 up to, but not including, 1")
    for number, turn in enumerate(tool_turns(f"{seed}/preferences", count, world_seed)):
        rng = random.Random(f"{seed}/tool_preferences/{number}")
        flipped = rng.random() < noise
        worse, fault = _worse(rng, turn)
        chosen, rejected = (worse, turn.ideal) if flipped else (turn.ideal, worse)
        yield ToolPreference(turn.messages, chosen, rejected, turn.language, fault, flipped)


def _worse(rng: random.Random, turn: ToolTurn) -> tuple[str, str]:
    """A worse turn than the ideal one, and the name of its fault."""
    faults = _OF_CALLS if turn.due else _OF_ANSWERS
    while True:
        name = pick(rng, tuple(faults))
        text = faults[name](rng, turn)
        if text is not None and text != turn.ideal:
            return text, name


def _other_tool(rng: random.Random, turn: ToolTurn) -> str | None:
    """Another of the offered tools, given what the right one was due."""
    assert turn.due is not None
    others = [tool for tool in turn.tools if tool.name != turn.due.name]
    return call_text(_given(pick(rng, others), list(turn.due.arguments.values()))) if others else None


def _given(tool: WorldTool, values: list[Any]) -> Call:
    """A call of a tool with values in its parameters' places, the last one again where there are too few."""
    return Call(tool.name, {name: values[min(place, len(values) - 1)] for place, name in enumerate(tool.types)}, "")


def _changed_argument(rng: random.Random, turn: ToolTurn) -> str | None:
    """One argument changed: a number by a little, a text by two of its letters."""
    assert turn.due is not None
    name = pick(rng, tuple(turn.due.arguments))
    value = turn.due.arguments[name]
    if isinstance(value, int | float):
        changed: Any = value + pick(rng, (-2, -1, 1, 2))
    elif len(value) < 3:
        return None
    else:
        place = int(rng.random() * (len(value) - 1))
        changed = value[:place] + value[place + 1] + value[place] + value[place + 2 :]
    return call_text(replace(turn.due, arguments={**turn.due.arguments, name: changed}))


def _call_again(rng: random.Random, turn: ToolTurn) -> str | None:
    """The call before, once more."""
    return call_text(turn.told[-1]) if turn.told else None


def _needless(rng: random.Random, turn: ToolTurn) -> str | None:
    """A call, where an answer is due: of a tool that has not been asked, with a word of the request."""
    asked = {call.name for call in turn.told}
    others = [tool for tool in turn.tools if tool.name not in asked]
    words = turn.messages[1]["content"].rstrip("?？.。!！").split()
    return call_text(_given(pick(rng, others), [words[-1]])) if others and words else None


def _as_if_missing(rng: random.Random, turn: ToolTurn) -> str:
    """That there is no tool for it, where a call is due or the answer known."""
    return NO_TOOL[turn.language]


def _wrong_value(rng: random.Random, turn: ToolTurn) -> str | None:
    """The answer with another value than the tool told: of a number another one, of a text without its end."""
    value = turn.told[-1].result if turn.told else ""
    digits = [place for place, sign in enumerate(value) if sign.isdigit()]
    if not value or value not in turn.ideal:
        return None
    if not digits:
        return turn.ideal.replace(value, value[: max(1, len(value) // 2)])
    place = pick(rng, digits)
    return turn.ideal.replace(value, value[:place] + str((int(value[place]) + pick(rng, (1, 3, 7))) % 10) + value[place + 1 :])


Fault = Callable[[random.Random, ToolTurn], str | None]
_OF_CALLS: dict[str, Fault] = {
    "other_tool": _other_tool, "changed_argument": _changed_argument, "no_call": _as_if_missing, "call_again": _call_again,
}  # fmt: skip
_OF_ANSWERS: dict[str, Fault] = {
    "needless": _needless, "as_if_missing": _as_if_missing, "wrong_value": _wrong_value, "call_again": _call_again,
}  # fmt: skip
TOOL_FAULTS = tuple(dict.fromkeys((*_OF_CALLS, *_OF_ANSWERS)))
"""The names of all faults."""
