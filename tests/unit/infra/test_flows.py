"""Each flow of each profile has an allowed path; and each right, address and rule is one that a flow needs: without it
the flow is named."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.unit.infra.deployed import PROFILES, ROOT, SUBSCRIPTIONS, Resource, of_type, one, snapshot
from tests.unit.infra.flows import Flows

type Change = Callable[[list[dict[str, Any]]], object]


@pytest.mark.parametrize("profile", PROFILES)
def test_each_flow_has_an_allowed_path(profile: str) -> None:
    assert Flows(snapshot(profile), snapshot(SUBSCRIPTIONS[profile])).blocked() == []


def changed(name: str, change: Change) -> Sequence[Resource]:
    resources = copy.deepcopy(list(snapshot(name)))
    change(resources)  # type: ignore[arg-type]
    return resources


def without(type_: str, part: str) -> Change:
    """Takes away the resources of that type with that text in them."""

    def change(resources: list[dict[str, Any]]) -> None:
        found = [each for each in resources if each["type"] == type_ and part in str(each)]
        assert found, f"there is no {type_} with {part}"
        resources[:] = [each for each in resources if each not in found]

    return change


def site(**properties: Any) -> Change:
    return lambda resources: one(resources, "Microsoft.Web/sites")["properties"].update(properties)


def site_config(**properties: Any) -> Change:
    return lambda resources: one(resources, "Microsoft.Web/sites")["properties"]["siteConfig"].update(properties)


def storage(**properties: Any) -> Change:
    return lambda resources: one(resources, "Microsoft.Storage/storageAccounts")["properties"].update(properties)


def rule(name: str) -> Change:
    def change(resources: list[dict[str, Any]]) -> None:
        properties = one(resources, "Microsoft.Network/networkSecurityGroups")["properties"]
        before = properties["securityRules"]
        properties["securityRules"] = [each for each in before if each["name"] != name]
        assert len(properties["securityRules"]) == len(before) - 1

    return change


ASSIGNMENTS, ENDPOINTS = "Microsoft.Authorization/roleAssignments", "Microsoft.Network/privateEndpoints"
LINKS = "Microsoft.Network/privateDnsZones/virtualNetworkLinks"
GROUPS = f"{ENDPOINTS}/privateDnsZoneGroups"


@pytest.mark.parametrize(
    ("profile", "change", "blocked"),
    [
        ("public", site(publicNetworkAccess="Disabled"), "events to app"),
        ("public", storage(publicNetworkAccess="Disabled"), "app to storage"),
        ("public", without(ASSIGNMENTS, "0a9a7e1f-b9d0"), "app to storage"),
        ("public", without(ASSIGNMENTS, "974c5e8b-45b9"), "app to storage"),
        ("public", without(ASSIGNMENTS, "azure-webjobs-hosts"), "app to storage"),
        ("public", without(ASSIGNMENTS, "azure-webjobs-secrets"), "app to storage"),
        ("public", without(ASSIGNMENTS, "2a2b9908-6ea1"), "app to storage"),
        ("restricted", without(ASSIGNMENTS, "2a2b9908-6ea1"), "app to storage"),
        ("public", without(ASSIGNMENTS, "containers/packages"), "package to app"),
        ("public", without(ASSIGNMENTS, "containers/dead-letters"), "undeliverable events to storage"),
        ("public", without(ASSIGNMENTS, "3913510d-42f4"), "app to services"),
        ("restricted", site_config(ipSecurityRestrictions=[]), "events to app"),
        ("restricted", site_config(ipSecurityRestrictions=[]), "people to pages"),
        ("restricted", without(ASSIGNMENTS, "vaults/kv"), "app to vault"),
        ("restricted", without(ASSIGNMENTS, "topics/evgt"), "app to outcome topic"),
        ("private", storage(networkAcls={"bypass": "None", "defaultAction": "Deny"}), "events to app"),
        ("private", site(virtualNetworkSubnetId=None), "app to storage"),
        ("private", without("Microsoft.Storage/storageAccounts/queueServices/queues", "/events"), "events to app"),
        ("private", without(ASSIGNMENTS, "containers/dead-letters"), "events to app"),
        *(
            ("private", without(type_, f"{part}-" if type_ is ENDPOINTS else part), flow)
            for type_ in (ENDPOINTS, GROUPS)
            for part, flow in (
                ("pep-blob", "package to app"),
                ("pep-queue", "app to storage"),
                ("pep-table", "app to storage"),
                ("pep-vault", "app to vault"),
                ("pep-topic", "app to outcome topic"),
                ("pep-sites", "people to pages"),
            )
        ),
        *(
            ("private", without(LINKS, zone), flow)
            for zone, flow in (
                ("privatelink.blob", "package to app"),
                ("privatelink.queue", "app to storage"),
                ("privatelink.table", "app to storage"),
                ("privatelink.vaultcore", "app to vault"),
                ("privatelink.azurewebsites", "people to pages"),
                ("privatelink.eventgrid", "app to outcome topic"),
            )
        ),
        *(("private", rule(name), "app to services") for name in ("resourceManager", "signIn", "telemetry")),
    ],
)
def test_without_what_it_needs_a_flow_is_blocked(profile: str, change: Change, blocked: str) -> None:
    found = Flows(changed(profile, change), snapshot(SUBSCRIPTIONS[profile])).blocked()
    assert any(each.startswith(f"{blocked}: ") for each in found), found


@pytest.mark.parametrize(
    ("profile", "part", "blocked"),
    [
        ("public", "virtualMachines/extensions/write", "app to virtual machines"),
        ("private", "queues/events", "events to app"),
        ("private", "containers/dead-letters", "undeliverable events to storage"),
    ],
)
def test_without_a_right_in_the_subscription_a_flow_is_blocked(profile: str, part: str, blocked: str) -> None:
    type_ = "Microsoft.Authorization/roleDefinitions" if "virtualMachines" in part else ASSIGNMENTS
    found = Flows(snapshot(profile), changed(SUBSCRIPTIONS[profile], without(type_, part))).blocked()
    assert any(each.startswith(f"{blocked}: ") for each in found), found


def test_an_identity_that_event_grid_cannot_use_behind_a_firewall_is_named() -> None:
    """What the profile public does for undeliverable events does not work for private storage."""
    found = Flows(snapshot("private"), snapshot("subscription-public")).blocked()
    assert "undeliverable events to storage: behind a firewall only the topic's own identity may write" in found
    assert "events to app: the app has no public address" in found


def test_private_endpoints_are_those_that_the_app_and_people_use() -> None:
    made = {
        group
        for each in of_type(snapshot("private"), ENDPOINTS)
        for connection in each["properties"]["privateLinkServiceConnections"]
        for group in connection["properties"]["groupIds"]
    }
    assert made == {"blob", "queue", "table", "vault", "sites", "topic"}


def test_in_a_network_of_the_company_nothing_of_a_network_is_made() -> None:
    resources = snapshot("private-hub")
    subnet = "/virtualNetworks/vnet-spoke/subnets"
    kinds = {each["type"] for each in resources if each["type"].startswith("Microsoft.Network/")}
    assert kinds == {ENDPOINTS, GROUPS}
    assert one(resources, "Microsoft.Web/sites")["properties"]["virtualNetworkSubnetId"].endswith(
        f"{subnet}/onboarding"
    )
    endpoints = of_type(resources, ENDPOINTS)
    assert all(each["properties"]["subnet"]["id"].endswith(f"{subnet}/endpoints") for each in endpoints)
    zones = of_type(resources, GROUPS)
    assert len(zones) == len(endpoints) == 4  # blob, queue, table, sites
    for zone in zones:
        (config,) = zone["properties"]["privateDnsZoneConfigs"]
        assert "/resourceGroups/rg-hub'" in config["properties"]["privateDnsZoneId"]


def test_a_company_gives_resources_its_own_names() -> None:
    resources = snapshot("private-hub")
    for type_, name in {
        "Microsoft.Resources/resourceGroups": "rg-app-onboarding",
        "Microsoft.Web/sites": "func-company-onboarding",
        "Microsoft.Storage/storageAccounts": "stcompanyonboarding",
    }.items():
        assert one(resources, type_)["name"] == name


def test_the_page_on_security_names_each_address_that_the_private_network_lets_the_app_reach() -> None:
    (group,) = of_type(snapshot("private"), "Microsoft.Network/networkSecurityGroups")
    rules = [each["properties"] for each in group["properties"]["securityRules"]]
    tags = {each["destinationAddressPrefix"] for each in rules if each["access"] == "Allow"}
    page = (ROOT / "docs" / "deployment" / "security.md").read_text()
    flows = page.partition("## Flows")[2].partition("\n## ")[0]
    assert set(re.findall(r"service tag `([\w.]+)`", flows)) == {*tags, "AzureEventGrid"}


# What Terraform calls the resources that have a public network of their own.
TERRAFORM = {
    "Microsoft.Web/sites": "azurerm_function_app_flex_consumption",
    "Microsoft.Storage/storageAccounts": "azurerm_storage_account",
    "Microsoft.KeyVault/vaults": "azurerm_key_vault",
    "Microsoft.EventGrid/topics": "azurerm_eventgrid_topic",
}


def test_the_page_on_terraform_shuts_each_public_network_that_the_profile_private_shuts() -> None:
    shut = {
        each["type"]
        for each in snapshot("private")
        if each.get("properties", {}).get("publicNetworkAccess") == "Disabled"
    }
    assert shut == TERRAFORM.keys()
    page = (ROOT / "docs" / "deployment" / "terraform.md").read_text()
    rows = [row for row in page.partition("## What `private` adds")[2].splitlines() if row.startswith("|")]
    says = " ".join(row.split("|")[1] for row in rows if "`public_network_access_enabled = false`" in row)
    assert [name for name in TERRAFORM.values() if f"`{name}`" not in says] == []


def test_removing_names_what_lies_outside_of_the_app_s_group() -> None:
    page = (ROOT / "docs" / "deploying.md").read_text().partition("## Removing")[2]
    outside = [
        each for each in snapshot("management-group") if each["id"].startswith("/providers/Microsoft.Management")
    ]
    commands = {
        "Microsoft.Authorization/policyAssignments": "az policy assignment delete --name {name} ",
        "Microsoft.Authorization/policyDefinitions": "az policy definition delete --name {name} ",
        "Microsoft.Authorization/roleAssignments": "az role assignment delete ",
        "Microsoft.Authorization/roleDefinitions": "az role definition list ",
        "Microsoft.PolicyInsights/remediations": "az policy assignment delete ",  # it goes with the assignment
    }
    assert {each["type"] for each in outside} == commands.keys()
    for each in outside:
        assert commands[each["type"]].format(name=each["name"]) in page, each["type"]
