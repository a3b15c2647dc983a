"""One answer of a chat as it comes: the engine's deltas read as text, thoughts and calls, and counted."""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from kwen.engine.completion import Delta
from kwen.engine.tool_calls import (
    ArgumentsDelta,
    CallEnd,
    CallParser,
    CallStart,
    ContentDelta,
    ParsedEvent,
    ThoughtDelta,
    message_of,
)


@dataclass
class Usage:
    """Tokens of a request: of its prompts, of those the part that the prefix cache had, of its answers, and of their thoughts."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def openai(self) -> dict[str, Any]:
        """As the completions APIs have it."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning},
        }


class Reply:
    """Reads one answer's deltas. Each text goes through the parser once; calls get ids that no other answer has.

    offers_tools: whether calls are calls; else what looks like one is text. finish_reason: the engine's, once it has ended.
    called: whether it holds a call that can be made.
    """

    def __init__(self, parser: CallParser | None, offers_tools: bool) -> None:
        self.finish_reason: str | None = None
        self.stop_reason: int | str | None = None
        self.called = False
        self.tokens = self.thought_tokens = 0
        self._parser, self._offers_tools = parser, offers_tools
        self._events: list[ParsedEvent] = []
        self._ids: dict[int, str] = {}
        self._started: set[int] = set()
        self._thinking = False

    def take(self, delta: Delta) -> list[ParsedEvent]:
        """What became certain with the next delta. A call that cannot be read is text, unless a part of it was given already."""
        self.tokens += len(delta.token_ids)
        events: list[ParsedEvent] = []
        if self._parser is None:
            events = [ContentDelta(delta.text)] if delta.text else []
        else:
            events = self._parser.feed(delta.text)
            if delta.finish_reason is not None:
                events += self._parser.finish()
        given = [event for event in map(self._given, events) if event is not None]
        if given:
            self._thinking = isinstance(given[-1], ThoughtDelta)
        if self._thinking:
            self.thought_tokens += len(delta.token_ids)
        if delta.finish_reason is not None:
            self.finish_reason, self.stop_reason = delta.finish_reason, delta.stop_reason
        self._events += given
        return given

    def message(self) -> dict[str, Any]:
        """All of it as an assistant's message of OpenAI's form."""
        return message_of(self._events)

    def events(self) -> list[ParsedEvent]:
        """All that `take` gave."""
        return list(self._events)

    def _given(self, event: ParsedEvent) -> ParsedEvent | None:
        if isinstance(event, ContentDelta | ThoughtDelta):
            return event
        if not self._offers_tools:
            return ContentDelta(event.written) if isinstance(event, CallEnd) else None
        if isinstance(event, ArgumentsDelta):
            return event
        if isinstance(event, CallEnd) and event.problem and event.index not in self._started:
            return ContentDelta(event.written)
        identifier = self._ids.setdefault(event.index, f"call_{secrets.token_hex(12)}")
        if isinstance(event, CallStart):
            self._started.add(event.index)
        elif not event.problem:
            self.called = True
        return replace(event, id=identifier)
