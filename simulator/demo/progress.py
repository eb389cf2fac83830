"""The progress of the demo: counts, the last changes and the time, as a live display or as plain lines.

It reads only the table: it shows what the product has written.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Collection
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from simulator.demo.ledger import FINAL, Row

STYLES = {
    "Requested": "cyan",
    "Waiting": "yellow",
    "Installed": "green",
    "AlreadyInstalled": "green",
    "InModel": "green",
    "Removed": "green",
    "Audited": "blue",
    "Unsupported": "magenta",
    "Undetermined": "yellow",
    "OutOfScope": "blue",
    "Failed": "red",
    "Gone": "bright_black",
}
_LAST = 8
_LINE_EVERY = 2.0
_MARGIN = 4  # lines: the head, the machines that were created, and room below


class Progress(Protocol):
    """Shows the progress of the demo."""

    def say(self, line: str) -> None: ...

    def update(self, created: int, rows: Collection[Row]) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress_for(console: Console, size: int, rows_each: int = 1) -> Progress:
    """A live display on a terminal, lines elsewhere; `rows_each` is the number of rows of each VM."""
    return LiveProgress(console, size, rows_each) if console.is_terminal else LineProgress(console, size)


class LineProgress:
    """Prints a line every few seconds."""

    def __init__(self, console: Console, size: int) -> None:
        self._console = console
        self._size = size
        self._began = time.monotonic()
        self._next = 0.0
        self._last = ""

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)

    def update(self, created: int, rows: Collection[Row]) -> None:
        counts = Counter(row.outcome for row in rows)
        counted = ", ".join(f"{outcome} {counts[outcome]}" for outcome in STYLES if counts[outcome])
        line = f"{created} of {self._size} created{'; ' if counted else ''}{counted}"
        if line != self._last and time.monotonic() >= self._next:
            self._next, self._last = time.monotonic() + _LINE_EVERY, line
            self.say(f"{time.monotonic() - self._began:5.1f} s  {line}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class LiveProgress:
    """One display that is drawn again and again."""

    def __init__(self, console: Console, size: int, rows_each: int = 1) -> None:
        self._console = console
        self._size = size
        self._rows = size * rows_each
        self._began = time.monotonic()
        self._seen: dict[tuple[str, str], str] = {}
        self._changes: deque[Text] = deque(maxlen=_LAST)
        self._created = 0
        self._live = Live(get_renderable=self.picture, console=console, refresh_per_second=10, transient=True)

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False)

    def update(self, created: int, rows: Collection[Row]) -> None:
        self._created = created
        for row in rows:
            key = (row.vm, row.extension)
            if self._seen.get(key) != row.outcome:
                self._changes.append(_change(self._seen.get(key, ""), row))
                self._seen[key] = row.outcome

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def picture(self) -> Group:
        """What is drawn now."""
        counts = Counter(self._seen.values())
        bars = Table.grid(padding=(0, 2))
        bars.add_row("created", str(self._created), ProgressBar(self._size, self._created, width=40))
        for outcome, style in STYLES.items():
            if not counts[outcome]:
                continue
            bar = ProgressBar(self._rows, counts[outcome], width=40, complete_style=style, finished_style=style)
            bars.add_row(Text(outcome, style), str(counts[outcome]), bar)
        done = sum(counts[outcome] for outcome in FINAL)
        head = f"{time.monotonic() - self._began:.1f} s   {done} of {self._rows} rows have their final outcome"
        return Group(Text(head, "bold"), bars, *self._newest(self._console.height - len(counts) - _MARGIN))

    def _newest(self, lines: int) -> list[Text]:
        """The last changes that fit so many lines, each with its whole reason; at least one."""
        shown: list[Text] = []
        for change in reversed(self._changes):
            lines -= -(-change.cell_len // self._console.width)
            if lines < 0 and shown:
                break
            shown.insert(0, change)
        return shown


def _change(before: str, row: Row) -> Text:
    line = Text.assemble((row.text("VmName"), "bold"), "  ")
    if before:
        line.append(f"{before} → ", "bright_black")
    line.append(row.outcome, STYLES.get(row.outcome, ""))
    line.append(f"  {row.text('Reason')}", "bright_black")
    return line
