"""Send events to an implementation, so many at once or so many a second, and measure the run."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

type RunEvent = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """One run. Times are of the monotonic clock, which all processes of a machine share."""

    events: int
    """How many events ended."""
    seconds: float
    cpu_ms: float
    """Milliseconds of CPU for one event."""
    started: dict[int, float]
    """When each event began, by its number."""
    ended: dict[int, float]
    """When each event ended, by its number."""

    def plain(self) -> dict[str, Any]:
        return asdict(self)


async def drive(run_event: RunEvent, events: int, *, concurrency: int, rate: float, seconds: float) -> LoadResult:
    """`rate` 0: as fast as `concurrency` allows. No event begins after `seconds`."""
    started: dict[int, float] = {}
    ended: dict[int, float] = {}
    numbers = itertools.count()
    began, cpu = time.monotonic(), time.process_time()

    async def one(number: int) -> None:
        started[number] = time.monotonic()
        await run_event(number)
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
    return LoadResult(done, took, 1000 * (time.process_time() - cpu) / max(1, done), started, ended)


async def _at_rate(one: RunEvent, events: int, rate: float) -> None:
    """Start events at even intervals, whether or not earlier ones have ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(events):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            group.create_task(one(number))  # type: ignore[arg-type]
