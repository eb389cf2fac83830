"""Many subscriptions: the roles on a management group, and the policy that gives each subscription its events. The
policy's definition is compared with the form that Azure Policy takes (policyDefinitions, 2025-01-01). Subscriptions of
another tenant come by Lighthouse, with its limits."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.unit.infra.deployed import compiled, of_type, one, snapshot, texts

MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/onboarding"
# The properties that Azure Policy knows, of a definition and of the details of deployIfNotExists.
DEFINITION = {"policyType", "mode", "displayName", "description", "metadata", "parameters", "policyRule"}
DETAILS = {
    *("type", "name", "resourceGroupName", "existenceScope", "existenceCondition", "evaluationDelay"),
    *("roleDefinitionIds", "deploymentScope", "deployment"),
}


def definition() -> Mapping[str, Any]:
    """As ARM gets it: what begins with `[[` there is the policy's own expression."""
    (found,) = [
        each
        for each in compiled("management-group")["resources"].values()
        if each["type"] == "Microsoft.Authorization/policyDefinitions"
    ]
    properties: Mapping[str, Any] = found["properties"]
    return properties


def details() -> Mapping[str, Any]:
    found: Mapping[str, Any] = definition()["policyRule"]["then"]["details"]
    return found


def template() -> Mapping[str, Any]:
    """The template in the policy, as a subscription gets it: without the bracket that keeps its expressions from being
    evaluated too early."""
    name = re.fullmatch(r"\[variables\('(.+)'\)\]", details()["deployment"]["properties"]["template"])
    assert name is not None
    text = json.dumps(compiled("management-group")["variables"][name[1]])
    unescaped: Mapping[str, Any] = json.loads(text.replace('"[[', '"['))
    return unescaped


def test_the_definition_has_the_form_that_azure_policy_takes() -> None:
    found = definition()
    assert set(found) <= DEFINITION
    assert (found["policyType"], found["mode"]) == ("Custom", "All")
    assert len(found["displayName"]) <= 128
    assert len(found["description"]) <= 512
    assert set(found["policyRule"]) == {"if", "then"}
    assert set(found["policyRule"]["then"]) == {"effect", "details"}
    assert set(details()) <= DETAILS
    assert details()["existenceScope"] in ("resourceGroup", "subscription")
    assert details()["deploymentScope"] == "subscription"
    deployment = details()["deployment"]
    assert set(deployment) == {"location", "properties"}  # a deployment to a subscription names its region
    assert set(deployment["properties"]) == {"mode", "template", "parameters"}
    assert deployment["properties"]["mode"] == "incremental"


def test_the_policy_is_about_subscriptions_and_has_every_parameter_that_it_uses() -> None:
    rule = definition()["policyRule"]
    assert rule["if"] == {"field": "type", "equals": "Microsoft.Resources/subscriptions"}
    declared = one(snapshot("management-group"), "Microsoft.Authorization/policyDefinitions")["properties"][
        "parameters"
    ]
    assert set(declared["effect"]["allowedValues"]) == {"DeployIfNotExists", "AuditIfNotExists", "Disabled"}
    assert {each["type"] for each in declared.values()} <= {"String", "Boolean", "Object"}
    own = set(_parameters_of_the_policy())
    given = one(snapshot("management-group"), "Microsoft.Authorization/policyAssignments")["properties"]["parameters"]
    assert own | {"effect"} == set(given) == set(declared)
    assert all(set(each) == {"value"} for each in given.values())


def _parameters_of_the_policy() -> Iterator[str]:
    for text in texts(details()):
        found = re.fullmatch(r"\[\[parameters\('(\w+)'\)\]", text)
        if found:
            yield found[1]


def test_each_subscription_gets_what_scripts_subscribe_deploys_but_for_the_roles() -> None:
    inner = json.loads(json.dumps(template()))
    outer = json.loads(json.dumps(compiled("subscription")))
    for each in (inner, outer):
        each["metadata"].pop("_generator")
    assert inner["parameters"] == outer["parameters"]
    assert inner["resources"].keys() == outer["resources"].keys()
    given = details()["deployment"]["properties"]["parameters"]
    required = {name for name, what in inner["parameters"].items() if "defaultValue" not in what}
    assert required <= set(given) <= set(inner["parameters"])
    assert given["assignRoles"] == {"value": False}


def test_the_policy_finds_what_the_template_makes() -> None:
    """Else it would deploy again and again."""
    topic = one(snapshot("subscription-private"), "Microsoft.EventGrid/systemTopics", "onboarding")
    assert (details()["type"], details()["name"]) == (topic["type"], topic["name"])


def test_one_role_on_the_management_group_takes_the_place_of_one_in_each_subscription() -> None:
    resources = snapshot("management-group")
    roles = [
        each
        for each in of_type(resources, "Microsoft.Authorization/roleDefinitions")
        if each["id"].startswith(MANAGEMENT_GROUP)
    ]
    # Azure allows one management group in a custom role, and no data actions.
    assert {tuple(each["properties"]["assignableScopes"]) for each in roles} == {(MANAGEMENT_GROUP,)}
    assert not any("dataActions" in part for each in roles for part in each["properties"]["permissions"])
    assigned = [
        each
        for each in of_type(resources, "Microsoft.Authorization/roleAssignments")
        if each["id"].startswith(MANAGEMENT_GROUP)
    ]
    assert len(assigned) == len(roles)


def test_the_policys_identity_may_give_topics_their_two_roles_and_no_other() -> None:
    (conditional,) = [
        each["properties"]
        for each in of_type(snapshot("management-group"), "Microsoft.Authorization/roleAssignments")
        if "condition" in each["properties"]
    ]
    allowed = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", conditional["condition"]))
    topics = {
        each["properties"]["roleDefinitionId"].rpartition("/")[2]
        for each in of_type(snapshot("subscription-private"), "Microsoft.Authorization/roleAssignments")
        if "systemTopics" in each["properties"]["principalId"]
    }
    assert allowed == topics
    for action in ("write", "delete"):
        assert f"roleAssignments/{action}'" in conditional["condition"]


def policys_role(name: str) -> set[str]:
    (found,) = [
        each["properties"]
        for each in of_type(snapshot("management-group"), "Microsoft.Authorization/roleDefinitions")
        if name in each["properties"]["roleName"]
    ]
    return set(found["permissions"][0]["actions"])


def test_the_policys_identity_can_use_keys_identities_and_storage_of_the_app_s_group_alone() -> None:
    """Below the management group are the workspaces and identities of everybody."""
    elsewhere = policys_role("Subscriber")
    assert not [each for each in elsewhere if "sharedKeys" in each or "ManagedIdentity" in each or "Storage" in each]
    assert {"Microsoft.EventGrid", "Microsoft.Insights", "Microsoft.Resources"} == {
        each.partition("/")[0] for each in elsewhere
    }
    (destinations,) = [
        each
        for each in of_type(snapshot("management-group"), "Microsoft.Authorization/roleDefinitions")
        if "Destinations" in each["properties"]["roleName"]
    ]
    assert "/resourceGroups/rg-onboarding" in destinations["id"] + str(destinations["properties"]["assignableScopes"])


def test_the_subscribers_role_has_what_the_template_deploys() -> None:
    role = policys_role("Subscriber")
    by_the_condition = {"Microsoft.Authorization/roleAssignments"}
    for each in snapshot("subscription-private"):
        if each["type"] in by_the_condition or each["type"] == "Microsoft.Authorization/roleDefinitions":
            continue  # the policy hands over assignRoles: false
        type_ = each["type"].replace("Microsoft.Resources/", "Microsoft.Resources/subscriptions/")
        assert f"{type_}/write" in role, type_


def test_lighthouse_gets_a_built_in_role_that_it_takes() -> None:
    text = json.dumps(compiled("lighthouse"))
    assert "9980e02c-c2be-4d73-94e8-173b1dc7cf3c" in text  # Virtual Machine Contributor
    types = {each["type"] for each in compiled("lighthouse")["resources"]}
    assert types == {
        "Microsoft.ManagedServices/registrationDefinitions",
        "Microsoft.ManagedServices/registrationAssignments",
    }
