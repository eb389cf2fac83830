"""What the sweep finds when events were lost, what it leaves alone, and what it costs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from onboarding.core.errors import StorageError
from onboarding.core.evidence import Evidence
from onboarding.core.outcome import Outcome
from onboarding.core.resource_id import VmId
from onboarding.core.survey import Finding, Reason
from onboarding.plan import Budget, Order, SweepReport, Watch
from onboarding.ports import SweepState
from tests.flow.world import BIONIC, OMS, POLICY, SUBSCRIPTION, World, extension, vm_id

NOT_ALLOWED = Evidence(http_status=403, code="AuthorizationFailed")
TOO_MANY = Evidence(http_status=429, code="RateLimiting")


@pytest.fixture
def world() -> World:
    return World()


async def onboarded(world: World, name: str = "web01") -> VmId:
    """A VM with the extension, long after its own events."""
    vm = world.add(name)
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    await world.installed(vm)
    world.now += timedelta(hours=1)
    world.arm.calls.clear()
    return vm


async def test_the_sweep_alone_onboards_a_fleet(world: World) -> None:
    vms = [world.add(f"vm-{number}") for number in range(20)]
    assert (await world.swept()).missed == 20
    for vm in vms:
        world.arm.set_extension(vm, extension())
    world.now += timedelta(hours=1)
    await world.swept()
    assert {world.row(vm).outcome for vm in vms} == {Outcome.INSTALLED}
    assert world.arm.calls.count("PUT") == 20


async def test_the_run_itself_visits_nothing(world: World) -> None:
    for number in range(20):
        world.add(f"vm-{number}")
    await world.sweep.run()
    assert world.arm.calls == ["GRAPH"]
    assert len(world.deferrals.revisits) == 20


async def test_a_second_sweep_costs_a_query_and_a_read_of_the_partition() -> None:
    world = World(policies=[{**POLICY, "scope": [f"/subscriptions/{SUBSCRIPTION}"]}])
    world.add("supported", image=BIONIC)
    world.add("windows", os_type="Windows")
    world.add("opted-out", tags={"onboarding": "skip"})
    await world.swept()
    world.arm.calls.clear()
    world.ledger.calls.clear()
    world.now += timedelta(hours=1)
    report = await world.swept()
    assert report.visits == 0
    assert (world.arm.calls, world.ledger.calls) == (["GRAPH"], [f"rows of {SUBSCRIPTION}"])


async def test_a_vm_that_has_the_extension_is_left_alone(world: World) -> None:
    vm = world.add()
    world.arm.set_extension(vm, extension())
    assert (await world.swept()).visits == 0
    assert world.ledger.rows == {}


async def test_an_extension_that_failed_unnoticed_is_looked_into_once(world: World) -> None:
    vm = world.add()
    message = "[ExtensionOperationError] Non-zero exit code: 51"
    world.arm.set_extension(vm, extension(state="Failed"), message, "ProvisioningState/failed/51")
    assert (await world.swept()).failed == 1
    assert world.row(vm).outcome is Outcome.FAILED
    world.now += timedelta(hours=1)
    assert (await world.swept()).visits == 0


async def test_an_extension_that_broke_is_looked_into(world: World) -> None:
    vm = await onboarded(world)
    world.arm.set_extension(vm, extension(state="Failed"))
    assert (await world.swept()).failed == 1
    assert world.row(vm).outcome is not Outcome.INSTALLED


async def test_a_missed_deletion_is_found(world: World) -> None:
    vm = await onboarded(world)
    await onboarded(world, "other")
    del world.arm.machines[vm.key]
    assert (await world.swept()).gone == 1
    assert world.row(vm).outcome is Outcome.GONE
    world.now += timedelta(hours=1)
    assert (await world.swept()).gone == 0


async def test_a_row_that_no_policy_speaks_of_any_more_is_closed_too(world: World) -> None:
    vm = await onboarded(world)
    await onboarded(world, "other")
    later = World(policies=[{**POLICY, "scope": [f"/subscriptions/{SUBSCRIPTION}/resourceGroups/elsewhere"]}])
    later.ledger.rows = world.ledger.rows
    later.arm.machines = {vm_id("other").key: world.arm.machines[vm_id("other").key]}
    later.now = world.now
    assert (await later.swept()).gone == 1
    assert later.row(vm).outcome is Outcome.GONE


async def test_a_row_is_not_closed_because_the_index_has_not_heard_of_its_vm(world: World) -> None:
    world.add("old")
    world.inventory.freeze()
    vm = await onboarded(world)
    assert (await world.swept()).gone == 1
    assert world.row(vm).outcome.present


async def test_a_young_row_is_not_even_doubted(world: World) -> None:
    await onboarded(world, "old")
    world.inventory.freeze()
    await world.created(world.add("young"))
    assert (await world.swept()).visits == 0


async def test_a_subscription_that_the_identity_may_not_see_any_more_loses_no_row(world: World) -> None:
    vm = await onboarded(world)
    world.inventory.hidden = {SUBSCRIPTION}
    world.arm.list_errors = [NOT_ALLOWED]
    report = await world.swept()
    assert report.gone == 0
    assert SUBSCRIPTION in report.unread[0]
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_an_extension_that_drifted_away_is_mended(world: World) -> None:
    vm = await onboarded(world)
    world.arm.machines[vm.key].pop("resources")
    assert (await world.swept()).drifted == 1
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_an_extension_that_the_index_still_misses_is_not_installed_twice(world: World) -> None:
    world.add("web01")
    world.inventory.freeze()
    await onboarded(world)
    assert (await world.swept()).drifted == 1
    assert "PUT" not in world.arm.calls
    assert world.row(vm_id()).outcome.present


async def test_a_vm_that_was_made_again_unannounced_is_found(world: World) -> None:
    vm = await onboarded(world)
    world.add(vm_id="another")
    assert (await world.swept()).missed == 1
    assert world.row(vm).vm_id == "another"


async def test_what_an_event_is_about_to_tell_is_left_to_it(world: World) -> None:
    vm = world.add()
    world.arm.machines[vm.key]["properties"]["timeCreated"] = world.now.isoformat()
    assert (await world.swept()).missed == 0


async def test_a_message_that_comes_twice_asks_arm_once(world: World) -> None:
    world.add()
    await world.sweep.run()
    for _ in range(2):
        await world.line.take(world.deferrals.revisits[0])
    assert world.arm.calls.count("PUT") == 1
    assert world.arm.calls.count("GET") == 1


# Resource Graph that may not be asked, or is asked too often.


async def test_without_resource_graph_arms_lists_do(world: World) -> None:
    drifted, gone = await onboarded(world, "drifted"), await onboarded(world, "gone")
    await onboarded(world, "well")
    world.add("missed")
    world.arm.machines[drifted.key].pop("resources")
    del world.arm.machines[gone.key]
    world.inventory.errors = [NOT_ALLOWED]
    report = await world.swept()
    assert (report.missed, report.drifted, report.gone, report.failed) == (1, 1, 1, 0)
    assert world.arm.calls[:2] == ["GRAPH", "LIST"]


async def test_a_subscription_that_cannot_be_listed_is_named_and_stops_nothing_else(world: World) -> None:
    vm = world.add(image=BIONIC)
    await world.created(vm)
    world.inventory.errors = [NOT_ALLOWED]
    world.arm.list_errors = [TOO_MANY]
    report = await world.swept()
    assert SUBSCRIPTION in report.unread[0]
    assert world.row(vm).outcome is Outcome.UNSUPPORTED


async def test_a_run_that_is_asked_to_slow_down_stops_and_the_next_one_goes_on(world: World) -> None:
    world.add()
    world.inventory.errors = [TOO_MANY]
    report = await world.swept()
    assert (report.visits, world.arm.calls) == (0, ["GRAPH"])
    assert "429" in report.stopped
    assert (await world.swept()).missed == 1


async def test_only_the_named_subscriptions_are_read(world: World) -> None:
    world = World(policies=[{**POLICY, "scope": ["/subscriptions/another"]}])
    world.add()
    report = await world.swept()
    assert report.missed == 0
    assert world.arm.calls == ["GRAPH"]


# One at a time, within a budget, and on from where the last one stopped.


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
    world.deferrals.reachable = False
    with pytest.raises(StorageError):
        await world.sweep.run()
    world.deferrals.reachable = True
    assert (await world.sweep.run()).missed == 1


async def test_runs_keep_to_their_budget_and_go_on(world: World) -> None:
    world = World(budget=Budget(visits=8))
    for number in range(20):
        world.add(f"vm-{number}")
    found = []
    for _ in range(4):
        found.append((await world.swept()).missed)
        world.now += timedelta(hours=1)
    assert found == [8, 8, 4, 0]


async def test_visits_are_spread_over_the_minutes_that_arm_needs(world: World) -> None:
    world = World(budget=Budget(per_minute=10))
    for number in range(25):
        world.add(f"vm-{number}")
    await world.sweep.run()
    dues = [message.due - world.now for message in world.deferrals.revisits]
    assert dues[0] == timedelta()
    assert dues[-1] == timedelta(minutes=2.4)


class Clockwork(Watch):
    """Time passes with every VM that is compared."""

    def __init__(self, world: World) -> None:
        self._world = world

    def compared(self, report: SweepReport) -> None:
        self._world.now += timedelta(minutes=3)


async def test_a_run_that_takes_too_long_stops_and_says_where_to_go_on(world: World) -> None:
    for number in range(4):
        world.add(f"vm-{number}")
    report = await world.sweep.run(watch=Clockwork(world))
    assert (report.machines, report.stopped) == (2, "after 0:04:00")
    assert world.sweeps.stored.state.resume_at == SUBSCRIPTION
    assert world.sweeps.stored.state.held_until is None


async def test_what_is_still_to_be_visited_is_not_asked_for_again(world: World) -> None:
    world.add()
    await world.sweep.run()
    world.now += timedelta(minutes=1)
    report = await world.sweep.run()
    assert report.busy
    assert len(world.deferrals.revisits) == 1


# By hand.


class Found(Watch):
    def __init__(self) -> None:
        self.findings: list[tuple[str, Finding]] = []
        self.compared_vms = 0

    def compared(self, report: SweepReport) -> None:
        self.compared_vms += 1

    def found(self, vm: VmId, finding: Finding) -> None:
        self.findings.append((vm.name, finding))


async def test_a_dry_run_tells_all_and_leaves_no_trace(world: World) -> None:
    world = World(budget=Budget(visits=1))
    world.add("a")
    world.add("b")
    watch = Found()
    report = await world.sweep.run(Order(dry_run=True), watch)
    assert watch.findings == [(name, Finding(Reason.MISSED, "linux-monitoring")) for name in ("a", "b")]
    assert (report.missed, watch.compared_vms) == (2, 2)
    assert (world.deferrals.revisits, world.sweeps.writes, world.ledger.writes) == ([], 0, 0)


async def test_a_run_for_one_policy_finds_what_that_one_wants(world: World) -> None:
    other = {**POLICY, "name": "other", "scope": [f"/subscriptions/{SUBSCRIPTION}/resourceGroups/elsewhere"]}
    world = World(policies=[POLICY, other])
    world.add()
    assert (await world.sweep.run(Order(policy="other", dry_run=True))).visits == 0
    assert (await world.sweep.run(Order(policy="linux-monitoring", dry_run=True))).visits == 1


async def test_a_run_for_one_subscription_reads_no_other(world: World) -> None:
    world.add()
    report = await world.sweep.run(Order(subscription="99990000-0000-0000-0000-000000000000"))
    assert (report.machines, world.ledger.calls) == (0, ["rows of 99990000-0000-0000-0000-000000000000"])


# Management groups.

GROUP = "/providers/Microsoft.Management/managementGroups/Corp"


async def test_a_management_group_stands_for_its_subscriptions() -> None:
    world = World(policies=[{**POLICY, "scope": [GROUP]}])
    world.inventory.groups = {"corp": frozenset([SUBSCRIPTION])}
    vm = world.add()
    await world.swept()
    assert world.row(vm).outcome is Outcome.REQUESTED
    await world.created(world.add("second"))
    assert world.row(vm_id("second")).outcome is Outcome.REQUESTED


async def test_a_group_that_cannot_be_asked_for_now_is_asked_for_again_soon() -> None:
    world = World(policies=[{**POLICY, "scope": [GROUP]}])
    world.inventory.groups = {"corp": frozenset([SUBSCRIPTION])}
    world.inventory.errors = [TOO_MANY]
    vm = world.add()
    assert (await world.swept()).visits == 0
    world.now += timedelta(minutes=2)
    assert (await world.swept()).missed == 1
    world.inventory.errors = [TOO_MANY]
    world.now += timedelta(hours=2)
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED  # what was known before holds on


async def test_groups_are_asked_for_once_an_hour() -> None:
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
async def test_a_group_that_nobody_can_look_into_keeps_its_policy_on_the_safe_side(policy: dict[str, object]) -> None:
    world = World(policies=[policy])
    vm = world.add()
    report = await world.swept()
    assert "management group 'corp'" in report.unread[0]
    assert (vm.key, OMS) not in world.ledger.rows
    world.inventory.groups = {"corp": frozenset(["99990000-0000-0000-0000-000000000000"])}
    world.now += timedelta(hours=2)
    assert (await world.swept()).missed == (0 if "scope" in policy else 1)


async def test_an_outcome_that_nobody_took_is_told_by_the_sweep(world: World) -> None:
    vm = world.add(image=BIONIC)
    world.announced.reachable = False
    await world.created(vm)
    world.announced.reachable = True
    world.now += timedelta(minutes=5)
    assert (await world.swept()).announced == 1
    assert [row.outcome for row in world.announced.rows] == [Outcome.UNSUPPORTED]
    assert (await world.swept()).announced == 0


async def test_a_patience_of_seconds_is_enough_where_events_take_no_longer() -> None:
    world = World(budget=Budget(patience=timedelta(seconds=10)))
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    row = world.row(vm)
    assert row.next_attempt_at is not None
    world.now = row.next_attempt_at + timedelta(seconds=1)
    assert (await world.sweep.run()).overdue == 0
    world.now += timedelta(seconds=2)
    assert (await world.sweep.run()).overdue == 1
