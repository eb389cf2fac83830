"""The line's door: what each kind of notification, and each timed look, asks for.

It raises only when nothing could be written down (StorageError), so that the event is delivered again; everything
else ends as an outcome. It works from what ARM says, not from what the table expects.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import assert_never

from onboarding.core.errors import LostRace, StorageError
from onboarding.core.outcome import Outcome, Row, WaitingFor
from onboarding.core.record import closed
from onboarding.core.resource_id import VmId
from onboarding.enforce import Enforcement, Rules
from onboarding.events import (
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
from onboarding.ports import Look, Message, Ports, Revisit
from onboarding.visit import Visit

_log = logging.getLogger(__name__)

# A queue hides a message for 7 days at the most: a look that is due later comes early and is put back.
_EARLY = timedelta(minutes=10)
_TRIES = 5


class Onboarding:
    """Takes notifications and looks. One per process; holds no state of its own."""

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._ports = ports
        self._policies = rules.policies
        self._wanted = frozenset(policy.extension for policy in rules.policies.policies)
        self._enforcement = Enforcement(ports, rules)
        self._recorder = self._enforcement.recorder

    async def handle(self, notification: Notification) -> None:
        """Do what a notification asks for."""
        match notification:
            case Ignored(reason):
                _log.debug("ignored: %s", reason)
            case VmWritten(vm, trigger, created):
                # Of a VM that is new, a row of an extension that no policy names any more has nothing to tell.
                only = self._wanted if created else ()
                await self._consider(await self._arrive(vm, trigger, created=created, only=only))
            case VmStarted(vm, trigger):
                await self._wake(await self._arrive(vm, trigger))
            case VmDeleted(vm, trigger):
                await self._insist(vm, trigger, self._close)
            case ExtensionWritten(extension, trigger, succeeded):
                settle = partial(self._settle, name=extension.name, succeeded=succeeded)
                await self._insist(extension.vm, trigger, settle)
            case ExtensionDeleted(extension, trigger):
                await self._restore(await self._arrive(extension.vm, trigger), extension.name)
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
                await self._consider(await self._arrive(vm, trigger))
            case _:
                assert_never(message)

    async def look(self, look: Look) -> None:
        """Take up a row whose time has come; a look that the row no longer waits for is dropped."""
        stored = await self._ports.ledger.read(look.vm)
        waiting = stored.get(look.extension)
        if waiting is None or waiting.row.outcome.final or waiting.row.next_attempt_at != look.due:
            _log.debug("%s %s: nothing waits for this look any more", look.vm.name, look.extension)
            return
        if look.due - self._ports.clock() > _EARLY:
            await self._ports.deferrals.schedule(look, self._ports.clock())
            return
        trigger = Trigger(f"look.{look.due:%Y%m%dt%H%M%S.%fz}", look.due)
        # A clock that runs behind the queue's must not find the row "not due yet" and lose the look.
        now = max(self._ports.clock(), look.due)
        await self._enforcement.visit(Visit(look.vm, trigger, stored, now))

    async def _arrive(self, vm: VmId, trigger: Trigger, *, created: bool = False, only: Collection[str] = ()) -> Visit:
        reading = self._ports.ledger.read(vm, only)
        if created:  # an install is likely to follow, and asks what is paused
            reading = self._enforcement.pauses.beside(reading, vm, self._ports.clock())
        return Visit(vm, trigger, await reading, self._ports.clock(), created)

    async def _consider(self, visit: Visit) -> None:
        known = [stored.row for stored in visit.stored.values() if stored.row.event_id == visit.trigger.id]
        if not known:
            await self._enforcement.visit(visit)
        for row in known:
            # This event was here before. Its worker may have died between the claim and the look; later rows are
            # written after their look.
            if row.next_attempt_at and row.waiting_for is WaitingFor.CLAIM:
                look = Look(visit.vm, row.extension, row.next_attempt_at)
                await self._ports.deferrals.schedule(look, visit.now)

    async def _hear(self, finding: PolicyStateChanged) -> None:
        """Azure Policy's finding, if it is of a policy of ours and not older than what we did since."""
        meant = self._policies.for_finding(finding.definition_id, finding.assignment_id)
        if finding.compliant or meant == frozenset():
            _log.debug("%s: a finding of Azure Policy that is not for us", finding.vm.name)
            return
        visit = await self._arrive(finding.vm, finding.trigger)
        settled = frozenset(e for e, s in visit.stored.items() if s.row.changed_since(finding.trigger.time))
        visit = replace(visit, policies=meant, settled=settled)
        if any(visit.concerns(policy) for policy in self._policies.policies):
            await self._consider(visit)

    async def _wake(self, visit: Visit) -> None:
        if any(not stored.row.outcome.final for stored in visit.stored.values()):
            await self._enforcement.visit(visit)

    async def _insist(self, vm: VmId, trigger: Trigger, end: Callable[[Visit, bool], Awaitable[None]]) -> None:
        """End rows by what an event says. Whoever overtakes us may have read ARM before the event, so it is done again
        on what was written meanwhile, and never dropped."""
        for again in range(_TRIES):
            try:
                await end(await self._arrive(vm, trigger), again > 0)
            except LostRace:
                _log.info("%s: overtaken, reading again", vm.name)
            else:
                return
        raise StorageError(f"{vm.name}: overtaken {_TRIES} times")

    async def _close(self, visit: Visit, again: bool) -> None:
        """The VM was deleted. A deletion older than the row's own event was that of a VM of the same name."""
        for stored in visit.stored.values():
            row = stored.row
            if row.outcome is not Outcome.GONE and (row.event_time is None or row.event_time <= visit.trigger.time):
                gone = closed(row, Outcome.GONE, "the VM was deleted", visit.now)
                await self._recorder.write(visit, gone, stored.version, again=again)

    async def _settle(self, visit: Visit, again: bool, *, name: str, succeeded: bool) -> None:
        """An extension operation ended. Success of what we asked for needs no call: the event is ARM's own word."""
        doubtful = False
        for stored in visit.stored.values():
            row = stored.row
            named = row.extension_name.lower() == name.lower()
            if succeeded and named and _asked(row, visit.trigger):
                done = closed(row, Outcome.INSTALLED, "the handler reports success", visit.now)
                await self._recorder.write(visit, done, stored.version, again=again)
            elif _unsettled(row, named=named, succeeded=succeeded):
                doubtful = True
        if doubtful:
            await self._enforcement.visit(visit)

    async def _restore(self, visit: Visit, name: str) -> None:
        """Our extension was removed: policy may still want it, so the VM is looked at again."""
        if any(stored.row.extension_name.lower() == name.lower() for stored in visit.stored.values()):
            await self._enforcement.visit(visit)


def _asked(row: Row, trigger: Trigger) -> bool:
    """Whether we asked for this extension before the event says that it was written."""
    asking = row.waiting_for in (WaitingFor.CLAIM, WaitingFor.INSTALL)
    return asking and row.event_time is not None and row.event_time < trigger.time


def _unsettled(row: Row, *, named: bool, succeeded: bool) -> bool:
    """Whether the end of an extension operation can change what the row says. Under a name that is not ours it can
    only be somebody's own install of the same handler."""
    if row.outcome.present:
        return named and not succeeded
    if named and not row.outcome.final:
        return True
    return row.outcome is Outcome.FAILED or row.waiting_for is WaitingFor.OPERATION
