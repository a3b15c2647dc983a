"""Grammars that cannot be: one clear line, and never a hang, a crash or a traceback."""

import math
import sys
import time
from typing import Any

import pytest

from kwen.engine import constrain_matcher
from kwen.engine.completion import Completion
from kwen.engine.constrain import Grammar
from kwen.engine.constrain_matcher import vocabulary
from kwen.engine.generator import Generator
from kwen.engine.sampler import SamplingParams
from kwen.errors import UserError
from kwen.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")

CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock"}}


def answers(generator: Generator, grammar: Grammar, tokens: int) -> list[Completion]:
    params = [SamplingParams(tokens, temperature=1.0, seed=seed, grammar=grammar) for seed in range(2)]
    return generator.generate([[40, 7]] * 2, params)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"not": {"minLength": 3}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "object", "propertyNames": {"maxLength": 3}}, "propertyNames"),
        ({"$ref": "https://example.org/s.json"}, "example.org"),
    ],
)
def test_a_schema_that_no_grammar_expresses_is_one_line_naming_the_tool(schema: dict[str, Any], said: str) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": schema}, "required": ["x"]}},
    }
    for make in (lambda: Grammar.from_json_schema(schema), lambda: Grammar.tool_calls([CLOCK, tool], "hermes")):
        with pytest.raises(UserError) as raised:
            make()
        assert said in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 300
    assert str(raised.value).startswith("tool f: parameters: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ([], "hermes"),
        ([CLOCK, CLOCK], "hermes"),
        ([CLOCK], "xml"),
        ([{"name": "a\nb"}], "react"),
        ([{"name": "a", "parameters": 3}], "react"),
        ([{"name": "a", "parameters": {"type": "array"}}], "hermes"),
        ([{"description": "nameless"}], "hermes"),
    ],
)  # fmt: skip
def test_wrong_definitions_are_one_line(arguments: tuple[Any, Any]) -> None:
    with pytest.raises(UserError, match="tool"):
        Grammar.tool_calls(*arguments)


def test_an_unknown_name_lists_the_tools() -> None:
    with pytest.raises(UserError, match="'prize'; these exist: clock"):
        Grammar.tool_calls([CLOCK], "hermes", name="prize")


def nested(levels: int, key: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]} if key == "properties" else {key: [schema]}
    return schema


HOSTILE: dict[str, Any] = {
    "deep": lambda: Grammar.from_json_schema(nested(5000, "properties")),
    "deeper than recursion": lambda: Grammar.from_json_schema(nested(100_000, "anyOf")),
    "itself": lambda: Grammar.from_json_schema({"$ref": "#"}),
    "huge": lambda: Grammar.from_json_schema({"enum": [f"value {n * 7919}" for n in range(100_000)]}),
    "merging": lambda: Grammar.from_json_schema(
        {"allOf": [{"anyOf": [{"properties": {f"{a}{n}": {"const": 1}}} for a in "pq"]} for n in range(24)]}
    ),
    "dependents": lambda: Grammar.from_json_schema(
        {"dependentSchemas": {f"a{n}": {"required": [f"b{n}"], "minProperties": n} for n in range(40)}}
    ),
    "multiple": lambda: Grammar.from_json_schema({"type": "integer", "multipleOf": 1_000_000_007}),
    "parentheses": lambda: Grammar.from_regex("(" * 5000 + "a" + ")" * 5000),
    "back-reference": lambda: Grammar.from_regex(r"(a)\1"),
    "empty": lambda: Grammar.from_regex(""),
    "lark nested": lambda: Grammar.from_lark("start: " + "(" * 100_000 + '"a"' + ")" * 100_000),
    "lark endless": lambda: Grammar.from_lark("start: start"),
    "lark intersections": lambda: Grammar.from_lark("start: A\nA: " + " & ".join(f"/(.*a{{{n}}}.*)/" for n in range(1, 12))),
    "lark too long": lambda: Grammar.from_lark("start: " + '"a" ' * 300_000),
    "not a number": lambda: Grammar.from_json_schema({"const": math.nan}),
    "not JSON": lambda: Grammar.from_json_schema("{"),
    "not a schema": lambda: Grammar.from_json_schema("[1]"),
    "contradiction": lambda: Grammar.from_json_schema({"type": "integer", "minimum": 5, "maximum": 3}),
    "false": lambda: Grammar.from_json_schema(False),
    "surrogate": lambda: Grammar.from_regex("\ud800"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grammars_end_in_one_line(name: str) -> None:
    with pytest.raises(UserError) as raised:
        HOSTILE[name]()
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_a_definition_without_end_is_cut(padded_generator: Generator) -> None:
    grammar = Grammar.from_json_schema({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]})
    assert all(completion.finish_reason == "length" for completion in answers(padded_generator, grammar, 30))


def test_references_a_thousand_deep_do_not_end_the_process(padded_generator: Generator) -> None:
    names = [f"a{n}" for n in range(3000)]
    parts: dict[str, Any] = {
        name: {"type": "object", "properties": {"x": {"$ref": f"#/$defs/{after}"}}, "required": ["x"]}
        for name, after in zip(names, names[1:], strict=False)
    }
    grammar = Grammar.from_json_schema({"$ref": "#/$defs/a0", "$defs": {**parts, names[-1]: {"type": "integer"}}})
    assert all(completion.text.startswith("{") for completion in answers(padded_generator, grammar, 30))


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(.*a){30}", "((a{0,100}){0,100}){0,100}", "(a|b)*a(a|b){30}c", "^.{100000}$"])
def test_patterns_that_blow_up_are_cut_or_told(pattern: str, padded_generator: Generator) -> None:
    grammar = Grammar.from_json_schema({"type": "string", "pattern": pattern})
    try:
        assert all(one.text.startswith('"') for one in answers(padded_generator, grammar, 40))
    except UserError as error:
        assert "\n" not in str(error)


def test_a_missing_llguidance_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UserError, match=r"kwen\[agent\]"):
        Grammar.from_regex("a+")


def test_a_grammar_that_compiles_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constrain_matcher, "_SECONDS", 0.05)
    with pytest.raises(UserError, match="takes longer than"):
        constrain_matcher._in_time(lambda: time.sleep(1), "JSON schema")


def test_a_stop_token_that_the_grammar_needs_is_told(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="only a stop token can come next"):
        vocabulary(tokenizer, tokenizer.vocab_size).constraint(Grammar.from_regex("a"), tokenizer.encode("a"))


def test_a_grammar_that_leads_nowhere_is_told_and_stays_usable(tokenizer: Tokenizer) -> None:
    closed = {"additionalProperties": False, "patternProperties": {"^a$": {}}}
    schema = {"allOf": [{"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}, closed]}
    ids, grammar = vocabulary(tokenizer, tokenizer.vocab_size), Grammar.from_json_schema(schema)
    with pytest.raises(UserError, match="no token can follow"):
        list(map(ids.constraint(grammar, []).advance, tokenizer.encode('{"a":1, ')))
    assert list(map(ids.constraint(grammar, []).advance, tokenizer.encode('{"a":1}')))[-1]
