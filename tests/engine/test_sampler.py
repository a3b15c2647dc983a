"""The laws of drawing: what is kept, how often each token comes, and that nobody else in the batch matters."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.engine.runner import Logits
from kwen.engine.sampler import SamplingBatch, SamplingParams, sample, stream, uniform
from kwen.errors import UserError

VOCAB = 600  # more than the sampler's longest short list, so that every way of drawing is taken


def logits_of(seed: int, rows: int = 1, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * spread


def draw(logits: torch.Tensor, params: SamplingParams, position: int) -> int:
    tokens = sample(logits, SamplingBatch([params]), torch.tensor([position]))
    return int(tokens)


def draws(logits: torch.Tensor, params: SamplingParams, count: int) -> torch.Tensor:
    tokens = sample(logits.expand(count, -1), SamplingBatch([params] * count), torch.arange(count))
    return tokens


def expected_probabilities(logits: torch.Tensor, params: SamplingParams) -> torch.Tensor:
    """Temperature, top-k and top-p in their plainest form, in float64."""
    scaled = logits[0].double() / params.temperature
    order = scaled.argsort(descending=True, stable=True)
    probabilities = scaled[order].softmax(0)
    if params.top_k:
        probabilities[params.top_k :] = 0
        probabilities /= probabilities.sum()
    probabilities[probabilities.cumsum(0) - probabilities >= params.top_p] = 0
    result = torch.zeros(VOCAB, dtype=torch.float64)
    result[order] = probabilities / probabilities.sum()
    return result


CASES = [
    SamplingParams(temperature=1.0),
    SamplingParams(temperature=0.7, top_p=0.9),
    SamplingParams(temperature=1.3, top_k=7),
    SamplingParams(temperature=1.0, top_k=40, top_p=0.8),
    SamplingParams(temperature=2.5, top_p=0.95),  # a nucleus of several hundred tokens: the whole row gets sorted
    SamplingParams(temperature=2.0, top_k=400),
]


@pytest.mark.parametrize("params", CASES, ids=str)
def test_tokens_come_as_often_as_their_probability_says(params: SamplingParams) -> None:
    logits, count = logits_of(1), 20000
    expected = expected_probabilities(logits, params)
    counts = torch.bincount(draws(logits, params, count), minlength=VOCAB).double()
    assert counts[expected == 0].sum() == 0, "a token outside top-k or top-p was drawn"
    common = expected * count >= 5
    observed = torch.cat([counts[common], counts[~common].sum()[None]])
    wanted = torch.cat([expected[common], expected[~common].sum()[None]]) * count
    wanted = wanted.clamp(min=1e-9)
    chi_square = float(((observed - wanted) ** 2 / wanted)[wanted > 1e-6].sum())
    degrees = int((wanted > 1e-6).sum()) - 1
    assert chi_square < degrees + 5 * math.sqrt(2 * degrees)


def test_equal_seed_and_position_give_equal_draws_and_others_do_not() -> None:
    logits, params = logits_of(2, spread=1.0), SamplingParams(temperature=1.0, seed=5)
    same = {draw(logits, params, 17) for _ in range(5)}
    assert len(same) == 1
    assert len({draw(logits, params, position) for position in range(50)}) > 20
    assert len({draw(logits, SamplingParams(temperature=1.0, seed=seed), 17) for seed in range(50)}) > 20


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.5, 1.0, 2.0]),
            st.sampled_from([0.3, 0.9, 0.99, 1.0]),
            st.sampled_from([0, 1, 20, 300, 10**9]),
            st.integers(-(2**70), 2**70),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_row_alone_and_in_any_batch_gives_the_same_token(rows: list[tuple[float, float, int, int]]) -> None:
    params = [SamplingParams(temperature=t, top_p=p, top_k=k, seed=s) for t, p, k, s in rows]
    logits = logits_of(3, len(rows), spread=2.0)
    positions = torch.arange(10, 10 + len(rows))
    together = sample(logits, SamplingBatch(params), positions)
    for row, one in enumerate(params):
        alone = sample(logits[row : row + 1], SamplingBatch([one]), positions[row : row + 1])
        assert int(alone) == int(together[row])


def test_temperature_zero_takes_the_likeliest_and_nearly_zero_does_too() -> None:
    logits = logits_of(4, 3)
    for temperature in (0.0, 1e-30):
        tokens = sample(logits, SamplingBatch([SamplingParams(temperature=temperature)] * 3), torch.arange(3))
        assert tokens.tolist() == logits.argmax(dim=1).tolist()


def test_logprobs_are_of_the_full_vocabulary_at_temperature_one() -> None:
    logits = logits_of(5)
    tokens = sample(logits, SamplingBatch([SamplingParams(temperature=0.3, top_p=0.5, top_k=3)]), torch.tensor([0]))
    assert float(Logits.of(logits).logprobs(tokens)) == pytest.approx(float(logits.log_softmax(-1)[0, int(tokens)]), abs=1e-6)


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.full((64, VOCAB), float("-inf"))
    logits[:, 599] = 0.0
    tokens = sample(logits, SamplingBatch([SamplingParams(temperature=1.0)] * 64), torch.arange(64))
    assert set(tokens.tolist()) == {599}


def test_uniforms_are_even_and_unrelated_between_neighbours() -> None:
    positions = torch.arange(40000)
    values = uniform(stream(torch.zeros(40000, dtype=torch.int64)), positions)
    others = uniform(stream(torch.ones(40000, dtype=torch.int64)), positions)
    assert values.min() >= 0 and values.max() < 1
    counts = torch.histc(values.float(), 100, 0, 1).double()
    assert float(((counts - 400) ** 2 / 400).sum()) < 99 + 5 * math.sqrt(2 * 99)
    for pair in ((values[1:], values[:-1]), (values, others)):
        assert abs(float(torch.corrcoef(torch.stack(pair))[0, 1])) < 0.02


def test_uniforms_are_splitmix64() -> None:
    """The first two numbers of SplitMix64 from a state, by Python's own arithmetic."""

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)

    step = 0x9E3779B97F4A7C15
    begin = mix((7 + step) % 2**64)
    wanted = [(mix((begin + position * step) % 2**64) >> 16) / 2**48 for position in (0, 12345)]
    got = uniform(stream(torch.tensor([7, 7])), torch.tensor([0, 12345]))
    assert got.tolist() == wanted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_k": -1}, "top_k is -1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"stop": ("",)}, "non-empty strings"),
        ({"max_new_tokens": True}, "max_new_tokens is True"),
    ],
)
def test_values_outside_their_range_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        SamplingParams(**changes)  # type: ignore[arg-type]
