"""Token buckets of ARM and of its compute provider, with the headers that show the remaining tokens.

Compute counts per resource and per subscription and region; all writes to one VM, whoever sends them, take tokens of
the same small bucket. ARM counts per subscription and principal. The numbers are those of November 2025.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from simulator.arm.http.errors import ArmError
from simulator.arm.options import Options, ThrottleWait
from simulator.clock import Clock


@dataclass(frozen=True, slots=True)
class Rate:
    """Refill per minute, and capacity."""

    refill: float
    capacity: float


# per resource, per subscription
_COMPUTE: Mapping[str, tuple[Rate | None, Rate]] = {
    "UpdateVM": (Rate(4, 12), Rate(500, 1_500)),
    "PutVM": (Rate(4, 12), Rate(500, 1_500)),
    "DeleteVM": (Rate(4, 12), Rate(500, 1_500)),
    "LowCostGet": (Rate(12, 36), Rate(8_000, 24_000)),
    "HighCostGet": (None, Rate(300, 900)),
    "GetOperation": (Rate(15, 45), Rate(5_000, 15_000)),
}
_ARM = {"reads": Rate(1_500, 250), "writes": Rate(600, 200), "deletes": Rate(600, 200)}


def write_buckets() -> tuple[Rate, Rate]:
    """The buckets of all extension writes to one subscription's VMs: Compute's and ARM's."""
    return _COMPUTE["UpdateVM"][1], _ARM["writes"]


@dataclass(slots=True)
class Bucket:
    rate: Rate
    tokens: float
    at: float

    def left(self, now: float) -> float:
        self.tokens = min(self.rate.capacity, self.tokens + (now - self.at) * self.rate.refill / 60)
        self.at = now
        return self.tokens

    def wait(self, now: float, cost: float) -> float:
        """Seconds until the bucket has that many tokens."""
        return max(0.0, cost - self.left(now)) * 60 / self.rate.refill


@dataclass(frozen=True, slots=True)
class Draw:
    """The buckets of one request: ARM's, and compute's buckets of one group if compute answers it."""

    subscription: str
    principal: str
    arm: str
    region: str = ""
    group: str = ""
    resource: str = ""
    cost: float = 1.0


class Limits:
    def __init__(self, clock: Clock, options: Options) -> None:
        self._clock = clock
        self._options = options
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def take(self, draw: Draw) -> dict[str, str]:
        """Take the tokens and return the headers; raises the 429 if a bucket is empty."""
        if not self._options.limits:
            return {}
        now = self._clock.seconds()
        arm = self._arm(draw)
        if arm.left(now) < 1:
            raise self._arm_throttled(draw, arm.wait(now, 1))
        arm.tokens -= 1
        compute = self._compute(draw)
        for name, bucket in compute.items():
            if bucket.left(now) < draw.cost:
                raise self._compute_throttled(name, bucket, bucket.wait(now, draw.cost))
        for bucket in compute.values():
            bucket.tokens -= draw.cost
        return self._headers(draw, arm, compute, now)

    def drain(self, draw: Draw) -> None:
        """Take tokens for somebody else's requests, as many as there are."""
        now = self._clock.seconds()
        for bucket in self._compute(draw).values():
            bucket.tokens = max(0.0, bucket.left(now) - draw.cost)

    def _arm(self, draw: Draw) -> Bucket:
        key = ("arm", draw.subscription.lower(), draw.principal, draw.arm)
        return self._bucket(key, _ARM[draw.arm])

    def _compute(self, draw: Draw) -> dict[str, Bucket]:
        if not draw.group:
            return {}
        resource, subscription = _COMPUTE[draw.group]
        scope = (draw.subscription.lower(), draw.region.lower(), draw.group)
        buckets = {f"{draw.group}SubscriptionMaximum": self._bucket(("subscription", *scope), subscription)}
        if resource is not None and draw.resource:
            buckets[f"{draw.group}Resource"] = self._bucket((draw.resource.lower(), draw.group), resource)
        return buckets

    def _bucket(self, key: tuple[str, ...], rate: Rate) -> Bucket:
        if key not in self._buckets:
            self._buckets[key] = Bucket(rate, rate.capacity, self._clock.seconds())
        return self._buckets[key]

    @staticmethod
    def _headers(draw: Draw, arm: Bucket, compute: Mapping[str, Bucket], now: float) -> dict[str, str]:
        everyone = _ARM[draw.arm].capacity * 15 - 1
        headers = {
            f"x-ms-ratelimit-remaining-subscription-{draw.arm}": f"{arm.left(now):.0f}",
            f"x-ms-ratelimit-remaining-subscription-global-{draw.arm}": f"{everyone:.0f}",
        }
        if compute:
            parts = (f"Microsoft.Compute/{name};{math.floor(bucket.left(now))}" for name, bucket in compute.items())
            headers["x-ms-ratelimit-remaining-resource"] = ",".join(parts)
        return headers

    def _arm_throttled(self, draw: Draw, wait: float) -> ArmError:
        seconds = self._whole(wait)
        message = (
            f"Number of '{draw.arm.removesuffix('s')}' requests for subscription '{draw.subscription}' actor "
            f"'{draw.principal}' exceeded. Please try again after '{seconds}' seconds after additional tokens are "
            "available."
        )
        headers = {"Retry-After": str(seconds)}
        return ArmError(429, "SubscriptionRequestsThrottled", message, gateway=True, headers=headers)

    def _compute_throttled(self, name: str, bucket: Bucket, wait: float) -> ArmError:
        form = self._options.throttle_wait
        seconds = 0 if form is ThrottleWait.ZERO else self._whole(wait)
        says = form in (ThrottleWait.RETRY_AFTER, ThrottleWait.ZERO)
        detail = {"code": "TooManyRequests", "target": name, "message": self._measured(name, bucket, seconds)}
        return ArmError(
            429,
            "OperationNotAllowed",
            "The server rejected the request because too many requests have been received for this subscription.",
            headers={"Retry-After": str(seconds)} if says else {},
            details=[detail],
            innererror={"internalErrorCode": "TooManyRequestsReceived"},
        )

    def _measured(self, name: str, bucket: Bucket, seconds: int) -> str:
        now = self._clock.now()
        detail: dict[str, Any] = {"operationGroup": name, "startTime": (now - timedelta(minutes=1)).isoformat()}
        if self._options.throttle_wait is not ThrottleWait.UNSAID:
            detail["endTime"] = (now + timedelta(seconds=seconds)).isoformat()
        allowed = int(bucket.rate.capacity)
        return json.dumps(detail | {"allowedRequestCount": allowed, "measuredRequestCount": allowed + 1})

    def _whole(self, wait: float) -> int:
        """The wait in real whole seconds, at least one."""
        return max(1, math.ceil(self._clock.real(wait)))
