"""A machine has one scheduled check, at the earliest moment that one of its rows waits for, whatever wrote the rows."""

from __future__ import annotations

from copy import replace
from datetime import timedelta

import pytest

from onboarding.application.ports import MachineRows, ScheduledCheck
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import OMS, POLICY, SECOND_POLICY, START, THIRD_POLICY, World

SECOND = SECOND_POLICY["extension"]
BOTH = [POLICY, SECOND_POLICY]
THROTTLED = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "5400"})


async def rows_of(world: World, vm: VmId) -> MachineRows:
    return await world.ledger.read(vm)


async def next_check(world: World, vm: VmId) -> ScheduledCheck | None:
    """The check that the machine's own row names."""
    machine = (await rows_of(world, vm)).machine
    assert machine is not None
    due = machine.row.next_attempt_at
    return ScheduledCheck(vm, due) if due else None


async def stopped_with(world: World, *policies: dict[str, object]) -> VmId:
    """A stopped VM for which the policies came three hours after each other."""
    vm = world.add(power="deallocated")
    for number in range(len(policies)):
        host = world.with_policies(list(policies[: number + 1]))
        host.now = START + timedelta(hours=3 * number)
        await host.updated(vm)
    return vm


async def test_rows_that_began_to_wait_at_different_times_come_to_share_one_moment() -> None:
    policies = [{**each, "existing": "enforce"} for each in (POLICY, SECOND_POLICY, THIRD_POLICY)]
    world = World(policies)
    vm = await stopped_with(world, *policies)
    began = {world.row(vm, each).waiting_since for each in world.extensions}
    assert len(began) == 3
    while await world.run_next_check(until=START + timedelta(days=4)):
        pass
    rows = [world.row(vm, each) for each in world.extensions]
    assert {row.waiting_since for row in rows} == began, "the caps count on"
    assert {row.next_attempt_at for row in rows} == {world.now + timedelta(days=1)}
    assert len(world.schedule_queue.checks) == 1
    calls, sent = world.arm.calls.count("GET"), len(world.schedule_queue.sent)
    await world.run_next_check()
    assert (world.arm.calls.count("GET"), len(world.schedule_queue.sent)) == (calls + 1, sent + 1)


async def test_a_check_that_the_machine_no_longer_waits_for_reads_and_writes_nothing() -> None:
    world = World()
    vm = world.add(power="deallocated")
    await world.created(vm)
    await world.run_next_check()
    (superseded,) = world.schedule_queue.checks
    world = world.with_policies(BOTH)
    await world.updated(vm)
    await world.run_next_check()  # that of the second extension: the first one's interval begins again with it
    calls, writes = list(world.arm.calls), world.ledger.writes
    world.now = superseded.due
    await world.dispatcher.check(superseded)
    assert (world.arm.calls, world.ledger.writes) == (calls, writes)


async def test_a_check_that_comes_twice_is_handled_once() -> None:
    world = World(BOTH)
    vm = world.add(power="deallocated")
    await world.created(vm)
    (check,) = world.schedule_queue.checks
    world.now = check.due
    await world.dispatcher.check(check)
    calls, sent = list(world.arm.calls), len(world.schedule_queue.sent)
    await world.dispatcher.check(check)
    assert (world.arm.calls, len(world.schedule_queue.sent)) == (calls, sent)


async def test_the_delay_that_arm_asks_for_is_not_shortened_by_the_check_of_another_row() -> None:
    world = World(BOTH)
    vm = world.add()
    world.arm.install_errors = [THROTTLED] * 9
    await world.created(vm)
    throttled = {each: world.row(vm, each) for each in world.extensions}
    assert {row.waiting_for for row in throttled.values()} == {WaitingFor.THROTTLING}
    moments = {row.next_attempt_at for row in throttled.values()}
    assert min(filter(None, moments)) >= START + timedelta(seconds=5400)
    third = world.with_policies([*BOTH, {**THIRD_POLICY, "settleDelay": "20m"}])
    world.arm.machines[vm.key]["properties"]["timeCreated"] = START.isoformat()
    await third.updated(vm)
    assert third.row(vm, THIRD_POLICY["extension"]).waiting_for is WaitingFor.SETTLE_DELAY
    earlier = await next_check(third, vm)
    assert earlier is not None
    assert earlier.due < START + timedelta(minutes=21), "the machine's check is that of the third row"
    while third.row(vm, THIRD_POLICY["extension"]).waiting_for is WaitingFor.SETTLE_DELAY:
        await third.run_next_check()
    for each, row in throttled.items():
        after = third.row(vm, each)
        assert (after.waiting_for, after.next_attempt_at) == (row.waiting_for, row.next_attempt_at)
    assert third.arm.calls.count("PUT") == 3


async def test_rows_and_checks_of_the_version_before_are_taken_over() -> None:
    """Each row had its own check then, and the machine's own row named none."""
    world = World(BOTH)
    vm = world.add(power="deallocated")
    await world.created(vm)
    stored = world.ledger.machines[vm.key]
    world.ledger.machines[vm.key] = replace(stored, row=replace(stored.row, next_attempt_at=None))
    (check,) = world.schedule_queue.checks
    world.schedule_queue.checks.append(check)
    for _ in range(4):
        await world.run_next_check()
    for each in world.extensions:
        assert world.row(vm, each).waiting_for is WaitingFor.VM_RUNNING
    assert await next_check(world, vm) in world.schedule_queue.checks
    assert len(world.schedule_queue.checks) == 1


@pytest.mark.parametrize("late", [False, True])
async def test_a_row_that_a_host_of_the_version_before_left_without_a_check_is_found_by_the_sweep(late: bool) -> None:
    """Such a host drops the column of the machine's own row, and schedules checks for the rows that it writes."""
    world = World(BOTH)
    vm = await stopped_with(world, POLICY, SECOND_POLICY)
    stored = world.ledger.machines[vm.key]
    world.ledger.machines[vm.key] = replace(stored, row=replace(stored.row, next_attempt_at=None))
    world.schedule_queue.checks.clear()
    world.now = START + timedelta(days=2 if late else 1)
    world.add()
    report = await world.sweep_and_reconcile()
    assert report.overdue >= 1
    for each in world.extensions:
        assert world.row(vm, each).outcome is not Outcome.INSTALLED
    assert Outcome.REQUESTED in {world.row(vm, each).outcome for each in world.extensions}
    assert await next_check(world, vm) in world.schedule_queue.checks


async def test_nothing_is_written_if_the_check_cannot_be_scheduled() -> None:
    world = World(BOTH)
    vm = world.add(power="deallocated")
    await world.created(vm)
    before = await rows_of(world, vm)
    (check,) = world.schedule_queue.checks
    world.now = check.due
    world.schedule_queue.reachable = False
    with pytest.raises(StorageError):
        await world.dispatcher.check(check)
    assert await rows_of(world, vm) == before
    world.schedule_queue.reachable = True
    await world.dispatcher.check(check)
    assert world.row(vm, OMS).next_attempt_at == world.now + timedelta(hours=6)


async def test_the_last_row_that_ends_leaves_the_machine_without_a_check() -> None:
    world = World(BOTH)
    vm = world.add()
    await world.created(vm)
    while not all(world.row(vm, each).outcome.final for each in world.extensions):
        await world.advance(vm)
    assert await next_check(world, vm) is None
    calls = list(world.arm.calls)
    while await world.run_next_check():
        pass
    assert world.arm.calls == calls


async def test_a_check_that_outlived_its_rows_is_sent_by_the_sweep_once() -> None:
    """A host of another version ended the rows, and left the check in the machine's own row as it was."""
    world = World(BOTH)
    vm = world.add()
    await world.created(vm)
    while not all(world.row(vm, each).outcome.final for each in world.extensions):
        await world.advance(vm)
    ended = world.ledger.machines[vm.key]
    world.ledger.machines[vm.key] = replace(ended, row=replace(ended.row, next_attempt_at=world.now))
    world.schedule_queue.checks.clear()
    world.now += timedelta(hours=1)
    assert (await world.sweep.run()).overdue == 1
    calls, rows = list(world.arm.calls), dict(world.ledger.rows)
    assert await world.run_next_check()
    assert await next_check(world, vm) is None
    assert (world.arm.calls, world.ledger.rows) == (calls, rows)
    world.now += timedelta(days=3)
    assert (await world.sweep.run()).overdue == 0
