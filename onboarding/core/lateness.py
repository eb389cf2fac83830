"""When the look of an overdue row is put on the queue again, without a list of what was sent.

Each row has its own moments, which follow from when it was due: at once, after a first pause, and then once in each
longer one. A run sends what had a moment since the last run, so all that has to be kept is how far the last run came.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec import Struct

_TICK = timedelta(microseconds=1)


class Mark(Struct, frozen=True, order=True):
    """How far looks were sent: all moments before `moment`, and at it those of the rows up to `key`."""

    moment: datetime
    key: str = ""


def last_moment(due: datetime, before: datetime, first: timedelta, later: timedelta) -> datetime:
    """The last moment before that time at which a look that was due then is to be sent; at the least `due` itself."""
    late = before - due - _TICK
    if late >= later:
        return due + later * (late // later)
    return due + first if late >= first else due
