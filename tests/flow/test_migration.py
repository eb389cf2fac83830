"""How far a fleet is from one agent to another, as rows that real passes wrote say it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.migration import MachineProgress, Migration, Progress, State, Why, machine_progress
from onboarding.application.migration import migrations as found_migrations
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId
from onboarding.loading.policy_extensions import with_extensions
from tests.flow.steps.test_azure_monitor import AMA, SYSTEM, add
from tests.flow.steps.test_azure_monitor import POLICY as AZURE_MONITOR
from tests.flow.steps.test_only_after import (
    BEATING,
    DAY,
    ENFORCED,
    NAME,
    RETIRE,
    SETTINGS,
    old_machine,
    onboarded,
    run_checks,
    world_of,
)
from tests.flow.world import CATALOGUE, OMS, POLICY, SUBSCRIPTION, WORKSPACE_ID, WORKSPACE_KEY, World, extension
from tests.reference import parse_policy

WAY = Migration((OMS,), (AMA,), "azure-monitor", "retire-oms")


async def progress_of(world: World, way: Migration = WAY, selection: Selection | None = None) -> list[MachineProgress]:
    return [each async for each in machine_progress(world.ledger, way, selection or Selection())]


async def only(world: World, way: Migration = WAY) -> MachineProgress:
    (found,) = await progress_of(world, way)
    return found


async def test_a_machine_on_its_way_is_in_each_state_once() -> None:
    world = world_of()
    vm = old_machine(world)
    await world.updated(vm)
    found = await only(world)
    assert (found.vm, found.state) == (vm, State.OLD)
    assert found.why == Why("azure-monitor", "Requested", "install")
    await world.finish_install(vm, AMA)
    found = await only(world)
    assert found.state is State.BOTH
    assert found.why == Why("retire-oms", "Waiting", "only-after")
    await run_checks(world, DAY + timedelta(minutes=1))
    assert (await only(world)).why == Why("retire-oms", "Requested", "removal")
    await world.removed(vm)
    found = await only(world)
    assert (found.state, found.why, found.blocking) == (State.NEW, Why(), None)


async def test_a_machine_that_never_had_the_old_agent_has_the_new_one_alone() -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    await world.created(vm)
    found = await only(world)
    assert (found.state, found.why.reason) == (State.NEITHER, "install")
    await world.finish_install(vm, AMA)
    assert (await only(world)).state is State.NEW


async def test_machines_that_are_only_audited_need_a_person() -> None:
    world = World(policies=[AZURE_MONITOR, {**RETIRE, "existing": "audit"}], app_settings=dict(SETTINGS))
    vm = old_machine(world)
    await world.updated(vm)
    found = await only(world)
    assert found.state is State.OLD
    assert (found.why.outcome, found.why.reason, found.why.needs_person) == ("Audited", "existing-machine", True)
    assert found.why.advice


async def test_a_failed_install_needs_a_person_and_the_old_agent_stays() -> None:
    world = world_of()
    vm = old_machine(world)
    await world.updated(vm)
    row = world.arm.machines[vm.key]["resources"][-1]
    world.arm.set_extension(vm, {**row, "properties": {**row["properties"], "provisioningState": "Failed"}}, "51", "51")
    for _ in range(40):
        if not await world.run_next_check(world.now + timedelta(days=30)):
            break
    found = await only(world)
    assert (found.state, found.why.outcome, found.why.needs_person) == (State.OLD, "Failed", True)


async def test_a_heartbeat_that_is_missing_is_waited_for_and_a_workspace_that_cannot_be_read_needs_a_person() -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    await run_checks(world, DAY + timedelta(minutes=1))
    found = await only(world)
    assert (found.state, found.why) == (State.BOTH, Why("retire-oms", "Waiting", "heartbeat"))
    stored = world.ledger.rows[vm.key, OMS]
    refused = type(stored.row).from_properties(
        {**stored.row.to_properties(), "ErrorCode": "403", "Cause": "workspace-unreadable", "Advice": "give the right"}
    )
    world.ledger.rows[vm.key, OMS] = type(stored)(refused, stored.version)
    why = (await only(world)).why
    assert (why.needs_person, why.advice) == (True, "give the right")


async def test_before_there_is_a_removal_policy_the_old_agents_own_row_counts() -> None:
    oms = {"name": "oms", "extension": OMS, "settings": {"workspaceId": "x" * 36}, "existing": "enforce"}
    world = World(policies=[ENFORCED, oms], app_settings=dict(SETTINGS))
    vm = old_machine(world)
    await world.updated(vm)
    await world.finish_install(vm, AMA)
    without = Migration((OMS,), (AMA,), "azure-monitor")
    found = await only(world, without)
    assert (found.state, found.why) == (State.BOTH, Why(needs_person=True))
    assert (await only(world)).why == Why("retire-oms"), "the removal policy has not decided yet"


async def test_what_is_about_to_be_installed_is_not_there_yet() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    assert (world.row(vm).outcome, world.row(vm).extension_name) == (Outcome.REQUESTED, "OMSExtension")
    found = await only(world)
    assert (found.vm, found.state, found.why) == (vm, State.NEITHER, Why("azure-monitor"))


async def test_machines_that_are_gone_or_have_other_rows_do_not_count() -> None:
    world = world_of()
    vm = await onboarded(world)
    await world.deleted(vm)
    assert await progress_of(world) == []
    other = World()
    await other.created(other.add("other"))
    assert await progress_of(other, Migration(("another",), ("third",), "azure-monitor")) == []


async def test_the_numbers_by_subscription_and_by_reason() -> None:
    world = world_of()
    for number in range(3):
        vm = add(world, SYSTEM, name=f"web{number}", age=timedelta(days=30))
        world.arm.set_extension(vm, extension(NAME))
        await world.updated(vm)
    await world.finish_install(VmId(SUBSCRIPTION, "app-rg", "web1"), AMA)
    progress = Progress()
    for machine in await progress_of(world):
        progress.add(machine)
    assert progress.subscriptions == {SUBSCRIPTION: {State.OLD: 2, State.BOTH: 1}}
    assert list(progress.reasons.items()) == [
        ((State.OLD, Why("azure-monitor", "Requested", "install")), 2),
        ((State.BOTH, Why("retire-oms", "Waiting", "only-after")), 1),
    ]
    assert await progress_of(world, selection=Selection(subscription="another")) == []


@pytest.mark.parametrize(
    ("retire", "expected"),
    [
        (RETIRE, (WAY,)),
        ({**RETIRE, "onlyAfter": {**RETIRE["onlyAfter"], "policy": "another"}}, ()),
        ({key: value for key, value in RETIRE.items() if key != "onlyAfter"}, ()),
    ],
    ids=["after the policy", "after one that is not there", "at once"],
)
def test_removal_policies_say_what_is_on_its_way(retire: dict[str, Any], expected: tuple[Migration, ...]) -> None:
    policies = PolicySet(tuple(parse_policy(raw, f"{raw['name']}.yaml", compile_rule) for raw in (ENFORCED, retire)))
    assert found_migrations(policies) == expected


def test_a_policy_with_an_extension_for_each_system_is_one_way() -> None:
    raw = {**ENFORCED, "extension": [AMA, "azure-monitor-agent-windows"]}
    policy = with_extensions(parse_policy(raw, "a.yaml", compile_rule), "a.yaml", CATALOGUE, {})
    policies = PolicySet((policy, parse_policy(RETIRE, "b.yaml", compile_rule)))
    (way,) = found_migrations(policies)
    assert way.new == (AMA, "azure-monitor-agent-windows")


async def test_the_old_agent_comes_back_where_its_policy_takes_the_place_of_the_removal() -> None:
    world = world_of()
    vm = await onboarded(world)
    await run_checks(world, DAY + timedelta(minutes=1))
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    settings = dict(SETTINGS) | {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": WORKSPACE_KEY}
    world.app_settings.update(settings)
    back = world.with_policies([ENFORCED, {**POLICY, "supportTable": "2023-11"}])
    back.app_settings.update(settings)
    back.arm.calls.clear()
    for _ in range(3):
        back.now += timedelta(minutes=20)
        await back.sweep_and_reconcile()
    assert back.arm.calls.count("PUT") == 1
    assert (back.row(vm).outcome, back.row(vm).policy) == (Outcome.REQUESTED, POLICY["name"])
    assert back.row(vm, AMA).outcome is Outcome.INSTALLED
