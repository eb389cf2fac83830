"""Settings of every test: how many processes run them, how many examples Hypothesis draws, and that a busy machine is
no failure.

`HYPOTHESIS_PROFILE=thorough` draws twenty times as many, wherever a test does not say its own number;
`-o timeout=600` gives it the time.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_UNIT = Path(__file__).with_name("unit")

_BUSY = [HealthCheck.too_slow]  # drawing is slow where four processes share two cores

settings.register_profile("usual", deadline=None, suppress_health_check=_BUSY)
settings.register_profile("thorough", deadline=None, suppress_health_check=_BUSY, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))


@pytest.hookimpl(optionalhook=True)  # for a run without xdist
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Most tests wait for a host or a scheduled check, so four of them share two cores; the unit tests do not wait."""
    chosen = [Path(config.invocation_params.dir, each.partition("::")[0]).resolve() for each in config.args]
    return min(4, os.process_cpu_count() or 1) if all(path.is_relative_to(_UNIT) for path in chosen) else 4


def pytest_collection_finish() -> None:
    """The collected tests live to the end: the garbage collector need not go through them again and again."""
    gc.freeze()
