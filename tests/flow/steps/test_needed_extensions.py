"""An extension that needs another, or a certain identity: it waits for the one, and goes on when it is there."""

from __future__ import annotations

from copy import deepcopy, replace
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.catalog.entry_file import Needs
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import BIONIC, CATALOGUE, World
from tests.flow.world import extension as resource

AGENT, NEEDING = "azure-monitor-agent-linux", "dependency-agent-linux"
# In the order of their names the one that needs the other comes first.
POLICIES: list[dict[str, Any]] = [
    {"name": "a-dependency", "extension": NEEDING},
    {"name": "b-monitor", "extension": AGENT},
]
SYSTEM = {"type": "SystemAssigned", "principalId": "99999999-0000-4000-8000-000000000001"}
_IDS = "/subscriptions/s/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
USER, CLIENT = f"{_IDS}/id-app", "11111111-2222-4333-8444-555555555555"
USERS = {"type": "UserAssigned", "userAssignedIdentities": {USER: {"clientId": CLIENT}}}
BOTH = {**SYSTEM, **USERS, "type": "SystemAssigned, UserAssigned"}


def add(world: World, identity: dict[str, Any] | None = SYSTEM, **changes: Any) -> VmId:
    vm = world.add(image=BIONIC, **changes)
    if identity is not None:
        world.arm.machines[vm.key]["identity"] = deepcopy(identity)
    return vm


def waits(row: Row) -> bool:
    return (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.NEEDED_EXTENSION)


def put_by_others(world: World, vm: VmId, state: str = "Succeeded") -> str:
    """Somebody else installs the agent; returns the name of its resource."""
    entry = CATALOGUE[AGENT]
    world.arm.set_extension(vm, resource("theirs", state, publisher=entry.publisher, type=entry.type, settings={}))
    return "theirs"


async def test_the_needed_extension_is_requested_first_and_the_other_follows_its_event() -> None:
    world = World(policies=POLICIES)
    vm = add(world)
    await world.created(vm)
    assert world.arm.calls == ["GET", "PUT"]
    assert world.arm.bodies[0]["properties"]["type"] == CATALOGUE[AGENT].type
    row = world.row(vm, NEEDING)
    assert waits(row)
    assert row.reason == f"DependencyAgentLinux needs {AGENT}, whose install has not ended"
    assert (row.cause, row.error_code) == ("", ""), "nothing is wrong"
    await world.finish_install(vm, AGENT)
    assert world.row(vm, AGENT).outcome is Outcome.INSTALLED
    assert world.row(vm, NEEDING).outcome is Outcome.REQUESTED
    await world.finish_install(vm, NEEDING)
    assert world.row(vm, NEEDING).outcome is Outcome.INSTALLED
    assert world.arm.calls == ["GET", "PUT", "GET", "PUT", "GET extension"]
    assert world.arm.bodies[1]["properties"]["settings"] == {"enableAMA": "true"}


async def test_one_that_nobody_installs_is_waited_for_with_its_fix_and_without_end() -> None:
    world = World(policies=POLICIES[:1])
    vm = add(world)
    await world.created(vm)
    row = world.row(vm, NEEDING)
    assert waits(row)
    assert row.reason == f"DependencyAgentLinux needs {AGENT}, which is not on the VM"
    assert (row.cause, row.error_code) == ("needed-extension-missing", "needed-extension-missing")
    assert row.advice.startswith(f"Have a policy install {AGENT} on this VM")
    assert world.arm.calls == ["GET"]
    gaps = []
    for _ in range(6):
        before = world.now
        row = world.row(vm, NEEDING)
        assert row.next_attempt_at is not None
        gaps.append(row.next_attempt_at - before)
        world.now = row.next_attempt_at
        await world.run_latest_check()
    hour, day = timedelta(hours=1), timedelta(days=1)
    assert gaps == [hour, 6 * hour, day, day, day, day]
    assert waits(world.row(vm, NEEDING))
    assert set(world.arm.calls) == {"GET"}
    put_by_others(world, vm)
    row = world.row(vm, NEEDING)
    assert row.next_attempt_at is not None
    world.now = row.next_attempt_at
    await world.run_latest_check()
    assert world.row(vm, NEEDING).outcome is Outcome.REQUESTED, "an event that was lost costs a day at most"


async def test_the_event_of_one_that_others_install_continues_the_row_at_once() -> None:
    world = World(policies=POLICIES[:1])
    vm = add(world)
    await world.created(vm)
    world.now += timedelta(minutes=5)
    name = put_by_others(world, vm, "Creating")
    await world.extension_written(vm, name, succeeded=False)
    row = world.row(vm, NEEDING)
    assert waits(row)
    assert row.reason.endswith("whose install has not ended")
    assert row.error_code == ""
    world.now += timedelta(minutes=1)
    put_by_others(world, vm)
    await world.extension_written(vm, name)
    assert world.row(vm, NEEDING).outcome is Outcome.REQUESTED
    assert world.arm.calls == ["GET", "GET", "GET", "PUT"]


async def test_an_extension_event_costs_no_call_where_no_row_waits_for_one() -> None:
    world = World(policies=POLICIES)
    vm = add(world)
    await world.created(vm)
    await world.finish_install(vm, AGENT)
    await world.finish_install(vm, NEEDING)
    before = list(world.arm.calls)
    world.now += timedelta(minutes=5)
    await world.extension_written(vm, "someone-elses")
    assert world.arm.calls == before


async def test_one_that_failed_is_no_ground_to_go_on() -> None:
    world = World(policies=POLICIES[:1])
    vm = add(world)
    put_by_others(world, vm, "Failed")
    await world.created(vm)
    row = world.row(vm, NEEDING)
    assert waits(row)
    assert row.reason == f"DependencyAgentLinux needs {AGENT}, which is not healthy"


async def test_what_is_installed_already_stays_where_the_needed_one_is_gone() -> None:
    world = World(policies=POLICIES[:1])
    vm = add(world)
    entry = CATALOGUE[NEEDING]
    world.arm.set_extension(vm, resource("dep", publisher=entry.publisher, type=entry.type, settings={}))
    await world.created(vm)
    assert world.row(vm, NEEDING).outcome is Outcome.ALREADY_INSTALLED


async def test_an_audit_says_what_would_be_done_and_does_not_wait() -> None:
    world = World(policies=[{**POLICIES[0], "effect": "auditIfNotExists"}])
    vm = add(world)
    await world.created(vm)
    assert world.row(vm, NEEDING).outcome is Outcome.AUDITED


async def test_a_stopped_vm_waits_to_run_before_anything_else() -> None:
    world = World(policies=POLICIES[:1])
    vm = add(world, power="deallocated")
    await world.created(vm)
    assert world.row(vm, NEEDING).waiting_for is WaitingFor.VM_RUNNING


LOGIN = "entra-login-linux"


@pytest.mark.parametrize("identity", [SYSTEM, BOTH])
async def test_the_system_assigned_identity_serves_an_extension_that_needs_it(identity: dict[str, Any]) -> None:
    world = World(policies=[{"name": "login", "extension": LOGIN}])
    vm = add(world, identity)
    await world.created(vm)
    assert world.row(vm, LOGIN).outcome is Outcome.REQUESTED
    assert world.arm.calls == ["GET", "PUT"]


@pytest.mark.parametrize("identity", [None, USERS])
@pytest.mark.parametrize("given", [{}, {"identity": {"use": "any", "add": "none"}}, {"identity": {"add": USER}}])
async def test_no_other_identity_serves_it(identity: dict[str, Any] | None, given: dict[str, Any]) -> None:
    world = World(policies=[{"name": "login", "extension": LOGIN, **given}])
    vm = add(world, identity)
    await world.created(vm)
    row = world.row(vm, LOGIN)
    assert (row.outcome, row.cause, row.step) == (Outcome.FAILED, "identity-conflict", "identity")
    assert "needs the system-assigned identity" in row.reason
    assert "`identity: {add: system}`" in row.reason
    assert world.arm.calls == ["GET"]
    world.arm.machines[vm.key]["identity"] = deepcopy(SYSTEM)
    world.now += timedelta(minutes=5)
    await world.updated(vm)
    assert world.row(vm, LOGIN).outcome is Outcome.REQUESTED, "somebody else has added it"


async def test_the_policy_adds_the_system_assigned_identity_where_it_may() -> None:
    world = World(policies=[{"name": "login", "extension": LOGIN, "identity": {"add": "system"}}])
    vm = add(world, None)
    await world.created(vm)
    assert world.arm.patches == [{"identity": {"type": "SystemAssigned"}}]
    world.arm.end_patch(vm)
    world.now += timedelta(seconds=6)
    await world.updated(vm)
    assert world.row(vm, LOGIN).outcome is Outcome.REQUESTED
    other = add(world, USERS, name="web02")
    await world.created(other)
    row = world.row(other, LOGIN)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "identity-conflict")
    assert "may stand beside others" in row.reason


async def test_beside_others_it_is_added_where_the_policy_says_so() -> None:
    given = {"identity": {"add": "system", "besideOthers": True}}
    world = World(policies=[{"name": "login", "extension": LOGIN, **given}])
    vm = add(world, USERS)
    await world.created(vm)
    assert world.arm.patches == [{"identity": {"type": "SystemAssigned, UserAssigned"}}]


VAULT = "key-vault-linux"
JAMMY = {"publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts", "version": "latest"}
CERTIFICATES = {"secretsManagementSettings": {"observedCertificates": [{"url": "https://vault.example/secrets/web"}]}}


@pytest.mark.parametrize(("identity", "named"), [(USERS, True), (BOTH, True), (SYSTEM, False)])
async def test_settings_name_a_user_assigned_identity_even_if_it_is_the_only_one(
    identity: dict[str, Any], named: bool
) -> None:
    world = World(policies=[{"name": "certificates", "extension": VAULT, "settings": CERTIFICATES}])
    vm = world.add(image=JAMMY)
    world.arm.machines[vm.key]["identity"] = deepcopy(identity)
    await world.created(vm)
    settings = world.arm.bodies[0]["properties"]["settings"]
    wanted = {"msiEndpoint": "http://169.254.169.254/metadata/identity", "msiClientId": CLIENT}
    assert settings.get("authenticationSettings") == (wanted if named else None)


async def test_an_extension_that_takes_any_identity_is_installed_without_one_where_no_policy_asks_for_it() -> None:
    world = World(policies=POLICIES[1:])
    vm = add(world, None)
    await world.created(vm)
    assert world.row(vm, AGENT).outcome is Outcome.REQUESTED


async def test_the_sweep_finds_a_vm_whose_system_assigned_identity_somebody_took_away() -> None:
    world = World(policies=[{"name": "login", "extension": LOGIN}])
    vm = add(world, BOTH)
    await world.created(vm)
    await world.finish_install(vm, LOGIN)
    assert world.row(vm, LOGIN).outcome is Outcome.INSTALLED
    world.now += timedelta(hours=1)
    world.arm.machines[vm.key]["identity"] = deepcopy(USERS)
    assert (await world.sweep_and_reconcile()).drifted == 1
    row = world.row(vm, LOGIN)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "identity-conflict")
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).drifted == 0, "the row says what to do, and is left alone"


async def test_two_extensions_that_need_each_other_through_a_third_come_in_order() -> None:
    """The catalogue allows chains; here the third is ready first and the others follow."""
    second, third = CATALOGUE["change-tracking-linux"], CATALOGUE[NEEDING]
    chained = replace(second, needs=Needs(extensions=(NEEDING,)))
    policies = [{"name": "a", "extension": second.name}, {"name": "b", "extension": NEEDING}, POLICIES[1]]
    world = World(policies=policies, catalogue={**CATALOGUE, second.name: chained})
    vm = add(world)
    await world.created(vm)
    for name in (AGENT, NEEDING, second.name):
        await world.finish_install(vm, name)
        assert world.row(vm, name).outcome is Outcome.INSTALLED
    sent = [body["properties"]["type"] for body in world.arm.bodies]
    assert sent == [CATALOGUE[AGENT].type, third.type, second.type]
