"""What a person does with pauses: begin one, list them, end one and make the machines due that waited for it.

The machines are found by the index of what is due, and each gets a reconcile request. The requests are spread, so that
ARM accepts them; what is missed, the next sweep finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from itertools import batched

from onboarding.application.ports import Clock, Ledger, PauseStore, ReconcileRequest, ScheduleQueue, StoredPause
from onboarding.application.row_queries import stored_subscriptions
from onboarding.domain.errors import LostRace
from onboarding.domain.limits.pause import KNOWN_AFTER, Pause, covering
from onboarding.domain.reconcile.drift import Reason
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId

# A row that is paused has its check within a day and a few minutes, or is late.
_CHECKED_WITHIN = timedelta(days=2)
_AT_ONCE = 32  # machines that are read, or messages that are sent, concurrently


class PauseRequests:
    """Begins, lists and ends pauses. One per command."""

    def __init__(self, store: PauseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def active(self) -> tuple[Pause, ...]:
        """The pauses that have not ended, the oldest first. Raises StorageError."""
        return tuple(stored.pause for stored in await self._active())

    async def begin(self, pause: Pause) -> Pause | None:
        """Begin a pause; returns the one of the same scope that it replaces, None without one. Raises StorageError."""
        while True:
            found = {stored.pause.scope: stored for stored in await self._store.read_all()}
            before = found.get(pause.scope)
            try:
                await self._store.write(pause, before.version if before else None, rest=before.rest if before else None)
            except LostRace:
                continue  # somebody else paused the same, and is to be named
            return before.pause if before and before.pause.active(self._clock()) else None

    async def end(self, scope: tuple[str, str] | None) -> tuple[Pause, ...]:
        """End the pause of exactly that scope (None: all pauses); returns those that were ended. Those that have ended
        by themselves are deleted on the way. Raises StorageError."""
        ended: list[Pause] = []
        now = self._clock()
        for stored in await self._store.read_all():
            if stored.pause.active(now) and scope not in (None, stored.pause.scope):
                continue
            try:
                await self._store.delete(stored)
            except LostRace:
                if stored.pause.active(now):
                    return (*ended, *await self.end(scope))  # it was written anew, and is to be ended as it is now
                continue
            if stored.pause.active(now):
                ended.append(stored.pause)
        return tuple(ended)

    async def make_due(self, ended: Sequence[Pause], ledger: Ledger, queue: ScheduleQueue, *, per_minute: int) -> int:
        """Request a reconciliation of each machine that these pauses held back and no other does; returns their number.
        So many of them become due per minute and subscription. Raises StorageError."""
        left = [pause for pause in await self.active() if pause not in ended]
        begin = self._clock() + KNOWN_AFTER
        total = 0
        async for subscription in _subscriptions(ended, ledger):
            requested = 0
            async for some in self._waiting(ledger, subscription, left):
                due = (begin + timedelta(minutes=(requested + n) / per_minute) for n in range(len(some)))
                now = self._clock()
                messages = [ReconcileRequest(vm, Reason.RESUMED.value, at) for vm, at in zip(some, due, strict=True)]
                await asyncio.gather(*(queue.schedule(message, now) for message in messages))
                requested += len(some)
            total += requested
        return total

    async def _waiting(self, ledger: Ledger, subscription: str, left: Sequence[Pause]) -> AsyncIterator[Sequence[VmId]]:
        """The machines of the subscription with a row that is paused and that none of the pauses `left` covers, in
        batches."""
        checks = [c async for c in ledger.overdue(subscription, self._clock() + _CHECKED_WITHIN)]
        vms = {check.vm.key: check.vm for check in checks}
        for some in batched(vms.values(), _AT_ONCE, strict=False):
            held_back = await asyncio.gather(*(self._is_held_back(ledger, vm, left) for vm in some))
            yield [vm for vm, held in zip(some, held_back, strict=True) if held]

    async def _is_held_back(self, ledger: Ledger, vm: VmId, left: Sequence[Pause]) -> bool:
        rows = [stored.row for stored in (await ledger.read(vm)).targets.values()]
        now = self._clock()
        return any(
            row.waiting_for is WaitingFor.PAUSED and covering(left, vm.subscription, (row.policy,), now) is None
            for row in rows
        )

    async def _active(self) -> list[StoredPause]:
        now = self._clock()
        found = [stored for stored in await self._store.read_all() if stored.pause.active(now)]
        return sorted(found, key=lambda stored: stored.pause.since)


async def _subscriptions(ended: Sequence[Pause], ledger: Ledger) -> AsyncIterator[str]:
    if all(pause.subscription for pause in ended):
        for subscription in sorted({pause.subscription for pause in ended}):
            yield subscription
        return
    async for subscription in stored_subscriptions(ledger):
        yield subscription
