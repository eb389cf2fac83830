"""The rollout limit of a policy: installs per hour, and a stop after failures in a row."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import OMS, POLICY, START, World, extension, vm_id

NAME = "linux-monitoring"
BROKEN = "[ExtensionOperationError] Non-zero exit code: 10, omsagent.py -enable\n[stdout]\nEnable,failed,10,"


def braked(**rollout_limit: int) -> World:
    return World(policies=[{**POLICY, "brake": rollout_limit}])


async def failed(world: World, name: str) -> VmId:
    """Add a VM whose handler fails permanently."""
    vm = world.add(name)
    await world.created(vm)
    if world.arm.machines[vm.key].get("resources"):
        world.arm.set_extension(vm, extension(state="Failed"), BROKEN, "ProvisioningState/failed/10")
        await world.extension_written(vm, succeeded=False)
    return vm


async def test_a_policy_without_a_rollout_limit_costs_no_call_to_storage() -> None:
    world = World()
    await world.created(world.add())
    await world.extension_written(world.add())
    assert world.rollouts.trips == 0


async def test_no_more_than_so_many_installs_an_hour() -> None:
    world = braked(maxInstallsPerHour=2)
    vms = [world.add(f"vm{number}") for number in range(4)]
    for vm in vms:
        await world.created(vm)
    assert world.arm.calls.count("PUT") == 2
    row = world.row(vms[3])
    assert (row.outcome, row.waiting_for, row.attempt) == (Outcome.WAITING, WaitingFor.ROLLOUT_LIMIT, 0)
    assert "may install 2 times an hour (maxInstallsPerHour); this hour's installs are used up" in row.reason
    assert row.next_attempt_at is not None
    assert START + timedelta(hours=1) <= row.next_attempt_at < START + timedelta(hours=2)
    await world.run_latest_check()
    assert world.row(vms[3]).outcome is Outcome.REQUESTED


async def test_one_worker_counts_with_one_call_for_each_install() -> None:
    world = braked(maxInstallsPerHour=100)
    for number in range(10):
        await world.created(world.add(f"vm{number}"))
    assert world.rollouts.trips == 1 + 10


async def test_two_workers_count_together() -> None:
    world = braked(maxInstallsPerHour=5)
    other = World(policies=world.policies, arm=world.arm, ledger=world.ledger, rollouts=world.rollouts)
    await asyncio.gather(*(w.created(world.add(f"vm{n}-{id(w)}")) for n in range(5) for w in (world, other)))
    assert world.arm.calls.count("PUT") == 5


async def test_an_event_does_not_move_the_scheduled_check() -> None:
    world = braked(maxInstallsPerHour=1)
    await world.created(world.add("first"))
    vm = world.add("second")
    await world.created(vm)
    row = world.row(vm)
    await world.updated(vm)
    assert world.row(vm) == row
    assert len(world.schedule_queue.checks) == 2


async def test_a_vm_that_needs_no_install_is_not_held_up() -> None:
    world = braked(maxInstallsPerHour=1)
    await world.created(world.add("first"))
    vm = world.add("second")
    world.arm.set_extension(vm, extension())
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED


async def test_failures_in_a_row_stop_the_policy(caplog: pytest.LogCaptureFixture) -> None:
    world = braked(stopAfterFailures=2)
    with caplog.at_level(logging.ERROR):
        await failed(world, "vm1")
        assert not caplog.records
        await failed(world, "vm2")
    state = world.rollouts.stored[NAME].state
    (line,) = [record.getMessage() for record in caplog.records]
    request = world.row(vm_id("vm2")).client_request_id
    assert line == f"vm2 {OMS}: {state} [event event-4, request {request}]"
    assert state.stopped_at == START
    vm = await failed(world, "vm3")
    row = world.row(vm)
    assert (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.ROLLOUT_LIMIT)
    assert "is stopped since 2026-11-20 10:00 UTC after 2 failures in a row, the last on vm2: the handler" in row.reason
    assert f'onboard policy resume "{NAME}"' in row.reason
    assert world.arm.calls.count("PUT") == 2


async def test_a_success_between_failures_resets_the_count() -> None:
    world = braked(stopAfterFailures=2)
    await failed(world, "vm1")
    vm = world.add("vm2")
    await world.created(vm)
    await world.installed(vm)
    await failed(world, "vm3")
    state = world.rollouts.stored[NAME].state
    assert (state.failures, state.stopped_at) == (1, None)


async def test_a_success_of_a_request_in_flight_resumes_the_policy() -> None:
    world = braked(stopAfterFailures=1)
    good = world.add("good")
    await world.created(good)
    await failed(world, "bad")
    assert world.rollouts.stored[NAME].state.stopped_at
    await world.installed(good)
    vm = world.add("next")
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_person_resumes_a_stopped_policy() -> None:
    world = braked(stopAfterFailures=1)
    await failed(world, "bad")
    vm = world.add("next")
    await world.created(vm)
    stored = world.rollouts.stored[NAME]
    await world.rollouts.write(stored.state.recovered(), stored.version)
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_the_same_failure_seen_again_counts_once() -> None:
    world = braked(stopAfterFailures=3)
    vm = await failed(world, "vm1")
    await world.updated(vm)
    await world.extension_written(vm, succeeded=False)
    assert world.rollouts.stored[NAME].state.failures == 1


@pytest.mark.parametrize("rollout_limit", [{"maxInstallsPerHour": 2}, {"stopAfterFailures": 2}])
async def test_each_policy_has_its_own_rollout_limit(rollout_limit: dict[str, int]) -> None:
    eastern: dict[str, Any] = {**POLICY, "name": "eastern", "rule": {"field": "location", "equals": "eastus"}}
    world = World(policies=[{**eastern, "brake": rollout_limit}, POLICY])
    for number in range(4):
        await failed(world, f"vm{number}")
    assert world.arm.calls.count("PUT") == 4
    assert world.rollouts.trips == 0
