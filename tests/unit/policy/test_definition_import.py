"""What of a definition becomes a policy of ours, and what is named because it does not."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.policy.definitions.definition import read_definition
from onboarding.domain.policy.definitions.definition_import import import_definition, slug
from tests.unit.policy.test_definitions import AGENT, DETAILS, EXTENSIONS, IF, PARAMETERS

CATALOGUE = {("microsoft.enterprisecloud.monitoring", "omsagentforlinux"): "oms-agent-linux"}
TEMPLATE: dict[str, Any] = {
    "parameters": {"vmName": {"type": "string"}, "workspace": {"type": "string"}, "kind": {"type": "string"}},
    "variables": {
        "publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "type": "[concat('OmsAgentFor', parameters('kind'))]",
        "name": "OMSAgentForLinux",
    },
    "resources": [
        {
            "type": "Microsoft.Compute/virtualMachines/extensions",
            "name": "[concat(parameters('vmName'), '/', variables('name'))]",
            "properties": {
                "publisher": "[variables('publisher')]",
                "type": "[variables('type')]",
                "typeHandlerVersion": "1.13",
                "settings": {
                    "workspaceId": "[reference(parameters('workspace'), '2015-03-20').customerId]",
                    "stopOnMultipleConnections": "true",
                    "vm": "[parameters('vmName')]",
                    "zone": "[first(pickZones('a', 'b', parameters('vmName')))]",
                },
                "protectedSettings": {"workspaceKey": "[listKeys(parameters('workspace'), 'x').primarySharedKey]"},
            },
        }
    ],
}
PASSED = {
    "vmName": {"value": "[field('name')]"},
    "workspace": {"value": "[parameters('publisher')]"},
    "kind": {"value": "Linux"},
}


def deploying(template: dict[str, Any]) -> dict[str, Any]:
    deployment = {"properties": {"mode": "incremental", "template": template, "parameters": PASSED}}
    return {
        "id": "/providers/Microsoft.Authorization/policyDefinitions/abc",
        "properties": {
            "displayName": "[Deprecated]: Deploy the agent (Linux)",
            "metadata": {"version": "3.1.0"},
            "parameters": PARAMETERS,
            "policyRule": {
                "if": IF,
                "then": {"effect": "[parameters('effect')]", "details": DETAILS | {"deployment": deployment}},
            },
        },
    }


def test_the_template_tells_the_extension_and_its_settings() -> None:
    imported = import_definition(read_definition(deploying(TEMPLATE)), {}, CATALOGUE)
    policy = dict(imported.policy)
    assert policy.pop("rule") == IF
    assert policy.pop("existenceCondition") == DETAILS["existenceCondition"]
    assert policy == {
        "name": "deploy-the-agent-linux",
        "effect": "deployIfNotExists",
        "extension": "oms-agent-linux",
        "scope": [],
        "parameters": {"effect": "DeployIfNotExists", "places": [], "strict": True},
        "settings": {
            "workspaceId": "{OMS_WORKSPACE_ID}",
            "stopOnMultipleConnections": "true",
            "vm": "{machine.name}",
            "zone": "FILL-IN",
        },
        "protectedSettings": {"workspaceKey": "{OMS_WORKSPACE_KEY}"},
        "source": {
            "id": "/providers/Microsoft.Authorization/policyDefinitions/abc",
            "version": "3.1.0",
            "displayName": "[Deprecated]: Deploy the agent (Linux)",
            "extension": "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux.1.13",
        },
        "azurePolicy": ["/providers/Microsoft.Authorization/policyDefinitions/abc"],
    }
    assert imported.extension is not None
    assert imported.extension.name == "OMSAgentForLinux"


def test_what_cannot_be_derived_is_named() -> None:
    notes = "\n".join(import_definition(read_definition(deploying(TEMPLATE)), {}, {}).notes)
    for named in (
        "scope:",
        "no value and no default for publisher",
        "settings.workspaceId",
        "{OMS_WORKSPACE_KEY} stands for it",
        "settings.zone: [first(pickZones('a', 'b', parameters('vmName')))] is not known here; fill it in",
        "no entry for Microsoft.EnterpriseCloud.Monitoring/OmsAgentForLinux 1.13",
    ):
        assert named in notes


def test_a_nested_template_is_looked_into() -> None:
    nested = {"resources": [{"type": "Microsoft.Resources/deployments", "properties": {"template": TEMPLATE}}]}
    inner = nested | {"variables": TEMPLATE["variables"]}
    imported = import_definition(read_definition(deploying(inner)), {}, CATALOGUE)
    assert imported.policy["extension"] == "oms-agent-linux"


@pytest.mark.parametrize(
    ("then", "extension", "effect"),
    [
        ({"effect": "AuditIfNotExists", "details": DETAILS}, "FILL-IN", "auditIfNotExists"),
        ({"effect": "disabled", "details": {"type": EXTENSIONS}}, "FILL-IN", "disabled"),
        ({"effect": "deny"}, "FILL-IN", "auditIfNotExists"),
        (
            {
                "effect": "auditIfNotExists",
                "details": {
                    "type": EXTENSIONS,
                    "existenceCondition": {
                        "allOf": [
                            {"field": f"{EXTENSIONS}/Publisher", "equals": AGENT[1]},
                            {"field": f"{EXTENSIONS}/type", "equals": AGENT[2]},
                        ]
                    },
                },
            },
            "azuremonitorlinuxagent",
            "auditIfNotExists",
        ),
    ],
)
def test_an_audit_tells_less(then: dict[str, Any], extension: str, effect: str) -> None:
    raw = {"parameters": PARAMETERS, "policyRule": {"if": IF, "then": then}}
    policy = import_definition(read_definition(raw), {"effect": "Disabled"}, {}).policy
    assert (policy["extension"], policy["effect"]) == (extension, effect)


def test_names_are_short_words_with_dashes() -> None:
    assert slug("[Preview]: Configure (Linux) VMs!") == "configure-linux-vms"
    long = slug("word " * 40)
    assert len(long) <= 64
    assert long.endswith("word")
