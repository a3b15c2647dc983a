"""POST /v1/completions: raw prompts continued; with echo and logprobs, prompts scored, which is lm-eval's way in."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kwen.engine.completion import Delta
from kwen.serve.asking import Job, Sampling, room, sampling_params
from kwen.serve.chat_completions import wants_usage
from kwen.serve.constraints import answer_grammar
from kwen.serve.errors import ApiError
from kwen.serve.logprobs import CompletionLogprobs, extended
from kwen.serve.models import ServedModel
from kwen.serve.protocol import MOST_ANSWERS, CompletionRequest
from kwen.serve.reading import parse
from kwen.serve.server import Server
from kwen.serve.writer import Writer
from kwen.text.fim import FimTokens


async def completions(server: Server, request: Request) -> Response:
    """Answer one request."""
    data = await server.read(request)
    body = await server.quick(len(data), parse, CompletionRequest, data)
    served = server.models[body.model]
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise ApiError(400, f"best_of: must be n, {body.n or 1}, or left out", param="best_of", code="unsupported_value")
    if body.max_tokens == 0 and not body.echo:
        raise ApiError(400, "max_tokens: 0 is for echo alone; ask for 1 at least", param="max_tokens", code="invalid_value")
    answers = len(body.prompt) * (body.n or 1)
    if answers > MOST_ANSWERS:
        text = f"n: {answers:,} answers in one request; at most {MOST_ANSWERS:,} are given"
        raise ApiError(400, text, param="n", code="invalid_value")
    usage = wants_usage(body)

    def writer(jobs: list[Job]) -> Writer:
        return CompletionWriter(served, jobs, body, usage)

    jobs = partial(completion_jobs, served, body)
    return await server.answer(request, served, len(data), jobs, writer, bool(body.stream), body.guided)


def completion_jobs(served: ServedModel, body: CompletionRequest) -> list[Job]:
    """`n` jobs for each prompt, prompts in their order. Raises ApiError and UserError for what cannot be run."""
    most = 16 if body.max_tokens is None else body.max_tokens  # OpenAI's own default
    scored = body.logprobs if body.echo else None
    sampling = Sampling.of(body, None, top_logprobs=body.logprobs, prompt_logprobs=scored)
    grammar = answer_grammar(None, body)
    seed = sampling_params(served, sampling, 1).seed
    jobs = []
    for index, prompt in enumerate(body.prompt):
        tokens = _token_ids(served, prompt, body.suffix, index)
        length = room(served, len(tokens), max(most, 1))
        params = sampling_params(served, sampling, length, grammar)
        jobs += [Job(tokens, replace(params, seed=seed + number)) for number in range(body.n or 1)]
    return jobs


def _token_ids(served: ServedModel, prompt: str | list[int], suffix: str | None, index: int) -> list[int]:
    tokenizer, vocab_size = served.lm.tokenizer, served.lm.config.vocab_size
    if isinstance(prompt, str):
        tokens = tokenizer.encode(prompt)
        if suffix:
            marks = FimTokens.of(tokenizer)
            tokens = [marks.prefix, *tokens, marks.suffix, *tokenizer.encode(suffix), marks.middle]
        tokens = tokenizer.bos_ids + tokens
    else:
        tokens = prompt
        if suffix:
            raise ApiError(400, "suffix: needs the prompt as text", param="suffix", code="invalid_value")
        if tokens and not 0 <= min(tokens) <= max(tokens) < vocab_size:
            text = f"prompt {index}: token ids lie between 0 and {vocab_size - 1:,}, the model's vocabulary"
            raise ApiError(400, text, param="prompt", code="invalid_value")
    if not tokens:
        text = f"prompt {index}: has no tokens, and this model has none that begins a text; give at least one"
        raise ApiError(400, text, param="prompt", code="invalid_value")
    return tokens


class CompletionWriter(Writer):
    """Chunks with text, or choices with all of it."""

    last = b"data: [DONE]\n\n"

    def __init__(self, served: ServedModel, jobs: Sequence[Job], body: CompletionRequest, usage: bool) -> None:
        super().__init__(served, jobs)
        self._id = f"cmpl-{secrets.token_hex(12)}"
        self._body, self._each, self._tells_usage = body, body.n or 1, usage
        self._choices: list[dict[str, Any]] = [
            {"index": number, "text": "", "logprobs": None, "finish_reason": None} for number in range(len(jobs))
        ]
        self._heard = [False] * len(jobs)
        self._names_ids = bool(body.return_tokens_as_token_ids)
        self._logprobs = [CompletionLogprobs(served.lm.tokenizer, self._names_ids) for _ in jobs]
        self.usage.prompt = sum(len(job.prompt) for job in jobs[:: self._each])

    def begin(self) -> list[dict[str, Any]]:
        """Nothing: the first token is the first chunk."""
        return []

    def take(self, number: int, delta: Delta) -> list[dict[str, Any]]:
        """A chunk with the delta's text; an echoed prompt comes with the first."""
        first, self._heard[number] = not self._heard[number], True
        if first and number % self._each == 0:
            self.usage.cached += delta.cached_tokens
        text, logprobs = "", None
        if first and self._body.echo:
            text = self._echo(number)
            if self._body.logprobs is not None:
                logprobs = self._logprobs[number].prompt(delta.prompt_logprobs, self._body.logprobs)
        if self._body.max_tokens != 0:
            text += delta.text
            self.usage.completion += len(delta.token_ids)
            if self._body.logprobs is not None:
                logprobs = extended(logprobs, self._logprobs[number].take(delta, self._body.logprobs))
        choice = self._choices[number]
        choice["text"] += text
        choice["finish_reason"] = "length" if delta.finish_reason and self._body.max_tokens == 0 else delta.finish_reason
        if logprobs is not None:
            choice["logprobs"] = extended(choice["logprobs"], logprobs)
        if not text and not delta.token_ids and delta.finish_reason is None:
            return []
        told = {"index": number, "text": text, "logprobs": logprobs, "finish_reason": choice["finish_reason"]}
        chunk = {**self._head(), "choices": [told]}
        return [{**chunk, "usage": None} if self._tells_usage else chunk]

    def end(self) -> list[dict[str, Any]]:
        """The tokens used, if they are asked for."""
        return [{**self._head(), "choices": [], "usage": self.usage.openai()}] if self._tells_usage else []

    def result(self) -> dict[str, Any]:
        """The completion."""
        return {**self._head(), "choices": self._choices, "usage": self.usage.openai()}

    def _echo(self, number: int) -> str:
        prompt = self._body.prompt[number // self._each]
        return prompt if isinstance(prompt, str) else self.served.lm.tokenizer.decode(prompt, skip_special_tokens=False)

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "object": "text_completion", "created": self.created, "model": self.served.name}
