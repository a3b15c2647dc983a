"""Loglikelihoods of continuations: those of the model's own logits, contexts computed once, whatever runs beside."""

import random
from collections.abc import Callable

import pytest
import torch

from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
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
