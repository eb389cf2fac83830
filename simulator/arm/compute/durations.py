"""Durations in simulated seconds, drawn at random from ranges that were measured in recorded traffic.

Every draw has its own seeded source, named by its purpose: the same seed gives the same times, whatever happens
concurrently.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

AGENT_SILENT = 1_524.0
EXTENSION_SILENT = 5_400.0
INSTALL_LIMIT = 900.0

Range = tuple[float, float, float]  # low, most frequent, high

_RANGES: dict[str, Range] = {
    "vm-create": (35.0, 50.0, 130.0),
    "vm-update": (4.0, 8.0, 30.0),
    "vm-identity": (3.0, 5.0, 9.0),
    "vm-unchanged": (0.1, 0.1, 0.1),
    "vm-delete": (40.0, 70.0, 140.0),
    "vm-start": (20.0, 35.0, 80.0),
    "vm-stop": (15.0, 35.0, 90.0),
    "agent": (10.0, 30.0, 120.0),
    "install": (45.0, 90.0, 300.0),
    "refusal": (15.0, 30.0, 70.0),
    "enable-failure": (40.0, 90.0, 222.0),
    "extension-delete": (14.0, 40.0, 101.0),
    "run-command": (15.0, 25.0, 60.0),
    "report-lag": (4.0, 10.0, 25.0),
    "retry-after": (30.0, 35.0, 37.0),
}


class Durations:
    """Seeded durations by name; `ranges` replace the measured ones."""

    def __init__(self, seed: int, ranges: Mapping[str, Range] | None = None) -> None:
        self._seed = seed
        self._ranges = {**_RANGES, **(ranges or {})}

    def draw(self, what: str, *about: object, handler: str = "") -> float:
        """A duration by its name; some handlers have their own ranges."""
        low, mode, high = self._ranges.get(_of(what, handler), self._ranges[what])
        return self.chance(what, *about).triangular(low, high, mode)

    def chance(self, *about: object) -> random.Random:
        """The random source for one purpose."""
        return random.Random("|".join(map(str, (self._seed, *about))))


def read_ranges(file: Path) -> dict[str, Range]:
    """The ranges of a file: `name: [low, most often, high]`, or one such range for each handler below the name."""
    ranges: dict[str, Range] = {}
    for what, given in yaml.safe_load(file.read_text("utf-8")).items():
        if what not in _RANGES:
            raise ValueError(f"{file}: {what!r} is not a duration; use one of {', '.join(_RANGES)}")
        for handler, limits in given.items() if isinstance(given, Mapping) else [("", given)]:
            ranges[_of(what, handler)] = _range(limits, f"{file}: {what} {handler}".rstrip())
    return ranges


def _range(limits: Any, place: str) -> Range:
    match limits:
        case [int() | float() as low, int() | float() as mode, int() | float() as high] if 0 <= low <= mode <= high:
            return float(low), float(mode), float(high)
    raise ValueError(f"{place}: {limits!r} is not a range; write it as [low, most often, high]")


def _of(what: str, handler: str) -> str:
    return f"{what} of {handler.lower()}" if handler else what
