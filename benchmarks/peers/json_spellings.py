"""The texts in which one JSON value may stand: a grammar fixes order and layout, a test suite does not."""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

ORDERS = 60  # of an instance's keys that are tried at most
LAYOUTS: tuple[dict[str, Any], ...] = (
    {"ensure_ascii": False},
    {"ensure_ascii": False, "separators": (",", ":")},
    {"ensure_ascii": False, "indent": 2},
    {},
    {"separators": (",", ":")},
)


def spellings(value: Any, schema: Any) -> list[str]:
    """JSON texts of `value`."""
    ranks = {name: rank for rank, name in enumerate(_names(schema))}
    texts = []
    for arranged in itertools.islice(_orders(value, ranks), ORDERS):
        for numbers in (_same, _as_integer, _as_float):
            spelled = _map_numbers(arranged, numbers)
            texts += [json.dumps(spelled, **layout) for layout in LAYOUTS]
    return list(dict.fromkeys(texts))


def _names(schema: Any) -> Iterator[str]:
    """Names of properties, as the schema brings them."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        for part in schema.values():
            yield from _names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _names(part)


def _orders(value: Any, ranks: dict[str, int]) -> Iterator[Any]:
    """`value` with the keys of its objects in every order, the schema's first."""
    if isinstance(value, list):
        for parts in itertools.product(*(list(itertools.islice(_orders(part, ranks), ORDERS)) for part in value)):
            yield list(parts)
    elif isinstance(value, dict):
        inner = {key: list(itertools.islice(_orders(part, ranks), ORDERS)) for key, part in value.items()}
        for keys in itertools.permutations(sorted(value, key=lambda key: ranks.get(key, len(ranks)))):
            for parts in itertools.product(*(inner[key] for key in keys)):
                yield dict(zip(keys, parts, strict=True))
    else:
        yield value


def _same(number: int | float) -> int | float:
    return number


def _as_integer(number: int | float) -> int | float:
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _as_float(number: int | float) -> int | float:
    return float(number) if abs(number) < 2**53 else number


def _map_numbers(value: Any, change: Callable[[int | float], int | float]) -> Any:
    if isinstance(value, list):
        return [_map_numbers(part, change) for part in value]
    if isinstance(value, dict):
        return {key: _map_numbers(part, change) for key, part in value.items()}
    return change(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
