"""/v1/completions through OpenAI's client: all forms of a prompt, echo and logprobs as lm-eval asks for them."""

import math
from typing import Any

import openai
import pytest
import torch
from serving import Running

PROMPT = "the cat sat on"


def complete(client: openai.OpenAI, **asked: Any) -> Any:
    return client.completions.create(**{"model": "tiny", "prompt": PROMPT, "max_tokens": 10, **asked})


def logprobs_of(server: Running, tokens: list[int]) -> torch.Tensor:
    """The model's own logprobs (T, V) of what follows each of the tokens."""
    return server.lm.logits(torch.tensor([tokens])).log_softmax(-1)[0]


def test_a_completion_is_what_the_model_itself_says(client: openai.OpenAI, server: Running) -> None:
    answer = complete(client)
    assert answer.choices[0].text == server.lm.generate(PROMPT, max_new_tokens=10).text
    assert answer.object == "text_completion" and answer.choices[0].logprobs is None


def test_every_form_of_a_prompt_is_taken(client: openai.OpenAI, server: Running) -> None:
    ids = server.lm.tokenizer.encode(PROMPT)
    text = complete(client).choices[0].text
    assert complete(client, prompt=ids).choices[0].text == text
    many = complete(client, prompt=[PROMPT, "one, two", PROMPT])
    assert [choice.index for choice in many.choices] == [0, 1, 2]
    assert many.choices[0].text == many.choices[2].text == text != many.choices[1].text
    assert [choice.text for choice in complete(client, prompt=[ids, ids]).choices] == [text, text]
    assert many.usage.prompt_tokens == 2 * len(ids) + len(server.lm.tokenizer.encode("one, two"))


def test_n_answers_stand_beside_their_prompt(client: openai.OpenAI) -> None:
    answer = complete(client, prompt=["one", "two"], n=2, temperature=1, seed=1)
    alone = complete(client, prompt="two", n=2, temperature=1, seed=1)
    assert [choice.text for choice in answer.choices[2:]] == [choice.text for choice in alone.choices]


def test_a_stream_joins_to_the_whole(client: openai.OpenAI) -> None:
    whole = complete(client, prompt=[PROMPT, "one"], echo=True, logprobs=2)
    texts, lists, last = ["", ""], [[], []], None
    for chunk in complete(
        client, prompt=[PROMPT, "one"], echo=True, logprobs=2, stream=True, stream_options={"include_usage": True}
    ):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            lists[choice.index] += choice.logprobs.tokens if choice.logprobs else []
        last = chunk
    assert texts == [choice.text for choice in whole.choices]
    assert lists == [choice.logprobs.tokens for choice in whole.choices]
    assert last is not None and last.usage == whole.usage


def test_an_echoed_prompt_is_scored_as_the_model_scores_it(client: openai.OpenAI, server: Running) -> None:
    ids = server.lm.tokenizer.encode(PROMPT)
    answer = complete(client, prompt=ids, max_tokens=1, echo=True, logprobs=1, temperature=0).choices[0]
    told = answer.logprobs
    assert answer.text.startswith(PROMPT) and len(told.tokens) == len(told.token_logprobs) == len(ids) + 1
    own = logprobs_of(server, ids)
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    for place, token in enumerate(ids[1:], 1):
        assert told.token_logprobs[place] == pytest.approx(own[place - 1, token].item(), abs=1e-4)
        likeliest = max(told.top_logprobs[place].values())
        assert likeliest == pytest.approx(own[place - 1].max().item(), abs=1e-4)
    assert told.text_offset == [sum(len(token) for token in told.tokens[:place]) for place in range(len(told.tokens))]


def test_echo_without_an_answer_scores_the_prompt_alone(client: openai.OpenAI, server: Running) -> None:
    ids = server.lm.tokenizer.encode(PROMPT)
    answer = complete(client, max_tokens=0, echo=True, logprobs=0)
    choice = answer.choices[0]
    assert (choice.text, choice.finish_reason, answer.usage.completion_tokens) == (PROMPT, "length", 0)
    assert len(choice.logprobs.tokens) == len(ids)
    assert sum(choice.logprobs.token_logprobs[1:]) == pytest.approx(
        sum(logprobs_of(server, ids)[place, token].item() for place, token in enumerate(ids[1:])), abs=1e-3
    )


def test_tokens_can_be_told_by_their_ids(client: openai.OpenAI, server: Running) -> None:
    ids = server.lm.tokenizer.encode(PROMPT)
    told = complete(client, max_tokens=0, echo=True, logprobs=1, extra_body={"return_tokens_as_token_ids": True})
    assert told.choices[0].logprobs.tokens == [f"token_id:{token}" for token in ids]


def test_more_prompts_than_the_queue_holds_are_one_request_all_the_same(client: openai.OpenAI) -> None:
    answer = complete(client, prompt=[f"the cat {number}" for number in range(300)], max_tokens=2)
    assert len(answer.choices) == 300 and all(choice.finish_reason for choice in answer.choices)


def test_a_control_token_as_text_stays_text_and_as_an_id_is_one(client: openai.OpenAI, server: Running) -> None:
    end = server.lm.tokenizer.control_tokens["<|im_end|>"]
    as_text = complete(client, prompt="a<|im_end|>", max_tokens=0, echo=True, logprobs=1)
    as_id = complete(client, prompt=[*server.lm.tokenizer.encode("a"), end], max_tokens=0, echo=True, logprobs=1)
    assert as_text.choices[0].text == as_id.choices[0].text == "a<|im_end|>"
    assert as_id.usage.prompt_tokens == 2 < as_text.usage.prompt_tokens


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"prompt": [10**6]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": [["a"]]}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"best_of": 5}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"prompt": ["a"] * 100, "n": 100}, "n"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"suffix": "end"}, None),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_what_cannot_be_done_is_refused(client: openai.OpenAI, asked: dict[str, Any], param: str | None) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **asked)
    assert caught.value.param == param and caught.value.type == "invalid_request_error"


def test_logprobs_of_an_answer_are_those_of_its_tokens(client: openai.OpenAI) -> None:
    told = complete(client, logprobs=3, temperature=1, seed=2).choices[0].logprobs
    for token, logprob, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert top[token] == logprob and 3 <= len(top) <= 4 and all(math.isfinite(value) for value in top.values())
