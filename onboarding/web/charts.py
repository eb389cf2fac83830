"""Charts as SVG: a browser needs no script for them. The content policy of the page allows no inline style either."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from html import escape

_SIZES = {"wide": (1160, 240), "narrow": (360, 190)}
"""Of the chart for each width of a screen: letters keep their size. The stylesheet shows one of them."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 12, 26
_BAR_WIDTH, _BAR_HEIGHT = 120, 10
_FEW = 8  # points that get a dot each


def trend(points: Sequence[tuple[date, float]], title: str) -> str:
    """A line of percentages by day, from 0 to 100, with the days to scale. `points` has two days at least."""
    return "".join(_trend(points, title, name, *size) for name, size in _SIZES.items())


def _trend(points: Sequence[tuple[date, float]], title: str, name: str, width: int, height: int) -> str:
    first, last = points[0][0], points[-1][0]
    days = max(1, (last - first).days)

    def x(day: date) -> float:
        return _LEFT + (width - _LEFT - _RIGHT) * (day - first).days / days

    def y(percent: float) -> float:
        return _TOP + (height - _TOP - _BOTTOM) * (1 - percent / 100)

    parts = [f'<svg class="trend {name}" role="img" viewBox="0 0 {width} {height}"><title>{escape(title)}</title>']
    for percent in (0.0, 25.0, 50.0, 75.0, 100.0):
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y(percent):.1f}" y2="{y(percent):.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{y(percent) + 4:.1f}" text-anchor="end">{percent:.0f} %</text>')
    line = " ".join(f"{x(day):.1f},{y(percent):.1f}" for day, percent in points)
    base = f"{x(last):.1f},{y(0):.1f} {x(first):.1f},{y(0):.1f}"
    parts.append(f'<polygon class="area" points="{line} {base}"/><polyline class="line" points="{line}"/>')
    for day, percent in points if len(points) <= _FEW else points[-1:]:
        parts.append(f'<circle class="dot" cx="{x(day):.1f}" cy="{y(percent):.1f}" r="4"/>')
    ends = (first, "start"), (last, "end")
    for day, anchor in ends:
        parts.append(f'<text x="{x(day):.1f}" y="{height - 8}" text-anchor="{anchor}">{day:%d %b %Y}</text>')
    return "".join([*parts, "</svg>"])


def bar(percent: float | None) -> str:
    """A bar for a percentage that stands in words beside it, so that readers of the screen skip it."""
    if percent is None:
        return ""
    filled = _BAR_WIDTH * max(0.0, min(100.0, percent)) / 100
    shape = f'height="{_BAR_HEIGHT}" rx="2"'
    return (
        f'<svg class="bar" aria-hidden="true" preserveAspectRatio="none" viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}"'
        f' width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}"><rect class="rest" width="{_BAR_WIDTH}" {shape}/>'
        f'<rect class="filled" width="{filled:.1f}" {shape}/></svg>'
    )
