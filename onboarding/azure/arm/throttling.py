"""How requests to ARM are held back: each subscription by its token buckets, Resource Graph by its quota.

Both learn from the counters and refusals in ARM's answers, and raise an ArmError like ARM's own 429 for a request that
is held back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from onboarding.application.ports import Clock
from onboarding.concurrency import remaining
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.limits.rate_limiter import HELD_BACK, BucketSet, RateLimiter, one_resource_is_busy

TOO_MANY = 429
_REFUSED = (TOO_MANY, 503)
_MAX_WAIT = timedelta(seconds=6)  # the quota's window is 5 s
_WINDOW = timedelta(seconds=5)
_REMAINING, _RESETS_AFTER = "x-ms-user-quota-remaining", "x-ms-user-quota-resets-after"

type Sleep = Callable[[float], Awaitable[None]]


class SubscriptionLimits:
    """The rate limiter of all subscriptions, fed by ARM's answers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limiter = RateLimiter()

    def admit(
        self, subscription: str, who: str, *, write: bool, to_install: bool = False, compute: bool = True
    ) -> BucketSet:
        """Let one request through; the caller calls `ended` of its buckets. Raises ArmError if it has to wait."""
        now = self._clock()
        wait = self._limiter.ask(subscription, who, now, write=write, to_install=to_install, compute=compute)
        if wait:
            raise _held_back(math.ceil(wait.total_seconds()))  # the queue hides messages for whole seconds
        return self._limiter.of(subscription, write=write, compute=compute)

    def count(self, subscription: str, *, write: bool, headers: Mapping[str, str]) -> None:
        """Take over the counters in an answer."""
        self._limiter.count(subscription, write=write, headers=headers, now=self._clock())

    def refused(self, buckets: BucketSet, evidence: Evidence) -> None:
        """A request failed: if ARM asked the whole subscription to slow down, nothing is let through that long."""
        if evidence.http_status in _REFUSED and not one_resource_is_busy(evidence):
            buckets.close(self._clock(), read_retry_after(evidence, self._clock()))


class GraphQuota:
    """Resource Graph's quota, counted in seconds: a short wait is slept through, a longer one is raised."""

    def __init__(self, clock: Clock, sleep: Sleep = asyncio.sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._not_before: datetime | None = None

    async def admit(self) -> None:
        """Let one request through, after a short wait if need be. Raises ArmError for a longer one."""
        now = self._clock()
        wait = self._not_before - now if self._not_before else timedelta()
        if wait > _MAX_WAIT or wait.total_seconds() > remaining(keep_reserve=True):
            raise _held_back(wait.total_seconds())
        if wait > timedelta():
            await self._sleep(wait.total_seconds())
        self._not_before = None

    def count(self, headers: Mapping[str, str]) -> None:
        """Take over the counters in an answer."""
        if headers.get(_REMAINING, "").strip() == "0":
            self._not_before = self._clock() + _duration(headers.get(_RESETS_AFTER, ""))

    def refused(self, evidence: Evidence) -> None:
        """Resource Graph answered "too many"."""
        scope = read_retry_after(evidence, self._clock())
        resets = _duration(evidence.headers.get(_RESETS_AFTER, ""))
        self._not_before = self._clock() + (timedelta(seconds=scope) if scope else resets)


def _held_back(seconds: float) -> ArmError:
    """The error of a request that was not let through: ARM would have answered 429."""
    message = "held back: ARM asked this subscription's callers to slow down"
    headers = {"retry-after": f"{seconds:.3f}"}
    return ArmError(Evidence(http_status=TOO_MANY, code=HELD_BACK, message=message, headers=headers))


def _duration(text: str) -> timedelta:
    """Parse a duration such as `00:00:05`; any other text counts as the usual window."""
    try:
        hours, minutes, seconds = (int(part) for part in text.split(":"))
    except ValueError:
        return _WINDOW
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
