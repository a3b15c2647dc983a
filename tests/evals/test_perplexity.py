import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from kwen.engine.language_model import LanguageModel
from kwen.errors import UserError
from kwen.evals.perplexity import bits_per_byte, score_texts, score_tokens, start_token, windows

PROSE = "The ferry of Orvane leaves at seven; 渡船七点开。 A lamp costs 23 coins.\n"


def token_by_token(lm: LanguageModel, token_ids: list[int], window: int, stride: int) -> float:
    """Nats of `token_ids`: one forward pass a token over exactly the context that the docstring of the module promises."""
    sequence = [start_token(lm), *token_ids]
    nats = 0.0
    for index, token_id in enumerate(token_ids):
        begin = max(0, math.ceil((index + 1 - window) / stride) * stride)
        logits = lm.logits(torch.tensor([sequence[begin : index + 1]]))[0, -1].double()
        nats -= logits.log_softmax(-1)[token_id].item()
    return nats


@pytest.mark.parametrize(("window", "stride"), [(4, 2), (7, 7), (8, 1), (16, 5), (512, 256)])
def test_nats_equal_a_pass_for_every_token(tiny_lm: LanguageModel, window: int, stride: int) -> None:
    token_ids = tiny_lm.tokenizer.encode(PROSE)
    expected = token_by_token(tiny_lm, token_ids, window, stride)
    assert score_tokens(tiny_lm, [token_ids], window, stride)[0] == pytest.approx(expected, rel=1e-5)
    bits = bits_per_byte(tiny_lm, PROSE, window, stride)
    assert bits == pytest.approx(expected / math.log(2) / len(PROSE.encode()), rel=1e-5)
    assert bits_per_byte(tiny_lm, token_ids, window, stride) == pytest.approx(bits, rel=1e-9)


def test_nats_are_those_of_the_training_modules_own_passes(tiny_lm: LanguageModel) -> None:
    token_ids = tiny_lm.tokenizer.encode(PROSE)
    sequence = torch.tensor([[start_token(tiny_lm), *token_ids]])
    with torch.inference_mode():
        nats_T = cross_entropy(tiny_lm.model(sequence[:, :-1])[0], sequence[0, 1:], reduction="none")
    assert score_tokens(tiny_lm, [token_ids], 512, 256)[0] == pytest.approx(nats_T.sum().item(), rel=1e-5)


@pytest.mark.parametrize("batch", [1, 40, 100_000])
def test_the_batch_changes_nothing(tiny_lm: LanguageModel, batch: int) -> None:
    source = random.Random("batch")
    texts = ["".join(source.choices(PROSE, k=source.randint(0, 60))) for _ in range(30)]
    nats, sizes = score_texts(tiny_lm, texts, 16, 8, batch)
    alone = [score_texts(tiny_lm, [text], 16, 8)[0][0] for text in texts]
    assert nats == pytest.approx(alone, rel=1e-5)
    assert sizes == [len(text.encode()) for text in texts]


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 50))
def test_every_token_is_predicted_once_with_its_context(length: int, window: int, stride: int) -> None:
    stride = min(stride, window)
    predicted = []
    for begin, end, first in windows(length, window, stride):
        assert 0 <= begin <= first < end <= length and end - begin <= window
        assert begin == 0 or first - begin >= window - stride
        predicted += range(first, end)
    assert predicted == list(range(length))


def test_the_first_token_is_predicted_from_endoftext(tiny_lm: LanguageModel) -> None:
    end_of_text = tiny_lm.tokenizer.control_id("<|endoftext|>")
    logits = tiny_lm.logits(torch.tensor([[end_of_text]]))[0, 0].double()
    assert score_tokens(tiny_lm, [[5]], 8, 4)[0] == pytest.approx(-logits.log_softmax(-1)[5].item(), rel=1e-5)


def test_control_tokens_in_a_text_are_scored_as_its_characters(tiny_lm: LanguageModel) -> None:
    text = "<|im_end|>"
    token_ids = tiny_lm.tokenizer.encode(text)
    assert len(token_ids) > 1
    assert bits_per_byte(tiny_lm, text, 32, 16) == pytest.approx(bits_per_byte(tiny_lm, token_ids, 32, 16))


def test_bytes_are_those_of_the_text_before_normalisation(tiny_lm: LanguageModel) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    nats, sizes = score_texts(tiny_lm, [composed, decomposed], 16, 8)
    assert nats[0] == pytest.approx(nats[1], rel=1e-6) and sizes == [5, 6]


def test_an_empty_text_costs_nothing_and_has_no_bits_a_byte(tiny_lm: LanguageModel) -> None:
    assert score_texts(tiny_lm, ["", "a"], 8, 4)[0][0] == 0.0
    assert score_texts(tiny_lm, [], 8, 4) == ([], [])
    with pytest.raises(UserError, match="empty text"):
        bits_per_byte(tiny_lm, "", 8, 4)


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (4, 0), (0, 0)])
def test_a_stride_outside_the_window_is_refused(tiny_lm: LanguageModel, window: int, stride: int) -> None:
    with pytest.raises(UserError, match=f"stride {stride} with window {window}"):
        bits_per_byte(tiny_lm, "text", window, stride)


def test_progress_counts_every_token(tiny_lm: LanguageModel) -> None:
    calls: list[tuple[float, float]] = []
    documents = [list(range(1, 30)), list(range(1, 5))]
    score_tokens(tiny_lm, documents, 8, 4, 16, lambda done, total, **facts: calls.append((done, total)))
    assert calls[-1] == (33, 33) and [done for done, _ in calls] == sorted(done for done, _ in calls)
