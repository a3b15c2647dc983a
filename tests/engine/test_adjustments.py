"""Penalties, biases and minimum length change the logits as they are defined."""

import torch

from kwen.engine.adjustments import adjust
from kwen.engine.request import Request
from kwen.engine.sampler import SamplingParams
from kwen.text.tokenizer import Tokenizer


def adjusted(
    tokenizer: Tokenizer, prompt: list[int], said: list[int], params: SamplingParams, logits: list[float]
) -> list[float]:
    request = Request(0, prompt, params, tokenizer)
    request.token_ids = said
    scores = torch.tensor(logits)
    adjust(scores, request)
    return scores.tolist()


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits_of_seen_tokens(tokenizer: Tokenizer) -> None:
    params = SamplingParams(repetition_penalty=2.0)
    assert adjusted(tokenizer, [0], [3], params, [2.0, 1.5, -0.5, -0.5]) == [1.0, 1.5, -0.5, -1.0]


def test_presence_and_frequency_penalties_count_the_answer_alone(tokenizer: Tokenizer) -> None:
    params = SamplingParams(presence_penalty=0.5, frequency_penalty=0.25)
    assert adjusted(tokenizer, [3, 3], [0, 1, 1], params, [1.0, 1.0, 1.0, 1.0]) == [0.25, 0.0, 1.0, 1.0]


def test_a_bias_is_added_and_stop_tokens_wait_for_the_minimum(tokenizer: Tokenizer) -> None:
    params = SamplingParams(logit_bias=((0, 3.0), (1, -100.0)), min_new_tokens=2, stop_token_ids=(2,))
    assert adjusted(tokenizer, [3], [3], params, [0.0, 0.0, 5.0]) == [3.0, -100.0, float("-inf")]
    assert adjusted(tokenizer, [3], [3, 3], params, [0.0, 0.0, 5.0]) == [3.0, -100.0, 5.0]
