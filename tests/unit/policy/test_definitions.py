"""Azure Policy definitions: the forms they come in, their parameters, and what they say of a VM."""

from __future__ import annotations

from typing import Any

import pytest

from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.definitions.definition import kept_errors, read_definition
from onboarding.domain.policy.definitions.definition_forms import kept_in
from tests.unit.policy.conditions.bodies import ID, VM

EXTENSIONS = "Microsoft.Compute/virtualMachines/extensions"
IF = {"allOf": [{"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, {"field": "name", "like": "vm-*"}]}
INSTALLED = {
    "allOf": [
        {"field": f"{EXTENSIONS}/publisher", "equals": "[parameters('publisher')]"},
        {"field": f"{EXTENSIONS}/type", "equals": "AzureMonitorLinuxAgent"},
        {"field": f"{EXTENSIONS}/provisioningState", "in": ["Succeeded"]},
    ]
}
DETAILS: dict[str, Any] = {"type": EXTENSIONS, "existenceCondition": INSTALLED}
PARAMETERS: dict[str, Any] = {
    "effect": {
        "type": "String",
        "allowedValues": ["DeployIfNotExists", "Disabled"],
        "defaultValue": "DeployIfNotExists",
    },
    "publisher": {"type": "string"},
    "places": {"type": "Array", "allowedValues": ["eastus", "westus"], "defaultValue": []},
    "strict": {"type": "Boolean", "defaultValue": True},
}


def definition(then: dict[str, Any] | None = None, rule: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": "/providers/Microsoft.Authorization/policyDefinitions/abc",
        "name": "abc",
        "properties": {
            "displayName": "Install the agent",
            "mode": "Indexed",
            "metadata": {"version": "1.2.0"},
            "parameters": PARAMETERS,
            "policyRule": {
                "if": rule or IF,
                "then": then or {"effect": "[parameters('effect')]", "details": DETAILS},
            },
        },
    }


def with_extensions(*extensions: tuple[str, str, str, str]) -> dict[str, Any]:
    keys = ("publisher", "type", "provisioningState")
    return VM | {
        "resources": [
            {
                "id": f"{ID}/extensions/{name}",
                "name": name,
                "type": EXTENSIONS,
                "properties": dict(zip(keys, values, strict=True)),
            }
            for name, *values in extensions
        ]
    }


def errors_of(raw: Any) -> tuple[ConditionError, ...]:
    try:
        return tuple(error for kept in kept_in(raw) for error in kept_errors(kept))
    except ConditionError as error:
        return (error,)


AGENT = ("ama", "Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent", "Succeeded")
GIVEN = {"publisher": "microsoft.azure.monitor"}


def test_a_definition_is_read_with_its_identity_in_each_of_its_forms() -> None:
    whole = definition()
    read = read_definition(whole)
    assert (read.name, read.version, read.display_name, read.mode) == ("abc", "1.2.0", "Install the agent", "Indexed")
    for form in (whole["properties"], whole["properties"] | {"id": "x"}):
        assert read_definition(form).rule == IF
    assert read_definition({"if": IF, "then": {"effect": "audit"}}).effect == "audit"


def test_the_case_of_a_definitions_words_does_not_matter() -> None:
    spelled = {
        "Properties": {
            "Parameters": {"Type": {"Type": "String", "DefaultValue": EXTENSIONS, "allowedvalues": [EXTENSIONS]}},
            "policyrule": {
                "If": IF,
                "Then": {"Effect": "auditIfNotExists", "Details": {"Type": "[parameters('type')]", "Name": "ama"}},
            },
        }
    }
    read = read_definition(spelled)
    assert list(read.parameters) == ["Type"]
    assert (read.evaluate(VM).compliant, read.evaluate(with_extensions(AGENT)).compliant) == (False, True)
    assert errors_of(spelled) == ()


@pytest.mark.parametrize(
    ("body", "compliant", "reason"),
    [
        (VM, False, f"there is no {EXTENSIONS}"),
        (with_extensions(AGENT), True, "existenceCondition holds for 'ama'"),
        (with_extensions((*AGENT[:3], "Failed")), False, "existenceCondition does not hold for 'ama'"),
        (with_extensions(("x", "P", "T", "Succeeded"), AGENT), True, "'ama'"),
    ],
)
def test_deploy_if_not_exists_checks_the_vms_extensions(body: dict[str, Any], compliant: bool, reason: str) -> None:
    answer = read_definition(definition()).evaluate(body, GIVEN)
    assert (answer.applies, answer.effect, answer.compliant) == (True, "DeployIfNotExists", compliant)
    assert reason in answer.because[-1]


def test_where_the_rule_does_not_match_there_is_no_compliance() -> None:
    answer = read_definition(definition()).evaluate(VM | {"name": "db-1"}, GIVEN)
    assert answer.as_dict() == {
        "applies": False,
        "effect": "DeployIfNotExists",
        "compliant": None,
        "because": ["if: ✗ name like 'vm-*': 'db-1'"],
    }


@pytest.mark.parametrize(
    ("then", "compliant"),
    [
        ({"effect": "audit"}, False),
        ({"effect": "Deny"}, False),
        ({"effect": "modify", "details": {"operations": []}}, False),
        ({"effect": "append", "details": [{"field": "name", "value": "x"}]}, False),
        ({"effect": "disabled", "details": DETAILS}, None),
        ({"effect": "manual"}, None),
        ({"effect": "denyAction", "details": {"actionNames": ["delete"]}}, None),
        ({"effect": "auditIfNotExists", "details": "[parameters('publisher')]"}, None),
        ({"effect": "auditIfNotExists", "details": {"type": EXTENSIONS}}, True),
        ({"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "name": "AMA"}}, True),
        ({"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "name": "vm-1/ama"}}, True),
        (
            {"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "name": "[concat(field('name'), '/?')]"}},
            True,
        ),
        ({"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "name": "other"}}, False),
        ({"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "name": "other/?"}}, False),
        (
            {"effect": "auditIfNotExists", "details": {"type": "Microsoft.Insights/dataCollectionRuleAssociations"}},
            None,
        ),
        ({"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "name": "[uniqueString('a')]"}}, None),
        (
            {
                "effect": "auditIfNotExists",
                "details": {
                    "type": "Microsoft.Compute/virtualMachines",
                    "name": "[field('name')]",
                    "existenceCondition": {"field": "location", "equals": "westeurope"},
                },
            },
            True,
        ),
    ],
)
def test_effects(then: dict[str, Any], compliant: bool | None) -> None:
    answer = read_definition(definition(then)).evaluate(with_extensions(AGENT))
    assert (answer.applies, answer.compliant) == (True, compliant)


def test_what_lies_beside_a_vm_is_not_read_and_the_answer_says_so() -> None:
    details = {
        "type": "Microsoft.GuestConfiguration/guestConfigurationAssignments",
        "name": "Baseline",
        "existenceCondition": {
            "field": "Microsoft.GuestConfiguration/guestConfigurationAssignments/parameterHash",
            "equals": "[base64(concat('[Baseline]Rule;Members', '=', parameters('publisher')))]",
        },
    }
    read = read_definition(definition({"effect": "deployIfNotExists", "details": details}))
    answer = read.evaluate(with_extensions(AGENT))
    assert (answer.applies, answer.compliant) == (True, None)
    assert "guestConfigurationAssignments 'Baseline' in the resource's body, which does not list" in answer.because[-1]
    assignment = {
        "type": details["type"],
        "name": "baseline",
        "properties": {"parameterHash": "W0Jhc2VsaW5lXVJ1bGU7TWVtYmVycz1taWNyb3NvZnQuYXp1cmUubW9uaXRvcg=="},
    }
    assert read.evaluate(VM | {"resources": [assignment]}, GIVEN).compliant is True


def test_a_name_that_only_azure_can_work_out_matters_only_where_there_is_something_to_be_named() -> None:
    for type_, without in ((EXTENSIONS, False), ("Microsoft.Insights/dataCollectionRuleAssociations", None)):
        details = {"type": type_, "name": "[concat('assoc-', uniqueString(field('id')))]"}
        answer = read_definition(definition({"effect": "auditIfNotExists", "details": details}))
        assert answer.evaluate(with_extensions(AGENT)).compliant is None
        assert answer.evaluate(VM).compliant is without


def test_inside_an_existence_condition_the_field_function_asks_the_vm() -> None:
    same_place = {"field": "location", "equals": "[field('location')]"}
    then = {"effect": "auditIfNotExists", "details": {"type": EXTENSIONS, "existenceCondition": same_place}}
    body = with_extensions(AGENT)
    assert read_definition(definition(then)).evaluate(body).compliant is True
    body["resources"][0]["location"] = "eastus"
    assert read_definition(definition(then)).evaluate(body).compliant is False


def test_a_parameter_without_value_matters_only_where_the_answer_depends_on_it() -> None:
    read = read_definition(definition())
    assert read.evaluate(VM).compliant is False
    undecided = read.evaluate(with_extensions(AGENT))
    assert undecided.compliant is None
    assert "parameter 'publisher' has neither a value nor a default" in undecided.because[-1]
    unknown_effect = definition({"effect": "[parameters('publisher')]", "details": DETAILS})
    assert read_definition(unknown_effect).evaluate(VM).effect == "[parameters('publisher')]"
    in_rule = definition(rule={"field": "name", "equals": "[parameters('publisher')]"})
    answer = read_definition(in_rule).evaluate(VM)
    assert (answer.applies, answer.compliant) == (None, None)
    assert "cannot be decided" in answer.because[-1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"efect": "Disabled"}, "unknown parameter 'efect' (parameters); known parameters: "),
        (
            {"effect": "disabled"},
            "'disabled' is not an allowed value of parameter 'effect' (parameters.effect); use "
            "'DeployIfNotExists', 'Disabled'",
        ),
        (
            {"places": ["eastus", "moon"]},
            "'moon' is not an allowed value of parameter 'places' (parameters.places); use",
        ),
        (
            {"places": "eastus"},
            "'eastus' is not of the type of parameter 'places' (parameters.places); write a value of type array",
        ),
        (
            {"strict": "yes"},
            "'yes' is not of the type of parameter 'strict' (parameters.strict); write a value of type boolean",
        ),
    ],
)
def test_parameter_values_are_checked(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConditionError, match=r" \(parameters[.\w]*\); \S") as caught:
        read_definition(definition()).bind(values)
    assert message in str(caught.value)


def test_parameter_values_come_plain_or_as_an_assignment_writes_them() -> None:
    read = read_definition(definition())
    for values in ({"EFFECT": "Disabled"}, {"effect": {"value": "Disabled"}}):
        assert read.evaluate(VM, values).effect == "Disabled"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "the file holds no definition (definition); give"),
        (3, "3 is not an object (definition); give"),
        ({"properties": {}}, "missing key 'policyRule' (properties.policyRule); give"),
        ({"policyRule": {"if": IF}}, "missing key 'then' (policyRule.then); write"),
        ({"policyRule": {"then": {"effect": "audit"}}}, "missing key 'if' (policyRule.if); write"),
        ({"policyRule": {"if": IF, "then": {}}}, "missing key 'effect' (policyRule.then.effect); add"),
        ({"properties": {"policyDefinitions": []}}, "this is an initiative (properties.policyDefinitions); import it"),
        (
            {"parameters": [], "policyRule": {"if": IF, "then": {"effect": "audit"}}},
            "an empty list is not an object (parameters); write",
        ),
        (
            definition({"effect": "[parametres('x')]"}),
            "unknown function 'parametres' (properties.policyRule.then.effect); known functions",
        ),
        (
            definition({"effect": "audit", "details": {"type": "x", "existenceCondition": {"field": "x"}}}),
            "properties.policyRule.then.details.existenceCondition",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(raw: Any, message: str) -> None:
    with pytest.raises(ConditionError) as caught:
        read_definition(raw)
    assert message in str(caught.value)
    assert any(message in str(error) for error in errors_of(raw))


def test_both_conditions_are_checked_to_the_end() -> None:
    broken = {"anyOf": [{"field": "nam", "exists": True}, {"field": "name", "exist": True}]}
    details = {"type": EXTENSIONS, "existenceCondition": {"field": "x", "equals": 1}}
    errors = errors_of(definition({"effect": "auditIfNotExists", "details": details}, broken))
    assert [error.place.removeprefix("properties.policyRule.") for error in errors] == [
        "if.anyOf[0].field",
        "if.anyOf[1]",
        "then.details.existenceCondition.field",
    ]
    assert errors_of(definition()) == ()
