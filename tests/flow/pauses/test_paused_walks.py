"""Random events on a machine, as in `tests/flow/reconciling/test_machine_walks.py`, among which a person pauses and
resumes: nothing is sent while everything is paused, and in the end every row is final and true.

`MACHINE_WALKS` and `MACHINE_WALKS_FROM` mean the same as there."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator

import pytest

from tests.flow.walk import VERSIONS, Step, defect, draw, shorten
from tests.flow.world import OMS

_WALKS = int(os.environ.get("MACHINE_WALKS", "60"))
_FROM = int(os.environ.get("MACHINE_WALKS_FROM", "0"))

WALKS: dict[str, list[Step]] = {
    "an install that ends during the pause": [
        ("event", "created", 0, 0),
        ("pause", 0),
        ("pass", 1),
        ("ends", OMS, "well", True),
        ("deliver", 0, 1),
    ],
    "the commit that gives up a claim fails": [
        ("event", "updated", 0, 1),
        ("pause", 0),
        ("pass", 1),
        ("fault", "commit", "fails"),
        ("event", "updated", 0, 0),
        ("resume", True),
    ],
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def with_pauses(seed: int) -> list[Step]:
    """A walk of that seed with a few pauses at random places."""
    steps, dice = draw(seed), random.Random(f"pauses {seed}")
    for _ in range(dice.randrange(1, 4)):
        begin = dice.randrange(len(steps) + 1)
        end = dice.randrange(begin, len(steps) + 1)
        steps.insert(end, ("resume", dice.random() < 0.3))
        steps[begin:begin] = [("pause", dice.choice([0, 0, 3, 90, 3000])), ("pass", 0.1)]
    return steps


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_that_was_found(name: str) -> None:
    assert defect(WALKS[name]) == ""


@pytest.mark.parametrize("versions", VERSIONS)
def test_random_walks_with_pauses_end_well(versions: int) -> None:
    for seed in range(_FROM, _FROM + _WALKS // len(VERSIONS)):
        steps = with_pauses(seed)
        if found := defect(steps, versions):
            short = shorten(steps, lambda some: defect(some, versions) != "")
            pytest.fail(f"seed {seed}: {found}; shortened: {defect(short, versions)}\n{short}")
