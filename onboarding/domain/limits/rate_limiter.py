"""How fast ARM may be asked: token buckets as ARM and Compute keep them, and a queue in front of them.

A request passes while every bucket that it draws on has a token that was promised to nobody else. One that has to wait
is promised the next such token, and is told when: it returns at that moment and finds it, and what was held back does
not come again as one wave. The counters that ARM returns with every answer keep the estimates true, whoever else draws
on the same buckets; after a 429 nothing passes until the time that ARM asked for is over.
Pure: time comes in as an argument. Promises live in this process alone; who returns to another one queues anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec import Struct

from onboarding.domain.failures.evidence import Evidence

HELD_BACK = "HeldBack"  # the error code of a request that was not sent, since ARM would only have said "too many"
_RESERVED = timedelta(seconds=10)  # how long a token is kept for a request that may follow within the same visit
_PATIENCE = timedelta(minutes=2)  # how long a promised token waits for one who is late
_WITHOUT_RETRY_AFTER_S = 30
_OF_COMPUTE = "x-ms-ratelimit-remaining-resource"
_OF_ARM = ("reads", "writes")
_MOST_DIGITS = 18  # of a counter; what is longer is no count of requests
_NEARLY = 1e-3  # of a token: times are whole microseconds
_MOST_LANES = 256  # of those that nothing is known of; each is a few hundred bytes


@dataclass(slots=True)
class Bucket:
    """Tokens of one kind. `refill` is per second; `kept` are left for others, such as the owner and the portal.

    `left` is as of `seen`, which is later than now while ARM lets nobody through."""

    counter: str
    capacity: float
    refill: float
    kept: int
    left: float = field(init=False)
    seen: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.left = self.capacity

    def free_at(self, now: datetime, others: int) -> datetime:
        """When there is a token beyond those promised to so many others."""
        self._refill(now)
        missing = others + 1 + self.kept - self.left
        return max(now, self.seen or now) + timedelta(seconds=missing / self.refill if missing > _NEARLY else 0)

    def full(self, now: datetime) -> bool:
        """Whether it is as one that nothing was taken from."""
        self._refill(now)
        return self.seen == now and self.left >= self.capacity

    def count(self, now: datetime, left: int, under_way: int) -> None:
        """ARM said how many whole tokens it has; it may not have seen those under way yet."""
        self._refill(now)
        if self.seen == now:
            self.capacity = max(self.capacity, left)
            self.left = min(max(self.left, left - under_way), left + 1)

    def close(self, until: datetime) -> None:
        """Nothing until then, and from then on a token at a time, unless ARM tells of more."""
        if self.seen is None or until > self.seen:
            self.left, self.seen = self.kept + 1, until

    def _refill(self, now: datetime) -> None:
        if self.seen is None:
            self.seen = now
        if now > self.seen:
            self.left = min(self.capacity, self.left + (now - self.seen).total_seconds() * self.refill)
            self.seen = now


class Reservation(Struct, frozen=True, order=True):
    """A token that is kept for one who comes between these times."""

    until: datetime
    due: datetime
    who: str


@dataclass(slots=True)
class BucketSet:
    """The requests of one kind to one subscription."""

    buckets: tuple[Bucket, ...]
    under_way: int = 0
    reservations: dict[str, Reservation] = field(default_factory=dict)
    _ending: list[Reservation] = field(default_factory=list)
    _last: datetime | None = None

    def ask(self, who: str, now: datetime) -> timedelta:
        """How long the request has to wait; zero lets it through, and `ended` is due once it was answered. Who has to
        wait is promised a token; nobody ("") is not."""
        wait = self._wait(who, now)
        if not wait:
            self.reservations.pop(who, None)
            self.under_way += 1
            for bucket in self.buckets:
                bucket.left -= 1
        return wait

    def reserve(self, who: str, now: datetime, until: timedelta = timedelta()) -> timedelta:
        """As `ask`, for a request that may follow, soon or soon after `until`: its token is kept for that long."""
        wait = self._wait(who, now)
        if not wait:
            self._reserve(Reservation(now + until + _RESERVED, now, who))
        return wait

    def ended(self) -> None:
        """A request that was let through was answered, or failed."""
        self.under_way -= 1

    def close(self, now: datetime, retry_after: float | None) -> None:
        """ARM said "too many", and asked for a pause of that many seconds if it asked for any."""
        for bucket in self.buckets:
            bucket.close(now + timedelta(seconds=retry_after or _WITHOUT_RETRY_AFTER_S))

    def idle(self, now: datetime) -> bool:
        """Whether a new lane would do as well: nothing under way, promised, closed or spent."""
        self._forget(now)
        return not self.under_way and not self.reservations and all(bucket.full(now) for bucket in self.buckets)

    def count(self, now: datetime, counters: Mapping[str, int]) -> None:
        """The counters of an answer, whose own request is one of those under way."""
        for bucket in self.buckets:
            if bucket.counter in counters:
                bucket.count(now, counters[bucket.counter], max(0, self.under_way - 1))

    def _wait(self, who: str, now: datetime) -> timedelta:
        self._forget(now)
        mine = self.reservations.get(who)
        if mine is not None and now < mine.due:
            return mine.due - now
        if self._free_at(now, 0) <= now and (mine or not self.reservations or self._spare(now)):
            return timedelta()
        # A promise that could not be kept, since others drew on the bucket, begins again at the end of the queue.
        self.reservations.pop(who, None)
        due = max(self._free_at(now, len(self.reservations)), self._last or now)
        if who:
            self._last = due
            self._reserve(Reservation(due + _PATIENCE, due, who))
        return due - now

    def _spare(self, now: datetime) -> bool:
        """Whether a token can go to somebody new without making those wait longer who were promised one."""
        return self._free_at(now, len(self.reservations)) <= max(now, self._last or now)

    def _free_at(self, now: datetime, others: int) -> datetime:
        return max(bucket.free_at(now, others) for bucket in self.buckets)

    def _reserve(self, reservation: Reservation) -> None:
        self.reservations[reservation.who] = reservation
        heapq.heappush(self._ending, reservation)

    def _forget(self, now: datetime) -> None:
        while self._ending and self._ending[0].until < now:
            ended = heapq.heappop(self._ending)
            if self.reservations.get(ended.who) == ended:
                del self.reservations[ended.who]


@dataclass(slots=True)
class RateLimiter:
    """The lanes of every subscription that was asked lately."""

    bucket_sets: dict[tuple[str, bool], BucketSet] = field(default_factory=dict)
    _most: int = _MOST_LANES

    def of(self, subscription: str, *, write: bool) -> BucketSet:
        key = (subscription.lower(), write)
        if key not in self.bucket_sets:
            self.bucket_sets[key] = BucketSet(_writes() if write else _reads())
        return self.bucket_sets[key]

    def ask(self, subscription: str, who: str, now: datetime, *, write: bool, to_install: bool = False) -> timedelta:
        """As `Lane.ask`. A read `to_install` waits until a write could follow it: what a read finds is worth nothing
        once its write had to wait, and to read twice what is written once is as far from ARM's limits again."""
        if len(self.bucket_sets) > self._most:
            self._drop_idle(now)
        buckets, writes = self.of(subscription, write=write), self.of(subscription, write=True)
        if to_install and (wait := writes.reserve(who, now)):
            return wait
        wait = buckets.ask(who, now)
        if wait and to_install:
            writes.reserve(who, now, wait)
        return wait

    def count(self, subscription: str, *, write: bool, headers: Mapping[str, str], now: datetime) -> None:
        """Take notice of the counters in an answer."""
        self.of(subscription, write=write).count(now, remaining(headers))

    def _drop_idle(self, now: datetime) -> None:
        """Again when there are twice as many as are in use, so that it costs each request next to nothing."""
        self.bucket_sets = {key: buckets for key, buckets in self.bucket_sets.items() if not buckets.idle(now)}
        self._most = max(_MOST_LANES, 2 * len(self.bucket_sets))


def remaining(headers: Mapping[str, str]) -> dict[str, int]:
    """`Microsoft.Compute/UpdateVMSubscriptionMaximum;1499,…` as numbers by bucket, in lower case, and ARM's own
    counters as `reads` and `writes`. What is no number is left out. Headers are found without case."""
    counts = _parts(told) if (told := headers.get(_OF_COMPUTE)) else {}
    for counter in _OF_ARM:
        number = _number(headers.get(f"x-ms-ratelimit-remaining-subscription-{counter}", ""))
        if number is not None:
            counts[counter] = number
    return counts


def one_resource_is_busy(evidence: Evidence) -> bool:
    """Whether a "too many" is about one resource, and says nothing of the rest of its subscription: it is a lock and no
    quota, or the resource's own bucket is empty and none of the subscription's is. Whoever asked waits alone."""
    if "exclusive lock" in evidence.text.lower():
        return True
    counts = remaining(evidence.headers)
    resource = [left for bucket, left in counts.items() if bucket.endswith("resource")]
    others = [left for bucket, left in counts.items() if not bucket.endswith("resource")]
    return 0 in resource and bool(others) and 0 not in others and "retry-after" not in evidence.headers


def _parts(text: str) -> dict[str, int]:
    named = (part.partition(";") for part in text.split(","))
    return {
        bucket.rpartition("/")[2].strip().lower(): number
        for bucket, _, told in named
        if (number := _number(told)) is not None
    }


def _number(text: str) -> int | None:
    """`int` refuses what `strip` takes for space, and numbers of thousands of digits."""
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else None


def _reads() -> tuple[Bucket, ...]:
    """Facts of 2024: ARM's 250 and 25 a second, Compute's 24,000 and 8,000 a minute for reads of one VM."""
    return Bucket("reads", 250, 25, 5), Bucket("lowcostgetsubscriptionmaximum", 24_000, 8_000 / 60, 25)


def _writes() -> tuple[Bucket, ...]:
    """Facts of 2024: ARM's 200 and 10 a second, Compute's 1,500 and 500 a minute for updates of VMs."""
    return Bucket("writes", 200, 10, 5), Bucket("updatevmsubscriptionmaximum", 1_500, 500 / 60, 25)
