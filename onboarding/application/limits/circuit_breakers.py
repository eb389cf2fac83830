"""Who may ask ARM on behalf of a paused scope, and who waits.

Each worker keeps what it read for some seconds, and reads again beside something else that an event has to wait for, so
that an event of a healthy scope costs no extra trip to storage. The row is the truth: of all that want to probe, the
one whose conditional write wins does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any

from onboarding.application.ports import BreakerStore, StoredBreaker
from onboarding.domain.errors import LostRace
from onboarding.domain.failures.classification import Cause
from onboarding.domain.json_access import printable
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, CircuitBreaker, breaker_for
from onboarding.domain.reconcile.decision import Decision, Wait
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId

_log = logging.getLogger(__name__)

_FRESH_FOR = timedelta(seconds=15)
_MAX_SUBSCRIPTIONS = 512  # subscriptions


class CircuitBreakers:
    """The pauses of all subscriptions, as far as this worker knows."""

    def __init__(self, store: BreakerStore) -> None:
        self._store = store
        self._known: dict[str, tuple[datetime, tuple[StoredBreaker, ...]]] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._changes = 0  # of ours: what was read before one of them is old

    async def read_concurrently[T](self, other: Awaitable[T], vm: VmId, now: datetime) -> T:
        """The result of `other`; the pauses are read meanwhile if it is time. Raises StorageError."""
        if all(self._is_fresh(each, now) for each in _subscriptions(vm)):
            return await other
        result, _ = await asyncio.gather(other, self._read(vm, now))
        return result

    async def find_open(self, vm: VmId, extension: str, settings: str, now: datetime) -> CircuitBreaker | None:
        """The pause that keeps this VM waiting; None if there is none, or if this VM is the one that probes it.
        `settings` is the digest of those that would be sent."""
        read = await self._read(vm, now)
        found = next((s for s in read if s.breaker.covers(vm, extension, settings)), None)
        if found is None:
            return None
        if now < found.breaker.next_probe_at:
            return found.breaker
        try:
            await self._store.write(found.breaker.probed(now), found.version)
        except LostRace:
            return found.breaker
        finally:
            self._forget(found.breaker)
        _log.info("%s: probing, since %s", vm.name, printable(str(found.breaker)))
        return None

    async def record_failure(
        self,
        vm: VmId,
        extension: str,
        settings: str,
        decision: Decision,
        now: datetime,
        *,
        sent: Mapping[str, Any] | None = None,
    ) -> None:
        """If a decision says that the trouble is not this VM's alone, pause what is at fault. The first proof is what
        is written. `sent` are the public settings of a request that was refused, None where none was."""
        if not isinstance(decision, Wait) or decision.waiting_for is not WaitingFor.SCOPE_BREAKER:
            return
        problem = decision.problem
        if problem is None or problem.cause is Cause.UNKNOWN:
            return  # a row that waits on, whose own words tell no cause any more
        breaker = breaker_for(vm, extension, problem, settings, sent or {}, now)
        self._forget(breaker)
        try:
            await self._store.write(breaker, None)
        except LostRace:
            return
        _log.error("%s %s", printable(str(breaker)), printable(breaker.advice))

    async def close_on_success(
        self, vm: VmId, extension: str, settings: str, requested_at: datetime | None, now: datetime, *, installed: bool
    ) -> None:
        """ARM took a request, or the handler reported success: what was paused for this VM before that request goes
        on. A pause that was written since it was read stays."""
        for stored in await self._read(vm, now):
            breaker = stored.breaker
            if breaker.covers(vm, extension, settings) and breaker.closed_by(requested_at, installed=installed):
                self._forget(breaker)
                try:
                    await self._store.delete(breaker, stored.version)
                except LostRace:
                    continue
                _log.warning("no longer: %s", printable(str(breaker)))

    async def _read(self, vm: VmId, now: datetime) -> tuple[StoredBreaker, ...]:
        """The pauses of the VM's subscription, and those of every subscription."""
        own, common = await asyncio.gather(*(self._read_one(each, now) for each in _subscriptions(vm)))
        return own + common

    async def _read_one(self, subscription: str, now: datetime) -> tuple[StoredBreaker, ...]:
        """What is known; of all that find it too old at once, one reads."""
        if self._is_fresh(subscription, now):
            return self._known[subscription][1]
        async with self._reading.setdefault(subscription, asyncio.Lock()):
            if self._is_fresh(subscription, now):
                return self._known[subscription][1]
            changes = self._changes
            read = await self._store.read(subscription)
            if changes == self._changes:  # else it may be from before a change of ours: good for once
                self._keep(subscription, now, read)
            return read

    def _keep(self, subscription: str, now: datetime, read: tuple[StoredBreaker, ...]) -> None:
        self._known.pop(subscription, None)
        while len(self._known) >= _MAX_SUBSCRIPTIONS:
            del self._known[next(iter(self._known))]
        self._known[subscription] = (now, read)
        for idle in [each for each, lock in self._reading.items() if each not in self._known and not lock.locked()]:
            del self._reading[idle]

    def _forget(self, breaker: CircuitBreaker) -> None:
        self._changes += 1
        self._known.pop(breaker.subscription, None)

    def _is_fresh(self, subscription: str, now: datetime) -> bool:
        return subscription in self._known and now - self._known[subscription][0] <= _FRESH_FOR


def _subscriptions(vm: VmId) -> tuple[str, str]:
    """Where a pause that concerns the VM can stand."""
    return vm.subscription.lower(), EVERYWHERE
