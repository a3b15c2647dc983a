"""Pieces of HTML that all sections of the report's page are made of."""

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from kwen.family.figures import PALETTE, series
from kwen.family.grid import Cell, Grid, merged


def frame(title: str, parts: Iterable[str]) -> str:
    """A whole page of `parts`: one file, nothing fetched, light and dark."""
    light, dark = ("".join(f"--{name}:{values[place]};" for name, values in PALETTE.items()) for place in (0, 1))
    colours = f":root{{{light}}}@media(prefers-color-scheme:dark){{@media screen{{:root{{{dark}}}}}}}\n"
    style = colours + files("kwen.family").joinpath("page.css").read_text("utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def time_of(text: str) -> str:
    """A time or speed, in the element that comparisons leave out."""
    return f'<span class="time">{escape(text)}</span>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], ids: Sequence[str] = ()) -> str:
    """A table of cells that are HTML already; columns after the first are numbers, at the right edge."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(
        f"<tr{f' id={chr(34)}{ids[index]}{chr(34)}' if ids else ''}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
        for index, row in enumerate(rows)
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(svg: str, caption: str, labels: Sequence[str] = (), hollow: str = "") -> str:
    """A figure with its caption; `labels` name the series in the order of their colours, `hollow` the hollow dots."""
    keys = [f'<span class="key" style="--key:var(--{series(i)})">{escape(label)}</span>' for i, label in enumerate(labels)]
    keys += [f'<span class="key hollow">{escape(hollow)}</span>'] if hollow else []
    return f"<figure><p>{' '.join(keys)}</p>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def grid_table(grid: Grid, ids: Sequence[str] = ()) -> str:
    """A table of the family's own numbers: each carries its id and, on hovering, the command that gives it again."""
    rows = []
    for row in grid.rows:
        note = f"<br><small>{escape(row.note)}</small>" if row.note else ""
        cells = [_shown(cell, grid.cell_id(row, place)) for place, cell in enumerate(row.cells)]
        rows.append([f"<b>{escape(row.name)}</b>{note}", *cells])
    return table([escape(column) for column in grid.columns], rows, ids)


def again(grids: Sequence[Grid]) -> str:
    """The commands that give the grids' numbers again, folded; nothing where they have none."""
    commands = merged(command for grid in grids for command in grid.commands())
    if not commands:
        return ""
    listed = escape("\n".join(commands))
    return f'<details class="again"><summary>These numbers again</summary><pre>{listed}</pre></details>'


def _shown(cell: Cell, id: str) -> str:
    if cell.time:
        return time_of(cell.text)
    if cell.value is None:
        return escape(cell.text) if cell.text else '<span class="none">not run</span>'
    how = f"{escape(cell.command)} → {escape('.'.join(map(str, cell.path)))}"
    return f'<span data-number="{escape(id)}" title="{how}">{escape(cell.text)}</span>'
