"""What a model's turn consists of once tools are in play: content, thoughts and calls, as events and as one message.

A parser is fed the text of a turn in pieces of any size and gives the same events for any cutting of it, texts joined.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """The next piece of what the model says to the user."""

    text: str


@dataclass(frozen=True, slots=True)
class ThoughtDelta:
    """The next piece of what the model says to itself."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call has begun: its place in the turn, its id, and the tool's name."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsDelta:
    """The next piece of the JSON text of a call's arguments."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """A call is complete. `arguments` is the JSON text of an object, or "" where `problem` says what is wrong with the call.

    name is "" where none could be read, and then no CallStart came before. `written` is the call as the model wrote it.
    """

    index: int
    id: str
    name: str
    arguments: str
    problem: str
    written: str


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """A turn has ended: "stop" or "length", and the tokens of its prompt and of what was generated."""

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


ParsedEvent = ContentDelta | ThoughtDelta | CallStart | ArgumentsDelta | CallEnd


class CallParser(ABC):
    """Turns the text of one assistant turn into events. `first_call` numbers the first call's id."""

    def __init__(self, first_call: int = 0) -> None:
        self._first_call = first_call
        self._calls = 0
        self._events: list[ParsedEvent] = []

    def feed(self, text: str) -> list[ParsedEvent]:
        """Take the next piece of the turn's text; the events that are certain now, neighbours of one kind joined."""
        for character in text:
            self._take(character)
        return self._given()

    def finish(self) -> list[ParsedEvent]:
        """The turn's text is complete; what was still open."""
        self._end()
        return self._given()

    @abstractmethod
    def _take(self, character: str) -> None: ...

    @abstractmethod
    def _end(self) -> None: ...

    def _call_id(self) -> str:
        return f"call_{self._first_call + self._calls}"

    def _given(self) -> list[ParsedEvent]:
        events, self._events = join_deltas(self._events), []
        return events


def join_deltas(events: Iterable[ParsedEvent]) -> list[ParsedEvent]:
    """The events with neighbouring deltas of one kind made one."""
    joined: list[ParsedEvent] = []
    texts: list[str] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, ContentDelta | ThoughtDelta | ArgumentsDelta):
            alike = type(last) is type(event) and getattr(last, "index", None) == getattr(event, "index", None)
            if alike:
                texts.append(event.text)
                continue
        _settle(joined, texts)
        joined.append(event)
        texts = [event.text] if isinstance(event, ContentDelta | ThoughtDelta | ArgumentsDelta) else []
    _settle(joined, texts)
    return joined


def _settle(joined: list[ParsedEvent], texts: list[str]) -> None:
    if len(texts) > 1:
        last = joined[-1]
        assert isinstance(last, ContentDelta | ThoughtDelta | ArgumentsDelta)
        text = "".join(texts)
        joined[-1] = ArgumentsDelta(last.index, text) if isinstance(last, ArgumentsDelta) else type(last)(text)


class TextRun:
    """Text of one kind inside a turn: white space around it is not part of it, so it is held back until more text follows."""

    def __init__(self, kind: type[ContentDelta] | type[ThoughtDelta], started: bool = False) -> None:
        self.kind, self.started, self._space = kind, started, ""

    def add(self, character: str) -> list[ParsedEvent]:
        """The events of one more character."""
        if character.isspace():
            self._space += character if self.started else ""
            return []
        text, self._space, self.started = self._space + character, "", True
        return [self.kind(text)]


def message_of(events: Iterable[ParsedEvent]) -> dict[str, Any]:
    """The events of a turn as an assistant message in OpenAI's form, usable as history.

    A call that could not be read stays what it is: text in the content.
    """
    content, thoughts, calls = "", "", []
    for event in events:
        if isinstance(event, ContentDelta):
            content += event.text
        elif isinstance(event, ThoughtDelta):
            thoughts += event.text
        elif isinstance(event, CallEnd):
            if event.problem:
                content += ("\n" if content else "") + event.written
            else:
                calls.append(call_message(event.id, event.name, event.arguments))
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def call_message(id: str, name: str, arguments: str) -> dict[str, Any]:
    """One call in OpenAI's form."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def delta_of(event: ParsedEvent) -> dict[str, Any] | None:
    """An event as a delta of OpenAI's stream; None for the end of a call, which that form does not tell."""
    if isinstance(event, ContentDelta):
        return {"content": event.text}
    if isinstance(event, ThoughtDelta):
        return {"reasoning_content": event.text}
    if isinstance(event, CallStart):
        return {"tool_calls": [{"index": event.index, **call_message(event.id, event.name, "")}]}
    if isinstance(event, ArgumentsDelta):
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}
    return None


def count_calls(messages: Sequence[Mapping[str, Any]]) -> int:
    """How many calls a conversation holds, which is the number of the next call's id."""
    return sum(len(message.get("tool_calls") or ()) for message in messages)
