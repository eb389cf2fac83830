"""What was measured: figures with their bounds, and all that goes beside them into results and docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.charts import Chart


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, named `section.what_unit`, and the bound that it is held to, if there is one."""

    name: str
    value: float
    beside: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )

    @property
    def sign(self) -> str:
        return {None: "", True: "✓", False: "✗"}[self.met]

    @property
    def bound(self) -> str:
        if self.at_least is not None and self.at_least == self.at_most:
            return f"= {self.at_least:g}"
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return ", ".join(f"{sign} {value:g}" for sign, value in bounds if value is not None)

    @property
    def text(self) -> str:
        """The value with as many digits as mean something; a figure below its bound never reads as on it."""
        return f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.3g}"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of more than one figure a line, for the page alone."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """What one part of the bench found."""

    name: str
    figures: Sequence[Figure]
    grids: Sequence[Grid] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, slots=True)
class Occasion:
    """When, on what and how large a run was."""

    date: str
    machine: str
    size: str

    def __str__(self) -> str:
        return f"{self.date}, {self.machine}, {self.size} run"


def table(figures: Sequence[Figure]) -> Table:
    """For the terminal."""
    shown = Table()
    shown.add_column("figure", no_wrap=True)
    shown.add_column("value", justify="right", no_wrap=True)
    shown.add_column("bound", no_wrap=True)
    shown.add_column("")
    shown.add_column("beside", ratio=1)
    for figure in figures:
        shown.add_row(figure.name, figure.text, figure.bound, figure.sign, figure.beside)
    return shown


def verdict(figures: Sequence[Figure]) -> str:
    """How many of the bounds are met, and which are not."""
    bounded = [figure for figure in figures if figure.met is not None]
    missed = [figure for figure in bounded if not figure.met]
    if not missed:
        return f"{len(bounded)} of {len(bounded)} bounds are met"
    told = ", ".join(f"{figure.name} {figure.text} ({figure.bound})" for figure in missed)
    return f"{len(missed)} of {len(bounded)} bounds are not met: {told}"


def page(text: str, section: Section, occasion: Occasion) -> str:
    """The page with this section's figures between its marks. Raises ValueError where the page has no such marks."""
    begin, end = f"<!-- begin: {section.name} -->", f"<!-- end: {section.name} -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no place for {section.name!r}: add {begin} and {end}")
    parts = [f"Measured on {occasion}."]
    header = ("figure", "value", "bound", "", "beside")
    rows = [(f"`{f.name}`", f.text, f.bound, f.sign, f.beside) for f in section.figures]
    parts.append(_markdown(header, rows))
    parts += [f"{grid.title}\n\n{_markdown(grid.header, grid.rows)}" for grid in section.grids]
    parts += [f"![{chart.title}](performance/{chart.name}.svg)" for chart in section.charts]
    return f"{head}{begin}\n" + "\n\n".join(parts) + f"\n{end}{tail}"


def merged(stored: Mapping[str, Any], section: Section, occasion: Occasion) -> dict[str, Any]:
    """The results with this section's in place of those it had; other sections stay as they were measured."""
    kept = {name: value for name, value in stored.items() if not name.startswith(f"{section.name}.")}
    occasions = {**kept.pop("measured", {}), section.name: str(occasion)}
    figures = {figure.name: round(figure.value, 4) for figure in section.figures}
    return {"measured": dict(sorted(occasions.items())), **dict(sorted({**kept, **figures}.items()))}


def write(section: Section, occasion: Occasion, root: Path) -> None:
    """Results, page and charts on disk, under the project's folder."""
    results, told = root / "bench" / "results" / "latest.json", root / "docs" / "performance.md"
    stored = json.loads(results.read_text()) if results.exists() else {}
    results.write_text(json.dumps(merged(stored, section, occasion), indent=2) + "\n")
    told.write_text(page(told.read_text(), section, occasion))
    for chart in section.charts:
        chart.write(root / "docs" / "performance")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
