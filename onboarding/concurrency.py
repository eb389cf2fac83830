"""The deadline of one event, which limits each of its steps, and calls that concurrent events share.

Event Grid waits 30 seconds and then delivers the event again, even if the first delivery is still being handled, so an
event must end before that. A context variable carries the deadline to all tasks of the event. The command line and the
sweep set no deadline; there, each step has only its own timeout.
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

EVENT_S = 25.0  # how long one event may take
_RESERVED_SHARE = 0.2  # the share of it that is reserved for the last writes to storage

type Monotonic = Callable[[], float]


class _Deadline(Struct, frozen=True):
    ends: float  # seconds, on this clock
    reserved: float  # seconds
    clock: Monotonic


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float, clock: Monotonic = time.monotonic) -> Iterator[None]:
    """Give everything inside so many seconds. Of nested deadlines, the earlier one applies."""
    before = _current.get()
    set_to = _Deadline(clock() + seconds, seconds * _RESERVED_SHARE, clock)
    token = _current.set(set_to if before is None or remaining() > seconds else before)
    try:
        yield
    finally:
        _current.reset(token)


def remaining(*, keep_reserve: bool = False) -> float:
    """The seconds that are left, at least zero; infinite without a deadline.

    `keep_reserve` leaves out the time that is reserved for the last writes to storage: requests to anything else use
    it."""
    current = _current.get()
    if current is None:
        return math.inf
    reserved = current.reserved if keep_reserve else 0.0
    return max(0.0, current.ends - reserved - current.clock())


def limit(seconds: float | None, *, keep_reserve: bool = False) -> float | None:
    """A step's own timeout in seconds (None: it has none), cut to the time that is left; None: there is no limit."""
    left = min(math.inf if seconds is None else seconds, remaining(keep_reserve=keep_reserve))
    return None if math.isinf(left) else left


class SingleFlight[K: Hashable, T]:
    """Lets concurrent callers share one call per key.

    A caller that stops waiting does not cancel the call for the others. An error is raised for every caller that waits;
    if none does any more, it is dropped."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[T]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._tasks

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the call that is under way for that key; without one, of this call."""
        task = self._tasks.get(key)
        if task is None:
            # An empty context, so that the first caller's deadline does not limit it: others may have more time.
            task = asyncio.create_task(self._run(key, call), context=Context())
            task.add_done_callback(_retrieve_exception)
            self._tasks[key] = task
        return await asyncio.shield(task)

    def close(self) -> None:
        """Cancel the calls that are under way."""
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
