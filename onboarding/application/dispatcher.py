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

from onboarding.application.limits.circuit_breakers import Pauses
from onboarding.application.notifications import (
    ExtensionDeleted,
    ExtensionWritten,
    Ignored,
    Notification,
    PolicyStateChanged,
    Trigger,
    VmDeleted,
    VmStarted,
    VmWritten,
)
from onboarding.application.ports import Look, Message, Ports, Revisit
from onboarding.application.reconciling.reconciler import Enforcement
from onboarding.application.reconciling.reconciliation import Visit
from onboarding.application.reconciling.recorder import Recorder
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId

_log = logging.getLogger(__name__)

# A queue hides a message for 7 days at the most: a look that is due later comes early and is put back.
_EARLY = timedelta(minutes=10)
_TRIES = 5


class Onboarding:
    """Takes notifications and looks. One per process; holds no state of its own."""

    def __init__(
        self, ports: Ports, policies: PolicySet, enforcement: Enforcement, recorder: Recorder, pauses: Pauses
    ) -> None:
        self._ports = ports
        self._policies = policies
        self._enforcement = enforcement
        self._recorder = recorder
        self._pauses = pauses

    async def handle(self, notification: Notification) -> None:
        """Do what a notification asks for."""
        match notification:
            case Ignored(reason):
                _log.debug("ignored: %s", reason)
            case VmWritten(vm, trigger, created):
                await self._insist(lambda again: self._arrive(vm, trigger, again, created=created), self._written)
            case VmStarted(vm, trigger):
                await self._insist(lambda again: self._arrive(vm, trigger, again), self._wake)
            case VmDeleted(vm, trigger):
                await self._insist(lambda again: self._arrive(vm, trigger, again, deletion=True), self._close)
            case ExtensionWritten(extension, trigger, succeeded):
                settle = partial(self._settle, name=extension.name, succeeded=succeeded)
                await self._insist(lambda again: self._arrive(extension.vm, trigger, again), settle)
            case ExtensionDeleted(extension, trigger):
                restore = partial(self._restore, name=extension.name)
                await self._insist(lambda again: self._arrive(extension.vm, trigger, again), restore)
            case PolicyStateChanged():
                await self._hear(notification)
            case _:
                assert_never(notification)

    async def take(self, message: Message) -> None:
        """Do what a message of the deferrals queue asks for."""
        match message:
            case Look():
                await self.look(message)
            case Revisit(vm, reason, due):
                trigger = Trigger(f"sweep.{reason}.{due:%Y%m%dt%H%M%S.%fz}", due)
                await self._insist(lambda again: self._arrive(vm, trigger, again, revisit=reason), self._consider)
            case _:
                assert_never(message)

    async def look(self, look: Look) -> None:
        """Take up a row whose time has come; a check that the row no longer waits for is dropped."""
        trigger = Trigger(f"look.{look.due:%Y%m%dt%H%M%S.%fz}", look.due)
        await self._insist(lambda again: self._arrive(look.vm, trigger, again), partial(self._look, look=look))

    async def _look(self, visit: Visit, *, look: Look) -> None:
        waiting = visit.stored.get(look.extension)
        if waiting is None or waiting.row.outcome.final or waiting.row.next_attempt_at != look.due:
            _log.debug("%s %s: nothing waits for this check any more", look.vm.name, look.extension)
            return
        if look.due - visit.now > _EARLY:
            await self._ports.deferrals.schedule(look, visit.now)
            return
        # A clock that runs behind the queue's must not find the row "not due yet" and lose the check.
        await self._enforcement.visit(replace(visit, now=max(visit.now, look.due), reopens=frozenset()))

    async def _arrive(
        self,
        vm: VmId,
        trigger: Trigger,
        again: bool,
        *,
        created: bool = False,
        deletion: bool = False,
        revisit: str = "",
    ) -> Visit:
        now = self._ports.clock()
        reading = self._ports.ledger.read(vm, new=created and not again)
        if created:  # an install is likely to follow, and asks what is paused
            reading = self._pauses.beside(reading, vm, now)
        return Visit(vm, trigger, await reading, now, created=created, deletion=deletion, again=again, revisit=revisit)

    async def _written(self, visit: Visit) -> None:
        if not visit.stale:
            await self._consider(visit)

    async def _consider(self, visit: Visit) -> None:
        """Reconcile the VM for each extension for which this event has not been here before."""
        settled = {e for e, stored in visit.stored.items() if stored.row.event_id == visit.trigger.id}
        if (claim := visit.claim) and claim.trigger == visit.trigger.id:
            settled.add(claim.target)
        await self._enforcement.visit(replace(visit, settled=visit.settled | settled))

    async def _resume(self, visit: Visit) -> None:
        """If this event or check was here before and claimed, the checks that it may not have scheduled. Its worker may
        have died in between; rows that are further on were written after their check."""
        claim = visit.claim
        if visit.again or claim is None or claim.trigger != visit.trigger.id:
            return
        if visit.stored[claim.target].row.waiting_for is WaitingFor.CLAIM:
            await self._recorder.renew_checks(visit)

    async def _hear(self, finding: PolicyStateChanged) -> None:
        """Azure Policy's finding, if it is of a policy of ours and not older than what we did since."""
        meant = self._policies.for_finding(finding.definition_id, finding.assignment_id)
        if finding.compliant or meant == frozenset():
            _log.debug("%s: a finding of Azure Policy that is not for us", finding.vm.name)
            return

        async def arrive(again: bool) -> Visit:
            visit = await self._arrive(finding.vm, finding.trigger, again)
            settled = frozenset(e for e, s in visit.stored.items() if s.row.changed_since(finding.trigger.time))
            return replace(visit, policies=meant, settled=settled)

        await self._insist(arrive, self._consider)

    async def _wake(self, visit: Visit) -> None:
        if any(not stored.row.outcome.final for stored in visit.stored.values()):
            await self._enforcement.visit(replace(visit, reopens=frozenset()))

    async def _insist(
        self, arrive: Callable[[bool], Awaitable[Visit]], act: Callable[[Visit], Awaitable[None]]
    ) -> None:
        """Do what an event or check asks for. Whoever overtakes us may have read ARM before the event, so it is done
        again on what was written meanwhile, and never dropped."""
        for again in range(_TRIES):
            visit = await arrive(again > 0)
            await self._resume(visit)
            try:
                await act(visit)
            except LostRace:
                _log.info("%s: overtaken, reading again", visit.vm.name)
            else:
                return
        raise StorageError(f"{visit.vm.name}: overtaken {_TRIES} times")

    async def _close(self, visit: Visit) -> None:
        """The VM is said to be deleted: ARM is asked whether it is. A VM that has no row is not asked for."""
        if any(stored.row.outcome is not Outcome.GONE for stored in visit.stored.values()):
            await self._enforcement.visit(visit)

    async def _settle(self, visit: Visit, *, name: str, succeeded: bool) -> None:
        """An extension operation ended. It is a hint: what became of our request, ARM is asked."""
        if visit.stale:
            return
        rows = {e: s for e, s in visit.stored.items() if _waits_for(s.row, name)}
        waiting = any(s.row.waiting_for is WaitingFor.OPERATION for s in visit.stored.values())
        sent = [stored for stored in rows.values() if stored.row.in_flight]
        if succeeded and len(sent) == len(rows) == 1 and not waiting:
            await self._enforcement.confirm(visit, sent[0])
        elif rows or waiting:
            await self._enforcement.visit(replace(visit, reopens=frozenset(rows)))

    async def _restore(self, visit: Visit, *, name: str) -> None:
        """An extension was removed: policy may still want it, so the VM is looked at again."""
        named = {e: s.row for e, s in visit.stored.items() if s.row.extension_name.lower() == name.lower()}
        touched = frozenset(e for e, row in named.items() if row.outcome.present or _waits_for(row, name))
        if touched or any(s.row.waiting_for is WaitingFor.OPERATION for s in visit.stored.values()):
            await self._enforcement.visit(replace(visit, reopens=touched))


def _waits_for(row: Row, name: str) -> bool:
    """Whether the end of an operation on the extension of that name can change what the row says."""
    return row.extension_name.lower() == name.lower() and (not row.outcome.final or row.outcome is Outcome.FAILED)
