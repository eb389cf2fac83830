"""What was measured, for the terminal and for docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass

from rich.table import Table

_BEGIN, _END = "<!-- begin: figures -->", "<!-- end: figures -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure; `at_least` is the bound that it is held to, if it has one."""

    name: str
    value: float
    beside: str
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def sign(self) -> str:
        return {None: "", True: "✓", False: "✗"}[self.met]

    @property
    def bound(self) -> str:
        return "" if self.at_least is None else f"≥ {self.at_least:g}"


def table(figures: list[Figure]) -> Table:
    shown = Table("figure", "value", "bound", "", "beside")
    for figure in figures:
        shown.add_row(figure.name, f"{figure.value:.2f}", figure.bound, figure.sign, figure.beside)
    return shown


def page(text: str, figures: list[Figure], where: str) -> str:
    """The page with these figures between its marks."""
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    lines = [f"Measured on {where}.", "", "| figure | value | bound | | beside |", "|---|---|---|---|---|"]
    lines += [f"| `{f.name}` | {f.value:.2f} | {f.bound} | {f.sign} | {f.beside} |" for f in figures]
    return f"{head}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}{tail}"
