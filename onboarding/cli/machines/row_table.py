"""Tables that end with a reason, which is never cut: it has a column of its own where the width leaves room for that,
else it is written below its line. So a table fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_LEAST_REASON = 30  # columns; with less, the reason goes below its line
_LEAST_COLUMN = 8
_GAP = 2
_INDENT = 4
_PAGE = 500  # lines below one line of headings


class Line(Struct, frozen=True):
    """One line of the table: its cells, and what is written last or below."""

    cells: Sequence[Text]
    reason: Text


class PagedLines:
    """Prints lines in pages while they come, so that memory holds one page only."""

    def __init__(self, console: Console, headings: Sequence[str], *, least: int = 0) -> None:
        """`least` as in `print_lines`; 0: its default."""
        self._console = console
        self._headings = headings
        self._least = least or _LEAST_REASON
        self._page: list[Line] = []
        self._any = False

    def add(self, line: Line) -> None:
        self._any = True
        self._page.append(line)
        if len(self._page) == _PAGE:
            self._print()

    def end(self, otherwise: str = "") -> None:
        """Print the last page; `otherwise` where there was no line at all."""
        if self._page:
            self._print()
        elif not self._any and otherwise:
            self._console.print(otherwise)

    def _print(self) -> None:
        print_lines(self._console, self._headings, self._page, least=self._least)
        self._page = []


def print_lines(
    console: Console, headings: Sequence[str], lines: Sequence[Line], *, after: int = 0, least: int = _LEAST_REASON
) -> None:
    """Print the lines below their headings. Where there is room for `least` columns, the reason comes before the last
    `after` columns."""
    rows = [[Text(name, "bold") for name in headings], *(line.cells for line in lines)]
    natural = [max(text.cell_len for row in rows for text in row[at].split()) for at in range(len(headings))]
    if console.width - sum(natural) - _GAP * len(natural) >= least:
        _print_with_column(console, headings, lines, len(headings) - after)
        return
    above = _cells_above(natural, console.width)  # these have a line of their own, and the others follow below it
    indent = _INDENT if above else 0
    widths = list(_fitting(natural[above:], [row[above:] for row in rows], console.width - indent))
    for row, reason in zip(rows, [Text(), *(line.reason for line in lines)], strict=True):
        if above:
            console.print(_row(row[:above], natural[:above]) if above > 1 else row[0])
        console.print(Padding(_row(row[above:], widths), (0, 0, 0, indent)))
        if reason:
            console.print(Padding(reason, (0, 0, 0, _INDENT)))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _cells_above(natural: Sequence[int], width: int) -> int:
    """How many cells go to the first of two lines: none if one line has room for all; else as few as leave the others
    room to be whole; one if none do."""
    if _total(natural) <= width:
        return 0
    return next(
        (
            above
            for above in range(1, len(natural))
            if _total(natural[:above]) <= width and _total(natural[above:]) <= width - _INDENT
        ),
        1,
    )


def _print_with_column(console: Console, headings: Sequence[str], lines: Sequence[Line], at: int) -> None:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
    for name in (*headings[:at], "Reason", *headings[at:]):
        numbers = name == "ms"
        table.add_column(
            name, overflow="fold", justify="right" if numbers else "left", ratio=1 if name == "Reason" else None
        )
    for line in lines:
        table.add_row(*line.cells[:at], line.reason, *line.cells[at:])
    console.print(table)


def _row(cells: Sequence[Text], widths: Sequence[int]) -> Table:
    row = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=False)
    for width in widths:
        row.add_column(width=width, overflow="fold")
    row.add_row(*cells)
    return row


def _fitting(natural: Sequence[int], rows: Sequence[Sequence[Text]], width: int) -> Iterator[int]:
    """The widths of columns that fit. The widest gives way first: at first between words, then within words that
    may be broken, at last within all."""
    widths = list(natural)
    room = width - _GAP * (len(widths) - 1)
    columns = [[row[at] for row in rows] for at in range(len(widths))]
    words = [_longest_word(cells) for cells in columns]
    parts = [_longest_word(cells) if any(cell.no_wrap for cell in cells) else _LEAST_COLUMN for cells in columns]
    for least in (words, parts, [_LEAST_COLUMN] * len(widths)):
        while sum(widths) > room:
            can = [at for at in range(len(widths)) if widths[at] > least[at]]
            if not can:
                break
            widths[max(can, key=widths.__getitem__)] -= 1
    yield from widths


def _longest_word(cells: Iterable[Text]) -> int:
    words = (word for cell in cells for word in ([cell] if cell.no_wrap else cell.split(" ")))
    return max(word.cell_len for word in words)
