"""Writes the rows of `onboard status`: tables for people, JSON or CSV for programs.

Texts in the table come from images, extension handlers and
ARM, so control characters in them are made harmless.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

from rich.console import Console
from rich.text import Text

from onboarding.application.row_queries import CountedRows
from onboarding.cli.machines.row_table import Line, print_lines
from onboarding.cli.output import Form, open_records, write_records
from onboarding.domain.json_access import printable
from onboarding.domain.reconcile.row import COLUMNS, Outcome, Row
from onboarding.domain.reconcile.update import from_column
from onboarding.domain.resource_id import VmId, parse_id

_WIDTH = 120
_SHORT = 12  # characters of a subscription that is shown whole
_PAGE = 500  # rows below one line of headings
_STYLES = {
    Outcome.REQUESTED: "cyan",
    Outcome.WAITING: "yellow",
    Outcome.INSTALLED: "green",
    Outcome.ALREADY_INSTALLED: "green",
    Outcome.REMOVED: "green",
    Outcome.UNSUPPORTED: "magenta",
    Outcome.UNDETERMINED: "magenta",
    Outcome.OUT_OF_SCOPE: "dim",
    Outcome.AUDITED: "blue",
    Outcome.FAILED: "bold red",
    Outcome.GONE: "dim",
}


class RowWriter(Protocol):
    """Takes rows one by one."""

    def write(self, row: Row) -> None: ...

    def end(self) -> None: ...


def open_writer(form: Form, *, history: bool) -> RowWriter:
    """A writer to standard output."""
    if form is not Form.TABLE:
        return RowRecords(form)
    return HistoryWriter(_console()) if history else RowTableWriter(_console())


class RowRecords:
    """All columns of the table, row by row, so that their number does not matter; in JSON, empty columns are left
    out."""

    def __init__(self, form: Form) -> None:
        self._records = open_records(form, COLUMNS, encode=lambda record: json.dumps(record, default=_as_json))

    def write(self, row: Row) -> None:
        self._records.write(row.to_properties())

    def end(self) -> None:
        self._records.end()


class RowTableWriter:
    """One line for each row, with the advice below its reason, and a summary at the end. Rows are printed in pages
    while they are read, so that memory holds one page only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._counts: Counter[Outcome] = Counter()
        self._page: list[Row] = []

    def write(self, row: Row) -> None:
        if len(self._page) == _PAGE:
            _print_page(self._console, self._page)
            self._page = []
        self._counts[row.outcome] += 1
        self._page.append(row)

    def end(self) -> None:
        if not self._counts:
            self._console.print("nothing in the table matches")
            return
        _print_page(self._console, self._page)
        self._console.print()
        self._console.print(_summary(self._counts), soft_wrap=True)


def _print_page(console: Console, rows: list[Row]) -> None:
    """The rows; their subscription and their extension have a column where there are several."""
    subscriptions = _shortened({_subscription(row) for row in rows})
    extensions = {row.extension for row in rows}
    optional = [name for name, found in (("Subscription", subscriptions), ("Extension", extensions)) if len(found) > 1]
    lines = []
    for row in rows:
        cells = [Text.assemble((f"{printable(row.resource_group)}/", "dim"), _text(row.vm_name))]
        if len(subscriptions) > 1:
            cells.append(_text(subscriptions[_subscription(row)]))
        if len(extensions) > 1:
            cells.append(_text(row.extension))
        system = _text(" ".join(filter(None, (row.distribution, row.os_version))) or "–")
        duration = Text("" if row.duration_ms is None else f"{row.duration_ms:,}")
        lines.append(Line([*cells, system, _painted(row.outcome), _when(row), duration], _reason(row)))
    print_lines(console, ("VM", *optional, "OS", "Outcome", "Next/end (UTC)", "ms"), lines, after=2)


def _subscription(row: Row) -> str:
    vm = parse_id(row.resource_id)
    return vm.subscription.lower() if isinstance(vm, VmId) else ""


def _shortened(subscriptions: set[str]) -> dict[str, str]:
    """Each subscription by its beginning, or its end, if that tells them apart; else as it is."""
    long = {each for each in subscriptions if len(each) > _SHORT}
    whole = {each: each for each in subscriptions}
    for short in ({each: f"{each[:8]}…" for each in long}, {each: f"…{each[-8:]}" for each in long}):
        texts = whole | short
        if len(set(texts.values())) == len(subscriptions):
            return texts
    return whole


def write_totals(counted: CountedRows, form: Form, now: datetime) -> None:
    """Print the number of rows of each outcome, how many of them are only audited since their machine is older than
    which policy, and how old the numbers are."""
    totals, as_of, existing = counted.outcomes, counted.as_of, counted.existing_machines
    if form is Form.CSV:
        rows = [{"outcome": outcome.value, "rows": totals[outcome]} for outcome in Outcome if totals.get(outcome)]
        write_records(form, ("outcome", "rows"), rows)
    elif form is not Form.TABLE:
        outcomes = {outcome.value: totals[outcome] for outcome in Outcome if totals.get(outcome)}
        time = {"asOf": as_of.isoformat(timespec="seconds")} if as_of else {}
        older = {"existingMachines": sum(existing.values()), "toTakeUp": existing} if existing else {}
        print(json.dumps({"rows": sum(outcomes.values()), "outcomes": outcomes, **older, **time}))
    else:
        _console().print(_summary(totals) if totals else "nothing in the table matches", soft_wrap=True)
        for policy, number in existing.items():
            text = f"{number:,} of them only Audited since the machine is older than policy {policy} (existing-machine)"
            print(printable(f"{text}; `onboard enforce {policy}` takes them up, with --dry-run it lists them"))
    if as_of and form in (Form.CSV, Form.TABLE):
        minutes = max(0, (now - as_of) // timedelta(minutes=1))
        to = sys.stdout if form is Form.TABLE else sys.stderr
        print(f"as the sweep counted them {minutes:,} min ago; --exact counts them now", file=to)


class HistoryWriter:
    """The history of one VM, one entry on each line: time, time since the first entry, event, outcome and reason."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: list[Row] = []

    def write(self, row: Row) -> None:
        self._rows.append(row)

    def end(self) -> None:
        if not self._rows:
            self._console.print("nothing in the history matches")
            return
        several = len({row.extension for row in self._rows}) > 1
        lines = []
        start = self._rows[0].event_time
        for row in self._rows:
            time = f"{row.event_time:%Y-%m-%d %H:%M:%S}" if row.event_time else "–"
            after = _span(row.event_time - start) if row.event_time and start else ""
            extension = [_text(row.extension)] if several else []
            cells = [Text(time), Text(after), Text(_event(row)), *extension, _painted(row.outcome)]
            lines.append(Line(cells, _reason(row)))
        self._console.print(_text(self._rows[0].resource_id), soft_wrap=True)
        headings = ("Time (UTC)", "After", "Event", *(["Extension"] if several else []), "Outcome")
        print_lines(self._console, headings, lines)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)


def _summary(counts: Mapping[Outcome, int]) -> Text:
    each = [Text.assemble(f"{counts[o]:,} ", _painted(o)) for o in Outcome if counts.get(o)]
    total = sum(counts.values())
    return Text.assemble(f"{total:,} row{'s' if total > 1 else ''}: ", Text(", ").join(each))


def _reason(row: Row) -> Text:
    waiting = f" ({row.waiting_for})" if row.waiting_for else ""
    advice = f"\n{printable(row.advice, lines=True)}" if row.advice else ""
    changed = f" (update: {printable(str(from_column(row.update)))})" if row.update else ""
    return Text.assemble(_text(row.reason), (waiting, "dim"), (changed, "dim"), (advice, "dim"))


def _event(row: Row) -> str:
    """The kind of the event, or the beginning of its id; the JSON output has the whole id."""
    if row.event_id.startswith("request."):
        return "by hand"
    return "scheduled check" if row.event_id.startswith("look.") else f"event {printable(row.event_id[:8])}"


def _span(length: timedelta) -> str:
    days, seconds = divmod(int(length.total_seconds()), 86_400)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"+{days}d {clock}" if days else f"+{clock}"


def _when(row: Row) -> Text:
    if not row.outcome.final and row.next_attempt_at:
        return Text(f"next {row.next_attempt_at:%m-%d %H:%M}", "yellow", no_wrap=True)
    return Text(f"{row.finished_at:%Y-%m-%d %H:%M}" if row.finished_at else "–", no_wrap=True)


def _painted(outcome: Outcome) -> Text:
    return Text(outcome.value, _STYLES[outcome], no_wrap=True)


def _text(value: str) -> Text:
    return Text(printable(value, lines=True))


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no column's type")
