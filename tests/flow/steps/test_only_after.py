"""A removal that comes after another policy: how long that one must have been satisfied, and how it is proved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.steps.test_azure_monitor import AMA, RULE, SYSTEM, add
from tests.flow.steps.test_azure_monitor import NAME as AMA_NAME
from tests.flow.steps.test_azure_monitor import POLICY as AZURE_MONITOR
from tests.flow.world import OMS, START, World, extension

NAME = "OMSExtension"
WORKSPACE = "33333333-4444-5555-6666-777788889999"
CATEGORY = "Azure Monitor Agent"
AFTER = {"policy": "azure-monitor", "for": "24h", "proof": "arm"}
RETIRE: dict[str, Any] = {
    "name": "retire-oms",
    "effect": "removeIfExists",
    "extension": OMS,
    "onlyAfter": AFTER,
    "existing": "enforce",
}
BEATING = {**RETIRE, "onlyAfter": {"policy": "azure-monitor", "for": "24h", "heartbeat": "{WORKSPACE}"}}
SETTINGS = {"DATA_COLLECTION_RULE_ID": RULE, "WORKSPACE": WORKSPACE}
ENFORCED = {**AZURE_MONITOR, "existing": "enforce"}
DAY = timedelta(days=1)


def world_of(retire: dict[str, Any] | None = None, **monitor: Any) -> World:
    return World(policies=[{**ENFORCED, **monitor}, retire or RETIRE], app_settings=dict(SETTINGS))


def old_machine(world: World) -> VmId:
    """A machine with the old agent and an identity."""
    vm = add(world, SYSTEM, age=timedelta(days=30))
    world.arm.set_extension(vm, extension(NAME))
    return vm


async def onboarded(world: World) -> VmId:
    """Such a machine, with the new agent."""
    vm = old_machine(world)
    await world.updated(vm)
    await world.finish_install(vm, AMA)
    assert world.row(vm, AMA).outcome is Outcome.INSTALLED
    return vm


async def run_checks(world: World, until: timedelta) -> None:
    """Run every check that is due until then, counted from now."""
    end = world.now + until
    while await world.run_next_check(end):
        pass
    world.now = end


def waits(world: World, vm: VmId) -> bool:
    row = world.row(vm)
    return (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.ONLY_AFTER)


async def test_the_old_agent_goes_a_day_after_the_new_one_came() -> None:
    world = world_of()
    vm = await onboarded(world)
    since = world.row(vm, AMA).satisfied_since
    assert since is not None
    assert waits(world, vm)
    assert world.row(vm).next_attempt_at == since + DAY
    calls = len(world.arm.calls)
    await run_checks(world, DAY - timedelta(minutes=1))
    assert "DELETE" not in world.arm.calls
    assert world.arm.calls[calls:] == []
    await run_checks(world, timedelta(minutes=2))
    assert world.arm.calls[calls:] == ["GET", "LIST associations", "DELETE"]
    await world.removed(vm)
    assert world.arm.calls[calls:] == ["GET", "LIST associations", "DELETE", "GET"]
    assert world.row(vm).outcome is Outcome.REMOVED
    row = world.row(vm, AMA)
    assert (row.outcome, row.satisfied_since) == (Outcome.INSTALLED, since), "confirmed, and kept"


async def test_a_removal_without_effect_is_proved_anew_and_requested_again_at_its_check() -> None:
    """Nothing is under way, and the old agent is still there, or somebody has installed it again."""
    world = world_of()
    vm = await onboarded(world)
    await run_checks(world, DAY + timedelta(minutes=1))
    assert world.arm.calls.count("DELETE") == 1
    world.arm.set_extension(vm, extension(NAME))
    calls = len(world.arm.calls)
    assert await world.run_next_check()
    assert world.arm.calls[calls:] == ["GET", "LIST associations", "DELETE"]
    assert (world.row(vm).outcome, world.row(vm).attempt) == (Outcome.REQUESTED, 2)


async def test_an_agent_that_is_lost_meanwhile_is_repaired_before_the_removal_is_requested_again() -> None:
    world = world_of()
    vm = await onboarded(world)
    await run_checks(world, DAY + timedelta(minutes=1))
    world.arm.set_extension(vm, extension(NAME))
    world.arm.end_removal(vm, AMA_NAME)
    calls = len(world.arm.calls)
    assert await world.run_next_check()
    assert world.arm.calls[calls:] == ["GET", "LIST associations", "PUT"]
    assert waits(world, vm)


async def test_without_the_old_agent_the_other_policy_is_not_looked_at() -> None:
    world = world_of()
    vm = add(world, SYSTEM, age=timedelta(days=30))
    await world.updated(vm)
    await world.finish_install(vm, AMA)
    assert (vm.key, OMS) not in world.ledger.rows
    assert world.ledger.machines[vm.key].row.next_attempt_at is None


async def test_while_the_other_policy_is_not_satisfied_nothing_is_installed_either() -> None:
    policy = {"name": "z-oms", "extension": OMS, "settings": {"workspaceId": "x" * 36}}
    world = World(policies=[ENFORCED, RETIRE, policy], app_settings=dict(SETTINGS))
    vm = add(world, SYSTEM)
    await world.created(vm)
    assert [body["properties"]["type"] for body in world.arm.bodies] == [AMA_NAME]
    assert (vm.key, OMS) not in world.ledger.rows


async def test_the_install_of_the_new_agent_and_the_removal_never_overlap() -> None:
    world = world_of()
    vm = old_machine(world)
    await world.updated(vm)
    assert world.row(vm, AMA).waiting_for is WaitingFor.INSTALL
    assert waits(world, vm)
    assert "not satisfied" in world.row(vm).reason


@pytest.mark.parametrize("lost", ["extension", "association", "identity"])
async def test_what_is_lost_starts_the_clock_anew(lost: str) -> None:
    """The proof right before the removal finds it, is drift of the other policy, and deletes nothing."""
    world = world_of()
    vm = await onboarded(world)
    await run_checks(world, DAY - timedelta(minutes=1))
    if lost == "extension":
        world.arm.end_removal(vm, AMA_NAME)
    elif lost == "association":
        world.arm.associations[vm.key].clear()
    else:
        del world.arm.machines[vm.key]["identity"]
    calls = len(world.arm.calls)
    await run_checks(world, timedelta(minutes=2))
    assert "DELETE" not in world.arm.calls
    assert waits(world, vm)
    repair = {"extension": "PUT", "association": "PUT association", "identity": "PATCH"}[lost]
    assert world.arm.calls[calls:][-1] == repair
    if lost == "extension":
        await world.finish_install(vm, AMA)
    elif lost == "identity":
        world.arm.end_patch(vm)
        await world.updated(vm)
    row = world.row(vm, AMA)
    assert row.outcome is Outcome.INSTALLED
    assert row.satisfied_since is not None
    assert row.satisfied_since > START + DAY - timedelta(hours=1)
    await run_checks(world, DAY - timedelta(minutes=10))
    assert "DELETE" not in world.arm.calls
    await run_checks(world, timedelta(hours=1))
    assert world.arm.calls.count("DELETE") == 1


@pytest.mark.parametrize("status", [403, 429, 500])
async def test_what_cannot_be_read_proves_nothing_and_the_clock_goes_on(status: int) -> None:
    world = world_of()
    vm = await onboarded(world)
    since = world.row(vm, AMA).satisfied_since
    world.arm.association_errors += [Evidence(http_status=status, code="AuthorizationFailed", message="no")] * 9
    await run_checks(world, DAY + timedelta(minutes=1))
    world.arm.association_errors.clear()
    assert "DELETE" not in world.arm.calls
    assert waits(world, vm)
    assert "could not be read" in world.row(vm).reason
    assert world.row(vm).error_code
    row = world.row(vm, AMA)
    assert (row.outcome, row.satisfied_since) == (Outcome.INSTALLED, since)
    await run_checks(world, timedelta(hours=1))
    assert world.arm.calls.count("DELETE") == 1


async def test_a_machine_that_cannot_be_read_keeps_the_clock() -> None:
    world = world_of()
    vm = await onboarded(world)
    since = world.row(vm, AMA).satisfied_since
    world.arm.read_errors.append(Evidence(http_status=500, code="InternalServerError", message="no"))
    await world.updated(vm)
    await run_checks(world, timedelta(minutes=5))
    assert world.row(vm, AMA).satisfied_since == since


@pytest.mark.parametrize(
    "monitor",
    [
        {"effect": "auditIfNotExists"},
        {"effect": "disabled"},
        {"exemptions": [{"scope": "/subscriptions/*"}]},
        {"rule": {"field": "location", "equals": "nowhere"}},
        {"name": "another"},
    ],
)
async def test_a_policy_that_does_not_act_is_never_satisfied(monitor: dict[str, Any]) -> None:
    world = world_of(**monitor)
    vm = old_machine(world)
    world.arm.set_extension(
        vm, extension(AMA_NAME, publisher="Microsoft.Azure.Monitor", type=AMA_NAME, typeHandlerVersion="1.36")
    )
    await world.updated(vm)
    await run_checks(world, timedelta(days=5))
    assert "DELETE" not in world.arm.calls
    assert waits(world, vm)
    assert world.arm.calls.count("GET") <= 8, "after an hour, six hours, then daily"


async def test_a_row_without_the_time_starts_the_clock_when_a_removal_waits_for_it() -> None:
    """A version without this column wrote the row."""
    world = world_of(None)
    before = World(policies=[ENFORCED], app_settings=dict(SETTINGS), arm=world.arm, ledger=world.ledger)
    vm = await onboarded(before)
    key = (vm.key, AMA)
    stored = world.ledger.rows[key]
    world.ledger.rows[key] = type(stored)(_without_time(stored.row), stored.version)
    world.now += timedelta(days=10)
    lines = len(world.ledger.log)
    await world.sweep_and_reconcile()
    assert world.row(vm, AMA).satisfied_since == world.now
    assert waits(world, vm)
    assert world.row(vm).next_attempt_at == world.now + DAY
    assert len(world.ledger.log) == lines + 1, "the other row says nothing new"


def _without_time(row: Any) -> Any:
    properties = {name: value for name, value in row.to_properties().items() if name != "SatisfiedSince"}
    return type(row).from_properties(properties)


async def test_a_workspace_whose_app_setting_is_missing_is_named() -> None:
    world = World(policies=[ENFORCED, BEATING], app_settings={"DATA_COLLECTION_RULE_ID": RULE})
    vm = old_machine(world)
    await world.updated(vm)
    row = world.row(vm)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "bad-configuration")
    assert "WORKSPACE" in row.error_meaning


async def test_the_removal_on_an_existing_machine_is_only_audited() -> None:
    world = world_of({**RETIRE, "existing": "audit"})
    vm = old_machine(world)
    await world.updated(vm)
    row = world.row(vm)
    assert (row.outcome, row.cause) == (Outcome.AUDITED, "existing-machine")
    assert "would remove OmsAgentForLinux; " in row.reason
    assert "DELETE" not in world.arm.calls


async def test_a_person_takes_an_existing_machine_up_for_its_removal_which_still_waits_for_the_other_policy() -> None:
    world = world_of({**RETIRE, "existing": "audit"})
    vm = await onboarded(world)
    assert world.row(vm).outcome is Outcome.AUDITED
    (result,) = [each async for each in world.enforcements["retire-oms"].run([vm])]
    assert result.words == "would remove OmsAgentForLinux"
    await run_checks(world, DAY - timedelta(hours=1))
    assert waits(world, vm)
    assert "DELETE" not in world.arm.calls
    await run_checks(world, timedelta(hours=2))
    assert world.arm.calls.count("DELETE") == 1


async def test_a_removal_that_the_clock_allows_waits_for_its_window_and_is_proved_in_it() -> None:
    """The proof is read once nothing else holds the removal back: until then, what it waits for sets the moment."""
    window = {"days": ["sun"], "from": "02:00", "to": "03:00", "zone": "UTC"}
    world = world_of({**RETIRE, "changeWindow": window})
    vm = await onboarded(world)
    await run_checks(world, DAY + timedelta(minutes=1))
    row = world.row(vm)
    assert (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.CHANGE_WINDOW)
    lists = world.arm.calls.count("LIST associations")
    await run_checks(world, timedelta(days=2))
    assert world.arm.calls.count("LIST associations") == lists + 1
    assert world.arm.calls.count("DELETE") == 1
    requested = world.row(vm).requested_at
    assert requested is not None
    assert (requested.isoweekday(), requested.hour) == (7, 2)


async def test_the_clock_of_another_policy_counts_no_time_although_a_read_fails() -> None:
    """The new agent is wanted by a policy of another name, and the first read for it fails."""
    world = world_of()
    vm = await onboarded(world)
    renamed = {**ENFORCED, "name": "monitor"}
    later = world.with_policies([renamed, {**RETIRE, "onlyAfter": {**AFTER, "policy": "monitor"}}])
    later.app_settings = world.app_settings
    later.__post_init__()
    later.now += timedelta(days=2)
    later.arm.read_errors = [Evidence(http_status=429, code="TooManyRequests")]
    await later.updated(vm)
    assert later.row(vm, AMA).waiting_for is WaitingFor.THROTTLING
    begun = later.now
    await later.updated(vm)
    assert later.row(vm, AMA).satisfied_since == begun
    await run_checks(later, DAY - timedelta(minutes=1))
    assert "DELETE" not in later.arm.calls
    await run_checks(later, timedelta(minutes=2))
    assert later.arm.calls.count("DELETE") == 1
