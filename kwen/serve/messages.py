"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's API, whole or as its typed events."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kwen.engine.completion import Delta
from kwen.engine.tool_calls import ArgumentsDelta, CallEnd, CallStart, ContentDelta, ParsedEvent, ThoughtDelta
from kwen.serve.asking import Job, chat_jobs
from kwen.serve.errors import ApiError
from kwen.serve.events import named_event
from kwen.serve.messages_input import asked_of
from kwen.serve.models import ServedModel
from kwen.serve.protocol import MessagesRequest
from kwen.serve.reading import parse
from kwen.serve.replies import Reply
from kwen.serve.server import Server
from kwen.serve.writer import Writer

Event = dict[str, Any]


async def messages(server: Server, request: Request) -> Response:
    """Answer one request."""
    data = await server.read(request)
    body = await server.quick(len(data), parse, MessagesRequest, data)
    if body.max_tokens is None:
        raise ApiError(400, "max_tokens is missing, and required", param="max_tokens")
    served = server.models[body.model]
    asked = await server.quick(len(data), asked_of, body)

    def writer(jobs: list[Job]) -> Writer:
        return MessageWriter(served, jobs, asked.offers_tools, asked.sampling.stop)

    jobs = partial(chat_jobs, served, asked)
    return await server.answer(request, served, len(data), jobs, writer, bool(body.stream), asked.constrained)


async def count_tokens(server: Server, request: Request) -> Response:
    """How many tokens a request's prompt takes."""
    data = await server.read(request)
    body = await server.quick(len(data), parse, MessagesRequest, data)
    served = server.models[body.model]

    def count() -> int:
        asked = asked_of(body)
        sampling = replace(asked.sampling, max_tokens=None)
        return len(chat_jobs(served, replace(asked, sampling=sampling))[0].prompt)

    return JSONResponse({"input_tokens": await server.apart(len(data), count)})


class MessageWriter(Writer):
    """A message of content blocks: thoughts, text, calls, in the order in which they come."""

    def __init__(self, served: ServedModel, jobs: Sequence[Job], offers_tools: bool, stops: Sequence[str]) -> None:
        super().__init__(served, jobs)
        self._id = f"msg_{secrets.token_hex(12)}"
        self._reply = Reply(jobs[0].parser, offers_tools)
        self._blocks: list[dict[str, Any]] = []
        self._open = False
        self._stops = stops
        self.usage.prompt = len(jobs[0].prompt)

    def event(self, payload: dict[str, Any]) -> bytes:
        """An event under its name."""
        return named_event(payload)

    def begin(self) -> list[Event]:
        """The message before any content."""
        return [{"type": "message_start", "message": self.result()}, {"type": "ping"}]

    def take(self, number: int, delta: Delta) -> list[Event]:
        """The events of what the next delta holds."""
        self.usage.cached = max(self.usage.cached, delta.cached_tokens)
        events = [told for event in self._reply.take(delta) for told in self._take(event)]
        self.usage.completion, self.usage.reasoning = self._reply.tokens, self._reply.thought_tokens
        return events

    def end(self) -> list[Event]:
        """The last block's end, why the message ended, and the tokens used."""
        reason, sequence = self._stop()
        change = {"stop_reason": reason, "stop_sequence": sequence}
        told = {"type": "message_delta", "delta": change, "usage": self._usage()}
        return [*self._close(), told, {"type": "message_stop"}]

    def failure(self, error: ApiError) -> Event:
        """Anthropic's error event."""
        return error.body("/v1/messages")

    def result(self) -> dict[str, Any]:
        """The message as it stands."""
        reason, sequence = self._stop()
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self.served.name,
            "content": [dict(block) for block in self._blocks],
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": self._usage(),
        }

    def _usage(self) -> dict[str, int]:
        """Tokens; those that the cache had are not counted as input a second time."""
        cached = self.usage.cached
        return {
            "input_tokens": self.usage.prompt - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": self.usage.completion,
        }

    def _stop(self) -> tuple[str | None, str | None]:
        reply = self._reply
        if reply.finish_reason is None:
            return None, None
        if reply.called and reply.finish_reason == "stop":
            return "tool_use", None
        if isinstance(reply.stop_reason, str) and reply.stop_reason in self._stops:
            return "stop_sequence", reply.stop_reason
        return ("end_turn" if reply.finish_reason == "stop" else "max_tokens"), None

    def _take(self, event: ParsedEvent) -> list[Event]:
        if isinstance(event, ContentDelta):
            events = self._ensure({"type": "text", "text": ""})
            self._blocks[-1]["text"] += event.text
            return [*events, self._delta({"type": "text_delta", "text": event.text})]
        if isinstance(event, ThoughtDelta):
            events = self._ensure({"type": "thinking", "thinking": "", "signature": ""})
            self._blocks[-1]["thinking"] += event.text
            return [*events, self._delta({"type": "thinking_delta", "thinking": event.text})]
        if isinstance(event, CallStart):
            return [*self._close(), *self._start({"type": "tool_use", "id": event.id, "name": event.name, "input": {}})]
        if isinstance(event, ArgumentsDelta):
            return [self._delta({"type": "input_json_delta", "partial_json": event.text})]
        return self._end_call(event)

    def _end_call(self, event: CallEnd) -> list[Event]:
        if not self._open or self._blocks[-1]["type"] != "tool_use":
            return []
        events = self._close()
        if not event.problem:
            self._blocks[-1]["input"] = json.loads(event.arguments)
        return events

    def _ensure(self, block: dict[str, Any]) -> list[Event]:
        if self._open and self._blocks[-1]["type"] == block["type"]:
            return []
        return [*self._close(), *self._start(block)]

    def _start(self, block: dict[str, Any]) -> list[Event]:
        self._open = True
        self._blocks.append(block)
        return [{"type": "content_block_start", "index": len(self._blocks) - 1, "content_block": dict(block)}]

    def _delta(self, change: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": len(self._blocks) - 1, "delta": change}

    def _close(self) -> list[Event]:
        if not self._open:
            return []
        self._open = False
        index = len(self._blocks) - 1
        signed: list[Event] = []
        if self._blocks[-1]["type"] == "thinking":
            signed = [self._delta({"type": "signature_delta", "signature": ""})]
        return [*signed, {"type": "content_block_stop", "index": index}]
