"""POST /v1/chat/completions: OpenAI's chat, whole or streamed."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kwen.engine.completion import Delta
from kwen.engine.tool_calls import delta_of
from kwen.serve.asking import Asked, Job, Sampling, chat_jobs
from kwen.serve.constraints import checked_tools, tool_choice
from kwen.serve.errors import ApiError
from kwen.serve.logprobs import chat_logprobs
from kwen.serve.models import ServedModel
from kwen.serve.protocol import ChatCompletionRequest, Sampled
from kwen.serve.reading import parse
from kwen.serve.replies import Reply
from kwen.serve.server import Server
from kwen.serve.writer import Writer


async def chat_completions(server: Server, request: Request) -> Response:
    """Answer one request."""
    data = await server.read(request)
    body = await server.quick(len(data), parse, ChatCompletionRequest, data)
    served = server.models[body.model]
    asked = await server.quick(len(data), asked_of, body)

    def writer(jobs: list[Job]) -> Writer:
        return ChatWriter(served, jobs, asked.offers_tools, bool(body.logprobs), wants_usage(body))

    jobs = partial(chat_jobs, served, asked)
    return await server.answer(request, served, len(data), jobs, writer, bool(body.stream), asked.constrained)


def asked_of(body: ChatCompletionRequest) -> Asked:
    """What a body asks for. Raises ApiError for fields that do not go together."""
    tools = checked_tools(body.tools)
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs: needs logprobs to be true", param="top_logprobs", code="invalid_value")
    variables = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort == "none":
        variables.setdefault("enable_thinking", False)
    return Asked(
        messages=body.messages,
        sampling=Sampling.of(body, body.max_completion_tokens or body.max_tokens, top_logprobs=body.top_logprobs),
        tools=tools,
        choice=tool_choice(body.tool_choice, tools),
        parallel=body.parallel_tool_calls is not False,
        response_format=body.response_format,
        extras=body,
        template_variables=variables,
    )


def wants_usage(body: Sampled) -> bool:
    """Whether the stream ends with the tokens used. Raises ApiError where there is no stream to have options."""
    if body.stream_options is not None and not body.stream:
        raise ApiError(400, "stream_options: is for streams; set stream", param="stream_options", code="invalid_value")
    return body.stream_options is not None and bool(body.stream_options.include_usage)


class ChatWriter(Writer):
    """Chunks with deltas, or choices with messages."""

    last = b"data: [DONE]\n\n"

    def __init__(self, served: ServedModel, jobs: Sequence[Job], offers_tools: bool, logprobs: bool, usage: bool) -> None:
        super().__init__(served, jobs)
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._replies = [Reply(job.parser, offers_tools) for job in jobs]
        self._logprobs: list[list[dict[str, Any]]] | None = [[] for _ in jobs] if logprobs else None
        self._tells_usage = usage
        self.usage.prompt = len(jobs[0].prompt)

    def begin(self) -> list[dict[str, Any]]:
        """A chunk for each choice that names the role."""
        return [self._chunk(number, {"role": "assistant", "content": ""}) for number in range(len(self.jobs))]

    def take(self, number: int, delta: Delta) -> list[dict[str, Any]]:
        """A chunk for each event; the logprobs of its tokens go with the first."""
        reply = self._replies[number]
        events = reply.take(delta)
        self._count(number, delta)
        told = [change for event in events if (change := delta_of(event)) is not None]
        logprobs = None
        if self._logprobs is not None and delta.token_ids:
            logprobs = chat_logprobs(self.served.lm.tokenizer, delta)
            self._logprobs[number] += logprobs
            told = told or [{"content": ""}]
        chunks = [self._chunk(number, change, None if index else logprobs) for index, change in enumerate(told)]
        if reply.finish_reason is not None:
            chunks.append(self._chunk(number, {}, None, _finish_reason(reply)))
        return chunks

    def end(self) -> list[dict[str, Any]]:
        """The tokens used, if they are asked for."""
        return [{**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage.openai()}] if self._tells_usage else []

    def result(self) -> dict[str, Any]:
        """The completion."""
        choices = [
            {
                "index": number,
                "message": _message(reply),
                "logprobs": None if self._logprobs is None else {"content": self._logprobs[number], "refusal": None},
                "finish_reason": _finish_reason(reply),
            }
            for number, reply in enumerate(self._replies)
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": self.usage.openai()}

    def _count(self, number: int, delta: Delta) -> None:
        if number == 0:
            self.usage.cached = max(self.usage.cached, delta.cached_tokens)
        self.usage.completion = sum(reply.tokens for reply in self._replies)
        self.usage.reasoning = sum(reply.thought_tokens for reply in self._replies)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self.created, "model": self.served.name}

    def _chunk(
        self, number: int, change: dict[str, Any], logprobs: list[dict[str, Any]] | None = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        told = None if logprobs is None else {"content": logprobs, "refusal": None}
        choice = {"index": number, "delta": change, "logprobs": told, "finish_reason": finish_reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        return {**chunk, "usage": None} if self._tells_usage else chunk


def _finish_reason(reply: Reply) -> str | None:
    return "tool_calls" if reply.called and reply.finish_reason == "stop" else reply.finish_reason


def _message(reply: Reply) -> dict[str, Any]:
    message = {"refusal": None, **reply.message()}
    if message.get("tool_calls") and not message["content"]:
        message["content"] = None
    return message
