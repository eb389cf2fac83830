"""Somebody takes the identity of an installed agent away, or puts another beside it: the agent is led to one that is
there, after the machine's event, and in the sweep if every event is lost."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from importlib.resources import files
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.machine.machine_identity import read_identity
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.identity_step import Fit, IdentityNeed, misnamed, plan_identity
from onboarding.domain.resource_id import VmId
from onboarding.loading.safe_reader import parse_yaml
from tests.flow.steps.test_azure_monitor import AMA, FOREIGN, OTHER, SYSTEM, _users, add, equip, row_of, world_of
from tests.flow.world import World
from tests.reference import parse_entry

AMA_FILE = parse_yaml((files("onboarding") / "catalog" / "linux" / f"{AMA}.yaml").read_text())

BOTH = {**_users(FOREIGN, OTHER), **SYSTEM, "type": "SystemAssigned, UserAssigned"}


async def onboarded(world: World, identity: dict[str, Any]) -> VmId:
    """A VM with the agent, an hour after its events."""
    vm = add(world, identity)
    await world.created(vm)
    await world.finish_install(vm, AMA)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    world.now += timedelta(hours=1)
    world.arm.calls.clear()
    return vm


def named(world: World) -> str:
    """The identity that the settings of the last request name; empty if they name none."""
    managed = world.arm.bodies[-1]["properties"]["settings"].get("authentication", {}).get("managedIdentity", {})
    return str(managed.get("identifier-value", ""))


async def reconciled(world: World, vm: VmId, by_event: bool) -> None:
    """The product gets the machine's event, or the sweep runs."""
    if by_event:
        await world.updated(vm)
    else:
        assert (await world.sweep_and_reconcile()).drifted == 1


@pytest.mark.parametrize("by_event", [True, False], ids=["event", "sweep"])
@pytest.mark.parametrize(
    ("before", "after", "then"),
    [
        (_users(FOREIGN, OTHER), _users(OTHER), ""),  # named by necessity, and now the other is the only one
        (_users(FOREIGN, OTHER), SYSTEM, ""),
        (_users(OTHER), _users(FOREIGN, OTHER), FOREIGN),  # not named, and no longer the only one
        (SYSTEM, _users(FOREIGN, OTHER), FOREIGN),
    ],
    ids=["one of two taken", "replaced by the system's", "another beside it", "replaced by two"],
)
async def test_the_agent_is_led_to_an_identity_that_is_there(
    by_event: bool, before: dict[str, Any], after: dict[str, Any], then: str
) -> None:
    world = world_of()
    vm = await onboarded(world, before)
    world.arm.machines[vm.key]["identity"] = deepcopy(after)
    await reconciled(world, vm, by_event)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for) == (Outcome.REQUESTED, WaitingFor.INSTALL)
    assert row.reason == "ARM accepted the request (" + (
        "its settings name no identity, and the machine has several)"
        if then
        else "its settings name the identity id-app, which the machine does not have)"
    )
    assert (named(world), world.arm.calls.count("PUT")) == (then, 1)
    await world.finish_install(vm, AMA)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).requested == 0


@pytest.mark.parametrize("by_event", [True, False], ids=["event", "sweep"])
async def test_a_machine_whose_identity_was_taken_gets_one_again(by_event: bool) -> None:
    world = world_of()
    vm = await onboarded(world, SYSTEM)
    del world.arm.machines[vm.key]["identity"]
    await reconciled(world, vm, by_event)
    assert (row_of(world, vm).outcome, row_of(world, vm).step) == (Outcome.REQUESTED, "identity")
    assert world.arm.patches == [{"identity": {"type": "SystemAssigned"}}]


@pytest.mark.parametrize(
    ("before", "after"),
    [(_users(FOREIGN, OTHER), BOTH), (SYSTEM, BOTH), (_users(OTHER), SYSTEM)],
    ids=["the named one is still there", "the system's still serves", "the system's serves instead"],
)
async def test_while_the_agent_finds_an_identity_nothing_is_written(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    world = world_of()
    vm = await onboarded(world, before)
    world.arm.machines[vm.key]["identity"] = deepcopy(after)
    assert (await world.sweep_and_reconcile()).requested == 0
    await world.updated(vm)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert "PUT" not in world.arm.calls


async def test_settings_of_others_are_not_overwritten_whatever_they_name() -> None:
    world = world_of()
    vm = add(world, SYSTEM, age=timedelta(days=30))
    equip(world, vm)
    managed = {"identifier-name": "mi_res_id", "identifier-value": OTHER}
    world.arm.machines[vm.key]["resources"][0]["properties"]["settings"] = {
        "authentication": {"managedIdentity": managed}
    }
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.ALREADY_INSTALLED
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).requested == 0
    assert "PUT" not in world.arm.calls


async def at_war(world: World) -> VmId:
    """A VM whose identities somebody has changed three times, to others than the agent's settings name."""
    vm = await onboarded(world, _users(OTHER))
    for number in range(3):
        world.arm.machines[vm.key]["identity"] = deepcopy(_users(FOREIGN, OTHER) if number % 2 == 0 else _users(OTHER))
        await world.updated(vm)
        if number < 2:
            await world.finish_install(vm, AMA)
            world.now += timedelta(hours=1)
    return vm


async def test_the_third_time_within_a_week_a_person_decides() -> None:
    world = world_of()
    vm = await at_war(world)
    row = row_of(world, vm)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "contested")


@pytest.mark.parametrize(
    ("given", "outcome"),
    [(_users(FOREIGN, OTHER), (Outcome.FAILED, "contested")), (_users(OTHER), (Outcome.INSTALLED, ""))],
    ids=["the agent still finds none", "somebody gave it the one that it finds"],
)
@pytest.mark.parametrize("fails", [0, 1, 2])
async def test_an_agent_of_ours_stays_ours_after_a_war_also_where_reads_fail(
    given: dict[str, Any], outcome: tuple[Outcome, str], fails: int
) -> None:
    world = world_of()
    vm = await at_war(world)
    assert row_of(world, vm).cause == "contested"
    await world.updated(vm)
    assert row_of(world, vm).cause == "contested", "what was given up is still ours"
    world.arm.machines[vm.key]["identity"] = deepcopy(given)
    for _ in range(fails):
        world.arm.read_errors = [Evidence(http_status=429, code="TooManyRequests")]
        await world.updated(vm)
        assert row_of(world, vm).outcome is Outcome.WAITING
        world.now += timedelta(minutes=1)
    if fails:
        await world.run_latest_check()
    else:
        await world.updated(vm)
    assert (row_of(world, vm).outcome, row_of(world, vm).cause) == outcome


def test_only_ids_of_identities_count_wherever_they_are() -> None:
    has = read_identity(_users(FOREIGN, OTHER))
    (fit,) = plan_identity(has, [IdentityNeed()]).fits
    assert fit == Fit(FOREIGN, there=True, named=True)
    wanted = {"a": [{"b": FOREIGN}]}
    assert misnamed(has, fit, {"a": [{"b": FOREIGN.upper()}]}, wanted) == ""
    assert "id-ama" in misnamed(has, fit, {"a": [[{"b": FOREIGN.replace("id-app", "id-ama")}]]}, wanted)
    assert misnamed(has, fit, {"a": "a text about " + FOREIGN}, wanted) != "", "it names none"
    assert misnamed(has, fit, {"a": "x", "b": None, "c": 3}, {"client": "of an identity"}) == "", (
        "it names it otherwise"
    )


@pytest.mark.parametrize("identity", [SYSTEM, _users(FOREIGN), _users(FOREIGN, OTHER)], ids=["system", "one", "two"])
async def test_an_update_of_the_agent_names_the_identity_as_before(identity: dict[str, Any]) -> None:
    world = world_of()
    vm = await onboarded(world, identity)
    assert (await world.sweep_and_reconcile()).requested == 0  # what stands for an identity is no update
    before, steps = named(world), row_of(world, vm).steps
    entry = parse_entry({**AMA_FILE, "version": "1.40"}, "agent.yaml")
    world = world.with_policies(settings=world.app_settings, catalogue={**world.catalogue, AMA: entry})
    await world.sweep_and_reconcile()
    world.now += timedelta(minutes=20)
    assert (await world.sweep_and_reconcile()).outdated == 1
    assert world.arm.bodies[-1]["properties"]["typeHandlerVersion"] == "1.40"
    assert named(world) == before
    await world.finish_install(vm, AMA, version="1.40")
    assert (row_of(world, vm).outcome, row_of(world, vm).steps) == (Outcome.INSTALLED, steps)
