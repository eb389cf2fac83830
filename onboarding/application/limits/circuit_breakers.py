"""Decides which machines wait for an open circuit breaker, and which one probes it.

Each worker caches the breakers for some seconds and reads them again concurrently with another read of the event, so
that an event takes no longer for it. The stored row decides: of all workers that want to probe a breaker, the one
whose conditional write succeeds does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any

from onboarding.application.ports import BreakerStore, StoredBreaker
from onboarding.domain.errors import LostRace
from onboarding.domain.failures.classification import Cause
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, CircuitBreaker, breaker_for
from onboarding.domain.reconcile.decision import Decision, RetryState, Wait
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId
from onboarding.logging import logger

_log = logger(__name__)

_FRESH_FOR = timedelta(seconds=15)  # how long cached breakers are used
_MAX_SUBSCRIPTIONS = 512  # whose breakers are cached


class CircuitBreakers:
    """The open breakers of all subscriptions, as this worker knows them."""

    def __init__(self, store: BreakerStore) -> None:
        self._store = store
        self._known: dict[str, tuple[datetime, tuple[StoredBreaker, ...]]] = {}
        self._reading: dict[str, asyncio.Lock] = {}
        self._changes = 0  # counts this worker's writes: a read that began before one of them is not cached

    async def read_concurrently[T](self, other: Awaitable[T], vm: VmId, now: datetime) -> T:
        """The result of `other`. The VM's breakers are read concurrently if the cache is too old. Raises
        StorageError."""
        if all(self._is_fresh(each, now) for each in _subscriptions(vm)):
            return await other
        result, _ = await asyncio.gather(other, self._read(vm, now))
        return result

    async def find_open(
        self, vm: VmId, extension: str, settings: str, now: datetime, *, probe: bool = True
    ) -> CircuitBreaker | None:
        """The open breaker that this VM has to wait for; None if no breaker covers it, or if this VM probes it.

        `settings` is the digest of the settings that would be sent. Without `probe`, the VM does not probe. Raises
        StorageError."""
        found = await self._find(vm, extension, settings, now)
        if found is None:
            return None
        if not (probe and found.breaker.may_probe(vm, now)):
            return found.breaker
        try:
            await self._store.write(found.breaker.probed(vm, now), found.version, rest=found.rest)
        except LostRace:
            return found.breaker
        finally:
            self._forget(found.breaker)
        _log.bind(machine=str(vm), target=extension).info("this VM probes an open circuit breaker: %s", found.breaker)
        return None

    async def record_failure[D: Decision](
        self,
        vm: VmId,
        extension: str,
        settings: str,
        decision: D,
        retry: RetryState,
        *,
        sent: Mapping[str, Any] | None = None,
    ) -> D | Wait:
        """Open a breaker if the decision says that the problem is not this VM's alone; returns the decision, with the
        moment that the breaker gives the VM.

        A breaker that is open already stays open; if its next probe is due, this failure was it. `sent` are the public
        settings of the request that was refused; None: no request was refused. Raises StorageError."""
        if not isinstance(decision, Wait) or decision.waiting_for is not WaitingFor.SCOPE_BREAKER:
            return decision
        problem = decision.problem
        if problem is None or problem.cause is Cause.UNKNOWN:
            return decision  # the row waits on, for what was found earlier
        breaker = breaker_for(vm, extension, problem, settings, sent or {}, retry.now)
        self._forget(breaker)
        try:
            await self._store.write(breaker, None)
        except LostRace:
            await self.find_open(vm, extension, settings, retry.now)
            found = await self._find(vm, extension, settings, retry.now)
            return found.breaker.hold(vm, decision, retry) if found else decision
        _log.bind(machine=str(vm), target=extension).error("%s %s", breaker, breaker.advice)
        return breaker.hold(vm, decision, retry)

    async def close_on_success(
        self, vm: VmId, extension: str, settings: str, requested_at: datetime | None, now: datetime, *, installed: bool
    ) -> None:
        """Close the breakers that covered this VM before a request that ARM accepted or whose handler succeeded.

        `requested_at` is when that request was sent (UTC; None: unknown). `installed` says that the handler reported
        success. A breaker that was written since it was read stays open. Raises StorageError."""
        for stored in await self._read(vm, now):
            breaker = stored.breaker
            if breaker.covers(vm, extension, settings) and breaker.closed_by(requested_at, installed=installed):
                self._forget(breaker)
                try:
                    await self._store.delete(breaker, stored.version)
                except LostRace:
                    continue
                _log.bind(machine=str(vm), target=extension).warning("circuit breaker closed: %s", breaker)

    async def _find(self, vm: VmId, extension: str, settings: str, now: datetime) -> StoredBreaker | None:
        read = await self._read(vm, now)
        return next((stored for stored in read if stored.breaker.covers(vm, extension, settings)), None)

    async def _read(self, vm: VmId, now: datetime) -> tuple[StoredBreaker, ...]:
        """The open breakers of the VM's subscription, and those of all subscriptions."""
        own, common = await asyncio.gather(*(self._read_one(each, now) for each in _subscriptions(vm)))
        return own + common

    async def _read_one(self, subscription: str, now: datetime) -> tuple[StoredBreaker, ...]:
        """The cached breakers, read again if they are too old. Concurrent callers share one read."""
        if self._is_fresh(subscription, now):
            return self._known[subscription][1]
        async with self._reading.setdefault(subscription, asyncio.Lock()):
            if self._is_fresh(subscription, now):
                return self._known[subscription][1]
            changes = self._changes
            read = await self._store.read(subscription)
            if changes == self._changes:  # otherwise this worker wrote meanwhile, and the read may be older
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
    """The two partitions that can hold a breaker for the VM."""
    return vm.subscription.lower(), EVERYWHERE
