"""Keywords that the grammar's compiler lacks: written as others that allow the same values, or left to be refused."""

import copy
import json
import os
import runpy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwen.engine.constrain import Grammar
from kwen.engine.constrain_matcher import vocabulary
from kwen.engine.constrain_rewrite import rewrite
from kwen.engine.constrain_schema import _schemas
from kwen.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "json_schema.py"
SAMPLE = 6  # every sixth schema of the suite
# Schema, a value that it allows, one that it does not.
CASES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "whole floats as counts": ({"type": "string", "minLength": 1.0, "maxLength": 2.0}, "ab", "abc"),
    "what nothing evaluates": ({"properties": {"a": {}}, "unevaluatedProperties": {"const": 0}}, {"a": 1, "b": 0}, {"b": 1}),
    "closed beside a pattern": ({"patternProperties": {"^a$": {}}, "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
    "items that nothing evaluates": ({"prefixItems": [{"const": 0}], "unevaluatedItems": {"type": "null"}}, [0, None], [0, 1]),
    "half a condition": ({"type": "integer", "if": {"minimum": 3}}, 1, "x"),
    "the other halves": ({"type": "integer", "then": {"minimum": 3}, "else": False}, 1, "x"),
    "counts of nothing": ({"type": "array", "minContains": 3, "maxContains": 1}, [1], 1),
    "repeated items": ({"type": "array", "uniqueItems": False}, [1, 1], 1),
    "not nothing": ({"type": "null", "not": False}, None, 1),
    "a forbidden property": ({"type": "object", "properties": {"a": {"not": {}}, "b": {}}}, {"b": 1}, {"a": 1}),
    "not a type": ({"not": {"type": ["null", "number"]}}, "x", 1),
    "not a type of these": ({"type": ["integer", "string"], "not": {"type": "number"}}, "x", 1),
    "names of a pattern": ({"type": "object", "propertyNames": {"pattern": "^[ab]+$"}}, {"ab": 1}, {"abc": 1}),
    "names of a list": ({"additionalProperties": {"type": "integer"}, "propertyNames": {"enum": ["a", "b"]}}, {"b": 1}, {"c": 1}),
    "no names": ({"propertyNames": False}, {}, {"a": 1}),
    "one of two names": ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"b": 1}, {"a": 1, "b": 1}),
    "one of two pairs": ({"oneOf": [{"required": ["a", "b"]}, {"required": ["b", "c"]}]}, {"a": 1, "b": 1}, {"b": 1}),
    "a name that needs another": ({"dependentRequired": {"a": ["b", "c"], "d": []}}, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1}),
    "a name and a schema": ({"dependentSchemas": {"a": {"properties": {"b": {"const": 0}}}}}, {"a": 1, "b": 0}, {"a": 1, "b": 2}),
    "dependencies of both kinds": ({"dependencies": {"a": ["b"], "c": {"maxProperties": 1}}}, {"c": 1}, {"a": 1}),
}  # fmt: skip
KEYS = st.sampled_from(["a", "b", "c", "d", "ab", "abc"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 4) | st.sampled_from([1.5, "", "a", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=5,
)


def kind(schema: dict[str, Any]) -> jsonschema.protocols.Validator:
    """The validator of the draft that knows the schema's keywords."""
    return (jsonschema.Draft7Validator if "dependencies" in schema else jsonschema.Draft202012Validator)(schema)


@pytest.mark.parametrize("name", CASES)
@given(value=VALUES)
@settings(max_examples=60, deadline=None)
def test_a_rewritten_schema_allows_the_same_values(name: str, value: Any) -> None:
    schema, good, bad = CASES[name]
    written = copy.deepcopy(schema)
    for part in list(_schemas(written)):
        rewrite(part)
    assert repr(written) != repr(schema)
    before, after = kind(schema), jsonschema.Draft202012Validator(written)
    assert before.is_valid(good) and not before.is_valid(bad)
    for one in (value, good, bad):
        assert before.is_valid(one) == after.is_valid(one)


@pytest.mark.parametrize("name", CASES)
def test_a_rewritten_schema_is_a_grammar_of_it(name: str, tokenizer: Tokenizer) -> None:
    schema, good, bad = CASES[name]
    start = vocabulary(tokenizer, tokenizer.vocab_size).compile(Grammar.from_json_schema(schema)).matcher
    for value, right in ((good, True), (bad, False)):
        matcher, tokens = start.deep_copy(), tokenizer.encode(json.dumps(value))
        assert (matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()) == right


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "integer"}},
        {"not": {"type": "null", "minLength": 3}},
        {"uniqueItems": True},
        {"propertyNames": {"maxLength": 3}},
        {"propertyNames": {"pattern": ["a"]}},
        {"contains": {"const": 1}, "minContains": 0},
        {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        {"contains": {"const": 1}, "unevaluatedItems": False},
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
        {"dependentRequired": {"a": "b"}},
        {"oneOf": [{"required": ["a"]}, {"minProperties": 3}]},
    ],
)
def test_what_cannot_be_said_exactly_is_left(schema: dict[str, Any]) -> None:
    written = copy.deepcopy(schema)
    rewrite(written)
    assert written == schema


@pytest.mark.slow
def test_the_suite_of_json_schema_is_upheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = os.environ.get("KWEN_JSON_SCHEMA_SUITE")
    if not folder:
        pytest.skip("KWEN_JSON_SCHEMA_SUITE names no folder of a JSON Schema test suite (npm install json-schema-test-suite)")
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    benchmark = runpy.run_path(str(BENCHMARK), run_name="json_schema")
    _, groups = benchmark["suite"](Path(folder))
    examiner, accepted = benchmark["Examiner"](tmp_path), 0
    for group in groups[::SAMPLE]:
        found = examiner.examine("kwen", group)
        assert found.clear, found.refused
        for (description, _, right), taken, meant in zip(group.instances, found.accepted, found.intended, strict=False):
            assert taken == right or meant, f"{group.place}: {description}"
        assert all(said in ("valid", "cut", "unjudged") for said, _ in found.outputs), (group.place, found.outputs)
        accepted += found.refused is None
    assert accepted > len(groups[::SAMPLE]) / 2
