"""Faults of Event Grid, drawn from a seed: an event is delivered twice, late, in another order, or lost.

The fate of an event depends on the seed, the subscription and the event's content, not on the order in which events are
published, so that a run can be repeated.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Self

from simulator.eventgrid.schema import Event


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares are 0 to 1; `delay` and `jitter` are simulated seconds. A duplicated event is delivered `copies` times.
    All events of operations that match a pattern of `unheard` are lost."""

    duplicate: float = 0.0
    copies: float = 2
    lose: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    unheard: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("duplicate", "lose"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a share between 0 and 1, not {getattr(self, name)}")
        for name in ("delay", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more seconds, not {getattr(self, name)}")

    @classmethod
    def parse(cls, mapping: Mapping[str, Any]) -> Self:
        """Read a fault script's `eventGrid` section."""
        known = {field.name for field in fields(cls)} - {"unheard"}
        for name, value in mapping.items():
            if name not in known:
                raise ValueError(f"eventGrid.{name}: not a fault; use one of {', '.join(sorted(known))}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"eventGrid.{name}: must be a number, not {value!r}")
        numbers: dict[str, Any] = {name: float(value) for name, value in mapping.items()}
        return cls(**numbers)


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one event: a delay for each delivered copy; no delays if it is lost."""

    delays: tuple[float, ...]


class Oracle:
    """Draws fates; each occurrence of the same event gets a new one."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._seed = seed
        self._seen: Counter[str] = Counter()

    def fate(self, subscription: str, event: Event) -> Fate:
        key = f"{subscription}|{event.get('eventType')}|{str(event.get('subject')).lower()}"
        self._seen[key] += 1
        draw = random.Random(f"{self._seed}|{key}|{self._seen[key]}")
        lost, doubled = draw.random() < self._faults.lose, draw.random() < self._faults.duplicate
        lost = lost or self._is_unheard(event)
        copies = 0 if lost else int(self._faults.copies) if doubled else 1
        return Fate(tuple(self._faults.delay + draw.uniform(0, self._faults.jitter) for _ in range(copies)))

    def _is_unheard(self, event: Event) -> bool:
        operation = str((event.get("data") or {}).get("operationName", "")).lower()
        return any(fnmatchcase(operation, pattern.lower()) for pattern in self._faults.unheard)
