"""An association that somebody removed is written again: after its event, and in the sweep if every event is lost."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import pytest

from onboarding.application.sweep.sweep_queue import SweepReport
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.steps.test_azure_monitor import (
    AMA,
    DONE,
    ENDPOINT,
    ENFORCE,
    POLICY,
    RULE,
    SECOND_RULE,
    SETTINGS,
    SYSTEM,
    add,
    equip,
    row_of,
    states_of,
    world_of,
)
from tests.flow.world import SECOND, World, extension

NOT_FOUND = Evidence(http_status=400, code="InvalidAssociation", message="the rule is of another tenant")
UNSUPPORTED = "This extension is not supported on the VM's operation system"


async def onboarded(world: World, name: str = "web01") -> VmId:
    """A VM with all that the policies want, an hour after its events."""
    vm = add(world, SYSTEM, name=name)
    await world.created(vm)
    for wanted in dict.fromkeys(world.extensions):
        await world.finish_install(vm, wanted)
    world.now += timedelta(hours=1)
    world.arm.calls.clear()
    return vm


def rules_of(world: World, vm: VmId) -> set[str]:
    return {each["properties"]["dataCollectionRuleId"] for each in world.arm.associations.get(vm.key, {}).values()}


def written(world: World, vm: VmId) -> list[str]:
    """The outcomes in the history of the policy's extension, the oldest first."""
    lines = sorted((place[2], row) for place, row in world.ledger.log.items() if place[:2] == (vm.key, AMA))
    return [row.outcome.value for _, row in reversed(lines)]


async def later(world: World, after: timedelta = timedelta(hours=1)) -> SweepReport:
    world.now += after
    world.arm.calls.clear()
    return await world.sweep_and_reconcile()


async def test_a_removed_association_is_written_again_after_its_event() -> None:
    world = world_of()
    vm = await onboarded(world)
    world.arm.associations.clear()
    await world.association_deleted(vm)
    assert rules_of(world, vm) == {RULE}
    assert world.arm.calls == ["GET", "LIST associations", "PUT association"]
    assert (row_of(world, vm).outcome, states_of(world, vm)) == (Outcome.INSTALLED, DONE)
    assert written(world, vm)[-2:] == ["Installed", "Installed"], "history shows that it was written again"


async def test_the_event_of_a_removed_association_may_come_again() -> None:
    world = world_of()
    vm = await onboarded(world)
    world.arm.associations.clear()
    trigger = world.trigger()
    for _ in range(3):
        await world.association_deleted(vm, trigger)
    assert world.arm.calls == ["GET", "LIST associations", "PUT association"]


async def test_an_event_that_is_not_true_costs_a_read_and_a_list_and_changes_nothing() -> None:
    world = world_of()
    vm = await onboarded(world)
    before = row_of(world, vm)
    await world.association_deleted(vm)
    assert world.arm.calls == ["GET", "LIST associations"]
    assert row_of(world, vm) == before


async def test_an_event_about_a_machine_without_such_a_row_costs_nothing() -> None:
    plain = World(policies=[{"name": "plain", "extension": AMA}])
    vm = await onboarded(plain)
    await plain.association_deleted(vm)
    assert plain.arm.calls == []
    world = world_of()
    await world.association_deleted(add(world, SYSTEM))
    assert world.arm.calls == []
    assert world.ledger.rows == {}


async def test_a_machine_that_went_with_its_association_is_gone() -> None:
    world = world_of()
    vm = await onboarded(world)
    world.arm.associations.clear()
    del world.arm.machines[vm.key]
    await world.association_deleted(vm)
    assert row_of(world, vm).outcome is Outcome.GONE
    await world.association_deleted(vm)
    assert world.arm.calls == ["GET"]


async def test_what_is_held_stays_in_doubt_until_it_is_listed() -> None:
    """The read after the event is throttled: the check must not take what was held before for true."""
    world = world_of()
    vm = await onboarded(world)
    world.arm.associations.clear()
    world.arm.read_errors = [Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "90"})]
    await world.association_deleted(vm)
    assert row_of(world, vm).waiting_for is WaitingFor.THROTTLING
    await world.run_latest_check()
    assert rules_of(world, vm) == {RULE}
    assert row_of(world, vm).outcome is Outcome.INSTALLED


async def test_the_end_of_another_endpoint_lets_ours_be_written() -> None:
    world = world_of(ENFORCE, DATA_COLLECTION_ENDPOINT_ID=ENDPOINT)
    vm = add(world, SYSTEM, age=timedelta(days=2))
    equip(world, vm)
    other = {"name": "configurationAccessEndpoint", "properties": {"dataCollectionEndpointId": f"{ENDPOINT}-other"}}
    world.arm.associations[vm.key]["configurationaccessendpoint"] = other
    await world.created(vm)
    assert row_of(world, vm).cause == "endpoint-conflict"
    del world.arm.associations[vm.key]["configurationaccessendpoint"]
    await world.association_deleted(vm)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert "PUT" not in world.arm.calls


async def test_the_event_does_not_open_what_it_cannot_change() -> None:
    """The second extension has failed; an association has nothing to do with it."""
    world = World(policies=[POLICY, {"name": "second", "extension": SECOND.name}], app_settings=SETTINGS)
    vm = add(world, SYSTEM)
    await world.created(vm)
    await world.finish_install(vm, AMA)
    handler = {"publisher": SECOND.publisher, "type": SECOND.type}
    broken = extension(SECOND.resource_name, "Failed", **handler)
    world.arm.set_extension(vm, broken, UNSUPPORTED, "ProvisioningState/failed/51")
    await world.extension_written(vm, SECOND.resource_name, succeeded=False)
    assert world.row(vm, SECOND.name).outcome is Outcome.FAILED
    world.arm.calls.clear()
    world.arm.associations.clear()
    await world.association_deleted(vm)
    assert world.arm.calls == ["GET", "LIST associations", "PUT association"]
    assert world.row(vm, SECOND.name).outcome is Outcome.FAILED


async def test_the_sweep_finds_a_removed_association_if_every_event_is_lost() -> None:
    world = world_of()
    first, second = await onboarded(world, "web01"), await onboarded(world, "web02")
    del world.arm.associations[first.key]
    report = await later(world)
    assert (report.association, report.requested) == (1, 1)
    assert world.arm.calls == ["GRAPH associations", "GRAPH", "GET", "LIST associations", "PUT association"]
    assert rules_of(world, first) == rules_of(world, second) == {RULE}
    assert (await later(world)).requested == 0
    assert world.arm.calls == ["GRAPH associations", "GRAPH"]


async def test_an_association_that_is_removed_again_is_found_at_once() -> None:
    world = world_of()
    first = await onboarded(world, "web01")
    await onboarded(world, "web02")
    for _ in range(2):
        del world.arm.associations[first.key]
        assert (await later(world, timedelta(minutes=11))).association == 1
        assert rules_of(world, first) == {RULE}


async def test_a_removed_endpoint_is_found_too() -> None:
    world = world_of(DATA_COLLECTION_ENDPOINT_ID=ENDPOINT)
    vm = await onboarded(world)
    del world.arm.associations[vm.key]["configurationaccessendpoint"]
    assert (await later(world)).association == 1
    assert "configurationaccessendpoint" in world.arm.associations[vm.key]


async def test_what_the_index_does_not_show_yet_is_left_alone() -> None:
    world = world_of()
    world.inventory.frozen_associations = {}
    vm = add(world, SYSTEM)
    await world.created(vm)
    await world.finish_install(vm, AMA)
    assert (await later(world, timedelta(minutes=9))).requested == 0
    assert (await later(world, timedelta(minutes=2))).association == 1
    assert world.arm.calls == ["GRAPH associations", "GRAPH", "GET", "LIST associations"], "ARM has it"
    assert rules_of(world, vm) == {RULE}
    for _ in range(3):
        assert (await later(world, timedelta(minutes=11))).requested == 0, "it is not asked for in every run"


@pytest.mark.parametrize("midway", [False, True])
async def test_nothing_is_concluded_if_resource_graph_fails(midway: bool) -> None:
    world = world_of()
    first = await onboarded(world, "web01")
    await onboarded(world, "web02")
    del world.arm.associations[first.key]
    failure = [Evidence(http_status=500, code="InternalServerError")]
    if midway:
        world.inventory.association_errors_midway = failure
    else:
        world.inventory.association_errors = failure
    report = await later(world)
    assert (report.requested, report.machines) == (0, 2)
    assert not report.complete
    assert "associations" in report.unread[0]
    assert (await later(world)).association == 1


async def test_a_subscription_of_which_the_index_shows_nothing_is_tried_with_one_machine() -> None:
    """Resource Graph leaves out what the identity may not read, without an error."""
    world = world_of()
    vms = [await onboarded(world, f"web0{number}") for number in range(4)]
    there = deepcopy(world.arm.associations)
    world.inventory.frozen_associations = {}
    assert (await later(world)).association == 1
    assert world.arm.calls.count("LIST associations") == 1
    assert (await later(world, timedelta(minutes=11))).association == 0
    assert world.arm.associations == there
    world.inventory.frozen_associations = None
    world.arm.associations.clear()
    assert (await later(world)).association == 1
    assert (await later(world)).association == 3
    assert all(rules_of(world, vm) == {RULE} for vm in vms)


async def test_resource_graph_gets_no_query_if_no_policy_wants_associations() -> None:
    disabled = {**POLICY, "name": "off", "effect": "disabled"}
    plain = {"name": "plain", "extension": AMA}
    world = World(policies=[disabled, plain], app_settings=SETTINGS)
    await onboarded(world)
    await later(world)
    assert world.arm.calls == ["GRAPH"]
    unset = World(policies=[POLICY])
    await later(unset)
    assert unset.arm.calls == ["GRAPH"]


async def test_a_policy_that_now_wants_a_rule_gets_it_on_machines_that_are_done() -> None:
    world = World(policies=[{"name": "azure-monitor", "extension": AMA}], app_settings=SETTINGS)
    vm = await onboarded(world)
    await later(world)
    after = world.with_policies([{"name": "azure-monitor", "extension": AMA, "dataCollectionRules": RULE}])
    assert (await later(after)).requested == 0, "its policy has only just changed"
    assert (await later(after)).association == 1
    assert rules_of(after, vm) == {RULE}


async def test_an_audit_says_that_the_association_is_missing_and_writes_nothing() -> None:
    world = world_of({"effect": "auditIfNotExists"})
    vms = []
    for name in ("web01", "web02"):
        vm = add(world, SYSTEM, age=timedelta(days=2), name=name)
        equip(world, vm)
        await world.created(vm)
        assert row_of(world, vm).outcome is Outcome.ALREADY_INSTALLED
        vms.append(vm)
    world.arm.calls.clear()
    del world.arm.associations[vms[0].key]
    assert (await later(world)).association == 1
    del world.arm.associations[vms[1].key]
    await world.association_deleted(vms[1])
    for vm in vms:
        assert row_of(world, vm).outcome is Outcome.AUDITED
        assert states_of(world, vm) == {**DONE, "association linux": "wanted"}
    assert (await later(world)).requested == 0
    assert "PUT association" not in world.arm.calls


async def test_each_of_two_policies_gets_its_own_rule_back() -> None:
    world = two_policies()
    vm, other = await onboarded(world, "web01"), await onboarded(world, "web02")
    for rule in (RULE, SECOND_RULE):
        there = world.arm.associations[vm.key]
        for name in [name for name, body in there.items() if body["properties"]["dataCollectionRuleId"] == rule]:
            del there[name]
        report = await later(world)
        assert (report.association, report.beside) == (1, {})
        assert world.arm.calls.count("PUT association") == 1
        assert rules_of(world, vm) == rules_of(world, other) == {RULE, SECOND_RULE}


def two_policies() -> World:
    second = {"name": "second", "extension": SECOND.name, "dataCollectionRules": SECOND_RULE}
    return World(policies=[POLICY, second], app_settings=SETTINGS)


async def test_a_row_that_failed_for_its_association_is_left_to_a_person() -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    world.arm.association_errors = [NOT_FOUND]
    await world.created(vm)
    await world.finish_install(vm, AMA)
    assert row_of(world, vm).outcome is Outcome.FAILED
    assert (await later(world)).requested == 0


async def test_a_success_of_an_association_does_not_count_as_an_install() -> None:
    """The rollout limit's failures in a row are those of installs."""
    world = world_of({"brake": {"stopAfterFailures": 2}})
    done = await onboarded(world, "done")
    await fail(world, "first")
    world.arm.associations.pop(done.key)
    await world.association_deleted(done)
    await fail(world, "second")
    stopped = (await world.rollouts.read_all())[0]
    assert stopped.stopped_at is not None


async def fail(world: World, name: str) -> None:
    vm = add(world, SYSTEM, name=name)
    await world.created(vm)
    world.arm.set_extension(
        vm,
        extension(
            "AzureMonitorLinuxAgent", "Failed", publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent"
        ),
        UNSUPPORTED,
        "ProvisioningState/failed/51",
    )
    await world.extension_written(vm, "AzureMonitorLinuxAgent", succeeded=False)


async def test_the_report_names_rules_beside_those_of_the_policies() -> None:
    world = world_of()
    portal = RULE.replace("/linux", "/MSVMI-portal")
    await onboarded(world, "alone")
    for name in ("web01", "web02"):
        vm = await onboarded(world, name)
        world.arm.associations[vm.key]["portal"] = {"properties": {"dataCollectionRuleId": portal}}
    unselected = add(world, SYSTEM, name="bare")
    equip(world, unselected, portal)
    report = await world.sweep.run()
    assert report.beside == {RULE.lower(): {portal.lower(): 2}}
    assert "2 VMs have rule monitor/msvmi-portal beside monitor/linux" in str(report)
    assert report.complete


async def test_many_rules_beside_are_counted_together() -> None:
    world = world_of()
    for number in range(2):
        vm = await onboarded(world, f"web0{number}")
        for each in range(60):
            body = {"properties": {"dataCollectionRuleId": f"{SECOND_RULE}-{number}-{each:02}"}}
            world.arm.associations[vm.key][f"x{each}"] = body
    report = await world.sweep.run()
    (counts,) = report.beside.values()
    assert len(counts) == 61
    assert counts[""] == 1
    assert "1 VMs have further rules beside monitor/linux" in str(report)
