"""Event Grid: topics are published to, subscriptions get what they asked for, at least once and in no order.

Differences from Azure, on purpose: retries come when the schedule says, without the jitter and the skipped steps
of the real one; an event's fate may be scripted; a subscription lives in memory, and its handshake has no
validation URL to click.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import aiohttp

from simulator.clock import Clock
from simulator.eventgrid.delivery import Counters, Delivery, Options, Parcel
from simulator.eventgrid.endpoint import Endpoint
from simulator.eventgrid.faults import Oracle
from simulator.eventgrid.schema import Event
from simulator.eventgrid.subscription import Subscription


class EventGrid:
    """Use as `async with EventGrid(clock, seed, options) as grid`; leaving drops what is still under way. `repeated`
    holds the events that were delivered once more, a copy for each time, and `lost` those that never will be."""

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
        """Shake hands with the endpoint and start to deliver; HandshakeFailed if it does not answer as it should."""
        if self._session is None:
            raise RuntimeError("enter the grid with `async with` before you subscribe")
        endpoint = Endpoint(self._session, subscription, self._options.answer_timeout)
        await endpoint.shake_hands(topic, self._clock.now())
        self._deliveries[subscription.name] = Delivery(
            subscription, endpoint, self._clock, self._options, self.counters
        )

    def unsubscribe(self, name: str) -> None:
        """New events are not delivered there any more; those under way still are."""
        self._deliveries.pop(name, None)

    def publish(self, event: Event) -> None:
        """Take an event in the Event Grid schema; returns at once."""
        self.counters.published += 1
        for delivery in self._deliveries.values():
            if delivery.subscription.filter.matches(event):
                self._send(delivery, event)

    async def idle(self) -> None:
        """Wait until nothing is under way: all is delivered, given up, or lost."""
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
        parcel = Parcel(event, self._clock.now(), self._clock.seconds())
        for delay in fate.delays:
            self._spawn(delivery.carry(parcel, delay))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
