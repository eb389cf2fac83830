"""Holds back writes that a person has paused. Every write to ARM passes `Sender.send`, and nothing else sends one.

A worker reads the pauses only when a write is due, all of them with one small query, and uses them for five seconds;
concurrent events share one read. A write whose pauses cannot be read is not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection
from datetime import datetime, timedelta

from onboarding.application.ports import Arm, Clock, PauseStore
from onboarding.concurrency import EVENT_S, SingleFlight, deadline, limit
from onboarding.domain.errors import StorageError
from onboarding.domain.limits.pause import Pause, covering
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId

_FRESH_FOR = timedelta(seconds=5)  # how long pauses are used after the moment at which their read began
_TRIES = 2  # a read that another event began may be too old when it ends


class Pauses:
    """The pauses, as this worker knows them."""

    def __init__(self, store: PauseStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: tuple[datetime, tuple[Pause, ...]] | None = None
        self._reads: SingleFlight[None, tuple[datetime, tuple[Pause, ...]]] = SingleFlight()

    async def find(self, vm: VmId, policies: Collection[str]) -> Pause | None:
        """The pause that holds back a write to the machine that is for these policies; None if it may go out. Raises
        StorageError."""
        return covering(await self._read(), vm.subscription, policies, self._clock())

    async def active(self) -> tuple[Pause, ...]:
        """All pauses that have not ended, the oldest first. Raises StorageError."""
        now = self._clock()
        return tuple(sorted((each for each in await self._read() if each.active(now)), key=lambda each: each.since))

    async def read_concurrently[T](self, other: Awaitable[T]) -> T:
        """The result of `other`. The pauses are read concurrently if they are too old. Raises StorageError."""
        if self._fresh() is not None:
            return await other
        result, _ = await asyncio.gather(other, self._read())
        return result

    async def _read(self) -> tuple[Pause, ...]:
        for _ in range(_TRIES):
            if (fresh := self._fresh()) is not None:
                return fresh
            try:
                async with asyncio.timeout(limit(None)):
                    began, read = await self._reads.run(None, self._read_all)
            except TimeoutError:
                break
            if self._is_fresh(began):
                return read
        raise StorageError(f"what people have paused could not be read within {_FRESH_FOR.seconds} s")

    async def _read_all(self) -> tuple[datetime, tuple[Pause, ...]]:
        began = self._clock()
        self._known = began, tuple(stored.pause for stored in await self._store.read_all())
        return self._known

    def _fresh(self) -> tuple[Pause, ...] | None:
        return self._known[1] if self._known is not None and self._is_fresh(self._known[0]) else None

    def _is_fresh(self, began: datetime) -> bool:
        return timedelta() <= self._clock() - began <= _FRESH_FOR


class Sender:
    """The one way of a write to ARM."""

    def __init__(self, arm: Arm, pauses: Pauses) -> None:
        self._arm = arm
        self._pauses = pauses

    async def send(
        self, vm: VmId, request: ArmRequest, policies: Collection[str], *, despite_pause: bool = False
    ) -> bool | Pause:
        """Send a write that is for these policies, unless it is paused: returns what `Arm.send` returns, or the pause.
        With `despite_pause` it is sent in any case. Raises ArmError, and StorageError if the pauses cannot be read:
        then nothing was sent.

        A command has no deadline, so the request gets that of an event: with the age of the pauses, no write begins
        later than 30 seconds after a pause was written."""
        if not despite_pause and (pause := await self._pauses.find(vm, policies)) is not None:
            return pause
        with deadline(EVENT_S):
            return await self._arm.send(vm, request)
