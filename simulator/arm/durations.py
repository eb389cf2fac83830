"""How long things take, in simulated seconds, drawn from what was measured in recorded traffic.

Every draw has its own seeded source, named by what it is for: the same seed gives the same times, whatever else
happens at the same time.
"""

from __future__ import annotations

import random

AGENT_SILENT = 1_524.0
EXTENSION_SILENT = 5_400.0
INSTALL_LIMIT = 900.0

# low, most often, high
_RANGES: dict[str, tuple[float, float, float]] = {
    "vm-create": (35.0, 50.0, 130.0),
    "vm-update": (4.0, 8.0, 30.0),
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
    """Seeded durations by name."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def draw(self, what: str, *about: object) -> float:
        low, mode, high = _RANGES[what]
        return self.chance(what, *about).triangular(low, high, mode)

    def chance(self, *about: object) -> random.Random:
        """A source of its own for one question."""
        return random.Random("|".join(map(str, (self._seed, *about))))
