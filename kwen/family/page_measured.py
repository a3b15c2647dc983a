"""The page's sections on tokenizers (Figure 3), base models (Figure 2), long context (Table 3, needle) and contamination."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from kwen.family import published
from kwen.family.charts import heat, radar, strip
from kwen.family.figures import Curve, curves
from kwen.family.grid import Grid, Report
from kwen.family.missing import absent
from kwen.family.page_parts import again, figure, grid_table
from kwen.family.page_tables import published_rows, report_table
from kwen.family.recipe import BASES, CHATS, RELEASED
from kwen.family.report import metric_of
from kwen.family.tables import ReportTable

AXES = {
    "MMLU": ("mmlu",), "C-Eval": ("ceval",), "AGIEval": ("agieval",), "Gaokao-Bench": ("gaokao",),
    "GSM8K": ("gsm8k-8-shot", "gsm8k"), "MATH": ("math",), "HumanEval": ("humaneval", "humaneval-chat"),
    "MBPP": ("mbpp", "mbpp-chat"), "CommonsenseQA": ("commonsenseqa",), "HellaSwag": ("hellaswag",), "PIQA": ("piqa",),
    "BBH": ("bbh", "bbh-0-shot"),
}  # fmt: skip
"""Figure 2's benchmarks, and the tasks that measure them."""


def tokenizers(report: Report, grids: Sequence[Grid]) -> Iterator[str]:
    """Figure 3: ours where it was measured, the published below."""
    yield '<section id="figure-3"><h2>Tokenizers</h2>'
    found, printed = report["compression"], published.figure(3)
    if found:
        reference, names = found["reference"], [name for name in found["tokenizers"] if name != found["reference"]]
        rows = {
            language: {name: of["tokens"][name] / of["tokens"][reference] for name in names if name in of["tokens"]}
            for language, of in found["languages"].items()
            if of["tokens"].get(reference)
        }
        svg = strip(rows, names, f"tokens relative to {reference}", 1.0)
        yield figure(
            svg, f"Figure 3, ours: tokens of the same text relative to {reference} (upright line); lower is better", names
        )
        yield "<details><summary>Tokens by language</summary>" + "".join(map(grid_table, grids)) + again(grids) + "</details>"
    else:
        yield f'<p class="missing">Figure 3, this family: not run, because {escape(absent(report, "compression.json"))}.</p>'
    names = list(printed.columns[1:])
    rows = {row[0]: dict(zip(names, row[1:], strict=True)) for row in printed.rows}
    yield figure(strip(rows, names, printed.unit or "", 1.0), f"Figure 3, published. {printed.title}", names)
    yield published_rows(printed) + "</section>"


def radar_lines(report: Report) -> dict[str, list[float | None]]:
    """The family's largest base, SFT and RLHF models on Figure 2's benchmarks, per cent; models without any are left out."""
    lines = {}
    for model in (RELEASED, BASES[-1], CHATS[-1], "chat"):
        scores = report["scores"].get(model, {})
        values: list[float | None] = []
        for tasks in AXES.values():
            score = next((scores[task] for task in tasks if task in scores), None)
            values.append(None if score is None else 100 * score[metric_of(score)])
        if any(value is not None for value in values):
            lines[model] = values
    return lines


def base_models(report: Report, tables: Sequence[ReportTable]) -> Iterator[str]:
    """Figure 2 and the tables on base models."""
    printed = published.figure(2)
    ours = radar_lines(report)
    yield '<section id="figure-2"><h2>Base models</h2>'
    lines = {name: [row[place] for row in printed.rows] for place, name in enumerate(printed.columns[1:], start=1)}
    drawn = {"Qwen-14B": lines.pop("Qwen-14B"), **ours, **lines}
    caption = f"Figure 2. {printed.title}, per cent" + ("" if ours else "; published alone")
    yield figure(radar([row[0] for row in printed.rows], drawn), caption, list(drawn))
    if not ours:
        yield '<p class="missing">Figure 2, this family: not run, because its evals name none of the twelve benchmarks.</p>'
    yield published_rows(printed)
    for table in tables:
        yield from report_table(table)
    yield "</section>"


def long_context(report: Report, table: ReportTable, memory: Sequence[Grid]) -> Iterator[str]:
    """Perplexity by length, the needle, memory, and Table 3."""
    yield '<section id="long-context"><h2>Long context</h2>'
    for index, (model, found) in enumerate(report["long_context"].items()):
        lengths = [float(length) for length in found["lengths"]]
        lines = []
        for variant, values in found["perplexity"].items():
            points = [(length, value) for length, value in zip(lengths, values, strict=False) if value is not None]
            lines.append(Curve(variant, [length for length, _ in points], [value for _, value in points]))
        svg = curves(lines, f"long-{index}", "tokens", "perplexity", log_y=True, log_x=True)
        texts = f", {found['documents']:,} texts" if "documents" in found else ""
        caption = f"{model}, trained at {found['trained']:,} tokens: perplexity by length{texts}"
        yield figure(svg, caption, [line.label for line in lines])
        for kind in ("needle", "passkey"):
            yield from _retrieval(model, kind, found.get(kind))
    for grid in memory:
        yield "<p>Memory of keys and values, in bytes, with every layer whole and with windows in the lower ones.</p>"
        yield grid_table(grid) + again([grid])
    yield from report_table(table)
    yield "</section>"


def _retrieval(model: str, kind: str, result: Mapping[str, Any] | None) -> Iterator[str]:
    if result:
        rows = {_depth(depth): row for depth, row in zip(result["depths"], result["found"], strict=False)}
        svg = heat([f"{length:,}" for length in result["lengths"]], rows, "tokens of text")
        yield figure(svg, f"{model}, {kind}: found, per cent of {result['n']}, by depth in the text (rows) and its length")


def _depth(depth: float) -> str:
    return f"{100 * depth:.0f} %" if depth <= 1 else f"{depth:g}"


def contamination(report: Report, grids: Sequence[Grid]) -> Iterator[str]:
    """Whether test items stand in the training text."""
    yield '<section id="contamination"><h2>Contamination</h2>'
    found = report["contamination"]
    if not grids:
        yield f'<p class="missing">Not run, because {escape(absent(report, "contamination.json"))}.</p></section>'
        return
    yield f"<p>Test items that share {found['n']} words in a row with the text that an artifact was trained on."
    yield " Too short: items of so few words that they are not looked for.</p>"
    yield "".join(map(grid_table, grids))
    named = [
        f"{escape(artifact)}, {escape(task)}: {escape(', '.join(map(str, part['ids'])))}"
        for artifact, of in found["artifacts"].items()
        for task, part in of.items()
        if part.get("ids")
    ]
    if named:
        yield f"<details><summary>Which items</summary><ul>{''.join(f'<li>{line}</li>' for line in named)}</ul></details>"
    yield again(grids) + "</section>"
