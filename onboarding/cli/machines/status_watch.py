"""`onboard status --watch`: reads the rows again and again, and draws them over those before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import replace
from datetime import UTC, datetime
from typing import Never

from rich.console import Console

from onboarding.application.ports import LedgerReader
from onboarding.application.row_queries import RowQuery, matching_rows
from onboarding.cli.console import open_console
from onboarding.cli.machines.status_output import RowTableWriter

_OTHER_LINES = 6  # headings, summary and the line above


async def watch(
    ledger: LedgerReader,
    query: RowQuery,
    wait: Callable[[], Awaitable[object]],
    head: Callable[[], Awaitable[Sequence[str]]],
    console: Console | None = None,
) -> Never:
    """Draw the rows below the lines of `head` after each wait, until the person interrupts it. Raises StorageError."""
    console = console or open_console()
    while True:
        shown = query if query.limit else replace(query, limit=max(console.height - _OTHER_LINES, 1))
        rows = [row async for row in matching_rows(ledger, shown)]  # read before the screen is cleared
        lines = await head()
        console.clear()
        console.print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC; Ctrl-C ends this", style="dim")
        for line in lines:
            console.print(line, markup=False)
        writer = RowTableWriter(console)
        for row in rows:
            writer.write(row)
        writer.end()
        await wait()
