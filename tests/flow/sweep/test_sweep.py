"""What the sweep finds when events were lost, what it leaves alone, and its cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import replace
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.ports import SUBSCRIPTIONS_AT_ONCE, ScheduledCheck, StoredRow, SweepState
from onboarding.application.sweep.sweep_queue import Budget, SweepFilter, SweepListener, SweepReport
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.policy_digest import parts
from onboarding.domain.reconcile.drift import Finding, Reason
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from tests.flow.world import BIONIC, OMS, POLICY, SUBSCRIPTION, World, extension, vm_body, vm_id
from tests.reference import parse_policy

NOT_ALLOWED = Evidence(http_status=403, code="AuthorizationFailed")
TOO_MANY = Evidence(http_status=429, code="RateLimiting")


@pytest.fixture
def world() -> World:
    return World()


async def onboarded(world: World, name: str = "web01") -> VmId:
    """Add a VM with the extension, long after its events."""
    vm = world.add(name)
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    await world.installed(vm)
    world.now += timedelta(hours=1)
    world.arm.calls.clear()
    return vm


async def test_the_sweep_alone_onboards_a_fleet(world: World) -> None:
    vms = [world.add(f"vm-{number}") for number in range(20)]
    assert (await world.sweep_and_reconcile()).missed == 20
    for vm in vms:
        world.arm.set_extension(vm, extension())
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert {world.row(vm).outcome for vm in vms} == {Outcome.INSTALLED}
    assert world.arm.calls.count("PUT") == 20


async def test_a_vm_whose_system_nobody_says_is_found_once(world: World) -> None:
    vm = world.add("web01", os_type="", image={}, os_profile={})
    assert (await world.sweep_and_reconcile()).missed == 1
    assert world.row(vm).outcome in (Outcome.WAITING, Outcome.UNDETERMINED, Outcome.REQUESTED)
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).missed == 0


async def test_the_run_itself_reconciles_nothing(world: World) -> None:
    for number in range(20):
        world.add(f"vm-{number}")
    await world.sweep.run()
    assert world.arm.calls == ["GRAPH"]
    assert len(world.schedule_queue.reconcile_requests) == 20


async def test_a_second_sweep_costs_a_query_and_a_read_of_the_partition() -> None:
    world = World(policies=[{**POLICY, "scope": [f"/subscriptions/{SUBSCRIPTION}"]}])
    world.add("supported", image=BIONIC)
    world.add("windows", os_type="Windows")
    world.add("opted-out", tags={"onboarding": "skip"})
    await world.sweep_and_reconcile()
    world.arm.calls.clear()
    world.ledger.calls.clear()
    world.now += timedelta(hours=1)
    report = await world.sweep_and_reconcile()
    assert report.requested == 0
    assert (world.arm.calls, world.ledger.calls) == (["GRAPH"], [f"rows of {SUBSCRIPTION}"])


async def test_a_vm_that_has_the_extension_is_left_alone(world: World) -> None:
    vm = world.add()
    world.arm.set_extension(vm, extension())
    assert (await world.sweep_and_reconcile()).requested == 0
    assert world.ledger.rows == {}


async def test_an_extension_that_failed_unnoticed_is_read_once(world: World) -> None:
    vm = world.add()
    message = "[ExtensionOperationError] Non-zero exit code: 51"
    world.arm.set_extension(vm, extension(state="Failed"), message, "ProvisioningState/failed/51")
    assert (await world.sweep_and_reconcile()).failed == 1
    assert world.row(vm).outcome is Outcome.FAILED
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).requested == 0


async def test_an_extension_that_broke_is_read(world: World) -> None:
    vm = await onboarded(world)
    world.arm.set_extension(vm, extension(state="Failed"))
    assert (await world.sweep_and_reconcile()).failed == 1
    assert world.row(vm).outcome is not Outcome.INSTALLED


async def test_a_missed_deletion_is_found(world: World) -> None:
    vm = await onboarded(world)
    await onboarded(world, "other")
    del world.arm.machines[vm.key]
    assert (await world.sweep_and_reconcile()).gone == 1
    assert world.row(vm).outcome is Outcome.GONE
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).gone == 0


async def test_a_row_of_a_removed_policy_is_closed_too(world: World) -> None:
    vm = await onboarded(world)
    await onboarded(world, "other")
    later = World(policies=[{**POLICY, "scope": [f"/subscriptions/{SUBSCRIPTION}/resourceGroups/elsewhere"]}])
    later.ledger.rows = world.ledger.rows
    later.arm.machines = {vm_id("other").key: world.arm.machines[vm_id("other").key]}
    later.now = world.now
    assert (await later.sweep_and_reconcile()).gone == 1
    assert later.row(vm).outcome is Outcome.GONE


async def test_a_row_is_not_closed_because_the_index_lacks_its_vm(world: World) -> None:
    world.add("old")
    world.inventory.freeze()
    vm = await onboarded(world)
    assert (await world.sweep_and_reconcile()).gone == 1
    assert world.row(vm).outcome.present


async def test_a_young_row_is_not_even_checked(world: World) -> None:
    await onboarded(world, "old")
    world.inventory.freeze()
    await world.created(world.add("young"))
    assert (await world.sweep_and_reconcile()).requested == 0


async def test_a_subscription_that_the_identity_may_not_see_any_more_loses_no_row(world: World) -> None:
    vm = await onboarded(world)
    world.inventory.hidden = {SUBSCRIPTION}
    world.arm.list_errors = [NOT_ALLOWED]
    report = await world.sweep_and_reconcile()
    assert report.gone == 0
    assert SUBSCRIPTION in report.unread[0]
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_an_extension_that_drifted_is_fixed(world: World) -> None:
    vm = await onboarded(world)
    world.arm.machines[vm.key].pop("resources")
    assert (await world.sweep_and_reconcile()).drifted == 1
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_an_extension_that_the_index_still_misses_is_not_installed_twice(world: World) -> None:
    world.add("web01")
    world.inventory.freeze()
    await onboarded(world)
    assert (await world.sweep_and_reconcile()).drifted == 1
    assert "PUT" not in world.arm.calls
    assert world.row(vm_id()).outcome.present


async def test_a_vm_that_was_made_again_unannounced_is_found(world: World) -> None:
    vm = await onboarded(world)
    world.add(vm_id="another")
    assert (await world.sweep_and_reconcile()).missed == 1
    assert world.row(vm).vm_id == "another"


async def test_a_change_whose_event_is_due_is_left_to_that_event(world: World) -> None:
    vm = world.add()
    world.arm.machines[vm.key]["properties"]["timeCreated"] = world.now.isoformat()
    assert (await world.sweep_and_reconcile()).missed == 0


async def test_a_message_that_comes_twice_asks_arm_once(world: World) -> None:
    world.add()
    await world.sweep.run()
    for _ in range(2):
        await world.dispatcher.handle_message(world.schedule_queue.reconcile_requests[0])
    assert world.arm.calls.count("PUT") == 1
    assert world.arm.calls.count("GET") == 1


# Resource Graph refuses us, or throttles us.


async def test_without_resource_graph_the_lists_of_arm_are_used(world: World) -> None:
    drifted, gone = await onboarded(world, "drifted"), await onboarded(world, "gone")
    await onboarded(world, "well")
    world.add("missed")
    world.arm.machines[drifted.key].pop("resources")
    del world.arm.machines[gone.key]
    world.inventory.errors = [NOT_ALLOWED]
    report = await world.sweep_and_reconcile()
    assert (report.missed, report.drifted, report.gone, report.failed) == (1, 1, 1, 0)
    assert world.arm.calls[:2] == ["GRAPH", "LIST"]


async def test_a_list_without_states_does_not_show_that_a_failed_extension_was_repaired(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(
        vm, extension(state="Failed"), "unsupported operating system", "ProvisioningState/failed/51"
    )
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).outcome is Outcome.FAILED
    world.now += timedelta(hours=1)
    world.inventory.errors = [NOT_ALLOWED]
    assert (await world.sweep_and_reconcile()).requested == 0
    world.now += timedelta(hours=1)
    world.arm.set_extension(vm, extension(), "Enable succeeded", "ProvisioningState/succeeded")
    assert (await world.sweep_and_reconcile()).drifted == 1, "Resource Graph has the states"
    assert world.row(vm).outcome.present


async def test_a_subscription_that_cannot_be_listed_is_named_and_stops_nothing_else(world: World) -> None:
    vm = world.add(image=BIONIC)
    await world.created(vm)
    world.inventory.errors = [NOT_ALLOWED]
    world.arm.list_errors = [TOO_MANY]
    report = await world.sweep_and_reconcile()
    assert SUBSCRIPTION in report.unread[0]
    assert world.row(vm).outcome is Outcome.UNSUPPORTED


async def test_a_throttled_run_stops_and_the_next_one_continues(world: World) -> None:
    world.add()
    world.inventory.errors = [TOO_MANY]
    report = await world.sweep_and_reconcile()
    assert (report.requested, world.arm.calls) == (0, ["GRAPH"])
    assert "429" in report.stopped
    assert (await world.sweep_and_reconcile()).missed == 1


async def test_only_the_named_subscriptions_are_read(world: World) -> None:
    world = World(policies=[{**POLICY, "scope": ["/subscriptions/another"]}])
    world.add()
    report = await world.sweep_and_reconcile()
    assert report.missed == 0
    assert world.arm.calls == ["GRAPH"]


# Runs: one at a time, within a budget, each continues where the last one stopped.


async def test_no_run_begins_while_another_one_is_at_work(world: World) -> None:
    world.add()
    world.sweeps.stored = type(world.sweeps.stored)(SweepState(held_until=world.now + timedelta(minutes=1)), None)
    report = await world.sweep.run()
    assert report.held
    assert world.arm.calls == []


async def test_a_run_that_died_is_followed_by_another_one(world: World) -> None:
    world.add()
    world.sweeps.stored = type(world.sweeps.stored)(SweepState(held_until=world.now - timedelta(minutes=1)), None)
    assert (await world.sweep.run()).missed == 1


async def test_a_run_that_fails_lets_the_next_one_begin(world: World) -> None:
    world.add()
    world.schedule_queue.reachable = False
    with pytest.raises(StorageError):
        await world.sweep.run()
    world.schedule_queue.reachable = True
    assert (await world.sweep.run()).missed == 1


async def test_runs_keep_to_their_budget_and_the_next_one_continues(world: World) -> None:
    world = World(budget=Budget(requested=8))
    for number in range(20):
        world.add(f"vm-{number}")
    found = []
    for _ in range(4):
        found.append((await world.sweep_and_reconcile()).missed)
        world.now += timedelta(hours=1)
    assert found == [8, 8, 4, 0]


async def test_reconciles_are_spread_over_the_minutes_that_arm_needs(world: World) -> None:
    world = World(budget=Budget(per_minute=10))
    for number in range(25):
        world.add(f"vm-{number}")
    await world.sweep.run()
    dues = [message.due - world.now for message in world.schedule_queue.reconcile_requests]
    assert dues[0] == timedelta()
    assert dues[-1] == timedelta(minutes=2.4)


class Clockwork(SweepListener):
    """Lets time pass with every VM that is compared."""

    def __init__(self, world: World) -> None:
        self._world = world

    def compared(self, report: SweepReport) -> None:
        self._world.now += timedelta(minutes=3)


async def test_a_run_that_takes_too_long_stops_and_stores_where_to_continue(world: World) -> None:
    for number in range(4):
        world.add(f"vm-{number}")
    report = await world.sweep.run(listener=Clockwork(world))
    assert (report.machines, report.stopped) == (2, "after 0:04:00")
    assert world.sweeps.stored.state.resume_at == SUBSCRIPTION
    assert world.sweeps.stored.state.held_until is None


async def test_a_pending_reconcile_is_not_requested_again(world: World) -> None:
    world.add()
    await world.sweep.run()
    world.now += timedelta(minutes=1)
    report = await world.sweep.run()
    assert report.busy
    assert len(world.schedule_queue.reconcile_requests) == 1


# Sweeps by hand.


class Found(SweepListener):
    def __init__(self) -> None:
        self.findings: list[tuple[str, Finding]] = []
        self.compared_vms = 0

    def compared(self, report: SweepReport) -> None:
        self.compared_vms += 1

    def found(self, vm: VmId, finding: Finding) -> None:
        self.findings.append((vm.name, finding))


async def test_a_dry_run_lists_all_findings_and_writes_nothing(world: World) -> None:
    world = World(budget=Budget(requested=1))
    world.add("a")
    world.add("b")
    watch = Found()
    report = await world.sweep.run(SweepFilter(dry_run=True), watch)
    assert watch.findings == [(name, Finding(Reason.MISSED, "linux-monitoring")) for name in ("a", "b")]
    assert (report.missed, watch.compared_vms) == (2, 2)
    assert (world.schedule_queue.reconcile_requests, world.sweeps.writes, world.ledger.writes) == ([], 0, 0)


async def test_a_run_for_one_policy_finds_what_that_one_wants(world: World) -> None:
    other = {**POLICY, "name": "other", "scope": [f"/subscriptions/{SUBSCRIPTION}/resourceGroups/elsewhere"]}
    world = World(policies=[POLICY, other])
    world.add()
    assert (await world.sweep.run(SweepFilter(policy="other", dry_run=True))).requested == 0
    assert (await world.sweep.run(SweepFilter(policy="linux-monitoring", dry_run=True))).requested == 1


async def test_a_run_for_one_subscription_reads_no_other(world: World) -> None:
    world.add()
    report = await world.sweep.run(SweepFilter(subscription="99990000-0000-0000-0000-000000000000"))
    assert (report.machines, world.ledger.calls) == (0, ["rows of 99990000-0000-0000-0000-000000000000"])


# Management groups.

GROUP = "/providers/Microsoft.Management/managementGroups/Corp"


async def test_a_management_group_stands_for_its_subscriptions() -> None:
    world = World(policies=[{**POLICY, "scope": [GROUP]}])
    world.inventory.groups = {"corp": frozenset([SUBSCRIPTION])}
    vm = world.add()
    await world.sweep_and_reconcile()
    assert world.row(vm).outcome is Outcome.REQUESTED
    await world.created(world.add("second"))
    assert world.row(vm_id("second")).outcome is Outcome.REQUESTED


async def test_a_management_group_that_cannot_be_read_now_is_read_again_soon() -> None:
    world = World(policies=[{**POLICY, "scope": [GROUP]}])
    world.inventory.groups = {"corp": frozenset([SUBSCRIPTION])}
    world.inventory.errors = [TOO_MANY]
    vm = world.add()
    assert (await world.sweep_and_reconcile()).requested == 0
    world.now += timedelta(minutes=2)
    assert (await world.sweep_and_reconcile()).missed == 1
    world.inventory.errors = [TOO_MANY]
    world.now += timedelta(hours=2)
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED  # the members that were known before stay in use


async def test_management_groups_are_read_once_an_hour() -> None:
    world = World(policies=[{**POLICY, "scope": [GROUP]}])
    world.inventory.groups = {"corp": frozenset([SUBSCRIPTION])}
    for name in ("a", "b"):
        await world.created(world.add(name))
    assert world.arm.calls.count("GRAPH") == 1


@pytest.mark.parametrize(
    "policy",
    [
        {**POLICY, "scope": [GROUP]},
        {**POLICY, "notScopes": [GROUP]},
        {**POLICY, "exemptions": [{"scope": GROUP, "category": "Waiver", "reason": "lab"}]},
    ],
    ids=["scope", "notScopes", "exemption"],
)
async def test_a_policy_selects_no_vm_while_its_management_group_cannot_be_read(policy: dict[str, object]) -> None:
    world = World(policies=[policy])
    vm = world.add()
    report = await world.sweep_and_reconcile()
    assert "management group 'corp'" in report.unread[0]
    assert (vm.key, OMS) not in world.ledger.rows
    world.inventory.groups = {"corp": frozenset(["99990000-0000-0000-0000-000000000000"])}
    world.now += timedelta(hours=2)
    assert (await world.sweep_and_reconcile()).missed == (0 if "scope" in policy else 1)


async def test_the_sweep_publishes_an_outcome_that_the_topic_did_not_accept(world: World) -> None:
    vm = world.add(image=BIONIC)
    world.published.reachable = False
    await world.created(vm)
    world.published.reachable = True
    world.now += timedelta(minutes=5)
    assert (await world.sweep_and_reconcile()).announced == 1
    assert [row.outcome for row in world.published.rows] == [Outcome.UNSUPPORTED]
    assert (await world.sweep_and_reconcile()).announced == 0


async def test_a_grace_period_of_seconds_is_enough_where_events_are_fast() -> None:
    world = World(budget=Budget(grace_period=timedelta(seconds=10)))
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    row = world.row(vm)
    assert row.next_attempt_at is not None
    world.now = row.next_attempt_at + timedelta(seconds=1)
    assert (await world.sweep.run()).overdue == 0
    world.now += timedelta(seconds=2)
    assert (await world.sweep.run()).overdue == 1


# Requests that no worker handled are sent again at growing intervals.

DAY = timedelta(days=1)


async def sweeps_for(world: World, time: timedelta) -> None:
    """Run a sweep every ten minutes, while no worker handles its messages."""
    until = world.now + time
    while world.now < until:
        await world.sweep.run()
        world.now += timedelta(minutes=10)


async def overdue(world: World, count: int, prefix: str = "vm") -> list[VmId]:
    """Add VMs whose row waits for an overdue check, because its message was lost."""
    vms = [world.add(f"{prefix}-{number}", power="deallocated") for number in range(count)]
    for vm in vms:
        await world.created(vm)
    world.now = max(check.due for check in world.schedule_queue.checks) + timedelta(minutes=3)
    world.schedule_queue.checks.clear()
    return vms


async def test_overdue_checks_without_a_worker_are_sent_twice_a_day_at_most(world: World) -> None:
    vms = await overdue(world, 60)
    await sweeps_for(world, timedelta(minutes=40))
    assert len(world.schedule_queue.checks) == 60
    await sweeps_for(world, DAY - timedelta(minutes=40))
    assert Counter(check.vm for check in world.schedule_queue.checks) == dict.fromkeys(vms, 2)
    await sweeps_for(world, DAY)
    assert len(world.schedule_queue.checks) <= 60 * 4


async def test_a_row_that_became_overdue_is_not_held_up_by_those_that_were_sent(world: World) -> None:
    early = world.add("early", power="deallocated")
    await world.created(early)
    world.now += timedelta(minutes=20)
    late = world.add("late", power="deallocated")
    await world.created(late)
    world.schedule_queue.checks.clear()
    world.now += timedelta(minutes=50)
    assert (await world.sweep.run()).overdue == 1
    world.now += timedelta(minutes=20)
    report = await world.sweep.run()
    assert [check.vm for check in world.schedule_queue.checks] == [early, late]
    assert (report.overdue, report.skipped, report.repeated) == (1, 1, 0)
    assert "1 requested before and without a result yet" in str(report)


async def test_a_check_that_was_lost_a_second_time_is_sent_again_an_hour_later(world: World) -> None:
    (vm,) = await overdue(world, 1)
    await world.sweep.run()
    world.schedule_queue.checks.clear()
    world.arm.machines[vm.key] = vm_body(vm.name)
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_run_that_fails_later_on_does_not_forget_what_it_sent() -> None:
    world = World(budget=Budget(longest=timedelta(seconds=0.05)))
    await overdue(world, 40)
    world.inventory.hangs = True
    for _ in range(3):
        report = await world.sweep.run()
    assert "a request took too long" in report.stopped
    assert len(world.schedule_queue.checks) == 40


async def test_checks_that_the_queue_refused_are_sent_by_the_next_run(world: World) -> None:
    await overdue(world, 3)
    world.schedule_queue.reachable = False
    with pytest.raises(StorageError):
        await world.sweep.run()
    world.schedule_queue.reachable = True
    assert (await world.sweep.run()).overdue == 3


async def test_each_run_sends_its_share_of_many_overdue_rows() -> None:
    world = World(budget=Budget(requested=8))
    vms = await overdue(world, 20)
    sent = []
    for _ in range(4):
        sent.append((await world.sweep.run()).overdue)
        world.now += timedelta(minutes=10)
    assert sent == [8, 8, 4, 0]
    assert {check.vm for check in world.schedule_queue.checks} == set(vms)


async def test_reconciles_without_a_worker_are_requested_twice_a_day_at_most(world: World) -> None:
    for number in range(30):
        world.add(f"vm-{number}")
    await sweeps_for(world, timedelta(minutes=50))
    assert len(world.schedule_queue.reconcile_requests) == 30
    await sweeps_for(world, DAY - timedelta(minutes=50))
    assert len(world.schedule_queue.reconcile_requests) == 60


async def test_a_vm_that_appears_later_is_requested_at_once(world: World) -> None:
    world.add("first")
    await sweeps_for(world, timedelta(minutes=20))
    world.add("second")
    report = await world.sweep.run()
    assert (report.missed, report.skipped) == (1, 1)
    assert world.schedule_queue.reconcile_requests[-1].vm == vm_id("second")


async def test_a_lost_reconcile_is_requested_again_an_hour_later(world: World) -> None:
    vm = world.add()
    await world.sweep.run()
    world.schedule_queue.reconcile_requests.clear()
    world.now += timedelta(hours=1)
    report = await world.sweep_and_reconcile()
    assert (report.missed, report.repeated) == (1, 1)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_vm_that_drifts_again_after_its_reconcile_is_requested_again_at_once(world: World) -> None:
    vm = await onboarded(world)
    for _ in range(2):
        world.arm.machines[vm.key].pop("resources")
        assert (await world.sweep_and_reconcile()).drifted == 1
        world.arm.set_extension(vm, extension())
        await world.extension_written(vm)
        world.now += timedelta(minutes=20)


async def test_a_dry_run_shows_pending_requests_too(world: World) -> None:
    world.add()
    await world.sweep.run()
    assert (await world.sweep.run(SweepFilter(dry_run=True))).missed == 1


# A run ends in time at every stage.


async def test_reading_overdue_rows_leaves_time_for_the_comparison(world: World) -> None:
    await overdue(world, 4)
    world.add("missed")
    world.ledger.while_listing = lambda: setattr(world, "now", world.now + timedelta(seconds=50))
    report = await world.sweep.run()
    assert report.overdue < 4
    assert "after 0:01:00 of reading overdue checks" in report.stopped
    assert report.missed == 1


async def test_publishing_outcomes_leaves_time_for_the_rest(world: World) -> None:
    world.published.reachable = False
    for number in range(5):
        await world.created(world.add(f"vm-{number}", image=BIONIC))
    world.now += timedelta(hours=1)
    world.published.reachable = True
    world.add("missed")
    world.ledger.while_listing = lambda: setattr(world, "now", world.now + timedelta(seconds=50))
    report = await world.sweep.run()
    assert 0 < report.announced < 5
    assert "after 0:02:00 of publishing outcomes" in report.stopped
    assert report.missed == 1


async def test_a_request_that_hangs_ends_the_run_and_the_next_one_starts_after_it() -> None:
    world = many_subscriptions(Budget(longest=timedelta(seconds=0.05)))
    world.inventory.hangs = True
    async with asyncio.timeout(10):
        report = await world.sweep.run()
    assert "a request took too long" in report.stopped
    assert world.sweeps.stored.state.held_until is None
    assert world.sweeps.stored.state.resume_at == numbered(SUBSCRIPTIONS_AT_ONCE)


# Resource Graph fails for some subscriptions.

BROKEN = Evidence(http_status=500, code="InternalServerError")


def numbered(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012}"


def many_subscriptions(budget: Budget | None = None, count: int = SUBSCRIPTIONS_AT_ONCE + 1) -> World:
    """A policy over more subscriptions than one query takes; that of the VMs is the last one."""
    scopes = [f"/subscriptions/{numbered(number)}" for number in range(count)]
    policy = {**POLICY, "scope": [*scopes, f"/subscriptions/{SUBSCRIPTION}"]}
    return World(policies=[policy], budget=budget or Budget())


async def test_subscriptions_that_resource_graph_fails_for_are_listed_and_the_others_compared() -> None:
    world = many_subscriptions()
    world.add()
    world.inventory.errors = [BROKEN]
    report = await world.sweep.run()
    assert (world.arm.calls.count("GRAPH"), world.arm.calls.count("LIST")) == (2, SUBSCRIPTIONS_AT_ONCE)
    assert report.missed == 1
    assert f"{SUBSCRIPTIONS_AT_ONCE} subscriptions from {numbered(0)}" in report.unread[0]
    assert report.stopped == ""


async def test_a_query_that_resource_graph_interrupts_is_replaced_by_the_list_of_arm(world: World) -> None:
    gone, well = await onboarded(world, "gone"), await onboarded(world, "well")
    world.add("missed")
    del world.arm.machines[gone.key]
    world.inventory.errors_midway = [Evidence(code="ResultTruncated", message="Resource Graph left rows out")]
    report = await world.sweep_and_reconcile()
    assert (report.missed, report.gone) == (1, 1)
    assert world.row(well).outcome is Outcome.INSTALLED
    assert world.row(gone).outcome is Outcome.GONE


async def test_an_interrupted_inventory_closes_no_rows(world: World) -> None:
    for name in ("first", "second", "third"):
        await onboarded(world, name)
    world.inventory.errors_midway = [BROKEN]
    world.arm.list_errors = [BROKEN]
    report = await world.sweep.run()
    assert report.gone == 0
    assert [SUBSCRIPTION in each for each in report.unread] == [True, True]


async def test_one_subscription_that_cannot_be_listed_does_not_stop_the_next() -> None:
    world = many_subscriptions(count=3)
    world.add()
    world.inventory.errors = [BROKEN]
    world.arm.list_errors = [BROKEN]
    report = await world.sweep.run()
    assert report.missed == 1
    assert report.unread[1].startswith(numbered(0))


async def test_a_run_that_resource_graph_throttles_is_followed_by_one_that_continues() -> None:
    world = many_subscriptions()
    world.add()
    world.inventory.errors = [TOO_MANY]
    report = await world.sweep.run()
    assert "429" in report.stopped
    assert world.sweeps.stored.state.resume_at == numbered(SUBSCRIPTIONS_AT_ONCE)
    world.inventory.errors = []
    assert (await world.sweep.run()).missed == 1


async def test_the_next_run_continues_lists_that_took_too_long() -> None:
    world = many_subscriptions(count=3)
    world.inventory.errors = [NOT_ALLOWED]
    world.add()
    world.add("second")
    sweep_filter = sorted([*(numbered(n) for n in range(3)), SUBSCRIPTION])
    report = await world.sweep.run(listener=Clockwork(world))
    assert report.stopped == "after 0:04:00"
    assert world.sweeps.stored.state.resume_at == sweep_filter[-1] == SUBSCRIPTION


async def test_a_long_list_of_problems_is_cut() -> None:
    world = many_subscriptions(count=80)
    world.inventory.errors = [BROKEN]
    world.arm.list_errors = [BROKEN] * 80
    report = await world.sweep.run()
    assert len(report.unread) + report.unnamed == 81
    assert len(report.unread) == 50
    assert str(report).endswith("could not read 31 more")


# The poison queue holds only messages that need a person.


async def test_checks_that_no_row_waits_for_leave_the_poison_queue(world: World) -> None:
    healed, waiting = await overdue(world, 2)
    checks = {vm: ScheduledCheck(vm, due) for vm in (healed, waiting) if (due := world.row(vm).next_attempt_at)}
    world.poison.messages = [
        *checks.values(),
        checks[waiting],
        ScheduledCheck(vm_id("unknown"), world.now),
        "not a message",
    ]
    world.arm.machines[healed.key] = vm_body(healed.name)
    await world.dispatcher.handle_message(checks[healed])
    report = await world.sweep.run()
    assert world.poison.messages == [checks[waiting], "not a message"]
    assert report.poison == 3
    assert "3 removed from the poison queue" in str(report)


async def test_a_reconcile_request_leaves_the_poison_queue_when_the_vm_was_reconciled_since(world: World) -> None:
    vm, other = world.add(), world.add("other")
    await world.sweep.run()
    world.poison.messages = [*world.schedule_queue.reconcile_requests]
    world.schedule_queue.reconcile_requests.clear()
    world.now += timedelta(hours=1)
    await world.created(vm)
    await world.sweep.run()
    assert [message.vm for message in world.poison.messages if not isinstance(message, str)] == [other]
    world.now += timedelta(hours=25)
    await world.sweep.run()
    assert world.poison.messages == []


async def test_a_poison_queue_that_cannot_be_read_stops_nothing(world: World) -> None:
    world.add()
    world.poison.errors = [StorageError("the poison queue could not be emptied: 403")]
    report = await world.sweep.run()
    assert report.missed == 1
    assert "the poison queue could not be emptied: 403" in report.unread


async def test_the_poison_queue_is_cleaned_also_while_reconciles_are_pending(world: World) -> None:
    world.add()
    await world.sweep.run()
    world.poison.messages = [ScheduledCheck(vm_id("unknown"), world.now)]
    report = await world.sweep.run()
    assert (report.busy, report.poison) == (True, 1)


# A policy that changes, and a deployment during which two versions of it run.

CHANGED = {**POLICY, "settings": {**POLICY["settings"], "another": "value"}}


async def unsupported_by(world: World, digest: str, **changes: Any) -> VmId:
    """Add a VM whose row was written long ago, by the policy version with this digest."""
    vm = world.add(image=BIONIC)
    await world.created(vm)
    key = (vm.key, OMS)
    stored = world.ledger.rows[key]
    world.ledger.rows[key] = StoredRow(replace(stored.row, policy_hash=digest, **changes), stored.version)
    world.now += timedelta(hours=1)
    return vm


def digest_of(raw: dict[str, Any]) -> str:
    return parse_policy(raw, "p.yaml", compile_rule).digest


async def test_final_rows_are_opened_again_by_a_policy_that_has_been_the_same_for_a_while(world: World) -> None:
    await unsupported_by(world, digest_of(CHANGED))
    world.policy_states.stored = {POLICY["name"]: PolicyState(POLICY["name"], digest_of(CHANGED))}
    assert (await world.sweep.run()).changed == 0
    world.now += timedelta(minutes=14)
    assert (await world.sweep.run()).changed == 0
    world.now += timedelta(minutes=1)
    report = await world.sweep.run()
    assert (report.changed, [work.reason for work in world.schedule_queue.reconcile_requests]) == (1, ["changed"])


async def test_while_two_versions_run_neither_opens_rows_of_the_other(world: World) -> None:
    await unsupported_by(world, "of a version that is not seen")
    other = World(
        policies=[CHANGED], now=world.now, ledger=world.ledger, arm=world.arm, policy_states=world.policy_states
    )
    world.policy_states.stored = {POLICY["name"]: PolicyState(POLICY["name"], "older")}
    for _ in range(6):
        for each in (world, other):
            each.now = world.now
            assert (await each.sweep.run()).changed == 0
        world.now += timedelta(minutes=10)


@pytest.mark.parametrize("outcome", [Outcome.INSTALLED, Outcome.OUT_OF_SCOPE])
async def test_rows_of_another_version_are_left_alone_until_all_workers_have_the_policy(
    world: World, outcome: Outcome
) -> None:
    await unsupported_by(world, digest_of(CHANGED), outcome=outcome)
    world.policy_states.stored = {POLICY["name"]: PolicyState(POLICY["name"], digest_of(CHANGED))}
    assert (await world.sweep.run()).requested == 0
    world.now += timedelta(minutes=15)
    assert (await world.sweep.run()).requested == 1


async def test_a_policy_that_was_never_seen_before_is_settled_at_once(world: World) -> None:
    await unsupported_by(world, "another")
    assert (await world.sweep.run()).changed == 1
    (state,) = world.policy_states.stored.values()
    assert (state.policy, parts(state.digest)[0], state.since) == (POLICY["name"], digest_of(POLICY), None)


@pytest.mark.parametrize("digest", ["", digest_of(POLICY)], ids=["of the version before", "the same"])
async def test_rows_of_the_same_policy_and_of_the_version_before_rest(world: World, digest: str) -> None:
    await unsupported_by(world, digest)
    assert (await world.sweep.run()).requested == 0


async def test_a_row_of_a_vm_that_the_changed_policy_does_not_select_is_decided_again(world: World) -> None:
    vm = await unsupported_by(world, "another")
    world.arm.machines[vm.key]["tags"] = {"onboarding": "skip"}
    assert (await world.sweep_and_reconcile()).changed == 1
    assert world.row(vm).outcome is Outcome.OUT_OF_SCOPE


async def test_a_dry_run_stores_no_policy_state(world: World) -> None:
    await world.sweep.run(SweepFilter(dry_run=True))
    assert world.policy_states.stored == {}
