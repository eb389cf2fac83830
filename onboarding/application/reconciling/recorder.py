"""Writing down what a pass over a machine came to: the checks first, then all of its rows with their lines of history
in one transaction, then the outcome events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from copy import replace
from datetime import timedelta

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.rollout_limits import RolloutLimits
from onboarding.application.ports import (
    Entry,
    Known,
    Message,
    Ports,
    ReconcileRequest,
    ScheduledCheck,
    Stored,
    StoredMachine,
    Versions,
)
from onboarding.application.reconciling.reconciliation import DELETION, Reconciliation
from onboarding.domain.errors import StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import closed

_log = logging.getLogger(__name__)

_CHECK_DELETION, _CHECK_DELETION_LATER = timedelta(minutes=5), timedelta(hours=1)


class Recorder:
    """The one way by which rows are written."""

    def __init__(self, ports: Ports, breakers: CircuitBreakers, rollouts: RolloutLimits) -> None:
        self._ports = ports
        self._breakers = breakers
        self._rollouts = rollouts

    async def record(
        self,
        work: Reconciliation,
        machine: MachineRow,
        rows: Sequence[Row],
        *,
        again: bool = False,
        beyond: Row | None = None,
    ) -> Versions | None:
        """Write the rows that tell something new over those that were read. `again`: this trigger wrote before.
        `beyond` is what a row said before it was claimed: only what goes beyond that is history.

        None where there was nothing to write. Raises LostRace and StorageError; a check whose row was not written is
        dropped when it comes."""
        entries = _entries(work, machine, rows, beyond=beyond)
        if not entries:
            return None
        await self._schedule(work, entries)
        versions = await self._commit(work, machine, entries, again=again or work.again)
        await self._publish(work, entries)
        return versions

    async def claim(self, work: Reconciliation, machine: MachineRow, claim: Row, others: Sequence[Row]) -> Versions:
        """Schedule the checks and claim the write, side by side: whichever is lost, the other leads back here. A check
        without a claim is dropped; a claim without a check gets one when its event or check is delivered again."""
        entries = [*_entries(work, machine, [claim], history=False), *_entries(work, machine, others)]
        scheduled, written = await asyncio.gather(
            self._schedule(work, entries),
            self._commit(work, machine, entries, again=work.again),
            return_exceptions=True,
        )
        if isinstance(written, BaseException):
            raise written
        if isinstance(scheduled, BaseException):
            raise scheduled
        await self._publish(work, entries[1:])
        return written

    async def append(self, work: Reconciliation, row: Row) -> None:
        """Write the line of history alone."""
        await self._ports.ledger.append(row, work.trigger)

    async def undo(self, work: Reconciliation, machine: MachineRow, versions: Versions, extension: str) -> None:
        """Take a claim back whose request was not carried out. Raises LostRace and StorageError."""
        before = work.stored.get(extension)
        own, at = work.known.machine, versions.targets[extension]
        rest = own.rest if own else None
        await self._ports.ledger.undo(machine, versions.machine, extension, before, at, rest=rest)

    async def schedule(self, message: Message, work: Reconciliation) -> None:
        """Put a message on the queue for its time. Raises StorageError."""
        await self._ports.schedule_queue.schedule(message, work.now)

    async def read_once_more(self, work: Reconciliation) -> None:
        """ARM still knows a VM that is said to be gone, or that is being deleted: it is read once more."""
        if any(s.row.outcome.final and s.row.outcome is not Outcome.GONE for s in work.stored.values()):
            due = work.now + (_CHECK_DELETION_LATER if work.requested_because == DELETION else _CHECK_DELETION)
            await self.schedule(ReconcileRequest(work.vm, DELETION, due), work)

    async def renew_checks(self, work: Reconciliation) -> None:
        """Schedule the checks of all open rows again: whoever wrote them may have died before it did."""
        open_rows = [stored.row for stored in work.stored.values() if not stored.row.outcome.final]
        await self._schedule_checks(work, open_rows)

    async def _schedule(self, work: Reconciliation, entries: Iterable[Entry]) -> None:
        """Schedule what is not under way already."""
        if _left_behind(work):
            await self.renew_checks(work)
        new = []
        for entry in entries:
            stored = work.stored.get(entry.row.extension)
            planned = stored is not None and stored.row.next_attempt_at == entry.row.next_attempt_at
            if not planned:
                new.append(entry.row)
        await self._schedule_checks(work, new)

    async def _schedule_checks(self, work: Reconciliation, rows: Iterable[Row]) -> None:
        checks = [ScheduledCheck(work.vm, row.extension, row.next_attempt_at) for row in rows if row.next_attempt_at]
        jobs = (self._ports.schedule_queue.schedule(check, work.now) for check in checks)
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _commit(
        self, work: Reconciliation, machine: MachineRow, entries: Sequence[Entry], *, again: bool
    ) -> Versions:
        own = work.known.machine
        written = await self._ports.ledger.commit(
            machine, own.version if own else None, entries, work.trigger, again=again, rest=own.rest if own else None
        )
        for entry in entries:
            row = entry.row
            level = logging.INFO if entry.history else logging.DEBUG
            _log.log(level, "%s %s: %s, %s", work.vm.name, row.extension, row.outcome, printable(row.reason))
        return written

    async def _publish(self, work: Reconciliation, entries: Iterable[Entry]) -> None:
        for entry in entries:
            row = entry.row
            if not (entry.history and row.outcome.final):
                continue
            if row.outcome is Outcome.INSTALLED:
                await self._breakers.close_on_success(
                    work.vm, row.extension, row.sent_digest, row.requested_at, work.now, installed=True
                )
            await self._rollouts.record_outcome(row, work.last(row.extension), work.now)
            await self._tell(row)

    async def _tell(self, row: Row) -> None:
        """Publish at once; if that fails at any point, the note in the table has the sweep do it."""
        try:
            if await self._ports.publisher.publish(row):
                await self._ports.ledger.told(row)
        except StorageError as error:
            _log.warning("%s %s: %s", row.vm_name, row.extension, error)


def _left_behind(work: Reconciliation) -> bool:
    """Whether another event or check claimed a write and did not come to send it: the checks that it wrote down may
    not have been scheduled, and its own redelivery is going to find our claim in place of its own."""
    claim = work.claim
    if claim is None or claim.trigger == work.trigger.id:
        return False
    return work.stored[claim.target].row.waiting_for is WaitingFor.CLAIM


def after(work: Reconciliation, machine: MachineRow, versions: Versions, rows: Iterable[Row]) -> Reconciliation:
    """The visit once these rows were written: what the table says now."""
    own = work.known.machine
    targets = dict(work.stored)
    for row in rows:
        if version := versions.targets.get(row.extension):
            stored = targets.get(row.extension)
            targets[row.extension] = Stored(row, version, stored.rest if stored else {})
    known = Known(StoredMachine(machine, versions.machine, own.rest if own else {}), targets)
    return replace(work, known=known)


def _entries(
    work: Reconciliation, machine: MachineRow, rows: Iterable[Row], *, history: bool = True, beyond: Row | None = None
) -> list[Entry]:
    """The rows that tell something that the stored ones do not. A wait that only moves on writes no line of history."""
    entries = []
    for row in rows:
        stored = work.stored.get(row.extension)
        last = stored.row if stored else None
        if history and not row.differs(last):
            continue
        another = last is not None and machine.vm_id and last.vm_id not in ("", machine.vm_id)
        ended = None
        if another and last is not None and last.outcome is not Outcome.GONE:
            ended = closed(last, Outcome.GONE, "another VM has this name now", work.now)
        tells = history and (another or row.belongs_in_history(beyond or last))
        if last is not None and last.outcome.final and not tells and history:
            row = replace(row, finished_at=last.finished_at, duration_ms=last.duration_ms)
        version = work.known.version(row.extension)
        entries.append(Entry(row, version, bool(tells), stored.rest if stored else {}, ended))
    return entries
