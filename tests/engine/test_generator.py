"""Batched generation equals the plainest loop, whatever runs beside a request."""

import codecs
import random

import numpy as np
import pytest
import torch

from kwen.engine.adjustments import adjust
from kwen.engine.completion import Completion
from kwen.engine.engine import make_runner
from kwen.engine.generator import Generator
from kwen.engine.request import Request
from kwen.engine.runner import Logits, Step
from kwen.engine.sampler import SamplingBatch, SamplingParams, sample
from kwen.errors import UserError
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer


def mixed_requests(tokenizer: Tokenizer, count: int, seed: int = 0) -> tuple[list[list[int]], list[SamplingParams]]:
    """Prompts of 1 to 60 tokens, greedy and sampled, 1 to 30 new tokens, some with stops and penalties."""
    source = random.Random(f"{seed}/requests")
    prompts = [[source.randrange(tokenizer.vocab_size) for _ in range(source.randint(1, 60))] for _ in range(count)]
    params = [
        SamplingParams(
            max_new_tokens=source.randint(1, 30),
            temperature=source.choice([0.0, 0.8, 1.5]),
            top_p=source.choice([1.0, 0.9]),
            top_k=source.choice([0, 10]),
            repetition_penalty=source.choice([1.0, 1.3]),
            seed=index,
            stop=source.choice([(), ("e", "th")]),
            stop_token_ids=tuple(source.sample(range(tokenizer.vocab_size), 20)),
        )
        for index in range(count)
    ]
    return prompts, params


def complete_characters(tokenizer: Tokenizer, token_ids: list[int]) -> str:
    """The text so far, without a character that is not complete yet."""
    hidden = set(tokenizer.control_tokens.values())
    data = b"".join(tokenizer.token_bytes(token) for token in token_ids if token not in hidden)
    return codecs.getincrementaldecoder("utf-8")("replace").decode(data)


@torch.inference_mode()
def naive(model: Transformer, tokenizer: Tokenizer, prompt: list[int], params: SamplingParams) -> Completion:
    """The whole sequence through the model for every token, and the text decoded again each time."""
    tokens, logprobs = list(prompt), []
    reason, ended_by, text = "length", None, ""
    while len(tokens) - len(prompt) < params.max_new_tokens:
        logits = model(torch.tensor([tokens]))[:, -1].float()
        scores, request = logits.clone(), Request(0, prompt, params, tokenizer)
        request.token_ids = tokens[len(prompt) :]
        adjust(scores[0], request)
        token = sample(scores, SamplingBatch([params]), torch.tensor([len(tokens)]))
        logprob = Logits.of(logits).logprobs(token)
        if int(token) in params.stop_token_ids:
            reason, ended_by = "stop", int(token)
            break
        tokens.append(int(token))
        logprobs.append(float(logprob))
        text = complete_characters(tokenizer, tokens[len(prompt) :])
        found = [stop for stop in params.stop if stop in text]
        if found:
            reason, ended_by = "stop", min(found, key=lambda stop: text.find(stop) + len(stop))
            break
    made = tokens[len(prompt) :]
    if isinstance(ended_by, str):
        text = text[: text.find(ended_by)]
        while made and len(complete_characters(tokenizer, made[:-1])) >= len(text):
            made.pop()
    else:
        text = tokenizer.decode(made)
    return Completion(text, made, logprobs[: len(made)], reason, ended_by)  # type: ignore[arg-type]


def assert_equal(got: Completion, wanted: Completion) -> None:
    assert (got.text, got.token_ids, got.finish_reason, got.stop_reason) == (
        wanted.text, wanted.token_ids, wanted.finish_reason, wanted.stop_reason,
    )  # fmt: skip
    assert got.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)


@pytest.mark.parametrize("slots", [1, 3, 16, 64])
def test_refilled_slots_give_what_the_naive_loop_gives_one_by_one(model: Transformer, tokenizer: Tokenizer, slots: int) -> None:
    prompts, params = mixed_requests(tokenizer, 40)
    got = Generator(model, tokenizer, slots=slots).generate(prompts, params)
    reasons = set()
    for prompt, row, completion in zip(prompts, params, got, strict=True):
        assert_equal(completion, naive(model, tokenizer, prompt, row))
        reasons.add(type(completion.stop_reason))
    assert len(reasons) == 3, "the requests should end by token, by string, and by length"


def shared_requests(tokenizer: Tokenizer) -> tuple[list[list[int]], list[SamplingParams]]:
    """Three prompts of unlike lengths, four requests each, interleaved; every request has settings and a seed of its own."""
    source = random.Random("shared/requests")
    prompts = [[source.randrange(tokenizer.vocab_size) for _ in range(length)] for length in (40, 20, 10)] * 4
    params = [
        SamplingParams(9, temperature=1.2 * (n > 2), top_p=0.9 if n % 2 else 1.0, repetition_penalty=1.0 + n % 3 / 10, seed=n)
        for n in range(12)
    ]
    return prompts, params


@pytest.mark.parametrize("slots", [3, 4, 5, 12])
def test_requests_that_share_a_prompt_get_the_answers_they_get_alone(
    model: Transformer, tokenizer: Tokenizer, slots: int
) -> None:
    prompts, params = shared_requests(tokenizer)
    got = Generator(model, tokenizer, slots=slots).generate(prompts, params)
    for prompt, row, completion in zip(prompts, params, got, strict=True):
        assert_equal(completion, naive(model, tokenizer, prompt, row))
    assert len({tuple(completion.token_ids) for completion in got}) > 9, "equal prompts must not mean equal draws"


class Watched:
    """A runner that notes what goes through it: of each pass the new tokens of each sequence."""

    def __init__(self, model: Transformer) -> None:
        self._runner = make_runner(model)
        self.block_bytes, self.batch_invariant = self._runner.block_bytes, self._runner.batch_invariant
        self.refresh, self.reserve, self.copy_block = self._runner.refresh, self._runner.reserve, self._runner.copy_block
        self.passes: list[list[int]] = []

    def forward(self, step: Step) -> Logits:
        self.passes.append(np.diff(step.starts).tolist())
        return self._runner.forward(step)


@pytest.mark.parametrize("slots", [4, 12])
def test_a_shared_prompt_goes_through_the_model_once(model: Transformer, tokenizer: Tokenizer, slots: int) -> None:
    prompts, params = shared_requests(tokenizer)
    runner = Watched(model)
    Generator(model, tokenizer, slots=slots, runner=runner).generate(prompts, params)
    prefills = [count for one in runner.passes for count in one if count > 1]
    assert sorted(prefills) == [10, 20, 40]
    assert sum(sum(one) for one in runner.passes) == 40 + 20 + 10 + 9 + 12 * 8, "and every later token once"


def test_streaming_equals_generating(model: Transformer, tokenizer: Tokenizer) -> None:
    generator = Generator(model, tokenizer)
    prompts, params = mixed_requests(tokenizer, 25, seed=1)
    for prompt, row, whole in zip(prompts, params, generator.generate(prompts, params), strict=True):
        pieces = list(generator.stream(prompt, row))
        assert "".join(piece.text for piece in pieces) == whole.text
        assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
        assert [value for piece in pieces for value in piece.logprobs] == pytest.approx(whole.logprobs, abs=1e-5)
        assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert (pieces[-1].finish_reason, pieces[-1].stop_reason) == (whole.finish_reason, whole.stop_reason)


def test_a_small_cache_means_that_requests_give_way_and_the_same_answers(model: Transformer, tokenizer: Tokenizer) -> None:
    prompts, _ = mixed_requests(tokenizer, 12, seed=3)
    params = [SamplingParams(90, temperature=1.0, seed=n) for n in range(12)]
    wanted = Generator(model, tokenizer).generate(prompts, params)
    small = Generator(model, tokenizer, cache_bytes=6 * make_runner(model).block_bytes)
    for got, want in zip(small.generate(prompts, params), wanted, strict=True):
        assert_equal(got, want)
    now = small.engine.statistics()
    assert now.preemptions > 0 and now.blocks == 6 and now.blocks_used == now.running == now.waiting == 0


def test_a_request_that_no_cache_could_hold_is_refused_with_the_numbers(model: Transformer, tokenizer: Tokenizer) -> None:
    small = Generator(model, tokenizer, cache_bytes=2 * make_runner(model).block_bytes)
    with pytest.raises(UserError, match="60 tokens of prompt and 9 to generate exceed the 64 that the cache"):
        small.generate([[5] * 60], [SamplingParams(max_new_tokens=9)])


def test_progress_counts_ended_requests(model: Transformer, tokenizer: Tokenizer) -> None:
    calls: list[tuple[float, float, object]] = []
    prompts, params = mixed_requests(tokenizer, 10)
    got = Generator(model, tokenizer, slots=2).generate(
        prompts, params, lambda done, total, **facts: calls.append((done, total, facts["tokens"]))
    )
    assert calls[-1] == (10, 10, sum(len(completion.token_ids) for completion in got))
    assert [call[0] for call in calls] == sorted(call[0] for call in calls)


def test_a_request_beyond_the_context_is_refused_with_the_numbers(model: Transformer, tokenizer: Tokenizer) -> None:
    generator = Generator(model, tokenizer)
    fits, beyond = SamplingParams(max_new_tokens=6), SamplingParams(max_new_tokens=7)
    assert len(generator.generate([[5] * 250], [fits])[0].token_ids) == 6
    with pytest.raises(UserError, match="request 2: 250 tokens of prompt and 7 to generate exceed the model's context of 256"):
        generator.generate([[5], [5] * 250], [fits, beyond])
    with pytest.raises(UserError, match="250 tokens of prompt"):
        generator.stream([5] * 250, beyond)


@pytest.mark.parametrize(("prompt", "said"), [([], "no tokens"), ([-1], "token ids"), ([10**6], "token ids")])
def test_prompts_that_are_none_are_refused(model: Transformer, tokenizer: Tokenizer, prompt: list[int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Generator(model, tokenizer).generate([prompt], [SamplingParams()])


def test_no_requests_give_no_completions(model: Transformer, tokenizer: Tokenizer) -> None:
    assert Generator(model, tokenizer).generate([], []) == []


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(), SamplingParams(temperature=1.0), SamplingParams(temperature=1.0, top_p=0.9),
        SamplingParams(0, prompt_logprobs=0), SamplingParams(0, prompt_logprobs=1, prompt_logprobs_from=1),
    ],
    ids=str,
)  # fmt: skip
def test_a_model_that_gives_no_numbers_is_said_so(tokenizer: Tokenizer, params: SamplingParams) -> None:
    broken = Transformer(ModelConfig(tokenizer.vocab_size, 32, 64, 1, 4, 2, 8)).eval()
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(UserError, match="not numbers"):
        Generator(broken, tokenizer).generate([[1, 2]], [params])
