"""Beyond the trained length the engine gives what a fresh pass over the same text gives, across the borders of dynamic NTK's
chunks and with windows, whose caches are given back."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_model

from kwen.engine.blocks import BlockPool, Tables, most_blocks
from kwen.engine.engine import Engine, make_runner
from kwen.engine.native_library import library, why_not
from kwen.engine.native_runner import NativeRunner
from kwen.engine.request import Request
from kwen.engine.runner import BLOCK, CacheDtype, Runner
from kwen.engine.sampler import SamplingParams
from kwen.engine.torch_runner import TorchRunner
from kwen.model.attention import CacheLayout
from kwen.model.config import ModelConfig
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

T, NEW = 40, 12  # trained length: borders at 40, 80, 160
WINDOWS = (20, None, 70, 20)
KINDS: dict[str, dict[str, Any]] = {
    "ntk": {"use_dynamic_ntk": True},
    "windows": {"attention_windows": WINDOWS},
    "all": {"use_dynamic_ntk": True, "use_logn_attn": True, "attention_windows": (50, 50, None, None)},
}
RUNNERS: dict[str, Callable[..., Runner]] = {
    "native": NativeRunner, "torch": TorchRunner, "torch as on a GPU": partial(TorchRunner, on_gpu=True),
}  # fmt: skip


def model_of(kind: str, vocab_size: int, **changes: Any) -> Transformer:
    config = ModelConfig(vocab_size, 48, 100, 4, 4, 2, 16, max_position_embeddings=400, seq_length=T)
    return random_model(replace(config, **KINDS[kind] | changes), norms=0.1, seed=1)


def prompts(vocab_size: int) -> list[list[int]]:
    """Lengths on both sides of every border, and so near before it that the answer crosses it; with common beginnings."""
    source = torch.Generator().manual_seed(2)
    head = torch.randint(0, vocab_size, (170,), generator=source).tolist()
    tails = [torch.randint(0, vocab_size, (count,), generator=source).tolist() for count in (1, 9)]
    cuts = (20, 31, 39, 40, 70, 79, 96, 128, 155, 170)
    return [*(head[:cut] + tail for cut in cuts for tail in tails), head[:64], head[5:8] * 26, head[:30]]


@pytest.fixture(autouse=True)
def _flex_attention_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU it would compile anew for each shape."""
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


@pytest.fixture(scope="module", params=KINDS)
def judged(request: pytest.FixtureRequest, tokenizer: Tokenizer):  # noqa: ANN201
    """A model, its prompts, and what a pass of the model itself over the whole text gives for each token of each answer."""
    model = model_of(request.param, tokenizer.vocab_size)
    asked, answers, logprobs = prompts(tokenizer.vocab_size), [], []
    for prompt in asked:
        tokens = list(prompt)
        values: list[float] = []
        with torch.inference_mode():
            for _ in range(NEW):
                row = model(torch.tensor([tokens]))[0, -1].log_softmax(-1)
                tokens.append(int(row.argmax()))
                values.append(float(row.max()))
        answers.append(tokens[len(prompt) :])
        logprobs.append(values)
    return model, asked, answers, logprobs


def run(engine: Engine, requests: list[Request], arrivals: list[int]) -> None:
    """Add each request at its step, and run all to their end."""
    step = 0
    left = dict(enumerate(requests))
    while left or engine.busy:
        coming = [number for number in left if arrivals[number] <= step]
        engine.add([left.pop(number) for number in coming])
        engine.step()
        step += 1
        assert step < 10_000, "the engine does not come to an end"


def skip_without_kernels(kind: str) -> None:
    if kind == "native" and library() is None:
        pytest.skip(f"no native kernels: {why_not()}")


@pytest.mark.parametrize("kind", ["native", "torch"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_schedule_gives_what_a_fresh_pass_gives(judged, tokenizer: Tokenizer, kind: str, data: st.DataObject) -> None:  # noqa: ANN001
    skip_without_kernels(kind)
    chosen = data.draw(st.lists(st.integers(0, len(judged[1]) - 1), min_size=1, max_size=10), label="prompts")
    arrivals = data.draw(st.lists(st.integers(0, 20), min_size=len(chosen), max_size=len(chosen)), label="arrivals")
    prefill_tokens = data.draw(st.sampled_from([1, 17, 64, 2048]), label="prefill_tokens")
    blocks = data.draw(st.sampled_from([7, 10, 200]), label="blocks")
    slots = data.draw(st.sampled_from([1, 3, 16]), label="slots")
    speculate = data.draw(st.sampled_from([0, 1, 5]), label="speculate")
    check(judged, tokenizer, kind, chosen, arrivals, prefill_tokens, blocks, slots, speculate)


@pytest.mark.parametrize(("prefill_tokens", "blocks", "speculate"), [(64, 10, 0), (100, 200, 3)])
def test_a_gpus_way_gives_what_a_fresh_pass_gives(
    judged, tokenizer: Tokenizer, prefill_tokens: int, blocks: int, speculate: int  # noqa: ANN001
) -> None:  # fmt: skip
    """Few schedules: FlexAttention is slow without its compiler."""
    check(judged, tokenizer, "torch as on a GPU", [1, 5, 7, 15, 21], [0, 0, 1, 1, 2], prefill_tokens, blocks, 3, speculate)


def check(  # noqa: ANN001
    judged, tokenizer: Tokenizer, kind: str, chosen: list[int], arrivals: list[int], prefill_tokens: int, blocks: int, slots: int,
    speculate: int,
) -> None:  # fmt: skip
    model, asked, answers, logprobs = judged
    runner = RUNNERS[kind](model)
    cache_bytes = blocks * len(CacheLayout.of(model.config).windows) * runner.block_bytes
    engine = Engine(model, slots, cache_bytes, prefill_tokens, runner)
    requests = [Request(n, asked[one], SamplingParams(NEW), tokenizer, speculate=speculate) for n, one in enumerate(chosen)]
    run(engine, requests, arrivals)
    for request, one in zip(requests, chosen, strict=True):
        assert request.token_ids == answers[one]
        assert request.logprobs == pytest.approx(logprobs[one], abs=3e-4)
    now = engine.statistics()
    assert now.running == now.waiting == now.blocks_used == 0


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("switches", KINDS)
def test_prompts_and_logits_are_those_of_one_pass(tokenizer: Tokenizer, kind: str, switches: str) -> None:
    """A prompt's logprobs are for the prompt's length, also where the answer crosses a border and all is computed again."""
    skip_without_kernels(kind)
    model = model_of(switches, tokenizer.vocab_size)
    asked = prompts(tokenizer.vocab_size)[: 20 if kind != "torch as on a GPU" else 16 : 1 if kind != "torch as on a GPU" else 5]
    engine = Engine(model, 6, prefill_tokens=50, runner=RUNNERS[kind](model))
    requests = [Request(n, prompt, SamplingParams(NEW, prompt_logprobs=0), tokenizer) for n, prompt in enumerate(asked)]
    run(engine, requests, [0] * len(asked))
    for request, prompt in zip(requests, asked, strict=True):
        with torch.inference_mode():
            whole = model(torch.tensor([prompt]))[0]
        told = [one.logprob for one in request.prompt_logprobs[1:]]
        assert told == pytest.approx(
            whole[:-1].log_softmax(-1).gather(1, torch.tensor(prompt[1:])[:, None])[:, 0].tolist(), abs=3e-4
        )
        assert torch.allclose(engine.logits(torch.tensor([prompt])), whole, atol=3e-4)
    assert engine.statistics().blocks_used == 0


@pytest.mark.parametrize("switches", KINDS)
def test_the_same_request_has_the_same_bits_whatever_runs_beside_it(tokenizer: Tokenizer, switches: str) -> None:
    skip_without_kernels("native")
    model, asked = model_of(switches, tokenizer.vocab_size), prompts(tokenizer.vocab_size)

    def answers(slots: int, blocks: int, prefill_tokens: int, speculate: int) -> list[tuple[list[int], list[float]]]:
        runner = make_runner(model)
        engine = Engine(
            model, slots, blocks * len(CacheLayout.of(model.config).windows) * runner.block_bytes, prefill_tokens, runner
        )
        requests = [Request(n, one, SamplingParams(NEW), tokenizer, speculate=speculate) for n, one in enumerate(asked)]
        run(engine, requests, [n % 5 for n in range(len(asked))])
        return [(request.token_ids, request.logprobs) for request in requests]

    alone = answers(1, 200, 2048, 0)
    for setting in ((36, 400, 2048, 0), (5, 200, 13, 0), (8, 7, 40, 3)):
        assert answers(*setting) == alone


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("cache_dtype", ["bfloat16", "int8"])
def test_a_narrow_cache_is_nearly_as_exact(tokenizer: Tokenizer, kind: str, cache_dtype: CacheDtype) -> None:
    skip_without_kernels(kind)
    model, asked = model_of("all", tokenizer.vocab_size), prompts(tokenizer.vocab_size)[4:20:3]
    found = []
    for dtype in ("float32", cache_dtype):
        engine = Engine(model, 12, prefill_tokens=50, runner=RUNNERS[kind](model, dtype))
        requests = [Request(n, prompt, SamplingParams(1, prompt_logprobs=0), tokenizer) for n, prompt in enumerate(asked)]
        run(engine, requests, [0] * len(asked))
        found.append([one.logprob for request in requests for one in request.prompt_logprobs[1:]])
    assert np.mean(np.abs(np.subtract(*found))) < 0.2 < np.std(found[0])


def test_a_growing_sequence_is_computed_again_once_a_border(tokenizer: Tokenizer) -> None:
    model = model_of("ntk", tokenizer.vocab_size)
    engine = Engine(model)
    request = Request(0, prompts(tokenizer.vocab_size)[0][:20], SamplingParams(150), tokenizer)
    run(engine, [request], [0])
    assert request.length == 170 and engine.statistics().rebased == 3 and engine.statistics().preemptions == 0
    plain = Engine(model.with_switches(use_dynamic_ntk=False))
    run(plain, [Request(0, request.prompt, SamplingParams(150), tokenizer)], [0])
    assert plain.statistics().rebased == 0


def test_blocks_are_shared_between_sequences_of_one_base_alone(tokenizer: Tokenizer) -> None:
    model, head = model_of("ntk", tokenizer.vocab_size), prompts(tokenizer.vocab_size)[-4]
    engine = Engine(model)
    shared = []
    for length in (38, 36, 75, 70, 41):
        request = Request(0, head[:length], SamplingParams(2), tokenizer)
        run(engine, [request], [0])
        shared.append(request.cached_tokens)
    assert shared == [0, BLOCK, 0, 2 * BLOCK, BLOCK]


@pytest.mark.parametrize("kind", ["native", "torch"])
def test_windowed_layers_keep_windowed_caches(tokenizer: Tokenizer, kind: str) -> None:
    """At once no more than window and chunk of each windowed group, at the end nothing; so a prompt fits that would not else."""
    skip_without_kernels(kind)
    full = model_of("windows", tokenizer.vocab_size, attention_windows=None)
    windowed = full.with_switches(attention_windows=(20, 20, 20, None))
    prompt = torch.randint(0, tokenizer.vocab_size, (360,), generator=torch.Generator().manual_seed(3)).tolist()
    held = []
    for model in (full, windowed):
        runner = RUNNERS[kind](model)
        engine = Engine(model, prefill_tokens=32, runner=runner)
        run(engine, [Request(0, prompt, SamplingParams(20), tokenizer)], [0])
        now = engine.statistics()
        assert now.blocks_used == 0
        held.append(now.most_blocks_used * runner.block_bytes)
    assert held[0] // 4 < held[1] <= held[0] // 4 + 3 * 3 * runner.block_bytes < held[0] / 2
    runner = RUNNERS[kind](windowed)
    small = Engine(windowed, cache_bytes=held[0] // 2, prefill_tokens=32, runner=runner)
    request = Request(0, prompt, SamplingParams(20), tokenizer)
    small.check(request)
    run(small, [request], [0])
    assert len(request.token_ids) == 20


@pytest.mark.parametrize("kind", RUNNERS)
def test_a_model_of_windows_alone_needs_only_what_they_hold(tokenizer: Tokenizer, kind: str) -> None:
    """However long the text: here the pool has fewer blocks than a table has places."""
    skip_without_kernels(kind)
    model = model_of("windows", tokenizer.vocab_size, attention_windows=(20, 20, 33, 33))
    prompt = torch.randint(0, tokenizer.vocab_size, (330,), generator=torch.Generator().manual_seed(3)).tolist()
    runner = RUNNERS[kind](model)
    blocks = most_blocks(CacheLayout.of(model.config).windows, 10_000, 32)
    engine = Engine(model, 2, blocks * runner.block_bytes, 32, runner)
    requests = [Request(n, prompt[n:], SamplingParams(NEW), tokenizer) for n in range(2)]
    run(engine, requests, [0, 0])
    assert blocks == 7 < len(prompt) // BLOCK and engine.statistics().most_blocks_used <= blocks
    for request in requests:
        with torch.inference_mode():
            whole = model(torch.tensor([request.prompt + request.token_ids]))[0, len(request.prompt) - 1 : -1].log_softmax(-1)
        assert request.token_ids == whole.argmax(-1).tolist()
        assert request.logprobs == pytest.approx(whole.amax(-1).tolist(), abs=3e-4)


@pytest.mark.parametrize("kind", ["native", "torch"])
def test_what_the_next_token_sees_of_a_prefix_is_shared(tokenizer: Tokenizer, kind: str) -> None:
    skip_without_kernels(kind)
    model, head = model_of("windows", tokenizer.vocab_size), prompts(tokenizer.vocab_size)[-4][:170]
    asked = [head[:150], head, head, head[:100] + head[:9]]

    def told(engine: Engine, prompt: list[int]) -> Request:
        request = Request(0, prompt, SamplingParams(NEW), tokenizer)
        run(engine, [request], [0])
        return request

    engine = Engine(model, runner=RUNNERS[kind](model))
    shared = [told(engine, prompt) for prompt in asked]
    assert [request.cached_tokens for request in shared] == [0, 128, 169, 96]
    for request in shared:
        alone = told(Engine(model, runner=RUNNERS[kind](model)), request.prompt)
        assert alone.cached_tokens == 0 and alone.token_ids == request.token_ids
        assert alone.logprobs == (request.logprobs if kind == "native" else pytest.approx(request.logprobs, abs=3e-4))
    twins = [Request(n, asked[1][1:], SamplingParams(NEW), tokenizer) for n in range(2)]
    run(engine, twins, [0, 0])
    assert [request.cached_tokens for request in twins] == [0, 168] and twins[0].token_ids == twins[1].token_ids


@pytest.mark.parametrize("switches", KINDS)
def test_nothing_is_left_of_requests_that_are_gone(tokenizer: Tokenizer, switches: str) -> None:
    """However they go: no block held, none awaited, and no more nodes than blocks that they name."""
    model, source = model_of(switches, tokenizer.vocab_size), np.random.default_rng(4)
    runner, asked = make_runner(model), prompts(tokenizer.vocab_size)
    engine = Engine(model, 8, 60 * len(CacheLayout.of(model.config).windows) * runner.block_bytes, 40, runner)
    living: list[Request] = []
    for number in range(300):
        prompt = list(asked[source.integers(len(asked))])
        prompt[source.integers(len(prompt)) :] = source.integers(tokenizer.vocab_size, size=source.integers(1, 9)).tolist()
        living.append(Request(number, prompt, SamplingParams(int(source.integers(1, 9))), tokenizer, speculate=number % 3))
        engine.add(living[-1:])
        while engine.waiting > 4:
            engine.step()
        living = [request for request in living if not request.ended]
        if number % 10 == 0 and living:
            engine.cancel(living.pop(source.integers(len(living))))
    while engine.busy:
        engine.step()
    pool, now = engine._pool, engine.statistics()
    assert now.cancelled > 20 and now.cached_tokens > 1000 and now.blocks_used == 0 and pool.available == pool.count
    nodes = pool._nodes.values()
    assert not any(node.pending for node in nodes)
    named = [block for node in nodes for block in node.blocks if block is not None]
    assert all(any(block is not None for block in node.blocks) for node in nodes) and {*named} == {*pool._keys}


@pytest.mark.parametrize("windows", [(None,) * 4, WINDOWS])
def test_a_cache_with_no_block_to_spare_runs_the_same_prompt_again(tokenizer: Tokenizer, windows: tuple[int | None, ...]) -> None:
    """A prompt's last block is copied to be shared, which takes one more than the prompt itself."""
    model, prompt = model_of("windows", tokenizer.vocab_size, attention_windows=windows), prompts(tokenizer.vocab_size)[-4][:79]
    runner = make_runner(model)
    blocks = most_blocks(CacheLayout.of(model.config).windows, len(prompt) + NEW, 17)
    engine = Engine(model, 1, blocks * runner.block_bytes, 17, runner)
    requests = [Request(n, prompt, SamplingParams(NEW), tokenizer) for n in range(2)]
    for request in requests:
        engine.check(request)
        run(engine, [request], [0])
    assert requests[1].cached_tokens == 64 and requests[0].token_ids == requests[1].token_ids


def test_a_prefix_ends_where_a_window_lacks_a_block() -> None:
    pool, tables, prompt = BlockPool((None, 20), 8), Tables((None, 20)), [*range(4 * BLOCK + 1)]
    blocks = pool.take(tables.missing(4 * BLOCK))
    assert blocks is not None
    tables.extend(blocks)
    for count, key in pool.announce(prompt, pool.match(prompt)):
        assert pool.match(prompt).pending
        pool.remember(key, tables.at(count - 1))
    whole = pool.match(prompt)
    assert (whole.tokens, whole.groups) == (4 * BLOCK, [tables.groups[0], tables.groups[1][3:]])
    pool.release(tables.held())
    last = pool.take(1)
    assert last == tables.groups[1][3:]  # the end of the text goes first
    found = pool.match(prompt)
    assert (found.tokens, found.groups) == (3 * BLOCK, [tables.groups[0][:3], tables.groups[1][2:3]])
    assert [count for count, _ in pool.announce(prompt, found)] == [4 * BLOCK] and pool.match(prompt).pending


@settings(deadline=None)
@given(st.data())
def test_tables_give_back_what_no_later_query_sees(data: st.DataObject) -> None:
    windows = data.draw(st.lists(st.none() | st.integers(1, 200), min_size=1, max_size=4))
    tables, position, taken, chunk_limit = Tables(windows), 0, 0, data.draw(st.integers(1, 100))
    for chunk in data.draw(st.lists(st.integers(1, chunk_limit), max_size=12)):
        count = tables.missing(position + chunk)
        tables.extend([*range(taken, taken + count)])
        taken += count
        assert len(tables.held()) <= most_blocks(windows, position + chunk, chunk_limit)
        for window, table in zip(windows, tables.groups, strict=True):
            seen = range(0 if window is None else max(0, position - window + 1), position + chunk)
            assert {table[at // BLOCK] for at in seen} <= {*tables.held()}
        position += chunk
        before, gone = tables.held(), tables.unseen(position)
        assert sorted(gone + tables.held()) == sorted(before)


def test_layers_are_grouped_by_window_into_equal_groups() -> None:
    config = ModelConfig(8, 8, 8, 6, 1, 1, 8)
    assert CacheLayout.of(config) == CacheLayout((None,), (0,) * 6, (0, 1, 2, 3, 4, 5))
    mixed = CacheLayout.of(replace(config, attention_windows=(4, 4, 9, None, 9, None)))
    assert mixed == CacheLayout((4, 9, None), (0, 0, 1, 2, 1, 2), (0, 1, 0, 0, 1, 1)) and mixed.depth == 2
    uneven = CacheLayout.of(replace(config, attention_windows=(4, 4, None, None, None, None)))
    assert uneven == CacheLayout((4, None, None), (0, 0, 1, 1, 2, 2), (0, 1, 0, 1, 0, 1))
