"""JSON schemas on their way into a grammar: bounded, and closed where they name all that they mean."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from kwen.engine.constrain_rewrite import rewrite
from kwen.errors import UserError

_LONGEST = 1_000_000  # characters of the schema as JSON
_DEEPEST = 100  # levels of objects and lists in it; the parser behind the grammar takes 128
_ONE = ("additionalProperties", "additionalItems", "items", "unevaluatedProperties", "unevaluatedItems", "not")
_LISTS = ("prefixItems", "items", "anyOf", "allOf", "oneOf")  # `items` up to draft 2019-09
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
_OWN = ("properties", "patternProperties", "additionalProperties", "required")
# Those that llguidance writes as a regular expression.
_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"),
)


def prepare(schema: Mapping[str, Any] | bool | str, where: str) -> dict[str, Any]:
    """A copy of `schema` for the grammar's compiler.

    Objects that name properties and say nothing of others allow no others: what is made is valid all the same, and a small
    model does not make up keys without end. Where schemas are merged with each other (`allOf`, or a reference beside
    properties of its own) that could rule everything out, so such schemas stay open. Keywords that others can say are said
    by those (`kwen.engine.constrain_rewrite`). Formats without a grammar are dropped, being annotations by the standard.
    Raises UserError with `where` for what is no schema, too large, or too deep.
    """
    try:
        text = schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False)
        copy = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where}: not JSON ({str(error) or 'nested without end'})") from None
    if len(text) > _LONGEST:
        raise UserError(f"{where}: {len(text):,} characters; a schema holds {_LONGEST:,} at most")
    if isinstance(copy, bool):
        copy = {} if copy else {"enum": []}
    if not isinstance(copy, dict):
        raise UserError(f"{where}: must be a JSON schema, an object, not {type(copy).__name__}")
    if _depth(copy) > _DEEPEST:
        raise UserError(f"{where}: nested deeper than {_DEEPEST} levels; name inner parts in $defs and refer to them")
    for part in list(_schemas(copy)):
        rewrite(part)
    schemas = list(_schemas(copy))
    merged = any(_merges(part) for part in schemas)
    for part in schemas:
        if isinstance(part.get("format"), str) and part["format"] not in _FORMATS:
            del part["format"]
        if not merged and _names_all(part):
            part["additionalProperties"] = False
    return copy


def _depth(value: Any) -> int:
    """Levels of objects and lists, counted without recursion."""
    depth, level = 0, [value]
    while level := [part for part in level if isinstance(part, dict | list)]:
        depth += 1
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return depth


def _schemas(schema: Any) -> Iterator[dict[str, Any]]:
    """`schema` and every schema inside it; values such as constants and defaults are none."""
    if not isinstance(schema, dict):
        return
    yield schema
    inner = [schema[key] for key in _ONE if key in schema]
    for key in _LISTS:
        inner += schema[key] if isinstance(schema.get(key), list) else []
    for key in _NAMED:
        inner += schema[key].values() if isinstance(schema.get(key), dict) else []
    for part in inner:
        yield from _schemas(part)


def _merges(schema: dict[str, Any]) -> bool:
    combined = any(key in schema for key in ("$ref", "anyOf", "oneOf"))
    return "allOf" in schema or (combined and any(key in schema for key in _OWN))


def _names_all(schema: dict[str, Any]) -> bool:
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return False
    silent = "additionalProperties" not in schema and "patternProperties" not in schema and "minProperties" not in schema
    return silent and all(name in properties for name in required)
