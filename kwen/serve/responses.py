"""POST /v1/responses: OpenAI's newer API, whole or as its typed events. Nothing is kept: each request carries all it needs."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kwen.engine.completion import Delta
from kwen.engine.tool_calls import ArgumentsDelta, CallEnd, CallStart, ContentDelta, ParsedEvent, ThoughtDelta
from kwen.serve.asking import Asked, Job, chat_jobs
from kwen.serve.errors import ApiError
from kwen.serve.events import named_event
from kwen.serve.logprobs import chat_logprobs
from kwen.serve.models import ServedModel
from kwen.serve.protocol import ResponsesRequest
from kwen.serve.reading import parse
from kwen.serve.replies import Reply
from kwen.serve.responses_input import asked_of
from kwen.serve.server import Server
from kwen.serve.writer import Writer

Event = dict[str, Any]


async def responses(server: Server, request: Request) -> Response:
    """Answer one request."""
    data = await server.read(request)
    body = await server.quick(len(data), parse, ResponsesRequest, data)
    served = server.models[body.model]
    asked = await server.quick(len(data), asked_of, body)

    def writer(jobs: list[Job]) -> Writer:
        return ResponseWriter(served, jobs, body, asked)

    jobs = partial(chat_jobs, served, asked)
    return await server.answer(request, served, len(data), jobs, writer, bool(body.stream), asked.constrained)


class ResponseWriter(Writer):
    """A response of output items: thoughts, messages, calls, in the order in which they come."""

    def __init__(self, served: ServedModel, jobs: Sequence[Job], body: ResponsesRequest, asked: Asked) -> None:
        super().__init__(served, jobs)
        self._id, self._body, self._asked = f"resp_{secrets.token_hex(16)}", body, asked
        self._reply = Reply(jobs[0].parser, asked.offers_tools)
        self._output: list[dict[str, Any]] = []
        self._open = ""  # the type of the item that is being written
        self._sequence = 0
        self._status = "in_progress"
        self._error: ApiError | None = None
        self.usage.prompt = len(jobs[0].prompt)

    def event(self, payload: dict[str, Any]) -> bytes:
        """An event under its name."""
        return named_event(payload)

    def begin(self) -> list[Event]:
        """The response as it is before any output."""
        return [self._event(f"response.{name}", response=self.result()) for name in ("created", "in_progress")]

    def take(self, number: int, delta: Delta) -> list[Event]:
        """The events of what the next delta holds."""
        self.usage.cached = max(self.usage.cached, delta.cached_tokens)
        logprobs = chat_logprobs(self.served.lm.tokenizer, delta) if self._body.top_logprobs is not None else []
        events: list[Event] = []
        for event in self._reply.take(delta):
            events += self._take(event, logprobs)
            if isinstance(event, ContentDelta):
                logprobs = []
        self.usage.completion, self.usage.reasoning = self._reply.tokens, self._reply.thought_tokens
        return events

    def end(self) -> list[Event]:
        """The last item's end, and the whole response."""
        events = self._close()
        self._status = "incomplete" if self._reply.finish_reason == "length" else "completed"
        return [*events, self._event(f"response.{self._status}", response=self.result())]

    def failure(self, error: ApiError) -> Event:
        """The response as far as it came, with the error."""
        self._status, self._error = "failed", error
        return self._event("response.failed", response=self.result())

    def result(self) -> dict[str, Any]:
        """The response object as it stands."""
        body, params = self._body, self.jobs[0].params
        done = self._status in ("completed", "incomplete")
        return {
            "id": self._id,
            "object": "response",
            "created_at": self.created,
            "status": self._status,
            "background": False,
            "error": self._error and {"code": self._error.code or "server_error", "message": self._error.message},
            "incomplete_details": {"reason": "max_output_tokens"} if self._status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self.served.name,
            "output": [dict(item) for item in self._output],
            "parallel_tool_calls": self._asked.parallel,
            "previous_response_id": None,
            "reasoning": {"effort": (body.reasoning or {}).get("effort"), "summary": None},
            "store": False,
            "temperature": params.temperature,
            "text": {"format": {"type": "text"}, **(body.text or {})},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": params.top_p,
            "truncation": body.truncation or "disabled",
            "usage": self._usage() if done else None,
        }

    def _usage(self) -> dict[str, Any]:
        usage = self.usage
        return {
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": usage.reasoning},
            "total_tokens": usage.prompt + usage.completion,
        }

    def _event(self, kind: str, **fields: Any) -> Event:
        self._sequence += 1
        return {"type": kind, "sequence_number": self._sequence - 1, **fields}

    def _take(self, event: ParsedEvent, logprobs: list[dict[str, Any]]) -> list[Event]:
        if isinstance(event, ContentDelta):
            events = self._ensure("message")
            part = self._output[-1]["content"][0]
            part["text"] += event.text
            part["logprobs"] += logprobs
            return [*events, self._part_event("output_text.delta", content_index=0, delta=event.text, logprobs=logprobs)]
        if isinstance(event, ThoughtDelta):
            events = self._ensure("reasoning")
            self._output[-1]["content"][0]["text"] += event.text
            return [*events, self._part_event("reasoning_text.delta", content_index=0, delta=event.text)]
        if isinstance(event, CallStart):
            return [*self._close(), *self._start_call(event.id, event.name)]
        if isinstance(event, ArgumentsDelta):
            self._output[-1]["arguments"] += event.text
            return [self._part_event("function_call_arguments.delta", delta=event.text)]
        return self._end_call(event)

    def _ensure(self, kind: str) -> list[Event]:
        """Open an item of this type, unless one is open."""
        if self._open == kind:
            return []
        events = self._close()
        self._open = kind
        if kind == "message":
            part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item: dict[str, Any] = {
                "type": kind,
                "id": f"msg_{secrets.token_hex(12)}",
                "status": "in_progress",
                "role": "assistant",
            }
        else:
            part = {"type": "reasoning_text", "text": ""}
            item = {"type": kind, "id": f"rs_{secrets.token_hex(12)}", "status": "in_progress", "summary": []}
        self._output.append({**item, "content": []})
        events.append(self._item_event("added"))
        self._output[-1]["content"] = [part]
        return [*events, self._part_event("content_part.added", content_index=0, part=dict(part))]

    def _start_call(self, identifier: str, name: str) -> list[Event]:
        self._open = "function_call"
        item = {"type": "function_call", "id": f"fc_{secrets.token_hex(12)}", "call_id": identifier, "name": name}
        self._output.append({**item, "arguments": "", "status": "in_progress"})
        return [self._item_event("added")]

    def _end_call(self, event: CallEnd) -> list[Event]:
        if self._open != "function_call":
            return []
        if not event.problem:
            self._output[-1]["arguments"] = event.arguments
        return self._close()

    def _close(self) -> list[Event]:
        """End the open item."""
        kind, self._open = self._open, ""
        if not kind:
            return []
        item = self._output[-1]
        item["status"] = "incomplete" if kind == "function_call" and not _is_whole(item["arguments"]) else "completed"
        events: list[Event] = []
        if kind == "function_call":
            done = {"arguments": item["arguments"], "name": item["name"]}
            events.append(self._part_event("function_call_arguments.done", **done))
        else:
            part = item["content"][0]
            name = "output_text" if kind == "message" else "reasoning_text"
            told = {"logprobs": part["logprobs"]} if kind == "message" else {}
            events.append(self._part_event(f"{name}.done", content_index=0, text=part["text"], **told))
            events.append(self._part_event("content_part.done", content_index=0, part=dict(part)))
        return [*events, self._item_event("done")]

    def _part_event(self, kind: str, **fields: Any) -> Event:
        place = {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}
        return self._event(f"response.{kind}", **place, **fields)

    def _item_event(self, name: str) -> Event:
        return self._event(f"response.output_item.{name}", output_index=len(self._output) - 1, item=dict(self._output[-1]))


def _is_whole(arguments: str) -> bool:
    return arguments.startswith("{") and arguments.endswith("}")
