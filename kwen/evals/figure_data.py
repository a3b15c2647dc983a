"""Reading a plot by its data: what its figures hold, found in the interpreter that drew them.

`RECORD` runs as a cell before a model's own, `READ` after them; they keep and list every figure, also those that were shown and
closed. Nothing is drawn: an image is a PNG's first bytes, which saves most of a cell's time. What comes back is the work of
hostile code: `figures_of` takes lists of numbers and nothing else.
"""

import json
import math
from typing import Any, NamedTuple

MOST = 4096
"""Values of a series, and series of a conversation, that are looked at."""

RECORD = """\
import matplotlib.figure as _figure
_kept_figures = []
def _keep(self, *arguments, _begin=_figure.Figure.__init__, **named):
    _begin(self, *arguments, **named)
    _kept_figures.append(self)
_figure.Figure.__init__ = _keep
def _save(self, file, *arguments, **named):
    if hasattr(file, "write"):
        file.write(b"\\x89PNG\\r\\n\\x1a\\n")
    else:
        open(file, "wb").close()
_figure.Figure.savefig = _save
"""
READ = f"""\
import json as _json
def _series(axes):
    for line in axes.get_lines():
        yield "line" if line.get_linestyle() not in ("None", "", " ") else "points", line.get_ydata()
    for bars in axes.containers:
        sizes = [max(abs(bar.get_height()), 0) if bars.orientation == "vertical" else bar.get_width() for bar in bars]
        yield "bars", sizes
    for group in axes.collections:
        yield "points", [place[1] for place in group.get_offsets()]
_found = [
    [form, [float(value) for value in list(values)[:{MOST}]]]
    for figure in _kept_figures for axes in figure.axes for form, values in _series(axes)
][:{MOST}]
print(_json.dumps(_found))
"""


class Series(NamedTuple):
    """What one line, one set of bars or one set of points shows."""

    form: str
    values: tuple[float, ...]


def figures_of(text: str) -> list[Series]:
    """The series that `READ` listed; none where its text is anything else."""
    try:
        found: Any = json.loads(text.strip().rpartition("\n")[2])
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    return [Series(str(one[0]), tuple(map(float, one[1]))) for one in found if _is_series(one)]


def _is_series(one: Any) -> bool:
    return (
        isinstance(one, list)
        and len(one) == 2
        and isinstance(one[1], list)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in one[1])
    )


def shows(figures: list[Series], form: str, values: tuple[float, ...]) -> bool:
    """Whether one of the series has that form and those values, in their order."""
    return any(
        one.form == form
        and len(one.values) == len(values)
        and all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(one.values, values, strict=True))
        for one in figures
    )
