"""Pieces of HTML that all sections of the report's page are made of."""

from collections.abc import Sequence
from html import escape

from kwen.family.figures import series


def time_of(text: str) -> str:
    """A time or speed, in the element that comparisons leave out."""
    return f'<span class="time">{escape(text)}</span>'


def per_cent(share: float, error: float | None = None) -> str:
    """A share between 0 and 1 as `94.3 %`, with its standard error as `94.3 ± 1.3 %`."""
    return f"{100 * share:.1f} %" if error is None else f"{100 * share:.1f} ± {100 * error:.1f} %"


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
