"""The end of a storm: figures, the invariant part by part, and the history of every VM for which it does not hold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from simulator.demo.ledger import Row
from simulator.storm.invariant import Finding

_MOST_SHOWN = 20
_SHOWN = ("EventTime", "EventId", "Outcome", "WaitingFor", "Attempt", "NextAttemptAt", "ErrorCode", "Reason")


@dataclass(frozen=True, slots=True)
class Report:
    """`figures` are shown in their order; `histories` hold the lines of the VMs that violations are about."""

    figures: Mapping[str, int | float]
    faults: Mapping[str, int]
    outcomes: Mapping[str, int]
    findings: Sequence[Finding]
    histories: Mapping[str, Sequence[Row]]

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    def as_text(self, console: Console) -> str:
        """As a terminal of that kind shows it."""
        with console.capture() as capture:
            console.print(Group(self._counters(), *map(self._verdict, self.findings)), highlight=False)
        return capture.get()

    def as_json(self) -> str:
        value: dict[str, Any] = {
            "ok": self.ok,
            "figures": dict(self.figures),
            "faults": dict(self.faults),
            "outcomes": dict(self.outcomes),
            "invariant": [
                {"name": f.name, "ok": f.ok, "violations": [{"vm": v.vm, "says": v.says} for v in f.violations]}
                for f in self.findings
            ],
            "histories": {vm: [line.as_json() for line in lines] for vm, lines in self.histories.items()},
        }
        return json.dumps(value, ensure_ascii=False)

    def _counters(self) -> Table:
        table = Table(box=box.ROUNDED, header_style="bold")
        for title in ("What happened", "Faults of ARM", "Rows"):
            table.add_column(title)
            table.add_column("", justify="right")
        columns = [list(figures.items()) for figures in (self.figures, self.faults, self.outcomes)]
        for number in range(max(map(len, columns))):
            cells = [column[number] if number < len(column) else ("", "") for column in columns]
            table.add_row(*(text for name, count in cells for text in (name, _number(count))))
        return table

    def _verdict(self, finding: Finding) -> Text:
        line = Text.assemble(("✓ ", "green") if finding.ok else ("✗ ", "bold red"), finding.name)
        for violation in finding.violations[:_MOST_SHOWN]:
            line.append(f"\n    {violation.says}", "red")
            for entry in self.histories.get(violation.vm, ()):
                line.append(f"\n      {_history(entry)}", "bright_black")
        if len(finding.violations) > _MOST_SHOWN:
            line.append(f"\n    and {len(finding.violations) - _MOST_SHOWN} more", "red")
        return line


def _history(row: Row) -> str:
    return "  ".join(text for name in _SHOWN if (text := row.text(name)))


def _number(count: object) -> str:
    return f"{count:.1f}" if isinstance(count, float) else str(count)
