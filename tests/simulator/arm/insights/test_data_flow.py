"""Whether an agent's data flows: ARM says Succeeded in all of these cases, and only the simulator knows more."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import DataFlow, ExtensionSpec, HandlerRun, Machine, Obstacle, VmSpec
from tests.simulator.conftest import MakeScene, Reply, Scene

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers"
LINUX, WINDOWS, ANY = (f"{GROUP}/Microsoft.Insights/dataCollectionRules/dcr-{kind}" for kind in ("l", "w", "any"))
ENDPOINT = f"{GROUP}/Microsoft.Insights/dataCollectionEndpoints/dce"
FIRST, SECOND = (f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}" for name in ("one", "two"))
UBUNTU = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
FLOWS = DataFlow(True)


def named(name: str, value: str) -> dict[str, Any]:
    return {"authentication": {"managedIdentity": {"identifier-name": name, "identifier-value": value}}}


def users(*ids: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {each: {} for each in ids}}


def agent(settings: dict[str, Any] | None = None, **more: Any) -> ExtensionSpec:
    usual = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent", "version": "1.36"}
    return ExtensionSpec(name="AMA", settings=settings or {}, **(usual | more))


def windows_agent() -> ExtensionSpec:
    return agent(type="AzureMonitorWindowsAgent", version="1.2")


async def associate(scene: Scene, machine: Machine, rule: str = LINUX, name: str = "rule") -> Reply:
    resources = scene.arm.insights.resources
    resources.add_rule(LINUX, kind="Linux")
    resources.add_rule(WINDOWS, kind="Windows")
    resources.add_rule(ANY)
    path = f"{machine.id}/providers/Microsoft.Insights/dataCollectionRuleAssociations/{name}"
    body = {"properties": {"dataCollectionRuleId": rule}}
    reply = await scene.call("PUT", path, body, version="2022-06-01")
    assert reply.status == 201
    return reply


BOTH = users(FIRST) | {"type": "SystemAssigned, UserAssigned"}
IDENTITIES: list[tuple[str, Any, dict[str, Any], DataFlow]] = [
    ("none", None, {}, DataFlow(False, Obstacle.NO_IDENTITY)),
    ("system", {"type": "SystemAssigned"}, {}, FLOWS),
    ("one id", users(FIRST), {}, FLOWS),
    ("system and id", BOTH, {}, FLOWS),
    ("two ids", users(FIRST, SECOND), {}, DataFlow(False, Obstacle.AMBIGUOUS)),
    ("two ids, one named", users(FIRST, SECOND), named("mi_res_id", SECOND.upper()), FLOWS),
    ("another named", users(FIRST), named("mi_res_id", SECOND), DataFlow(False, Obstacle.OTHER_IDENTITY)),
    (
        "an id named, only system there",
        {"type": "SystemAssigned"},
        named("mi_res_id", FIRST),
        DataFlow(False, Obstacle.OTHER_IDENTITY),
    ),
    (
        "nested settings",
        users(FIRST, SECOND),
        {"azureMonitorConfiguration": {"configuration": named("mi_res_id", FIRST)}},
        FLOWS,
    ),
]


@pytest.mark.parametrize(
    ("identity", "settings", "expected"), [i[1:] for i in IDENTITIES], ids=[i[0] for i in IDENTITIES]
)
async def test_the_agent_needs_an_identity_that_it_can_choose(
    scene: Scene, identity: Any, settings: dict[str, Any], expected: DataFlow
) -> None:
    machine = scene.add(identity=identity, extensions=(agent(settings),))
    await associate(scene, machine)
    shown = await scene.call("GET", f"{machine.id}/extensions/AMA")
    assert shown.body["properties"]["provisioningState"] == "Succeeded"
    assert scene.arm.data_flows(machine.id.upper()) == expected


async def test_an_identity_can_be_named_by_client_and_object_id(scene: Scene) -> None:
    first, _ = scene.arm.identities.add(FIRST), scene.arm.identities.add(SECOND)
    found = {}
    for number, (name, value) in enumerate([("client_id", first.client_id), ("object_id", first.principal_id)]):
        for crossed in (name, "client_id" if name == "object_id" else "object_id"):
            spec = {"identity": users(FIRST, SECOND), "extensions": (agent(named(crossed, value)),)}
            machine = scene.add(f"web-{number}-{crossed[0]}", **spec)
            await associate(scene, machine)
            found[name, crossed == name] = scene.arm.data_flows(machine.id).flows
    assert found == {("client_id", True): True, ("client_id", False): False} | {
        ("object_id", True): True,
        ("object_id", False): False,
    }


RULES: list[tuple[str, str, tuple[str, ...], DataFlow]] = [
    ("none", "Linux", (), DataFlow(False, Obstacle.NO_RULE)),
    ("its own", "Linux", (LINUX,), FLOWS),
    ("for all", "Linux", (ANY,), FLOWS),
    ("for another system", "Linux", (WINDOWS,), DataFlow(False, Obstacle.OTHER_SYSTEM)),
    ("one of two fits", "Linux", (WINDOWS, LINUX), FLOWS),
    ("windows", "Windows", (WINDOWS,), FLOWS),
    ("windows with a rule for linux", "Windows", (LINUX,), DataFlow(False, Obstacle.OTHER_SYSTEM)),
]


@pytest.mark.parametrize(("os_type", "rules", "expected"), [r[1:] for r in RULES], ids=[r[0] for r in RULES])
async def test_the_machine_needs_a_rule_for_its_system(
    scene: Scene, os_type: str, rules: tuple[str, ...], expected: DataFlow
) -> None:
    installed = windows_agent() if os_type == "Windows" else agent()
    machine = scene.add(os_type=os_type, identity={"type": "SystemAssigned"}, extensions=(installed,))
    for number, rule in enumerate(rules):
        await associate(scene, machine, rule, f"rule-{number}")
    assert scene.arm.data_flows(machine.id) == expected


async def test_an_endpoint_alone_is_no_rule_and_a_removed_rule_neither(scene: Scene) -> None:
    machine = scene.add(identity={"type": "SystemAssigned"}, extensions=(agent(),))
    await associate(scene, machine)
    scene.arm.insights.resources.add_endpoint(ENDPOINT)
    path = f"{machine.id}/providers/Microsoft.Insights/dataCollectionRuleAssociations/configurationAccessEndpoint"
    body = {"properties": {"dataCollectionEndpointId": ENDPOINT}}
    assert (await scene.call("PUT", path, body, version="2022-06-01")).status == 201
    assert scene.arm.data_flows(machine.id) == FLOWS
    scene.arm.insights.remove(LINUX)
    assert scene.arm.data_flows(machine.id).reason == Obstacle.NO_RULE


async def test_what_else_stops_the_data(scene: Scene) -> None:
    identity = users(FIRST)
    machines = {
        "blocked": scene.add("blocked", identity=identity, extensions=(agent(),), network_blocked=True),
        "old endpoints": scene.add("old", identity=identity, extensions=(agent(),), old_endpoints_only=True),
        "failed": scene.add("failed", identity=identity, extensions=(agent(failed_with=HandlerRun(exit_code=52)),)),
        "bare": scene.add("bare", identity=identity),
        "stopped": scene.add("stopped", identity=identity, extensions=(agent(),)),
        "fine": scene.add("fine", identity=identity, extensions=(agent(),)),
    }
    for machine in machines.values():
        await associate(scene, machine)
    scene.arm.deallocate_vm(machines["stopped"].id)
    reasons = {name: scene.arm.data_flows(machine.id).reason for name, machine in machines.items()}
    assert reasons == {
        "blocked": Obstacle.NETWORK,
        "old endpoints": Obstacle.NETWORK,
        "failed": Obstacle.AGENT_FAILED,
        "bare": Obstacle.NO_AGENT,
        "stopped": Obstacle.NOT_RUNNING,
        "fine": "",
    }
    scene.arm.block_network(machines["blocked"].id, blocked=False)
    scene.arm.block_network(machines["fine"].id)
    assert [scene.arm.data_flows(machines[name].id).flows for name in ("blocked", "fine")] == [True, False]
    scene.arm.identities.delete(FIRST)
    assert scene.arm.data_flows(machines["blocked"].id).reason == Obstacle.DELETED_IDENTITY


async def test_an_identity_that_comes_after_the_agent_serves_after_a_restart(scene: Scene) -> None:
    machine = scene.add(extensions=(agent(),))
    await associate(scene, machine)
    await scene.clock.advance(100)
    scene.arm.update_vm(machine.id, {"identity": {"type": "SystemAssigned"}})
    assert scene.arm.data_flows(machine.id).reason == Obstacle.NO_IDENTITY
    await scene.clock.advance(60)
    assert scene.arm.data_flows(machine.id).reason == Obstacle.LATE_IDENTITY
    scene.arm.restart_vm(machine.id)
    await scene.clock.advance(300)
    assert scene.arm.data_flows(machine.id) == FLOWS


async def test_it_serves_after_the_handler_ran_again_and_at_once_if_agents_notice(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene()
    machine = scene.add(extensions=(agent(),), image=UBUNTU)
    await associate(scene, machine)
    await scene.clock.advance(100)
    scene.arm.update_vm(machine.id, {"identity": {"type": "SystemAssigned"}})
    await scene.clock.advance(60)
    scene.arm.put_extension_as_other_deployer(machine.id, agent())
    await scene.clock.advance(1_000)
    assert scene.arm.data_flows(machine.id) == FLOWS
    noticing: Scene = await make_scene(notices_late_identity=True)
    other = noticing.add(extensions=(agent(),))
    await associate(noticing, other)
    await noticing.clock.advance(100)
    noticing.arm.update_vm(other.id, {"identity": {"type": "SystemAssigned"}})
    await noticing.clock.advance(60)
    assert noticing.arm.data_flows(other.id) == FLOWS


async def test_the_admin_endpoint_tells_it_of_every_machine(scene: Scene) -> None:
    fine = scene.add(identity={"type": "SystemAssigned"}, extensions=(agent(),))
    scene.arm.create_vm(VmSpec(name="web-2"))
    await associate(scene, fine)
    async with scene.session.get(f"{scene.endpoints.admin}/machines") as response:
        found = {each["id"].rpartition("/")[2]: each for each in await response.json()}
    assert (found["web-1"]["dataFlows"], found["web-1"]["reason"]) == (True, "")
    assert (found["web-2"]["dataFlows"], found["web-2"]["reason"]) == (False, "the machine does not run")
