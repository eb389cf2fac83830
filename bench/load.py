"""Drives a contestant: so many events at once, or so many a second; and what that took."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

type Once = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Taken:
    """One run. Times are of the monotonic clock, which all processes of a machine share."""

    events: int
    seconds: float
    cpu_ms: float
    started: dict[int, float]
    ended: dict[int, float]

    def plain(self) -> dict[str, Any]:
        return asdict(self)


async def drive(once: Once, events: int, *, concurrency: int, rate: float, seconds: float) -> Taken:
    """`rate` 0: as fast as `concurrency` allows. No event begins after `seconds`."""
    started: dict[int, float] = {}
    ended: dict[int, float] = {}
    numbers = itertools.count()
    began, cpu = time.monotonic(), time.process_time()

    async def one(number: int) -> None:
        started[number] = time.monotonic()
        await once(number)
        ended[number] = time.monotonic()

    async def in_turn() -> None:
        while (number := next(numbers)) < events and time.monotonic() - began < seconds:
            await one(number)

    if rate:
        await _at_rate(one, min(events, int(rate * seconds)), rate)
    else:
        await asyncio.gather(*(in_turn() for _ in range(concurrency)))
    took = time.monotonic() - began
    done = len(ended)
    return Taken(done, took, 1000 * (time.process_time() - cpu) / max(1, done), started, ended)


async def _at_rate(one: Once, events: int, rate: float) -> None:
    """Evenly, whether or not those before have ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(events):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            group.create_task(one(number))  # type: ignore[arg-type]
