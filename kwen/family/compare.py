"""Two runs beside each other: scores, preference, compression and long context, better or worse; speed under `record`.

A score of the second run is better or worse than the first's where they differ by more than two standard errors of the
difference.
"""

import math
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from kwen.family.describe import clock, count
from kwen.family.grid import Report, per_cent
from kwen.family.page_parts import frame, table, time_of
from kwen.family.report import RECORD, metric_of

NOISE = 2.0
SAME = "no difference seen"
_MARKS = {"better": "good", "worse": "bad", SAME: "none"}


def compare(first: Report, second: Report) -> dict[str, Any]:
    """Every figure that both runs have: {"a", "b", their standard errors, "difference", "stderr", "verdict" of b against a}.

    Figures without a standard error (tokens of a text, perplexity by length) count as better or worse where they differ at all.
    """
    return {
        "a": {"family": first["family"], "artifacts": list(first["artifacts"])},
        "b": {"family": second["family"], "artifacts": list(second["artifacts"])},
        "scores": list(_scores(first, second)),
        "preference": list(_preference(first, second)),
        "compression": list(_compression(first, second)),
        "long_context": list(_long_context(first, second)),
        RECORD: {"wall_s": [run[RECORD]["wall_s"] for run in (first, second)], "artifacts": _speeds(first, second)},
    }


def beside(a: float, b: float, lower: bool, errors: tuple[float, float] | None = None) -> dict[str, Any]:
    """Two figures and the verdict on the second; `lower` where the lower one is better."""
    difference = b - a
    noise = None if errors is None else math.hypot(*errors)
    if abs(difference) <= (0.0 if noise is None else NOISE * noise):
        verdict = SAME
    else:
        verdict = "better" if (difference < 0) == lower else "worse"
    of = {} if errors is None else {"a_stderr": errors[0], "b_stderr": errors[1]}
    return {"a": a, "b": b, **of, "difference": difference, "stderr": noise, "verdict": verdict}


def _scores(first: Report, second: Report) -> Iterator[dict[str, Any]]:
    for model, tasks in first["scores"].items():
        for task, score in tasks.items():
            other = second["scores"].get(model, {}).get(task)
            if other is None:
                continue
            metric = metric_of(score)
            if metric not in other:
                continue
            errors = (score[f"{metric}_stderr"], other[f"{metric}_stderr"])
            same = all(score.get(key) == other.get(key) for key in ("prompt_hash", "version", "n"))
            yield {"model": model, "task": task, "metric": metric, "same_items": same} | beside(
                score[metric], other[metric], metric == "bits_per_byte", errors
            )


def _preference(first: Report, second: Report) -> Iterator[dict[str, Any]]:
    for model, sets in first["preference"].items():
        for label, of in sets.items():
            other = second["preference"].get(model, {}).get(label)
            if other is not None:
                errors = (of["accuracy_stderr"], other["accuracy_stderr"])
                yield {"model": model, "set": label} | beside(of["accuracy"], other["accuracy"], False, errors)


def _compression(first: Report, second: Report) -> Iterator[dict[str, Any]]:
    """Tokens of each tokenizer in a language, where both runs counted them on as many bytes."""
    a, b = (run["compression"].get("languages", {}) for run in (first, second))
    for language in a:
        if language not in b or a[language]["bytes"] != b[language]["bytes"]:
            continue
        for name, tokens in a[language]["tokens"].items():
            if name in b[language]["tokens"]:
                yield {"language": language, "tokenizer": name} | beside(tokens, b[language]["tokens"][name], True)


def _long_context(first: Report, second: Report) -> Iterator[dict[str, Any]]:
    for model, of in first["long_context"].items():
        other = second["long_context"].get(model)
        if other is None:
            continue
        for variant, values in of["perplexity"].items():
            there = dict(zip(other["lengths"], other["perplexity"].get(variant, []), strict=False))
            for length, value in zip(of["lengths"], values, strict=False):
                if value is not None and there.get(length) is not None:
                    yield {"model": model, "variant": variant, "length": length} | beside(value, there[length], True)


def _speeds(first: Report, second: Report) -> dict[str, Any]:
    return {
        name: {
            key: [run[RECORD]["artifacts"][name].get(key) for run in (first, second)]
            for key in ("wall_s", "tokens_per_s", "mfu")
            if any(key in run[RECORD]["artifacts"][name] for run in (first, second))
        }
        for name in first[RECORD]["artifacts"]
        if name in second[RECORD]["artifacts"]
    }


def render(found: Mapping[str, Any], names: tuple[str, str]) -> str:
    """The comparison as a page; `names` are how the two runs are called."""
    a, b = (escape(name) for name in names)
    parts = [f'<header><p class="kind">Two runs beside each other</p><h1>{a} and {b}</h1>']
    parts += [
        f"<p>Better and worse are of {b} against {a}: by more than {NOISE:g} standard errors of the difference.</p></header>"
    ]
    for section, heads in (
        ("scores", ("model", "task")), ("preference", ("model", "set")), ("compression", ("tokenizer", "language")),
        ("long_context", ("model", "variant", "length")),
    ):  # fmt: skip
        rows = found[section]
        title = section.replace("_", " ").capitalize()
        parts.append(f"<section><h2>{title}</h2>")
        if not rows:
            parts.append('<p class="missing">Nothing that both runs measured.</p></section>')
            continue
        counts = ", ".join(f"{sum(row['verdict'] == verdict for row in rows)} {verdict}" for verdict in _MARKS)
        cells = [[_named(row, heads), *_figures(row, section), _verdict(row["verdict"])] for row in rows]
        parts.append(f"<p>{counts}.</p>" + table([" · ".join(heads), a, b, "difference", ""], cells) + "</section>")
    missing = [set(found[x]["artifacts"]) - set(found[y]["artifacts"]) for x, y in (("a", "b"), ("b", "a"))]
    parts.append("<section><h2>Time</h2>" + table(["artifact", a, b, f"speed of {a}", f"speed of {b}"], _times(found)))
    for name, alone in zip((a, b), missing, strict=True):
        if alone:
            parts.append(f"<p>Only {name} has {escape(', '.join(sorted(alone)))}.</p>")
    return frame(f"{names[0]} and {names[1]}", [*parts, "</section>"])


def _named(row: Mapping[str, Any], heads: tuple[str, ...]) -> str:
    first, *rest = (f"{row[head]:,}" if isinstance(row[head], int) else str(row[head]) for head in heads)
    note = "" if row.get("same_items", True) else " · other items"
    return f"<b>{escape(first)}</b><br><small>{escape(' · '.join(rest))}{note}</small>"


def _figures(row: Mapping[str, Any], section: str) -> list[str]:
    if section == "compression":
        return [f"{row['a']:,}", f"{row['b']:,}", f"{100 * row['difference'] / row['a']:+.1f} %"]
    if section == "long_context":
        return [f"{row['a']:.2f}", f"{row['b']:.2f}", f"{row['difference']:+.2f}"]
    if row.get("metric") == "bits_per_byte":
        shown = [f"{row[key]:.3f} ± {row[f'{key}_stderr']:.3f}" for key in ("a", "b")]
        return [*shown, f"{row['difference']:+.3f} ± {row['stderr']:.3f}"]
    shown = [per_cent(row[key], row[f"{key}_stderr"]) for key in ("a", "b")]
    return [*shown, f"{100 * row['difference']:+.1f} ± {100 * row['stderr']:.1f}"]


def _verdict(verdict: str) -> str:
    return f'<span class="{_MARKS[verdict]}">{verdict}</span>'


def _times(found: Mapping[str, Any]) -> list[list[str]]:
    def shown(values: list[float | None] | None, say: Any) -> list[str]:
        return [time_of("" if value is None else say(value)) for value in values or (None, None)]

    rows = [["<b>all</b>", *shown(found[RECORD]["wall_s"], clock), "", ""]]
    for name, of in found[RECORD]["artifacts"].items():
        speeds = shown(of.get("tokens_per_s"), lambda value: f"{count(value)} tokens/s")
        rows.append([escape(name), *shown(of.get("wall_s"), clock), *speeds])
    return rows
