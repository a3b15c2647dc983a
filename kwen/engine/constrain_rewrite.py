"""Keywords of JSON schemas that the grammar's compiler lacks, said exactly by those that it has.

Each rule leaves a schema that allows the same values by draft 2020-12 (and none more by an older one, which may not know the
keyword), or leaves the keyword alone for the compiler to refuse.
"""

from collections.abc import Callable
from typing import Any

_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_TYPES = ("null", "boolean", "number", "string", "array", "object")
# What applies to the same value and so counts as evaluating parts of it.
_IN_PLACE = frozenset(
    ("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "dependencies")
)
_ALTERNATIVES = 64  # to write one keyword as; more would be a way to make a grammar explode


def rewrite(schema: dict[str, Any]) -> None:
    """Change `schema` in place, not the schemas inside it."""
    for key in _COUNTS:
        if isinstance(schema.get(key), float) and schema[key].is_integer():
            schema[key] = int(schema[key])
    _unevaluated(schema)
    _drop_idle(schema)
    _not(schema)
    _property_names(schema)
    _one_required(schema)
    _dependent(schema)


def _unevaluated(schema: dict[str, Any]) -> None:
    """Where nothing else applies to the value, what no neighbour evaluates is what `additionalProperties` or `items` mean."""
    if _IN_PLACE & schema.keys():
        return
    if "unevaluatedProperties" in schema:
        schema.setdefault("additionalProperties", schema.pop("unevaluatedProperties"))
    if "unevaluatedItems" in schema and "contains" not in schema and not isinstance(schema.get("items"), list):
        schema.setdefault("items", schema.pop("unevaluatedItems"))


def _drop_idle(schema: dict[str, Any]) -> None:
    """Take out what asserts nothing: halves of conditions, and counts of nothing."""
    if "if" not in schema:
        _drop(schema, "then", "else")
    elif "then" not in schema and "else" not in schema:
        _drop(schema, "if")
    if "contains" not in schema:
        _drop(schema, "minContains", "maxContains")
    if schema.get("uniqueItems") is False:
        _drop(schema, "uniqueItems")
    for key in ("unevaluatedProperties", "unevaluatedItems", "propertyNames"):
        if _is_anything(schema.get(key)):
            _drop(schema, key)


def _not(schema: dict[str, Any]) -> None:
    """Not anything, not nothing, and not of some types."""
    excluded = schema.get("not")
    if excluded is False:
        _drop(schema, "not")
    elif _is_anything(excluded):
        _drop(schema, "not")
        schema["enum"] = []
    elif isinstance(excluded, dict) and excluded.keys() == {"type"}:
        without, own = _types(excluded["type"]), _types(schema.get("type", list(_TYPES)))
        if without is None or own is None or ("integer" in without and "number" in own and "number" not in without):
            return  # numbers that are no integers cannot be written
        _drop(schema, "not")
        kept = [name for name in own if name not in without and not (name == "integer" and "number" in without)]
        schema |= {"type": kept} if kept else {"enum": []}


def _property_names(schema: dict[str, Any]) -> None:
    """Names of a pattern or a list are those beside which there are no others."""
    names = schema.get("propertyNames")
    if names is False:
        closed: dict[str, Any] = {"maxProperties": 0}
    elif isinstance(names, dict) and names.keys() == {"pattern"} and isinstance(names["pattern"], str):
        closed = {"patternProperties": {names["pattern"]: True}, "additionalProperties": False}
    elif isinstance(names, dict) and names.keys() in ({"enum"}, {"const"}):
        allowed = names["enum"] if "enum" in names else [names["const"]]
        if not isinstance(allowed, list):
            return
        closed = {"properties": {name: True for name in allowed if isinstance(name, str)}, "additionalProperties": False}
    else:
        return
    _drop(schema, "propertyNames")
    _also(schema, closed)


def _one_required(schema: dict[str, Any]) -> None:
    """Exactly one of some lists of required names: that one, and of each other list some name that is not there."""
    choices = schema.get("oneOf")
    if not isinstance(choices, list) or len(choices) < 2 or len(choices) ** 2 > _ALTERNATIVES:
        return
    if not all(
        isinstance(choice, dict) and choice.keys() == {"required"} and _is_names(choice["required"]) for choice in choices
    ):
        return
    lists = [choice["required"] for choice in choices]
    written = [
        {"type": "object", "required": own, "allOf": [_lacks(other) for n, other in enumerate(lists) if n != place]}
        for place, own in enumerate(lists)
    ]
    _drop(schema, "oneOf")
    _also(schema, {"anyOf": written})


def _dependent(schema: dict[str, Any]) -> None:
    """What a name brings with it: the name is not there, or all that it asks for is."""
    for key in _NEEDS:
        needs = schema.get(key)
        if not isinstance(needs, dict) or len(needs) > _ALTERNATIVES or not all(_NEEDS[key](need) for need in needs.values()):
            continue
        _drop(schema, key)
        for name, need in needs.items():
            names = need if isinstance(need, list) else [need] if isinstance(need, str) else None
            there = [name, *(names or [])]
            asked = [{"properties": dict.fromkeys(there, True), "required": there}]  # `properties` sets the order
            asked += [need] if names is None else []
            if names != [] and not _is_anything(need):
                _also(schema, {"anyOf": [{"properties": {name: False}}, {"allOf": asked}]})


def _lacks(names: list[str]) -> dict[str, Any]:
    """An object that has not all of `names`."""
    return {"anyOf": [{"properties": {name: False}} for name in names]}


def _also(schema: dict[str, Any], further: dict[str, Any]) -> None:
    """At the end, since references count places in `allOf`."""
    parts = schema.get("allOf", [])
    schema["allOf"] = [*parts, further] if isinstance(parts, list) else parts


def _drop(schema: dict[str, Any], *keys: str) -> None:
    for key in keys:
        schema.pop(key, None)


def _types(value: Any) -> list[str] | None:
    """Types named by the keyword `type`; None where it is malformed."""
    names = [value] if isinstance(value, str) else value
    return names if isinstance(names, list) and all(name in (*_TYPES, "integer") for name in names) else None


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _is_anything(schema: Any) -> bool:
    return schema is True or schema == {}


# What a name may bring with it, by keyword; draft 3 has a single name too.
_NEEDS: dict[str, Callable[[Any], bool]] = {
    "dependentRequired": _is_names,
    "dependentSchemas": _is_schema,
    "dependencies": lambda value: _is_names(value) or _is_schema(value) or isinstance(value, str),
}
