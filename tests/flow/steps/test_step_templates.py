"""`onboard template` prints identity, associations and extension, and Bicep's compiler takes every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import pytest

from onboarding.cli.main import main
from tests.bicep_compiler import compile_text, decompile, needs_bicep
from tests.flow.steps.test_azure_monitor import ENDPOINT, OURS, POLICY, RULE

ADDED = {"use": "added", "add": "{AMA_IDENTITY_ID}"}
FORMS = [(placement, *complete) for placement in ("nested", "root") for complete in ((), ("--complete",))]
ASSOCIATION = "Microsoft.Compute/virtualMachines/providers/dataCollectionRuleAssociations"


class Print(Protocol):
    def __call__(self, *arguments: str, policy: dict[str, Any] | None = None, **settings: str) -> str: ...


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Print:
    for name in ("DATA_COLLECTION_RULE_ID", "DATA_COLLECTION_ENDPOINT_ID", "AMA_IDENTITY_ID"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, policy: dict[str, Any] | None = None, **settings: str) -> str:
        (tmp_path / "policies").mkdir(exist_ok=True)
        (tmp_path / "policies" / "p.json").write_text(json.dumps({**POLICY, **(policy or {})}))
        values = {"ONBOARDING_POLICIES": str(tmp_path / "policies"), **settings}
        (tmp_path / "settings.json").write_text(json.dumps({"Values": values}))
        assert main(["template", "--settings", str(tmp_path / "settings.json"), "--placement", *arguments]) == 0
        return capsys.readouterr().out

    return run


def test_a_whole_template_for_a_vm_that_is_there_has_the_three_writes_in_order(printed: Print) -> None:
    settings: dict[str, Any] = {
        "DATA_COLLECTION_RULE_ID": RULE,
        "DATA_COLLECTION_ENDPOINT_ID": ENDPOINT,
        "AMA_IDENTITY_ID": OURS,
    }
    made = json.loads(printed("root", "--complete", **settings))
    machine, rule, endpoint, extension = made["resources"]
    assert machine["identity"] == "[parameters('vmIdentity')]"
    assert made["parameters"]["vmIdentity"]["defaultValue"] == {
        "type": "UserAssigned",
        "userAssignedIdentities": {OURS: {}},
    }
    assert (rule["type"], rule["properties"]["dataCollectionRuleId"]) == (ASSOCIATION, RULE)
    assert endpoint["name"].endswith("/Microsoft.Insights/', 'configurationAccessEndpoint')]")
    assert extension["type"] == "Microsoft.Compute/virtualMachines/extensions"
    depends = ["[resourceId('Microsoft.Compute/virtualMachines', parameters('vmName'))]"]
    assert rule["dependsOn"] == endpoint["dependsOn"] == extension["dependsOn"] == depends
    assert "properties" not in machine


def test_a_new_vm_has_its_identity_and_in_it_association_and_extension(printed: Print) -> None:
    made = json.loads(printed("nested", "--complete", DATA_COLLECTION_RULE_ID=RULE))
    (machine,) = made["resources"]
    assert machine["identity"] == {"type": "SystemAssigned"}
    assert [each["type"] for each in machine["resources"]] == ["providers/dataCollectionRuleAssociations", "extensions"]
    assert "vmIdentity" not in made["parameters"]


def test_the_resources_alone_are_a_list_or_the_part_of_a_vm(printed: Print) -> None:
    listed = json.loads(printed("root", DATA_COLLECTION_RULE_ID=RULE))
    assert [each["type"].rpartition("/")[2] for each in listed] == [
        "virtualMachines",
        "dataCollectionRuleAssociations",
        "extensions",
    ]
    part = json.loads(printed("nested", DATA_COLLECTION_RULE_ID=RULE))
    assert (list(part), len(part["resources"])) == (["identity", "resources"], 2)


def test_a_rule_that_is_not_known_here_is_a_parameter(printed: Print) -> None:
    made = json.loads(printed("root", "--complete"))
    association = made["resources"][1]
    assert association["properties"]["dataCollectionRuleId"] == "[parameters('dataCollectionRuleId')]"
    assert "uniqueString(parameters('dataCollectionRuleId'))" in association["name"]
    assert "defaultValue" not in made["parameters"]["dataCollectionRuleId"]


def test_a_policy_that_adds_no_identity_leaves_the_vm_alone(printed: Print) -> None:
    made = json.loads(printed("root", "--complete", policy={"identity": {"add": "none"}}, DATA_COLLECTION_RULE_ID=RULE))
    assert [each["type"].rpartition("/")[2] for each in made["resources"]] == [
        "dataCollectionRuleAssociations",
        "extensions",
    ]
    assert not any("dependsOn" in each for each in made["resources"])


def test_the_only_identity_that_may_serve_is_named_in_the_settings(printed: Print) -> None:
    made = json.loads(printed("root", "--complete", policy={"identity": ADDED}, AMA_IDENTITY_ID=OURS))
    assert OURS in json.dumps(made["resources"][-1]["properties"]["settings"])


@pytest.mark.parametrize("placement", ["nested", "root"])
@pytest.mark.parametrize("extension", ["azure-monitor-agent-linux", "azure-monitor-agent-windows", "oms-agent-linux"])
def test_a_whole_template_names_what_it_depends_on_by_its_id(printed: Print, placement: str, extension: str) -> None:
    """Microsoft's toolkit for tests of templates asks for it."""
    settings = {"settings": {"workspaceId": "{OMS_WORKSPACE_ID}"}} if extension == "oms-agent-linux" else {}
    made = printed(placement, "--complete", policy={"extension": extension, **settings}, DATA_COLLECTION_RULE_ID=RULE)

    def dependencies(resources: list[dict[str, Any]]) -> list[str]:
        inner = [each for resource in resources for each in dependencies(resource.get("resources", []))]
        return [*(each for resource in resources for each in resource.get("dependsOn", [])), *inner]

    found = dependencies(json.loads(made)["resources"])
    assert found
    assert all(each.startswith("[resourceId(") for each in found)


@needs_bicep
@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_every_form_compiles_without_a_warning(printed: Print, form: tuple[str, ...]) -> None:
    known = {"DATA_COLLECTION_RULE_ID": RULE, "DATA_COLLECTION_ENDPOINT_ID": ENDPOINT, "AMA_IDENTITY_ID": OURS}
    oms = {"extension": "oms-agent-linux", "identity": None, "dataCollectionRules": None}
    without = {**oms, "dataCollectionEndpoint": None, "settings": {"workspaceId": "{OMS_WORKSPACE_ID}"}}
    windows = {"extension": "azure-monitor-agent-windows", "identity": ADDED}
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, known), ({}, {}), (windows, known), (without, {})]
    for policy, settings in cases:
        compile_text(printed(*form, "--format", "bicep", policy=policy, **settings))


@needs_bicep
@pytest.mark.parametrize("placement", ["nested", "root"])
def test_whole_templates_in_json_are_ones_that_bicep_reads(printed: Print, placement: str) -> None:
    read = decompile(printed(placement, "--complete", DATA_COLLECTION_RULE_ID=RULE))
    assert "dataCollectionRuleAssociations" in read


def test_the_client_id_of_an_identity_that_settings_name_is_a_parameter(printed: Print) -> None:
    policy: dict[str, Any] = {
        "extension": "key-vault-linux",
        "identity": {"use": "any", "add": "{AMA_IDENTITY_ID}"},
        "dataCollectionRules": [],
        "dataCollectionEndpoint": None,
        "settings": {"secretsManagementSettings": {"observedCertificates": [{"url": "https://v.example/secrets/web"}]}},
    }
    made = json.loads(printed("root", "--complete", policy=policy, AMA_IDENTITY_ID=OURS))
    settings = made["resources"][-1]["properties"]["settings"]
    assert settings["authenticationSettings"]["msiClientId"] == "[parameters('authenticationSettingsMsiClientId')]"
    assert OURS in made["parameters"]["authenticationSettingsMsiClientId"]["metadata"]["description"]
    made = json.loads(printed("root", "--complete", policy=policy))
    assert "authenticationSettings" not in made["resources"][-1]["properties"]["settings"], "the system's serves"
