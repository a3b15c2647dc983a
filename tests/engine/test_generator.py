"""Batched generation equals the plainest loop, whatever runs beside a request."""

import codecs
import random

import pytest
import torch

from kwen.engine.batch import Batch
from kwen.engine.completion import Completion
from kwen.engine.generator import Generator
from kwen.engine.request import Request
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
        seen = torch.zeros(1, logits.shape[1], dtype=torch.bool)
        seen[0, tokens] = True
        token, logprob = sample(logits, SamplingBatch([params]), torch.tensor([len(tokens)]), seen)
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


@pytest.mark.parametrize("slots", [4, 12])
def test_a_shared_prompt_goes_through_the_model_once(model: Transformer, tokenizer: Tokenizer, slots: int) -> None:
    prompts, params = shared_requests(tokenizer)
    shapes: list[tuple[int, int]] = []
    hook = model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: shapes.append(tuple(inputs[0].shape)))
    try:
        Generator(model, tokenizer, slots=slots).generate(prompts, params)
    finally:
        hook.remove()
    prefills = [rows * length for rows, length in shapes if length > 1]
    assert sum(prefills) == 40 + 20 + 10
    assert len(shapes) - len(prefills) == 8 * 12 // slots, "the later tokens take one pass for all that run together"


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


def test_a_long_prompt_in_chunks_equals_the_whole(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, _ = mixed_requests(tokenizer, 6, seed=2)
    params = [SamplingParams(max_new_tokens=8)] * 6
    whole = Generator(model, tokenizer).generate(prompts, params)
    monkeypatch.setattr("kwen.engine.batch._CHUNK", 7)
    for got, wanted in zip(Generator(model, tokenizer).generate(prompts, params), whole, strict=True):
        assert_equal(got, wanted)


def test_a_small_cache_budget_means_fewer_slots_and_the_same_answers(model: Transformer, tokenizer: Tokenizer) -> None:
    prompts, params = mixed_requests(tokenizer, 8, seed=3)
    wanted = Generator(model, tokenizer).generate(prompts, params)
    for got, want in zip(Generator(model, tokenizer, cache_bytes=1).generate(prompts, params), wanted, strict=True):
        assert_equal(got, want)


def test_compaction_keeps_every_row_going(model: Transformer, tokenizer: Tokenizer) -> None:
    """Rows that end early leave holes; after the last rows moved into them, all go on as if alone."""
    prompts, _ = mixed_requests(tokenizer, 9, seed=4)
    requests = [
        Request(index, prompt, SamplingParams(max_new_tokens=3 if index % 2 else 20, temperature=1.0), tokenizer)
        for index, prompt in enumerate(prompts)
    ]
    batch = Batch(model, 9, 90)
    ended = batch.admit(requests)
    while batch.running:
        ended += batch.step()
        batch.compact()
        assert batch.holes == 0
    assert sorted(request.index for request in ended) == list(range(9))
    for request in requests:
        assert_equal(request.completion(), naive(model, tokenizer, request.prompt, request.params))


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
    "params", [SamplingParams(), SamplingParams(temperature=1.0), SamplingParams(temperature=1.0, top_p=0.9)], ids=str
)
def test_a_model_that_gives_no_numbers_is_said_so(tokenizer: Tokenizer, params: SamplingParams) -> None:
    broken = Transformer(ModelConfig(tokenizer.vocab_size, 32, 64, 1, 4, 2, 8)).eval()
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(UserError, match="not numbers"):
        Generator(broken, tokenizer).generate([[1, 2]], [params])
