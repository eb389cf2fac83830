"""Figures with their bounds, and the tables and charts of bench/results and docs/performance.md."""

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
    """One figure, and its bounds if it has any."""

    name: str
    """`section.what_unit`."""
    value: float
    note: str
    """What was measured, for people."""
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
        """The value with its significant digits; a figure that misses its bound is never shown as equal to it."""
        return f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.3g}"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table with several figures a line, only for the page."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """The results of one section of the bench."""

    name: str
    figures: Sequence[Figure]
    grids: Sequence[Grid] = ()
    charts: Sequence[Chart] = ()


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The date, machine and size of a run."""

    date: str
    machine: str
    size: str

    def __str__(self) -> str:
        return f"{self.date}, {self.machine}, {self.size} run"


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table for the terminal."""
    shown = Table()
    shown.add_column("figure", no_wrap=True)
    shown.add_column("value", justify="right", no_wrap=True)
    shown.add_column("bound", no_wrap=True)
    shown.add_column("")
    shown.add_column("what it is", ratio=1)
    for figure in figures:
        shown.add_row(figure.name, figure.text, figure.bound, figure.sign, figure.note)
    return shown


def verdict(figures: Sequence[Figure]) -> str:
    """One sentence: how many of the bounds are met, and which are not."""
    bounded = [figure for figure in figures if figure.met is not None]
    missed = [figure for figure in bounded if not figure.met]
    if not missed:
        return f"{len(bounded)} of {len(bounded)} bounds are met"
    listed = ", ".join(f"{figure.name} {figure.text} ({figure.bound})" for figure in missed)
    return f"{len(missed)} of {len(bounded)} bounds are not met: {listed}"


def page(text: str, section: Section, run_info: RunInfo) -> str:
    """The page with this section's figures between its markers. Raises ValueError if the page has no such markers."""
    begin, end = f"<!-- begin: {section.name} -->", f"<!-- end: {section.name} -->"
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no place for {section.name!r}: add {begin} and {end}")
    parts = [f"Measured on {run_info}."]
    header = ("figure", "value", "bound", "", "what it is")
    rows = [(f"`{f.name}`", f.text, f.bound, f.sign, f.note) for f in section.figures]
    parts.append(_markdown(header, rows))
    parts += [f"{grid.title}\n\n{_markdown(grid.header, grid.rows)}" for grid in section.grids]
    parts += [f"![{chart.title}](performance/{chart.name}.svg)" for chart in section.charts]
    return f"{head}{begin}\n" + "\n\n".join(parts) + f"\n{end}{tail}"


def merged(stored: Mapping[str, Any], section: Section, run_info: RunInfo) -> dict[str, Any]:
    """The stored results with this section's figures replaced; other sections stay as they were measured."""
    kept = {name: value for name, value in stored.items() if not name.startswith(f"{section.name}.")}
    run_infos = {**kept.pop("measured", {}), section.name: str(run_info)}
    figures = {figure.name: round(figure.value, 4) for figure in section.figures}
    return {"measured": dict(sorted(run_infos.items())), **dict(sorted({**kept, **figures}.items()))}


def write(section: Section, run_info: RunInfo, root: Path) -> None:
    """Write results, page and charts into the project's folder."""
    results, page_file = root / "bench" / "results" / "latest.json", root / "docs" / "performance.md"
    stored = json.loads(results.read_text()) if results.exists() else {}
    results.write_text(json.dumps(merged(stored, section, run_info), indent=2) + "\n")
    page_file.write_text(page(page_file.read_text(), section, run_info))
    for chart in section.charts:
        chart.write(root / "docs" / "performance")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
