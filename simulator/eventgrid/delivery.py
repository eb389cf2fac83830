"""The way of events to one subscription: first attempt, retries, and what is given up.

At most a few deliveries are under way at once. An endpoint that fails in a way that speaks of itself, not of the
event, is put on probation: new events wait as well, which is what Event Grid does to everybody behind a sick one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from simulator.clock import Clock
from simulator.eventgrid import retry
from simulator.eventgrid.dead_letters import DeadLetters
from simulator.eventgrid.endpoint import Endpoint
from simulator.eventgrid.faults import Faults
from simulator.eventgrid.retry import Answer
from simulator.eventgrid.schema import DeadLetter, Event
from simulator.eventgrid.subscription import Subscription


@dataclass(frozen=True, slots=True)
class Options:
    """`dead_letter_delay` is seconds of the cloud, `answer_timeout` real seconds; no folder drops what is given up."""

    faults: Faults = field(default_factory=Faults)
    dead_letters: Path | None = None
    dead_letter_delay: float = 300.0
    answer_timeout: float = 30.0
    max_concurrent_deliveries: int = 32
    probation: bool = True


@dataclass(slots=True)
class Counters:
    """What happened so far, over all subscriptions; a duplicate counts as delivered, too."""

    published: int = 0
    delivered: int = 0
    retried: int = 0
    duplicated: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Parcel:
    """One event on its way; `born` is on the clock's own axis."""

    event: Event
    published: datetime
    born: float


class Delivery:
    """Carries events to one subscription's endpoint."""

    def __init__(
        self, subscription: Subscription, endpoint: Endpoint, clock: Clock, options: Options, counters: Counters
    ) -> None:
        self.subscription = subscription
        self._endpoint = endpoint
        self._clock = clock
        self._options = options
        self._counters = counters
        self._waiting: deque[Parcel] = deque()
        self._slots = asyncio.Semaphore(options.max_concurrent_deliveries)
        self._held_until = 0.0

    async def carry(self, parcel: Parcel, after: float = 0.0) -> None:
        """Bring the event in, then carry what waits, this one or a batch, to its end."""
        await self._clock.sleep(after)
        self._waiting.append(parcel)
        await self._clock.sleep(max(0.0, self._held_until - self._clock.seconds()))
        async with self._slots:
            batch = self._take()
            answer = await self._attempt(batch, 1) if batch else None
        if answer is not None:
            await self._pursue(batch, answer)

    async def _pursue(self, batch: Sequence[Parcel], answer: Answer) -> None:
        """Try again and again until it is accepted or given up."""
        attempts = 1
        while not answer.accepted:
            attempted = self._clock.now()
            reason = await self._wait_for_next(batch, attempts, answer)
            if reason is not None:
                letter = DeadLetter(reason, attempts, answer.outcome, batch[0].published, attempted)
                return await self._give_up(batch, letter)
            attempts += 1
            self._counters.retried += len(batch)
            async with self._slots:
                answer = await self._attempt(batch, attempts)
        self._counters.delivered += len(batch)
        return None

    async def _wait_for_next(self, batch: Sequence[Parcel], attempts: int, answer: Answer) -> str | None:
        """Wait out the schedule; a reason when there is no next attempt. The age is looked at only when one is due."""
        policy = self.subscription.retry
        wait = retry.delay(attempts, answer, self.subscription.endpoint_type)
        if wait is None:
            return retry.refusal_reason(answer)
        if attempts >= policy.max_delivery_attempts:
            return "MaxDeliveryAttemptsExceeded"
        await self._clock.sleep(wait)
        expired = self._clock.seconds() - batch[0].born > policy.time_to_live
        return "TimeToLiveExceeded" if expired else None

    async def _attempt(self, batch: Sequence[Parcel], attempt: int) -> Answer:
        answer = await self._endpoint.deliver([parcel.event for parcel in batch], attempt - 1)
        if self._options.probation:
            self._held_until = max(self._held_until, self._clock.seconds() + retry.probation(answer))
        return answer

    async def _give_up(self, batch: Sequence[Parcel], letter: DeadLetter) -> None:
        if self._options.dead_letters is None or not self.subscription.dead_letter:
            self._counters.dropped += len(batch)
            return
        await self._clock.sleep(self._options.dead_letter_delay)
        events = [parcel.event for parcel in batch]
        letters = DeadLetters(self._options.dead_letters)
        await asyncio.to_thread(letters.write, self.subscription.name, self.subscription.schema, events, letter)
        self._counters.dead_lettered += len(batch)

    def _take(self) -> list[Parcel]:
        size = min(len(self._waiting), self.subscription.max_events_per_batch)
        return [self._waiting.popleft() for _ in range(size)]
