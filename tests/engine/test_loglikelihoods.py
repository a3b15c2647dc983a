"""Loglikelihoods of continuations: those of the model's own logits, contexts computed once, whatever runs beside."""

import random
from collections.abc import Callable
from itertools import zip_longest

import pytest
import torch

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import SamplingParams
from kwen.engine.torch_runner import TorchRunner
from kwen.errors import UserError
from kwen.model.transformer import Transformer
from kwen.text.tokenizer import Tokenizer

Pairs = list[tuple[list[int], list[int]]]


@pytest.fixture(params=["own", "torch"])
def fresh(request: pytest.FixtureRequest, model: Transformer, tokenizer: Tokenizer) -> Callable[..., LanguageModel]:
    """Makes a model with an engine of its own, of a few slots or little cache."""

    def make(slots: int = 5, cache_bytes: int = 1 << 30) -> LanguageModel:
        runner = TorchRunner(model) if request.param == "torch" else None
        return LanguageModel(model, tokenizer, generator=Generator(model, tokenizer, slots, cache_bytes, runner=runner))

    return make


def asked(seed: int, contexts: int = 12) -> Pairs:
    """Contexts that begin alike, three continuations each, of one token and of many."""
    rng = random.Random(seed)
    shots = [rng.randrange(300) for _ in range(100)]
    pairs: Pairs = []
    for _ in range(contexts):
        context = [*shots[: rng.randrange(1, 100)], *(rng.randrange(300) for _ in range(rng.randrange(40)))]
        pairs += [(context, [rng.randrange(300) for _ in range(rng.choice([1, 1, 2, 5, 70]))]) for _ in range(3)]
    return pairs


def engine_of(lm: LanguageModel) -> Generator:
    assert isinstance(lm._generator, Generator)
    return lm._generator


@pytest.mark.parametrize("seed", range(3))
def test_they_are_sums_of_the_models_logprobs(fresh: Callable[..., LanguageModel], model: Transformer, seed: int) -> None:
    pairs = asked(seed)
    for (context, continuation), (found, greedy) in zip(pairs, fresh().loglikelihoods(pairs), strict=True):
        logprobs = model(torch.tensor([context + continuation])).log_softmax(-1)[0, len(context) - 1 : -1]
        of_tokens = logprobs.gather(1, torch.tensor(continuation)[:, None])
        assert found == pytest.approx(of_tokens.sum().item(), abs=1e-3)
        assert greedy == (logprobs.argmax(-1).tolist() == continuation)


def test_a_context_that_comes_again_is_computed_once(fresh: Callable[..., LanguageModel]) -> None:
    lm = fresh()
    context = list(range(100))
    lm.loglikelihoods([(context, [token]) for token in (1, 2, 3, 4)])
    told = engine_of(lm).engine.statistics()
    assert told.prompt_tokens == 4 * 101 and told.cached_tokens == 3 * 99  # its last token's logits are needed each time
    assert told.generated_tokens == 0


def test_a_row_may_have_one_token_more_than_the_context(fresh: Callable[..., LanguageModel], model: Transformer) -> None:
    longest = model.config.max_position_embeddings
    tokens = [number % 300 for number in range(longest + 1)]
    ((found, _),) = fresh().loglikelihoods([(tokens[:5], tokens[5:])])
    logprobs = model(torch.tensor([tokens[:-1]])).log_softmax(-1)[0, 4:]
    of_tokens = logprobs.gather(1, torch.tensor(tokens[5:])[:, None])
    assert found == pytest.approx(of_tokens.sum().item(), rel=1e-4)
    with pytest.raises(UserError, match=f"model's context of {longest}"):
        fresh().loglikelihoods([(tokens[:5], [*tokens[5:], 0])])


def test_those_that_generate_beside_it_get_the_same(fresh: Callable[..., LanguageModel]) -> None:
    """Prompts that are only read, generations and both at once in a cache too small for all."""
    reading = [(context + continuation, SamplingParams(0, prompt_logprobs=2)) for context, continuation in asked(3, 6)]
    both = [(prompt, SamplingParams(4, prompt_logprobs=0)) for prompt, _ in reading[::3]]
    plain = [(prompt[:40], SamplingParams(9)) for prompt, _ in reading[::2]]
    mixed = [one for some in zip_longest(reading, both, plain) for one in some if one is not None]
    generator = engine_of(fresh())
    alone = [generator.generate([prompt], [params])[0] for prompt, params in mixed]
    tight = engine_of(fresh(slots=7, cache_bytes=14 * generator.engine.runner.block_bytes))
    together = tight.generate([prompt for prompt, _ in mixed], [params for _, params in mixed])
    for (prompt, params), one, other in zip(mixed, alone, together, strict=True):
        assert one.token_ids == other.token_ids and len(one.token_ids) == params.max_new_tokens
        assert one.finish_reason == other.finish_reason == "length"
        told = [[each.logprob for each in found.prompt_logprobs[1:]] for found in (one, other)]
        assert told[0] == pytest.approx(told[1], abs=1e-4)
        assert len(told[0]) == (0 if params.prompt_logprobs is None else len(prompt) - 1)
    statistics = tight.engine.statistics()
    assert statistics.running == statistics.waiting == statistics.blocks_used == 0


def test_a_prompt_that_is_only_read_has_two_tokens_and_asks_for_its_logprobs(fresh: Callable[..., LanguageModel]) -> None:
    with pytest.raises(UserError, match="1 token leaves nothing to compute; give 2"):
        engine_of(fresh()).generate([[7]], [SamplingParams(0, prompt_logprobs=0)])
    with pytest.raises(UserError, match="max_new_tokens is 0; it must be an integer of at least 1"):
        SamplingParams(0)


def test_a_greedy_answer_is_greedy(fresh: Callable[..., LanguageModel]) -> None:
    lm = fresh()
    context = [5, 9, 2, 40, 7]
    answer = lm.generate(context, max_new_tokens=6, stop_token_ids=[])
    ((found, greedy),) = lm.loglikelihoods([(context, answer.token_ids)])
    assert greedy and found == pytest.approx(sum(answer.logprobs), abs=1e-4)


def test_a_cache_too_small_for_all_changes_nothing(fresh: Callable[..., LanguageModel]) -> None:
    pairs = asked(7)
    roomy = fresh()
    tight = fresh(cache_bytes=12 * engine_of(roomy).engine.runner.block_bytes)
    plain = roomy.loglikelihoods(pairs)
    for one, other in zip(plain, tight.loglikelihoods(pairs), strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4) and one[1] == other[1]
    assert engine_of(tight).engine.capacity == 12


@pytest.mark.parametrize("pair", [([], [1]), ([1], [])])
def test_empty_parts_are_a_users_mistake(fresh: Callable[..., LanguageModel], pair: tuple[list[int], list[int]]) -> None:
    with pytest.raises(UserError, match="one token at least"):
        fresh().loglikelihoods([pair])
