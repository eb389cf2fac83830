"""What every section of the bench is given."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console


@dataclass(frozen=True, slots=True)
class Run:
    """How large to measure, and where to tell of progress."""

    quick: bool
    console: Console

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
