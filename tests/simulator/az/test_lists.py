"""ARM's own lists: tenants, regions, providers, groups, resources, network interfaces, extensions to install."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import ExtensionSpec, Options
from tests.az.scenery import IDENTITY, RULE, SUBSCRIPTION, furnish, vm_id
from tests.simulator.conftest import AUDIENCE, OMS, Scene

SCOPE = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{SCOPE}/resourceGroups/rg-elsewhere"


async def listed(scene: Scene, path: str, **options: Any) -> list[dict[str, Any]]:
    reply = await scene.call("GET", path, **options)
    assert reply.status == 200, reply.body
    value: list[dict[str, Any]] = reply.body["value"]
    return value


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["name"] for item in items]


async def test_the_tenant_and_the_regions_are_listed(scene: Scene) -> None:
    (tenant,) = await listed(scene, "/tenants", version="2022-12-01")
    assert tenant["tenantId"] == Options().tenant_id
    regions = await listed(scene, f"{SCOPE}/locations", version="2022-12-01")
    assert "westeurope" in names(regions)
    assert all(region["displayName"] and region["metadata"]["regionType"] for region in regions)


async def test_a_provider_shows_the_versions_that_its_types_accept(scene: Scene) -> None:
    furnish(scene.arm)
    provider = (await scene.call("GET", f"{SCOPE}/providers/microsoft.compute")).body
    assert provider["namespace"] == "Microsoft.Compute"
    versions = {each["resourceType"]: each["apiVersions"] for each in provider["resourceTypes"]}
    assert versions["virtualMachines"] == sorted(versions["virtualMachines"], reverse=True)
    for version in versions["virtualMachines"]:
        assert (await scene.call("GET", vm_id("myVM"), version=version)).status == 200
    whole = await listed(scene, f"{SCOPE}/providers")
    assert "Microsoft.Insights" in [each["namespace"] for each in whole]


async def test_a_provider_that_does_not_exist_is_refused(scene: Scene) -> None:
    reply = await scene.call("GET", f"{SCOPE}/providers/Contoso.Space")
    assert (reply.status, reply.code) == (404, "InvalidResourceNamespace")


async def test_groups_are_listed_by_name_and_by_tag(scene: Scene) -> None:
    furnish(scene.arm)
    assert names(await listed(scene, f"{SCOPE}/resourcegroups")) == [
        "myResourceGroup",
        "rg-elsewhere",
        "rg-identities",
        "rg-monitor",
    ]
    scene.arm.describe(GROUP, tags={"env": "lab"})
    wanted = "tagName eq 'env' and tagValue eq 'lab'"
    assert names(await listed(scene, f"{SCOPE}/resourcegroups?$filter={wanted.replace(' ', '%20')}")) == [
        "rg-elsewhere"
    ]


async def test_whether_a_group_exists_is_answered_without_a_body(scene: Scene) -> None:
    furnish(scene.arm)
    assert (await scene.call("HEAD", GROUP)).status == 204
    assert (await scene.call("HEAD", f"{SCOPE}/resourceGroups/nowhere")).status == 404


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("name eq 'myVM'", {"myVM"}),
        ("resourceType eq 'Microsoft.Insights/dataCollectionRules'", {"rule"}),
        ("resourceGroup eq 'rg-identities'", {"agents"}),
        ("name eq 'myVM' and location eq 'northeurope'", set()),
        ("tagname eq 'team' and tagvalue eq 'a' and name eq 'other'", {"other"}),
        ("tagname eq 'nobody'", set()),
    ],
)
async def test_resources_are_filtered(scene: Scene, wanted: str, found: set[str]) -> None:
    furnish(scene.arm)
    items = await listed(scene, f"{SCOPE}/resources?$filter={wanted.replace(' ', '%20')}")
    assert set(names(items)) == found


async def test_a_filter_of_another_form_is_refused(scene: Scene) -> None:
    reply = await scene.call("GET", f"{SCOPE}/resources?$filter=substringof('a',name)")
    assert (reply.status, reply.code) == (400, "InvalidFilterInQueryString")


async def test_a_groups_resources_have_the_common_form_alone(scene: Scene) -> None:
    oms = ExtensionSpec(name="OMSExtension", **OMS)
    scene.add(extensions=(oms,))
    expanded = "%24expand=createdTime%2CprovisioningState"
    items = await listed(scene, f"{SCOPE}/resourceGroups/rg-fleet/resources?{expanded}")
    assert names(items) == ["web-1", "web-1/OMSExtension", "web-1-nic"]
    assert [item["provisioningState"] for item in items] == ["Succeeded"] * 3
    assert all(item["id"] and "properties" not in item for item in items)
    assert (await scene.call("GET", f"{SCOPE}/resourceGroups/none/resources")).code == "ResourceGroupNotFound"


async def test_lists_leave_out_what_the_caller_may_not_read(scene: Scene) -> None:
    furnish(scene.arm)
    scene.arm.scopes.grant("narrow", GROUP, "Microsoft.Compute/virtualMachines/read")
    header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, 'narrow').value}"}
    assert names(await listed(scene, f"{SCOPE}/resources", headers=header)) == ["elsewhere"]
    assert await listed(scene, f"{SCOPE}/resourcegroups", headers=header) == []


async def test_identities_and_rules_are_resources(scene: Scene) -> None:
    furnish(scene.arm)
    ids = {item["id"] for item in await listed(scene, f"{SCOPE}/resources")}
    assert {IDENTITY, RULE} <= ids


async def test_a_vm_has_the_interface_that_it_names(scene: Scene) -> None:
    machine = scene.add()
    (reference,) = machine.body["properties"]["networkProfile"]["networkInterfaces"]
    interface = (await scene.call("GET", reference["id"], version="2023-11-01")).body
    (configuration,) = interface["properties"]["ipConfigurations"]
    assert interface["properties"]["virtualMachine"] == {"id": machine.id}
    assert configuration["properties"]["privateIPAddress"].startswith("10.")
    assert "publicIPAddress" not in configuration["properties"]
    for scope in (SCOPE, f"{SCOPE}/resourceGroups/rg-fleet"):
        found = await listed(scene, f"{scope}/providers/Microsoft.Network/networkInterfaces", version="2023-11-01")
        assert found == [interface]
        addresses = f"{scope}/providers/Microsoft.Network/publicIPAddresses"
        assert await listed(scene, addresses, version="2025-09-01") == []


@pytest.mark.parametrize("type_", ["networkInterfaces", "publicIPAddresses"])
async def test_what_no_vm_names_is_not_there(scene: Scene, type_: str) -> None:
    scene.add()
    path = f"{SCOPE}/resourceGroups/rg-fleet/providers/Microsoft.Network/{type_}/x"
    reply = await scene.call("GET", path, version="2023-11-01")
    assert (reply.status, reply.code) == (404, "ResourceNotFound")


async def test_the_extensions_of_a_publisher_are_listed_with_their_versions(scene: Scene) -> None:
    region = f"{SCOPE}/providers/Microsoft.Compute/locations/westeurope/publishers"
    publishers = (await scene.call("GET", region)).body
    assert OMS["publisher"] in names(publishers)
    types = f"{region}/{OMS['publisher']}/artifacttypes/vmextension/types"
    assert OMS["type"] in names((await scene.call("GET", types)).body)
    # The simulated year is 2017, so later versions are hidden.
    assert names((await scene.call("GET", f"{types}/{OMS['type']}/versions")).body) == ["1.3.127.5"]
    for missing in (f"{region}/Contoso/artifacttypes/vmextension/types", f"{types}/Nothing/versions"):
        assert (await scene.call("GET", missing)).status == 404
