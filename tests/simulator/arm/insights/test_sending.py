"""Which agents send at each moment, and the gaps in which none does: who began each of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from simulator.arm import ExtensionSpec, Gap, HandlerRun, Machine, Options, VmSpec
from simulator.arm.events import other_deployer, owner
from simulator.arm.http.faults import FaultRule
from simulator.arm.insights.agent_settings import NEW_AGENT, OLD_AGENT
from tests.simulator.conftest import OMS, WORKSPACE, Scene, oms_body

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers"
RULE = f"{GROUP}/Microsoft.Insights/dataCollectionRules/dcr"
TARGET = f"{GROUP}/Microsoft.OperationalInsights/workspaces/log"
IDENTITY = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/id-one"
OURS = Options().principal_id
OLD = ExtensionSpec(name="OMS", version="1.3", settings={"workspaceId": WORKSPACE}, **OMS)
NEW = ExtensionSpec(name="AMA", publisher="Microsoft.Azure.Monitor", type="AzureMonitorLinuxAgent", version="1.36")


def add(scene: Scene, *extensions: ExtensionSpec, name: str = "web-1", rule: bool = True, **spec: Any) -> Machine:
    """A VM with a system identity and these agents, associated with a rule."""
    machine = scene.add(name, identity={"type": "SystemAssigned"}, extensions=extensions, **spec)
    if rule:
        scene.arm.insights.workspaces.add(TARGET)
        scene.arm.insights.resources.add_rule(RULE, workspace=TARGET)
        scene.arm.associate_as_other_deployer(machine.id, "ours", RULE)
    return machine


def sending(scene: Scene, machine: Machine) -> set[str]:
    return set(scene.arm.insights.sending.now(machine))


def begun(gaps: Sequence[Gap]) -> list[tuple[str, str, bool]]:
    return [(gap.principal, gap.operation.rpartition("virtualMachines/")[2], gap.ended is not None) for gap in gaps]


async def test_both_agents_send_beside_each_other_each_to_its_workspace(scene: Scene) -> None:
    machine = add(scene, OLD, NEW)
    target = scene.arm.insights.workspaces.find(TARGET)
    assert target is not None
    assert scene.arm.insights.sending.now(machine) == {NEW_AGENT: {target.guid}, OLD_AGENT: {WORKSPACE}}
    assert sending(scene, scene.add("bare")) == set()


async def test_a_removal_of_the_old_agent_leaves_no_gap_while_the_new_one_sends(scene: Scene) -> None:
    machine = add(scene, OLD, NEW)
    await scene.call("DELETE", f"{machine.id}/extensions/OMS")
    await scene.clock.advance(5)
    assert sending(scene, machine) == {OLD_AGENT, NEW_AGENT}  # it sends until its handler has uninstalled it
    await scene.clock.advance(200)
    assert sending(scene, machine) == {NEW_AGENT}
    assert scene.arm.gaps == ()


async def test_our_removal_of_the_last_agent_begins_a_gap_of_ours_that_an_install_ends(scene: Scene) -> None:
    machine = add(scene, OLD)
    began = scene.clock.now()
    await scene.call("DELETE", f"{machine.id}/extensions/OMS")
    await scene.clock.advance(200)
    (gap,) = scene.arm.gaps
    assert (gap.vm, gap.principal, gap.ended) == (machine.key, OURS, None)
    assert gap.operation == "Microsoft.Compute/virtualMachines/extensions/delete"
    assert gap.resource == f"{machine.id}/extensions/OMS"
    assert 14 <= (gap.began - began).total_seconds() <= 101
    accepted = await scene.call("PUT", f"{machine.id}/extensions/OMS", oms_body())
    await scene.clock.advance(1_000)
    assert begun(scene.arm.gaps) == [(OURS, "extensions/delete", True)]
    operation_ended = datetime.fromisoformat((await scene.poll(accepted)).body["endTime"])
    (gap,) = scene.arm.gaps
    assert gap.ended is not None
    assert 4 <= (operation_ended - gap.ended).total_seconds() <= 25  # the handler is done before ARM knows it


async def test_a_gap_says_why_the_new_agent_does_not_send_and_who_stopped_it_when(scene: Scene) -> None:
    firewalled = add(scene, OLD, NEW, old_endpoints_only=True)
    assert sending(scene, firewalled) == {OLD_AGENT}
    stopped = add(scene, OLD, NEW, name="web-2")
    again = add(scene, OLD, NEW, name="web-3")
    for machine in (stopped, again):
        scene.arm.dissociate_as_other_deployer(machine.id, RULE)
    scene.arm.associate_as_other_deployer(again.id, "again", RULE)
    stopped_at = scene.clock.now()
    await scene.clock.advance(60)
    scene.arm.block_network(again.id)
    blocked_at = scene.clock.now()
    for machine in (firewalled, stopped):
        await scene.call("DELETE", f"{machine.id}/extensions/OMS")
    await scene.clock.advance(200)
    found = {gap.vm: (gap.reason, gap.silenced_at, gap.silenced_by) for gap in scene.arm.gaps}
    assert found == {
        firewalled.key: ("the network is blocked", None, ""),
        stopped.key: ("no data collection rule is associated", stopped_at, other_deployer().principal),
        again.key: ("the network is blocked", blocked_at, ""),
    }


async def test_a_gap_says_which_reason_there_was_before_that_one(scene: Scene) -> None:
    """The network was blocked from the beginning; then somebody removed the association, which ARM shows."""
    machine = add(scene, OLD, NEW, old_endpoints_only=True)
    sending(scene, machine)
    await scene.clock.advance(60)
    scene.arm.dissociate_as_other_deployer(machine.id, RULE)
    removed_at = scene.clock.now()
    await scene.clock.advance(60)
    await scene.call("DELETE", f"{machine.id}/extensions/OMS")
    await scene.clock.advance(200)
    (gap,) = scene.arm.gaps
    assert (gap.reason, gap.silenced_at) == ("no data collection rule is associated", None)
    assert (gap.reason_before, gap.reason_since) == ("the network is blocked", removed_at)


async def test_a_removal_that_fails_is_no_gap_and_a_purge_by_hand_is_one_of_its_person(scene: Scene) -> None:
    machine, other = add(scene, OLD), add(scene, OLD, name="web-2")
    scene.arm.faults.add(FaultRule(kind="extension-delete", ends_with={"code": "X", "message": "failed"}))
    await scene.call("DELETE", f"{machine.id}/extensions/OMS")
    await scene.clock.advance(200)
    assert machine.extensions["oms"].provisioning_state == "Failed"
    assert scene.arm.gaps == ()
    scene.arm.purge_agent(other.id, "OMS")
    assert begun(scene.arm.gaps) == [(owner().principal, "purge", False)]


async def test_other_people_and_the_network_begin_gaps_of_their_own(scene: Scene) -> None:
    removed, unruled, blocked = (add(scene, NEW, name=f"web-{number}") for number in range(3))
    scene.arm.delete_extension_as_other_deployer(removed.id, "AMA")
    await scene.clock.advance(200)
    scene.arm.block_network(blocked.id)
    await scene.clock.advance(60)
    scene.arm.block_network(blocked.id, blocked=False)
    path = f"{unruled.id}/providers/Microsoft.Insights/dataCollectionRuleAssociations/ours"
    await scene.call("DELETE", path, version="2022-06-01")
    assert begun(scene.arm.gaps) == [
        (other_deployer().principal, "extensions/delete", False),
        ("", "network", True),
        (OURS, "Microsoft.Insights/dataCollectionRuleAssociations/delete", False),
    ]
    scene.arm.associate_as_other_deployer(unruled.id, "again", RULE)
    assert scene.arm.gaps[-1].ended == scene.clock.now()


async def test_the_deletion_of_a_rule_is_its_owners_and_that_of_an_identity_is_nobodys(scene: Scene) -> None:
    add(scene, NEW)
    scene.arm.insights.remove(RULE)
    scene.arm.identities.add(IDENTITY)
    spec = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    machine = scene.add("web-2", identity=spec, extensions=(NEW,))
    scene.arm.insights.resources.add_rule(RULE)
    scene.arm.associate_as_other_deployer(machine.id, "ours", RULE)
    scene.arm.identities.delete(IDENTITY)
    assert [(gap.principal, gap.operation) for gap in scene.arm.gaps] == [
        (owner().principal, "Microsoft.Insights/dataCollectionRuleAssociations/delete"),
        ("", ""),
    ]


async def test_a_stop_a_restart_and_a_deletion_of_the_machine_are_no_gaps(scene: Scene) -> None:
    machine = add(scene, OLD)
    scene.arm.deallocate_vm(machine.id)
    await scene.clock.advance(200)
    assert sending(scene, machine) == set()
    scene.arm.start_vm(machine.id)
    await scene.clock.advance(400)
    scene.arm.restart_vm(machine.id)
    await scene.clock.advance(400)
    assert sending(scene, machine) == {OLD_AGENT}
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(400)
    assert scene.arm.gaps == ()


async def test_a_gap_ends_with_its_machine_and_another_machine_of_the_same_name_begins_anew(scene: Scene) -> None:
    machine = add(scene, OLD)
    scene.arm.delete_extension_as_other_deployer(machine.id, "OMS")
    await scene.clock.advance(200)
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(400)
    assert [gap.ended is not None for gap in scene.arm.gaps] == [True]
    scene.arm.create_vm(VmSpec(name="web-1"))
    await scene.clock.advance(400)
    assert len(scene.arm.gaps) == 1


@pytest.mark.parametrize(("version", "flows"), [("1.36", True), ("1.42", False)], ids=["settings", "upgrade"])
async def test_a_failed_update_of_the_settings_keeps_the_agent_and_a_failed_upgrade_takes_it(
    scene: Scene, version: str, flows: bool
) -> None:
    failing = HandlerRun(exit_code=53, operation="Enable")
    machine = add(scene, NEW, runs=(failing,))
    if not flows:
        machine.extensions["ama"].handler_version = "1.36.0"
    body = {"publisher": NEW.publisher, "type": NEW.type, "typeHandlerVersion": version}
    properties = {**body, "autoUpgradeMinorVersion": True}
    await scene.call("PUT", f"{machine.id}/extensions/AMA", {"location": "westeurope", "properties": properties})
    assert sending(scene, machine) == {NEW_AGENT}
    await scene.clock.advance(1_000)
    assert machine.extensions["ama"].provisioning_state == "Failed"
    assert bool(sending(scene, machine)) is flows
    assert begun(scene.arm.gaps) == ([] if flows else [(OURS, "extensions/write", False)])


async def test_the_admin_endpoint_tells_who_sends_and_every_gap(scene: Scene) -> None:
    machine = add(scene, OLD, NEW)
    other = add(scene, OLD, name="web-2")
    scene.arm.delete_extension_as_other_deployer(other.id, "OMS")
    await scene.clock.advance(200)
    async with scene.session.get(f"{scene.endpoints.admin}/machines") as response:
        senders = {each["id"]: each["sending"] for each in await response.json()}
    async with scene.session.get(f"{scene.endpoints.admin}/gaps") as response:
        gaps = await response.json()
    assert senders == {machine.id: [NEW_AGENT, OLD_AGENT], other.id: []}
    assert [(gap["vm"], gap["principal"], gap["ended"]) for gap in gaps] == [
        (other.key, other_deployer().principal, None)
    ]
