"""What generation gives back: a whole completion, or its pieces as they come."""

from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length"]
TopLogprobs = list[tuple[int, float]]
"""Tokens with their logprobs, the likeliest first."""


@dataclass(frozen=True, slots=True)
class PromptLogprob:
    """A token of the prompt, its logprob after the tokens before it (None for the first), and the likeliest tokens there."""

    token_id: int
    logprob: float | None
    top: TopLogprobs


@dataclass(frozen=True, slots=True)
class Completion:
    """One finished answer.

    text: what the model wrote, without control tokens, cut before the stop string if one ended it.
    token_ids: the tokens behind `text`, without the stop token. After a stop string: the tokens that hold at least one
        character of `text`, so the last one may reach into the stop string.
    logprobs: one a token of `token_ids`: log-softmax over the full vocabulary at temperature 1 of the model's own logits,
        whatever temperature, top-p, top-k, penalty or grammar the token was drawn with.
    finish_reason: "stop" (a stop token, a stop string, or a grammar that goes on no further) or "length" (`max_new_tokens`
        reached; JSON and calls that a grammar constrains are closed before that, and are whole, unless there is no way to).
    stop_reason: the stop token's id or the stop string that ended it; None after "length" and at a grammar's end.
    top_logprobs: the likeliest tokens at each token of `token_ids`, where asked for. prompt_logprobs: one a token of the prompt,
        where asked for. cached_tokens: how many tokens of the prompt were taken from the prefix cache.
    """

    text: str
    token_ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason
    stop_reason: int | str | None = None
    top_logprobs: list[TopLogprobs] = field(default_factory=list)
    prompt_logprobs: list[PromptLogprob] = field(default_factory=list)
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of a streamed completion; all pieces together are the `Completion` (text, token_ids, logprobs).

    Text comes in complete characters, and never holds the beginning of a stop string that may still follow. Only the last
    piece has a `finish_reason`; `prompt_logprobs` come with the first, `cached_tokens` with each.
    """

    text: str
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop_reason: int | str | None = None
    top_logprobs: list[TopLogprobs] = field(default_factory=list)
    prompt_logprobs: list[PromptLogprob] = field(default_factory=list)
    cached_tokens: int = 0
