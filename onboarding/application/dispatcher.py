"""The line's door: what each kind of notification, and each timed look, asks for.

It raises only when nothing could be written down (StorageError), so that the event is delivered again; everything
else ends as an outcome. It works from what ARM says, not from what the table expects.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from copy import replace
from datetime import timedelta
from functools import partial
from typing import assert_never

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.notifications import (
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
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId

_log = logging.getLogger(__name__)

# A queue hides a message for 7 days at the most: a look that is due later comes early and is put back.
_EARLY = timedelta(minutes=10)
_TRIES = 5


class Dispatcher:
    """Takes notifications and looks. One per process; holds no state of its own."""

    def __init__(
        self, ports: Ports, policies: PolicySet, reconciler: Reconciler, recorder: Recorder, breakers: CircuitBreakers
    ) -> None:
        self._ports = ports
        self._policies = policies
        self._reconciler = reconciler
        self._recorder = recorder
        self._breakers = breakers

    async def handle(self, notification: Notification) -> None:
        """Do what a notification asks for."""
        match notification:
            case Ignored(reason):
                _log.debug("ignored: %s", reason)
            case VmWritten(vm, trigger, created):
                await self._retry_on_conflict(
                    lambda again: self._begin(vm, trigger, again, created=created), self._on_machine_written
                )
            case VmStarted(vm, trigger):
                await self._retry_on_conflict(lambda again: self._begin(vm, trigger, again), self._on_machine_started)
            case VmDeleted(vm, trigger):
                await self._retry_on_conflict(
                    lambda again: self._begin(vm, trigger, again, deletion=True), self._on_machine_deleted
                )
            case ExtensionWritten(extension, trigger, succeeded):
                settle = partial(self._on_extension_written, name=extension.name, succeeded=succeeded)
                await self._retry_on_conflict(lambda again: self._begin(extension.vm, trigger, again), settle)
            case ExtensionDeleted(extension, trigger):
                restore = partial(self._on_extension_deleted, name=extension.name)
                await self._retry_on_conflict(lambda again: self._begin(extension.vm, trigger, again), restore)
            case PolicyStateChanged():
                await self._on_policy_state(notification)
            case _:
                assert_never(notification)

    async def handle_message(self, message: Message) -> None:
        """Do what a message of the deferrals queue asks for."""
        match message:
            case ScheduledCheck():
                await self.check(message)
            case ReconcileRequest(vm, reason, due):
                trigger = EventRef(f"sweep.{reason}.{due:%Y%m%dt%H%M%S.%fz}", due)
                await self._retry_on_conflict(
                    lambda again: self._begin(vm, trigger, again, requested_because=reason), self._reconcile
                )
            case _:
                assert_never(message)

    async def check(self, check: ScheduledCheck) -> None:
        """Take up a row whose time has come; a check that the row no longer waits for is dropped."""
        trigger = EventRef(f"look.{check.due:%Y%m%dt%H%M%S.%fz}", check.due)
        await self._retry_on_conflict(
            lambda again: self._begin(check.vm, trigger, again), partial(self._check, check=check)
        )

    async def _check(self, work: Reconciliation, *, check: ScheduledCheck) -> None:
        waiting = work.stored.get(check.extension)
        if waiting is None or waiting.row.outcome.final or waiting.row.next_attempt_at != check.due:
            _log.debug("%s %s: nothing waits for this check any more", check.vm.name, check.extension)
            return
        if check.due - work.now > _EARLY:
            await self._ports.schedule_queue.schedule(check, work.now)
            return
        # A clock that runs behind the queue's must not find the row "not due yet" and lose the check.
        await self._reconciler.reconcile(replace(work, now=max(work.now, check.due), reopens=frozenset()))

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
        if created:  # an install is likely to follow, and asks what is paused
            reading = self._breakers.read_concurrently(reading, vm, now)
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
        """Reconcile the VM for each extension for which this event has not been here before."""
        settled = {e for e, stored in work.stored.items() if stored.row.event_id == work.trigger.id}
        if (claim := work.claim) and claim.trigger == work.trigger.id:
            settled.add(claim.target)
        await self._reconciler.reconcile(replace(work, settled=work.settled | settled))

    async def _renew_lost_checks(self, work: Reconciliation) -> None:
        """If this event or check was here before and claimed, the checks that it may not have scheduled. Its worker may
        have died in between; rows that are further on were written after their check."""
        claim = work.claim
        if work.again or claim is None or claim.trigger != work.trigger.id:
            return
        if work.stored[claim.target].row.waiting_for is WaitingFor.CLAIM:
            await self._recorder.renew_checks(work)

    async def _on_policy_state(self, finding: PolicyStateChanged) -> None:
        """Azure Policy's finding, if it is of a policy of ours and not older than what we did since."""
        meant = self._policies.for_finding(finding.definition_id, finding.assignment_id)
        if finding.compliant or meant == frozenset():
            _log.debug("%s: a finding of Azure Policy that is not for us", finding.vm.name)
            return

        async def begin(again: bool) -> Reconciliation:
            work = await self._begin(finding.vm, finding.trigger, again)
            settled = frozenset(e for e, s in work.stored.items() if s.row.changed_since(finding.trigger.time))
            return replace(work, policies=meant, settled=settled)

        await self._retry_on_conflict(begin, self._reconcile)

    async def _on_machine_started(self, work: Reconciliation) -> None:
        if any(not stored.row.outcome.final for stored in work.stored.values()):
            await self._reconciler.reconcile(replace(work, reopens=frozenset()))

    async def _retry_on_conflict(
        self, begin: Callable[[bool], Awaitable[Reconciliation]], act: Callable[[Reconciliation], Awaitable[None]]
    ) -> None:
        """Do what an event or check asks for. Whoever overtakes us may have read ARM before the event, so it is done
        again on what was written meanwhile, and never dropped."""
        for again in range(_TRIES):
            work = await begin(again > 0)
            await self._renew_lost_checks(work)
            try:
                await act(work)
            except LostRace:
                _log.info("%s: overtaken, reading again", work.vm.name)
            else:
                return
        raise StorageError(f"{work.vm.name}: overtaken {_TRIES} times")

    async def _on_machine_deleted(self, work: Reconciliation) -> None:
        """The VM is said to be deleted: ARM is asked whether it is. A VM that has no row is not asked for."""
        if any(stored.row.outcome is not Outcome.GONE for stored in work.stored.values()):
            await self._reconciler.reconcile(work)

    async def _on_extension_written(self, work: Reconciliation, *, name: str, succeeded: bool) -> None:
        """An extension operation ended. It is a hint: what became of our request, ARM is asked."""
        if work.stale:
            return
        rows = {e: s for e, s in work.stored.items() if _waits_for(s.row, name)}
        waiting = any(s.row.waiting_for is WaitingFor.OPERATION for s in work.stored.values())
        sent = [stored for stored in rows.values() if stored.row.in_flight]
        if succeeded and len(sent) == len(rows) == 1 and not waiting:
            await self._reconciler.confirm(work, sent[0])
        elif rows or waiting:
            await self._reconciler.reconcile(replace(work, reopens=frozenset(rows)))

    async def _on_extension_deleted(self, work: Reconciliation, *, name: str) -> None:
        """An extension was removed: policy may still want it, so the VM is looked at again."""
        named = {e: s.row for e, s in work.stored.items() if s.row.extension_name.lower() == name.lower()}
        touched = frozenset(e for e, row in named.items() if row.outcome.present or _waits_for(row, name))
        if touched or any(s.row.waiting_for is WaitingFor.OPERATION for s in work.stored.values()):
            await self._reconciler.reconcile(replace(work, reopens=touched))


def _waits_for(row: Row, name: str) -> bool:
    """Whether the end of an operation on the extension of that name can change what the row says."""
    return row.extension_name.lower() == name.lower() and (not row.outcome.final or row.outcome is Outcome.FAILED)
