"""The time that one event has, which every step that it takes draws on.

Event Grid waits 30 seconds and then delivers again, whatever became of the first delivery; so an event ends in time by
itself. The deadline goes with the event through all its tasks (a context variable), not through every signature.
Where none is set, as on the command line and in the sweep, each step has its own timeout alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from msgspec import Struct

EVENT_S = 25.0
_KEPT = 0.2  # the share of an event's time that only its last steps may use: writing down what became of the others

type Monotonic = Callable[[], float]


class _Deadline(Struct, frozen=True):
    ends: float
    kept: float
    clock: Monotonic


_current: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float, clock: Monotonic = time.monotonic) -> Iterator[None]:
    """Everything inside has to end within so many seconds. Inside another deadline, the earlier one holds."""
    before = _current.get()
    set_to = _Deadline(clock() + seconds, seconds * _KEPT, clock)
    token = _current.set(set_to if before is None or remaining() > seconds else before)
    try:
        yield
    finally:
        _current.reset(token)


def remaining(*, for_others: bool = False) -> float:
    """The seconds that are left, zero at the least; infinite without a deadline. `for_others` leaves out what is kept
    for writing down how it went: it is what a step may spend on asking anybody but the storage account."""
    current = _current.get()
    if current is None:
        return math.inf
    kept = current.kept if for_others else 0.0
    return max(0.0, current.ends - kept - current.clock())


def limit(seconds: float | None, *, for_others: bool = False) -> float | None:
    """A step's own timeout, cut to what is left; None if neither bounds it. For `asyncio.timeout`."""
    left = min(math.inf if seconds is None else seconds, remaining(for_others=for_others))
    return None if math.isinf(left) else left
