"""A family's own technical report, second half: the page. One file, nothing fetched, light and dark, phone and desk.

Every time and speed stands in an element of class `time`, so that two runs can be compared with those masked.
"""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from kwen.family.describe import clock, count
from kwen.family.document import Document, document
from kwen.family.figures import Curve, Dot, curves, dots, lineage
from kwen.family.grid import per_cent
from kwen.family.measures import LANGUAGES, held_out_parts, is_special, questions
from kwen.family.page_alignment import alignment
from kwen.family.page_claims import claims_section
from kwen.family.page_measured import base_models, contamination, long_context, tokenizers
from kwen.family.page_parts import again, figure, frame, grid_table, time_of
from kwen.family.page_specialists import specialists
from kwen.family.published import source
from kwen.family.recipe import SPECIALISTS
from kwen.family.report import metric_of


def render(report: Mapping[str, Any], recipe_text: str) -> str:
    """The whole page from what `report.collect` gave; `recipe_text` is the resolved recipe."""
    shown = document(report)
    base_tables = [shown.tables[number - 1] for number in (1, 2, 13, 14, 15, 16, 17)]
    head = [*_head(report)]
    parts = [*head, *_lineage(report), *claims_section(shown.claims), *_artifacts(shown), *_training(shown)]
    parts += [*tokenizers(report, shown.grids["compression"]), *_held_out(shown), *base_models(report, base_tables)]
    parts += [*long_context(report, shown.tables[2], shown.grids["memory"]), *_questions(shown), *alignment(shown)]
    parts += [*specialists(shown), *contamination(report, shown.grids["contamination"]), *_samples(report)]
    parts += _reproduce(report, recipe_text)
    sections = re.findall(r'<section id="([\w-]+)"><h2>(.*?)</h2>', "".join(parts))
    links = " · ".join(f'<a href="#{id}">{title}</a>' for id, title in sections)
    parts.insert(len(head), f"<nav>{links}</nav>")
    return frame(f"The {report['family']} family", parts)


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    yield f'<header><p class="kind">Technical report</p><h1>The {escape(report["family"])} family</h1>'
    if report["about"]:
        yield f"<p>{escape(report['about'])}</p>"
    cards = list(_cards(report))
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in cards)
    yield f'<dl class="cards">{shown}</dl></header>'


def _cards(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    parameters = [a["metrics"]["parameters"] for a in report["artifacts"].values() if "parameters" in a["metrics"]]
    if parameters:
        yield "largest model", f"{count(max(parameters))} parameters"
    bits = {model: result["perplexity"] for model, result in report["scores"].items() if "perplexity" in result}
    if bits:
        best = min(result[metric_of(result)] for result in bits.values())
        yield "held-out text", f"{best:.3f} bits a byte"
    for model, result in report["scores"].items():
        for task, score in result.items():
            if task != "perplexity" and not is_special(task) and model == _last_answering(report):
                yield escape(task.removeprefix("nanoworld-")), per_cent(score[metric_of(score)])
    yield "built in", time_of(clock(report["record"]["wall_s"]))


def _last_answering(report: Mapping[str, Any]) -> str | None:
    answering = [model for model, result in report["scores"].items() if set(result) - {"perplexity"}]
    general = [model for model in answering if model not in SPECIALISTS] or answering
    return general[-1] if general else None


def _lineage(report: Mapping[str, Any]) -> Iterator[str]:
    graph = {name: facts["inputs"] for name, facts in report["artifacts"].items()}
    notes = {name: _short(facts["summary"].split(" · ")[0]) for name, facts in report["artifacts"].items()}
    yield '<section id="figure-1"><h2>Lineage</h2><p>Figure 1. Each box is a folder; its manifest names'
    yield " what it was made from, by content.</p>"
    yield lineage(graph, notes) + "</section>"


def _short(note: str, longest: int = 26) -> str:
    return note if len(note) <= longest else f"{note[: longest - 1]}…"


def _artifacts(shown: Document) -> Iterator[str]:
    (grid,) = shown.grids["artifacts"]
    ids = [f"artifact-{escape(row.name)}" for row in grid.rows]
    yield '<section id="artifacts"><h2>Artifacts</h2>' + grid_table(grid, ids) + again([grid]) + "</section>"


def _training(shown: Document) -> Iterator[str]:
    report = shown.report
    if not report["curves"]:
        return
    yield '<section id="training"><h2>Training</h2>'
    by_stage: dict[str, list[str]] = {}
    for name in report["curves"]:
        by_stage.setdefault(report["artifacts"][name]["stage"], []).append(name)
    labels = {
        "loss": "loss, nats", "accuracy": "pairs ordered right", "score": "reward of the answers",
        "kl": "KL, nats an answer", "length": "tokens an answer", "entropy": "entropy, nats a token",
        "grad_norm": "gradient norm", "lr": "learning rate",
    }  # fmt: skip
    for stage, names in by_stage.items():
        chosen = {name: report["curves"][name] for name in names}
        for key, label in labels.items():
            lines = [Curve(name, curve["step"], curve[key]) for name, curve in chosen.items() if key in curve]
            if lines:
                svg = curves(lines, f"{stage}-{key.replace('_', '-')}", "step", label)
                drawn = figure(svg, f"{stage}: {label}", [line.label for line in lines])
                folded = f"<details><summary>{stage}: {label}</summary>{drawn}</details>"
                yield drawn if key in ("loss", "score", "kl") else folded
    yield "".join(map(grid_table, shown.grids["training"])) + again(shown.grids["training"]) + "</section>"


def _held_out(shown: Document) -> Iterator[str]:
    grids = shown.grids["held-out"]
    if not grids:
        return
    report = shown.report
    parts = held_out_parts(report)
    models = list(grids[0].columns[1:])
    rows: dict[str, dict[str, Dot]] = {}
    for (group, part), of in list(parts.items())[:12]:
        label = LANGUAGES.get(part, part) if group == "language" else part
        for model, way in of.items():
            score = report["scores"][model]["perplexity"]
            for key in way:
                score = score[key]
            metric = metric_of(score)
            rows.setdefault(label, {})[model] = Dot(score[metric], score[f"{metric}_stderr"])
    yield '<section id="held-out-text"><h2>Held-out text</h2>'
    yield "<p>Bits that a model needs for each byte of text it never saw; lower is better.</p>"
    yield figure(dots(rows, "bits", "bits a byte"), "bits a byte, with the standard error over documents", models)
    yield "".join(map(grid_table, grids)) + again(grids) + "</section>"


def _questions(shown: Document) -> Iterator[str]:
    grids = shown.grids["questions"]
    if not grids:
        return
    scores = questions(shown.report)
    yield '<section id="questions"><h2>Questions</h2>'
    yield "<p>Held-out questions, answered greedily. The nearest-question baseline copies the answer"
    yield "of the most similar training question: what lies above it was not looked up.</p>"
    rows: dict[str, dict[str, Dot]] = {}
    for model, result in scores.items():
        for task, score in result.items():
            metric = metric_of(score)
            label = task.removeprefix("nanoworld-") + (f", {model}" if len(scores) > 1 else "")
            rows.setdefault(label, {})["all"] = Dot(score[metric], score[f"{metric}_stderr"], score.get(f"baseline_{metric}"))
            for language, part in score.get("by_language", {}).items():
                rows[label][LANGUAGES.get(language, language)] = Dot(part[metric], part[f"{metric}_stderr"])
    labels = list(dict.fromkeys(label for row in rows.values() for label in row))
    hollow = "nearest question" if any(dot.baseline is not None for row in rows.values() for dot in row.values()) else ""
    svg = dots(rows, "questions", "right, per cent", share=True)
    yield figure(svg, "share of right answers, with its standard error", labels, hollow)
    yield "".join(map(grid_table, grids)) + again(grids) + "</section>"


def _samples(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["samples"]:
        return
    yield '<section id="answers"><h2>Answers</h2><p>The first of each task, right or wrong, as they were given.</p>'
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for sample in report["samples"]:
        by_task.setdefault(sample["task"], []).append(sample)
    for index, (task, samples) in enumerate(by_task.items()):
        yield f"<details{' open' if index == 0 else ''}><summary>{escape(task)}</summary>"
        for sample in samples:
            mark, word = ("good", "right") if sample["correct"] else ("bad", "wrong")
            yield (
                f'<div class="sample"><p class="you" dir="auto">{escape(sample["question"])}</p>'
                f'<p class="kwen" dir="auto">{escape(sample["answer"])}</p>'
                f'<p class="verdict"><span class="{mark}">{word}</span>'
                + (f" · expected {escape(sample['reference'])}" if sample["reference"] and not sample["correct"] else "")
                + f" · {escape(sample['model'])}</p></div>"
            )
        yield "</details>"
    yield "</section>"


def _reproduce(report: Mapping[str, Any], recipe_text: str) -> Iterator[str]:
    run = f"runs/{report['family']}"
    model = _last_answering(report)
    lines = [f"kwen build recipe.yaml --out {run}", f"kwen report {run} --json", *([f"kwen chat {run}/{model}"] if model else [])]
    yield '<section id="again"><h2>Again</h2>'
    yield "<p>These commands make the same weights, byte for byte, on a machine of this kind.</p>"
    yield f"<pre>{escape(chr(10).join(lines))}</pre>"
    yield "<p>Every number of a table names its command and, behind the arrow, the keys to it in that command's JSON: hover over"
    yield " it, unfold “These numbers again” below it, or read report.json, which lists them all.</p>"
    yield f"<details><summary>recipe.yaml</summary><pre>{escape(recipe_text)}</pre></details>"
    records = report["record"]["artifacts"].values()
    machines = dict.fromkeys(str(record["machine"]) for record in records if "machine" in record)
    versions = {name: value for record in records for name, value in record.get("versions", {}).items()}
    made = ", ".join([*machines, *(f"{name} {value}" for name, value in versions.items())])
    began = min((str(record["started"]) for record in records if "started" in record), default="")
    yield f"<p><small>Made on {escape(made)}; begun {time_of(began)}. "
    yield f"Published rows: {escape(source())}</small></p></section>"
