"""Delivery of events to one subscription: first attempt, retries, and giving up.

The number of concurrent deliveries is limited. An endpoint whose failure is its own and not the event's is put on
probation: new events to it wait as well, as in Event Grid.
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
    """How events are delivered."""

    faults: Faults = field(default_factory=Faults)
    dead_letters: Path | None = None
    """The folder for dead letters; None: they are dropped."""
    dead_letter_delay: float = 300.0
    """In simulated seconds."""
    answer_timeout: float = 30.0
    """In real seconds."""
    max_concurrent_deliveries: int = 32
    probation: bool = True


@dataclass(slots=True)
class Counters:
    """Counts over all subscriptions; a duplicate counts as delivered too."""

    published: int = 0
    delivered: int = 0
    retried: int = 0
    duplicated: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class EventInTransit:
    """One event on its way; `born` is the clock's simulated second."""

    event: Event
    published: datetime
    born: float


class Delivery:
    """Delivers events to one subscription's endpoint."""

    def __init__(
        self, subscription: Subscription, endpoint: Endpoint, clock: Clock, options: Options, counters: Counters
    ) -> None:
        self.subscription = subscription
        self._endpoint = endpoint
        self._clock = clock
        self._options = options
        self._counters = counters
        self._waiting: deque[EventInTransit] = deque()
        self._slots = asyncio.Semaphore(options.max_concurrent_deliveries)
        self._held_until = 0.0

    async def carry(self, parcel: EventInTransit, after: float = 0.0) -> None:
        """Add the event to those that wait, then deliver these, alone or as a batch."""
        await self._clock.sleep(after)
        self._waiting.append(parcel)
        await self._clock.sleep(max(0.0, self._held_until - self._clock.seconds()))
        async with self._slots:
            batch = self._take()
            answer = await self._attempt(batch, 1) if batch else None
        if answer is not None:
            await self._pursue(batch, answer)

    async def _pursue(self, batch: Sequence[EventInTransit], answer: Answer) -> None:
        """Try until the event is accepted or given up."""
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

    async def _wait_for_next(self, batch: Sequence[EventInTransit], attempts: int, answer: Answer) -> str | None:
        """Wait for the next attempt, or return why there will be no other. The age is checked only when one is due."""
        policy = self.subscription.retry
        wait = retry.delay(attempts, answer, self.subscription.endpoint_type)
        if wait is None:
            return retry.refusal_reason(answer)
        if attempts >= policy.max_delivery_attempts:
            return "MaxDeliveryAttemptsExceeded"
        await self._clock.sleep(wait)
        expired = self._clock.seconds() - batch[0].born > policy.time_to_live
        return "TimeToLiveExceeded" if expired else None

    async def _attempt(self, batch: Sequence[EventInTransit], attempt: int) -> Answer:
        answer = await self._endpoint.deliver([parcel.event for parcel in batch], attempt - 1)
        if self._options.probation:
            self._held_until = max(self._held_until, self._clock.seconds() + retry.probation(answer))
        return answer

    async def _give_up(self, batch: Sequence[EventInTransit], letter: DeadLetter) -> None:
        if self._options.dead_letters is None or not self.subscription.dead_letter:
            self._counters.dropped += len(batch)
            return
        await self._clock.sleep(self._options.dead_letter_delay)
        events = [parcel.event for parcel in batch]
        letters = DeadLetters(self._options.dead_letters)
        await asyncio.to_thread(letters.write, self.subscription.name, self.subscription.schema, events, letter)
        self._counters.dead_lettered += len(batch)

    def _take(self) -> list[EventInTransit]:
        size = min(len(self._waiting), self.subscription.max_events_per_batch)
        return [self._waiting.popleft() for _ in range(size)]
