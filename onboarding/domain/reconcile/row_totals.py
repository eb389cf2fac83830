"""How many rows of a subscription say the same, as the sweep counts them once an hour."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from typing import NamedTuple

from msgspec import Struct, field

from onboarding.domain.reconcile.row import Outcome

EVENT = "event"
"""Who opened an episode, where an event did; else it is `sweep.missed`, `request.enforce` or the like."""
_OURS = ("sweep", "request", "look")  # how the ids of triggers begin that are no events
_STEP = math.log(1.05)  # each class of durations is so much longer than the one before


class RowKind(NamedTuple):
    """What rows that are counted together have in common."""

    policy: str  # the name of the policy that decided; empty if none did
    extension: str
    outcome: Outcome
    cause: str  # of the failure; empty if nothing went wrong
    waiting_for: str  # empty if the outcome is final


def opened_by(event_id: str) -> str:
    """Who opened an episode, by the id of its trigger: `EVENT`, or what of the product it was (`sweep.drifted`)."""
    kind, _, rest = event_id.partition(".")
    if kind not in _OURS or not rest:
        return EVENT
    reason = rest.partition(".")[0]
    return f"{kind}.{reason}" if reason.isalpha() else kind


class Activity(Struct):
    """What the rows of a subscription say about events and times. Numbers of classes keep it small, whatever the number
    of rows."""

    last_event: datetime | None = None  # when the last event happened that opened a row (UTC); None: none did
    opened: Counter[str] = field(default_factory=Counter)  # rows by `opened_by`
    durations: Counter[int] = field(default_factory=Counter)
    """Rows that are `Installed` and that an event opened, by the class of the time from that event to the end."""

    def add(self, outcome: Outcome, event_id: str, event_time: datetime | None, duration_ms: int | None) -> None:
        """Count one row."""
        by = opened_by(event_id)
        self.opened[by] += 1
        if by != EVENT:
            return
        if event_time is not None and (self.last_event is None or event_time > self.last_event):
            self.last_event = event_time
        if outcome is Outcome.INSTALLED and duration_ms is not None:
            self.durations[max(0, math.ceil(math.log(max(1.0, duration_ms / 1000)) / _STEP))] += 1

    def merge(self, other: Activity) -> None:
        """Count the rows of the other, too."""
        self.opened.update(other.opened)
        self.durations.update(other.durations)
        if other.last_event is not None and (self.last_event is None or other.last_event > self.last_event):
            self.last_event = other.last_event

    def seconds(self, share: float) -> float | None:
        """In how many seconds that share of the installs ended, at most 5 % too many; None: there are none."""
        left = share * sum(self.durations.values())
        for number in sorted(self.durations):
            left -= self.durations[number]
            if left <= 0:
                return math.exp(number * _STEP)
        return None


class Totals(Struct, frozen=True):
    """The numbers of a subscription's rows at the last count of one day."""

    subscription: str
    at: datetime  # when they were counted (UTC); the day of the totals is its date
    counts: Mapping[RowKind, int] | None  # None: there are too many kinds of rows to keep their numbers
    indexed_at: datetime | None = None  # when the index rows of the subscription were written last (UTC); None: unknown
    activity: Activity | None = None  # None: a version counted them that does not know it

    @property
    def day(self) -> date:
        return self.at.date()
