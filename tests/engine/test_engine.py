"""Continuous batching changes nothing: any schedule gives the tokens that transformers gives one prompt alone."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_model

from kwen.engine.engine import Engine, make_runner
from kwen.engine.native_library import library, why_not
from kwen.engine.native_runner import NativeRunner
from kwen.engine.request import Request
from kwen.engine.runner import CacheDtype, Runner
from kwen.engine.sampler import SamplingParams
from kwen.engine.torch_runner import TorchRunner
from kwen.model.config import ModelConfig, RopeScaling
from kwen.model.formats.huggingface import save
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

NEW = 12
ARCHITECTURES = {
    "qwen1.5": {"attention_bias": True},
    "qwen2.5": {"num_key_value_heads": 2, "tie_word_embeddings": True, "rope_theta": 1e6},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 24, "qk_norm": True, "attention_bias": False, "model_type": "qwen3"},
    "llama": {
        "num_key_value_heads": 1, "attention_bias": False, "model_type": "llama",
        "rope_scaling": RopeScaling("llama3", 8.0, 32, low_freq_factor=1.0, high_freq_factor=4.0),
    },
    "yarn": {"rope_scaling": RopeScaling("yarn", 4.0, 64)},
}  # fmt: skip
RUNNERS: dict[str, Callable[..., Runner]] = {
    "native": NativeRunner, "torch": TorchRunner, "torch as on a GPU": partial(TorchRunner, on_gpu=True),
}  # fmt: skip


def of_architecture(name: str, vocab_size: int) -> Transformer:
    """A random model whose output depends on all that came before."""
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 16}
    shape = {"hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 2, "max_position_embeddings": 256}
    config = ModelConfig(vocab_size=vocab_size, **{**shape, **heads, **ARCHITECTURES[name]})  # type: ignore[arg-type]
    return random_model(config, norms=0.1, seed=1)


def prompts(vocab_size: int) -> list[list[int]]:
    """Prompts that share beginnings of all lengths, and some that repeat themselves, so that lookup has something to guess."""
    source = torch.Generator().manual_seed(2)
    head = torch.randint(0, vocab_size, (100,), generator=source).tolist()
    tails = [torch.randint(0, vocab_size, (count,), generator=source).tolist() for count in (1, 2, 7, 31, 33)]
    shared = [head[:cut] + tail for cut in (0, 20, 32, 64, 65, 100) for tail in tails]
    return [*shared, head[:64], head[:65], head[:9] * 6, head[3:6] * 20, shared[7], shared[7]]


@pytest.fixture(autouse=True)
def _flex_attention_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU it would compile anew for each shape."""
    monkeypatch.setattr(torch.nn.attention.flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def judged(request: pytest.FixtureRequest, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory):  # noqa: ANN201
    """A model, its prompts, and what transformers answers to each: (model, prompts, tokens, logprobs)."""
    transformers = pytest.importorskip("transformers")
    model = of_architecture(request.param, tokenizer.vocab_size)
    folder: Path = tmp_path_factory.mktemp(request.param)
    save(model, tokenizer, folder / "model", {"eos_token_id": []})
    peer = transformers.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    asked, answers, logprobs = prompts(tokenizer.vocab_size), [], []
    for prompt in asked:
        tokens = list(prompt)
        values: list[float] = []
        with torch.no_grad():
            for _ in range(NEW):
                row = peer(torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
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


@pytest.mark.parametrize("kind", RUNNERS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_schedule_gives_what_transformers_gives(judged, tokenizer: Tokenizer, kind: str, data: st.DataObject) -> None:  # noqa: ANN001
    model, asked, answers, logprobs = judged
    if kind == "native" and library() is None:
        pytest.skip(f"no native kernels: {why_not()}")
    chosen = data.draw(st.lists(st.integers(0, len(asked) - 1), min_size=1, max_size=14), label="prompts")
    arrivals = data.draw(st.lists(st.integers(0, 20), min_size=len(chosen), max_size=len(chosen)), label="arrivals")
    blocks = data.draw(st.sampled_from([6, 9, 14, 200]), label="blocks")
    slots = data.draw(st.sampled_from([1, 3, 16]), label="slots")
    prefill_tokens = data.draw(st.sampled_from([1, 17, 64, 2048]), label="prefill_tokens")
    speculate = data.draw(st.sampled_from([0, 1, 5]), label="speculate")
    runner = RUNNERS[kind](model)
    engine = Engine(model, slots, blocks * runner.block_bytes, prefill_tokens, runner)
    requests = [Request(n, asked[one], SamplingParams(NEW), tokenizer, speculate=speculate) for n, one in enumerate(chosen)]
    run(engine, requests, arrivals)
    for request, one in zip(requests, chosen, strict=True):
        assert request.token_ids == answers[one]
        assert request.logprobs == pytest.approx(logprobs[one], abs=2e-4)
    now = engine.statistics()
    assert now.running == now.waiting == now.blocks_used == 0


def test_the_same_request_has_the_same_bits_whatever_runs_beside_it(tokenizer: Tokenizer) -> None:
    """Sampled logprobs alone, in a batch, in chunks, from the prefix cache, preempted and guessed: equal, and those of one
    pass."""
    if library() is None:
        pytest.skip(f"no native kernels: {why_not()}")
    model, asked = of_architecture("qwen2.5", tokenizer.vocab_size), prompts(tokenizer.vocab_size)
    params = [SamplingParams(NEW, temperature=0.7 * (n % 2), seed=n, top_logprobs=2) for n in range(len(asked))]

    def answers(
        slots: int, blocks: int, prefill_tokens: int, speculate: int, again: bool = False
    ) -> list[tuple[list[int], list[float]]]:
        runner = make_runner(model)
        engine = Engine(model, slots, blocks * runner.block_bytes, prefill_tokens, runner)
        for _ in range(1 + again):
            requests = [Request(n, *one, tokenizer, speculate=speculate) for n, one in enumerate(zip(asked, params, strict=True))]
            run(engine, requests, [n % 5 for n in range(len(asked))])
        return [(request.token_ids, request.logprobs) for request in requests]

    alone = answers(1, 200, 2048, 0)
    for setting in ((36, 400, 2048, 0), (5, 200, 13, 0), (8, 7, 40, 3), (16, 400, 100, 4, True)):
        assert answers(*setting) == alone
    for prompt, (tokens, logprobs) in zip(asked, alone, strict=True):
        whole = Engine(model, 1)
        request = Request(0, prompt + tokens, SamplingParams(1, prompt_logprobs=1), tokenizer)
        run(whole, [request], [0])
        assert [one.logprob for one in request.prompt_logprobs[-len(tokens) :]] == logprobs


def test_what_leaves_early_gives_everything_back(tokenizer: Tokenizer) -> None:
    model, asked = of_architecture("qwen1.5", tokenizer.vocab_size), prompts(tokenizer.vocab_size)
    engine = Engine(model, 6, prefill_tokens=20)
    requests = [Request(n, prompt, SamplingParams(NEW), tokenizer) for n, prompt in enumerate(asked)]
    engine.add(requests)
    for step, request in enumerate(requests):
        engine.step()
        if step % 2:
            engine.cancel(request)
    while engine.busy:
        engine.step()
    now = engine.statistics()
    assert now.blocks_used == 0 and now.cancelled == len(requests) // 2
    again = Request(0, asked[4], SamplingParams(NEW), tokenizer)
    run(engine, [again], [0])
    fresh = Request(0, asked[4], SamplingParams(NEW), tokenizer)
    run(Engine(model), [fresh], [0])
    assert again.token_ids == fresh.token_ids and again.cached_tokens > 0


def test_changed_weights_are_seen_and_what_was_cached_is_forgotten(tokenizer: Tokenizer) -> None:
    model = of_architecture("qwen1.5", tokenizer.vocab_size)
    engine, prompt = Engine(model), list(range(70))
    first = Request(0, prompt, SamplingParams(NEW), tokenizer)
    run(engine, [first], [0])
    with torch.no_grad():
        model.output_weight.mul_(-1)
    second = Request(0, prompt, SamplingParams(NEW), tokenizer)
    run(engine, [second], [0])
    assert second.cached_tokens == 0 and second.token_ids != first.token_ids


def test_the_seed_and_the_place_decide_a_draw_when_a_prompt_holds_the_answer_so_far(tokenizer: Tokenizer) -> None:
    model, prompt = of_architecture("llama", tokenizer.vocab_size), list(range(40))
    whole = Request(0, prompt, SamplingParams(NEW, temperature=1.0, seed=5), tokenizer)
    run(Engine(model), [whole], [0])
    rest = Request(0, prompt + whole.token_ids[:5], SamplingParams(NEW - 5, temperature=1.0, seed=5), tokenizer)
    run(Engine(model), [rest], [0])
    assert rest.token_ids == whole.token_ids[5:] and rest.logprobs == whole.logprobs[5:]


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("cache_dtype", ["bfloat16", "int8"])
def test_a_narrow_cache_is_smaller_and_nearly_as_exact(tokenizer: Tokenizer, kind: str, cache_dtype: CacheDtype) -> None:
    if kind == "native" and library() is None:
        pytest.skip(f"no native kernels: {why_not()}")
    model, asked = of_architecture("qwen3", tokenizer.vocab_size), prompts(tokenizer.vocab_size)[:12]
    found = []
    for dtype in ("float32", cache_dtype):
        runner = RUNNERS[kind](model, dtype)
        engine = Engine(model, 12, runner=runner)
        requests = [Request(n, prompt, SamplingParams(1, prompt_logprobs=0), tokenizer) for n, prompt in enumerate(asked)]
        run(engine, requests, [n % 3 for n in range(12)])
        found.append((runner.block_bytes, [one.logprob for request in requests for one in request.prompt_logprobs[1:]]))
    (wide, exact), (narrow, near) = found
    assert narrow < (0.52 if cache_dtype == "bfloat16" else 0.45) * wide
    assert max(abs(a - b) for a, b in zip(exact, near, strict=True)) < 0.3
    assert sum(abs(a - b) for a, b in zip(exact, near, strict=True)) / len(exact) < 0.04
