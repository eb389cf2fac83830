"""Random events on a machine with two extensions of which one needs the other: it is never requested before a read
showed the other healthy, and in the end every row is final, or waits for what failed.

`MACHINE_WALKS` and `MACHINE_WALKS_FROM` as in `test_machine_walks.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import replace
from typing import Any

import pytest

from onboarding.application.ports import ArmAnswer
from onboarding.domain.catalog.entry_file import Needs
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.walk import VERSIONS, Defect, Step, StrictArm, Turns, Walk, defect_of, draw, shorten
from tests.flow.world import CATALOGUE, OMS, SECOND

_WALKS = int(os.environ.get("MACHINE_WALKS", "60"))
_FROM = int(os.environ.get("MACHINE_WALKS_FROM", "0"))
NEEDING = {**CATALOGUE, SECOND.name: replace(SECOND, needs=Needs(extensions=(OMS,)))}


class ArmWithNeeds(StrictArm):
    """It knows whether anybody can have seen the needed extension healthy."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(turns)
        self.seen = False

    def healthy(self) -> bool:
        there = self.found(OMS)
        return there is not None and read_extension_state(there) is ExtensionState.SUCCEEDED

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        answer = await super().read_machine(vm, to_install=to_install)
        self.seen = self.seen or self.healthy()
        return answer

    async def _put_extension(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        if body["properties"]["type"] == SECOND.type and not self.seen:
            raise Defect(f"{SECOND.name} was requested before {OMS} was healthy")
        await super()._put_extension(vm, name, body)


class NeedingWalk(Walk):
    """The walk of a machine whose second extension needs the first."""

    arm: ArmWithNeeds

    def __init__(self, versions: int) -> None:
        super().__init__([VERSIONS[1], VERSIONS[versions]], arm=ArmWithNeeds)
        for number, host in enumerate(self.hosts):
            host.catalogue = NEEDING
            self.restart(number)

    def at_rest(self) -> bool:
        """Whether the needed extension ended without success, for which the other waits as long as it takes."""
        is_open = [row for row in self.rows().values() if not row.outcome.final]
        waits = all(row.waiting_for is WaitingFor.NEEDED_EXTENSION for row in is_open)
        return bool(is_open) and waits and not self.arm.healthy()

    def check_end(self) -> None:
        if self.arm.machine is None or not self.at_rest():
            super().check_end()
            return
        (row,) = [row for row in self.rows().values() if not row.outcome.final]
        if row.extension != SECOND.name or row.error_code != "needed-extension-missing" or not row.next_attempt_at:
            raise Defect(f"{row.extension} waits at the end without a word: {row.reason}")


def defect(steps: list[Step], versions: int) -> str:
    return defect_of(lambda: NeedingWalk(versions), steps)


def test_the_other_waits_where_the_needed_one_failed() -> None:
    assert defect([("event", "created", 0, 0), ("ends", OMS, "network", True)], 1) == ""


@pytest.mark.parametrize("seed", range(_FROM, _FROM + _WALKS))
def test_a_walk_at_random(seed: int) -> None:
    versions = seed % 3 + 1
    steps = draw(seed, 15 + seed % 50)
    if defect(steps, versions):
        steps = shorten(steps, lambda shorter: defect(shorter, versions) != "")
        pytest.fail(f"{defect(steps, versions)}, with versions {versions}, after\n" + "\n".join(map(str, steps)))
