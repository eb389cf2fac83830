"""VM bodies as ARM answers them, small enough to read, and the shortest way to ask a condition about one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.domain.policy.conditions import Context, Evaluation, Resource, compile_condition

ID = "/subscriptions/sub-1/resourceGroups/rg-1/providers/Microsoft.Compute/virtualMachines/vm-1"

VM: dict[str, Any] = {
    "id": ID,
    "name": "vm-1",
    "type": "Microsoft.Compute/virtualMachines",
    "location": "westeurope",
    "tags": {"Env": "Prod", "cost.center": "42", "'odd'": "yes", "empty": ""},
    "identity": {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {"/a/b": {}}},
    "zones": ["1"],
    "properties": {
        "vmId": "00000000-0000-0000-0000-000000000001",
        "hardwareProfile": {"vmSize": "Standard_D2s_v3"},
        "storageProfile": {
            "imageReference": {
                "publisher": "Canonical",
                "offer": "UbuntuServer",
                "sku": "18.04-LTS",
                "version": "latest",
            },
            "osDisk": {"osType": "Linux", "diskSizeGB": 30, "encryptionSettings": None},
            "dataDisks": [
                {"lun": 0, "diskSizeGB": 100, "caching": "None"},
                {"lun": 1, "diskSizeGB": 200, "caching": "ReadOnly"},
                {"lun": 2, "diskSizeGB": 300},
            ],
        },
        "osProfile": {"linuxConfiguration": {"disablePasswordAuthentication": True}},
    },
}


def evaluate(
    condition: Mapping[str, Any],
    body: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    context: Context | None = None,
) -> Evaluation:
    compiled = compile_condition(condition, parameters or {})
    return compiled.evaluate(Resource(VM if body is None else body, context or Context()))


def holds(condition: Mapping[str, Any], body: Mapping[str, Any] | None = None, **parameters: Any) -> bool:
    """Whether the condition matches; one that cannot be decided fails the test."""
    evaluation = evaluate(condition, body, parameters)
    assert evaluation.decided, evaluation.problem
    return evaluation.matched


def value_of(expression: str, context: Context | None = None, parameters: Mapping[str, Any] | None = None) -> Any:
    """What an expression is worth, read from the explanation of a condition on it."""
    evaluation = evaluate({"value": expression, "exists": True}, None, parameters, context)
    return evaluation.tree.actual if evaluation.decided else f"undecided: {evaluation.problem}"
