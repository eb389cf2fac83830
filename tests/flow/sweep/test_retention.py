"""The sweep deletes history, and the rows of machines that are gone, when they are older than they are kept."""

from __future__ import annotations

from copy import replace
from datetime import datetime, timedelta

import pytest

from onboarding.application.ports import Pruning
from onboarding.application.sweep.sweep_queue import Budget, SweepFilter
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from tests.flow.world import POLICY, SECOND_POLICY, SHAPES, SUBSCRIPTION, THIRD_POLICY, World, vm_body

OTHERS = [f"{number}1112222-3333-4444-5555-666677778888" for number in (2, 3)]


async def onboarded(world: World, name: str = "web01", subscription: str = SUBSCRIPTION) -> VmId:
    """Onboard a VM; its history has three lines or more."""
    vm = VmId(subscription, "app-rg", name)
    body = vm_body(name)
    world.arm.machines[vm.key] = {**body, "id": str(vm)}
    await world.created(vm)
    for each in world.extensions:
        await world.finish_install(vm, each)
    return vm


async def gone(world: World, name: str = "web01", subscription: str = SUBSCRIPTION) -> VmId:
    """Onboard a VM and delete it."""
    vm = await onboarded(world, name, subscription)
    await world.deleted(vm)
    assert {stored.row.outcome for stored in (await world.ledger.read(vm)).targets.values()} == {Outcome.GONE}
    return vm


def lines_of(world: World, vm: VmId) -> int:
    return sum(key == vm.key for key, *_ in [*world.ledger.log, *world.ledger.changes_by_key])


@pytest.mark.parametrize("shape", SHAPES)
async def test_rows_of_a_gone_machine_and_its_history_are_deleted_after_the_days_that_they_are_kept(shape: str) -> None:
    world = World(policies=SHAPES[shape], budget=Budget(history=timedelta(days=30)))
    vm = await gone(world)
    lines = lines_of(world, vm)
    world.now += timedelta(days=29, hours=23)
    assert (await world.sweep.run()).pruned == 0
    assert lines_of(world, vm) == lines
    world.now += timedelta(days=1, minutes=1)
    report = await world.sweep.run()
    assert report.pruned == lines + 1 + len(world.policies)
    assert f"{report.pruned} rows pruned" in str(report)
    assert (world.ledger.machines, world.ledger.rows, world.ledger.log) == ({}, {}, {})
    assert world.ledger.changes_by_key == {}


async def test_a_machine_that_is_there_keeps_its_rows_and_loses_its_old_history() -> None:
    world = World()
    vm = await onboarded(world)
    world.now += timedelta(days=91)
    assert (await world.sweep_and_reconcile()).pruned > 0
    assert lines_of(world, vm) == 0
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert vm.key in world.ledger.machines


async def test_a_machine_with_one_target_that_is_not_gone_stays_whole() -> None:
    world = World(policies=SHAPES["two policies"])
    vm = await gone(world)
    (key, stored), *_ = world.ledger.rows.items()
    world.ledger.rows[key] = replace(stored, row=replace(stored.row, outcome=Outcome.FAILED))
    world.now += timedelta(days=91)
    await world.sweep.run()
    assert len(world.ledger.rows) == 2
    assert vm.key in world.ledger.machines


async def test_a_machine_that_was_pruned_may_come_back() -> None:
    world = World()
    vm = await gone(world)
    world.now += timedelta(days=91)
    await world.sweep_and_reconcile()
    assert not world.ledger.rows
    await onboarded(world)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_round_begins_once_a_day() -> None:
    world = World()
    assert (await world.sweep.run()).pruned == 0
    vm = await onboarded(world)
    then = world.now - timedelta(days=91)
    ledger = world.ledger
    ledger.log = {line: replace(row, event_time=then) for line, row in ledger.log.items()}
    ledger.changes_by_key = {key: replace(change, event_time=then) for key, change in ledger.changes_by_key.items()}
    world.now += timedelta(hours=23)
    assert (await world.sweep.run()).pruned == 0
    world.now += timedelta(hours=1, minutes=1)
    assert (await world.sweep.run()).pruned > 0
    assert lines_of(world, vm) == 0


async def test_a_run_stops_after_its_share_of_the_time_and_the_next_goes_on() -> None:
    world = World()
    vms = [await gone(world, f"vm-{number}", each) for number in range(4) for each in (SUBSCRIPTION, *OTHERS)]
    everything = len(world.ledger.log) + len(world.ledger.changes_by_key) + 2 * len(vms)
    world.now += timedelta(days=91)
    world.ledger.outbox.clear()  # the fake's lists take time, too
    world.ledger.while_listing = lambda: pass_time(world, timedelta(seconds=7))
    pruned, runs = 0, 0
    while world.ledger.log or world.ledger.rows:
        began = world.now
        report = await world.sweep.run()
        assert timedelta() < world.now - began <= timedelta(seconds=37), "an eighth of four minutes, and one step"
        assert (report.stopped, report.unpruned) == ("", "")
        assert report.complete
        pruned, runs = pruned + report.pruned, runs + 1
        world.now += timedelta(minutes=10)
    assert pruned == everything
    assert runs >= everything // 6
    await world.sweep.run()
    next_round = world.sweeps.stored.state.pruning.next_round
    assert next_round is not None
    assert next_round > world.now


def pass_time(world: World, time: timedelta) -> None:
    world.now += time


async def test_a_failure_is_named_and_stops_nothing_else() -> None:
    world = World()
    vms = [await gone(world, subscription=each) for each in (SUBSCRIPTION, *OTHERS)]
    world.now += timedelta(days=91)
    world.ledger.unprunable = {SUBSCRIPTION}
    world.add("new")
    report = await world.sweep.run()
    why = f"{SUBSCRIPTION}: the table could not be written: 500 Internal Server Error"
    assert (report.unpruned, report.missed, report.complete) == (why, 1, False)
    assert f"could not prune {why}" in str(report)
    world.now += timedelta(minutes=10)
    assert (await world.sweep.run()).unpruned == "", "the next run goes on after what failed"
    assert [lines_of(world, vm) > 0 for vm in vms] == [True, False, False]
    world.ledger.unprunable = set()
    world.now += timedelta(days=1)
    await world.sweep.run()
    assert not world.ledger.log


async def test_a_request_that_hangs_is_cut_off() -> None:
    world = World(budget=Budget(longest=timedelta(seconds=0.5)))
    await gone(world)
    world.ledger.hangs = True
    world.add("new")
    world.now += timedelta(days=1)
    report = await world.sweep.run()
    assert (report.unpruned, report.missed) == ("the table: a request took too long", 1)


@pytest.mark.parametrize(
    "sweep_filter", [SweepFilter(dry_run=True), SweepFilter(subscription=SUBSCRIPTION), SweepFilter(POLICY["name"])]
)
async def test_only_a_run_over_everything_deletes(sweep_filter: SweepFilter) -> None:
    world = World()
    await gone(world)
    world.now += timedelta(days=91)
    lines = len(world.ledger.log)
    assert (await world.sweep.run(sweep_filter)).pruned == 0
    assert len(world.ledger.log) == lines
    assert world.sweeps.stored.state.pruning == Pruning()


# Policies that come later than the machine, and are to act on it.
ALL_POLICIES = [{**each, "existing": "enforce"} for each in (POLICY, SECOND_POLICY, THIRD_POLICY)]


@pytest.mark.parametrize("policies_then", [1, 2, 3])
@pytest.mark.parametrize("policies_at_first", [1, 2, 3])
async def test_a_year_of_a_stopped_vm_costs_few_messages_and_few_rows(
    policies_at_first: int, policies_then: int
) -> None:
    """Every message is handled when it is due. The sweep runs every ten minutes for a week, then every six hours. After
    some days there are other policies than at first."""
    world = World(policies=ALL_POLICIES[:policies_at_first])
    vm = world.add(power="deallocated")
    await world.created(vm)
    began = next_sweep = world.now
    changes: datetime | None = began + timedelta(days=5, hours=7)
    messages = most_rows = pruned = 0
    while world.now < began + timedelta(days=365):
        if changes and world.now >= changes:
            world, changes = world.with_policies(ALL_POLICIES[:policies_then]), None
            await world.updated(vm)
        messages += await world.run_next_check(until=next_sweep)
        if not world.schedule_queue.checks or min(check.due for check in world.schedule_queue.checks) > next_sweep:
            world.now = next_sweep
            report = await world.sweep.run()
            assert (report.overdue, report.requested) == (0, 0), "the checks are enough"
            pruned += report.pruned
            next_sweep += timedelta(minutes=10) if world.now < began + timedelta(days=7) else timedelta(hours=6)
        most_rows = max(most_rows, len(world.ledger.log))
    assert messages <= 400, "the machine has one check, however many rows wait"
    assert len(world.schedule_queue.sent) <= 400
    assert world.arm.calls.count("GET") <= 400
    assert most_rows <= 20
    assert not world.ledger.log, "every line is older than 90 days by now"
    assert len(world.ledger.days) <= 91, "one row of totals a day"
    assert pruned == most_rows + 365 + 1 - len(world.ledger.days)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.WAITING}
    assert len({world.row(vm, each).next_attempt_at for each in world.extensions}) == 1
    world.add()
    await world.started(vm)
    assert Outcome.REQUESTED in {world.row(vm, each).outcome for each in world.extensions}
