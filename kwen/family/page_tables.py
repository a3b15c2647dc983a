"""The page's form of the report's tables: our rows, why cells are empty, our nearest tasks, the published rows."""

from collections.abc import Iterator
from html import escape

from kwen.family.page_parts import again, grid_table, table
from kwen.family.published import Published
from kwen.family.tables import ReportTable


def report_table(shown: ReportTable) -> Iterator[str]:
    """One table of the report, as a block of its own."""
    printed = shown.published
    yield f'<div class="block" id="table-{shown.number}"><h3>{printed.name}. {escape(printed.title)}</h3>'
    for grid in shown.ours:
        yield grid_table(grid)
    for line in shown.missing:
        yield f'<p class="missing">{escape(line)}</p>'
    if shown.nearest:
        yield f'<p class="nearest">Nearest of our own, not to be set beside the published columns. {escape(shown.note)}</p>'
        for grid in shown.nearest:
            yield grid_table(grid)
    yield published_rows(printed)
    yield again([*shown.ours, *shown.nearest]) + "</div>"


def published_rows(printed: Published) -> str:
    """A published table or figure as rows, folded."""
    unit = f", {printed.unit}" if printed.unit else ""
    summary = f"Published: {len(printed.rows)} rows{unit}"
    body = [[escape(cell) for cell in row] for row in printed.texts()]
    drawn = table([escape(column) for column in printed.columns], body)
    return f'<details class="published"><summary>{escape(summary)}</summary>{drawn}</details>'
