"""How fast ARM may be asked: one gate per subscription, reads and writes apart.

After a 429 or 503 nothing more is sent until the time that ARM asked for is over. Before that wall, the counters that
ARM returns with every answer are watched: when few are left, requests are given slots at the bucket's own refill rate.
Pure: time comes in as an argument. A gate knows what its process saw; the counters tell what all the others did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

# Refill per second of Compute's subscription buckets (facts of 2024: 500 updates and 8,000 low-cost reads a minute).
_REFILLS = {"updatevm": 500 / 60, "lowcostget": 8000 / 60}
_LEFT_FOR_OTHERS = 25  # tokens that the owner, the portal and Azure Policy find when they need some
_REMAINING = "x-ms-ratelimit-remaining-resource"
_WITHOUT_RETRY_AFTER_S = 30


@dataclass(slots=True)
class Gate:
    """The traffic of one kind to one subscription."""

    bucket: str
    left: float = float("inf")
    seen: datetime | None = None
    closed_until: datetime | None = None
    next_slot: datetime | None = None

    def wait(self, now: datetime) -> timedelta:
        """How long a request has to wait; zero lets it through and counts it."""
        if self.closed_until is not None and now < self.closed_until:
            return self._slot(self.closed_until) - now
        if self._left_at(now) > _LEFT_FOR_OTHERS:
            self.left, self.seen = self._left_at(now) - 1, now
            return timedelta()
        missing = max(1.0, _LEFT_FOR_OTHERS + 1 - self._left_at(now))
        return self._slot(now + timedelta(seconds=missing / _REFILLS[self.bucket])) - now

    def close(self, now: datetime, retry_after: float | None) -> None:
        """ARM said "too many", and asked for a pause of that many seconds if it asked for any."""
        until = now + timedelta(seconds=retry_after or _WITHOUT_RETRY_AFTER_S)
        self.closed_until = max(until, self.closed_until or until)

    def saw(self, now: datetime, left: int) -> None:
        self.left, self.seen = left, now

    def _left_at(self, now: datetime) -> float:
        if self.seen is None:
            return self.left
        return self.left + max(0.0, (now - self.seen).total_seconds()) * _REFILLS[self.bucket]

    def _slot(self, earliest: datetime) -> datetime:
        """The next free place in the queue that forms at the refill rate: those held back do not return as one."""
        pause = timedelta(seconds=1 / _REFILLS[self.bucket])
        self.next_slot = max(earliest, self.next_slot + pause) if self.next_slot else earliest
        return self.next_slot


@dataclass(slots=True)
class Gates:
    """The gates of every subscription."""

    gates: dict[tuple[str, bool], Gate] = field(default_factory=dict)

    def of(self, subscription: str, *, write: bool) -> Gate:
        key = (subscription.lower(), write)
        if key not in self.gates:
            self.gates[key] = Gate("updatevm" if write else "lowcostget")
        return self.gates[key]

    def answered(self, subscription: str, *, write: bool, headers: Mapping[str, str], now: datetime) -> None:
        """Take notice of the counters in an answer."""
        gate = self.of(subscription, write=write)
        left = remaining(headers).get(f"{gate.bucket}subscriptionmaximum")
        if left is not None:
            gate.saw(now, left)


def remaining(headers: Mapping[str, str]) -> dict[str, int]:
    """`Microsoft.Compute/UpdateVMSubscriptionMaximum;1499,…` as numbers by bucket, lower case; what is no number is
    left out."""
    text = next((value for name, value in headers.items() if name.lower() == _REMAINING), "")
    counts: dict[str, int] = {}
    for part in text.split(","):
        bucket, _, number = part.partition(";")
        if number.strip().isdecimal():
            counts[bucket.rpartition("/")[2].strip().lower()] = int(number)
    return counts
