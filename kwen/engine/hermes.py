"""The Hermes call format of Qwen2.5, Qwen3 and Kwen (report 11.4): how a turn in it is read. Chat templates write it.

    <think>thoughts</think>  text  <tool_call>{"name": ..., "arguments": {...}}</tool_call>  <tool_call>...

Thoughts, where there are any, come first; there may be several calls. A call's arguments are given on as they come.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kwen.engine.lenient_json import StrictJson, load_arguments
from kwen.engine.tool_calls import (
    ArgumentsDelta,
    CallEnd,
    CallParser,
    CallStart,
    ContentDelta,
    ParsedEvent,
    TextRun,
    ThoughtDelta,
)
from kwen.text.control import TOOLS_HEAD, TOOLS_TAIL, as_json
from kwen.text.messages import validate_messages, validate_tools

THINK, THINK_END = "<think>", "</think>"
CALL, CALL_END = "<tool_call>", "</tool_call>"
_HEAD = (
    "# Tools\n\nTo call a tool, write its name and arguments as one JSON object:\n"
    '<tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call>\n'
)
STOP: tuple[str, ...] = ()
"""Words that end a turn in this format: none, the end-of-turn token does."""


def hermes_text(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """A conversation with tools as plain turns, in Kwen's own words, for a template that has none for them."""
    checked, defined = validate_messages(messages), validate_tools(tools)
    turns: list[dict[str, Any]] = []
    if defined:
        told = _HEAD + TOOLS_HEAD + "".join(f"\n{as_json(tool)}" for tool in defined) + TOOLS_TAIL
        if checked[0]["role"] == "system":
            told = f"{checked[0]['content']}\n\n{told}"
            checked = checked[1:]
        turns.append({"role": "system", "content": told})
    result_before = False
    for message in checked:
        text = message["content"]
        if message["role"] == "tool":
            text = f"<tool_response>\n{text}\n</tool_response>"
            if result_before:
                turns[-1]["content"] += f"\n{text}"
                continue
        for call in message.get("tool_calls", []):
            written = as_json({"name": call["function"]["name"], "arguments": call["function"]["arguments"]})
            text += ("\n" if text else "") + f"{CALL}\n{written}\n{CALL_END}"
        result_before = message["role"] == "tool"
        turns.append({"role": "user" if result_before else message["role"], "content": text})
    return turns


class HermesParser(CallParser):
    """Reads one turn. A tag counts wherever it stands outside a call's JSON; `thinking`: the prompt has opened the thoughts."""

    def __init__(self, first_call: int = 0, thinking: bool = False) -> None:
        super().__init__(first_call)
        self._thinking = thinking
        self._text = TextRun(ThoughtDelta if thinking else ContentDelta)
        self._said = False  # whether the turn has begun with anything but thoughts
        self._tag = ""  # what may become a tag
        self._call: _Call | None = None

    def _take(self, character: str) -> None:
        if self._call is not None:
            self._in_call(character)
            return
        self._tag += character
        tags = [THINK_END] if self._thinking else [CALL] if self._said or self._text.started else [CALL, THINK]
        if self._tag in tags:
            self._open(self._tag)
            self._tag = ""
        while self._tag and not any(tag.startswith(self._tag) for tag in tags):
            self._add(self._tag[0])
            self._tag = self._tag[1:]
            if not self._thinking and self._text.started:
                tags = [CALL]

    def _add(self, character: str) -> None:
        self._events += self._text.add(character)

    def _open(self, tag: str) -> None:
        if tag == CALL:
            self._said = True
            self._call = _Call(self._calls, self._call_id())
            self._calls += 1
        else:
            self._thinking = tag == THINK
            self._said = tag == THINK_END
            self._text = TextRun(ThoughtDelta if self._thinking else ContentDelta)

    def _in_call(self, character: str) -> None:
        assert self._call is not None
        self._events += self._call.take(character)
        if self._call.closed:
            self._end_call()

    def _end_call(self) -> None:
        assert self._call is not None
        self._events += self._call.end()
        self._call = None
        # Text after a call goes on in a line of its own where there was some before.
        spoken = self._text.started
        self._text = TextRun(ContentDelta, started=spoken)
        if spoken:
            self._text.add("\n")

    def _end(self) -> None:
        if self._call is not None:
            self._end_call()
        for character in self._tag:
            self._add(character)
        self._tag = ""


class _Call:
    """One call on its way: JSON until its object ends, then whatever stands before the closing tag."""

    def __init__(self, index: int, id: str) -> None:
        self.index, self.id, self.closed = index, id, False
        self._json = StrictJson()
        self._written: list[str] = []
        self._parts: dict[str, list[str]] = {}
        self._started = False
        self._sent = 0
        self._tail = ""

    def take(self, character: str) -> list[ParsedEvent]:
        self._written.append(character)
        if self._json.ended or self._json.problem:
            self._close_at(character)
            return []
        key = self._json.key
        self._json.feed(character)
        key = self._json.key or key
        if self._json.problem:
            self._close_at(character)
        elif key is not None and self._json.member:
            self._parts.setdefault(key, []).append(self._json.member)
        return self._news()

    def _close_at(self, character: str) -> None:
        self._tail = (self._tail + character)[-len(CALL_END) :]
        self.closed = self._tail == CALL_END

    def _news(self) -> list[ParsedEvent]:
        events: list[ParsedEvent] = []
        if not self._started:
            name = self._name() if self._json.key != "name" else ""
            if not name:
                return []
            self._started = True
            events.append(CallStart(self.index, self.id, name))
        parts = self._arguments_parts()
        if len(parts) > self._sent and parts[0].startswith("{"):
            events.append(ArgumentsDelta(self.index, "".join(parts[self._sent :])))
            self._sent = len(parts)
        return events

    def _arguments_parts(self) -> list[str]:
        return self._parts.get("arguments") or self._parts.get("parameters") or []

    def _name(self) -> str:
        try:
            name = json.loads("".join(self._parts.get("name", ())) or '""')
        except ValueError:
            return ""
        return name if isinstance(name, str) else ""

    def end(self) -> list[ParsedEvent]:
        """The call's last events."""
        written = CALL + "".join(self._written)
        name = self._name()
        text = "".join(self._arguments_parts()) or "{}"
        problem = self._json.problem and f"the call is not JSON: {self._json.problem}"
        if not problem and not self._json.ended:
            problem = "the call is cut off before its JSON ends"
        if not problem and not name:
            problem = 'the call has no "name"'
        events: list[ParsedEvent] = []
        if not problem and not text.startswith("{"):
            text = _unquoted(text)
        if not problem:
            text, problem = load_arguments(text)
        if not problem and not self._sent:
            events.append(ArgumentsDelta(self.index, text))
        events.append(CallEnd(self.index, self.id, name, "" if problem else text, problem, written))
        return events


def _unquoted(text: str) -> str:
    """Arguments that were written as a string of JSON, or as nothing at all."""
    value = json.loads(text)
    if value is None or value == "":
        return "{}"
    return value if isinstance(value, str) else text
