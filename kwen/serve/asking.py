"""A chat request of any API, and what the engine runs for it: prompt, parameters, and what reads the answer.

Everything here may take long (a large prompt, a schema to compile), and runs on a thread of its own, off the event loop.
"""

import copy
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kwen.engine.constrain import Grammar
from kwen.engine.sampler import SamplingParams
from kwen.engine.tool_calls import CallParser
from kwen.errors import UserError
from kwen.serve.constraints import ToolChoice, answer_grammar, call_grammar, call_or_answer, schema_of
from kwen.serve.errors import ApiError
from kwen.serve.models import ServedModel
from kwen.serve.protocol import Sampled


@dataclass(frozen=True)
class Sampling:
    """How answers are sampled; what is None is as the model's checkpoint has it. max_tokens None: what the context has room for.

    top_logprobs None: no alternatives are told.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    min_tokens: int | None = None
    ignore_eos: bool = False
    top_logprobs: int | None = None
    prompt_logprobs: int | None = None
    n: int = 1

    @classmethod
    def of(cls, body: Sampled, max_tokens: int | None, **others: Any) -> "Sampling":
        """What a body of OpenAI's completions APIs asks for."""
        same = ("temperature", "top_p", "top_k", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias")
        named = {name: getattr(body, name) for name in (*same, "seed", "min_tokens")}
        return cls(max_tokens, **named, stop=body.stop or (), ignore_eos=bool(body.ignore_eos), n=body.n or 1, **others)


@dataclass(frozen=True)
class Asked:
    """A conversation to go on, in OpenAI's chat form, and what its answer may be."""

    messages: Sequence[Mapping[str, Any]]
    sampling: Sampling
    tools: Sequence[Mapping[str, Any]] | None = None
    choice: ToolChoice = ToolChoice()
    parallel: bool = True
    response_format: Mapping[str, Any] | None = None
    extras: Sampled | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    truncate: bool = False

    @property
    def offers_tools(self) -> bool:
        """Whether calls in the answer are calls, and not text that looks like some."""
        return bool(self.tools) and self.choice.kind != "none"

    @property
    def constrained(self) -> bool:
        """Whether the answer may be held to a grammar."""
        return self.offers_tools or self.response_format is not None or (self.extras is not None and self.extras.guided)


@dataclass(frozen=True)
class Job:
    """One answer for the engine to make."""

    prompt: list[int]
    params: SamplingParams
    parser: CallParser | None = None


def chat_jobs(served: ServedModel, asked: Asked) -> list[Job]:
    """One job for each of the answers asked for. Raises ApiError and UserError for what cannot be run."""
    params = sampling_params(served, asked.sampling, 1)
    variables = _template_variables(asked.template_variables)
    tools = asked.tools if asked.offers_tools else None
    grammar, thoughtless = _grammar(served, asked)
    if thoughtless and served.thinks:
        variables.setdefault("enable_thinking", False)
    most = asked.sampling.max_tokens
    request = served.lm.chat_request(
        asked.messages,
        tools,
        replace(params, max_new_tokens=min(most or 512, served.context)) if asked.truncate else params,
        template_variables=variables,
        truncate=asked.truncate,
        thoughts=served.thinks and (grammar is None or bool(tools)),
    )
    length = room(served, len(request.prompt), most, shorten=asked.truncate)
    params = replace(request.params, max_new_tokens=length, min_new_tokens=min(params.min_new_tokens, length), grammar=grammar)
    return [
        Job(request.prompt, replace(params, seed=params.seed + number), copy.deepcopy(request.parser))
        for number in range(asked.sampling.n)
    ]


def room(served: ServedModel, prompt_tokens: int, most: int | None, shorten: bool = False) -> int:
    """Tokens that the answer may take: `most`, or all that the context has left. Raises ApiError where it has not so many."""
    left = served.context - prompt_tokens
    if left < 1:
        told = (
            f"the prompt takes {prompt_tokens:,} tokens; the context of {served.name} holds {served.context:,}, answer included"
        )
        raise ApiError(400, f"{told}; shorten the prompt", param="messages", code="context_length_exceeded")
    if most is not None and most > left and not shorten:
        told = (
            f"the prompt takes {prompt_tokens:,} tokens and the answer up to {most:,}, {prompt_tokens + most:,} together; the "
            f"context of {served.name} holds {served.context:,}; shorten the prompt or ask for fewer tokens"
        )
        raise ApiError(400, told, param="messages", code="context_length_exceeded")
    return left if most is None else min(most, left)


def sampling_params(
    served: ServedModel, sampling: Sampling, max_new_tokens: int, grammar: Grammar | None = None
) -> SamplingParams:
    """The engine's parameters. Raises ApiError for a bias of a token that the model does not have."""
    biases = tuple((sampling.logit_bias or {}).items())
    vocab_size = served.lm.config.vocab_size
    if beyond := next((token for token, _ in biases if token >= vocab_size), None):
        text = f"logit_bias: token {beyond} is not in the vocabulary of {vocab_size:,}"
        raise ApiError(400, text, param="logit_bias", code="invalid_value")
    chosen = {name: getattr(sampling, name) for name in served.defaults}
    settings = served.defaults | {name: value for name, value in chosen.items() if value is not None}
    settings["top_p"] = max(settings["top_p"], 1e-6)  # OpenAI's 0 is the likeliest token alone
    settings["top_k"] = max(settings["top_k"], 0)
    return SamplingParams(
        max_new_tokens=max_new_tokens,
        **settings,
        seed=secrets.randbits(62) if sampling.seed is None else sampling.seed,
        stop=tuple(dict.fromkeys(sampling.stop)),
        stop_token_ids=() if sampling.ignore_eos else served.lm.stop_token_ids,
        grammar=grammar,
        min_new_tokens=min(sampling.min_tokens or 0, served.context),
        presence_penalty=sampling.presence_penalty or 0.0,
        frequency_penalty=sampling.frequency_penalty or 0.0,
        logit_bias=biases,
        top_logprobs=sampling.top_logprobs or 0,
        prompt_logprobs=sampling.prompt_logprobs,
    )


def _grammar(served: ServedModel, asked: Asked) -> tuple[Grammar | None, bool]:
    """What the answer must be, and whether that leaves no place for thoughts before it."""
    answer = answer_grammar(asked.response_format, asked.extras)
    if not asked.offers_tools:
        return answer, answer is not None
    assert asked.tools is not None
    call_format = served.lm.call_format
    if answer is None or asked.choice.kind == "required":
        return call_grammar(asked.tools, asked.choice, call_format, asked.parallel), asked.choice.kind == "required"
    if call_format != "hermes" or asked.response_format is None:
        text = f"{served.name} cannot be offered tools and held to a format at once; ask with tool_choice none or required"
        raise ApiError(400, text, param="response_format", code="unsupported_value")
    return call_or_answer(asked.tools, schema_of(asked.response_format), asked.parallel), True


def _template_variables(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(given, allow_nan=False)
    except ValueError as error:
        raise UserError(f"chat_template_kwargs: {error}") from None
    return dict(given)
