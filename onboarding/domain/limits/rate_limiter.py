"""How fast requests may be sent to ARM: token buckets as ARM and Compute keep them, and a queue in front of them.

A request passes while every bucket that it draws on has a token that nobody else reserved. A request that has to wait
gets a reservation for the next such token and its time: it returns at that moment and finds the token, so delayed
requests do not come again as one wave. The counters in every answer of ARM correct the estimates, since others draw on
the same buckets; after a 429 nothing passes until the time that ARM asked for is over.
Pure: time comes in as an argument. Reservations live in this process alone; a request that returns to another process
queues again.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct, field

from onboarding.domain.failures.evidence import Evidence

HELD_BACK = "HeldBack"  # the error code of a request that was not sent because ARM would have answered "too many"
_RESERVED = timedelta(seconds=10)  # how long a token is kept for a request that may follow in the same reconciliation
_PATIENCE = timedelta(minutes=2)  # how long a reserved token is kept for a request that is late
_WITHOUT_RETRY_AFTER_S = 30
_OF_COMPUTE = "x-ms-ratelimit-remaining-resource"
_OF_ARM = ("reads", "writes")
_MOST_DIGITS = 18  # of a counter; what is longer is no count of requests
_NEARLY = 1e-3  # of a token: times are whole microseconds
_MOST_BUCKET_SETS = 256  # idle ones included; each is a few hundred bytes


class Bucket(Struct):
    """Tokens of one kind, one for each request."""

    counter: str  # the name of ARM's counter, in lower case
    capacity: float  # tokens at most
    refill: float  # tokens per second
    kept: int  # tokens that are left for others, such as the owner and the portal
    left: float = 0.0  # tokens at the time `seen`; a full bucket at first
    seen: datetime | None = None  # UTC; None before the first use; later than now while ARM lets nothing through

    def __post_init__(self) -> None:
        self.left = self.capacity

    def free_at(self, now: datetime, others: int) -> datetime:
        """When there is a token besides those that so many others reserved."""
        self._refill(now)
        missing = others + 1 + self.kept - self.left
        return max(now, self.seen or now) + timedelta(seconds=missing / self.refill if missing > _NEARLY else 0)

    def full(self, now: datetime) -> bool:
        """Whether no token is missing."""
        self._refill(now)
        return self.seen == now and self.left >= self.capacity

    def count(self, now: datetime, left: int, under_way: int) -> None:
        """ARM said how many whole tokens are left; it may not have counted the requests under way yet."""
        self._refill(now)
        if self.seen == now:
            self.capacity = max(self.capacity, left)
            self.left = min(max(self.left, left - under_way), left + 1)

    def close(self, until: datetime) -> None:
        """Let nothing through until then, and one token at a time from then on, unless ARM counts more."""
        if self.seen is None or until > self.seen:
            self.left, self.seen = self.kept + 1, until

    def _refill(self, now: datetime) -> None:
        if self.seen is None:
            self.seen = now
        if now > self.seen:
            self.left = min(self.capacity, self.left + (now - self.seen).total_seconds() * self.refill)
            self.seen = now


class Reservation(Struct, frozen=True, order=True):
    """A token that is kept for one request. Times are UTC."""

    until: datetime  # when the reservation ends; the first field, since reservations are ordered by it
    due: datetime  # from when the token is there
    who: str  # who makes the request: a machine's key


class BucketSet(Struct):
    """The buckets that reads, or writes, to one subscription draw on."""

    buckets: tuple[Bucket, ...]
    under_way: int = 0  # requests that were let through and have no answer yet
    reservations: dict[str, Reservation] = field(default_factory=dict)  # by who holds them
    _ending: list[Reservation] = field(default_factory=list)  # a heap: the reservation that ends first is first
    _last: datetime | None = None  # when the token of the last reservation in the queue is there (UTC)

    def ask(self, who: str, now: datetime) -> timedelta:
        """How long the request has to wait. Zero lets it through, and the caller calls `ended` after the answer. A
        request that has to wait gets a reservation, unless `who` is empty."""
        wait = self._wait(who, now)
        if not wait:
            self.reservations.pop(who, None)
            self.under_way += 1
            for bucket in self.buckets:
                bucket.left -= 1
        return wait

    def reserve(self, who: str, now: datetime, until: timedelta = timedelta()) -> timedelta:
        """As `ask`, for a request that may follow within seconds, or within seconds after `until`: its token is kept
        that long."""
        wait = self._wait(who, now)
        if not wait:
            self._reserve(Reservation(now + until + _RESERVED, now, who))
        return wait

    def ended(self) -> None:
        """A request that was let through has its answer, or failed."""
        self.under_way -= 1

    def close(self, now: datetime, retry_after: float | None) -> None:
        """ARM answered "too many" and asked to wait so many seconds; None if it named no time."""
        for bucket in self.buckets:
            bucket.close(now + timedelta(seconds=retry_after or _WITHOUT_RETRY_AFTER_S))

    def idle(self, now: datetime) -> bool:
        """Whether a new set would be equal: nothing under way, reserved, closed or spent."""
        self._forget(now)
        return not self.under_way and not self.reservations and all(bucket.full(now) for bucket in self.buckets)

    def count(self, now: datetime, counters: Mapping[str, int]) -> None:
        """Take over the counters of an answer, whose own request is one of those under way."""
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
        # Others drew on the bucket, so a reserved token may be missing: that request goes to the end of the queue.
        self.reservations.pop(who, None)
        due = max(self._free_at(now, len(self.reservations)), self._last or now)
        if who:
            self._last = due
            self._reserve(Reservation(due + _PATIENCE, due, who))
        return due - now

    def _spare(self, now: datetime) -> bool:
        """Whether a new request can have a token without delaying those that hold a reservation."""
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


class RateLimiter(Struct):
    """The bucket sets of every subscription that requests went to lately."""

    # By subscription; true for writes; true for those that go to Compute.
    bucket_sets: dict[tuple[str, bool, bool], BucketSet] = field(default_factory=dict)
    _most: int = _MOST_BUCKET_SETS  # how many there may be before idle ones are dropped

    def of(self, subscription: str, *, write: bool, compute: bool = True) -> BucketSet:
        """The bucket set of reads or of writes; one for another provider than Compute draws on ARM's bucket alone."""
        key = (subscription.lower(), write, compute)
        if key not in self.bucket_sets:
            of_compute = _writes() if write else _reads()
            buckets = of_compute if compute else self.of(subscription, write=write).buckets[:1]
            self.bucket_sets[key] = BucketSet(buckets)
        return self.bucket_sets[key]

    def ask(
        self,
        subscription: str,
        who: str,
        now: datetime,
        *,
        write: bool,
        to_install: bool = False,
        compute: bool = True,
    ) -> timedelta:
        """As `BucketSet.ask`. A read `to_install` waits until its write could follow: if the write had to wait, the
        machine would have to be read again, and the reads would use up ARM's limit."""
        if len(self.bucket_sets) > self._most:
            self._drop_idle(now)
        buckets = self.of(subscription, write=write, compute=compute)
        writes = self.of(subscription, write=True)
        if to_install and (wait := writes.reserve(who, now)):
            return wait
        wait = buckets.ask(who, now)
        if wait and to_install:
            writes.reserve(who, now, wait)
        return wait

    def count(self, subscription: str, *, write: bool, headers: Mapping[str, str], now: datetime) -> None:
        """Take over the counters in an answer."""
        self.of(subscription, write=write).count(now, remaining(headers))

    def _drop_idle(self, now: datetime) -> None:
        """Drop idle sets; next when there are twice as many as are in use now, so that requests seldom pay for it."""
        self.bucket_sets = {key: buckets for key, buckets in self.bucket_sets.items() if not buckets.idle(now)}
        self._most = max(_MOST_BUCKET_SETS, 2 * len(self.bucket_sets))


def remaining(headers: Mapping[str, str]) -> dict[str, int]:
    """`Microsoft.Compute/UpdateVMSubscriptionMaximum;1499,…` as numbers by bucket, in lower case, and ARM's own
    counters as `reads` and `writes`. Values that are not numbers are left out. `headers` must ignore case."""
    counts = _compute_counts(header) if (header := headers.get(_OF_COMPUTE)) else {}
    for counter in _OF_ARM:
        number = _number(headers.get(f"x-ms-ratelimit-remaining-subscription-{counter}", ""))
        if number is not None:
            counts[counter] = number
    return counts


def one_resource_is_busy(evidence: Evidence) -> bool:
    """Whether a "too many" is about one resource and not about its subscription: ARM names a lock instead of a quota,
    or only the resource's own bucket is empty. Then only this machine waits."""
    if "exclusive lock" in evidence.text.lower():
        return True
    counts = remaining(evidence.headers)
    resource = [left for bucket, left in counts.items() if bucket.endswith("resource")]
    others = [left for bucket, left in counts.items() if not bucket.endswith("resource")]
    return 0 in resource and bool(others) and 0 not in others and "retry-after" not in evidence.headers


def _compute_counts(header: str) -> dict[str, int]:
    counters = (counter.partition(";") for counter in header.split(","))
    return {
        bucket.rpartition("/")[2].strip().lower(): number
        for bucket, _, text in counters
        if (number := _number(text)) is not None
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
