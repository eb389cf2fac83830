"""Event Grid: published events are delivered to the subscriptions whose filter matches, at least once and unordered.

Intended differences from Azure: retries follow the schedule exactly, without jitter and skipped steps; an event's fate
can be scripted; subscriptions are kept in memory, and their handshake has no validation URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import aiohttp

from simulator.clock import Clock
from simulator.eventgrid.delivery import Counters, Delivery, EventInTransit, Options
from simulator.eventgrid.endpoint import Endpoint
from simulator.eventgrid.faults import Oracle
from simulator.eventgrid.schema import Event
from simulator.eventgrid.subscription import Subscription


class EventGrid:
    """Use as `async with EventGrid(clock, seed, options) as grid`; leaving it drops undelivered events. `repeated`
    has the events that were delivered more than once, one entry for each repetition; `lost` those that were lost."""

    def __init__(self, clock: Clock, seed: int = 0, options: Options | None = None) -> None:
        self._clock = clock
        self._options = options or Options()
        self._oracle = Oracle(self._options.faults, seed)
        self._deliveries: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.counters = Counters()
        self.repeated: list[Event] = []
        self.lost: list[Event] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def subscribe(self, subscription: Subscription, topic: str = "") -> None:
        """Do the handshake with the endpoint and start to deliver; raises HandshakeFailed for a wrong answer."""
        if self._session is None:
            raise RuntimeError("enter the grid with `async with` before you subscribe")
        endpoint = Endpoint(self._session, subscription, self._options.answer_timeout)
        await endpoint.shake_hands(topic, self._clock.now())
        self._deliveries[subscription.name] = Delivery(
            subscription, endpoint, self._clock, self._options, self.counters
        )

    def unsubscribe(self, name: str) -> None:
        """Deliver no new events there; events under way are still delivered."""
        self._deliveries.pop(name, None)

    def publish(self, event: Event) -> None:
        """Accept an event in the Event Grid schema; returns at once."""
        self.counters.published += 1
        for delivery in self._deliveries.values():
            if delivery.subscription.filter.matches(event):
                self._send(delivery, event)

    async def idle(self) -> None:
        """Wait until every event is delivered, given up, or lost."""
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks)
            for task in done:
                task.result()

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _send(self, delivery: Delivery, event: Event) -> None:
        fate = self._oracle.fate(delivery.subscription.name, event)
        if not fate.delays:
            self.counters.lost += 1
            self.lost.append(event)
        self.counters.duplicated += max(0, len(fate.delays) - 1)
        self.repeated += [event] * (len(fate.delays) - 1)
        parcel = EventInTransit(event, self._clock.now(), self._clock.seconds())
        for delay in fate.delays:
            self._spawn(delivery.carry(parcel, delay))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
