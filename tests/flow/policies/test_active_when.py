"""The policies that ship: the app settings of a deployment say which of them is active, and rows stay true when that
changes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.domain.policy.policy import Policy
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.steps.test_azure_monitor import AMA, RULE, SYSTEM
from tests.flow.world import OMS, WORKSPACE_ID, WORKSPACE_KEY, World
from tests.reference import parse_policy

SHIPPED: list[dict[str, Any]] = [
    yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parents[3] / "policies").glob("*.yaml"))
]
OLD = {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": WORKSPACE_KEY}
NEW = {"DATA_COLLECTION_RULE_ID": RULE}
BOTH = {**OLD, **NEW}
TAKEN_OVER = "policy linux-monitoring is not active: app setting DATA_COLLECTION_RULE_ID is set"


AMA_POLICY, OMS_POLICY = SHIPPED


def host(**settings: str) -> World:
    return World(policies=SHIPPED, app_settings=settings)


def host_after(
    world: World, policies: list[dict[str, Any]] | None = None, settings: dict[str, str] | None = None
) -> World:
    """Another host on the same machines, later."""
    return world.with_policies(policies, settings)


def add(world: World, **changes: Any) -> VmId:
    vm = world.add(**changes)
    world.arm.machines[vm.key]["identity"] = dict(SYSTEM)
    world.arm.machines[vm.key]["properties"]["timeCreated"] = world.now.isoformat()
    return vm


def targets(world: World, vm: VmId) -> dict[str, Outcome]:
    return {target: stored.row.outcome for (key, target), stored in world.ledger.rows.items() if key == vm.key}


async def with_oms(world: World) -> VmId:
    vm = add(world)
    await world.created(vm)
    await world.finish_install(vm, OMS)
    assert world.row(vm).outcome is Outcome.INSTALLED
    return vm


async def sweep_until_settled(world: World) -> None:
    for _ in range(3):
        world.now += timedelta(hours=1)
        await world.sweep_and_reconcile()


async def test_with_the_workspace_alone_everything_is_as_before() -> None:
    world = host(**OLD)
    vm = await with_oms(world)
    assert targets(world, vm) == {OMS: Outcome.INSTALLED}
    assert world.arm.calls == ["GET", "PUT", "GET extension"]
    assert world.arm.bodies[0]["properties"]["settings"] == {"workspaceId": WORKSPACE_ID}


async def test_with_the_rule_alone_the_new_agent_is_installed() -> None:
    world = host(**NEW)
    vm = add(world)
    await world.created(vm)
    await world.finish_install(vm, AMA)
    assert targets(world, vm) == {AMA: Outcome.INSTALLED}
    assert world.arm.calls == ["GET", "PUT association", "PUT", "GET extension"]


async def test_with_both_the_old_agent_is_installed_nowhere_new() -> None:
    world = host(**BOTH)
    vm = add(world)
    await world.created(vm)
    await world.finish_install(vm, AMA)
    assert targets(world, vm) == {AMA: Outcome.INSTALLED}


async def test_with_neither_nothing_is_installed_and_the_row_names_the_setting() -> None:
    world = host(AZURE_CLOUD="AzurePublicCloud")
    vm = add(world)
    await world.created(vm)
    await sweep_until_settled(world)
    assert targets(world, vm) == {OMS: Outcome.FAILED}
    assert "app setting OMS_WORKSPACE_ID is not set" in world.row(vm).reason
    assert set(world.arm.calls) == {"GET", "GRAPH"}


async def test_where_no_policy_is_active_nothing_is_read_and_nothing_is_written() -> None:
    world = World(policies=[AMA_POLICY], app_settings=OLD)
    vm = add(world)
    await world.created(vm)
    await world.updated(vm)
    await sweep_until_settled(world)
    assert (targets(world, vm), world.arm.calls) == ({}, [])


async def test_what_the_old_agent_has_stays_with_its_row() -> None:
    before = host(**OLD)
    vm = await with_oms(before)
    row = before.row(vm)
    world = host_after(before, settings=BOTH)
    await sweep_until_settled(world)  # the sweep finds that the new agent is missing, so all rows are decided again
    await world.finish_install(vm, AMA)
    await sweep_until_settled(world)
    await world.updated(vm)
    assert targets(world, vm) == {OMS: Outcome.INSTALLED, AMA: Outcome.INSTALLED}
    assert (world.row(vm).reason, world.row(vm).extension_name) == (row.reason, row.extension_name)


async def test_a_row_that_says_installed_costs_nothing_when_no_policy_is_active() -> None:
    before = host(**OLD)
    vm = await with_oms(before)
    row, calls = before.row(vm), len(before.arm.calls)
    world = host_after(before, [OMS_POLICY], NEW)
    world.now += timedelta(minutes=1)
    await world.updated(vm)
    assert len(world.arm.calls) == calls
    await sweep_until_settled(world)
    assert set(world.arm.calls[calls:]) == {"GRAPH"}
    assert world.row(vm) == row
    await world.deleted(vm)
    assert world.row(vm).outcome is Outcome.GONE


@pytest.mark.parametrize("policies", [SHIPPED, [OMS_POLICY]], ids=["both policies", "the old one alone"])
async def test_its_row_ends_once_the_old_agent_is_gone(policies: list[dict[str, Any]]) -> None:
    before = host(**OLD)
    vm = await with_oms(before)
    world = host_after(before, policies, BOTH)
    await sweep_until_settled(world)
    world.arm.machines[vm.key]["resources"] = []
    await world.extension_deleted(vm)
    await sweep_until_settled(world)
    assert (world.row(vm).outcome, world.row(vm).reason) == (Outcome.OUT_OF_SCOPE, TAKEN_OVER)
    row, calls = world.row(vm), len(world.arm.calls)
    await sweep_until_settled(world)
    assert world.row(vm) == row
    assert policies == SHIPPED or set(world.arm.calls[calls:]) == {"GRAPH"}


async def test_a_request_in_flight_is_followed_to_its_end() -> None:
    before = host(**OLD)
    vm = add(before)
    await before.created(vm)
    world = host_after(before, settings=BOTH)
    world.now += timedelta(minutes=1)
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    await world.finish_install(vm, OMS)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_row_that_waits_ends_and_a_host_with_the_settings_of_before_leaves_it() -> None:
    before = host(**OLD)
    vm = add(before, power="deallocated")
    await before.created(vm)
    assert before.row(vm).waiting_for is WaitingFor.VM_RUNNING
    world = host_after(before, settings=BOTH)
    before.now = world.now = world.now + timedelta(minutes=1)
    await world.updated(vm)
    assert (world.row(vm).outcome, world.row(vm).reason) == (Outcome.OUT_OF_SCOPE, TAKEN_OVER)
    row = world.row(vm)
    for _ in range(3):
        before.now = world.now = world.now + timedelta(minutes=1)
        await before.updated(vm)
        await world.updated(vm)
    assert world.row(vm) == row
    assert "PUT" not in world.arm.calls


@pytest.mark.parametrize("policies", [SHIPPED, [OMS_POLICY]], ids=["both policies", "the old one alone"])
async def test_a_failure_is_no_longer_one_when_its_policy_is_not_active(policies: list[dict[str, Any]]) -> None:
    before = host(**OLD)
    vm = add(before)
    before.arm.machines[vm.key]["properties"]["osProfile"] = {"allowExtensionOperations": False}
    await before.created(vm)
    assert before.row(vm).outcome is Outcome.FAILED
    world = host_after(before, policies, BOTH)
    await sweep_until_settled(world)
    assert (world.row(vm).outcome, world.row(vm).reason) == (Outcome.OUT_OF_SCOPE, TAKEN_OVER)


async def test_a_policy_that_becomes_active_again_takes_its_machines_up() -> None:
    before = host(**OLD)
    vm = add(before, power="deallocated")
    await before.created(vm)
    off = host_after(before, settings=BOTH)
    off.now += timedelta(minutes=1)
    await off.updated(vm)
    assert off.row(vm).outcome is Outcome.OUT_OF_SCOPE
    world = host_after(off, settings=OLD)
    await sweep_until_settled(world)
    assert world.row(vm).waiting_for is WaitingFor.VM_RUNNING


@pytest.mark.parametrize("settings", [OLD, BOTH, {"AZURE_CLOUD": "x"}], ids=["old", "both", "neither"])
async def test_the_selection_of_a_policy_is_first_seen_when_it_becomes_active(settings: dict[str, str]) -> None:
    world = host(**settings)
    await world.sweep.run()
    later = host_after(world, settings={**settings, **NEW})
    later.now = world.now + timedelta(days=90)
    await later.sweep.run()
    seen = {each.state.policy: each.state.first_seen for each in (await later.policy_states.read_all()).values()}
    active = policies_of(NEW)["azure-monitor"]
    expected = world.now if "DATA_COLLECTION_RULE_ID" in settings else later.now
    assert seen["azure-monitor"][active.selection_digest] == expected


def policies_of(settings: dict[str, str]) -> dict[str, Policy]:
    parsed = (parse_policy(raw, "p.yaml", compile_rule) for raw in SHIPPED)
    return {policy.name: policy.with_settings(settings) for policy in parsed}


def test_when_a_policy_is_active_does_not_change_what_it_does_then() -> None:
    without = {key: value for key, value in SHIPPED[1].items() if key != "activeWhen"}
    assert policies_of(OLD)["linux-monitoring"].digest == parse_policy(without, "p.yaml", compile_rule).digest
    assert len({policies_of(each)["linux-monitoring"].digest for each in (OLD, NEW, BOTH)}) == 2
