"""Random events on a machine with two extensions, in any order: we never have two writes at once, no row contradicts
ARM, every open row has its scheduled check, and in the end every row is final and true.

`MACHINE_WALKS=20000` before `pytest tests/flow/reconciling/test_machine_walks.py` tries that many random walks instead
of the usual few (about 25 per second), and `MACHINE_WALKS_FROM` sets the first seed. A walk that fails is shortened to
the steps that matter; add it to `WALKS` with a name.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.flow.walk import VERSIONS, Step, defect, draw, shorten
from tests.flow.world import OMS, SECOND

_WALKS = int(os.environ.get("MACHINE_WALKS", "90"))
_FROM = int(os.environ.get("MACHINE_WALKS_FROM", "0"))
AGENT = SECOND.name

WALKS: dict[str, list[Step]] = {
    "one after the other": [
        ("event", "created", 0, 0),
        ("ends", OMS, "well", True),
        ("deliver", 0, 1),
        ("ends", AGENT, "well", True),
        ("deliver", 0, 0),
    ],
    "somebody else's settings are not what we installed": [
        ("event", "created", 0, 0),
        ("ends", OMS, "settings", True),
        ("agent", False),
        ("other_writes", OMS, 1, True, True),
        ("deliver", 1, 0),
    ],
    "the end of a write claims the next, and its checks are lost": [
        ("event", "created", 0, 0),
        ("ends", OMS, "settings", True),
        ("fault", "schedule", "fails"),
        ("deliver", 0, 1),
    ],
    "a deletion claims a write, and its checks are lost": [
        ("event", "created", 0, 0),
        ("ends", OMS, "well", True),
        ("deliver", 0, 0),
        ("ends", AGENT, "well", True),
        ("deliver", 0, 0),
        ("pass", 1),
        ("other_removes", OMS, True),
        ("fault", "schedule", "fails"),
        ("deliver", 0, 1),
    ],
    "a claim is taken over from an event that lost its checks": [
        ("event", "created", 0, 0),
        ("ends", OMS, "settings", True),
        ("fault", "schedule", "fails"),
        ("deliver", 0, 1),
        ("next", 0),
    ],
    "a claim is taken over from an event that lost its checks, and nobody may read": [
        ("event", "created", 0, 0),
        ("ends", OMS, "settings", True),
        ("fault", "schedule", "fails"),
        ("deliver", 0, 1),
        ("fault", "read", "403"),
        ("next", 0),
    ],
    "a handler that failed for now, in a scope that is paused": [
        ("event", "created", 0, 0),
        ("ends", OMS, "timeout", True),
        ("fault", "read", "403"),
        ("deliver", 0, 1),
    ],
    "a failed extension is claimed, and somebody reads it before it is sent": [
        ("event", "created", 0, 0),
        ("ends", OMS, "locked", True),
        ("fault", "put", "404"),
        ("next", 1),
        ("state", "Deleting"),
        ("event", "updated", 0, 1),
        ("state", "Succeeded"),
        ("both", ("ask", "", 0), ("event", "updated", 0, 1), 741),
    ],
    "nobody answered, and the guest agent went silent": [
        ("event", "created", 0, 0),
        ("fault", "put", "no answer"),
        ("ends", OMS, "well", True),
        ("deliver", 0, 0),
        ("agent", False),
        ("event", "updated", 0, 0),
        ("agent", True),
        ("event", "updated", 0, 0),
    ],
    "nobody answered, and it was left out and taken in again": [
        ("fault", "put", "no answer"),
        ("event", "created", 0, 0),
        ("skip", True, True),
        ("deliver", 0, 0),
        ("skip", False, True),
        ("deliver", 0, 0),
    ],
    "nobody answered, and then ARM is not to be read": [
        ("fault", "put", "no answer"),
        ("event", "created", 0, 0),
        ("fault", "read", "429 bare"),
        ("event", "updated", 0, 0),
        ("pass", 1),
        ("next", 0),
    ],
    "nobody answered, and a host of another version no longer wants it": [
        ("event", "created", 0, 0),
        ("ends", OMS, "well", True),
        ("fault", "put", "no answer"),
        ("deliver", 0, 0),
        ("event", "updated", 0, 1),
        ("event", "updated", 0, 0),
    ],
    "somebody else's settings are not what we installed for a policy that is gone": [
        ("ask", "inventory", 0),
        ("ends", AGENT, "settings", True),
        ("other_writes", AGENT, 1, True, True),
        ("event", "updated", 0, 1),
    ],
    "ARM's word on a write is no word on the machine": [
        ("fault", "put", "404 gone"),
        ("event", "created", 0, 0),
    ],
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No logging: many walks would fill the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("steps", WALKS.values(), ids=tuple(WALKS))
@pytest.mark.parametrize("versions", VERSIONS)
def test_a_walk_that_once_went_wrong(steps: list[Step], versions: int) -> None:
    assert defect(steps, versions) == ""


@pytest.mark.parametrize("seed", range(_FROM, _FROM + _WALKS))
def test_a_walk_at_random(seed: int) -> None:
    versions = seed % 3 + 1
    steps = draw(seed, 15 + seed % 50)
    if defect(steps, versions):
        steps = shorten(steps, lambda shorter: defect(shorter, versions) != "")
        pytest.fail(f"{defect(steps, versions)}, with versions {versions}, after\n" + "\n".join(map(str, steps)))
