"""Roles: a principal that has any may do only what they allow; and the record of all operations that were needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.arm import Machine, Role, read_role
from tests.simulator.conftest import AUDIENCE, Reply, Scene, oms_body

SUBSCRIPTION = "/subscriptions/00000000-0000-4000-8000-000000000001"
INSTALLER = {
    "Name": "VM Extension Installer",
    "Actions": [
        "Microsoft.Compute/virtualMachines/read",
        "Microsoft.Compute/virtualMachines/extensions/*",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ],
    "NotActions": ["microsoft.compute/virtualmachines/extensions/DELETE"],
    "AssignableScopes": [SUBSCRIPTION],
}


class Client:
    """Calls ARM as one principal."""

    def __init__(self, scene: Scene, principal: str) -> None:
        self._scene = scene
        self._header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, principal).value}"}

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return await self._scene.call(method, path, body, headers=self._header, **options)


async def _use(client: Client, machine: Machine) -> list[int]:
    """A read, an install, a read of the group, a removal."""
    extension = f"{machine.id}/extensions/OMSExtension"
    return [
        (await client.call("GET", machine.id)).status,
        (await client.call("PUT", extension, oms_body())).status,
        (await client.call("GET", machine.id.partition("/providers")[0])).status,
        (await client.call("DELETE", extension)).status,
    ]


@pytest.mark.parametrize(
    "definition",
    [
        INSTALLER,
        {"properties": {"permissions": [{"actions": INSTALLER["Actions"], "notActions": INSTALLER["NotActions"]}]}},
    ],
    ids=["az", "arm"],
)
async def test_a_role_allows_its_actions_without_its_not_actions(scene: Scene, definition: dict[str, Any]) -> None:
    machine = scene.add()
    scene.arm.scopes.assign("installer", SUBSCRIPTION, read_role(json.loads(json.dumps(definition))))
    client = Client(scene, "installer")
    assert await _use(client, machine) == [200, 201, 200, 403]
    refused = await client.call("DELETE", f"{machine.id}/extensions/OMSExtension")
    assert refused.code == "AuthorizationFailed"
    assert refused.message.startswith(
        "The client 'installer' with object id 'installer' does not have authorization to perform action "
        f"'Microsoft.Compute/virtualMachines/extensions/delete' over scope '{machine.id}/extensions/OMSExtension' or "
    )


async def test_a_role_counts_only_below_its_scope(scene: Scene) -> None:
    web, db = scene.add("web-1", group="rg-web"), scene.add("db-1", group="rg-web-2")
    scene.arm.scopes.assign("reader", f"{SUBSCRIPTION}/resourceGroups/RG-WEB", Role(("*/read",)))
    client = Client(scene, "reader")
    statuses = [(await client.call("GET", path)).status for path in (web.id, db.id, SUBSCRIPTION)]
    assert statuses == [200, 403, 403]


async def test_what_was_needed_is_recorded_and_compared_with_roles(scene: Scene) -> None:
    machine, needed = scene.add(), scene.arm.scopes.needed
    await _use(Client(scene, "free"), machine)
    scene.arm.scopes.assign("bound", "/", Role(("*/read",)))
    await Client(scene, "bound").call("PUT", f"{machine.id}/extensions/X", oms_body())
    compute = "Microsoft.Compute/virtualMachines"
    assert needed.of("free") == {
        f"{compute}/read",
        f"{compute}/extensions/write",
        f"{compute}/extensions/delete",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    }
    assert needed.missing([read_role(INSTALLER)], "free") == {f"{compute}/extensions/delete"}
    assert needed.missing([read_role(INSTALLER), Role(("*/delete",))], "free") == set()
    assert [(each.method, each.granted) for each in needed if each.principal == "bound"] == [("PUT", False)]


async def test_links_and_queries_are_needed_too(scene: Scene) -> None:
    identity = f"{SUBSCRIPTION}/resourceGroups/rg-x/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id"
    rule = f"{SUBSCRIPTION}/resourceGroups/rg-x/providers/Microsoft.Insights/dataCollectionRules/dcr"
    scene.arm.identities.add(identity)
    scene.arm.insights.resources.add_rule(rule)
    machine, client = scene.add(), Client(scene, "product")
    change = {"identity": {"type": "UserAssigned", "userAssignedIdentities": {identity: {}}}}
    await client.call("PATCH", machine.id, change)
    association = f"{machine.id}/providers/Microsoft.Insights/dataCollectionRuleAssociations/a"
    body = {"properties": {"dataCollectionRuleId": rule}}
    await client.call("PUT", association, body, version="2022-06-01")
    for table in ("resources", "insightsresources"):
        query = {"query": f"{table}\n| project id"}
        await client.call("POST", "/providers/Microsoft.ResourceGraph/resources", query, version="2022-10-01")
    assert scene.arm.scopes.needed.of("product") == {
        "Microsoft.Compute/virtualMachines/write",
        "Microsoft.Compute/virtualMachines/read",
        "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
        "Microsoft.Insights/dataCollectionRuleAssociations/write",
        "Microsoft.Insights/dataCollectionRuleAssociations/read",
        "Microsoft.Insights/dataCollectionRules/read",
    }
    linked = {each.scope for each in scene.arm.scopes.needed if each.linked}
    assert linked == {identity, rule}
    async with scene.session.get(f"{scene.endpoints.admin}/actions") as response:
        assert len(await response.json()) == len(list(scene.arm.scopes.needed))


async def test_the_provider_has_operations_of_its_own(scene: Scene) -> None:
    provider = f"{SUBSCRIPTION}/providers/Microsoft.Compute"
    scene.arm.scopes.assign("reader", SUBSCRIPTION, Role(("*/read",)))
    client = Client(scene, "reader")
    assert (await client.call("GET", provider, version="2022-12-01")).status == 200
    refused = await client.call("POST", f"{provider}/register", version="2022-12-01")
    assert (refused.status, refused.code) == (403, "AuthorizationFailed")
    assert "Microsoft.Compute/register/action" in refused.message


def test_a_definition_without_actions_is_refused() -> None:
    with pytest.raises(ValueError, match="has no actions; write them as a list under 'Actions'"):
        read_role({"Name": "x", "NotActions": ["*"]})
