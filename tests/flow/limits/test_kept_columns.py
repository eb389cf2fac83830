"""Columns that a newer version added to a breaker, a count or the sweep's state outlive what this version writes."""

from __future__ import annotations

from copy import replace
from datetime import timedelta
from typing import Any

from onboarding.application.ports import StoredSweep, SweepState
from onboarding.domain.failures.evidence import Evidence
from tests.flow.world import POLICY, World, extension

NEWS: dict[str, Any] = {"Zone": "kept"}
REFUSED = Evidence(http_status=403, code="AuthorizationFailed", message="no authorization to perform the action")


async def test_a_probe_keeps_the_columns_of_a_breaker() -> None:
    world = World()
    vms = [world.add(f"vm{number}") for number in range(2)]
    world.arm.install_errors = [REFUSED]
    await world.created(vms[0])
    ((place, stored),) = world.breakers.stored.items()
    world.breakers.stored[place] = replace(stored, rest=NEWS)

    world.now = stored.breaker.next_probe_at + timedelta(minutes=1)
    world.arm.install_errors = [REFUSED]
    await world.created(vms[1])

    assert world.breakers.stored[place].breaker.probes == 1
    assert world.breakers.stored[place].rest == NEWS


async def test_installs_and_a_recovery_keep_the_columns_of_a_count() -> None:
    world = World(policies=[{**POLICY, "brake": {"maxInstallsPerHour": 9, "stopAfterFailures": 3}}])
    await world.created(world.add("first"))
    name = str(POLICY["name"])
    stored = world.rollouts.stored[name]
    world.rollouts.stored[name] = replace(stored, state=replace(stored.state, failures=1), version="theirs", rest=NEWS)

    vms = [world.add(f"vm{number}") for number in range(2)]
    for vm in vms:
        await world.created(vm)
    assert (world.rollouts.stored[name].state.installs, world.rollouts.stored[name].rest) == (3, NEWS)
    world.arm.set_extension(vms[0], extension())
    await world.extension_written(vms[0])

    assert (world.rollouts.stored[name].state.failures, world.rollouts.stored[name].rest) == (0, NEWS)


async def test_a_sweep_keeps_the_columns_of_its_state() -> None:
    world = World()
    world.sweeps.stored = StoredSweep(SweepState(resume_at="sub"), "v7", NEWS)

    await world.sweep.run()

    assert world.sweeps.writes > 1
    assert world.sweeps.stored.rest == NEWS
