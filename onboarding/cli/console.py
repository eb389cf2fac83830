"""Output for people: as wide as the terminal, or 120 columns where the output is not a terminal.

Texts come from images, extension handlers and ARM, so control characters in them are made harmless."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from onboarding.domain import json_access as foreign

_WIDTH = 120


def open_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def plain_table(*columns: str) -> Table:
    """A table without lines; each column is as wide as its content needs."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def printable(text: str, style: str = "") -> Text:
    return Text(foreign.printable(text, lines=True), style)
