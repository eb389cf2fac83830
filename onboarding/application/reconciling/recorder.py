"""Records the results of a pass over a machine: first its scheduled check, then all rows with their lines of history
in one transaction, then the outcome events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from copy import replace
from datetime import datetime, timedelta

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
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.failures.classification import Cause
from onboarding.domain.failures.evidence import NO_TOKEN
from onboarding.domain.json_access import digest
from onboarding.domain.reconcile.change import Change
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import closed
from onboarding.domain.reconcile.steps.step import StepKind
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
    ) -> Reconciliation | None:
        """Schedule the machine's next check, write the changed rows and what was sent, and publish outcomes.

        `again` says that this trigger may have written lines of history before. `before_claim` is the row before it was
        claimed: a row that says no more than that gets no line of history. Returns the work with what was written, or
        None if nothing has changed. Raises LostRace and StorageError; a check whose rows were not written is dropped
        when it arrives."""
        entries = _row_writes(work, machine, rows, before_claim=before_claim)
        machine = replace(machine, next_attempt_at=_next_check(work, entries))
        before = work.known.machine.row.associations if work.known.machine else ""
        kept = before == machine.associations
        due = work.checks and machine.next_attempt_at != work.next_check
        if not entries and kept and not due and not work.sent:
            return None
        await self._schedule(work, machine)
        written = await self._commit(work, machine, entries, again=again or work.again)
        await self._publish(work, entries)
        return written

    async def claim(
        self, work: Reconciliation, machine: MachineRow, claim: Row, others: Sequence[Row], change: Change
    ) -> Reconciliation:
        """Schedule the machine's next check and write the claim, concurrently; returns the work with what was written.
        `change` is the line of history of the request that is claimed.

        If only one of the two succeeds, nothing is lost: a check without a claim is dropped, and a claim without a
        check gets one when its event or check is delivered again. Raises LostRace and StorageError."""
        entries = [*_row_writes(work, machine, [claim], history=False), *_row_writes(work, machine, others)]
        machine = replace(machine, next_attempt_at=_next_check(work, entries))
        scheduled, written = await asyncio.gather(
            self._schedule(work, machine),
            self._commit(work, machine, entries, again=work.again, claimed=(change,)),
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

    async def undo(self, work: Reconciliation, claimed: Reconciliation, extension: str, change: Change) -> None:
        """Take back a claim whose request was refused, with its line of history: `work` is as it was before the claim,
        `claimed` after it. The claim's check stays. Raises LostRace and StorageError."""
        own = claimed.known.machine
        if own is not None:
            free, at = replace(own.row, claim=None), claimed.stored[extension].version
            before = work.stored.get(extension)
            await self._ports.ledger.undo(free, own.version, extension, before, at, rest=own.rest, change=change)

    async def schedule(self, message: Message, work: Reconciliation) -> None:
        """Put a message on the queue for its time. Raises StorageError."""
        await self._ports.schedule_queue.schedule(message, work.now)

    async def check_deletion(self, work: Reconciliation) -> None:
        """Schedule another read of a VM that is being deleted, or whose deletion an event reported too early. Raises
        StorageError."""
        if any(s.row.outcome.final and s.row.outcome is not Outcome.GONE for s in work.stored.values()):
            due = work.now + (_CHECK_DELETION_LATER if work.requested_because == DELETION else _CHECK_DELETION)
            await self.schedule(ReconcileRequest(work.vm, DELETION, due), work)

    async def renew_check(self, work: Reconciliation) -> None:
        """Schedule the machine's check again: the worker that wrote its rows may have died first. Raises
        StorageError."""
        if (due := _next_check(work)) is not None:
            await self.schedule(ScheduledCheck(work.vm, due), work)

    async def _schedule(self, work: Reconciliation, machine: MachineRow) -> None:
        """Schedule the machine's next check, unless it is on the queue already."""
        due = machine.next_attempt_at
        if due is not None and (due != work.next_check or _left_unsent_by_another(work)):
            await self.schedule(ScheduledCheck(work.vm, due), work)

    async def _commit(
        self,
        work: Reconciliation,
        machine: MachineRow,
        entries: Sequence[RowWrite],
        *,
        again: bool,
        claimed: tuple[Change, ...] = (),
    ) -> Reconciliation:
        """Write the rows, what was sent, and what is claimed. What was sent is kept if another worker wrote first."""
        own = work.known.machine
        version, rest = (own.version, own.rest) if own else (None, None)
        changes = (*work.sent, *claimed)
        try:
            versions = await self._ports.ledger.commit(
                machine, version, entries, work.trigger, again=again, rest=rest, changes=changes
            )
        except LostRace:
            if work.sent:
                await self._ports.ledger.append_changes(work.sent)
            raise
        for entry in entries:
            _log_outcome(entry)
        return _with_written_rows(work, machine, versions, entries)

    async def _publish(self, work: Reconciliation, entries: Iterable[RowWrite]) -> None:
        for entry in entries:
            row = entry.row
            if not (entry.history and row.outcome.final):
                continue
            if (key := _proven_by(row)) is not None:
                await self._breakers.close_on_success(work.vm, *key, row.requested_at, work.now, installed=True)
            await self._rollouts.record_outcome(row, work.last(row.extension), work.now)
            await self._publish_outcome(row)

    async def _publish_outcome(self, row: Row) -> None:
        """Publish an outcome now. If that fails, the row stays in the outbox and the sweep publishes it."""
        try:
            if await self._ports.publisher.publish(row):
                await self._ports.ledger.mark_published(row)
        except StorageError as error:
            _log.about(row).error("the published outcome could not be marked as such: %s", error)


def _proven_by(row: Row) -> tuple[str, str] | None:
    """By what circuit breakers are found that this outcome closes; None if none."""
    if row.outcome is Outcome.INSTALLED:
        return row.extension, row.sent_digest
    if row.outcome is Outcome.REMOVED:
        return StepKind.REMOVAL.value, digest(row.extension)
    return None


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


def _next_check(work: Reconciliation, entries: Iterable[RowWrite] = ()) -> datetime | None:
    """When the machine's next check is due: at the earliest moment that an open row waits for. None without one.

    That check's pass decides on all rows, so the later moments need no checks of their own."""
    rows = {extension: stored.row for extension, stored in work.stored.items()}
    rows |= {entry.row.extension: entry.row for entry in entries}
    return min((row.next_attempt_at for row in rows.values() if row.next_attempt_at), default=None)


def _with_written_rows(
    work: Reconciliation, machine: MachineRow, versions: RowVersions, entries: Iterable[RowWrite]
) -> Reconciliation:
    """The work with the rows and etags that were just written."""
    own = work.known.machine
    targets = dict(work.stored)
    for entry in entries:
        extension = entry.row.extension
        targets[extension] = StoredRow(entry.row, versions.targets[extension], entry.rest)
    known = MachineRows(StoredMachine(machine, versions.machine, own.rest if own else {}), targets)
    return replace(work, known=known, sent=())


def _may_be_sent(last: Row, claim: Row) -> bool:
    """Whether a claim follows one whose request may have been sent by a worker that died before it wrote that down."""
    return last.waiting_for is WaitingFor.CLAIM and last.client_request_id not in ("", claim.client_request_id)


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
        replaces = stored.replaces if stored else ()
        if history and last is not None and not row.differs(last):
            if not replaces:
                continue
            row = last
        replaced = last is not None and machine.vm_id and last.vm_id not in ("", machine.vm_id)
        ended = None
        if replaced and last is not None and last.outcome is not Outcome.GONE:
            ended = closed(last, Outcome.GONE, "another VM has this name now", work.now)
        elif not history and last is not None and _may_be_sent(last, row):
            ended = last
        moved = stored is not None and not stored.version  # the target has no line of history yet
        has_news = history and (replaced or moved or row.belongs_in_history(before_claim or last))
        if last is not None and last.outcome.final and not has_news and history:
            row = replace(row, finished_at=last.finished_at, duration_ms=last.duration_ms)
        version = work.known.version(row.extension)
        entries.append(RowWrite(row, version, bool(has_news), stored.rest if stored else {}, ended, replaces))
    return entries
