"""Tool use and planning in nanoworld (the report's Table 6, and multi-step tasks): tasks of one to four calls, tools that are not
needed, tools that are missing.

The model calls, the tools of the world answer, until it says something without a call. accuracy: the final answer is right; by
kind: the share of tasks solved by their number of steps. Beside it, of the first call: tool_selection, arguments_exact and
arguments_rouge_l where a call is due, false_positive where none is; and valid_calls of all calls.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from kwen.evals.task import Item, Task
from kwen.nanoworld.names import Split
from kwen.nanoworld.tool_results import result_of
from kwen.nanoworld.tool_scores import CallScore, score_answer, score_call
from kwen.nanoworld.tool_tasks import ToolTask, tool_tasks
from kwen.nanoworld.tools import TOOLS
from kwen.text.messages import Message

COUNT = 420
"""Held-out tasks, a sixth of each kind."""
TURNS = 6


def _items(tools: Split, data: Path | None, seed: int) -> list[Item]:
    return [
        Item(
            task.id,
            cast(list[Message], task.messages[:1]),
            task.ideal,
            task.language,
            task.kind,
            {"task": task},
            task.definitions(),
        )
        for task in tool_tasks(seed, COUNT, "held_out", tools=tools)
    ]


def _task(item: Item) -> ToolTask:
    return cast(ToolTask, item.extra["task"])


def respond(item: Item, said: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What the world's tools say to the calls of the last turn."""
    offered = {name: TOOLS[name] for name in _task(item).tools}
    return [
        {"role": "tool", "tool_call_id": call["id"], "content": result_of(offered, call["function"])}
        for call in said[-1]["tool_calls"]
    ]


def _said(text: str) -> list[dict[str, Any]]:
    """The messages of a conversation as an answer in several turns is kept."""
    return cast(list[dict[str, Any]], json.loads(text))


def _answer(item: Item, text: str) -> str | None:
    """The last thing that the model said to the user; None where it was still calling."""
    said = _said(text)
    return said[-1]["content"] if said and said[-1]["role"] == "assistant" and not said[-1].get("tool_calls") else None


def _judge(pairs: Sequence[tuple[Item, str]]) -> list[bool]:
    return [score_answer(_task(item), answer) for item, answer in pairs]


def _first_call(item: Item, text: str) -> CallScore:
    said = _said(text)
    calls = said[0].get("tool_calls") if said else None
    function = calls[0]["function"] if calls else {"name": None, "arguments": None}
    return score_call(_task(item), function["name"], function["arguments"])


def _of_due(name: str, item: Item, text: str) -> float | None:
    """A figure of the first call, where one is due."""
    return float(getattr(_first_call(item, text), name)) if _task(item).calls else None


def _false_positive(item: Item, text: str) -> float | None:
    return None if _task(item).calls else float(not _first_call(item, text).selected)


def _valid_calls(item: Item, text: str) -> float | None:
    """The share of the conversation's calls that name an offered tool with its arguments; one that could not be read is wrong."""
    said = _said(text)
    calls = [call["function"] for message in said for call in message.get("tool_calls") or ()]
    written = sum("<tool_call>" in message["content"] for message in said if message["role"] == "assistant")
    known = {tool["function"]["name"]: set(tool["function"]["parameters"]["properties"]) for tool in item.tools}
    right = [call["name"] in known and set(json.loads(call["arguments"])) == known[call["name"]] for call in calls]
    return sum(right) / (len(right) + written) if right or written else None


def _made(name: str, tools: Split) -> Task:
    return Task(
        name=name,
        version=1,
        kind="generate",
        items=partial(_items, tools),
        strict=_answer,
        flexible=_answer,
        judge=_judge,
        settings={"max_new_tokens": 96, "temperature": 0.0},
        respond=respond,
        turns=TURNS,
        needs_sandbox=True,
        measures={
            "tool_selection": partial(_of_due, "selected"),
            "arguments_exact": partial(_of_due, "exact"),
            "arguments_rouge_l": partial(_of_due, "rouge_l"),
            "false_positive": _false_positive,
            "valid_calls": _valid_calls,
        },
    )


SEEN = _made("nanoworld-tools", "train")
UNSEEN = _made("nanoworld-tools-unseen", "held_out")
