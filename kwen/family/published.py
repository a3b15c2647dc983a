"""What the Qwen Technical Report printed: the rows of its Tables 1 to 17 and of its Figures 2, 3 and 4, from `published.json`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Published:
    """A table, or a figure as a table. The first `labels` columns are text, the others numbers; None: not given there."""

    name: str
    title: str
    unit: str | None
    labels: int
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def texts(self) -> list[list[str]]:
        """The cells as text: a column's numbers with as many decimals as the most exact of them."""
        decimals = [max((_decimals(row[place]) for row in self.rows), default=0) for place in range(len(self.columns))]
        return [
            [_text(value, decimals[place] if place >= self.labels else 0) for place, value in enumerate(row)] for row in self.rows
        ]


def source() -> str:
    """Where the rows are from, and how exact they are."""
    data = _data()
    return f"{data['source']}. {data['notes']}"


def table(number: int) -> Published:
    """Table `number` of the report, 1 to 17."""
    return _published("Table", str(number), _data()["tables"])


def figure(number: int) -> Published:
    """Figure `number` of the report, 2, 3 or 4, as rows."""
    return _published("Figure", str(number), _data()["figures"])


def _published(kind: str, number: str, part: Mapping[str, Any]) -> Published:
    of = part[number]
    rows = tuple(tuple(row) for row in of["rows"])
    return Published(f"{kind} {number}", of["title"], of["unit"], of["labels"], tuple(of["columns"]), rows)


@cache
def _data() -> Any:
    return json.loads(files("kwen.family").joinpath("published.json").read_text("utf-8"))


def _decimals(value: Any) -> int:
    return len(str(value).partition(".")[2]) if isinstance(value, float) and value >= 0.001 else 0


def _text(value: Any, decimals: int) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if value and abs(value) < 0.001:
        return f"{value:.1e}".replace("e-0", "e-")
    if value >= 1e6:
        return f"{value / 1e12:g}T" if value >= 1e12 else f"{value / 1e6:g}M"
    return f"{value:.{decimals}f}"
