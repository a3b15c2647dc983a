"""Scores of what a model did with its tools: the call (report, Table 6) and the final answer."""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kwen.nanoworld import replies
from kwen.nanoworld.questions import normalise, states

_TOKEN = re.compile(r"[A-Za-z0-9]+|[^\s\w\"{}:,]|[^\W\dA-Za-z]")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_CANNOT = re.compile(r"\b(?:cannot|can't|can not|no tool|not able|unable)\b|做不到|没有.{0,6}工具|无法|不能")
_MOST_TOKENS = 400
_CLOSE = 0.6  # overlap of words from which an answer in free words counts as the ideal one


class Scored(Protocol):
    """What a task must tell to be scored (`kwen.nanoworld.tool_tasks.ToolTask` does)."""

    @property
    def kind(self) -> Any: ...
    @property
    def answer(self) -> str: ...
    @property
    def ideal(self) -> str: ...
    @property
    def calls(self) -> Sequence[Any]: ...
    @property
    def competitors(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class CallScore:
    """selected: the right tool. exact: also the very arguments. rouge_l: how near the arguments are, from 0 to 1, whatever
    the tool."""

    selected: bool
    exact: bool
    rouge_l: float


def score_call(task: Scored, name: str | None, arguments: Mapping[str, Any] | str | None, step: int = 0) -> CallScore:
    """The score of the call at a step (0 the first) against the ideal one.

    name: None for no call. arguments: an object or the text that the model wrote, JSON or not. Where the ideal conversation has
    no call at that step, no call at all is right (and its Rouge-L 1), any call a false positive.
    """
    if step >= len(task.calls):
        silent = name is None
        return CallScore(silent, silent, float(silent))
    ideal = task.calls[step]
    if name is None:
        return CallScore(False, False, 0.0)
    given = arguments if isinstance(arguments, str) else json.dumps(dict(arguments or {}), ensure_ascii=False)
    try:
        same = json.loads(given) == ideal.arguments
    except (ValueError, RecursionError):
        same = False
    selected = name == ideal.name
    return CallScore(selected, selected and same, rouge_l(given, json.dumps(ideal.arguments, ensure_ascii=False)))


def rouge_l(given: str, ideal: str) -> float:
    """Rouge-L: the F1 of the longest common subsequence of tokens (words and numbers, each Chinese character, each sign but
    JSON's own). Escapes in JSON text are resolved first where it is JSON."""
    left, right = _tokens(given)[:_MOST_TOKENS], _tokens(ideal)[:_MOST_TOKENS]
    if not left or not right:
        return float(left == right)
    row = [0] * (len(right) + 1)
    for token in left:
        diagonal = 0
        for place, other in enumerate(right, 1):
            diagonal, row[place] = row[place], diagonal + 1 if token == other else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(left) + len(right))


def _tokens(text: str) -> list[str]:
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), ensure_ascii=False)
    return _TOKEN.findall(text)


def score_answer(task: Scored, text: str) -> bool:
    """Whether a final answer is right.

    A number must be the last one that the text has; another value must be stated and no competing one. Where no tool was
    needed, the text must be close to the ideal one; where it was missing, say that it cannot be done, and give no number.
    """
    if task.kind == "missing":
        return _CANNOT.search(text.lower()) is not None and _NUMBER.search(text) is None
    if not task.answer:
        return replies.overlap(text, task.ideal) >= _CLOSE
    return states_value(text, task.answer, task.competitors)


def states_value(text: str, value: str, competitors: Sequence[str] = ()) -> bool:
    """Whether a text gives a value: a number as the last one that it has, another value somewhere and no competing one."""
    if _NUMBER.fullmatch(value):
        numbers = _NUMBER.findall(text)
        return bool(numbers) and float(numbers[-1]) == float(value)
    reply = normalise(text)
    return states(reply, value) and not any(states(reply, other) for other in competitors)
