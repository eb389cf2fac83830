"""VM bodies for the comparison of an initiative's members with the policies that were made from them, and an initiative
of our own with the shape of the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from tests.shared_samples import read_lines

VM = "Microsoft.Compute/virtualMachines"
EXTENSIONS = f"{VM}/extensions"
OTHER = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/other"
IDENTITIES: tuple[Mapping[str, Any] | None, ...] = (
    None,
    {"type": "SystemAssigned", "principalId": "p"},
    {"type": "UserAssigned", "userAssignedIdentities": {OTHER: {}}},
    {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {OTHER: {}}},
)
LOCATIONS = ("westeurope", "chinaeast2", "nowhere")
IMAGES = (
    ("Canonical", "UbuntuServer", "18.04-LTS", "Linux"),
    ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2", "Linux"),
    ("Canonical", "ubuntu-24_04-lts", "server-gen1", "Linux"),
    ("RedHat", "RHEL", "8-lvm-gen2", "Linux"),
    ("SUSE", "sles-15-sp3", "gen2", "Linux"),
    ("MicrosoftWindowsServer", "WindowsServer", "2019-Datacenter", "Windows"),
    ("MicrosoftWindowsServer", "WindowsServer", "2008-R2-SP1", "Windows"),
    ("MicrosoftSQLServer", "SQL2019-WS2019", "Standard", "Windows"),
    ("", "", "", "Linux"),
    ("", "", "", "Windows"),
)


def body(
    image: tuple[str, str, str, str], location: str, identity: Mapping[str, Any] | None, trusted: bool
) -> dict[str, Any]:
    publisher, offer, sku, system = image
    gallery = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/a/images/b/versions/1.0.0"
    named = {"publisher": publisher, "offer": offer, "sku": sku, "version": "latest"}
    security = {"securityType": "TrustedLaunch", "uefiSettings": {"vTpmEnabled": True, "secureBootEnabled": True}}
    whole: dict[str, Any] = {
        "id": f"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/g/providers/{VM}/m",
        "name": "m",
        "type": VM,
        "location": location,
        "properties": {
            "vmId": "v",
            "osProfile": {f"{system.lower()}Configuration": {"provisionVMAgent": True}},
            "storageProfile": {
                "imageReference": named if publisher else {"id": gallery},
                "osDisk": {"osType": system, "createOption": "FromImage"},
            },
            **({"securityProfile": security} if trusted else {}),
        },
    }
    return whole if identity is None else {**whole, "identity": dict(identity)}


def bodies(images: tuple[tuple[str, str, str, str], ...] = IMAGES) -> Iterator[dict[str, Any]]:
    for image, location, identity, trusted in product(images, LOCATIONS, IDENTITIES, (False, True)):
        yield body(image, location, identity, trusted)


def published_images(step: int) -> tuple[tuple[str, str, str, str], ...]:
    """Every so-many image of the labelled samples."""
    found = []
    for line in read_lines("images.jsonl")[::step]:
        system = "Windows" if "windows" in str(line.get("distro")).lower() else "Linux"
        found.append((str(line["publisher"]), str(line["offer"]), str(line["sku"]), system))
    return tuple(found)


def image_block(*publishers: str) -> dict[str, Any]:
    return {
        "anyOf": [
            {"field": "Microsoft.Compute/imageId", "in": "[parameters('images')]"},
            *({"field": "Microsoft.Compute/imagePublisher", "equals": each} for each in publishers),
        ]
    }


def definition(name: str, rule: list[Any], details: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    """A definition in the repository's form. `parameters` are its defaults; None: without a default."""
    specs = {
        key: {"type": "Array" if isinstance(value, list) else "Boolean" if isinstance(value, bool) else "String"}
        | ({} if value is None else {"defaultValue": value})
        for key, value in ({"effect": "DeployIfNotExists"} | parameters).items()
    }
    return {
        "id": f"/providers/Microsoft.Authorization/policyDefinitions/{name}",
        "name": name,
        "type": "Microsoft.Authorization/policyDefinitions",
        "properties": {
            "displayName": f"Contoso: {name}",
            "mode": "Indexed",
            "parameters": specs,
            "policyRule": {
                "if": {"allOf": [{"field": "type", "equals": VM}, *rule]},
                "then": {"effect": "[parameters('effect')]", "details": details},
            },
        },
    }


def extension_details(publisher: str, type_: str, settings: dict[str, Any], **passed: str) -> dict[str, Any]:
    names = {"vmName": "[field('name')]", "location": "[field('location')]", **passed}
    template = {
        "parameters": {name: {"type": "string"} for name in names},
        "variables": {"type": type_},
        "resources": [
            {
                "type": EXTENSIONS,
                "name": "[concat(parameters('vmName'), '/', variables('type'))]",
                "location": "[parameters('location')]",
                "properties": {
                    "publisher": publisher,
                    "type": "[variables('type')]",
                    "typeHandlerVersion": "1.2",
                    "autoUpgradeMinorVersion": True,
                    "enableAutomaticUpgrade": True,
                    "settings": settings,
                },
            }
        ],
    }
    return {
        "type": EXTENSIONS,
        "existenceCondition": {
            "allOf": [
                {"field": f"{EXTENSIONS}/publisher", "equals": publisher},
                {"field": f"{EXTENSIONS}/type", "equals": type_},
            ]
        },
        "deployment": {
            "properties": {
                "mode": "incremental",
                "template": template,
                "parameters": {name: {"value": value} for name, value in names.items()},
            }
        },
    }


def audit_details(*pairs: tuple[str, str], also: dict[str, Any] | None = None) -> dict[str, Any]:
    """Any of these publishers and types, with a further condition."""
    ways = [
        {
            "allOf": [
                {"field": f"{EXTENSIONS}/type", "equals": type_},
                {"field": f"{EXTENSIONS}/publisher", "equals": publisher},
                *([also] if also else []),
            ]
        }
        for publisher, type_ in pairs
    ]
    return {"type": EXTENSIONS, "existenceCondition": ways[0] if len(ways) == 1 else {"anyOf": ways}}


def association_details() -> dict[str, Any]:
    kind = "Microsoft.Insights/dataCollectionRuleAssociations"
    resource = {
        "type": kind,
        "name": "assoc",
        "scope": "[concat('Microsoft.Compute/virtualMachines/', parameters('vm'))]",
        "properties": {"dataCollectionRuleId": "[parameters('rule')]"},
    }
    passed = {"vm": {"value": "[field('name')]"}, "rule": {"value": "[parameters('dcrResourceId')]"}}
    return {
        "type": kind,
        "existenceCondition": {"field": f"{kind}/dataCollectionRuleId", "equals": "[parameters('dcrResourceId')]"},
        "deployment": {"properties": {"template": {"resources": [resource]}, "parameters": passed}},
    }


def identity_details() -> dict[str, Any]:
    """As the built-in one: a machine with one user-assigned identity and no other is left alone."""
    wanted = {"field": "identity.userAssignedIdentities", "containsKey": "[parameters('identityResourceId')]"}
    alone = [
        {"field": "identity.type", "equals": "UserAssigned"},
        {"value": "[length(field('identity.userAssignedIdentities'))]", "equals": 1},
    ]
    machine = {
        "type": VM,
        "name": "[parameters('vm')]",
        "identity": {"type": "UserAssigned", "userAssignedIdentities": "[parameters('all')]"},
    }
    nested = {"type": "Microsoft.Resources/deployments", "properties": {"template": {"resources": [machine]}}}
    return {
        "type": VM,
        "name": "[field('name')]",
        "existenceCondition": {
            "anyOf": [{"allOf": [{"field": "identity.type", "contains": "UserAssigned"}, wanted]}, {"allOf": alone}]
        },
        "deployment": {
            "properties": {
                "template": {"resources": [nested]},
                "parameters": {"vm": {"value": "[field('name')]"}, "all": {"value": {}}},
            }
        },
    }


def initiative(*members: tuple[str, str, dict[str, Any]], **parameters: Any) -> dict[str, Any]:
    """Members are (reference, name of the definition, values)."""
    return {
        "id": "/providers/Microsoft.Authorization/policySetDefinitions/all",
        "name": "all",
        "properties": {
            "displayName": "Contoso: all",
            "parameters": {
                key: {"type": "String"} | ({} if value is None else {"defaultValue": value})
                for key, value in parameters.items()
            },
            "policyDefinitions": [
                {
                    "policyDefinitionReferenceId": reference,
                    "policyDefinitionId": f"/providers/Microsoft.Authorization/policyDefinitions/{name}",
                    "parameters": {key: {"value": value} for key, value in values.items()},
                }
                for reference, name, values in members
            ],
        },
    }
