"""From judged answers to a score: share right, standard error, and the same by language and by kind of item."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kwen.errors import UserError
from kwen.evals.generations import Answer
from kwen.evals.task import Item

Measures = Mapping[str, Callable[[Item, str], float | None]]


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


def summarise(pairs: Sequence[tuple[Item, Answer]], metric: str, measures: Measures | None = None) -> dict[str, Any]:
    """The score of `pairs` (one at least) under `metric`'s name, with n, by language and by kind, and the means of `measures`."""
    result = _share(pairs, metric)
    for name, measure in (measures or {}).items():
        values = [value for item, answer in pairs if (value := measure(item, answer.text)) is not None]
        if values:
            error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
            result |= {name: statistics.fmean(values), f"{name}_stderr": error, f"{name}_n": len(values)}
    if fewer := sum(answer.shots is not None and answer.shots < len(item.shots) for item, answer in pairs):
        result["fewer_shots"] = fewer
    result["by_language"] = {
        language: _share([pair for pair in pairs if pair[0].language == language], metric)
        for language in in_order(item.language for item, _ in pairs)
    }
    result["by_kind"] = {
        tag: _share([pair for pair in pairs if pair[0].tag == tag], metric) for tag in in_order(item.tag for item, _ in pairs)
    }
    return result


def preference_accuracy(
    scores_chosen: Sequence[float], scores_rejected: Sequence[float], tags: Sequence[str]
) -> dict[str, Any]:
    """How often the chosen answer of a pair scores above the rejected one: accuracy, accuracy_stderr, n, and the same `by_tag`.

    Equal scores are half right, so that a model which sees no difference gets what guessing gets. The standard error is the
    sample standard deviation over sqrt(n). Raises UserError for scores that are not finite numbers and for no pair at all.
    """
    if not tags:
        raise UserError("preference accuracy of no pairs: give one pair at least")
    scores = list(zip(scores_chosen, scores_rejected, strict=True))
    if wrong := sum(not (math.isfinite(one) and math.isfinite(two)) for one, two in scores):
        raise UserError(f"{wrong} of {len(tags)} pairs have a score that is not a finite number; the scoring model is broken")
    rows = [
        (0.5 if chosen == rejected else float(chosen > rejected), tag)
        for (chosen, rejected), tag in zip(scores, tags, strict=True)
    ]

    def part(right: Sequence[float]) -> dict[str, Any]:
        error = statistics.stdev(right) / math.sqrt(len(right)) if len(right) > 1 else 0.0
        return {"accuracy": statistics.fmean(right), "accuracy_stderr": error, "n": len(right)}

    by_tag = {tag: part([right for right, other in rows if other == tag]) for tag in in_order(tags)}
    return part([right for right, _ in rows]) | {"by_tag": by_tag}


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
