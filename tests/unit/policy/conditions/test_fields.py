"""Which value a field stands for: names, tags, aliases in every spelling, arrays, and what belongs to other types."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.policy.conditions import ConditionError, Resource, compile_condition
from tests.unit.policy.conditions.bodies import ID, VM, evaluate, holds

DISKS = "Microsoft.Compute/virtualMachines/storageProfile.dataDisks"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "vm-1"),
        ("fullName", "vm-1"),
        ("type", "Microsoft.Compute/virtualMachines"),
        ("id", ID),
        ("identity.type", "SystemAssigned, UserAssigned"),
        ("tags['env']", "Prod"),
        ("tags.env", "Prod"),
        ("tags[env]", "Prod"),
        ("tags.cost.center", "42"),
        ("tags['cost.center']", "42"),
        ("tags['''odd''']", "yes"),
        ("[concat('tags[', parameters('tag'), ']')]", "Prod"),
        ("Microsoft.Compute/imagePublisher", "Canonical"),
        ("microsoft.compute/IMAGEOFFER", "UbuntuServer"),
        ("Microsoft.Compute/imageSku", "18.04-LTS"),
        ("Microsoft.Compute/imageSKU", "18.04-LTS"),
        ("Microsoft.Compute/imageVersion", "latest"),
        ("Microsoft.Compute/virtualMachines/imagePublisher", "Canonical"),
        ("Microsoft.Compute/virtualMachines/sku.name", "Standard_D2s_v3"),
        ("Microsoft.Compute/virtualMachines/storageProfile.osDisk.osType", "Linux"),
        ("Microsoft.Compute/virtualMachines/storageProfile.imageReference.publisher", "Canonical"),
        ("Microsoft.Compute/virtualMachines/identity.type", "SystemAssigned, UserAssigned"),
        ("Microsoft.Compute/virtualMachines/vmId", "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_field(field: str, value: str) -> None:
    assert holds({"field": field, "equals": value}, tag="env")


@pytest.mark.parametrize(
    "field",
    [
        "kind",
        "tags['none']",
        "Microsoft.Compute/imageId",
        "Microsoft.HybridCompute/imageOffer",
        "Microsoft.Compute/virtualMachines/extensions/type",
        "Microsoft.Compute/virtualMachines/extensions/resources[*].typeHandlerVersion",
        "Microsoft.Compute/virtualMachines/diagnosticSettings",
        "Microsoft.Compute/virtualMachineScaleSets/sku.name",
        "Microsoft.Insights/dataCollectionRuleAssociations/dataCollectionRuleId",
        "Microsoft.GuestConfiguration/guestConfigurationAssignments/complianceStatus",
    ],
)
def test_what_the_vm_does_not_have_is_missing(field: str) -> None:
    assert holds({"field": field, "exists": False})


@pytest.mark.parametrize("body", [{}, {"tags": []}, {"properties": None}, {"properties": {"storageProfile": "x"}}])
def test_a_body_of_any_shape_is_missing_things_and_never_fails(body: dict[str, Any]) -> None:
    rule = {"field": "Microsoft.Compute/imageOffer", "exists": False}
    assert holds(rule, body | {"type": "Microsoft.Compute/virtualMachines"})
    assert holds({"field": "tags['x']", "exists": False}, body)


def test_type_and_name_are_read_from_the_id_where_the_body_has_none() -> None:
    body = {"id": f"{ID}/extensions/ext-1", "properties": {"type": "CustomScript"}}
    for field, value in (
        ("type", "Microsoft.Compute/virtualMachines/extensions"),
        ("name", "ext-1"),
        ("fullName", "vm-1/ext-1"),
        ("Microsoft.Compute/virtualMachines/extensions/type", "CustomScript"),
    ):
        assert holds({"field": field, "equals": value}, body)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"field": f"{DISKS}[*].diskSizeGB", "greaterOrEquals": 100}, True),
        ({"field": f"{DISKS}[*].diskSizeGB", "greater": 100}, False),
        ({"field": f"{DISKS}[*].caching", "exists": True}, False),
        ({"not": {"field": f"{DISKS}[*].caching", "notEquals": "ReadOnly"}}, True),
        ({"field": "Microsoft.Compute/virtualMachines/networkProfile.networkInterfaces[*].id", "equals": "x"}, True),
        ({"field": DISKS, "exists": True}, True),
        ({"value": f"[length(field('{DISKS}[*]'))]", "equals": 3}, True),
        ({"value": f"[length(field('{DISKS}[*].caching'))]", "equals": 2}, True),
        ({"value": f"[first(field('{DISKS}[*].lun'))]", "equals": 0}, True),
        ({"value": "[field('Microsoft.Compute/imageId')]", "equals": ""}, True),
        ({"value": "[length(field('Microsoft.Compute/virtualMachines/osProfile.secrets[*]'))]", "equals": 0}, True),
    ],
)
def test_array_aliases_select_every_member(condition: dict[str, Any], expected: bool) -> None:
    assert holds(condition) is expected


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("Microsoft.Compute/virtualMachines/storageProfle.osDisk.osType", "did you mean 'storageProfile'?"),
        (
            "Microsoft.Compute/virtualMachines/storageProfile.osDisk.osTyp",
            "unknown property 'osTyp'; known properties: ",
        ),
        ("Microsoft.Compute/imageOfer", "did you mean 'Microsoft.Compute/imageOffer'?"),
        ("Microsoft.Compute/virtualMachines", "is a resource type, not an alias; name a property of it"),
        ("Microsoft.Computer/imageOffer", "unknown resource provider 'Microsoft.Computer'"),
        ("propertis", "unknown field 'propertis'"),
    ],
)
def test_an_unknown_field_is_an_error_and_never_a_silent_false(field: str, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        compile_condition({"anyOf": [{"field": field, "exists": True}]})
    assert caught.value.place == "rule.anyOf[0].field"
    assert message in caught.value.message
    assert field in caught.value.message


def test_a_field_named_only_at_evaluation_is_undecided_when_unknown() -> None:
    evaluation = evaluate({"field": "[field('name')]", "exists": True})
    assert not evaluation.matched
    assert "unknown field 'vm-1'" in evaluation.problem


_VIEW = {"statuses": [{"code": "ProvisioningState/succeeded/x"}], "typeHandlerVersion": "1.2.3"}
_WITH_EXTENSIONS = VM | {
    "resources": [
        {
            "id": f"{ID}/extensions/known",
            "name": "known",
            "type": "Microsoft.Compute/virtualMachines/extensions",
            "properties": {"publisher": "P.Q", "type": "T", "provisioningState": "Failed", "settings": {"a": "b"}},
        },
        {"id": f"{ID}/extensions/bare", "location": "westeurope"},
    ],
    "properties": VM["properties"]
    | {
        "instanceView": {
            "extensions": [
                {"name": "known", "type": "P.Q.T", **_VIEW},
                {"name": "bare", "type": "Microsoft.Azure.Monitor.AzureMonitorLinuxAgent", **_VIEW},
                {"name": "MDE.Linux", "type": "Microsoft.Azure.AzureDefenderForServers.MDE.Linux", **_VIEW},
                "nonsense",
            ]
        }
    },
}


def _joined_extensions() -> dict[str, tuple[object, ...]]:
    found = Resource(_WITH_EXTENSIONS).children("microsoft.compute/virtualmachines/extensions")
    keys = ("publisher", "type", "provisioningState")
    return {each.name: tuple(each.body["properties"].get(key) for key in keys) for each in found}


def test_model_and_instance_view_are_joined_by_name() -> None:
    assert _joined_extensions() == {
        "known": ("P.Q", "T", "Failed"),
        "bare": ("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", "Succeeded"),
        "MDE.Linux": ("Microsoft.Azure.AzureDefenderForServers", "MDE.Linux", "Succeeded"),
    }


def test_an_extension_is_a_resource_of_its_own() -> None:
    known = Resource(_WITH_EXTENSIONS).children("Microsoft.Compute/virtualMachines/extensions")[0]
    rule = {"field": "Microsoft.Compute/virtualMachines/extensions/settings.a", "equals": "b"}
    assert compile_condition(rule).evaluate(known).matched
    assert known.full_name == "vm-1/known"
