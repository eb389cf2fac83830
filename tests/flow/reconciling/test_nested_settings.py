"""Extensions with nested settings: what is sent, and what of what ARM shows afterwards is drift."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from tests.extension_examples import APP_SETTINGS, AZURE_MONITOR, CERTIFICATE, KEY_VAULT_LINUX, POLICIES
from tests.flow.world import World, extension
from tests.reference import parse_entry

MONITOR, VAULT = str(AZURE_MONITOR["name"]), str(KEY_VAULT_LINUX["name"])
NESTED = [
    {key: value for key, value in policy.items() if key != "rule"}
    for policy in POLICIES
    if policy["extension"] in (MONITOR, VAULT)
]


def world_of(policy: dict[str, Any], **changes: Any) -> World:
    """A world with one policy, whose catalogue entry has these changes."""
    raw = next(each for each in (AZURE_MONITOR, KEY_VAULT_LINUX) if each["name"] == policy["extension"])
    entry = parse_entry({**raw, **changes}, f"{raw['name']}.yaml")
    return World([policy], dict(APP_SETTINGS), catalogue={entry.name: entry})


def policy_for(name: str) -> dict[str, Any]:
    return copy.deepcopy(next(policy for policy in NESTED if policy["extension"] == name))


def add(world: World) -> VmId:
    """A VM with the identity that one of the extensions needs."""
    vm = world.add()
    world.arm.machines[vm.key]["identity"] = {"type": "SystemAssigned", "principalId": "of-the-machine"}
    return vm


async def installed(world: World, name: str) -> VmId:
    vm = add(world)
    await world.created(vm)
    (resource,) = world.arm.machines[vm.key]["resources"]
    await world.installed(vm, resource["name"])
    assert world.row(vm, name).outcome is Outcome.INSTALLED
    return vm


@pytest.mark.parametrize("name", [MONITOR, VAULT])
async def test_settings_that_arm_shows_in_another_order_are_no_drift(name: str) -> None:
    world = world_of(policy_for(name))
    vm = await installed(world, name)
    (resource,) = world.arm.machines[vm.key]["resources"]
    settings = resource["properties"]["settings"]
    assert settings == world.arm.bodies[0]["properties"]["settings"]
    resource["properties"]["settings"] = reversed_keys(settings)
    await world.sweep_and_reconcile()
    await world.updated(vm)
    assert world.row(vm, name).outcome is Outcome.INSTALLED
    assert world.arm.calls.count("PUT") == 1


async def test_one_value_inside_that_somebody_changed_is_drift() -> None:
    world = world_of(policy_for(VAULT))
    vm = await installed(world, VAULT)
    (resource,) = world.arm.machines[vm.key]["resources"]
    sent = copy.deepcopy(resource["properties"]["settings"])
    resource["properties"]["settings"]["secretsManagementSettings"]["observedCertificates"].append(
        "https://x.example/y"
    )
    await world.updated(vm)
    assert world.arm.calls.count("PUT") == 2
    assert world.arm.bodies[1]["properties"]["settings"] == sent


async def test_what_others_installed_with_other_values_is_named_by_path() -> None:
    world = world_of(policy_for(MONITOR))
    vm = world.add()
    handler = {key: AZURE_MONITOR[key] for key in ("publisher", "type")}
    settings = {"proxy": {"mode": "Application", "address": "http://other.example:80"}}
    world.arm.set_extension(
        vm, extension("AMA", **handler, typeHandlerVersion=AZURE_MONITOR["version"], settings=settings)
    )
    await world.created(vm)
    row = world.row(vm, MONITOR)
    assert row.outcome is Outcome.ALREADY_INSTALLED
    assert row.reason == (
        "AzureMonitorLinuxAgent was already installed, as AMA; its proxy.address is http://other.example:80, policy"
        " monitor says http://proxy.example:3128"
    )


async def test_settings_inside_that_are_not_there_are_named_too() -> None:
    world = world_of(policy_for(VAULT))
    vm = add(world)
    handler = {key: KEY_VAULT_LINUX[key] for key in ("publisher", "type")}
    settings = {"secretsManagementSettings": {"observedCertificates": [CERTIFICATE], "pollingIntervalInS": "3600"}}
    world.arm.set_extension(
        vm, extension("KeyVault", **handler, typeHandlerVersion=KEY_VAULT_LINUX["version"], settings=settings)
    )
    await world.created(vm)
    assert world.row(vm, VAULT).reason.endswith(
        "; its secretsManagementSettings.retries is missing, policy key-vault-linux says 3"
    )


async def test_a_destination_inside_of_an_object_says_that_a_vm_reports_elsewhere() -> None:
    settings = copy.deepcopy(AZURE_MONITOR["settings"])
    settings["properties"]["proxy"]["properties"]["address"]["destination"] = True
    world = world_of(policy_for(MONITOR), settings=settings)
    vm = world.add()
    handler = {key: AZURE_MONITOR[key] for key in ("publisher", "type")}
    world.arm.set_extension(vm, extension("AMA", **handler, settings={"proxy": {"address": "http://other.example"}}))
    await world.created(vm)
    row = world.row(vm, MONITOR)
    assert (row.outcome, row.cause) == (Outcome.ALREADY_INSTALLED, "already-connected")


async def test_an_entry_that_is_for_other_kinds_of_machine_leaves_a_vm_alone() -> None:
    world = world_of(policy_for(VAULT), machines=["arc", "scaleSet"])
    vm = world.add()
    await world.created(vm)
    row = world.row(vm, VAULT)
    assert (row.outcome, row.reason) == (
        Outcome.OUT_OF_SCOPE,
        "a VM; key-vault-linux is for machines of kind arc and scaleSet",
    )
    assert world.arm.calls == ["GET"]


async def test_a_bad_value_of_an_app_setting_is_named_by_its_path() -> None:
    policy = policy_for(VAULT)
    policy["settings"]["secretsManagementSettings"]["observedCertificates"].append("{CERTIFICATE}")
    world = world_of(policy)
    world.app_settings["CERTIFICATE"] = "not a uri"
    vm = world.add()
    await world.created(vm)
    row = world.row(vm, VAULT)
    assert row.outcome is Outcome.FAILED
    assert "settings.secretsManagementSettings.observedCertificates[1] must be a URI" in row.reason
    assert "from app setting CERTIFICATE" in row.reason
    assert "not a uri" not in row.reason


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value
