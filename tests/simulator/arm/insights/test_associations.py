"""Associations of VMs with data collection rules and endpoints, over HTTP and in Resource Graph."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.azure.arm.graph_queries import ASSOCIATIONS
from simulator.arm import FaultRule, Machine, Role
from tests.simulator.conftest import AUDIENCE, MakeScene, Reply, Scene, oms_body

VERSION = "2022-06-01"
OWN = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-monitor/providers/Microsoft.Insights"
FAR = "/subscriptions/00000000-0000-4000-8000-000000000009/resourceGroups/rg-central/providers/Microsoft.Insights"
RULE, FAR_RULE = f"{OWN}/dataCollectionRules/dcr-linux", f"{FAR}/dataCollectionRules/dcr-all"
ENDPOINT = f"{OWN}/dataCollectionEndpoints/dce-one"
PATH = "/providers/Microsoft.Insights/dataCollectionRuleAssociations"


@pytest.fixture
def machine(scene: Scene) -> Machine:
    prepare(scene)
    return scene.add()


def prepare(scene: Scene) -> None:
    scene.arm.insights.resources.add_rule(RULE, kind="Linux")
    scene.arm.insights.resources.add_rule(FAR_RULE, workspace=f"{FAR}/workspaces/w")
    scene.arm.insights.resources.add_endpoint(ENDPOINT)


def to_rule(resource_id: str = RULE) -> dict[str, Any]:
    return {"properties": {"dataCollectionRuleId": resource_id, "description": "ours"}}


def to_endpoint(resource_id: str = ENDPOINT) -> dict[str, Any]:
    return {"properties": {"dataCollectionEndpointId": resource_id}}


async def call(scene: Scene, method: str, path: str, body: Any = None, **options: Any) -> Reply:
    return await scene.call(method, path, body, **({"version": VERSION} | options))


async def put(scene: Scene, machine: Machine, name: str, body: Any, **options: Any) -> Reply:
    return await call(scene, "PUT", f"{machine.id}{PATH}/{name}", body, **options)


async def test_a_new_association_is_201_and_complete_at_once(scene: Scene, machine: Machine) -> None:
    reply = await put(scene, machine, "assoc-one", to_rule())
    assert reply.status == 201
    assert not {"Azure-AsyncOperation", "Location"} & set(reply.headers)
    assert set(reply.body) == {"id", "name", "type", "etag", "properties", "systemData"}
    assert reply.body["id"] == f"{machine.id}{PATH}/assoc-one"
    assert reply.body["type"] == "Microsoft.Insights/dataCollectionRuleAssociations"
    assert reply.body["properties"] == {"dataCollectionRuleId": RULE, "provisioningState": "Succeeded"}
    assert (await call(scene, "GET", f"{machine.id}{PATH}/assoc-one")).body == reply.body
    assert scene.events == []


async def test_names_are_case_insensitive_and_a_second_write_is_200_with_a_new_etag(
    scene: Scene, machine: Machine
) -> None:
    first = await put(scene, machine, "Assoc-One", to_rule())
    second = await put(scene, machine, "ASSOC-ONE", to_rule(FAR_RULE))
    assert (second.status, second.body["name"]) == (200, "Assoc-One")
    assert second.body["properties"]["dataCollectionRuleId"] == FAR_RULE
    assert second.body["etag"] != first.body["etag"]
    assert second.body["systemData"]["createdAt"] == first.body["systemData"]["createdAt"]
    listed = (await call(scene, "GET", f"{machine.id}{PATH}")).body["value"]
    assert listed == [second.body]


async def test_it_needs_neither_agent_nor_running_machine_nor_a_free_one(scene: Scene, machine: Machine) -> None:
    await scene.put_oms(machine)
    assert (await put(scene, machine, "during-a-write", to_rule())).status == 201
    await scene.clock.advance(1_000)
    scene.arm.deallocate_vm(machine.id)
    await scene.clock.advance(200)
    assert (await put(scene, machine, "deallocated", to_rule())).status == 201


async def test_the_same_rule_under_two_names_are_two_associations_and_lists_have_pages(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(page_size=2)
    prepare(scene)
    web, other = scene.add(), scene.add("web-2")
    for machine, name in ((web, "a"), (web, "b"), (web, "c"), (other, "a")):
        await put(scene, machine, name, to_rule())
    await put(scene, web, "configurationAccessEndpoint", to_endpoint())
    await put(scene, other, "far", to_rule(FAR_RULE))
    found = {}
    for path in (f"{web.id}{PATH}", f"{RULE}/associations", f"{ENDPOINT}/associations", f"{FAR_RULE}/associations"):
        names, link = [], path
        while link:
            reply = await call(scene, "GET", link)
            assert len(reply.body["value"]) <= 2
            names += [each["name"] for each in reply.body["value"]]
            link = reply.body.get("nextLink")
        found[path.rpartition("/")[0].rpartition("/")[2]] = names
    assert found == {
        "Microsoft.Insights": ["a", "b", "c", "configurationAccessEndpoint"],
        "dcr-linux": ["a", "b", "c", "a"],
        "dce-one": ["configurationAccessEndpoint"],
        "dcr-all": ["far"],
    }


async def test_a_removal_is_200_and_204_when_there_is_nothing(scene: Scene, machine: Machine) -> None:
    await put(scene, machine, "assoc-one", to_rule())
    statuses = [(await call(scene, "DELETE", f"{machine.id}{PATH}/Assoc-ONE")).status for _ in range(2)]
    assert statuses == [200, 204]
    gone = await call(scene, "GET", f"{machine.id}{PATH}/assoc-one")
    assert (gone.status, gone.code) == (404, "ResourceNotFound")


async def test_another_machine_of_the_same_id_begins_without_associations(scene: Scene, machine: Machine) -> None:
    await put(scene, machine, "one", to_rule())
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(200)
    again = scene.add()
    assert (await call(scene, "GET", f"{again.id}{PATH}/one")).status == 404
    assert (await call(scene, "DELETE", f"{again.id}{PATH}/one")).status == 204
    assert (await put(scene, again, "one", to_rule())).status == 201
    listed = (await call(scene, "GET", f"{again.id}{PATH}")).body["value"]
    assert [each["name"] for each in listed] == ["one"]


async def test_associations_go_with_their_machine_and_with_their_rule(scene: Scene, machine: Machine) -> None:
    other = scene.add("web-2")
    await put(scene, machine, "one", to_rule())
    await put(scene, machine, "two", to_rule(FAR_RULE))
    await put(scene, other, "one", to_rule())
    scene.arm.insights.remove(FAR_RULE)
    assert [each.name for each in scene.arm.insights.associations.of_machine(machine)] == ["one"]
    scene.arm.delete_vm(machine.id)
    await scene.clock.advance(200)
    again = scene.add()
    assert (await call(scene, "GET", f"{again.id}{PATH}")).body["value"] == []
    assert len((await call(scene, "GET", f"{RULE}/associations")).body["value"]) == 1


REFUSALS: list[tuple[str, str, Any, int, str]] = [
    ("an absent rule", "a", to_rule(f"{RULE}-x"), 404, "NotFound"),
    ("an absent endpoint", "configurationAccessEndpoint", to_endpoint(f"{ENDPOINT}-x"), 404, "NotFound"),
    ("an endpoint as rule", "a", to_rule(ENDPOINT), 404, "NotFound"),
    ("an endpoint under another name", "a", to_endpoint(), 400, "InvalidEndpointAssociationName"),
    ("a rule under the endpoint's name", "ConfigurationAccessEndpoint", to_rule(), 400, "InvalidAssociationName"),
    (
        "both",
        "configurationAccessEndpoint",
        {"properties": to_rule()["properties"] | to_endpoint()["properties"]},
        400,
        "InvalidEndpointAssociation",
    ),
    ("neither", "a", {"properties": {}}, 400, "InvalidPayload"),
    ("no properties", "a", {}, 400, "InvalidPayload"),
    ("flat", "a", {"dataCollectionRuleId": RULE}, 400, "InvalidRequestContent"),
    ("snake_case", "a", {"properties": {"data_collection_rule_id": RULE}}, 400, "BadRequest"),
    ("no id", "a", to_rule("dcr-linux"), 400, "LinkedInvalidPropertyId"),
    (
        "a subscription of another tenant",
        "a",
        to_rule(RULE.replace("0000001/", "0000777/")),
        403,
        "LinkedAuthorizationFailed",
    ),
]


@pytest.mark.parametrize(("name", "body", "status", "code"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS])
async def test_bodies_that_azure_monitor_refuses(
    scene: Scene, machine: Machine, name: str, body: Any, status: int, code: str
) -> None:
    reply = await put(scene, machine, name, body)
    assert (reply.status, reply.code) == (status, code)
    assert scene.arm.insights.associations.all() == []


async def test_paths_and_versions(scene: Scene, machine: Machine) -> None:
    ghost = await call(scene, "PUT", f"{machine.id}-x{PATH}/a", to_rule())
    assert (ghost.status, ghost.code) == (404, "ParentResourceNotFound")
    version = await put(scene, machine, "a", to_rule(), version="2024-11-01")
    assert (version.status, version.code) == (400, "NoRegisteredProviderFound")
    on_the_vm = await scene.call("GET", machine.id, version=VERSION)
    assert (on_the_vm.status, on_the_vm.code) == (400, "NoRegisteredProviderFound")
    assert (await call(scene, "PATCH", f"{machine.id}{PATH}/a", to_rule())).status == 405
    deleting = scene.add("web-9")
    scene.arm.delete_vm(deleting.id)
    assert "marked for deletion" in (await put(scene, deleting, "a", to_rule())).message


async def test_rules_and_endpoints_can_be_read(scene: Scene, machine: Machine) -> None:
    rule = (await call(scene, "GET", RULE.upper().replace("/SUBSCRIPTIONS", "/subscriptions"))).body
    assert (rule["id"], rule["kind"], rule["properties"]["immutableId"][:4]) == (RULE, "Linux", "dcr-")
    far = (await call(scene, "GET", FAR_RULE)).body
    assert "kind" not in far
    assert far["properties"]["destinations"]["logAnalytics"][0]["workspaceResourceId"] == f"{FAR}/workspaces/w"
    assert (await call(scene, "GET", ENDPOINT)).body["type"] == "Microsoft.Insights/dataCollectionEndpoints"
    for path in (f"{RULE}-x", f"{RULE}-x/associations", f"{ENDPOINT}-x"):
        assert (await call(scene, "GET", path)).code == "ResourceNotFound"


async def test_it_takes_the_write_on_the_machine_and_the_read_of_the_rule(scene: Scene, machine: Machine) -> None:
    header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, 'monitor').value}"}
    scene.arm.scopes.assign("monitor", f"{OWN}/dataCollectionRules", Role(("*/read",)))
    refused = await put(scene, machine, "a", to_rule(), headers=header)
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert "action 'Microsoft.Insights/dataCollectionRuleAssociations/write' over scope" in refused.message
    assert f"{machine.id}{PATH}/a" in refused.message
    scene.arm.scopes.assign("monitor", machine.id, Role(("Microsoft.Insights/dataCollectionRuleAssociations/*",)))
    assert (await put(scene, machine, "a", to_rule(), headers=header)).status == 201
    linked = await put(scene, machine, "b", to_rule(FAR_RULE), headers=header)
    assert (linked.status, linked.code) == (403, "LinkedAuthorizationFailed")
    assert f"'Microsoft.Insights/dataCollectionRules/read' on the linked scope(s) '{FAR_RULE}'" in linked.message


async def test_locks_hold_them_and_an_unregistered_compute_provider_does_not(scene: Scene, machine: Machine) -> None:
    scene.arm.scopes.unregistered.add(machine.subscription)
    assert (await put(scene, machine, "a", to_rule())).status == 201
    assert (await call(scene, "PUT", f"{machine.id}/extensions/X", oms_body(), version="2024-11-01")).status == 409
    scene.arm.scopes.lock(machine.id)
    assert (await put(scene, machine, "a", to_rule())).code == "ScopeLocked"


async def test_events_are_an_option(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(association_events=True)
    prepare(scene)
    machine = scene.add()
    await put(scene, machine, "a", to_rule())
    await put(scene, machine, "a", to_rule())
    await call(scene, "DELETE", f"{machine.id}{PATH}/a")
    operation = "Microsoft.Insights/dataCollectionRuleAssociations"
    assert [(event["eventType"].rpartition(".")[2], event["data"]["operationName"]) for event in scene.events] == [
        ("ResourceWriteSuccess", f"{operation}/write"),
        ("ResourceWriteSuccess", f"{operation}/write"),
        ("ResourceDeleteSuccess", f"{operation}/delete"),
    ]
    assert {event["subject"].lower() for event in scene.events} == {f"{machine.id}{PATH}/a".lower()}
    assert {event["data"]["resourceProvider"] for event in scene.events} == {"Microsoft.Insights"}


async def test_somebody_else_may_remove_those_with_a_rule(scene: Scene, machine: Machine) -> None:
    for name, rule in (("a", RULE), ("b", FAR_RULE), ("c", RULE.upper())):
        await put(scene, machine, name, to_rule(rule))
    assert scene.arm.dissociate_as_other_deployer(machine.id, RULE) == 2
    assert [each.name for each in scene.arm.insights.associations.of_machine(machine)] == ["b"]
    assert scene.arm.dissociate_as_other_deployer(machine.id, RULE) == 0


async def test_faults_of_associations_are_scripted_like_others(scene: Scene, machine: Machine) -> None:
    scene.arm.faults.add(
        FaultRule(vm="web-*", kind="association-put", nth=(1,), status=500, code="InternalServerError")
    )
    assert [(await put(scene, machine, "a", to_rule())).status for _ in range(2)] == [500, 201]
    assert scene.arm.requests.kinds(vm=machine.id) == {"association-put": 2}


async def query(scene: Scene, text: str, **options: Any) -> list[dict[str, Any]]:
    path = "/providers/Microsoft.ResourceGraph/resources"
    reply = await scene.call("POST", path, {"query": text}, version="2022-10-01", **options)
    assert reply.status == 200, reply
    rows: list[dict[str, Any]] = reply.body["data"]
    return rows


async def test_resource_graph_lists_them_by_machine(scene: Scene, machine: Machine) -> None:
    other = scene.add("web-2")
    await put(scene, machine, "one", to_rule())
    await put(scene, machine, "configurationAccessEndpoint", to_endpoint())
    await put(scene, other, "far", to_rule(FAR_RULE))
    rows = await query(scene, ASSOCIATIONS)
    assert [(row["machine"], row["rule"], row["endpoint"]) for row in rows] == [
        (machine.key, "", ENDPOINT.lower()),
        (machine.key, RULE.lower(), ""),
        (other.key, FAR_RULE.lower(), ""),
    ]
    scene.arm.scopes.assign("half", other.id, Role(("*/read",)))
    header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, 'half').value}"}
    assert [row["id"].rpartition("/")[2] for row in await query(scene, ASSOCIATIONS, headers=header)] == ["far"]


async def test_resource_graph_lags_behind_for_associations_too(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(index_lag=60.0)
    prepare(scene)
    machine = scene.add()
    assert await query(scene, ASSOCIATIONS) == []
    await put(scene, machine, "one", to_rule())
    assert await query(scene, ASSOCIATIONS) == []
    await scene.clock.advance(61)
    assert len(await query(scene, ASSOCIATIONS)) == 1
