"""Policies made from an initiative decide on each VM as its members do, to the end: with the identity that a member
adds, the others see a machine with that identity."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import replace
from pathlib import Path
from typing import Any

import pytest

from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.policy.conditions import Resource, compile_condition
from onboarding.domain.policy.definitions.definition import Definition, read_definition
from onboarding.domain.policy.definitions.definition_forms import kept_in
from onboarding.domain.policy.definitions.initiative import members_of, names_in, passed_values, set_values
from onboarding.domain.policy.definitions.initiative_import import (
    ImportedSet,
    MemberResult,
    SetMember,
    import_initiative,
)
from onboarding.loading.policy_folder import load_catalogue
from tests.shared_samples import SAMPLES, needs_samples
from tests.unit.policy.initiative_bodies import (
    association_details,
    audit_details,
    bodies,
    definition,
    extension_details,
    identity_details,
    image_block,
    initiative,
    published_images,
)

ADDED = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/added"


def set_members(raw: Any, definitions: Mapping[str, Any], values: Mapping[str, Any]) -> list[SetMember]:
    kept = kept_in(raw)[0]
    given = set_values(kept, values)
    return [
        SetMember(
            each.reference, each.definition_id, read_definition(definitions[each.key]), passed_values(each, given)
        )
        for each in members_of(kept)
    ]


def matches(rule: Any, parameters: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    found = compile_condition(rule, parameters).evaluate(Resource(body))
    assert found.decided, found.problem
    return found.matched


def with_identity(body: Mapping[str, Any], add: str) -> dict[str, Any]:
    identity = dict(body.get("identity") or {})
    users = dict(identity.get("userAssignedIdentities") or {}) | ({} if add == SYSTEM else {ADDED: {}})
    system = add == SYSTEM or "SystemAssigned" in identity.get("type", "")
    kinds = [*(["SystemAssigned"] if system else []), *(["UserAssigned"] if users else [])]
    return {**body, "identity": {"type": ", ".join(kinds), **({"userAssignedIdentities": users} if users else {})}}


class Comparison:
    """The members of an initiative and the policies that were made from them, on one VM."""

    def __init__(self, members: list[SetMember], result: ImportedSet, body: Mapping[str, Any]) -> None:
        self._members = {member.reference: member for member in members}
        self._policies = {str(policy["name"]): policy for policy in result.policies}
        self._results = result.members
        self._body = body

    def differences(self) -> Iterator[str]:
        for result_of in self._results:
            if own := [self._policies[name] for name in policies_of(result_of, "extension")]:
                yield from self._of_extension(result_of.reference, own)

    def _of_extension(self, reference: str, own: list[Mapping[str, Any]]) -> Iterator[str]:
        selecting = [each for each in own if matches(each["rule"], each.get("parameters", {}), self._body)]
        final = self._with_identity(own)
        expected = self._wants(reference, final) or self._wants(reference, self._body)
        if len(selecting) != int(expected):
            yield f"{reference}: {len(selecting)} policies select it, expected {expected}"
        elif selecting:
            yield from self._of_steps(selecting[0]["name"], {str(each["name"]) for each in own}, final)

    def _of_steps(self, name: str, own: set[str], final: Mapping[str, Any]) -> Iterator[str]:
        for other in self._results:
            for step, seen in (("identity", self._body), ("association", final)):
                named = policies_of(other, step)
                if not named & own:
                    continue
                wants = self._wants(other.reference, seen)
                if wants and name not in named:
                    yield f"{other.reference}: no {step} in {name}"
                if step == "association" and name in named and not wants:
                    yield f"{other.reference}: {step} in {name}, and it does not want it"

    def _with_identity(self, own: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        """The VM after the identity members that are steps of these policies."""
        names = {str(each["name"]) for each in own}
        for other in self._results:
            if policies_of(other, "identity") & names and self._wants(other.reference, self._body):
                need = next(policy["identity"] for policy in own if "identity" in policy)
                return with_identity(self._body, need["add"])
        return self._body

    def _wants(self, reference: str, machine: Mapping[str, Any]) -> bool:
        member = self._members[reference]
        assert isinstance(member.definition, Definition)
        return matches(member.definition.rule, member.definition.resolve(member.values), machine)


def policies_of(result_of: MemberResult, step: str) -> set[str]:
    return {each.policy for each in result_of.becomes if each.step == step}


def differences(members: list[SetMember], result: ImportedSet, machines: Iterator[dict[str, Any]]) -> list[str]:
    found = []
    for body in machines:
        image = body["properties"]["storageProfile"]["imageReference"]
        for each in Comparison(members, result, body).differences():
            found.append(f"{image} {body['location']} {body.get('identity', {}).get('type')}: {each}")
    return found


AGENT = ("Microsoft.Azure.Monitor", "AzureMonitorLinuxAgent")
IN_EUROPE = {"field": "location", "in": ["westeurope", "northeurope"]}
IN_BOTH = {"field": "location", "in": ["westeurope", "chinaeast2"]}
NO_SYSTEM = {"field": "identity.type", "notContains": "SystemAssigned"}
WITH_SYSTEM = {"field": "identity.type", "contains": "SystemAssigned"}
SETTINGS = {
    "authentication": {"managedIdentity": {"identifier-name": "mi_res_id", "identifier-value": "[parameters('id')]"}}
}
DEFINITIONS = {
    each["name"]: each
    for each in (
        definition(
            "agent",
            [IN_BOTH, image_block("Canonical", "RedHat")],
            extension_details(*AGENT, SETTINGS, id="[parameters('identityResourceId')]"),
            images=[],
            identityResourceId="",
        ),
        definition("identity", [], identity_details(), identityResourceId=""),
        definition(
            "association",
            [IN_EUROPE, image_block("Canonical", "RedHat", "SUSE")],
            association_details(),
            images=[],
            dcrResourceId=None,
        ),
        definition(
            "vendor",
            [WITH_SYSTEM, image_block("Canonical")],
            extension_details("Contoso.Agents", "WatcherForLinux", {"port": 80, "id": "[field('id')]"}),
            images=[],
        ),
        definition(
            "audit",
            [image_block("Canonical", "SUSE")],
            {
                "type": "Microsoft.Compute/virtualMachines/extensions",
                "existenceCondition": {
                    "allOf": [
                        {"field": "Microsoft.Compute/virtualMachines/extensions/publisher", "equals": AGENT[0]},
                        {"field": "Microsoft.Compute/virtualMachines/extensions/type", "equals": AGENT[1]},
                    ]
                },
            },
            images=[],
            effect="AuditIfNotExists",
        ),
        definition("alone", [], {"type": "Microsoft.GuestConfiguration/guestConfigurationAssignments"}),
        definition("denying", [], {}, effect="Deny"),
        definition(
            "region",
            [{"field": "location", "in": "[parameters('regions')]"}],
            extension_details("Contoso.Agents", "WatcherForLinux", {}),
            regions=None,
        ),
    )
}
DEFINITIONS["system"] = {
    "name": "system",
    "properties": {
        "policyRule": {
            "if": {"allOf": [{"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, NO_SYSTEM, IN_EUROPE]},
            "then": {
                "effect": "modify",
                "details": {
                    "operations": [{"operation": "addOrReplace", "field": "identity.type", "value": "SystemAssigned"}]
                },
            },
        }
    },
}
MANY = initiative(
    ("Identity", "identity", {}),
    ("DeployAgent", "agent", {}),
    ("Associate", "association", {"dcrResourceId": "[parameters('dcr')]"}),
    dcr=None,
)


def imported(raw: Any, values: Mapping[str, Any] | None = None) -> tuple[list[SetMember], ImportedSet]:
    members = set_members(raw, DEFINITIONS, values or {})
    return members, import_initiative(members, load_catalogue(), "all")


def test_identity_agent_and_association_become_one_policy_and_its_twin() -> None:
    members, result = imported(MANY)
    whole, twin = result.policies
    assert (whole["name"], twin["name"]) == ("contoso-agent", "contoso-agent-without-rule")
    assert whole["extension"] == "azure-monitor-agent-linux"
    assert whole["identity"] == {"use": "sole", "add": "{IDENTITY_RESOURCE_ID}", "besideOthers": True}
    assert whole["dataCollectionRules"] == ["{DCR_RESOURCE_ID}"]
    assert ("settings" in whole, "dataCollectionRules" in twin) == (False, False)
    assert whole["azurePolicy"] == [
        f"/providers/Microsoft.Authorization/policyDefinitions/{name}" for name in ("agent", "identity", "association")
    ]
    assert differences(members, result, bodies()) == []
    association = result.members[2]
    assert [(each.policy, each.step) for each in association.becomes] == [("contoso-agent", "association")]
    assert "on VMs that get no extension" in association.notes[0]


def test_a_rule_that_asks_for_the_identity_selects_the_machines_that_get_it() -> None:
    members, result = imported(initiative(("Vendor", "vendor", {}), ("System", "system", {})))
    assert [policy["name"] for policy in result.policies] == ["contoso-vendor", "contoso-vendor-without-identity"]
    assert result.policies[0]["identity"] == {"use": "added", "add": "system", "besideOthers": True}
    assert differences(members, result, bodies()) == []
    (entry,) = result.entries
    assert (entry["publisher"], entry["type"], entry["os"]) == ("Contoso.Agents", "WatcherForLinux", "linux")
    assert entry["needs"] == {"identity": "system"}
    assert entry["settings"]["properties"] == {"port": {"type": "integer"}, "id": {"type": "string"}}
    assert result.policies[0]["settings"] == {"port": 80, "id": "{machine.id}"}


def test_a_policy_that_only_audits_stands_behind_those_that_install() -> None:
    members, result = imported(initiative(("Audit", "audit", {}), ("DeployAgent", "agent", {})))
    deploy, audit = result.policies
    assert (deploy["effect"], audit["effect"]) == ("deployIfNotExists", "auditIfNotExists")
    assert (deploy["name"], audit["name"]) == ("contoso-agent", "contoso-audit")
    assert differences(members, result, bodies()) == []
    members = [
        replace(each, definition=replace(each.definition, display_name="")) for each in members if each.definition
    ]
    _, audit = import_initiative(members, load_catalogue()).policies
    assert audit["name"] == "then-audit"  # and the other is deploy-agent


@pytest.mark.parametrize(
    ("name", "values", "reason", "fix"),
    [
        ("alone", {}, "a setting inside the machine", ""),
        ("denying", {}, "its effect is Deny", ""),
        ("region", {}, "its conditions need a value of regions", "--parameter regions=VALUE"),
        ("association", {"dcrResourceId": "x"}, "another one in each region", "write a policy for each rule"),
        ("identity", {}, "a step beside an extension", "into the policy of the agent"),
        ("agent", {"effect": "Nothing"}, "unknown effect", "known effects"),
    ],
)
def test_what_becomes_nothing_is_named(name: str, values: dict[str, Any], reason: str, fix: str) -> None:
    _, result = imported(initiative(("It", name, values)))
    (result_of,) = result.members
    assert (result_of.becomes, result.policies) == ((), ())
    assert reason in result_of.reason
    assert fix in result_of.fix


def test_given_values_are_written() -> None:
    rule = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/r"
    raw = initiative(
        ("Identity", "identity", {"identityResourceId": ADDED}),
        ("DeployAgent", "agent", {"identityResourceId": ADDED}),
        ("Associate", "association", {"dcrResourceId": "[parameters('dcr')]"}),
        dcr=None,
    )
    _, result = imported(raw, {"dcr": rule})
    assert result.policies[0]["identity"]["add"] == ADDED
    assert result.policies[0]["dataCollectionRules"] == [rule]
    assert "settings" not in result.policies[0]  # the entry names the identity that is on the machine


def test_what_a_deployment_writes_besides_is_a_step_or_named() -> None:
    details = extension_details("Contoso.Agents", "WatcherForLinux", {})
    inner = details["deployment"]["properties"]["template"]["resources"]
    kind = "Microsoft.Insights/dataCollectionRuleAssociations"
    inner.append({"type": kind, "name": "a", "properties": {"dataCollectionRuleId": "[parameters('rule')]"}})
    inner.append({"type": "Microsoft.Insights/dataCollectionRules", "name": "r", "properties": {}})
    details["deployment"]["properties"]["parameters"]["rule"] = {"value": "[parameters('dcrResourceId')]"}
    both = read_definition(definition("both", [], details, dcrResourceId=None))
    result = import_initiative([SetMember("Both", both.id, both, {})], load_catalogue())
    assert result.policies[0]["dataCollectionRules"] == ["{DCR_RESOURCE_ID}"]
    (note,) = result.members[0].notes
    assert "its deployment also writes Microsoft.Insights/dataCollectionRules, and no policy does that" in note


SCANNER = ("Contoso.Agents", "Scanner")
WINDOWS_IMAGES = [
    {"field": "Microsoft.Compute/imagePublisher", "equals": "MicrosoftWindowsServer"},
    {"field": "Microsoft.Compute/imageSKU", "notLike": "2008*"},
]
ANY_LINUX = {"field": "Microsoft.Compute/virtualMachines/osProfile.linuxConfiguration", "exists": "true"}


def of(*raw: dict[str, Any], catalogue: bool = False) -> ImportedSet:
    """An initiative of these definitions, each a member with its name."""
    members = [SetMember(each["name"], each["id"], read_definition(each), {}) for each in raw]
    return import_initiative(members, load_catalogue() if catalogue else {}, "all")


@pytest.mark.parametrize(
    ("raw", "systems"),
    [
        ([definition("deploy", WINDOWS_IMAGES, extension_details(*SCANNER, {}))], {"scanner-windows": "windows"}),
        ([definition("deploy", [ANY_LINUX], extension_details(*SCANNER, {}))], {"scanner-linux": "linux"}),
        ([definition("deploy-for-windows", [], extension_details(*SCANNER, {}))], {"scanner-windows": "windows"}),
        # a member that wants one of two: the other one is for the other system
        (
            [
                definition(
                    "one-of-two", [], audit_details(SCANNER, ("Contoso.Agents", "ScannerForLinux")), effect="Audit"
                )
            ],
            {"scanner-windows": "windows", "scannerforlinux": "linux"},
        ),
        # what a rule leaves out tells nothing
        (
            [definition("deploy", [{"not": WINDOWS_IMAGES[0]}], extension_details(*SCANNER, {}))],
            {"scanner-linux": "linux"},
        ),
    ],
    ids=["images", "profile", "name", "one of two", "left out"],
)
def test_an_extension_that_does_not_name_its_system_gets_that_of_its_members(
    raw: list[dict[str, Any]], systems: dict[str, str]
) -> None:
    for each in raw:
        if each["properties"]["parameters"]["effect"]["defaultValue"] == "Audit":
            each["properties"]["parameters"]["effect"]["defaultValue"] = "AuditIfNotExists"
    assert {str(entry["name"]): entry["os"] for entry in of(*raw).entries} == systems


def test_an_entry_is_made_from_the_members_that_deploy_it() -> None:
    audit = definition("audit", WINDOWS_IMAGES, audit_details(SCANNER), effect="AuditIfNotExists")
    one = definition("one", WINDOWS_IMAGES, extension_details(*SCANNER, {"port": 80}))
    other = definition("other", WINDOWS_IMAGES, extension_details(*SCANNER, {"deep": True}))
    (entry,) = of(audit, one, other).entries
    assert entry["version"] == "1.2"
    assert set(entry["settings"]["properties"]) == {"port", "deep"}


def test_a_publisher_and_a_type_belong_together_only_in_one_way_to_meet_a_condition() -> None:
    pairs = (("Contoso.Windows", "ScannerForWindows"), ("Contoso.Linux", "ScannerForLinux"))
    result = of(definition("audit", [], audit_details(*pairs), effect="AuditIfNotExists"))
    assert [(entry["publisher"], entry["type"]) for entry in result.entries] == list(pairs)
    assert result.policies[0]["extension"] == ["scannerforwindows", "scannerforlinux"]


def test_of_two_extensions_for_one_system_the_other_is_named() -> None:
    pairs = (("Contoso.Agents", "ScannerForLinux"), ("Contoso.Agents", "WatcherForLinux"))
    result = of(definition("audit", [], audit_details(*pairs), effect="AuditIfNotExists"))
    assert result.policies[0]["extension"] == "scannerforlinux"
    assert "watcherforlinux would do, too" in result.members[0].notes[0]


def test_an_audit_that_another_policy_decides_before_is_noted() -> None:
    updating = {"field": "Microsoft.Compute/virtualMachines/extensions/autoUpgradeMinorVersion", "equals": "true"}
    strict = definition("strict", WINDOWS_IMAGES, audit_details(SCANNER, also=updating), effect="AuditIfNotExists")
    lax = definition("lax", WINDOWS_IMAGES, audit_details(SCANNER), effect="AuditIfNotExists")
    result = of(strict, lax)
    assert "on VMs that lax selects, too, that one's existence condition says" in result.members[0].notes[0]
    assert result.members[1].notes == ()


def test_an_association_that_waits_for_an_identity_which_nobody_adds_is_noted() -> None:
    _, result = imported(
        initiative(("Vendor", "vendor", {}), ("Associate", "association", {"dcrResourceId": "{RULE}"}))
    )
    assert [each.step for each in result.members[1].becomes] == ["association"]
    assert "on VMs that get no extension" in result.members[1].notes[0]


def test_a_value_that_a_template_does_not_take_is_not_needed() -> None:
    details = extension_details("Contoso.Agents", "WatcherForLinux", {})
    template = details["deployment"]["properties"]["template"]
    template["variables"] |= {
        "code": "[variables('codes')[parameters('location')]]",
        "codes": {"westeurope": "WEU"},
        "id": "[if(parameters('own'), parameters('rule'), concat('/subscriptions/', variables('code')))]",
    }
    kind = "Microsoft.Insights/dataCollectionRuleAssociations"
    template["resources"].append(
        {"type": kind, "name": "a", "properties": {"dataCollectionRuleId": "[variables('id')]"}}
    )
    details["deployment"]["properties"]["parameters"] |= {
        "own": {"value": "[parameters('bringYourOwnRule')]"},
        "rule": {"value": "[parameters('dcrResourceId')]"},
    }
    both = read_definition(definition("both", [], details, dcrResourceId="", bringYourOwnRule=False))
    for own, rules in ((True, ["{DCR_RESOURCE_ID}"]), (False, None)):
        result = import_initiative([SetMember("Both", both.id, both, {"bringYourOwnRule": own})], load_catalogue())
        assert result.policies[0].get("dataCollectionRules") == rules
        assert bool(result.members[0].notes) is (not own)  # the association in each region is named


def test_the_initiatives_names_of_parameters_are_found_in_any_case() -> None:
    raw = initiative(
        ("DeployAgent", "agent", {}), ("Associate", "association", {"DCRRESOURCEID": "[parameters('rule')]"}), rule=None
    )
    kept = kept_in(raw)[0]
    given = set_values(kept, {})
    members = [
        SetMember(
            each.reference,
            each.definition_id,
            read_definition(DEFINITIONS[each.key]),
            passed_values(each, given),
            names=names_in(each),
        )
        for each in members_of(kept)
    ]
    result = import_initiative(members, load_catalogue(), "all")
    assert result.policies[0]["dataCollectionRules"] == ["{RULE}"]


@pytest.mark.parametrize(
    ("rule", "effect", "reason"),
    [
        (
            {"field": "type", "in": ["Microsoft.Fabric/clusters", "x"]},
            "Audit",
            "it is about Microsoft.Fabric/clusters and",
        ),
        (
            {"field": "type", "equals": "Microsoft.Compute/virtualMachines/extensions"},
            "Audit",
            "extensions that are there",
        ),
        ({"field": "type", "equals": "Microsoft.Compute/virtualMachines"}, "Disabled", "its effect is disabled"),
    ],
)
def test_other_resources_are_named_as_they_are_written(rule: dict[str, Any], effect: str, reason: str) -> None:
    whole = {"name": "it", "properties": {"policyRule": {"if": rule, "then": {"effect": effect}}}}
    result = import_initiative([SetMember("It", "", read_definition(whole), {})], load_catalogue())
    assert reason in result.members[0].reason


INITIATIVES = sorted((SAMPLES / "initiatives").glob("*.json")) if SAMPLES.is_dir() else []


@needs_samples
@pytest.mark.parametrize("file", INITIATIVES, ids=lambda file: file.stem)
def test_the_built_in_initiatives_decide_as_their_members_do(file: Path) -> None:
    definitions = {path.stem: json.loads(path.read_text()) for path in (file.parent / "definitions").glob("*.json")}
    raw = json.loads(file.read_text())
    values = {"bringYourOwnUserAssignedManagedIdentity": True, "enableProcessesAndDependencies": True}
    known = raw["properties"].get("parameters", {})
    members = set_members(raw, definitions, {name: value for name, value in values.items() if name in known})
    result = import_initiative(members, load_catalogue(), raw["name"])
    assert differences(members, result, bodies()) == []
    assert differences(members, result, bodies(published_images(step=60))) == []
    assert all(result_of.becomes or result_of.reason for result_of in result.members)
    names = [str(policy["name"]) for policy in result.policies]
    assert len(names) == len(set(names))
