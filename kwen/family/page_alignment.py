"""The page's section on alignment: reward models (Table 4), chat models (Table 5), RLHF beside SFT (Figure 4), what it cost."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from kwen.family import published
from kwen.family.document import Document
from kwen.family.figures import bars
from kwen.family.grid import Grid
from kwen.family.page_parts import again, figure, grid_table
from kwen.family.page_tables import published_rows, report_table

COLOURS = ("good", "muted", "bad")


def alignment(shown: Document) -> Iterator[str]:
    """The section; where the family has none of it, why, and the published rows."""
    report = shown.report
    yield '<section id="alignment"><h2>Alignment</h2>'
    yield from report_table(shown.tables[3])
    for grid in shown.grids["topics"]:
        yield f"<details><summary>{escape(grid.columns[0])}</summary>{grid_table(grid)}</details>"
    yield from report_table(shown.tables[4])
    yield from _figure_4(report["side_by_side"], shown.grids["side-by-side"])
    for grid in shown.grids["tax"]:
        yield "<p>The alignment tax: held-out text and tasks before and after.</p>" + grid_table(grid)
    yield again([*shown.grids["tax"], *shown.grids["topics"], *shown.grids["side-by-side"]])
    yield from _before_and_after(report["before_and_after"])
    yield "</section>"


def _figure_4(results: Mapping[str, Mapping[str, Any]], grids: Sequence[Grid]) -> Iterator[str]:
    printed = published.figure(4)
    keys = zip(("win", "tie", "loss"), COLOURS, strict=True)
    legend = " ".join(f'<span class="key" style="--key:var(--{colour})">{word}</span>' for word, colour in keys)
    yield f'<div class="block" id="figure-4"><h3>Figure 4. Win, tie and loss</h3><p>{legend}</p>'
    for index, ((decoding, result), grid) in enumerate(zip(results.items(), grids, strict=True)):
        parts = {"all": result, **result["by_category"]}
        low, high = result["win_minus_loss_interval"]
        lengths = result["length_correlation"]["verdict"]
        caption = (
            f"ours: chat against chat-sft, {decoding}, {result['judge']} as judge, n = {result['n']}: win minus loss "
            f"{100 * result['win_minus_loss']:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f}); median length "
            f"{result['median_length_a']:.0f} against {result['median_length_b']:.0f} characters"
            + (f", correlation of verdict and length {lengths:+.2f}" if lengths is not None else "")
        )
        svg = bars({name: (of["win"], of["tie"], of["loss"]) for name, of in parts.items()}, f"side-{index}", "per cent", COLOURS)
        yield figure(svg, caption)
        yield f"<details><summary>{escape(decoding)}, in figures</summary>{grid_table(grid)}</details>"
    if not results:
        yield '<p class="missing">This family: not run, because it has no judging of RLHF beside SFT.</p>'
    averages = {f"{row[1]}": [value / sum(row[2:]) for value in row[2:]] for row in printed.rows if row[0] == "average"}
    svg = bars(averages, "figure-4-published", "per cent", COLOURS)
    yield figure(svg, f"published. {printed.title}, average of five categories, people as judges")
    yield published_rows(printed) + "</div>"


def _before_and_after(samples: list[Mapping[str, Any]]) -> Iterator[str]:
    if not samples:
        return
    changed = [sample for sample in samples if sample["before"] != sample["after"]]
    yield f"<details><summary>Answers before and after ({len(changed)} of {len(samples)} changed)</summary>"
    for sample in [*changed, *(sample for sample in samples if sample not in changed)]:
        yield (
            f'<div class="sample"><p class="you" dir="auto">{escape(sample["query"])}</p>'
            f'<p dir="auto">{escape(sample["before"])}</p><p class="kwen" dir="auto">{escape(sample["after"])}</p>'
            f'<p class="verdict">score {sample["score_before"]:.2f}, then {sample["score_after"]:.2f}</p></div>'
        )
    yield "</details>"
