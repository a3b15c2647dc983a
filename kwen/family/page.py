"""A family's own technical report, second half: the page. One file, nothing fetched, light and dark, phone and desk.

Every time and speed stands in an element of class `time`, so that two runs can be compared with those masked.
"""

from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from typing import Any

from kwen.family.describe import clock, count, size
from kwen.family.figures import PALETTE, Curve, Dot, curves, dots, lineage
from kwen.family.page_alignment import alignment
from kwen.family.page_parts import figure, per_cent, table, time_of
from kwen.family.page_specialists import is_special, specialists
from kwen.family.recipe import SPECIALISTS
from kwen.family.report import metric_of

LANGUAGES = {"en": "English", "zh": "Chinese", "code": "code"}


def render(report: Mapping[str, Any], recipe_text: str) -> str:
    """The whole page from what `report.collect` gave; `recipe_text` is the resolved recipe."""
    parts = [*_head(report), *_lineage(report), *_artifacts(report), *_training(report)]
    parts += [*_compression(report), *_questions(report), *specialists(report["scores"])]
    parts += [*alignment(report), *_samples(report), *_reproduce(report, recipe_text)]
    title = escape(f"The {report['family']} family")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<style>{_style()}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"<header><p class=\"kind\">Technical report</p><h1>The {escape(report['family'])} family</h1>"
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
    notes = {name: facts["summary"].split(" · ")[0] for name, facts in report["artifacts"].items()}
    yield "<section><h2>Lineage</h2><p>Each box is a folder; its manifest names what it was made from, by content.</p>"
    yield lineage(graph, notes) + "</section>"


def _artifacts(report: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for name, facts in report["artifacts"].items():
        wall = report["record"]["artifacts"][name].get("wall_s", 0.0)
        name_cell = f"<b>{escape(name)}</b><br><small>{escape(facts['summary'])}</small>"
        rows.append([name_cell, size(facts["bytes"]), time_of(clock(wall)), f"<code>{facts['key'][:10]}</code>"])
    ids = [f"artifact-{escape(name)}" for name in report["artifacts"]]
    yield "<section><h2>Artifacts</h2>" + table(["artifact", "size", "time", "key"], rows, ids) + "</section>"


def _training(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["curves"]:
        return
    yield "<section><h2>Training</h2>"
    by_stage: dict[str, list[str]] = {}
    for name in report["curves"]:
        by_stage.setdefault(report["artifacts"][name]["stage"], []).append(name)
    labels = {
        "loss": "loss, nats", "accuracy": "pairs ordered right", "score": "reward of the answers",
        "kl": "KL from the model before, nats an answer", "length": "tokens an answer", "entropy": "entropy, nats a token",
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
                yield drawn if key in ("loss", "score") else folded
    rows = [[escape(name), *_training_cells(report, name)] for name in report["curves"]]
    yield table(["model", "parameters", "steps", "tokens", "last loss", "speed", "of peak"], rows) + "</section>"


def _training_cells(report: Mapping[str, Any], name: str) -> Iterator[str]:
    metrics, speed = report["artifacts"][name]["metrics"], report["record"]["artifacts"][name]
    curve = report["curves"][name]
    yield count(metrics["parameters"]) if "parameters" in metrics else ""
    yield f"{int(curve['step'][-1]):,}"
    yield count(metrics["tokens"]) if "tokens" in metrics else ""
    yield f"{curve['loss'][-1]:.3f}" if "loss" in curve else ""
    yield time_of(f"{count(speed['tokens_per_s'])} tokens/s") if "tokens_per_s" in speed else ""
    yield time_of(f"{100 * speed['mfu']:.0f} %") if "mfu" in speed else ""


def _compression(report: Mapping[str, Any]) -> Iterator[str]:
    scores = {model: result["perplexity"] for model, result in report["scores"].items() if "perplexity" in result}
    if not scores:
        return
    metric = metric_of(next(iter(scores.values())))
    parts: dict[str, dict[str, Mapping[str, Any]]] = {"all held-out text": dict(scores)}
    for group in ("by_language", "by_source", "by_file"):
        for model, result in scores.items():
            for part, score in result.get(group, {}).items():
                label = LANGUAGES.get(part, part) if group == "by_language" else part
                parts.setdefault(label, {})[model] = score
    yield "<section><h2>Held-out text</h2><p>Bits that a model needs for each byte of text it never saw; lower is better.</p>"
    rows = {part: {m: Dot(s[metric], s[f"{metric}_stderr"]) for m, s in of.items()} for part, of in list(parts.items())[:12]}
    yield figure(dots(rows, "bits", "bits a byte"), "bits a byte, with the standard error over documents", list(scores))
    cells = [
        [escape(part), *(f"{of[m][metric]:.3f} ± {of[m][f'{metric}_stderr']:.3f}" if m in of else "" for m in scores)]
        for part, of in parts.items()
    ]
    yield table(["text", *map(escape, scores)], cells) + "</section>"


def _questions(report: Mapping[str, Any]) -> Iterator[str]:
    scores = {
        model: {task: score for task, score in result.items() if task != "perplexity" and not is_special(task)}
        for model, result in report["scores"].items()
    }
    scores = {model: result for model, result in scores.items() if result}
    if not scores:
        return
    yield "<section><h2>Questions</h2><p>Held-out questions, answered greedily. The nearest-question baseline copies the answer"
    yield "of the most similar training question: what lies above it was not looked up.</p>"
    rows: dict[str, dict[str, Dot]] = {}
    cells = []
    for model, result in scores.items():
        for task, score in result.items():
            metric = metric_of(score)
            baseline = score.get(f"baseline_{metric}")
            label = task.removeprefix("nanoworld-") + (f", {model}" if len(scores) > 1 else "")
            rows.setdefault(label, {})["all"] = Dot(score[metric], score[f"{metric}_stderr"], baseline)
            languages = score.get("by_language", {})
            for language, part in languages.items():
                rows[label][LANGUAGES.get(language, language)] = Dot(part[metric], part[f"{metric}_stderr"])
            cells.append(
                [
                    f"<b>{escape(task)}</b><br><small>{escape(model)} · {escape(metric)} · n = {score['n']}</small>",
                    per_cent(score[metric], score[f"{metric}_stderr"]),
                    *(per_cent(languages[code][metric]) if code in languages else "" for code in ("en", "zh")),
                    per_cent(baseline) if baseline is not None else "",
                    per_cent(score["ended"]) if "ended" in score else "",
                ]
            )
    labels = list(dict.fromkeys(label for row in rows.values() for label in row))
    hollow = "nearest question" if any(dot.baseline is not None for row in rows.values() for dot in row.values()) else ""
    svg = dots(rows, "questions", "right, per cent", share=True)
    yield figure(svg, "share of right answers, with its standard error", labels, hollow)
    yield table(["task", "right", "English", "Chinese", "nearest question", "ended by itself"], cells) + "</section>"


def _samples(report: Mapping[str, Any]) -> Iterator[str]:
    if not report["samples"]:
        return
    yield "<section><h2>Answers</h2><p>The first of each task, right or wrong, as they were given.</p>"
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
    yield "<section><h2>Again</h2><p>These commands make the same weights, byte for byte, on a machine of this kind.</p>"
    yield f"<pre>{escape(chr(10).join(lines))}</pre>"
    yield f"<details><summary>recipe.yaml</summary><pre>{escape(recipe_text)}</pre></details>"
    records = report["record"]["artifacts"].values()
    machines = dict.fromkeys(str(record["machine"]) for record in records if "machine" in record)
    versions = {name: value for record in records for name, value in record.get("versions", {}).items()}
    made = ", ".join([*machines, *(f"{name} {value}" for name, value in versions.items())])
    began = min((str(record["started"]) for record in records if "started" in record), default="")
    yield f"<p><small>Made on {escape(made)}; begun {time_of(began)}.</small></p></section>"


def _style() -> str:
    light = "".join(f"--{name}:{values[0]};" for name, values in PALETTE.items())
    dark = "".join(f"--{name}:{values[1]};" for name, values in PALETTE.items())
    colours = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n"
    return colours + files("kwen.family").joinpath("page.css").read_text("utf-8")

