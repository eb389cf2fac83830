"""What is made of raw times: percentiles, and ways there and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of them do not exceed; of none, not a number."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def round_trips(requests: Iterable[tuple[float, float]]) -> int:
    """How often one has to wait for requests of these (begin, end): those under way side by side are one way."""
    trips, until = 0, -math.inf
    for begin, end in sorted(requests):
        trips += begin >= until
        until = max(until, end)
    return trips
