"""From logits to tokens. A draw is a pure function of (seed, position), so a request gives the same tokens in any batch.

Position is the index of the new token in its sequence, prompt included: continuing from a prompt that already holds the
first tokens of an answer gives the rest of that answer. Everything here works row by row; no row's result depends on what
other rows ask for. Legend: B batch, V vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kwen.engine.constrain import Grammar
from kwen.errors import UserError

# Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014): SplitMix64's step and its two multipliers,
# as signed 64-bit numbers, since torch's integer arithmetic is signed and wraps.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_MULTIPLY_1 = 0xBF58476D1CE4E5B9 - 2**64
_MULTIPLY_2 = 0x94D049BB133111EB - 2**64
_UNIFORM_BITS = 48  # few enough that u * total < total holds in float64 for every u
_COLDEST = 1e-6  # lower temperatures are this one: logits divided by it still fit float32
_ALL_TOKENS = 2**62  # top_k of a row without one
_STRETCH = 64  # tokens whose probabilities are added before a draw looks at single ones
_SHORT_LISTS = (32, 256)  # so many candidates are looked at before a whole row is sorted: nearly every nucleus fits


MOST_TOP_LOGPROBS = 100
"""Alternatives that can be told for one token."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is sampled and when it ends; raises UserError for a value outside its range.

    temperature 0 is greedy. top_p 1 and top_k 0 leave the distribution whole. Order: penalties, biases and minimum length
    (`kwen.engine.adjustments`), grammar, temperature, top-k, then top-p of what top-k left. stop: strings that end the text;
    stop_token_ids: tokens that end it, none of them before `min_new_tokens`. grammar: what the text must be; tokens with which
    it cannot become that are left out, stop tokens wherever it is not complete yet. logit_bias: (token, what is added to its
    logit). top_logprobs: how many of the likeliest tokens are told with each token. prompt_logprobs: the same for the tokens of
    the prompt from number `prompt_logprobs_from` on, whose own logprobs are told then too; None for neither. max_new_tokens 0 is
    for those alone: the prompt's last token is then predicted, but not read.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    grammar: Grammar | None = None
    min_new_tokens: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int = 0
    prompt_logprobs: int | None = None
    prompt_logprobs_from: int = 0

    def __post_init__(self) -> None:
        def require(holds: bool, name: str, needed: str) -> None:
            if not holds:
                raise UserError(f"sampling: {name} is {getattr(self, name)!r}; it must be {needed}")

        def is_number(value: object) -> bool:
            return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

        def is_integer(value: object) -> bool:
            return isinstance(value, int) and not isinstance(value, bool)

        fewest = 1 if self.prompt_logprobs is None else 0
        needed = f"an integer of at least {fewest}"
        require(is_integer(self.max_new_tokens) and self.max_new_tokens >= fewest, "max_new_tokens", needed)
        require(is_number(self.temperature) and self.temperature >= 0, "temperature", "a number of at least 0 (0 is greedy)")
        require(is_number(self.top_p) and 0 < self.top_p <= 1, "top_p", "a number above 0 and at most 1")
        require(is_integer(self.top_k) and self.top_k >= 0, "top_k", "an integer of at least 0 (0 keeps all tokens)")
        require(is_number(self.repetition_penalty) and self.repetition_penalty > 0, "repetition_penalty", "a number above 0")
        require(is_integer(self.seed), "seed", "an integer")
        require(all(isinstance(stop, str) and stop for stop in self.stop), "stop", "non-empty strings")
        require(all(is_integer(token) for token in self.stop_token_ids), "stop_token_ids", "token ids")
        require(is_integer(self.min_new_tokens) and self.min_new_tokens >= 0, "min_new_tokens", "an integer of at least 0")
        for name in ("presence_penalty", "frequency_penalty"):
            require(is_number(getattr(self, name)), name, "a number")
        pairs = all(len(pair) == 2 and is_integer(pair[0]) and is_number(pair[1]) for pair in self.logit_bias)
        require(pairs, "logit_bias", "pairs of a token id and a number")
        told = f"an integer from 0 to {MOST_TOP_LOGPROBS}"
        require(is_integer(self.top_logprobs) and 0 <= self.top_logprobs <= MOST_TOP_LOGPROBS, "top_logprobs", told)
        asked = self.prompt_logprobs
        require(asked is None or is_integer(asked) and 0 <= asked <= MOST_TOP_LOGPROBS, "prompt_logprobs", told)
        first = self.prompt_logprobs_from
        require(is_integer(first) and first >= 0, "prompt_logprobs_from", "an integer of at least 0")
        require(self.grammar is None or isinstance(self.grammar, Grammar), "grammar", "a kwen.engine.constrain.Grammar")

    @property
    def adjusts(self) -> bool:
        """Whether the logits are changed before the draw (see `kwen.engine.adjustments`)."""
        penalized = self.repetition_penalty != 1 or bool(self.presence_penalty or self.frequency_penalty)
        return penalized or bool(self.logit_bias) or self.min_new_tokens > 0

    @property
    def truncates(self) -> bool:
        """Whether top-p or top-k leaves something out."""
        return self.temperature > 0 and (self.top_p < 1 or self.top_k > 0)


def default_sampling(generation_config: Mapping[str, Any]) -> dict[str, Any]:
    """How a model is sampled where a request does not say: as its checkpoint wants to be, greedy where that does not sample."""
    settings = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
    if generation_config.get("do_sample"):
        settings["temperature"] = 1.0
        settings |= {name: generation_config[name] for name in settings if generation_config.get(name) is not None}
    return settings


class SamplingBatch:
    """The parameters of B rows as tensors, made when the rows change and used at every step until they change again."""

    def __init__(self, params: Sequence[SamplingParams], device: torch.device | str = "cpu") -> None:
        def column(values: list[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, dtype=dtype, device=device).unsqueeze(1)

        self.any_sampled = any(row.temperature > 0 for row in params)
        self.all_sampled = all(row.temperature > 0 for row in params)
        self.all_at_1 = all(row.temperature == 1 for row in params)
        if self.any_sampled:
            truncated = [row.truncates for row in params]
            self.all_truncated, self.any_truncated = all(truncated), any(truncated)
            self.truncated_rows = torch.tensor([i for i, cut in enumerate(truncated) if cut], dtype=torch.int64, device=device)
            self.greedy_B = torch.tensor([row.temperature == 0 for row in params], device=device)
            self.temperature_B1 = column([max(row.temperature, _COLDEST) for row in params], torch.float32)
            self.top_p_B1 = column([row.top_p for row in params], torch.float64)
            self.top_k_B1 = column([row.top_k or _ALL_TOKENS for row in params], torch.int64)
            self.streams_B = stream(torch.tensor([_signed(row.seed) for row in params], dtype=torch.int64, device=device))


def stream(seeds_B: Tensor) -> Tensor:
    """Where each seed's stream of numbers begins; seeds are hashed so that neighbouring ones do not share numbers."""
    return _mix(seeds_B + _STEP)


def uniform(streams_B: Tensor, positions_B: Tensor) -> Tensor:
    """One float64 in [0, 1) a row, a multiple of 2**-48: SplitMix64's number at `position` of `stream(seed)`.

    streams_B, positions_B: int64 (B,).
    """
    mixed = _mix(positions_B * _STEP + streams_B)
    return _shift_right(mixed, 64 - _UNIFORM_BITS).to(torch.float64) * 2.0**-_UNIFORM_BITS


def sample(scores_BV: Tensor, batch: SamplingBatch, positions_B: Tensor, allowed: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Choose one token a row: int64 (B,).

    scores_BV: the model's logits, adjusted where a row asks for it, float32 (B, V); positions_B: int64 (B,), the position each
    new token will take; allowed: the rows that have a grammar, int64 (R,), and which tokens each allows, bool (R, V), one at
    least.
    """
    if allowed is not None:
        rows_R, allowed_RV = allowed
        scores_BV = scores_BV.index_copy(0, rows_R, scores_BV[rows_R].masked_fill_(~allowed_RV, -math.inf))
    if not batch.any_sampled:
        return _argmax(scores_BV)
    logprobs_BV = (scores_BV if batch.all_at_1 else scores_BV / batch.temperature_B1).log_softmax(dim=-1)
    tokens_B = _draw(logprobs_BV, batch, uniform(batch.streams_B, positions_B))
    return tokens_B if batch.all_sampled else torch.where(batch.greedy_B, _argmax(scores_BV), tokens_B)


def _argmax(scores_BV: Tensor) -> Tensor:
    """The first largest index of each row. On a CPU through numpy, whose argmax is vectorised: ten times torch's speed."""
    if scores_BV.device.type == "cpu":
        return torch.from_numpy(scores_BV.numpy().argmax(axis=1))
    return scores_BV.argmax(dim=-1)


def _draw(logprobs_BV: Tensor, batch: SamplingBatch, uniforms_B: Tensor) -> Tensor:
    """Rows that keep the whole distribution and rows that truncate it, each by its own way whatever the mixture."""
    if batch.all_truncated:
        return _draw_truncated(logprobs_BV, batch.top_k_B1, batch.top_p_B1, uniforms_B)
    tokens = _draw_weighted(logprobs_BV.exp(), uniforms_B)
    if batch.any_truncated:
        rows = batch.truncated_rows
        tokens[rows] = _draw_truncated(logprobs_BV[rows], batch.top_k_B1[rows], batch.top_p_B1[rows], uniforms_B[rows])
    return tokens


def _draw_weighted(weights_BV: Tensor, uniforms_B: Tensor) -> Tensor:
    """Inverse CDF in the order of the vocabulary, which needs no sorting: first the stretch of tokens, then the token."""
    vocab_size = weights_BV.shape[1]
    if missing := -vocab_size % _STRETCH:
        weights_BV = F.pad(weights_BV, (0, missing))
    stretches = weights_BV.unflatten(1, (-1, _STRETCH))
    stretch, rest = _invert(stretches.sum(dim=-1).to(torch.float64), uniforms_B)
    inside = stretches[torch.arange(len(stretch), device=stretch.device), stretch].to(torch.float64)
    within, _ = _invert(inside, (rest / inside.sum(dim=-1)).clamp(0.0, 1 - 2.0**-_UNIFORM_BITS))
    return (stretch * _STRETCH + within).clamp_(max=vocab_size - 1)  # beyond it only where the weights are NaN


def _draw_truncated(logprobs_BV: Tensor, top_k_B1: Tensor, top_p_B1: Tensor, uniforms_B: Tensor, attempt: int = 0) -> Tensor:
    """Inverse CDF over the tokens that top-k and top-p leave.

    Only a short list of the likeliest tokens is looked at; rows that keep more are done again with a longer list, in the
    end with their whole row sorted. How far a row goes depends on that row alone.
    """
    if attempt == len(_SHORT_LISTS) or _SHORT_LISTS[attempt] >= logprobs_BV.shape[1]:
        return _draw_above_threshold(logprobs_BV, top_k_B1, top_p_B1, uniforms_B)
    values, candidates = logprobs_BV.topk(_SHORT_LISTS[attempt], dim=-1)
    kept, enough_B = _keep(values, top_k_B1, top_p_B1)
    chosen, _ = _invert(kept, uniforms_B)
    tokens = candidates.gather(1, chosen.unsqueeze(1)).squeeze(1)
    if not enough_B.all():
        rows = (~enough_B).nonzero().squeeze(1)
        tokens[rows] = _draw_truncated(logprobs_BV[rows], top_k_B1[rows], top_p_B1[rows], uniforms_B[rows], attempt + 1)
    return tokens


def _draw_above_threshold(logprobs_BV: Tensor, top_k_B1: Tensor, top_p_B1: Tensor, uniforms_B: Tensor) -> Tensor:
    """The same by the least probability that is kept (tokens equal to it are kept too): only values need sorting."""
    ordered = _sorted(logprobs_BV)
    kept, _ = _keep(ordered, top_k_B1, top_p_B1)
    threshold_B1 = ordered.gather(1, (kept > 0).sum(dim=-1, keepdim=True).clamp_(min=1) - 1)
    return _draw_weighted(logprobs_BV.exp().masked_fill_(logprobs_BV < threshold_B1, 0.0), uniforms_B)


def _keep(sorted_BN: Tensor, top_k_B1: Tensor, top_p_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities float64 (B, N) of the N largest logprobs, zero where top-k or top-p leaves the token out; and for each
    row, bool (B,), whether nothing that is kept lies beyond the N."""
    probabilities = sorted_BN.to(torch.float64).exp_()
    count = probabilities.shape[1]
    probabilities.masked_fill_(torch.arange(count, device=probabilities.device) >= top_k_B1, 0.0)
    mass = probabilities.cumsum(dim=-1)
    nucleus_B1 = torch.where(top_k_B1 <= count, mass[:, -1:], 1.0) * top_p_B1
    enough_B = (mass[:, -1:] >= nucleus_B1).squeeze(1)
    return probabilities.masked_fill_(mass - probabilities >= nucleus_B1, 0.0), enough_B


def _sorted(values_BV: Tensor) -> Tensor:
    """Each row from large to small. On a CPU through numpy, whose sort is vectorised: five to nine times torch's speed."""
    if values_BV.device.type == "cpu":
        return torch.from_numpy(np.sort(values_BV.numpy(), axis=1)).flip(1)
    return values_BV.sort(dim=-1, descending=True).values


def _invert(weights_BN: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
    """The first index whose cumulative weight exceeds u times the total, never one of weight zero; and u's rest in it.

    weights_BN: float64 (B, N). Returns the index int64 (B,) and u * total minus the weight before that index, float64 (B,).
    """
    cumulative = weights_BN.cumsum(dim=-1)
    sought_B1 = uniforms_B.unsqueeze(1) * cumulative[:, -1:]
    index_B1 = torch.searchsorted(cumulative, sought_B1, right=True).clamp_(max=weights_BN.shape[1] - 1)  # of NaN, any
    before_B1 = (cumulative - weights_BN).gather(1, index_B1)
    return index_B1.squeeze(1), (sought_B1 - before_B1).squeeze(1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift_right(z, 30)) * _MULTIPLY_1
    z = (z ^ _shift_right(z, 27)) * _MULTIPLY_2
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical shift: torch's own keeps the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)


def _signed(seed: int) -> int:
    """Any Python integer as the signed 64-bit number with the same low bits."""
    return (seed + 2**63) % 2**64 - 2**63
