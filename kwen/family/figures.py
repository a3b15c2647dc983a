"""The report's figures as inline SVG: lineage drawn here, plots by matplotlib.

Every figure is a pure function of its numbers: no date, fixed ids. Colours are names of CSS variables (`--series-1`, ...), so
that a page gives them values for light and for dark; `PALETTE` has the values.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

PALETTE = {
    "ink": ("#1c2330", "#e7eaf0"),
    "muted": ("#667085", "#98a2b3"),
    "line": ("#dfe3ea", "#333b49"),
    "panel": ("#ffffff", "#181d26"),
    "page": ("#f6f7f9", "#10141b"),
    "accent": ("#4a53c4", "#9aa5ff"),
    "good": ("#17785a", "#57c99c"),
    "bad": ("#b23a48", "#f08a93"),
    "series-1": ("#4a53c4", "#9aa5ff"),
    "series-2": ("#c4682b", "#f2a56b"),
    "series-3": ("#17785a", "#57c99c"),
    "series-4": ("#a8448f", "#e28fcc"),
    "series-5": ("#2f7fa8", "#7cc4e8"),
    "series-6": ("#7a6a1f", "#d3bf5f"),
}
"""CSS variable -> its value on a light page and on a dark one."""

# matplotlib wants real colours; each name has one of its own, that is exchanged for the variable in the finished SVG.
_STAND_IN = {name: f"#0f{index:02x}5e" for index, name in enumerate(PALETTE)}


def series(index: int) -> str:
    """The name of the colour of the index-th series (from 0, going round after the sixth)."""
    return f"series-{index % 6 + 1}"


@dataclass(frozen=True)
class Curve:
    """A line: its label and the points, x rising."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Dot:
    """A value with its standard error, and the baseline to see it against (None: none)."""

    value: float
    error: float = 0.0
    baseline: float | None = None


@contextmanager
def _axes(width: float, height: float, salt: str) -> Iterator[tuple[Any, list[str]]]:
    """A matplotlib axes in the page's style; on leaving, the SVG text stands in the list that is given along."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"kwen {salt}",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "axes.edgecolor": _STAND_IN["line"],
        "axes.labelcolor": _STAND_IN["muted"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _STAND_IN["line"],
        "grid.linewidth": 0.6,
        "xtick.color": _STAND_IN["muted"],
        "ytick.color": _STAND_IN["muted"],
        "text.color": _STAND_IN["ink"],
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    }
    made: list[str] = []
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(width, height), layout="constrained")
        try:
            yield axes, made
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        finally:
            pyplot.close(figure)
    made.append(_inline(buffer.getvalue(), salt))


def _inline(svg: str, salt: str) -> str:
    """matplotlib's file as an element of a page: no XML head, no fixed size, ids of its own, colours by variable."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" role="img">', svg)
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{salt}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for name, colour in _STAND_IN.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg.strip()


def curves(lines: Sequence[Curve], name: str, x_label: str, y_label: str, log_y: bool = False, log_x: bool = False) -> str:
    """Lines over a common x, the i-th in the colour `series(i)`. `name` is the figure's id within the page. `log_x` marks every x
    of the first line."""
    with _axes(4.8, 2.7, name) as (axes, made):
        for index, line in enumerate(lines):
            axes.plot(line.x, line.y, color=_STAND_IN[series(index)], linewidth=1.4)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if log_y:
            axes.set_yscale("log")
        if log_x and lines:
            axes.set_xscale("log", base=2)
            axes.set_xticks(lines[0].x, [f"{x:,g}" for x in lines[0].x])
        axes.margins(x=0.01)
    return made[0]


def dots(rows: Mapping[str, Mapping[str, Dot]], name: str, x_label: str, share: bool = False) -> str:
    """A row for each key of `rows`, a dot with its error bar for each series in it, in the order in which the series first
    appear, the i-th in the colour `series(i)`; a baseline is a hollow dot beside.

    `share` draws values between 0 and 1 as per cent on a full axis.
    """
    labels = list(dict.fromkeys(label for row in rows.values() for label in row))
    scale = 100.0 if share else 1.0
    with _axes(4.8, 0.6 + 0.16 * len(rows) + 0.13 * sum(len(row) for row in rows.values()), name) as (axes, made):
        for place, (_, row) in enumerate(rows.items()):
            for index, label in enumerate(labels):
                if label not in row:
                    continue
                dot, colour = row[label], _STAND_IN[series(index)]
                y = place + (index - (len(labels) - 1) / 2) * 0.7 / max(1, len(labels))
                if dot.baseline is not None:
                    hollow = {"marker": "o", "s": 18, "facecolors": "none", "edgecolors": _STAND_IN["muted"], "linewidths": 0.9}
                    axes.scatter([scale * dot.baseline], [y], zorder=2, **hollow)
                axes.errorbar(
                    [scale * dot.value], [y], xerr=[scale * dot.error], fmt="o", markersize=4, color=colour, linewidth=1.2,
                    zorder=3,
                )  # fmt: skip
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        axes.grid(axis="y", visible=False)
        if share:
            axes.set_xlim(-2, 102)
    return made[0]


def bars(rows: Mapping[str, Sequence[float]], name: str, x_label: str, colours: Sequence[str]) -> str:
    """A horizontal bar for each key of `rows`, its parts (shares that sum to 1) one after the other in `colours`, per cent."""
    with _axes(4.8, 0.6 + 0.24 * len(rows), name) as (axes, made):
        for place, parts in enumerate(rows.values()):
            left = 0.0
            for part, colour in zip(parts, colours, strict=True):
                axes.barh(place, 100 * part, left=left, height=0.62, color=_STAND_IN[colour])
                if part >= 0.08:
                    middle = left + 50 * part
                    centred = {"ha": "center", "va": "center", "fontsize": 7.5, "color": _STAND_IN["panel"]}
                    axes.text(middle, place, f"{100 * part:.0f}", **centred)
                left += 100 * part
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel(x_label)
        axes.grid(visible=False)
    return made[0]


BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 148, 46, 16, 30


def lineage(graph: Mapping[str, Sequence[str]], notes: Mapping[str, str]) -> str:
    """The family's graph, top to bottom: `graph` maps an artifact to its inputs (build order), `notes` to a few words.

    An edge that a longer way already implies is left out; each box links to `#artifact-NAME`.
    """
    depth: dict[str, int] = {}
    ancestors: dict[str, set[str]] = {}
    drawn: dict[str, list[str]] = {}
    for name, inputs in graph.items():
        depth[name] = 1 + max((depth[i] for i in inputs), default=-1)
        ancestors[name] = set(inputs).union(*(ancestors[i] for i in inputs))
        implied = set[str]().union(*(ancestors[i] for i in inputs))
        drawn[name] = [i for i in inputs if i not in implied]
    step = BOX_WIDTH + GAP_X
    place: dict[str, float] = {}
    for level in range(max(depth.values(), default=-1) + 1):
        row = [name for name in graph if depth[name] == level]
        # Below the middle of its inputs, then pushed apart: a long edge runs beside the boxes that it passes.
        wish = {name: sum(place[i] for i in drawn[name]) / max(1, len(drawn[name])) for name in row}
        row.sort(key=lambda name: wish[name])
        for index, name in enumerate(row):
            place[name] = max(wish[name], place[row[index - 1]] + step) if index else wish[name]
        shift = sum(wish[name] - place[name] for name in row) / len(row)
        place |= {name: place[name] + shift for name in row}
    left = min(place.values(), default=0.0) - step / 2
    width = max(place.values(), default=0.0) + step / 2 - left
    height = (max(depth.values(), default=0) + 1) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2 * 8
    centre = {name: (x - left, 8 + depth[name] * (BOX_HEIGHT + GAP_Y)) for name, x in place.items()}
    parts = [f'<svg class="lineage" viewBox="0 0 {width:.0f} {height}" style="max-width:{width:.0f}px" role="img">']
    parts.append(
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8Z" fill="var(--muted)"/></marker></defs>'
    )
    for name, sources in drawn.items():
        x, y = centre[name]
        for source in sources:
            x0, y0 = centre[source]
            bottom, bend = y0 + BOX_HEIGHT, GAP_Y * 0.6
            path = f"M{x0:.0f} {bottom:.0f}C{x0:.0f} {bottom + bend:.0f} {x:.0f} {y - bend:.0f} {x:.0f} {y:.0f}"
            parts.append(f'<path d="{path}" fill="none" stroke="var(--muted)" stroke-width="1.2" marker-end="url(#arrow)"/>')
    for name, (x, y) in centre.items():
        box = f'x="{x - BOX_WIDTH / 2:.0f}" y="{y:.0f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="7"'
        parts.append(
            f'<a href="#artifact-{escape(name)}"><rect {box} fill="var(--panel)" stroke="var(--line)"/>'
            f'<text x="{x:.0f}" y="{y + 19:.0f}" text-anchor="middle" fill="var(--ink)" font-weight="600">{escape(name)}</text>'
            f'<text x="{x:.0f}" y="{y + 35:.0f}" text-anchor="middle" fill="var(--muted)" font-size="10.5">'
            f"{escape(notes.get(name, ''))}</text></a>"
        )
    return "".join([*parts, "</svg>"])
