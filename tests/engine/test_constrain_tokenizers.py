"""Grammars over real vocabularies: Kwen's own, Qwen's, and SmolLM2's with its real model."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from kwen.engine.constrain import Grammar
from kwen.engine.constrain_matcher import allowed_tokens, vocabulary
from kwen.engine.language_model import LanguageModel, load
from kwen.model.formats import load_checkpoint
from kwen.text.tokenizer import Tokenizer
from kwen.text.tokenizer_training import TokenizerConfig, train

pytest.importorskip("llguidance")

ORDER = {
    "type": "object",
    "properties": {
        "item": {"type": "string", "maxLength": 12},
        "price": {"type": "number", "minimum": 0, "maximum": 10},
        "ways": {"type": "array", "items": {"enum": ["船", "train", "by air"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["item", "price", "ways"],
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 30}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city", "unit"],
        },
    },
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo", "unit": "celsius"}}\n</tool_call>'


def texts() -> Iterator[str]:
    for number in range(300):
        yield f'The train to the city by air costs {number} coins; "name": 船在水上走, the price of an item is {number * 7}.\n'


@pytest.fixture(scope="module", params=["copying", "qwen", "smollm2"])
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Kwen's copying tokenizer, Qwen's vocabulary file, SmolLM2's GGUF."""
    if request.param == "copying":
        folder = tmp_path_factory.mktemp("copying")
        train(texts(), TokenizerConfig(vocab_size=700, pattern="copying", whole_words=20), folder)
        return Tokenizer.load(folder)
    if request.param == "qwen":
        return Tokenizer.load(request.getfixturevalue("real_qwen_tiktoken"))
    return Tokenizer.from_source(load_checkpoint(request.getfixturevalue("smollm2_gguf")).tokenizer_source)


def walk(tokenizer: Tokenizer, grammar: Grammar, seed: int, padding: int = 100) -> str:
    """Any allowed token after any other, each as likely, until the grammar or a stop token ends it."""
    source, size = random.Random(f"{seed}/walk"), tokenizer.vocab_size + padding
    constraint = vocabulary(tokenizer, size).constraint(grammar, tokenizer.eos_token_ids)
    tokens: list[int] = []
    while len(tokens) < 400:
        allowed = allowed_tokens([constraint], size, torch.device("cpu"))[0].nonzero().squeeze(1).tolist()
        tokens.append(source.choice(allowed))
        if tokens[-1] in tokenizer.eos_token_ids:
            return tokenizer.decode(tokens[:-1])
        if constraint.advance(tokens[-1]):
            return tokenizer.decode(tokens)
    raise AssertionError("no end within 400 tokens")


def test_any_path_through_a_real_vocabulary_is_valid(named: Tokenizer) -> None:
    for seed in range(8):
        jsonschema.validate(json.loads(walk(named, Grammar.from_json_schema(ORDER), seed)), ORDER)


def test_a_call_is_spelled_as_the_tokenizer_spells_it(named: Tokenizer) -> None:
    grammar = Grammar.tool_calls([WEATHER], "hermes", required=True, parallel=False)
    schema = WEATHER["function"]["parameters"]  # type: ignore[index]
    for seed in range(4):
        text = walk(named, grammar, seed)
        assert text.startswith('<tool_call>\n{"name": "get_weather", "arguments": {"city": "')
        jsonschema.validate(json.loads(text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))["arguments"], schema)
    size = named.vocab_size
    matcher = vocabulary(named, size).compile(Grammar.tool_calls([WEATHER], "hermes")).matcher.deep_copy()
    ids = named.encode("Let me see.\n" + CALL)
    assert matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


def test_a_tag_that_is_a_token_begins_a_call_too(tokenizer: Tokenizer) -> None:
    added = {"<tool_call>": tokenizer.vocab_size, "</tool_call>": tokenizer.vocab_size + 1}
    tagged = Tokenizer(replace(tokenizer._parts, control_tokens={**tokenizer.control_tokens, **added}))
    ids = tagged.encode("so: " + CALL, allowed_special=list(added))
    assert set(added.values()) < set(ids)
    matcher = vocabulary(tagged, tagged.vocab_size).compile(Grammar.tool_calls([WEATHER], "hermes")).matcher.deep_copy()
    assert matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()
    opened = vocabulary(tagged, tagged.vocab_size).constraint(Grammar.tool_calls([WEATHER], "hermes"), [])
    opened.advance(added["<tool_call>"])
    allowed = allowed_tokens([opened], tagged.vocab_size, torch.device("cpu"))[0].nonzero().squeeze(1).tolist()
    assert {tagged.decode([token])[0] for token in allowed} == {"\n"}


@pytest.fixture(scope="module")
def smollm2(smollm2_gguf: Path) -> LanguageModel:
    return load(smollm2_gguf)


def test_smollm2_answers_in_json(smollm2: LanguageModel) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "country": {"enum": ["France", "Japan", "Peru"]}},
        "required": ["city", "country"],
    }
    message = smollm2.chat(
        [{"role": "user", "content": "What is the capital of France? Answer in JSON with city and country."}],
        max_new_tokens=60,
        grammar=Grammar.from_json_schema(schema),
    )
    answer = json.loads(message["content"])
    jsonschema.validate(answer, schema)
    assert answer == {"city": "Paris", "country": "France"}


@pytest.mark.slow
def test_smollm2_calls_a_tool(smollm2: LanguageModel) -> None:
    prompt = "You can call get_weather(city, unit).\nUser: How warm is it in Oslo, in celsius?\nAssistant:\n"
    for format, opening in (("hermes", "<tool_call>\n"), ("react", "")):
        grammar = Grammar.tool_calls([WEATHER], format, required=True, parallel=False)  # type: ignore[arg-type]
        completion = smollm2.generate(prompt, max_new_tokens=120, grammar=grammar)
        text = completion.text.removeprefix(opening).removesuffix("\n</tool_call>")
        call = json.loads(text) if opening else {"arguments": json.loads(text.partition("Action Input: ")[2])}
        jsonschema.validate(call["arguments"], WEATHER["function"]["parameters"])  # type: ignore[index]
        assert completion.finish_reason == "stop" and call["arguments"] == {"city": "Oslo", "unit": "celsius"}
