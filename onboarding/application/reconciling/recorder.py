"""Records the results of a pass over a machine: first the scheduled checks, then all rows with their lines of history
in one transaction, then the outcome events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from copy import replace
from datetime import timedelta

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.rollout_limits import RolloutLimits
from onboarding.application.ports import (
    MachineRows,
    Message,
    Ports,
    ReconcileRequest,
    RowVersions,
    RowWrite,
    ScheduledCheck,
    StoredMachine,
    StoredRow,
)
from onboarding.application.reconciling.reconciliation import DELETION, Reconciliation
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.classification import Cause
from onboarding.domain.failures.evidence import NO_TOKEN
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import closed
from onboarding.logging import OUTCOMES, logger

_log = logger(__name__)
_outcomes = logger(OUTCOMES)

# Waits that every machine may come to, although ARM answers them with an error.
_NORMAL_WAITS = (WaitingFor.VM_RUNNING, WaitingFor.AGENT_READY, WaitingFor.OPERATION, WaitingFor.THROTTLING)
_OUR_CAUSES = (Cause.BAD_CONFIGURATION, Cause.NOT_AUTHORIZED)

_CHECK_DELETION, _CHECK_DELETION_LATER = timedelta(minutes=5), timedelta(hours=1)


class Recorder:
    """Writes all rows of machines; nothing else does."""

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
        before_claim: Row | None = None,
    ) -> RowVersions | None:
        """Schedule the checks of the changed rows, write the rows, and publish outcomes.

        `again` says that this trigger may have written lines of history before. `before_claim` is the row before it was
        claimed: a row that says no more than that gets no line of history. Returns None if no row has changed. Raises
        LostRace and StorageError; a check whose row was not written is dropped when it arrives."""
        entries = _row_writes(work, machine, rows, before_claim=before_claim)
        if not entries:
            return None
        await self._schedule(work, entries)
        versions = await self._commit(work, machine, entries, again=again or work.again)
        await self._publish(work, entries)
        return versions

    async def claim(self, work: Reconciliation, machine: MachineRow, claim: Row, others: Sequence[Row]) -> RowVersions:
        """Schedule the checks and write the claim, concurrently.

        If only one of the two succeeds, nothing is lost: a check without a claim is dropped, and a claim without a
        check gets one when its event or check is delivered again. Raises LostRace and StorageError."""
        entries = [*_row_writes(work, machine, [claim], history=False), *_row_writes(work, machine, others)]
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
        """Write a line of history, without the current row. Raises StorageError."""
        await self._ports.ledger.append(row, work.trigger)

    async def undo(self, work: Reconciliation, machine: MachineRow, versions: RowVersions, extension: str) -> None:
        """Take back a claim whose request was refused. Raises LostRace and StorageError."""
        before = work.stored.get(extension)
        own, at = work.known.machine, versions.targets[extension]
        rest = own.rest if own else None
        await self._ports.ledger.undo(machine, versions.machine, extension, before, at, rest=rest)

    async def schedule(self, message: Message, work: Reconciliation) -> None:
        """Put a message on the queue for its time. Raises StorageError."""
        await self._ports.schedule_queue.schedule(message, work.now)

    async def check_deletion(self, work: Reconciliation) -> None:
        """Schedule another read of a VM that is being deleted, or whose deletion an event reported too early. Raises
        StorageError."""
        if any(s.row.outcome.final and s.row.outcome is not Outcome.GONE for s in work.stored.values()):
            due = work.now + (_CHECK_DELETION_LATER if work.requested_because == DELETION else _CHECK_DELETION)
            await self.schedule(ReconcileRequest(work.vm, DELETION, due), work)

    async def renew_checks(self, work: Reconciliation) -> None:
        """Schedule the checks of all open rows again: the worker that wrote them may have died first. Raises
        StorageError."""
        open_rows = [stored.row for stored in work.stored.values() if not stored.row.outcome.final]
        await self._schedule_checks(work, open_rows)

    async def _schedule(self, work: Reconciliation, entries: Iterable[RowWrite]) -> None:
        """Schedule the checks that are not on the queue yet."""
        if _left_unsent_by_another(work):
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
        self, work: Reconciliation, machine: MachineRow, entries: Sequence[RowWrite], *, again: bool
    ) -> RowVersions:
        own = work.known.machine
        written = await self._ports.ledger.commit(
            machine, own.version if own else None, entries, work.trigger, again=again, rest=own.rest if own else None
        )
        for entry in entries:
            _log_outcome(entry)
        return written

    async def _publish(self, work: Reconciliation, entries: Iterable[RowWrite]) -> None:
        for entry in entries:
            row = entry.row
            if not (entry.history and row.outcome.final):
                continue
            if row.outcome is Outcome.INSTALLED:
                await self._breakers.close_on_success(
                    work.vm, row.extension, row.sent_digest, row.requested_at, work.now, installed=True
                )
            await self._rollouts.record_outcome(row, work.last(row.extension), work.now)
            await self._publish_outcome(row)

    async def _publish_outcome(self, row: Row) -> None:
        """Publish an outcome now. If that fails, the row stays in the outbox and the sweep publishes it."""
        try:
            if await self._ports.publisher.publish(row):
                await self._ports.ledger.mark_published(row)
        except StorageError as error:
            _log.about(row).error("the published outcome could not be marked as such: %s", error)


def _log_outcome(entry: RowWrite) -> None:
    row = entry.row
    log = _outcomes.about(row)
    if not entry.history:
        write = log.debug
    elif _is_our_trouble(row):
        write = log.error
    elif row.outcome is Outcome.FAILED or (row.error_code and row.waiting_for not in _NORMAL_WAITS):
        write = log.warning
    else:
        write = log.info
    write("%s, %s", row.outcome, row.reason)


def _is_our_trouble(row: Row) -> bool:
    """Whether identity or configuration of the app have to be corrected, and not the machine.

    A machine that waits for an open circuit breaker is one of many: the breaker itself was logged as our trouble."""
    failed = row.outcome is Outcome.FAILED and row.cause in _OUR_CAUSES
    return failed or row.error_code in NO_TOKEN or row.waiting_for is WaitingFor.CONFIGURATION


def _left_unsent_by_another(work: Reconciliation) -> bool:
    """Whether another event or check has claimed a write and not sent it.

    Its checks may not have been scheduled, and its redelivery will not schedule them: it will find our claim."""
    claim = work.claim
    if claim is None or claim.trigger == work.trigger.id:
        return False
    return work.stored[claim.target].row.waiting_for is WaitingFor.CLAIM


def with_written_rows(
    work: Reconciliation, machine: MachineRow, versions: RowVersions, rows: Iterable[Row]
) -> Reconciliation:
    """The work with the rows and etags that were just written."""
    own = work.known.machine
    targets = dict(work.stored)
    for row in rows:
        if version := versions.targets.get(row.extension):
            stored = targets.get(row.extension)
            targets[row.extension] = StoredRow(row, version, stored.rest if stored else {})
    known = MachineRows(StoredMachine(machine, versions.machine, own.rest if own else {}), targets)
    return replace(work, known=known)


def _row_writes(
    work: Reconciliation,
    machine: MachineRow,
    rows: Iterable[Row],
    *,
    history: bool = True,
    before_claim: Row | None = None,
) -> list[RowWrite]:
    """The writes of the rows that differ from the stored ones. A wait that only got a later time has no history."""
    entries = []
    for row in rows:
        stored = work.stored.get(row.extension)
        last = stored.row if stored else None
        if history and not row.differs(last):
            continue
        replaced = last is not None and machine.vm_id and last.vm_id not in ("", machine.vm_id)
        ended = None
        if replaced and last is not None and last.outcome is not Outcome.GONE:
            ended = closed(last, Outcome.GONE, "another VM has this name now", work.now)
        has_news = history and (replaced or row.belongs_in_history(before_claim or last))
        if last is not None and last.outcome.final and not has_news and history:
            row = replace(row, finished_at=last.finished_at, duration_ms=last.duration_ms)
        version = work.known.version(row.extension)
        entries.append(RowWrite(row, version, bool(has_news), stored.rest if stored else {}, ended))
    return entries
