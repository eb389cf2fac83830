"""Measures from raw times: percentiles, and round trips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of the values do not exceed; NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def round_trips(requests: Iterable[tuple[float, float]]) -> int:
    """How often a caller waits for these requests (begin, end): concurrent requests count as one round trip."""
    trips, until = 0, -math.inf
    for begin, end in sorted(requests):
        trips += begin >= until
        until = max(until, end)
    return trips
