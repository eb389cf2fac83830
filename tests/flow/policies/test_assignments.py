"""What policies do with existing VMs: existence conditions, exemptions that expire, platforms, several policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.reconcile.row import Outcome, WaitingFor
from tests.flow.world import POLICY, START, WORKSPACE_ID, World, extension, vm_body, vm_id

TYPE = "Microsoft.Compute/virtualMachines/extensions/type"
STATE = "Microsoft.Compute/virtualMachines/extensions/provisioningState"
WORKSPACE = "Microsoft.Compute/virtualMachines/extensions/settings.workspaceId"
SUCCEEDED = {"field": STATE, "equals": "Succeeded"}
HERE = {"allOf": [SUCCEEDED, {"field": WORKSPACE, "equals": WORKSPACE_ID}]}
ELSEWHERE = "00000000-aaaa-bbbb-cccc-000000000000"


def policy(**changes: Any) -> dict[str, Any]:
    return {**POLICY, **changes}


async def test_an_extension_that_meets_the_existence_condition_is_left_alone() -> None:
    world = World(policies=[policy(existenceCondition=HERE)])
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": WORKSPACE_ID}))
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED
    assert world.arm.calls == ["GET"]


async def test_an_extension_that_does_not_meet_it_is_updated_under_its_name() -> None:
    world = World(policies=[policy(existenceCondition=HERE)])
    vm = world.add()
    world.arm.set_extension(vm, extension("OmsAgentForLinux", settings={"workspaceId": ELSEWHERE}))
    await world.created(vm)
    row = world.row(vm)
    assert (row.outcome, row.extension_name) == (Outcome.REQUESTED, "OmsAgentForLinux")
    assert "existenceCondition of policy linux-monitoring does not hold for OmsAgentForLinux" in row.reason
    assert ELSEWHERE in row.reason
    world.arm.set_extension(vm, extension("OmsAgentForLinux", settings={"workspaceId": WORKSPACE_ID}))
    await world.extension_written(vm, "OmsAgentForLinux")
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert world.arm.calls.count("PUT") == 1


async def test_the_sweep_finds_only_extensions_that_do_not_meet_the_condition() -> None:
    world = World(policies=[policy(existenceCondition=HERE)])
    wrong, right = world.add("wrong"), world.add("right")
    world.arm.set_extension(wrong, extension(settings={"workspaceId": ELSEWHERE}))
    world.arm.set_extension(right, extension(settings={"workspaceId": WORKSPACE_ID}))
    assert (await world.sweep_and_reconcile()).missed == 1
    assert world.row(wrong).outcome is Outcome.REQUESTED
    world.arm.set_extension(wrong, extension(settings={"workspaceId": WORKSPACE_ID}))
    await world.installed(wrong)
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).missed == 0
    world.arm.set_extension(wrong, extension(settings={"workspaceId": ELSEWHERE}))
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).drifted == 1
    assert world.arm.calls.count("PUT") == 2


async def test_the_sweep_treats_the_extension_of_another_handler_as_the_policy_does() -> None:
    either = {"field": TYPE, "in": ["OmsAgentForLinux", "AzureMonitorLinuxAgent"]}
    world = World(policies=[policy(existenceCondition=either)])
    vm = world.add()
    successor = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent"}
    world.arm.set_extension(vm, extension("ama", **successor))
    await world.created(vm)
    world.now += timedelta(hours=1)
    report = await world.sweep_and_reconcile()
    assert (report.missed, report.drifted) == (0, 0)


async def test_an_audit_names_what_would_be_updated() -> None:
    world = World(policies=[policy(existenceCondition=HERE, effect="auditIfNotExists")])
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": ELSEWHERE}))
    await world.created(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.AUDITED
    assert "would update OmsAgentForLinux (existenceCondition" in row.reason
    assert world.arm.calls == ["GET"]


async def test_a_condition_that_the_settings_can_never_meet_is_not_tried_twice() -> None:
    world = World(policies=[policy(existenceCondition={"field": WORKSPACE, "equals": ELSEWHERE})])
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": WORKSPACE_ID}))
    await world.created(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.FAILED
    assert "the extension has the policy's settings, but existenceCondition" in row.reason
    assert "agree" in row.advice
    assert world.arm.calls == ["GET"]


async def test_an_extension_of_another_handler_may_be_what_the_policy_wants() -> None:
    either = {"field": TYPE, "in": ["OmsAgentForLinux", "AzureMonitorLinuxAgent"]}
    world = World(policies=[policy(existenceCondition={"allOf": [SUCCEEDED, either]})])
    vm = world.add()
    successor = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent"}
    world.arm.set_extension(vm, extension("ama", **successor))
    await world.created(vm)
    row = world.row(vm)
    assert (row.outcome, row.extension_name) == (Outcome.ALREADY_INSTALLED, "ama")
    assert "holds for ama" in row.reason
    world.arm.machines[vm.key]["resources"] = []
    await world.extension_deleted(vm, "ama")
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_another_handlers_extension_counts_for_nothing_without_a_condition() -> None:
    world = World()
    vm = world.add()
    world.arm.set_extension(vm, extension("ama", publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent"))
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_vm_on_another_workspace_than_its_policy_says_shows_it() -> None:
    world = World()
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": ELSEWHERE}))
    await world.created(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.ALREADY_INSTALLED
    assert f"its workspaceId is {ELSEWHERE}, policy linux-monitoring says {WORKSPACE_ID}" in row.reason


async def test_an_exemption_that_expires_tomorrow() -> None:
    exemption = {"scope": str(vm_id()), "reason": "rebuilt on Friday", "expiresOn": "2026-11-21"}
    world = World(policies=[policy(exemptions=[exemption])])
    vm = world.add()
    await world.created(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.OUT_OF_SCOPE
    assert row.reason == "exempt from policy linux-monitoring (Waiver until 2026-11-21: rebuilt on Friday)"
    world.now = START + timedelta(days=1)
    await world.updated(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.REQUESTED
    assert "its exemption has ended (Waiver until 2026-11-21: rebuilt on Friday)" in row.reason
    assert world.arm.calls == ["GET", "GET", "PUT"]


DATABRICKS = {"Vendor": "Databricks", "databricks-environment": "true"}
AKS = {"publisher": "microsoft-aks", "offer": "aks", "sku": "aks-ubuntu-1604-201907", "version": "2019.07.30"}
FLEXIBLE = "/subscriptions/s/resourceGroups/app-rg/providers/Microsoft.Compute/virtualMachineScaleSets/flex"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (vm_body(image=AKS), "a node of Azure Kubernetes Service"),
        (vm_body(tags={"aks-managed-poolName": "np1"}), "a node of Azure Kubernetes Service"),
        (vm_body(tags=DATABRICKS), "a node of Azure Databricks"),
        ({**vm_body(), "managedBy": "/subscriptions/s/providers/Microsoft.X/y/z"}, "managed by /subscriptions/s"),
    ],
)
@pytest.mark.parametrize("include", [False, True])
async def test_vms_that_a_platform_manages_are_left_alone_unless_a_policy_includes_them(
    body: dict[str, Any], says: str, *, include: bool
) -> None:
    world = World(policies=[policy(includeManaged=include)])
    vm = world.add()
    world.arm.machines[vm.key] = body
    await world.created(vm)
    row = world.row(vm)
    assert (row.outcome is Outcome.OUT_OF_SCOPE) is not include
    assert (says in row.reason) is not include


async def test_a_vm_of_a_flexible_scale_set_is_a_vm_like_any_other() -> None:
    world = World()
    vm = world.add()
    body = {**vm_body(), "managedBy": FLEXIBLE}
    body["properties"]["virtualMachineScaleSet"] = {"id": FLEXIBLE}
    world.arm.machines[vm.key] = body
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_group_with_a_name_like_that_of_a_cluster_is_not_managed() -> None:
    world = World()
    vm = world.add()
    body = world.arm.machines[vm.key]
    body["id"] = body["id"].replace("app-rg", "MC_Donalds")
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


EU = "11111111-aaaa-bbbb-cccc-000000000000"
US = "22222222-aaaa-bbbb-cccc-000000000000"


async def test_two_workspaces_by_region() -> None:
    def regional(name: str, region: str, workspace: str) -> dict[str, Any]:
        return policy(name=name, rule={"field": "location", "equals": region}, settings={"workspaceId": workspace})

    world = World(policies=[regional("a-eu", "westeurope", EU), regional("b-us", "eastus", US)])
    here, there = world.add("here"), world.add("there")
    world.arm.machines[there.key]["location"] = "eastus"
    for vm in (here, there):
        await world.created(vm)
    assert [body["properties"]["settings"]["workspaceId"] for body in world.arm.bodies] == [EU, US]
    assert [world.row(vm).policy for vm in (here, there)] == ["a-eu", "b-us"]


async def test_the_first_file_that_selects_the_vm_decides_for_its_extension() -> None:
    unreached = policy(name="a", rule={"field": "location", "equals": "eastus"})
    world = World(policies=[unreached, policy(name="b"), policy(name="c", effect="auditIfNotExists")])
    vm = world.add()
    await world.created(vm)
    assert (world.row(vm).policy, world.row(vm).waiting_for) == ("b", WaitingFor.INSTALL)
