"""Time for the simulators: real timestamps, and durations that can be shortened.

A simulated duration takes `seconds / scale` of real time, while `now()` stays the wall clock: the product compares
our timestamps with its own clock, and tokens expire in real time. `ManualClock` is for tests: nothing happens until
the test calls `advance`, so that no test has to sleep.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Timer(Protocol):
    """The result of `call_later`."""

    def cancel(self) -> None: ...


class Clock:
    """The wall clock, with every simulated duration divided by `scale`."""

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError(f"clock scale must be above 0, not {scale}: 60 plays a minute in a second")
        self.scale = scale

    def now(self) -> datetime:
        return datetime.now(UTC)

    def seconds(self) -> float:
        """Simulated seconds of a monotonic clock; only differences have a meaning."""
        return time.monotonic() * self.scale

    def real(self, seconds: float) -> float:
        """A simulated duration in real seconds."""
        return seconds / self.scale

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return asyncio.get_running_loop().call_later(max(0.0, self.real(seconds)), callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, self.real(seconds)))


class ManualClock(Clock):
    """A clock that stands still until `advance`; timers then run in the order in which they are due."""

    def __init__(self, start: datetime | None = None) -> None:
        super().__init__(1.0)
        self._start = start or datetime.now(UTC)
        self._elapsed = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def seconds(self) -> float:
        return self._elapsed

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = _ManualTimer(callback)
        heapq.heappush(self._due, (self._elapsed + max(0.0, seconds), next(self._order), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.Event()
        self.call_later(seconds, woken.set)
        await woken.wait()

    @property
    def next_due(self) -> float | None:
        """The simulated second of the next timer, if there is one."""
        return self._due[0][0] if self._due else None

    async def advance(self, seconds: float) -> None:
        """Let that much simulated time pass; tasks that a timer starts run before the next timer is due."""
        until = self._elapsed + seconds
        while self._due and self._due[0][0] <= until:
            self._elapsed, _, timer = heapq.heappop(self._due)
            timer.fire()
            await asyncio.sleep(0)
        self._elapsed = until
        await asyncio.sleep(0)


class _ManualTimer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()
