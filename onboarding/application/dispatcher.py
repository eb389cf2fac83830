"""The dispatcher: turns each kind of notification, and each message of the schedule queue, into a reconciliation.

It raises only if the next step could not be stored (StorageError), so that the event is delivered again. Everything
else ends as an outcome. Decisions rest on what ARM answers, not on what the table expects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import replace
from datetime import timedelta
from functools import partial
from typing import assert_never

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.pauses import Pauses
from onboarding.application.notifications import (
    AssociationDeleted,
    EventRef,
    ExtensionDeleted,
    ExtensionWritten,
    Ignored,
    Notification,
    PolicyStateChanged,
    VmDeleted,
    VmStarted,
    VmWritten,
)
from onboarding.application.ports import Message, Ports, ReconcileRequest, ScheduledCheck
from onboarding.application.reconciling.reconciler import Reconciler
from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.application.reconciling.recorder import Recorder
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.reconcile.drift import Reason
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.step import StepKind, from_column
from onboarding.domain.resource_id import VmId
from onboarding.logging import bound, logger

_log = logger(__name__)

# A queue hides a message for 7 days at most. A check that is due later arrives early and is put back.
_EARLY = timedelta(minutes=10)
_TRIES = 5
# What a row may wait for that ends with another extension of the machine.
_AFTER_OTHERS = (WaitingFor.OPERATION, WaitingFor.ONLY_AFTER, WaitingFor.NEEDED_EXTENSION)


class Dispatcher:
    """Handles notifications and messages of the schedule queue. One per process; it keeps no state."""

    def __init__(
        self,
        ports: Ports,
        policies: PolicySet,
        reconciler: Reconciler,
        recorder: Recorder,
        breakers: CircuitBreakers,
        pauses: Pauses,
    ) -> None:
        self._ports = ports
        self._policies = policies
        self._reconciler = reconciler
        self._recorder = recorder
        self._breakers = breakers
        self._pauses = pauses

    async def handle(self, notification: Notification) -> None:
        """Reconcile the machine that the notification is about. Raises StorageError."""
        match notification:
            case Ignored(reason):
                _log.debug("Ignored: %s", reason)
            case VmWritten(vm, trigger, created):
                await self._retry_on_conflict(vm, trigger, self._on_machine_written, created=created)
            case VmStarted(vm, trigger):
                await self._retry_on_conflict(vm, trigger, self._on_machine_started)
            case VmDeleted(vm, trigger):
                await self._retry_on_conflict(vm, trigger, self._on_machine_deleted, deletion=True)
            case ExtensionWritten(extension, trigger, succeeded):
                settle = partial(self._on_extension_written, name=extension.name, succeeded=succeeded)
                await self._retry_on_conflict(extension.vm, trigger, settle)
            case ExtensionDeleted(extension, trigger):
                restore = partial(self._on_extension_deleted, name=extension.name)
                await self._retry_on_conflict(extension.vm, trigger, restore)
            case AssociationDeleted(vm, trigger):
                await self._retry_on_conflict(vm, trigger, self._on_association_deleted)
            case PolicyStateChanged():
                await self._on_policy_state(notification)
            case _:
                assert_never(notification)

    async def handle_message(self, message: Message) -> None:
        """Reconcile the machine that a message of the schedule queue is about. Raises StorageError."""
        match message:
            case ScheduledCheck():
                await self.check(message)
            case ReconcileRequest(vm, reason, due):
                trigger = EventRef(f"sweep.{reason}.{due:%Y%m%dt%H%M%S.%fz}", due)
                await self._retry_on_conflict(vm, trigger, self._reconcile, requested_because=reason)
            case _:
                assert_never(message)

    async def check(self, check: ScheduledCheck) -> None:
        """Reconcile the machine that waits for this check: one pass decides on all its rows. Another check is
        dropped."""
        trigger = EventRef(f"look.{check.due:%Y%m%dt%H%M%S.%fz}", check.due)
        await self._retry_on_conflict(check.vm, trigger, partial(self._check, check=check))

    async def _check(self, work: Reconciliation, *, check: ScheduledCheck) -> None:
        if not work.known.awaits(check.due):
            _log.debug("Ignored: the machine no longer waits for this check")
            if work.next_check == check.due:  # no row waits, and the sweep would send the check again and again
                await self._recorder.record(replace(work, checks=True), work.machine_row(), [])
            return
        if check.due - work.now > _EARLY:
            await self._ports.schedule_queue.schedule(check, work.now)
            return
        # If our clock runs behind the queue's, the row would seem not due yet, and the check would be lost.
        await self._reconciler.reconcile(replace(work, now=max(work.now, check.due), reopens=frozenset(), checks=True))

    async def _begin(
        self,
        vm: VmId,
        trigger: EventRef,
        again: bool,
        *,
        created: bool = False,
        deletion: bool = False,
        requested_because: str = "",
    ) -> Reconciliation:
        now = self._ports.clock()
        reading = self._ports.ledger.read(vm, new=created and not again)
        if created:  # a request is likely to follow, and it needs the circuit breakers and the pauses
            reading = self._pauses.read_concurrently(self._breakers.read_concurrently(reading, vm, now))
        return Reconciliation(
            vm,
            trigger,
            await reading,
            now,
            created=created,
            deletion=deletion,
            again=again,
            requested_because=requested_because,
        )

    async def _on_machine_written(self, work: Reconciliation) -> None:
        if not work.stale:
            await self._reconcile(work)

    async def _reconcile(self, work: Reconciliation) -> None:
        """Reconcile the VM, without the extensions that an earlier delivery of this event has handled.

        A pause or a circuit breaker that has ended is no reason to open final rows again, and a missing association
        only opens those that it can change. What is held of the associations is in doubt where something is found
        missing."""
        settled = {e for e, stored in work.stored.items() if stored.row.event_id == work.trigger.id}
        if (claim := work.claim) and claim.trigger == work.trigger.id:
            settled.add(claim.target)
        reopens, because = work.reopens, work.requested_because
        if because == Reason.RESUMED:
            reopens = frozenset()
        elif because == Reason.ASSOCIATION:
            reopens = _touched_by_association(work)
        relist = work.relist or because in (Reason.ASSOCIATION, Reason.DRIFTED)
        await self._reconciler.reconcile(replace(work, settled=work.settled | settled, reopens=reopens, relist=relist))

    async def _renew_lost_check(self, work: Reconciliation) -> None:
        """Schedule the check again that an earlier delivery of this event or check may not have scheduled.

        Its worker may have died between the claim and the check. Rows past the claim were written after their check,
        so they need nothing."""
        claim = work.claim
        if work.again or claim is None or claim.trigger != work.trigger.id:
            return
        if work.stored[claim.target].row.waiting_for is WaitingFor.CLAIM:
            await self._recorder.renew_check(work)

    async def _on_policy_state(self, finding: PolicyStateChanged) -> None:
        """Reconcile the VM if Azure Policy found it non-compliant with a policy that is configured here.

        Extensions whose row changed after the finding are left out."""
        meant = self._policies.for_finding(finding.definition_id, finding.assignment_id)
        if finding.compliant or meant == frozenset():
            log = _log.bind(machine=str(finding.vm), event_id=finding.trigger.id)
            log.debug("Ignored: the finding is compliant, or no policy names its definition")
            return

        async def reconcile(work: Reconciliation) -> None:
            settled = frozenset(e for e, s in work.stored.items() if s.row.changed_since(finding.trigger.time))
            await self._reconcile(replace(work, policies=meant, settled=settled))

        await self._retry_on_conflict(finding.vm, finding.trigger, reconcile)

    async def _on_machine_started(self, work: Reconciliation) -> None:
        if any(not stored.row.outcome.final for stored in work.stored.values()):
            await self._reconciler.reconcile(replace(work, reopens=frozenset()))

    async def _retry_on_conflict(
        self,
        vm: VmId,
        trigger: EventRef,
        act: Callable[[Reconciliation], Awaitable[None]],
        *,
        created: bool = False,
        deletion: bool = False,
        requested_because: str = "",
    ) -> None:
        """Run `act`, and run it again on fresh rows if another worker wrote them first.

        The work is never dropped: the other worker may have read ARM before this event. Raises StorageError after
        five conflicts."""
        begin = partial(self._begin, created=created, deletion=deletion, requested_because=requested_because)
        with bound(machine=str(vm), event_id=trigger.id, correlation_id=trigger.correlation_id):
            for again in range(_TRIES):
                work = await begin(vm, trigger, again > 0)
                await self._renew_lost_check(work)
                try:
                    await act(work)
                except LostRace:
                    _log.info("another worker wrote the rows first; reading them again")
                else:
                    return
        raise StorageError(f"{vm.name}: other workers wrote its rows first, {_TRIES} times")

    async def _on_machine_deleted(self, work: Reconciliation) -> None:
        """Ask ARM whether the VM is deleted, as the event says. A VM without rows costs no request."""
        if any(stored.row.outcome is not Outcome.GONE for stored in work.stored.values()):
            await self._reconciler.reconcile(work)

    async def _on_extension_written(self, work: Reconciliation, *, name: str, succeeded: bool) -> None:
        """Ask ARM for the result of an extension operation that ended: the event is only a hint."""
        if work.stale:
            return
        rows = {e: s for e, s in work.stored.items() if _waits_for(s.row, name)}
        waiting = any(s.row.waiting_for in _AFTER_OTHERS for s in work.stored.values())
        sent = [stored for stored in rows.values() if stored.row.in_flight]
        sent = [stored for stored in sent if stored.row.step != StepKind.REMOVAL]
        if succeeded and len(sent) == len(rows) == 1 and not waiting:
            await self._reconciler.confirm(work, sent[0])
        elif rows or waiting:
            await self._reconciler.reconcile(replace(work, reopens=frozenset(rows)))

    async def _on_extension_deleted(self, work: Reconciliation, *, name: str) -> None:
        """Reconcile the VM after an extension was removed: a policy may still want it."""
        named = {e: s.row for e, s in work.stored.items() if s.row.extension_name.lower() == name.lower()}
        touched = frozenset(e for e, row in named.items() if row.outcome.present or _waits_for(row, name))
        if touched or any(s.row.waiting_for is WaitingFor.OPERATION for s in work.stored.values()):
            await self._reconciler.reconcile(replace(work, reopens=touched))

    async def _on_association_deleted(self, work: Reconciliation) -> None:
        """Reconcile the VM after an association was removed: a policy may still want it. Without a row that has such a
        step, nothing is read."""
        if any(s.row.outcome is not Outcome.GONE and _has_association(s.row) for s in work.stored.values()):
            await self._reconcile(replace(work, reopens=_touched_by_association(work), relist=True))


def _touched_by_association(work: Reconciliation) -> frozenset[str]:
    """The extensions whose final rows another state of the VM's associations can change."""
    return frozenset(extension for extension, stored in work.stored.items() if _may_lack_association(stored.row))


def _may_lack_association(row: Row) -> bool:
    refused = row.outcome is Outcome.FAILED and row.step == StepKind.ASSOCIATION
    return row.outcome.present or refused or (row.outcome is Outcome.AUDITED and _has_association(row))


def _has_association(row: Row) -> bool:
    return any(step.step is StepKind.ASSOCIATION for step in from_column(row.steps))


def _waits_for(row: Row, name: str) -> bool:
    """Whether the row can change when an operation on the extension of that name ends."""
    ended = row.outcome.final and row.outcome not in (Outcome.FAILED, Outcome.REMOVED)
    return row.extension_name.lower() == name.lower() and not ended
