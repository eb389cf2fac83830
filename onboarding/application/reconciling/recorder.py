"""Writing down what a pass over a machine came to: the checks first, then all of its rows with their lines of history
in one transaction, then the outcome events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from copy import replace
from datetime import timedelta

from onboarding.application.limits.circuit_breakers import Pauses
from onboarding.application.limits.rollout_limits import Brakes
from onboarding.application.ports import Entry, Known, Look, Message, Ports, Revisit, Stored, StoredMachine, Versions
from onboarding.application.reconciling.reconciliation import DELETION, Visit
from onboarding.domain.errors import StorageError
from onboarding.domain.json_access import printable
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import closed

_log = logging.getLogger(__name__)

_LOOK_AGAIN, _LOOK_AGAIN_LATER = timedelta(minutes=5), timedelta(hours=1)


class Recorder:
    """The one way by which rows are written."""

    def __init__(self, ports: Ports, pauses: Pauses, brakes: Brakes) -> None:
        self._ports = ports
        self._pauses = pauses
        self._brakes = brakes

    async def record(
        self,
        visit: Visit,
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
        entries = _entries(visit, machine, rows, beyond=beyond)
        if not entries:
            return None
        await self._schedule(visit, entries)
        versions = await self._commit(visit, machine, entries, again=again or visit.again)
        await self._publish(visit, entries)
        return versions

    async def claim(self, visit: Visit, machine: MachineRow, claim: Row, others: Sequence[Row]) -> Versions:
        """Schedule the checks and claim the write, side by side: whichever is lost, the other leads back here. A check
        without a claim is dropped; a claim without a check gets one when its event or check is delivered again."""
        entries = [*_entries(visit, machine, [claim], history=False), *_entries(visit, machine, others)]
        scheduled, written = await asyncio.gather(
            self._schedule(visit, entries),
            self._commit(visit, machine, entries, again=visit.again),
            return_exceptions=True,
        )
        if isinstance(written, BaseException):
            raise written
        if isinstance(scheduled, BaseException):
            raise scheduled
        await self._publish(visit, entries[1:])
        return written

    async def append(self, visit: Visit, row: Row) -> None:
        """Write the line of history alone."""
        await self._ports.ledger.append(row, visit.trigger)

    async def undo(self, visit: Visit, machine: MachineRow, versions: Versions, extension: str) -> None:
        """Take a claim back whose request was not carried out. Raises LostRace and StorageError."""
        before = visit.stored.get(extension)
        own, at = visit.known.machine, versions.targets[extension]
        rest = own.rest if own else None
        await self._ports.ledger.undo(machine, versions.machine, extension, before, at, rest=rest)

    async def schedule(self, message: Message, visit: Visit) -> None:
        """Put a message on the queue for its time. Raises StorageError."""
        await self._ports.deferrals.schedule(message, visit.now)

    async def read_once_more(self, visit: Visit) -> None:
        """ARM still knows a VM that is said to be gone, or that is being deleted: it is read once more."""
        if any(s.row.outcome.final and s.row.outcome is not Outcome.GONE for s in visit.stored.values()):
            due = visit.now + (_LOOK_AGAIN_LATER if visit.revisit == DELETION else _LOOK_AGAIN)
            await self.schedule(Revisit(visit.vm, DELETION, due), visit)

    async def renew_checks(self, visit: Visit) -> None:
        """Schedule the checks of all open rows again: whoever wrote them may have died before it did."""
        open_rows = [stored.row for stored in visit.stored.values() if not stored.row.outcome.final]
        await self._schedule_looks(visit, open_rows)

    async def _schedule(self, visit: Visit, entries: Iterable[Entry]) -> None:
        """Schedule what is not under way already."""
        if _left_behind(visit):
            await self.renew_checks(visit)
        new = []
        for entry in entries:
            stored = visit.stored.get(entry.row.extension)
            planned = stored is not None and stored.row.next_attempt_at == entry.row.next_attempt_at
            if not planned:
                new.append(entry.row)
        await self._schedule_looks(visit, new)

    async def _schedule_looks(self, visit: Visit, rows: Iterable[Row]) -> None:
        looks = [Look(visit.vm, row.extension, row.next_attempt_at) for row in rows if row.next_attempt_at]
        jobs = (self._ports.deferrals.schedule(look, visit.now) for look in looks)
        for result in await asyncio.gather(*jobs, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _commit(self, visit: Visit, machine: MachineRow, entries: Sequence[Entry], *, again: bool) -> Versions:
        own = visit.known.machine
        written = await self._ports.ledger.commit(
            machine, own.version if own else None, entries, visit.trigger, again=again, rest=own.rest if own else None
        )
        for entry in entries:
            row = entry.row
            level = logging.INFO if entry.history else logging.DEBUG
            _log.log(level, "%s %s: %s, %s", visit.vm.name, row.extension, row.outcome, printable(row.reason))
        return written

    async def _publish(self, visit: Visit, entries: Iterable[Entry]) -> None:
        for entry in entries:
            row = entry.row
            if not (entry.history and row.outcome.final):
                continue
            if row.outcome is Outcome.INSTALLED:
                await self._pauses.lift(
                    visit.vm, row.extension, row.sent_digest, row.requested_at, visit.now, installed=True
                )
            await self._brakes.heed(row, visit.last(row.extension), visit.now)
            await self._tell(row)

    async def _tell(self, row: Row) -> None:
        """Publish at once; if that fails at any point, the note in the table has the sweep do it."""
        try:
            if await self._ports.announcer.announce(row):
                await self._ports.ledger.told(row)
        except StorageError as error:
            _log.warning("%s %s: %s", row.vm_name, row.extension, error)


def _left_behind(visit: Visit) -> bool:
    """Whether another event or check claimed a write and did not come to send it: the checks that it wrote down may
    not have been scheduled, and its own redelivery is going to find our claim in place of its own."""
    claim = visit.claim
    if claim is None or claim.trigger == visit.trigger.id:
        return False
    return visit.stored[claim.target].row.waiting_for is WaitingFor.CLAIM


def after(visit: Visit, machine: MachineRow, versions: Versions, rows: Iterable[Row]) -> Visit:
    """The visit once these rows were written: what the table says now."""
    own = visit.known.machine
    targets = dict(visit.stored)
    for row in rows:
        if version := versions.targets.get(row.extension):
            stored = targets.get(row.extension)
            targets[row.extension] = Stored(row, version, stored.rest if stored else {})
    known = Known(StoredMachine(machine, versions.machine, own.rest if own else {}), targets)
    return replace(visit, known=known)


def _entries(
    visit: Visit, machine: MachineRow, rows: Iterable[Row], *, history: bool = True, beyond: Row | None = None
) -> list[Entry]:
    """The rows that tell something that the stored ones do not. A wait that only moves on writes no line of history."""
    entries = []
    for row in rows:
        stored = visit.stored.get(row.extension)
        last = stored.row if stored else None
        if history and not row.differs(last):
            continue
        another = last is not None and machine.vm_id and last.vm_id not in ("", machine.vm_id)
        ended = None
        if another and last is not None and last.outcome is not Outcome.GONE:
            ended = closed(last, Outcome.GONE, "another VM has this name now", visit.now)
        tells = history and (another or row.tells_more_than(beyond or last))
        if last is not None and last.outcome.final and not tells and history:
            row = replace(row, finished_at=last.finished_at, duration_ms=last.duration_ms)
        version = visit.known.version(row.extension)
        entries.append(Entry(row, version, bool(tells), stored.rest if stored else {}, ended))
    return entries
