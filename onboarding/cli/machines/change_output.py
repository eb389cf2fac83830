"""Writes the changes of `onboard changes`: a table for people, JSON or CSV for programs.

Texts come from policies, ARM and its ids, so control characters in them are made harmless."""

from __future__ import annotations

from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from onboarding.cli.console import open_console, printable
from onboarding.cli.machines.row_table import Line, PagedLines
from onboarding.cli.output import Form, Records, open_records
from onboarding.domain.reconcile.change import Answer, Change
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId, name_in, parse_id

_ID_WIDTH = 50  # columns: an id that is broken in two cannot be copied
_HASH = 8  # characters of a policy's hash in the table
COLUMNS = (
    "time",
    "resourceId",
    "extension",
    "step",
    "subject",
    "attempt",
    "policy",
    "policyHash",
    "reason",
    "answer",
    "errorCode",
    "message",
    "result",
    "resultCode",
    "requestId",
    "correlationId",
    "eventId",
    "by",
)


class ChangeWriter(Protocol):
    """Takes changes one by one."""

    def write(self, change: Change) -> None: ...

    def end(self) -> None: ...


def open_writer(form: Form) -> ChangeWriter:
    """A writer to standard output."""
    return ChangeTable(open_console()) if form is Form.TABLE else ChangeRecords(open_records(form, COLUMNS))


class ChangeRecords:
    """Every change as a record; what is unknown is an empty text."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def write(self, change: Change) -> None:
        self._records.write(as_record(change))

    def end(self) -> None:
        self._records.end()


def as_record(change: Change) -> dict[str, Any]:
    """A change for programs."""
    return {
        "time": change.sent_at.isoformat(timespec="milliseconds"),
        "resourceId": change.resource_id,
        "extension": change.extension,
        "step": change.step,
        "subject": change.subject,
        "attempt": change.attempt or None,
        "policy": change.policy,
        "policyHash": change.policy_hash,
        "reason": change.reason,
        "answer": change.answer.value,
        "errorCode": change.error_code,
        "message": change.message,
        "result": change.result,
        "resultCode": change.result_code,
        "requestId": change.client_request_id,
        "correlationId": change.correlation_id,
        "eventId": change.event_id,
        "by": change.by,
    }


class ChangeTable:
    """One line for each change, and below it why, by which policy, and the ids by which Azure's logs name it. Changes
    are printed in pages while they are read."""

    def __init__(self, console: Console) -> None:
        self._lines = PagedLines(console, ("Time (UTC)", "VM", "Step", "Answer"), least=_ID_WIDTH)

    def write(self, change: Change) -> None:
        self._lines.add(Line(_cells(change), _reason(change)))

    def end(self) -> None:
        self._lines.end("no changes match")


def _cells(change: Change) -> list[Text]:
    vm = parse_id(change.resource_id)
    name = f"{vm.resource_group}/{vm.name}" if isinstance(vm, VmId) else change.resource_id
    time = Text(f"{change.sent_at:%Y-%m-%d %H:%M:%S}", no_wrap=True)
    return [time, printable(name), printable(change.step), printable(_answer(change), _style(change))]


def _answer(change: Change) -> str:
    """The answer and what it came to: `accepted: Installed`, `refused (Conflict)`."""
    code = f" ({change.error_code})" if change.error_code else ""
    result = f": {change.result}" if change.result else ""
    failed = f" ({change.result_code})" if change.result_code else ""
    return f"{change.answer}{code}{result}{failed}"


def _style(change: Change) -> str:
    if change.answer is Answer.REFUSED or change.result == Outcome.FAILED:
        return "red"
    return "green" if change.result else "yellow"


def _reason(change: Change) -> Text:
    subject = " ".join(name_in(each) for each in change.subject.split())
    attempt = f", attempt {change.attempt}" if change.attempt > 1 else ""
    lines = [f"{subject}{attempt}: {change.reason}"]
    lines += [change.message] if change.message else []
    lines += [f"policy {change.policy} ({change.policy_hash[:_HASH]})", f"request {change.client_request_id}"]
    lines += [f"correlation {change.correlation_id}"] if change.correlation_id else []
    lines += [f"asked for by {change.by}"] if change.by else []
    return printable("\n".join(lines))
