"""Offline commands, and rules that need values which no VM body has: the answer is unknown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main
from tests.flow.world import POLICY, vm_body
from tests.shared_samples import needs_samples, read_lines

CASES = [case for case in read_lines("field/plan.jsonl") if case["kind"] == "A"]


def lay_out(folder: Path, files: dict[str, Any]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


@needs_samples
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_field_samples(case: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_out(tmp_path, case["files"])
    options = ["--vm-list", str(tmp_path / case["vms"]), "--policies", str(tmp_path / "policies"), "--format", "json"]
    code = main(["policy", "plan", *options])
    output = capsys.readouterr()
    assert any(_as_wanted(wanted, code, output.out, output.err) for wanted in case["want"]), output.out + output.err


def _as_wanted(wanted: dict[str, Any], code: int, out: str, err: str) -> bool:
    if "refused" in wanted:
        return code != 0 and re.search(wanted["refused"], err) is not None
    decided = {each["vm"].rpartition("/")[2]: each["after"]["decision"] for each in json.loads(out)["changes"]}
    return all(decided[vm] in words for vm, words in wanted["decisions"].items())


UNKNOWN = [
    {"value": "[resourceGroup().tags['cost-center']]", "notIn": ["a", "b"]},
    {"not": {"value": "[resourceGroup().tags.env]", "equals": "lab"}},
    {"not": {"value": "[contains(resourceGroup().tags, 'skip')]", "equals": True}},
    {"value": "[resourceGroup().managedBy]", "exists": False},
    {"value": "[empty(resourceGroup().tags)]", "equals": True},
    {"field": "location", "notEquals": "[resourceGroup().location]"},
    {"field": "[concat('tags[', resourceGroup().tags.key, ']')]", "exists": False},
    {"value": "[subscription().tags.env]", "notEquals": "lab"},
    {"value": "[toLower(subscription().displayName)]", "notContains": "sandbox"},
    {"value": "[policy().definitionReferenceId]", "notMatch": "x"},
    {"value": "[requestContext().identity.appid]", "notEquals": "00000000"},
    {"anyOf": [{"field": "location", "equals": "eastus"}, {"value": "[policy().assignmentId]", "notLike": "*x*"}]},
    {"count": {"value": ["a", "b"], "where": {"value": "[resourceGroup().tags.x]", "equals": "a"}}, "equals": 0},
]


@pytest.mark.parametrize("rule", UNKNOWN, ids=lambda rule: json.dumps(rule)[:60])
def test_every_command_reports_the_unknown_value(
    rule: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vms, folder = tmp_path / "vms.json", tmp_path / "policies"
    definition = {"policyRule": {"if": rule, "then": {"effect": "audit"}}}
    lay_out(tmp_path, {"vms.json": [vm_body()], "policies/p.yaml": yaml.safe_dump({**POLICY, "rule": rule})})
    lay_out(tmp_path, {"definition.json": definition})

    def answer(*command: str) -> dict[str, Any]:
        assert main(["policy", *command, "--format", "json"]) == 0
        output: dict[str, Any] = json.loads(capsys.readouterr().out)
        return output

    (change,) = answer("plan", "--vm-list", str(vms), "--policies", str(folder))["changes"]
    assert change["after"]["decision"] == "Undetermined"
    assert "cannot be decided" in change["after"]["reason"]
    assert "is not known" in change["after"]["reason"]
    explained = answer("explain", "--vm", str(vms), "--policies", str(folder))
    assert (explained["policies"][0]["selected"], explained["decisions"][0]["decision"]) == (None, "Undetermined")
    evaluated = answer("evaluate", "--definition", str(tmp_path / "definition.json"), "--vm", str(vms))
    assert (evaluated["applies"], evaluated["compliant"]) == (None, None)
    assert "is not known" in evaluated["because"][-1]


def test_the_text_output_reports_the_unknown_value_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = {"value": "[policy().assignmentId]", "notEquals": "x"}
    lay_out(tmp_path, {"vm.json": vm_body(), "policies/p.yaml": yaml.safe_dump({**POLICY, "rule": rule})})
    lay_out(tmp_path, {"definition.json": {"policyRule": {"if": rule, "then": {"effect": "audit"}}}})
    main(["policy", "evaluate", "--definition", str(tmp_path / "definition.json"), "--vm", str(tmp_path / "vm.json")])
    assert "web01: unknown whether it applies (audit)" in capsys.readouterr().out
    main(["policy", "explain", "--vm", str(tmp_path / "vm.json"), "--policies", str(tmp_path / "policies")])
    output = capsys.readouterr().out
    assert "? policy linux-monitoring (decides): the rule of policy linux-monitoring cannot be decided" in output


GROUP = {"id": vm_body()["id"].partition("/providers/")[0], "location": "westeurope", "tags": {"env": "prod"}}
ACCOUNT = {"id": vm_body()["id"].split("/")[2], "name": "A Sandbox", "tenantId": "t", "state": "Enabled"}
AROUND = [
    [GROUP, ACCOUNT],
    {"value": [GROUP, {**ACCOUNT, "id": f"/subscriptions/{ACCOUNT['id']}", "displayName": "A Sandbox"}]},
    {"data": [{**GROUP, "id": GROUP["id"].upper()}, ACCOUNT], "count": 2},
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    ("rule", "decision", "applies"),
    [
        ({"value": "[resourceGroup().tags.env]", "notEquals": "lab"}, "Install", True),
        ({"value": "[resourceGroup().tags.none]", "exists": True}, "OutOfScope", False),
        ({"value": "[subscription().displayName]", "notLike": "*sandbox*"}, "OutOfScope", False),
        ({"value": "[subscription().tags.env]", "notEquals": "lab"}, "Undetermined", None),
        ({"value": "[resourceGroup().managedBy]", "exists": False}, "Undetermined", None),
    ],
)
def test_only_the_given_values_are_known(
    rule: dict[str, Any], decision: str, applies: Any, around: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path, {"vm.json": vm_body(), "policies/p.yaml": yaml.safe_dump({**POLICY, "rule": rule})})
    lay_out(tmp_path, {"definition.json": {"policyRule": {"if": rule, "then": {"effect": "audit"}}}})
    lay_out(tmp_path, {"around.json": around})
    given = ["--around", str(tmp_path / "around.json"), "--format", "json"]
    main(["policy", "plan", "--vm-list", str(tmp_path / "vm.json"), "--policies", str(tmp_path / "policies"), *given])
    assert json.loads(capsys.readouterr().out)["changes"][0]["after"]["decision"] == decision
    main(["policy", "explain", "--vm", str(tmp_path / "vm.json"), "--policies", str(tmp_path / "policies"), *given])
    assert json.loads(capsys.readouterr().out)["decisions"][0]["decision"] == decision
    definition = ["--definition", str(tmp_path / "definition.json"), "--vm", str(tmp_path / "vm.json")]
    main(["policy", "evaluate", *definition, *given])
    assert json.loads(capsys.readouterr().out)["applies"] is applies


@pytest.mark.parametrize(
    "text", ["[5]", '{"id": "/subscriptions/1/resourceGroups"}', '{"name": "x"}', "[", '{"id": 7}']
)
def test_a_file_without_groups_is_named(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay_out(tmp_path, {"vm.json": vm_body(), "policies/p.yaml": yaml.safe_dump(POLICY), "around.json": text})
    options = ["--vm-list", str(tmp_path / "vm.json"), "--policies", str(tmp_path / "policies")]
    assert main(["policy", "plan", *options, "--around", str(tmp_path / "around.json")]) == 2
    assert "around.json" in capsys.readouterr().err


def test_several_files_are_read_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ["[resourceGroup().tags.env]", "[subscription().displayName]"]
    rule = {"allOf": [{"value": part, "notEquals": "lab"} for part in parts]}
    lay_out(tmp_path, {"vm.json": vm_body(), "policies/p.yaml": yaml.safe_dump({**POLICY, "rule": rule})})
    lay_out(tmp_path, {"groups.json": json.dumps([GROUP], indent=2), "accounts.json": json.dumps([ACCOUNT], indent=2)})
    options = ["--vm-list", str(tmp_path / "vm.json"), "--policies", str(tmp_path / "policies"), "--format", "json"]
    given = [word for name in ("groups.json", "accounts.json") for word in ("--around", str(tmp_path / name))]
    for some, decision in ((given, "Install"), (given[:2], "Undetermined"), (given[2:], "Undetermined")):
        main(["policy", "plan", *options, *some])
        assert json.loads(capsys.readouterr().out)["changes"][0]["after"]["decision"] == decision


def test_a_case_may_give_the_group_and_the_subscription(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = {"value": "[resourceGroup().tags.env]", "notEquals": "lab"}
    cases = [
        {
            "name": "unknown",
            "vm": vm_body(),
            "expect": {"selected": None, "because": "resourceGroup().tags is not known"},
        },
        {"name": "lab", "vm": vm_body(), "resourceGroup": {"tags": {"env": "Lab"}}, "expect": {"selected": False}},
        {"name": "prod", "vm": vm_body(), "resourceGroup": {"tags": None}, "expect": {"selected": True}},
        {"name": "elsewhere", "vm": vm_body(), "resourceGroup": {"location": "x"}, "expect": {"selected": None}},
    ]
    lay_out(tmp_path, {"p.yaml": yaml.safe_dump({**POLICY, "rule": rule})})
    lay_out(tmp_path, {"p.cases.yaml": yaml.safe_dump({"policy": "p.yaml", "cases": cases})})
    assert main(["policy", "test", str(tmp_path)]) == 0
    assert "4 cases, 0 failed" in capsys.readouterr().out
    cases[0]["resourceGroup"] = "lab"
    lay_out(tmp_path, {"p.cases.yaml": yaml.safe_dump({"policy": "p.yaml", "cases": cases})})
    assert main(["policy", "test", str(tmp_path)]) == 2
    output = capsys.readouterr().err
    assert "'lab' is not a mapping (" in output
    assert ": cases[0].resourceGroup); write" in output


def validated(folder: Path, capsys: pytest.CaptureFixture[str], rule: dict[str, Any]) -> list[dict[str, Any]]:
    lay_out(folder, {"p.yaml": yaml.safe_dump({**POLICY, "rule": rule}, sort_keys=False)})
    assert main(["policy", "validate", str(folder), "--format", "json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output["errors"] == []
    warnings: list[dict[str, Any]] = output["warnings"]
    return warnings


@pytest.mark.parametrize("rule", UNKNOWN, ids=lambda rule: json.dumps(rule)[:60])
def test_validate_warns_of_each_value_that_may_be_unknown(
    rule: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (warning,) = validated(tmp_path, capsys, rule)
    value = re.search(r"(resourceGroup|subscription|policy|requestContext)\(\)\.\w+", json.dumps(rule))
    assert value is not None
    assert warning["message"].startswith(value[0])
    assert warning["place"].startswith("rule.")
    assert (
        "resourceGroup" in (tmp_path / "p.yaml").read_text().splitlines()[warning["line"] - 1]
        or value[1] != "resourceGroup"
    )


def test_the_warnings_name_the_cost_and_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        {"value": "[tryGet(resourceGroup(), 'tags', 'x')]", "equals": "y"},
        {"value": "[concat(subscription().displayName, policy().assignmentId)]", "equals": "y"},
        {"value": "[if(contains(resourceGroup(), 'location'), string(resourceGroup()), 'x')]", "equals": "y"},
    ]
    found = [
        (each["place"], each["message"].partition(" is ")[0]) for each in validated(tmp_path, capsys, {"allOf": parts})
    ]
    assert found == [
        ("rule.allOf[0].value", "resourceGroup().tags"),
        ("rule.allOf[1].value", "subscription().displayName"),
        ("rule.allOf[1].value", "policy().assignmentId"),
        ("rule.allOf[2].value", "resourceGroup().location"),
        ("rule.allOf[2].value", "resourceGroup()"),
    ]
    main(["policy", "validate", str(tmp_path)])
    output = capsys.readouterr().out
    assert "p.yaml:" in output
    assert "the identity needs Microsoft.Resources/subscriptions/resourceGroups/read" in output
    assert "policy().assignmentId is unknown here: where it matters, the outcome is Undetermined (" in output
    assert output.endswith("1 file, 0 errors, 5 warnings\n")


@pytest.mark.parametrize(
    "value",
    [
        "[resourceGroup().name]",
        "[resourceGroup().ID]",
        "[subscription().subscriptionId]",
        "[requestContext().apiVersion]",
        "[[resourceGroup().tags]",
        "resourceGroup().tags",
        "[field('tags')]",
    ],
)
def test_values_of_the_vm_itself_give_no_warning(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validated(tmp_path, capsys, {"value": value, "equals": "x"}) == []


def test_a_definition_gives_warnings_but_its_template_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = {"properties": {"template": {"resources": [{"location": "[resourceGroup().location]"}]}}}
    asks = {"value": "[resourceGroup().tags.x]", "equals": "y"}
    details = {
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "existenceCondition": asks,
        "deployment": template,
    }
    then = {"effect": "deployIfNotExists", "details": details}
    lay_out(tmp_path, {"d.json": {"properties": {"policyRule": {"if": asks, "then": then}}}})
    assert main(["policy", "validate", str(tmp_path / "d.json"), "--format", "json"]) == 0
    places = [each["place"] for each in json.loads(capsys.readouterr().out)["warnings"]]
    assert places == [
        "properties.policyRule.if.value",
        "properties.policyRule.then.details.existenceCondition.value",
    ]
