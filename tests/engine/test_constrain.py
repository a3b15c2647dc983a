"""Constrained answers are sentences of their grammar, whatever the model wants and whatever runs beside them."""

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.engine.completion import Completion
from kwen.engine.constrain import Grammar
from kwen.engine.constrain_matcher import _unpack, allowed_tokens, vocabulary
from kwen.engine.generator import Generator
from kwen.engine.language_model import LanguageModel
from kwen.engine.sampler import SamplingBatch, SamplingParams, sample
from kwen.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")

SCHEMAS: dict[str, Any] = {
    "enum": {"enum": ["red", "green", 3, None, True, "日本", 'quo"te', "new\nline"]},
    "const": {"const": {"a": [1, "x", None], "b": "ü"}},
    "bounded integer": {"type": "integer", "minimum": -17, "maximum": 2005},
    "bounded number": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    "text": {"type": "string", "minLength": 3, "maxLength": 9},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
    "chinese pattern": {"type": "string", "pattern": "^[一-龥]{1,4}$"},
    "date": {"type": "string", "format": "date"},
    "format without a grammar": {"type": "string", "format": "binary", "maxLength": 5},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, {"enum": ["x"]}], "items": False, "minItems": 2},
    "object": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
        "required": ["name", "age"],
    },
    "optional": {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}, "c": {"enum": [1, 2]}, "é": {"const": 0}},
        "required": ["b"],
    },
    "nested": {
        "type": "object",
        "properties": {
            "where": {
                "type": "object",
                "properties": {
                    "lat": {"type": "number", "minimum": -90, "maximum": 90},
                    "tags": {"type": "array", "maxItems": 0},
                },
                "required": ["lat", "tags"],
            }
        },
        "required": ["where"],
    },
    "any of": {
        "anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 4}, {"type": "integer", "minimum": 5, "maximum": 6}]
    },
    "one of by tag": {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": kind}, "ok": {"type": "boolean"}}, "required": ["kind", "ok"]}
            for kind in ("cat", "dog")
        ]
    },
    "merged": {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"enum": [7, "seven"]}},
        "required": ["a", "b"],
        "additionalProperties": False,
        "allOf": [{"properties": {"a": {"const": True}}}, {"properties": {"b": {"type": "integer"}}}],
    },
    "references": {
        "$ref": "#/$defs/pair",
        "$defs": {
            "pair": {
                "type": "array",
                "prefixItems": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/one"}],
                "items": False,
                "minItems": 2,
            },
            "one": {"type": ["boolean", "null"]},
        },
    },
    "map": {
        "type": "object",
        "patternProperties": {"^[a-z]{1,3}$": {"type": "boolean"}},
        "additionalProperties": False,
        "maxProperties": 1,
    },
    "nothing but types": {"type": ["null", "boolean"]},
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "v": {"enum": [0, 1]},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["v", "kids"],
        }
    },
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "price",
            "description": "price of an item",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": {"type": "string", "maxLength": 6},
                    "amount": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["item"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "查询", "parameters": {"type": "object", "properties": {"市": {"enum": ["北京", "上海"]}}}},
    },
    {"type": "function", "function": {"name": "clock"}},
]


def answers(
    generator: Generator, grammar: Grammar | None, count: int = 8, tokens: int = 400, **settings: Any
) -> list[Completion]:
    """`count` answers to different prompts at temperature 1, with the tokenizer's end of text as the stop token."""
    stops = tuple(generator.tokenizer.eos_token_ids)
    params = [
        SamplingParams(tokens, **{"temperature": 1.0, "seed": seed, "stop_token_ids": stops, "grammar": grammar, **settings})
        for seed in range(count)
    ]
    return generator.generate([[40 + seed, 7, 90] for seed in range(count)], params)


def calls_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The calls in a text of the format hermes; fails where something that begins as one is none."""
    _, *blocks = text.split("<tool_call>")
    calls = []
    for block in blocks:
        found = re.fullmatch(r"\n(\{.*\})\n</tool_call>\n?", block, re.DOTALL)
        assert found, block
        call = json.loads(found[1])
        assert list(call) == ["name", "arguments"]
        calls.append((call["name"], call["arguments"]))
    return calls


def assert_valid(name: str, arguments: dict[str, Any]) -> None:
    functions = {tool["function"]["name"]: tool["function"] for tool in TOOLS}
    jsonschema.validate(arguments, functions[name].get("parameters", {"type": "object", "maxProperties": 0}))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_answer_under_a_schema_is_valid(name: str, padded_generator: Generator) -> None:
    grammar = Grammar.from_json_schema(SCHEMAS[name])
    for completion in answers(padded_generator, grammar):
        assert completion.finish_reason == "stop"
        jsonschema.validate(json.loads(completion.text), SCHEMAS[name])


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.one_of(
            st.just({"type": "boolean"}),
            st.builds(
                lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
                st.integers(-99, 99),
                st.integers(0, 999),
            ),
            st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True)),
            st.builds(lambda size: {"type": "string", "maxLength": size}, st.integers(0, 6)),
        ),
        lambda inner: st.one_of(
            st.builds(lambda item, most: {"type": "array", "items": item, "maxItems": most}, inner, st.integers(0, 3)),
            st.builds(lambda parts: {"anyOf": parts}, st.lists(inner, min_size=1, max_size=3)),
            st.dictionaries(st.text(min_size=1, max_size=4), inner, max_size=3).map(
                lambda parts: {"type": "object", "properties": parts, "required": sorted(parts)[::2]}
            ),
        ),
        max_leaves=5,
    )
)
def test_every_answer_under_a_made_up_schema_is_valid(padded_generator: Generator, schema: dict[str, Any]) -> None:
    for completion in answers(padded_generator, Grammar.from_json_schema(schema), count=2, tokens=900):
        assert completion.finish_reason == "stop"
        jsonschema.validate(json.loads(completion.text), schema)


def test_a_recursive_schema_gives_valid_trees(padded_generator: Generator) -> None:
    completions = answers(padded_generator, Grammar.from_json_schema(TREE), count=16, tokens=200)
    assert {one.finish_reason for one in completions} == {"stop", "length"}
    for one in completions:
        jsonschema.validate(json.loads(one.text), TREE)


WORDY: dict[str, Any] = {
    "type": "object",
    "properties": {"说": {"type": "string"}, "list": {"type": "array", "items": {"type": "string"}}, "n": {"type": "number"}},
    "required": ["说", "list", "n"],
}


def test_json_and_calls_are_whole_when_their_tokens_run_out(padded_generator: Generator) -> None:
    talker = {"type": "function", "function": {"name": "talk", "parameters": WORDY}}
    for completion in answers(padded_generator, Grammar.from_json_schema(WORDY), tokens=100):
        assert completion.finish_reason == "length" and len(completion.token_ids) <= 100
        jsonschema.validate(json.loads(completion.text), WORDY)
    for parallel in (True, False):
        grammar = Grammar.tool_calls([talker], "hermes", required=True, parallel=parallel)
        for stops in ({}, {"stop_token_ids": ()}):
            for completion in answers(padded_generator, grammar, tokens=150, **stops):
                assert completion.finish_reason == "length" and completion.stop_reason is None
                (call,) = calls_of(completion.text)
                jsonschema.validate(call[1], WORDY)
    for completion in answers(padded_generator, Grammar.tool_calls([talker], "react", required=True), tokens=150):
        jsonschema.validate(json.loads(completion.text.split("Action Input: ")[1]), WORDY)


def test_free_text_is_not_closed_when_its_tokens_run_out(padded_generator: Generator) -> None:
    short, longer = (answers(padded_generator, Grammar.tool_calls(TOOLS, "hermes"), tokens=count) for count in (80, 200))
    assert any(len(one.token_ids) == 80 for one in short)
    assert [one.token_ids for one in short] == [one.token_ids[:80] for one in longer]


def test_a_pattern_matches_the_whole_answer(padded_generator: Generator) -> None:
    for completion in answers(padded_generator, Grammar.from_regex(r"(ja|nein)[ /][0-9]{2}世?")):
        assert re.fullmatch(r"(ja|nein)[ /][0-9]{2}世?", completion.text)


def test_a_lark_grammar_is_followed(padded_generator: Generator) -> None:
    grammar = Grammar.from_lark('start: sum\nsum: NUMBER ("+" NUMBER){1,3}\nNUMBER: /[1-9][0-9]{0,2}/')
    for completion in answers(padded_generator, grammar):
        assert re.fullmatch(r"[1-9][0-9]{0,2}(\+[1-9][0-9]{0,2}){1,3}", completion.text)


def test_greedy_and_truncated_sampling_stay_inside_the_grammar(padded_generator: Generator) -> None:
    schema = SCHEMAS["object"]
    for settings_ in ({"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.3}, {"top_k": 40, "top_p": 0.9, "repetition_penalty": 1.3}):
        for completion in answers(padded_generator, Grammar.from_json_schema(schema), **settings_):
            jsonschema.validate(json.loads(completion.text), schema)


def test_hermes_calls_of_a_random_model_are_all_valid(padded_generator: Generator) -> None:
    calls = []
    for parallel in (True, False):
        grammar = Grammar.tool_calls(TOOLS, "hermes", required=True, parallel=parallel)
        for completion in answers(padded_generator, grammar, count=12):
            assert completion.finish_reason == "stop"
            found = calls_of(completion.text)
            assert found and (parallel or len(found) == 1)
            calls += found
    for name, arguments in calls:
        assert_valid(name, arguments)
    assert len({name for name, _ in calls}) == len(TOOLS)


def test_react_calls_of_a_random_model_are_all_valid(padded_generator: Generator) -> None:
    names = set()
    for completion in answers(padded_generator, Grammar.tool_calls(TOOLS, "react", required=True), count=16, tokens=900):
        assert completion.finish_reason == "stop"
        found = re.fullmatch(r"(?:[^\n]{0,400}\n)?Action: ([^\n]*)\nAction Input: (.*)", completion.text)
        assert found, completion.text
        assert_valid(found[1], json.loads(found[2]))
        names.add(found[1])
    assert len(names) > 1


def test_the_named_tool_is_the_one_called(padded_generator: Generator) -> None:
    for completion in answers(padded_generator, Grammar.tool_calls(TOOLS, "hermes", name="查询")):
        assert {name for name, _ in calls_of(completion.text)} == {"查询"}


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        ("hermes", "no call, a < and a <tool_cal", None),
        ("hermes", 'so:\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>', "and then"),
        ("hermes", 'x<tool_call>\n{"name": "price", "arguments": {"item": "é", "amount": 3}}\n</tool_call>\n', " "),
        ("hermes", "x<tool_call>\n", '{"name": "prices'),
        ("hermes", "x<tool_call>", " {"),
        ("hermes", '<tool_call>\n{"name": "price", "arguments": {', '"amount": 3}'),
        ("react", "Thought: I know of no Action: of that kind\nFinal Answer: 3", None),
        ("react", 'Thought: a\nAction: price\nAction Input: {"item": "a"}', "\n"),
        ("react", "Action: ", "unknown"),
        ("react", "Thought: a\nAction:", "price"),
    ],
)
def test_text_is_free_until_a_call_begins(format: Any, good: str, bad: str | None, tokenizer: Tokenizer) -> None:
    ids = vocabulary(tokenizer, tokenizer.vocab_size)
    matcher = ids.compile(Grammar.tool_calls(TOOLS, format)).matcher.deep_copy()
    tokens = tokenizer.encode(good)
    assert matcher.try_consume_tokens(tokens) == len(tokens)
    assert matcher.is_accepting() == (bad is None or good.endswith(("</tool_call>", "</tool_call>\n", '"a"}')))
    if bad is not None:
        after = tokenizer.encode(bad)
        assert matcher.try_consume_tokens(after) < len(after)


def test_answers_are_equal_alone_and_in_a_batch_and_leave_other_rows_alone(padded_generator: Generator) -> None:
    free, stops = answers(padded_generator, None, count=6, tokens=40), tuple(padded_generator.tokenizer.eos_token_ids)
    grammars = [Grammar.from_json_schema(SCHEMAS[name]) for name in ("object", "any of", "array")]
    prompts = [[40 + seed, 7, 90] for seed in range(6)]
    plain = [SamplingParams(40, temperature=1.0, seed=seed, stop_token_ids=stops) for seed in range(6)]
    bound = [replace(row, max_new_tokens=90, grammar=grammars[n % 3]) for n, row in enumerate(plain)]
    mixed = padded_generator.generate([*prompts, *prompts], [*bound, *plain])
    assert [one.token_ids for one in mixed[6:]] == [one.token_ids for one in free]
    for one, wanted in zip(mixed[6:], free, strict=True):
        assert one.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    alone = [padded_generator.generate([prompt], [row])[0] for prompt, row in zip(prompts, bound, strict=True)]
    assert [(one.text, one.token_ids) for one in mixed[:6]] == [(one.text, one.token_ids) for one in alone]


def test_a_grammar_that_allows_everything_changes_no_draw(padded_generator: Generator) -> None:
    rows = SamplingBatch([SamplingParams(temperature=1.0, seed=seed) for seed in range(4)])
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    allowed = torch.arange(4), torch.ones(4, 50, dtype=torch.bool)
    assert torch.equal(sample(logits, rows, torch.arange(4)), sample(logits, rows, torch.arange(4), allowed))


def test_logprobs_are_those_of_the_whole_vocabulary(padded_generator: Generator) -> None:
    prompt, stops = [41, 7, 90], tuple(padded_generator.tokenizer.eos_token_ids)
    params = SamplingParams(
        60, temperature=0.7, seed=3, stop_token_ids=stops, grammar=Grammar.from_json_schema(SCHEMAS["object"])
    )
    completion = padded_generator.generate([prompt], [params])[0]
    with torch.inference_mode():
        logits = padded_generator.model(torch.tensor([prompt + completion.token_ids]))[0, len(prompt) - 1 : -1].float()
    wanted = logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids).unsqueeze(1)).squeeze(1)
    assert torch.allclose(torch.tensor(completion.logprobs), wanted, atol=1e-4)


def test_an_answer_that_is_cut_says_length(padded_generator: Generator) -> None:
    for completion in answers(padded_generator, Grammar.from_json_schema({"type": "string", "minLength": 50}), tokens=5):
        assert completion.finish_reason == "length" and len(completion.token_ids) == 5 and completion.text.startswith('"')


def test_stop_tokens_come_only_where_the_grammar_accepts(tokenizer: Tokenizer) -> None:
    size, stops = tokenizer.vocab_size + 13, [*tokenizer.encode("b"), tokenizer.eos_token_ids[0], 10**9]
    constraint = vocabulary(tokenizer, size).constraint(Grammar.from_regex("a(b|c)?"), stops)

    def allowed() -> set[int]:
        return set(allowed_tokens([constraint], size, torch.device("cpu"))[0].nonzero().squeeze(1).tolist())

    assert not allowed() & set(stops)
    assert not constraint.advance(tokenizer.encode("a")[0])
    assert allowed() == {*stops[:2], *tokenizer.encode("c")}
    assert constraint.advance(tokenizer.encode("c")[0])


def test_padding_rows_and_control_tokens_are_no_text(tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size + 13
    constraint = vocabulary(tokenizer, size).constraint(Grammar.from_regex("(?s:.*)"), tokenizer.eos_token_ids)
    allowed = allowed_tokens([constraint], size, torch.device("cpu"))[0]
    controls = set(tokenizer.control_tokens.values())
    for number in range(size):
        text = number < tokenizer.vocab_size and number not in controls
        if (
            number in tokenizer.eos_token_ids
            or text
            and tokenizer.decode([number], errors="ignore").encode() == tokenizer.token_bytes(number)
        ):
            assert allowed[number]
        elif not text:
            assert not allowed[number]


def test_the_end_needs_no_stop_token(padded_generator: Generator) -> None:
    for completion in answers(padded_generator, Grammar.from_regex("ab?"), stop_token_ids=()):
        assert completion.text in ("a", "ab") and completion.stop_reason is None


def test_streaming_gives_the_same_answer(padded_generator: Generator) -> None:
    params = SamplingParams(200, temperature=1.0, seed=5, grammar=Grammar.from_json_schema(SCHEMAS["object"]), stop=("~~",))
    whole = padded_generator.generate([[41, 7]], [params])[0]
    pieces = list(padded_generator.stream([41, 7], params))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [token for piece in pieces for token in piece.token_ids] == whole.token_ids
    assert pieces[-1].finish_reason == "stop" == whole.finish_reason


def test_vocabularies_and_grammars_are_made_once(tokenizer: Tokenizer) -> None:
    first, second = (Grammar.from_json_schema({"type": "boolean"}) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert vocabulary(tokenizer, 400) is vocabulary(tokenizer, 400)
    assert vocabulary(tokenizer, 400).compile(first) is vocabulary(tokenizer, 400).compile(second)


def test_every_way_to_generate_takes_a_grammar(lm: LanguageModel) -> None:
    grammar, messages = Grammar.from_regex("[0-9]{2}"), [{"role": "user", "content": "the cat"}]
    texts = [one.text for one in lm.generate(["the cat", "one"], temperature=1.0, grammar=grammar)]
    texts.append("".join(piece.text for piece in lm.stream("the cat", temperature=1.0, grammar=grammar)))
    texts.append(lm.chat(messages, max_new_tokens=9, temperature=1.0, grammar=grammar)["content"])
    texts.append("".join(delta["content"] for delta in lm.stream_chat(messages, max_new_tokens=9, grammar=grammar)))
    assert all(re.fullmatch("[0-9]{2}", text) for text in texts)


def test_masks_unpack_alike_on_any_device() -> None:
    packed = np.random.default_rng(0).integers(0, 256, (3, 40), dtype=np.uint8)
    wanted = np.unpackbits(packed, axis=1, count=301, bitorder="little").astype(bool)
    assert np.array_equal(_unpack(torch.from_numpy(packed), 301).numpy(), wanted)
