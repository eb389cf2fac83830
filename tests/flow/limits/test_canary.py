"""The canary of a policy: a part of its machines is changed first, and the others follow once it has done well."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.limits.canary import Canary
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.wait_schedule import Duration
from onboarding.domain.resource_id import VmId
from tests.flow.world import POLICY, START, World, extension, vm_id

NAME = "linux-monitoring"
DAY = timedelta(days=1)
CANARY = Canary(5, Duration(24 * 3600))
BROKEN = "Install failed with exit code 62"


def policies(**limit: Any) -> list[dict[str, Any]]:
    return [{**POLICY, "brake": {"canary": {"percent": 5, "for": "24h", **limit}}}]


def fleet(world: World, number: int) -> list[VmId]:
    return [world.add(f"vm{each}") for each in range(number)]


async def fail(world: World, vm: VmId) -> None:
    world.arm.set_extension(vm, extension(state="Failed"), BROKEN, "ProvisioningState/failed/0")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).outcome is Outcome.FAILED


def with_outcome(world: World, vms: list[VmId], outcome: Outcome) -> list[VmId]:
    return [vm for vm in vms if world.row(vm).outcome is outcome]


def waits(row: Row) -> bool:
    return (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.ROLLOUT_LIMIT)


def member() -> VmId:
    """A machine that is always one of the canary."""
    return next(vm for vm in (vm_id(f"member{number}") for number in range(1000)) if CANARY.has(vm))


async def begun(number: int, **limit: Any) -> tuple[World, list[VmId], list[VmId]]:
    """A fleet whose machines have all come, and those of it that are the canary."""
    world = World(policies=policies(**limit))
    vms = fleet(world, number)
    for vm in vms:
        await world.created(vm)
    canary = with_outcome(world, vms, Outcome.REQUESTED)
    assert all(waits(world.row(vm)) for vm in vms if vm not in canary)
    return world, vms, canary


@pytest.mark.parametrize("number", [2, 100])
async def test_the_canary_goes_first_and_the_others_follow_when_its_time_is_over(number: int) -> None:
    world, vms, canary = await begun(number)
    assert canary == [vm for vm in vms if CANARY.has(vm) or vm == vms[0]]
    assert len(canary) in ({2: (1,), 100: range(3, 12)}[number])
    other = next(vm for vm in vms if vm not in canary)
    assert "5 % of its machines and the one that comes first are changed first, the others 24 h after" in (
        world.row(other).reason
    )
    world.now += timedelta(hours=2)
    for vm in canary:
        await world.installed(vm)
    assert len(with_outcome(world, vms, Outcome.INSTALLED)) == len(canary)
    reads = world.arm.calls.count("GET")
    while world.arm.calls.count("PUT") == len(canary):
        assert await world.run_next_check()
    assert world.now >= START + timedelta(hours=2) + DAY
    assert world.arm.calls.count("GET") - reads <= number - len(canary) + 1, "each waits with one check"
    while await world.run_next_check(until=START + timedelta(hours=3) + DAY):
        pass
    assert len(with_outcome(world, vms, Outcome.REQUESTED)) == number - len(canary)


@pytest.mark.parametrize("number", [2, 100])
async def test_the_others_never_start_after_the_canary_has_failed_and_their_rows_say_why(number: int) -> None:
    world, vms, canary = await begun(number)
    await fail(world, canary[-1])
    for vm in canary[:-1]:
        await world.installed(vm)  # it was requested before the stop, so it does not resume the policy
    while await world.run_next_check(until=START + DAY + timedelta(hours=1)):
        pass
    others = [vm for vm in vms if vm not in canary]
    assert world.arm.calls.count("PUT") == len(canary)
    for vm in others:
        row = world.row(vm)
        assert waits(row)
        assert "is stopped since 2026-11-20 10:00 UTC after 1 failure in its canary, the last on " in row.reason
        assert canary[-1].name in row.reason
        assert f'onboard policy resume "{NAME}"' in row.reason


async def test_so_many_of_the_canary_may_fail() -> None:
    world, _, canary = await begun(100, failures=1)
    await fail(world, canary[0])
    assert world.rollouts.stored[NAME].state.stopped_at is None
    await fail(world, canary[1])
    assert world.rollouts.stored[NAME].state.stopped_at == START


async def test_a_retry_of_the_failed_canary_that_succeeds_resumes_the_policy() -> None:
    world, (first, second), _ = await begun(2)
    await fail(world, first)
    world.now += timedelta(hours=1)
    await world.requests.handle(second, OperatorRequest())
    assert waits(world.row(second)), "a person's request does not make a machine one of the canary"
    await world.requests.handle(first, OperatorRequest())
    assert world.row(first).outcome is Outcome.REQUESTED
    await world.installed(first)
    assert world.rollouts.stored[NAME].state.stopped_at is None
    while world.row(second).outcome is Outcome.WAITING:
        assert await world.run_next_check(until=START + 5 * DAY)
    assert world.now >= START + timedelta(hours=1) + DAY


async def test_a_retry_that_fails_again_leaves_the_policy_stopped() -> None:
    world, (first, _), _ = await begun(2)
    await fail(world, first)
    world.now += timedelta(hours=1)
    await world.requests.handle(first, OperatorRequest())
    await fail(world, first)
    state = world.rollouts.stored[NAME].state
    assert (state.stopped_at, state.canary.failures) == (START, 2)


async def test_another_file_of_the_policy_begins_another_canary() -> None:
    world, (first, second), _ = await begun(2)
    await fail(world, first)
    changed = world.with_policies(policies(failures=3))
    changed.now += timedelta(hours=1)
    await changed.requests.handle(second, OperatorRequest())
    assert changed.row(second).outcome is Outcome.REQUESTED
    third = changed.add("third")
    await changed.created(third)
    assert waits(changed.row(third))
    await fail(changed, second)
    state = changed.rollouts.stored[NAME].state
    assert (state.stopped_at, state.canary.failures) == (None, 1)


async def test_a_resumed_policy_begins_its_canary_again() -> None:
    world, (first, second), _ = await begun(2)
    await fail(world, first)
    stored = world.rollouts.stored[NAME]
    await world.rollouts.write(stored.state.recovered(), stored.version)
    world.now += timedelta(minutes=1)
    await world.requests.handle(second, OperatorRequest())
    assert world.row(second).outcome is Outcome.REQUESTED


async def test_if_the_first_machine_never_succeeds_the_next_takes_its_place() -> None:
    world, (first, second), _ = await begun(2)
    await world.deleted(first)
    while world.row(second).outcome is Outcome.WAITING:
        assert await world.run_next_check(until=START + 3 * DAY)
    assert world.now >= START + DAY
    assert world.rollouts.stored[NAME].state.canary.first == second.key


async def test_after_the_canary_new_machines_are_installed_at_once_and_failures_do_not_stop() -> None:
    world, (first, _), _ = await begun(2)
    await world.installed(first)
    world.now += DAY
    for vm in (vm_id("new"), member()):
        world.add(vm.name)
        await world.created(vm)
        await fail(world, vm)
    assert world.rollouts.stored[NAME].state.stopped_at is None


async def test_a_stopped_policy_lets_no_other_machine_of_the_canary_in() -> None:
    world, (first, _), _ = await begun(2)
    await fail(world, first)
    vm = world.add(member().name)
    await world.created(vm)
    assert waits(world.row(vm))
    await world.requests.handle(vm, OperatorRequest())
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_what_was_requested_for_an_earlier_file_does_not_count() -> None:
    world = World(policies=policies())
    early = world.add(member().name)
    await world.created(early)
    changed = world.with_policies(policies(failures=1))
    first = changed.add("first")
    await changed.created(first)
    assert changed.row(first).outcome is Outcome.REQUESTED
    await changed.installed(early)
    assert changed.rollouts.stored[NAME].state.canary.since is None
    await changed.installed(first)
    assert changed.rollouts.stored[NAME].state.canary.since == START


async def test_the_canary_and_the_other_limits_hold_together() -> None:
    world = World(policies=[{**POLICY, "brake": {"maxInstallsPerHour": 1, "canary": {"percent": 99, "for": "1h"}}}])
    first, second = fleet(world, 2)
    await world.created(first)
    await world.created(second)
    assert world.row(first).outcome is Outcome.REQUESTED
    assert "this hour's installs are used up" in world.row(second).reason


async def test_two_workers_let_in_one_first_machine() -> None:
    world = World(policies=policies())
    other = World(policies=world.policies, arm=world.arm, ledger=world.ledger, rollouts=world.rollouts)
    vms = [vm for vm in fleet(world, 20) if not CANARY.has(vm)]
    for number, vm in enumerate(vms):
        await (world, other)[number % 2].created(vm)
    assert world.arm.calls.count("PUT") == 1
    assert world.row(vm_id(vms[0].name)).outcome is Outcome.REQUESTED
