"""The report of a storm: figures, the invariant part by part, and the history of every VM that violates it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from simulator.demo.ledger import Row
from simulator.storm.gaps import SortedGaps
from simulator.storm.invariant import Finding, Handled, Violation

_MOST_SHOWN = 20
_SHOWN = (
    "EventTime",
    "EventId",
    "Extension",
    "Outcome",
    "WaitingFor",
    "Attempt",
    "NextAttemptAt",
    "ErrorCode",
    "Reason",
)

# The figures that the table of several storms shows, and their titles there.
_COLUMNS = {
    "VMs": "VMs",
    "policies": "policies",
    "events": "events",
    "delivered twice": "twice",
    "lost": "lost",
    "hosts killed": "kills",
    "sweeps": "sweeps",
    "ARM calls": "ARM calls",
    "throttled (429)": "429",
    "seconds": "seconds",
}


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a storm; `figures` are shown in this order, `histories` has the lines of VMs with violations."""

    figures: Mapping[str, int | float]
    faults: Mapping[str, int]
    outcomes: Mapping[str, int]
    silent: Mapping[str, int]
    """How many installed agents send nothing, by reason."""
    gaps: SortedGaps
    """The times in which no agent of a VM sent."""
    handled: Mapping[str, Handled]
    """The work of each version, by the version's name."""
    findings: Sequence[Finding]
    histories: Mapping[str, Sequence[Row]]
    operations: Sequence[str] = ()
    """The operations of role definitions that the product needed."""

    @property
    def ok(self) -> bool:
        return all(finding.ok for finding in self.findings)

    @property
    def violations(self) -> int:
        return sum(len(finding.violations) for finding in self.findings)

    def shares(self) -> list[str]:
        """What each version did, in a line for each; nothing if there was one version."""
        return [f"{name}: {work}" for name, work in self.handled.items()] if len(self.handled) > 1 else []

    def limits(self) -> list[str]:
        """What no row can say, in a line for each; nothing if every agent sends its data."""
        silent, unseen = sum(self.silent.values()), sum(self.gaps.unseen.values())
        lines = []
        if silent:
            what = "agents are installed, with all that ARM can prove, and send nothing"
            lines.append(f"Known limit: {silent} {what} ({_counts(self.silent)})")
        if unseen:
            what = "old agents were removed with proof: arm, where the new one could not send"
            lines.append(f"Known limit: {unseen} {what} ({_counts(self.gaps.unseen)})")
        if self.gaps.undone:
            lines.append(f"{self.gaps.undone} new agents were stopped by others between their proof and our removal")
        if self.gaps.by_others:
            lines.append(f"Others left VMs without an agent that sends ({_counts(self.gaps.by_others)})")
        return lines

    def as_text(self, console: Console) -> str:
        """The report as this console shows it."""
        shares, verdicts = map(Text, (*self.limits(), *self.shares())), map(self.verdict, self.findings)
        with console.capture() as capture:
            console.print(Group(self._counters(), *shares, *verdicts), highlight=False)
        return capture.get()

    def as_json(self) -> str:
        return json.dumps(self.as_value(), ensure_ascii=False)

    def as_value(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "figures": dict(self.figures),
            "faults": dict(self.faults),
            "outcomes": dict(self.outcomes),
            "silent": dict(self.silent),
            "gaps": asdict(self.gaps),
            "handled": {name: asdict(work) for name, work in self.handled.items()},
            "invariant": [
                {"name": f.name, "ok": f.ok, "violations": [{"vm": v.vm, "says": v.says} for v in f.violations]}
                for f in self.findings
            ],
            "operations": list(self.operations),
            "histories": {vm: [line.as_json() for line in lines] for vm, lines in self.histories.items()},
        }

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

    def verdict(self, finding: Finding) -> Text:
        line = Text.assemble(("✓ ", "green") if finding.ok else ("✗ ", "bold red"), finding.name)
        by_vm: dict[str, list[Violation]] = {}
        for violation in finding.violations[:_MOST_SHOWN]:
            by_vm.setdefault(violation.vm, []).append(violation)
        for vm, violations in by_vm.items():
            for violation in violations:
                line.append(f"\n    {violation.says}", "red")
            for entry in self.histories.get(vm, ()):
                line.append(f"\n      {_history(entry)}", "bright_black")
        if len(finding.violations) > _MOST_SHOWN:
            line.append(f"\n    and {len(finding.violations) - _MOST_SHOWN} more", "red")
        return line


@dataclass(frozen=True, slots=True)
class Reports:
    """Several storms by their seeds: one table, then the violations with histories."""

    runs: Mapping[int, Report]

    @property
    def ok(self) -> bool:
        return all(report.ok for report in self.runs.values())

    def as_text(self, console: Console) -> str:
        """The report as this console shows it."""
        with console.capture() as capture:
            console.print(Group(self._table(), *self._shares(), *self._verdicts()), highlight=False)
        return capture.get()

    def as_json(self) -> str:
        runs = [{"seed": seed, **report.as_value()} for seed, report in self.runs.items()]
        return json.dumps({"ok": self.ok, "runs": runs}, ensure_ascii=False)

    def _table(self) -> Table:
        table = Table(box=box.ROUNDED, header_style="bold")
        table.add_column("")
        for title in ("seed", *_COLUMNS, "violations"):
            table.add_column(_COLUMNS.get(title, title), justify="right", no_wrap=True)
        for seed, report in self.runs.items():
            verdict = Text("✓", "green") if report.ok else Text("✗", "bold red")
            figures = (_number(report.figures[name]) for name in _COLUMNS)
            table.add_row(verdict, str(seed), *figures, str(report.violations))
        return table

    def _shares(self) -> Iterator[Text]:
        for seed, report in self.runs.items():
            yield from (Text(f"seed {seed}, {line}") for line in (*report.limits(), *report.shares()))

    def _verdicts(self) -> Iterator[Text]:
        """The violations, storm by storm; one line if there are none."""
        if self.ok:
            yield Text.assemble(("✓ ", "green"), "the invariant holds in every storm")
        for seed, report in self.runs.items():
            if not report.ok:
                yield Text(f"seed {seed}", "bold")
                yield from (report.verdict(finding) for finding in report.findings if not finding.ok)


def _history(row: Row) -> str:
    return "  ".join(text for name in _SHOWN if (text := row.text(name)))


def _counts(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{count}: {what}" for what, count in counts.items())


def _number(count: object) -> str:
    return f"{count:.1f}" if isinstance(count, float) else str(count)
