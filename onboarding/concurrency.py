"""The time that one event has, which every step that it takes draws on.

Event Grid waits 30 seconds and then delivers again, whatever became of the first delivery; so an event ends in time by
itself. The deadline goes with the event through all its tasks (a context variable), not through every signature.
Where none is set, as on the command line and in the sweep, each step has its own timeout alone.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any

from msgspec import Struct

EVENT_S = 25.0
_RESERVED_SHARE = (
    0.2  # the share of an event's time that only its last steps may use: writing down what became of the others
)

type Monotonic = Callable[[], float]


class _Deadline(Struct, frozen=True):
    ends: float
    reserved: float
    clock: Monotonic


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float, clock: Monotonic = time.monotonic) -> Iterator[None]:
    """Everything inside has to end within so many seconds. Inside another deadline, the earlier one holds."""
    before = _current.get()
    set_to = _Deadline(clock() + seconds, seconds * _RESERVED_SHARE, clock)
    token = _current.set(set_to if before is None or remaining() > seconds else before)
    try:
        yield
    finally:
        _current.reset(token)


def remaining(*, keep_reserve: bool = False) -> float:
    """The seconds that are left, zero at the least; infinite without a deadline. `for_others` leaves out what is kept
    for writing down how it went: it is what a step may spend on asking anybody but the storage account."""
    current = _current.get()
    if current is None:
        return math.inf
    reserved = current.reserved if keep_reserve else 0.0
    return max(0.0, current.ends - reserved - current.clock())


def limit(seconds: float | None, *, keep_reserve: bool = False) -> float | None:
    """A step's own timeout, cut to what is left; None if neither bounds it. For `asyncio.timeout`."""
    left = min(math.inf if seconds is None else seconds, remaining(keep_reserve=keep_reserve))
    return None if math.isinf(left) else left


class SingleFlight[K: Hashable, T]:
    """Questions that are under way, each asked once. Who stops waiting stops nobody else's wait, and an error is that
    of whoever waits for it; where nobody does any more, it is nobody's."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._tasks

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to the question that is under way for that key, or to this one."""
        task = self._tasks.get(key)
        if task is None:
            # Not a part of the event that happens to come first: others wait for it, whose time ends later.
            task = asyncio.create_task(self._run(key, call), context=Context())
            task.add_done_callback(_retrieve_exception)
            self._tasks[key] = task
        return await asyncio.shield(task)

    def close(self) -> None:
        """Nobody waits for what is still under way."""
        for task in self._tasks.values():
            task.cancel()

    async def _run(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await call()
        finally:
            del self._tasks[key]


def _retrieve_exception(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
