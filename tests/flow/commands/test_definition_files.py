"""Azure Policy definitions in the forms in which people store them, for `onboard policy evaluate` and `import`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onboarding.cli.main import main
from onboarding.domain.policy.conditions import ConditionError
from onboarding.domain.policy.definitions.definition_forms import kept_in
from tests.shared_samples import needs_samples, read_lines
from tests.unit.policy.conditions.bodies import VM

Capture = pytest.CaptureFixture[str]
EXTENSIONS = "Microsoft.Compute/virtualMachines/extensions"
DEFINITIONS = "Microsoft.Authorization/policyDefinitions"
PARAMETERS: dict[str, Any] = {
    "effect": {
        "type": "String",
        "defaultValue": "DeployIfNotExists",
        "allowedValues": ["DeployIfNotExists", "Disabled"],
    },
    "places": {"type": "Array", "defaultValue": ["westeurope", "northeurope"]},
}
RULE: dict[str, Any] = {
    "if": {
        "allOf": [
            {"field": "type", "equals": "Microsoft.Compute/virtualMachines"},
            {"field": "location", "in": "[parameters('places')]"},
            {"field": "[concat('tags[', 'state', ']')]", "notEquals": "[[gone]"},
        ]
    },
    "then": {
        "effect": "[parameters('effect')]",
        "details": {
            "type": EXTENSIONS,
            "existenceCondition": {
                "allOf": [
                    {"field": f"{EXTENSIONS}/publisher", "equals": "Contoso.Agents"},
                    {"field": f"{EXTENSIONS}/type", "equals": "WatcherForLinux"},
                ]
            },
            "deployment": {
                "properties": {
                    "mode": "incremental",
                    "parameters": {"vmName": {"value": "[field('name')]"}},
                    "template": {
                        "parameters": {"vmName": {"type": "string"}},
                        "resources": [
                            {
                                "type": EXTENSIONS,
                                "name": "[concat(parameters('vmName'), '/watcher')]",
                                "properties": {
                                    "publisher": "Contoso.Agents",
                                    "type": "[concat('WatcherFor', 'Linux')]",
                                    "typeHandlerVersion": "1.2",
                                },
                            }
                        ],
                    },
                }
            },
        },
    },
}
PROPERTIES: dict[str, Any] = {"displayName": "Watch", "mode": "Indexed", "parameters": PARAMETERS, "policyRule": RULE}
ID = f"/providers/{DEFINITIONS}/watch"
SCHEMA = "https://schema.management.azure.com/schemas/2019-08-01/managementGroupDeploymentTemplate.json#"


def doubled(value: Any) -> Any:
    """The form for ARM templates: every text that begins with a bracket gets one more bracket."""
    if isinstance(value, str):
        return f"[{value}" if value.startswith("[") and value.endswith("]") else value
    if isinstance(value, dict):
        return {key: doubled(item) for key, item in value.items()}
    return [doubled(item) for item in value] if isinstance(value, list) else value


def resource(**properties: Any) -> dict[str, Any]:
    return {
        "name": "watch",
        "type": DEFINITIONS,
        "apiVersion": "2021-06-01",
        "properties": doubled(PROPERTIES) | properties,
    }


def template(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": list(resources), **more}


def looped(**variables: Any) -> dict[str, Any]:
    inner = "[variables('all')[copyIndex()].properties]"
    loop = {"name": "all", "count": "[length(variables('all'))]"}
    return template(resource() | {"name": "x", "copy": loop, "properties": inner}, variables=variables)


def nested(inner: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Microsoft.Resources/deployments", "name": "d", "properties": {"template": inner, **properties}}


def capitals(value: dict[str, Any]) -> dict[str, Any]:
    return {key[0].upper() + key[1:]: item for key, item in value.items()}


POWERSHELL = capitals({key: value for key, value in PROPERTIES.items() if key != "parameters"}) | {
    "Name": "watch",
    "Id": ID,
    "Parameter": PARAMETERS,
    "Parameters": None,
}
FORMS: dict[str, Any] = {
    "plain": {"id": ID, "name": "watch", "properties": PROPERTIES},
    "az show": {"id": ID, "name": "watch", "type": DEFINITIONS, **PROPERTIES},
    "a resource": resource(),
    "a resource, other case": {key.upper(): value for key, value in resource().items()},
    "a resource without version": {key: value for key, value in resource().items() if key != "apiVersion"},
    "template": template({"type": "Microsoft.Resources/tags", "name": "t"}, resource()),
    "template by names": template() | {"resources": {"watch": resource()}},
    "template in a template": template(nested(template(nested(template(resource()))))),
    "template that gives values": template(
        resource(
            displayName="[parameters('title')]",
            metadata={"version": "[variables('version')]"},
            parameters=PARAMETERS | {"effect": {"type": "String", "defaultValue": "[parameters('effect')]"}},
        ),
        parameters={"effect": {"type": "string", "defaultValue": "DeployIfNotExists"}, "title": {"type": "string"}},
        variables={"version": "[concat('1', '.0')]"},
    ),
    "template with a rule in its variables": template(
        resource(policyRule="[variables('rules').watch]"), variables={"rules": {"watch": doubled(RULE)}}
    ),
    "template that loads a file": template(
        resource(
            parameters="[variables('$fxv#0').properties.parameters]",
            policyRule="[variables('$fxv#0').properties.policyRule]",
        ),
        variables={"$fxv#0": resource()},
    ),
    "values that a template passes on": template(
        nested(
            template(
                resource(parameters=PARAMETERS | {"effect": {"type": "String", "defaultValue": "[parameters('e')]"}}),
                parameters={"e": {"type": "string", "defaultValue": "Disabled"}},
            ),
            parameters={"e": {"value": "DeployIfNotExists"}},
        )
    ),
    "loop over variables": looped(all=[{"name": "watch", "properties": doubled(PROPERTIES)}]),
    "texts that Bicep keeps": looped(**{"all": ["[json(variables('$fxv#0'))]"], "$fxv#0": json.dumps(resource())}),
    "list": [{"id": ID, "name": "watch", **PROPERTIES}],
    "list of resources": [resource()],
    "REST": {"value": [{"id": ID, "name": "watch", "type": DEFINITIONS, "properties": PROPERTIES}]},
    "Resource Graph": {"count": 1, "data": [{"id": ID, "type": DEFINITIONS.lower(), "properties": PROPERTIES}]},
    "PowerShell": POWERSHELL,
    "PowerShell, many": [POWERSHELL],
    "PowerShell, older": {
        "Name": "watch",
        "ResourceType": DEFINITIONS,
        "PolicyDefinitionId": ID,
        "Properties": capitals(PROPERTIES),
    },
    "PowerShell, texts": POWERSHELL | {"PolicyRule": json.dumps(RULE), "Parameter": json.dumps(PARAMETERS)},
    "names with underscores": {
        "name": "watch",
        "display_name": "Watch",
        "policy_rule": RULE,
        "parameters": {
            "effect": {"type": "String", "default_value": "DeployIfNotExists", "allowed_values": ["DeployIfNotExists"]},
            "places": {"type": "Array", "default_value": ["westeurope"]},
        },
    },
    "Terraform": {"name": "watch", "policy_rule": json.dumps(RULE), "parameters": json.dumps(PARAMETERS)},
    "parameter file": {
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentParameters.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"input": {"value": {"Name": "watch", "Properties": capitals(PROPERTIES)}}},
    },
}


def lay(folder: Path, content: Any, name: str = "d.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1), encoding="utf-8")
    return str(path)


def evaluate(folder: Path, file: str, *more: str, vm: Any = VM) -> int:
    vms = lay(folder, vm, "vm.json")
    return main(["policy", "evaluate", "--definition", file, "--vm", vms, "--format", "json", *more])


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_result_as_the_plain_one(form: str, tmp_path: Path, capsys: Capture) -> None:
    assert evaluate(tmp_path, lay(tmp_path, FORMS[form])) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["applies"], answer["effect"], answer["compliant"]) == (True, "DeployIfNotExists", False)
    assert evaluate(tmp_path, lay(tmp_path, FORMS[form]), vm=VM | {"tags": {"state": "[gone]"}}) == 0
    assert json.loads(capsys.readouterr().out)["applies"] is False


@pytest.mark.parametrize("form", FORMS)
def test_an_imported_policy_is_as_strong_as_its_definition(form: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["policy", "import", lay(tmp_path, FORMS[form])]) == 0
    policy = yaml.safe_load(capsys.readouterr().out)
    assert (policy["effect"], policy["extension"]) == ("deployIfNotExists", "watcherforlinux")
    assert policy["rule"] == RULE["if"]
    assert policy["source"]["extension"] == "Contoso.Agents.WatcherForLinux.1.2"


def test_brackets_stay_outside_of_resources(tmp_path: Path, capsys: Capture) -> None:
    literal = {"field": "tags['state']", "equals": "[[on]"}
    file = lay(tmp_path, {"policyRule": {"if": literal, "then": {"effect": "audit"}}})
    output = []
    for state in ("[on]", "on"):
        assert evaluate(tmp_path, file, vm=VM | {"tags": {"state": state}}) == 0
        output.append(json.loads(capsys.readouterr().out)["applies"])
    assert output == [True, False]


def test_a_resource_that_has_one_bracket_is_read_as_it_is(tmp_path: Path, capsys: Capture) -> None:
    rule = RULE | {"if": {"allOf": RULE["if"]["allOf"][:2]}}
    assert evaluate(tmp_path, lay(tmp_path, resource(**(PROPERTIES | {"policyRule": rule})))) == 0
    assert json.loads(capsys.readouterr().out)["effect"] == "DeployIfNotExists"


RULES_BESIDE = [
    ("azurepolicy.rules.json", "azurepolicy.parameters.json", PARAMETERS),
    ("watch.rules.json", "watch.parameters.json", {"parameters": PARAMETERS}),
    ("policyRule.json", "policyParameters.json", PARAMETERS),
    ("rules.json", "params.json", PARAMETERS),
    ("azurepolicy.rules.json", "Watch all.parameters.json", {"properties": {"parameters": PARAMETERS}}),
]


@pytest.mark.parametrize(("rule", "beside", "content"), RULES_BESIDE)
@pytest.mark.parametrize("body", [RULE, {"mode": "Indexed", "policyRule": RULE}])
def test_a_rule_takes_its_parameters_from_the_file_beside_it(
    rule: str, beside: str, content: Any, body: Any, tmp_path: Path, capsys: Capture
) -> None:
    file = lay(tmp_path, body, rule)
    lay(tmp_path, content, beside)
    assert evaluate(tmp_path, file) == 0
    output = capsys.readouterr()
    assert (json.loads(output.out)["effect"], json.loads(output.out)["compliant"]) == ("DeployIfNotExists", False)
    assert f"definitions of the parameters are read from {tmp_path / beside}" in output.err
    assert main(["policy", "import", file, "--parameters", '{"effect": "Disabled"}']) == 0
    assert "\neffect: disabled\n" in capsys.readouterr().out


def test_a_rule_alone_takes_all_its_values_or_says_what_is_missing(tmp_path: Path, capsys: Capture) -> None:
    file = lay(tmp_path, RULE, "azurepolicy.rules.json")
    lay(tmp_path, {"effect": {"value": "Disabled"}}, "assignment.parameters.json")
    assert evaluate(tmp_path, file) == 2
    output = capsys.readouterr().err
    assert "the rule names the parameters 'places', 'effect', and this file does not define them (" in output
    assert "azurepolicy.parameters.json" in output
    values = {"effect": "deployIfNotExists", "places": ["westeurope"]}
    for given_ in (values, {"$schema": "x", "parameters": {name: {"value": value} for name, value in values.items()}}):
        assert evaluate(tmp_path, file, "--parameters", json.dumps(given_)) == 0
        assert json.loads(capsys.readouterr().out)["effect"] == "deployIfNotExists"
    apart = lay(tmp_path, PARAMETERS, "elsewhere")
    assert evaluate(tmp_path, file, "--parameters", f"@{apart}") == 0
    assert json.loads(capsys.readouterr().out)["effect"] == "DeployIfNotExists"


def test_validate_reads_every_form(tmp_path: Path, capsys: Capture) -> None:
    for number, form in enumerate(FORMS.values()):
        lay(tmp_path, form, f"{number}.json")
    lay(tmp_path, RULE, "azurepolicy.rules.json")
    lay(tmp_path, PARAMETERS, "azurepolicy.parameters.json")
    assert main(["policy", "validate", str(tmp_path)]) == 0, capsys.readouterr().out
    assert f"{len(FORMS) + 2} files, 0 errors" in capsys.readouterr().out
    broken = template(resource(policyRule=doubled(RULE | {"then": {"effect": "audits"}})))
    assert main(["policy", "validate", lay(tmp_path, broken)]) == 1
    line = next(n for n, text in enumerate(json.dumps(broken, indent=1).splitlines(), 1) if "audits" in text)
    output = capsys.readouterr().out
    assert output.startswith("unknown effect 'audits' (")
    assert f"d.json:{line}: resources[0].properties.policyRule.then.effect); known effects: " in output


def audit(then: Any, **parameters: Any) -> dict[str, Any]:
    return {"parameters": parameters, "policyRule": {"if": RULE["if"]["allOf"][0], "then": then}}


BY_PARAMETER = {"effect": "[parameters('effect')]"}
REFUSED: dict[str, tuple[Any, str]] = {
    "effect": (
        audit({"effect": "auditIfNotExist"}),
        "; did you mean 'auditIfNotExists'?",
    ),
    "default": (
        audit(BY_PARAMETER, effect={"type": "String", "defaultValue": "Deploy"}),
        "effect.defaultValue); known effects: ",
    ),
    "allowed": (audit(BY_PARAMETER, effect={"allowedValues": ["Audit", "Denny"]}), "unknown effect 'Denny'"),
    "made": (audit({"effect": "[concat('audi', 'ts')]"}), "unknown effect 'audits'"),
    "brackets": (audit({"effect": "[[parameters('effect')]"}), "two brackets are for an ARM template"),
    "cut": (POWERSHELL | {"PolicyRule": "@{if=; then=}"}, "policyRule); write it with ConvertTo-Json -Depth 100"),
    "cut deeper": (
        {"Properties": {"PolicyRule": {"if": {"allOf": "System.Object[]"}, "then": "@{effect=audit}"}}},
        "-Depth 100",
    ),
    "assignment": (
        {"name": "a", "properties": {"policyDefinitionId": ID, "parameters": {}}},
        f"this is an assignment of '{ID}' (",
    ),
    "members": ([{"policyDefinitionId": ID, "parameters": {}}], "the list of an initiative's members"),
    "parameters": (PARAMETERS, "the file holds the parameters of a definition and no rule ("),
    "other template": (
        template({"type": "Microsoft.Compute/disks"}),
        "holds no definition: its resources are microsoft.",
    ),
    "open template": (
        template(resource(policyRule="[json(parameters('rule'))]")),
        "only ARM can evaluate the definition in this template (",
    ),
    "open part": (
        template(resource(policyRule={"if": {"field": "name", "equals": "[deployment().name]"}, "then": {}})),
        "resources[0].properties.policyRule.if.equals); give the deployed definition",
    ),
    "other resource": (
        {"type": "Microsoft.Compute/disks", "properties": {}},
        "'microsoft.compute/disks' is not a policy definition (",
    ),
    "nothing": ([], "the file holds no definition ("),
    "words": (["watch"], "'watch' is not an object ("),
    "many": (
        [FORMS["list"][0], POWERSHELL | {"Name": "other"}],
        "the file holds 2 definitions: watch, other (",
    ),
    "wrapped": ({"policyDefinition": {"properties": PROPERTIES}}, "policyRule); give a definition"),
    "initiative": ({"properties": {"policyDefinitions": []}}, "this is an initiative"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_unsupported_form_is_refused_with_a_fix(case: str, tmp_path: Path, capsys: Capture) -> None:
    content, message = REFUSED[case]
    assert evaluate(tmp_path, lay(tmp_path, content)) == 2
    output = capsys.readouterr()
    assert (output.out, message in output.err) == ("", True), output.err


@pytest.mark.parametrize("name", ["policy.bicep", "main.tf"])
def test_other_languages_are_named(name: str, tmp_path: Path, capsys: Capture) -> None:
    assert evaluate(tmp_path, lay(tmp_path, "resource x 'y' = {}", name)) == 2
    assert "give the" in capsys.readouterr().err


def test_a_value_that_is_no_effect_is_refused(tmp_path: Path, capsys: Capture) -> None:
    file = lay(tmp_path, audit(BY_PARAMETER, effect={"type": "String"}))
    assert evaluate(tmp_path, file, "--parameters", '{"effect": "Deni"}') == 2
    assert "unknown effect 'Deni' (--parameters); known effects: " in (output := capsys.readouterr().err)
    assert "; did you mean 'deny'?" in output
    assert main(["policy", "import", file]) == 2
    assert '--parameters \'{"effect": "DeployIfNotExists"}\'' in capsys.readouterr().err
    assert evaluate(tmp_path, file) == 0


@pytest.mark.parametrize(
    ("type_", "alias"),
    [
        ("Microsoft.DevTestLab/schedules", "Microsoft.DevTestLab/schedules/taskType"),
        ("Microsoft.Insights/dataCollectionRuleAssociations", "Microsoft.Insights/dataCollectionRuleAssociations/x"),
        ("Contoso.Things/boxes/lids", "Contoso.Things/boxes/lids/hinges[*].kind"),
        (
            "Microsoft.Compute/virtualMachines/runCommands",
            "Microsoft.Compute/virtualMachines/runCommands/source.script",
        ),
    ],
)
@pytest.mark.parametrize("effect", ["auditIfNotExists", "DeployIfNotExists"])
def test_resources_other_than_the_vm_are_unknown(
    type_: str, alias: str, effect: str, tmp_path: Path, capsys: Capture
) -> None:
    named = {"type": {"type": "String", "defaultValue": "Microsoft.DevTestLab/schedules"}}
    array = f"{type_.replace("[parameters('type')]", named['type']['defaultValue'])}/a[*]"
    condition = {"anyOf": [{"field": alias, "equals": "x"}, {"count": {"field": array}, "greater": 0}]}
    details = {"type": type_, "existenceCondition": condition}
    file = lay(tmp_path, audit({"effect": effect, "details": details}, **named))
    assert evaluate(tmp_path, file) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["applies"], answer["effect"], answer["compliant"]) == (True, effect, None)
    assert "does not list" in answer["because"][-1]
    assert main(["policy", "import", file]) == 0
    output = capsys.readouterr().out
    assert f"existenceCondition: it is about {type_}" in output
    assert "existenceCondition" not in yaml.safe_load(output)
    assert main(["policy", "validate", file]) == 0
    details["existenceCondition"] = {"field": "Microsft.Compute/virtualMachines/vmSize", "equals": "x"}
    assert evaluate(tmp_path, lay(tmp_path, audit({"effect": effect, "details": details}, **named))) == 2


def test_a_default_that_only_arm_knows_asks_for_a_value(tmp_path: Path, capsys: Capture) -> None:
    effect = {"type": "String", "defaultValue": "[parameters('e')]"}
    parameters = {"e": {"type": "string"}}
    file = lay(tmp_path, template(resource(parameters=PARAMETERS | {"effect": effect}), parameters=parameters))
    assert main(["policy", "import", file]) == 2
    assert "parameter 'effect' has neither a value nor a default (" in (output := capsys.readouterr().err)
    assert ": effect); give --parameters" in output
    assert main(["policy", "import", file, "--parameters", '{"effect": "DeployIfNotExists"}']) == 0
    assert "\neffect: deployIfNotExists\n" in capsys.readouterr().out


def test_an_effect_that_differs_from_machine_to_machine_is_not_imported(tmp_path: Path, capsys: Capture) -> None:
    file = lay(tmp_path, audit({"effect": "[if(equals(field('location'), 'westeurope'), 'deny', 'audit')]"}))
    assert evaluate(tmp_path, file) == 0
    assert json.loads(capsys.readouterr().out)["effect"] == "deny"
    assert main(["policy", "import", file]) == 2
    assert "write a policy for each of the effects" in capsys.readouterr().err


def test_every_definition_of_a_list_gets_a_file_of_its_own(tmp_path: Path, capsys: Capture) -> None:
    long = "Configure machines in every landing zone so that they are watched by the watcher of "
    listed = [{**PROPERTIES, "name": str(n), "displayName": f"{long}{n}"} for n in range(3)]
    listed.append(audit({"effect": "wach"}) | {"name": "broken"})
    out = tmp_path / "out"
    file = lay(tmp_path, {"value": listed})
    assert main(["policy", "import", file, "-o", str(out), "--parameters", '{"effect": "Disabled"}']) == 1
    problem = "broken: cannot be imported: unknown effect 'wach' (value[3].policyRule.then.effect); known effects: "
    assert problem in capsys.readouterr().err
    policies = [yaml.safe_load(path.read_text()) for path in sorted(out.glob("*.yaml"))]
    assert [policy["source"]["displayName"][-1] for policy in policies] == ["1", "2", "0"]
    assert len({policy["name"] for policy in policies}) == 3
    assert all(len(policy["name"]) <= 64 and policy["effect"] == "disabled" for policy in policies)
    assert [f"{policy['name']}.yaml" for policy in policies] == sorted(path.name for path in out.glob("*.yaml"))
    assert [path.name for path in (out / "extensions").iterdir()] == ["watcherforlinux.yaml"]
    assert main(["policy", "import", file, "-o", file]) == 2
    assert "name a folder, which several policies need" in capsys.readouterr().err


def test_an_initiative_and_its_definitions_may_lie_in_one_template(tmp_path: Path, capsys: Capture) -> None:
    member = {
        "policyDefinitionReferenceId": "watching",
        "policyDefinitionId": f"[concat(parameters('scope'), '/providers/{DEFINITIONS}/watch')]",
        "parameters": {"effect": {"value": "[[parameters('watching')]"}},
    }
    initiative = {
        "type": "Microsoft.Authorization/policySetDefinitions",
        "apiVersion": "2021-06-01",
        "name": "all",
        "properties": {
            "parameters": {"watching": {"type": "String", "defaultValue": "Disabled"}},
            "policyDefinitions": [member],
        },
    }
    other = resource(displayName="Other") | {"name": "other"}
    whole = template(initiative, resource(), other, parameters={"scope": {"type": "string", "defaultValue": "/mg"}})
    assert main(["policy", "import", lay(tmp_path, whole), "-o", str(tmp_path / "out")]) == 0
    written = {path.stem: yaml.safe_load(path.read_text())["effect"] for path in (tmp_path / "out").glob("*.yaml")}
    assert written == {"watch": "disabled", "other": "deployIfNotExists"}


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["[[x]", "[parameters('effect')]", "@{a=}", "{", "audit"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "properties",
                        "policyRule",
                        "if",
                        "then",
                        "effect",
                        "parameters",
                        "resources",
                        "variables",
                        "value",
                    ),
                    *("type", "apiVersion", "template", "policyDefinitions", "name", "data", "details", "$schema", "a"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(VALUES, st.sampled_from(["", DEFINITIONS, "Microsoft.Resources/deployments"]))
def test_any_definition_is_read_or_refused(value: Any, type_: str) -> None:
    for raw in (value, {"resources": [{"type": type_, "properties": value}], "variables": value}):
        kept: tuple[object, ...]
        try:
            kept = kept_in(raw)
        except ConditionError as error:
            kept = (str(error),)
        assert kept


@pytest.mark.timeout(240)  # it works until the bound on steps; half a minute where coverage counts every line
def test_variables_that_double_each_other_are_left_open(tmp_path: Path, capsys: Capture) -> None:
    variables: dict[str, Any] = {"v0": ["x"]}
    for level in range(1, 40):
        variables[f"v{level}"] = [f"[variables('v{level - 1}')]"] * 2
    whole = template(resource(policyRule="[variables('v39')]"), variables=variables)
    assert evaluate(tmp_path, lay(tmp_path, whole)) == 2
    assert "only ARM can evaluate the definition in this template (" in capsys.readouterr().err


@pytest.mark.parametrize("depth", [200, 900, 5000])
def test_a_rule_in_a_text_is_bounded_in_depth(depth: int, tmp_path: Path, capsys: Capture) -> None:
    deep = '{"not":' * depth + "{}" + "}" * depth
    for content in ({"policyRule": deep}, looped(all=[], text='{"policyRule":' + deep + "}")):
        file = lay(tmp_path, content)
        assert (evaluate(tmp_path, file), main(["policy", "import", file])) == (2, 2)
        assert main(["policy", "validate", file]) == 1
        assert "nested too deeply" in capsys.readouterr().err


def _right(want: dict[str, Any], code: int, out: str, err: str) -> bool:
    if "refused" in want:
        pattern = want["refused"]
        return code != 0 and "Traceback" not in err and (pattern is True or bool(re.search(pattern, err)))
    if "is" in want:
        return code == 0 and want["is"].items() <= json.loads(out).items()
    return code == 0 and all(re.search(pattern, out, re.MULTILINE) for pattern in want["written"])


@needs_samples
@pytest.mark.parametrize(
    "case",
    [
        case
        for name in ("evaluate", "import")
        for case in read_lines(f"field/{name}.jsonl")
        if case["kind"] in ("C", "H")
    ],
    ids=lambda case: str(case["id"]),
)
def test_the_field_samples_are_right(case: dict[str, Any], tmp_path: Path, capsys: Capture) -> None:
    for name, content in case["files"].items():
        lay(tmp_path, content, name)
    file = str(tmp_path / case["definition"])
    options = ["--parameters", json.dumps(case["parameters"])] if "parameters" in case else []
    command: Callable[[], list[str]] = {
        "evaluate": lambda: ["--definition", file, "--vm", str(tmp_path / case["vms"]), "--format", "json"],
        "import": lambda: [file],
    }[case["door"]]
    code = main(["policy", case["door"], *command(), *options])
    output = capsys.readouterr()
    assert any(_right(want, code, output.out, output.err) for want in case["want"]), (output.out, output.err)


COMMENTED = """// Kept by the platform team
{
  /* as ARM
     takes it */
  "name": "watch", // https://example.org
  "properties": %s
}
"""


def test_a_definition_may_have_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.jsonc").write_text(COMMENTED % json.dumps(PROPERTIES, indent=1))
    assert main(["policy", "import", str(tmp_path / "d.jsonc"), "-o", str(tmp_path / "p.yaml")]) == 0
    assert yaml.safe_load((tmp_path / "p.yaml").read_text())["name"] == "watch"
    wrong = COMMENTED % json.dumps({**PROPERTIES, "policyRule": {"if": {"field": "nope", "exists": True}, "then": {}}})
    (tmp_path / "d.jsonc").write_text(wrong)
    assert main(["policy", "import", str(tmp_path / "d.jsonc")]) == 2
    assert "d.jsonc:6: " in capsys.readouterr().err
