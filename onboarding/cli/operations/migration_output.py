"""Writes what `onboard migration` found: tables for people, JSON or CSV for programs.

Advice and reasons quote ARM and handlers, so control characters in them are made harmless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from onboarding.application.migration import MachineProgress, Migration, Progress, State, Why
from onboarding.cli.console import open_console, plain_table, printable
from onboarding.cli.machines.row_table import Line, PagedLines, print_lines
from onboarding.cli.output import Form, Records, open_records, write_records

_GROUP = ("from", "to", "subscription", "state", "machines", "policy", "outcome", "reason", "needsPerson", "advice")
_MACHINE = (
    "from",
    "to",
    "resourceId",
    "state",
    "oldOutcome",
    "newOutcome",
    "policy",
    "outcome",
    "reason",
    "why",
    "needsPerson",
    "advice",
    "nextAttemptAt",
)
_HEADINGS = {State.BOTH: "Both", State.OLD: "Only old", State.NEW: "Only new", State.NEITHER: "Neither"}


def write_progress(found: Sequence[tuple[Migration, Progress]], form: Form) -> None:
    """Print how far the machines are: in a table by subscription and by reason, else one record for each number."""
    if form is not Form.TABLE:
        write_records(form, _GROUP, [record for each in found for record in _groups(*each)])
        return
    console = open_console()
    for place, (migration, progress) in enumerate(found):
        if place:
            console.print()
        _print_progress(console, migration, progress)


def _groups(migration: Migration, progress: Progress) -> list[dict[str, Any]]:
    return [
        {
            **_named(migration),
            "subscription": subscription,
            "state": state.value,
            "machines": machines,
            **_reason(why),
        }
        for (subscription, state, why), machines in sorted(progress.counts.items())
    ]


def _named(migration: Migration) -> dict[str, str]:
    return {"from": ",".join(migration.old), "to": migration.policy}


def _reason(why: Why) -> dict[str, Any]:
    return {
        "policy": why.policy,
        "outcome": why.outcome,
        "reason": why.reason,
        "needsPerson": why.needs_person,
        "advice": why.advice,
    }


def _print_progress(console: Console, migration: Migration, progress: Progress) -> None:
    by = f"policy {migration.removal} removes it" if migration.removal else "no policy removes it yet"
    console.print(printable(f"from {', '.join(migration.old)} to policy {migration.policy} ({by})"), soft_wrap=True)
    subscriptions = progress.subscriptions
    if not subscriptions:
        console.print("no machine in the table has a row of the two")
        return
    table = plain_table("Subscription", "Machines", *_HEADINGS.values())
    for column in table.columns[1:]:
        column.justify = "right"
    total = {state: sum(counts.get(state, 0) for counts in subscriptions.values()) for state in State}
    for name, counts in [*subscriptions.items(), *([("all", total)] if len(subscriptions) > 1 else [])]:
        numbers = (sum(counts.values()), *(counts.get(state, 0) for state in _HEADINGS))
        table.add_row(printable(name), *(f"{number:,}" for number in numbers))
    console.print(table)
    if not progress.reasons:
        console.print("\nevery machine has the new agent alone")
        return
    console.print()
    lines = []
    for (state, why), machines in progress.reasons.items():
        cells = [Text(f"{machines:,}"), Text(state.value), printable(why.policy), _outcome(why), _who(why)]
        lines.append(Line(cells, printable(why.advice)))
    print_lines(console, ("Machines", "State", "Policy", "Outcome", "Goes on"), lines)


def _outcome(why: Why) -> Text:
    if not why.outcome:
        return Text("not decided yet" if why.policy else "no policy removes it")
    return printable(f"{why.outcome} ({why.reason})" if why.reason else why.outcome)


def _who(why: Why) -> Text:
    return Text("by a person", "yellow") if why.needs_person else Text("by itself", "green")


class MachineWriter(Protocol):
    """Takes machines one by one."""

    def write(self, migration: Migration, machine: MachineProgress) -> None: ...

    def end(self) -> None: ...


def open_list(form: Form) -> MachineWriter:
    """A writer of machines to standard output."""
    return _MachineTable(open_console()) if form is Form.TABLE else _MachineRecords(open_records(form, _MACHINE))


class _MachineRecords:
    def __init__(self, records: Records) -> None:
        self._records = records

    def write(self, migration: Migration, machine: MachineProgress) -> None:
        row = machine.blocking
        self._records.write(
            {
                **_named(migration),
                "resourceId": str(machine.vm),
                "state": machine.state.value,
                "oldOutcome": machine.old.outcome.value if machine.old else "",
                "newOutcome": machine.new.outcome.value if machine.new else "",
                **_reason(machine.why),
                "why": row.reason if row else "",
                "nextAttemptAt": row.next_attempt_at.isoformat() if row and row.next_attempt_at else "",
            }
        )

    def end(self) -> None:
        self._records.end()


class _MachineTable:
    """One line for each machine, with the sentence of its row."""

    def __init__(self, console: Console) -> None:
        self._lines = PagedLines(console, ("VM", "Policy", "Outcome", "Next (UTC)"))

    def write(self, migration: Migration, machine: MachineProgress) -> None:
        row = machine.blocking
        name = Text.assemble((f"{machine.vm.resource_group}/", "dim"), machine.vm.name)
        after = f"{row.next_attempt_at:%Y-%m-%d %H:%M}" if row and row.next_attempt_at else ""
        reason = printable(" ".join(filter(None, (row.reason, row.advice))) if row else "")
        why = machine.why
        self._lines.add(Line([printable(name.plain), printable(why.policy), _outcome(why), Text(after)], reason))

    def end(self) -> None:
        self._lines.end("no machine in the table is this far")
