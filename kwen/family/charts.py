"""Three more figures as inline SVG, drawn here: a radar, a strip of dots by row, a heat map. Colours as in `figures.py`."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from kwen.family.figures import series


def radar(axes: Sequence[str], lines: Mapping[str, Sequence[float | None]], highest: float = 100.0) -> str:
    """A polygon for each of `lines` over `axes`, the i-th in the colour `series(i)`, from 0 in the middle to `highest`.

    A value that is None leaves a gap; the points beside it are joined to no other.
    """
    middle, radius, width, height = 260.0, 165.0, 520, 430
    centre_y = 212.0

    def point(place: int, value: float) -> tuple[float, float]:
        angle = 2 * math.pi * place / len(axes) - math.pi / 2
        share = max(0.0, min(1.0, value / highest))
        return middle + radius * share * math.cos(angle), centre_y + radius * share * math.sin(angle)

    parts = [f'<svg class="drawn" viewBox="0 0 {width} {height}" role="img">']
    for ring in (0.25, 0.5, 0.75, 1.0):
        corners = " ".join("{:.1f},{:.1f}".format(*point(place, ring * highest)) for place in range(len(axes)))
        parts.append(f'<polygon points="{corners}" fill="none" stroke="var(--line)"/>')
        if ring < 1:
            parts.append(_label(middle + 3, centre_y - radius * ring - 3, f"{ring * highest:g}", "start"))
    for place, axis in enumerate(axes):
        x, y = point(place, highest)
        parts.append(f'<path d="M{middle:.1f} {centre_y:.1f}L{x:.1f} {y:.1f}" stroke="var(--line)"/>')
        outer_x, outer_y = point(place, highest)
        dx, dy = (outer_x - middle) / radius, (outer_y - centre_y) / radius
        anchor = "middle" if abs(dx) < 0.2 else "start" if dx > 0 else "end"
        parts.append(_label(outer_x + 10 * dx, outer_y + 14 * dy + 4, axis, anchor))
    for index, values in enumerate(lines.values()):
        colour = f"var(--{series(index)})"
        places = [place for place, value in enumerate(values) if value is not None]
        for place in places:
            following = (place + 1) % len(axes)
            x, y = point(place, values[place] or 0.0)
            if following in places and len(axes) > 1:
                to_x, to_y = point(following, values[following] or 0.0)
                parts.append(f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{colour}" stroke-width="1.8"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>')
    return "".join([*parts, "</svg>"])


def strip(rows: Mapping[str, Mapping[str, float]], labels: Sequence[str], x_label: str, line_at: float | None = None) -> str:
    """A row for each key, on it a dot for each of `labels` that it has, the i-th in the colour `series(i)`; from 0 on.

    `line_at` draws an upright line there.
    """
    left, right, top, step = 96.0, 505.0, 10.0, 21.0
    highest = max((value for row in rows.values() for value in row.values()), default=1.0) * 1.04
    tick = _tick(highest)
    bottom = top + step * len(rows)

    def x_of(value: float) -> float:
        return left + (right - left) * value / highest

    parts = [f'<svg class="drawn" viewBox="0 0 520 {bottom + 40:.0f}" role="img">']
    for number in range(int(highest / tick) + 1):
        x = x_of(number * tick)
        parts.append(f'<path d="M{x:.1f} {top:.0f}V{bottom:.0f}" stroke="var(--line)"/>')
        parts.append(_label(x, bottom + 15, f"{number * tick:g}", "middle"))
    if line_at is not None:
        parts.append(f'<path d="M{x_of(line_at):.1f} {top:.0f}V{bottom:.0f}" stroke="var(--muted)" stroke-dasharray="3 3"/>')
    for place, (name, row) in enumerate(rows.items()):
        y = top + step * (place + 0.5)
        parts.append(_label(left - 8, y + 4, name, "end"))
        for index, label in enumerate(labels):
            if label in row:
                parts.append(f'<circle cx="{x_of(row[label]):.1f}" cy="{y:.1f}" r="4" fill="var(--{series(index)})"/>')
    parts.append(_label((left + right) / 2, bottom + 32, x_label, "middle"))
    return "".join([*parts, "</svg>"])


def heat(columns: Sequence[str], rows: Mapping[str, Sequence[float | None]], x_label: str) -> str:
    """Shares between 0 and 1 as a map: a field for each row and column, the fuller the higher, its per cent written in it."""
    left, top, high = 70.0, 8.0, 30.0
    wide = min(90.0, 440.0 / max(1, len(columns)))
    bottom = top + high * len(rows)
    parts = [f'<svg class="drawn" viewBox="0 0 520 {bottom + 42:.0f}" role="img">']
    for place, (name, values) in enumerate(rows.items()):
        y = top + high * place
        parts.append(_label(left - 8, y + high / 2 + 4, name, "end"))
        for column, value in enumerate(values):
            x = left + wide * column
            if value is None:
                continue
            box = f'x="{x:.1f}" y="{y:.1f}" width="{wide - 2:.1f}" height="{high - 2:.1f}" rx="3"'
            parts.append(f'<rect {box} fill="var(--good)" fill-opacity="{0.06 + 0.6 * value:.3f}"/>')
            parts.append(_label(x + wide / 2, y + high / 2 + 4, f"{100 * value:.0f}", "middle", "ink"))
    for column, name in enumerate(columns):
        parts.append(_label(left + wide * (column + 0.5), bottom + 15, name, "middle"))
    parts.append(_label(left + wide * len(columns) / 2, bottom + 34, x_label, "middle"))
    return "".join([*parts, "</svg>"])


def _label(x: float, y: float, text: str, anchor: str, colour: str = "muted") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--{colour})">{escape(text)}</text>'


def _tick(highest: float) -> float:
    """A round distance of marks: four to nine of them up to `highest`."""
    unit: float = 10.0 ** math.floor(math.log10(highest)) if highest > 0 else 1.0
    return next((unit * part for part in (0.1, 0.2, 0.5, 1.0, 2.0) if highest / (unit * part) <= 9), unit)
