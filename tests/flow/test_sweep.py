"""What the sweep finds when events were lost, and what it leaves alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from onboarding.core.evidence import Evidence
from onboarding.core.outcome import Outcome
from tests.flow.world import BIONIC, POLICY, SUBSCRIPTION, World, extension


@pytest.fixture
def world() -> World:
    return World()


async def test_the_sweep_alone_onboards_a_fleet(world: World) -> None:
    vms = [world.add(f"vm-{number}") for number in range(20)]
    report = await world.sweep.run()
    assert report.missed == 20
    for vm in vms:
        world.arm.set_extension(vm, extension())
    world.now += timedelta(hours=1)
    await world.sweep.run()
    assert {world.row(vm).outcome for vm in vms} == {Outcome.INSTALLED}
    assert world.arm.calls.count("PUT") == 20


async def test_a_second_sweep_asks_for_nothing_but_the_list(world: World) -> None:
    world.add("supported", image=BIONIC)
    world.add("windows", os_type="Windows")
    world.add("opted-out", tags={"onboarding": "skip"})
    await world.sweep.run()
    world.arm.calls.clear()
    world.now += timedelta(hours=1)
    report = await world.sweep.run()
    assert (report.missed, report.drifted, report.gone) == (0, 0, 0)
    assert world.arm.calls == ["LIST"]


async def test_a_missed_deletion_is_found(world: World) -> None:
    vm = world.add(image=BIONIC)
    await world.created(vm)
    world.arm.machines.clear()
    world.now += timedelta(hours=1)
    assert (await world.sweep.run()).gone == 1
    assert world.row(vm).outcome is Outcome.GONE
    world.now += timedelta(hours=1)
    assert (await world.sweep.run()).gone == 0


async def test_an_extension_that_drifted_away_is_mended(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.extension_written(vm)
    world.arm.machines[vm.key].pop("resources")
    world.now += timedelta(hours=1)
    assert (await world.sweep.run()).drifted == 1
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_vm_that_was_made_again_unannounced_is_found(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.extension_written(vm)
    world.add(vm_id="another")
    world.now += timedelta(hours=1)
    assert (await world.sweep.run()).missed == 1
    assert world.row(vm).vm_id == "another"


async def test_what_an_event_is_about_to_tell_is_left_to_it(world: World) -> None:
    vm = world.add()
    world.arm.machines[vm.key]["properties"]["timeCreated"] = world.now.isoformat()
    assert (await world.sweep.run()).missed == 0


async def test_a_subscription_that_cannot_be_listed_is_named_and_stops_nothing_else(world: World) -> None:
    vm = world.add(image=BIONIC)
    await world.created(vm)
    world.arm.list_errors = [Evidence(http_status=429, code="TooManyRequests")]
    report = await world.sweep.run()
    assert SUBSCRIPTION in report.unread[0]
    assert world.row(vm).outcome is Outcome.UNSUPPORTED


async def test_only_the_named_subscriptions_are_listed(world: World) -> None:
    world = World(policies=[{**POLICY, "scope": ["/subscriptions/another"]}])
    world.add()
    report = await world.sweep.run()
    assert report.missed == 0
    assert world.arm.calls == ["LIST"]


async def test_an_outcome_that_nobody_took_is_told_by_the_sweep(world: World) -> None:
    vm = world.add(image=BIONIC)
    world.announced.reachable = False
    await world.created(vm)
    world.announced.reachable = True
    world.now += timedelta(minutes=5)
    assert (await world.sweep.run()).announced == 1
    assert [row.outcome for row in world.announced.rows] == [Outcome.UNSUPPORTED]
    assert (await world.sweep.run()).announced == 0
