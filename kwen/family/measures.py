"""The report's tables of the family's own numbers, beside those in the form of the report's Tables 1 to 17 (`tables.py`)."""

import re
from collections.abc import Mapping
from typing import Any

from kwen.family.describe import clock, count, size
from kwen.family.grid import BLANK, Cell, Grid, Report, Row, fact_cell, judged_cell, per_cent, score_cell
from kwen.family.report import RECORD, metric_of
from kwen.family.tables import BENCHMARKS

LANGUAGES = {"en": "English", "zh": "Chinese", "code": "code"}
OF_OUR_OWN = ("nanoworld-tools", "nanoworld-interpreter", "nanoworld-code")
MATHS = ("nanoworld-arithmetic", "nanoworld-equations", "nanoworld-problems-zh")


def is_special(task: str) -> bool:
    """Whether a task has its place in one of the report's tables, and so not among the questions."""
    return task.startswith(OF_OUR_OWN) or task in MATHS or task in BENCHMARKS


def artifacts_grid(report: Report) -> Grid:
    """Every artifact: what it turned out to be, bytes, time, its share of the whole, time times the machine's cores, key."""
    whole = max(float(report[RECORD]["wall_s"]), 1e-9)
    rows = []
    for name, facts in report["artifacts"].items():
        record = report[RECORD]["artifacts"][name]
        wall = float(record.get("wall_s", 0.0))
        cores = re.search(r"(\d+) cores", str(record.get("machine", "")))
        cost = f"{wall * int(cores[1]) / 60:.1f}" if cores is not None else ""
        times = (Cell(text, time=True) for text in (clock(wall), f"{100 * wall / whole:.0f} %", cost))
        space = fact_cell(report, ("artifacts", name, "bytes"), size(facts["bytes"]))
        rows.append(Row(name, (space, *times, Cell(facts["key"][:10])), facts["summary"]))
    return Grid("artifacts", ("artifact", "size", "time", "of the whole", "core-minutes", "key"), tuple(rows))


def training_grid(report: Report) -> list[Grid]:
    """Every model that has a curve: parameters, steps, tokens, last loss, and the speed."""
    rows = []
    for name, curve in report["curves"].items():
        speed = report[RECORD]["artifacts"][name]
        metrics = report["artifacts"][name]["metrics"]
        at = ("artifacts", name, "metrics")
        cells = (
            fact_cell(report, (*at, "parameters"), count(metrics["parameters"]) if "parameters" in metrics else None),
            fact_cell(report, ("curves", name, "step", len(curve["step"]) - 1)),
            fact_cell(report, (*at, "tokens"), count(metrics["tokens"]) if "tokens" in metrics else None),
            fact_cell(report, ("curves", name, "loss", len(curve["loss"]) - 1), f"{curve['loss'][-1]:.3f}")
            if "loss" in curve
            else BLANK,
            Cell(f"{count(speed['tokens_per_s'])} tokens/s" if "tokens_per_s" in speed else "", time=True),
            Cell(f"{100 * speed['mfu']:.0f} %" if "mfu" in speed else "", time=True),
        )
        rows.append(Row(name, tuple(cell if cell.text or cell.time else BLANK for cell in cells)))
    return (
        [Grid("training", ("model", "parameters", "steps", "tokens", "last loss", "speed", "of peak"), tuple(rows))]
        if rows
        else []
    )


def held_out_parts(report: Report) -> dict[tuple[str, str], dict[str, tuple[str, ...]]]:
    """(group, part) -> model -> the way to that part of its score on held-out text; the whole first."""
    scores = {model: result["perplexity"] for model, result in report["scores"].items() if "perplexity" in result}
    parts: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {("", "all held-out text"): dict.fromkeys(scores, ())}
    for group in ("by_language", "by_source", "by_file"):
        for model, result in scores.items():
            for part in result.get(group, {}):
                parts.setdefault((group.removeprefix("by_"), part), {})[model] = (group, part)
    return parts if scores else {}


def held_out_grid(report: Report) -> list[Grid]:
    """Bits a byte of held-out text: a row for each part, a column for each model."""
    parts = held_out_parts(report)
    models = [model for model, result in report["scores"].items() if "perplexity" in result]
    rows = [
        Row(
            LANGUAGES.get(part, part) if group == "language" else part,
            tuple(score_cell(report, model, "perplexity", part=of[model]) if model in of else BLANK for model in models),
            group,
            group,
        )
        for (group, part), of in parts.items()
    ]
    return [Grid("held-out", ("text", *models), tuple(rows))] if rows else []


def questions(report: Report) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Model -> task -> score, of the tasks that are questions of no special kind."""
    chosen = {
        model: {task: score for task, score in result.items() if task != "perplexity" and not is_special(task)}
        for model, result in report["scores"].items()
    }
    return {model: result for model, result in chosen.items() if result}


def questions_grid(report: Report) -> list[Grid]:
    """Right answers, by language, beside the nearest-question baseline."""
    rows = []
    for model, result in questions(report).items():
        for task, score in result.items():
            metric = metric_of(score)
            cells = (
                score_cell(report, model, task),
                *(score_cell(report, model, task, part=("by_language", language)) for language in ("en", "zh")),
                score_cell(report, model, task, f"baseline_{metric}"),
                score_cell(report, model, task, "ended"),
            )
            note = f"{model} · {metric} · n = {score['n']}"
            rows.append(Row(task, tuple(cell if cell.text else BLANK for cell in cells), note, model))
    heads = ("task", "right", "English", "Chinese", "nearest question", "ended by itself")
    return [Grid("questions", heads, tuple(rows))] if rows else []


def side_by_side_grids(report: Report) -> list[Grid]:
    """Chat against chat-sft by topic, a table for each decoding, in Figure 4's measures."""
    grids = []
    for decoding, result in report["side_by_side"].items():
        rows = []
        ways: dict[str, tuple[str, ...]] = {"all": (), **{name: ("by_category", name) for name in result["by_category"]}}
        for name, way in ways.items():
            of = result["by_category"][name] if way else result
            low, high = of["win_minus_loss_interval"]
            shown: dict[tuple[str | int, ...], str] = {(key,): per_cent(of[key]) for key in ("win", "tie", "loss")}
            shown["win_minus_loss",] = f"{100 * of['win_minus_loss']:+.1f}"
            shown["win_minus_loss_interval", 0] = f"{100 * low:+.1f}"
            shown["win_minus_loss_interval", 1] = f"{100 * high:+.1f}"
            shown |= {(key,): f"{of[key]:.3f}" for key in ("score_a", "score_b") if of.get(key) is not None}
            cells = [judged_cell(report, decoding, (*way, *path), text) for path, text in shown.items()]
            rows.append(Row(name, (*cells, *([BLANK] * (8 - len(cells))), Cell(f"{of['n']:,}"))))
        heads = ("topic", "win", "tie", "loss", "margin", "95 %, from", "to", "grade of chat", "of chat-sft", "n")
        grids.append(Grid(f"figure-4-{decoding}", heads, tuple(rows)))
    return grids


def tax_grid(report: Report) -> list[Grid]:
    """The alignment tax: what the models before and after RLHF score on everything that both were measured on."""
    earlier = [name for name in report["scores"] if name in ("released", "chat-sft")]
    after = report["scores"].get("chat", {})
    if not earlier or not after:
        return []
    before = earlier[-1]
    rows = [
        Row(task, (score_cell(report, before, task), score_cell(report, "chat", task)), metric_of(score).replace("_", " "))
        for task, score in report["scores"][before].items()
        if task in after
    ]
    return [Grid("tax", ("task", before, "chat"), tuple(rows))] if rows else []


def topics_grid(report: Report) -> list[Grid]:
    """The last reward model on its first set of pairs, by topic."""
    preference = report["preference"]
    if not preference:
        return []
    model = "reward" if "reward" in preference else list(preference)[-1]
    label = next(iter(preference[model]))
    rows = [
        Row(
            tag,
            (
                fact_cell(
                    report,
                    ("preference", model, label, "by_tag", tag, "accuracy"),
                    per_cent(part["accuracy"], part["accuracy_stderr"]),
                ),
                Cell(f"{part['n']:,}"),
            ),
        )
        for tag, part in preference[model][label].get("by_tag", {}).items()
    ]
    return (
        [Grid(f"topics-{model}-{label}", (f"{model} on {label}, by topic", "right", "pairs"), tuple(rows))]
        if len(rows) > 1
        else []
    )


def compression_grid(report: Report) -> list[Grid]:
    """Tokens of each tokenizer by language, with the documents and bytes that they were counted on."""
    found = report["compression"]
    if not found:
        return []
    names = list(found["tokenizers"])
    rows = []
    for language, of in found["languages"].items():
        cells = [
            fact_cell(report, ("compression", "languages", language, "tokens", name), _relative(found, language, name))
            for name in names
        ]
        rows.append(Row(language, tuple(cells), f"{of['documents']:,} documents, {of['bytes']:,} bytes"))
    heads = (f"{name} ({found['tokenizers'][name]['vocabulary']:,})" for name in names)
    return [Grid("figure-3", ("language", *heads), tuple(rows))]


def _relative(found: Mapping[str, Any], language: str, name: str) -> str:
    tokens = found["languages"][language]["tokens"]
    if name not in tokens:
        return ""
    reference = tokens.get(found["reference"])
    return f"{tokens[name]:,}" + (f" ({tokens[name] / reference:.2f})" if reference else "")


def memory_grid(report: Report) -> list[Grid]:
    """Bytes with and without windows, where they were measured; one number or one a length."""
    rows = []
    for model, found in report["long_context"].items():
        of = found.get("memory_bytes") or {}
        many = any(isinstance(value, list) for value in of.values())
        for place, length in enumerate(found["lengths"]) if many else [(None, "")]:
            at = () if place is None else (place,)
            cells = tuple(fact_cell(report, ("long_context", model, "memory_bytes", kind, *at)) for kind in ("full", "window"))
            if any(cell.value is not None for cell in cells):
                rows.append(Row(model, cells, f"{length:,} tokens" if many else "", str(length)))
    return [Grid("memory", ("model", "whole", "windows"), tuple(rows))] if rows else []


def contamination_grid(report: Report) -> list[Grid]:
    """Test items that share an n-gram with each training artifact."""
    found = report["contamination"]
    artifacts = found.get("artifacts", {})
    tasks = list(dict.fromkeys(task for of in artifacts.values() for task in of))
    rows = []
    for artifact, of in artifacts.items():
        cells = []
        for task in tasks:
            part = of.get(task)
            if part is None:
                cells.append(Cell("–"))
                continue
            text = f"{part['overlapping']} of {part['items']}"
            text += f" ({part['unchecked']} too short)" if part.get("unchecked") else ""
            cells.append(fact_cell(report, ("contamination", "artifacts", artifact, task, "overlapping"), text))
        rows.append(Row(artifact, tuple(cells)))
    return [Grid("contamination", ("artifact", *tasks), tuple(rows))] if rows else []
