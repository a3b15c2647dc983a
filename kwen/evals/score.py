"""From judged answers to a score: share right, standard error, and the same by language and by kind of item."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from kwen.evals.generations import Answer
from kwen.evals.task import Item


def standard_error(share: float, n: int) -> float:
    """Standard error of a share of `n` items: sqrt(share (1 - share) / (n - 1)).

    The sample form: the sample standard deviation (divided by n - 1) over sqrt(n), as lm-eval prints it. 0 for one item.
    """
    return math.sqrt(share * (1 - share) / max(n - 1, 1))


def ratio_standard_error(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Standard error of sum(numerators) / sum(denominators) over independent units (documents), by linearisation.

    sqrt(n / (n - 1) * sum((y - r x)^2)) / sum(x), with y and x of each unit and r their ratio (Cochran, Sampling
    Techniques, chapter 6). 0 for one unit.
    """
    n, total = len(denominators), sum(denominators)
    ratio = sum(numerators) / total
    squares = sum((y - ratio * x) ** 2 for y, x in zip(numerators, denominators, strict=True))
    return math.sqrt(n / max(n - 1, 1) * squares) / total


def summarise(pairs: Sequence[tuple[Item, Answer]], metric: str) -> dict[str, Any]:
    """The score of `pairs` (one at least) under `metric`'s name, with n, by language and by kind."""
    result = _share(pairs, metric)
    result["by_language"] = {
        language: _share([pair for pair in pairs if pair[0].language == language], metric)
        for language in in_order(item.language for item, _ in pairs)
    }
    result["by_kind"] = {
        tag: _share([pair for pair in pairs if pair[0].tag == tag], metric) for tag in in_order(item.tag for item, _ in pairs)
    }
    return result


def in_order(values: Iterable[str]) -> list[str]:
    """The distinct values, sorted: a report's rows come in the same order whatever the order of the items."""
    return sorted(set(values))


def _share(pairs: Sequence[tuple[Item, Answer]], metric: str) -> dict[str, Any]:
    n = len(pairs)
    strict = sum(answer.correct for _, answer in pairs) / n
    flexible = sum(answer.correct_flexible for _, answer in pairs) / n
    result = {
        metric: strict,
        f"{metric}_stderr": standard_error(strict, n),
        f"{metric}_flexible": flexible,
        f"{metric}_flexible_stderr": standard_error(flexible, n),
        "n": n,
    }
    if all(answer.finish_reason is not None for _, answer in pairs):
        result["ended"] = sum(answer.finish_reason == "stop" for _, answer in pairs) / n
    return result
