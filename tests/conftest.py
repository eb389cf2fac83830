"""What holds for every test: how many examples Hypothesis draws, and that a busy machine fails none of them.

`HYPOTHESIS_PROFILE=thorough` draws twenty times as many, wherever a test does not say its own number;
`-o timeout=600` gives it the time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_BUSY = [HealthCheck.too_slow]  # drawing is slow where four processes share two cores

settings.register_profile("usual", deadline=None, suppress_health_check=_BUSY)
settings.register_profile("thorough", deadline=None, suppress_health_check=_BUSY, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))
