"""Random events on a machine, as in `test_machine_walks.py`, under policies of all effects: installs and removals, in
change windows, under limits and `onlyAfter`, on older machines too, while a person removes, retries and pauses and
policies are deployed. Each write is judged when it is sent; in the end every row is true and every write is in the
history.

`MACHINE_WALKS` and `MACHINE_WALKS_FROM` mean the same as there."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from tests.flow.policy_walk import drawn, policy_defect
from tests.flow.walk import Step, shorten
from tests.flow.world import OMS, SECOND

_WALKS = int(os.environ.get("MACHINE_WALKS", "60"))
_FROM = int(os.environ.get("MACHINE_WALKS_FROM", "0"))
AGENT = SECOND.name

WALKS: dict[str, tuple[str, str, list[Step]]] = {
    "a person removes the old agent, and not the one that its removal comes after": (
        "removal after",
        "removal after",
        [("replace", "new", (OMS, AGENT), False), ("request", True, OMS, "", 0)],
    ),
    "a removal waits for its policy and for its window": (
        "removal after in a window",
        "removal after in a window",
        [("replace", "new", (OMS,), True), ("event", "updated", 0, 0)],
    ),
    "a host removes what another host wants": (
        "install, limited",
        "removal of both",
        [("replace", "new", (OMS,), False), ("event", "updated", 0, 1), ("event", "created", 0, 0)],
    ),
    "somebody writes over a first install that failed": (
        "install in a window",
        "install in a window",
        [
            ("both", ("deliver", 17, 1), ("ask", "inventory", 0), 973),
            ("ends", AGENT, "timeout", False),
            ("other_writes", AGENT, 2, False, False),
        ],
    ),
    "somebody removes what is only audited": (
        "removal after in a window",
        "removal of both",
        [
            ("event", "created", 0, 0),
            ("replace", "old", (OMS,), True),
            ("event", "updated", 0, 1),
            ("fault", "commit", "fails"),
            ("other_removes", OMS, True),
            ("request", False, "", "retire-oms", 0),
            ("request", True, AGENT, "", 0),
        ],
    ),
    "a removal was claimed and not sent, and somebody wrote over what was to go": (
        "removal after, enforced",
        "removal after, enforced",
        [
            ("event", "created", 0, 0),
            ("ends", AGENT, "well", True),
            ("deliver", 10, 1),
            ("fault", "commit", "dies after"),
            ("request", True, AGENT, "", 0),
            ("deploy", "removal and install", 0),
            ("other_writes", AGENT, 1, True, True),
        ],
    ),
    "another machine has nothing to remove": (
        "install, limited",
        "install, limited",
        [
            ("event", "created", 0, 0),
            ("replace", "old", (OMS,), False),
            ("skip", True, False),
            ("next", 0),
            ("deploy", "removal of both", 0),
            ("replace", "new", (), False),
        ],
    ),
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No logging: many walks would fill the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", WALKS)
def test_a_walk_that_once_went_wrong(name: str) -> None:
    assert policy_defect(*WALKS[name]) == ""


@pytest.mark.parametrize("seed", range(_FROM, _FROM + _WALKS))
def test_a_walk_at_random(seed: int) -> None:
    first, second, steps = drawn(seed)
    if policy_defect(first, second, steps):
        steps = shorten(steps, lambda some: policy_defect(first, second, some) != "")
        found = policy_defect(first, second, steps)
        pytest.fail(f"{found}, with {first!r} and {second!r}, after\n" + "\n".join(map(str, steps)))
