"""`onboard policy`: commands and their output."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main
from tests.unit.policy.conditions.bodies import VM
from tests.unit.policy.test_definition_import import TEMPLATE, deploying
from tests.unit.policy.test_definitions import AGENT, definition, with_extensions

DB = VM | {"name": "db-1"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "definition.json").write_text("\ufeff" + json.dumps(definition(), indent=2), encoding="utf-8")
    (tmp_path / "vm.json").write_text("\ufeff" + json.dumps(VM, indent=2), encoding="utf-8")
    return tmp_path


def answers(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def evaluate(files: Path, vm: str, *more: str) -> int:
    return main(["policy", "evaluate", "--definition", str(files / "definition.json"), "--vm", vm, *more])


def test_one_vm_gets_one_answer(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(files, str(files / "vm.json"), "--format", "json") == 0
    (answer,) = answers(capsys.readouterr().out)
    assert set(answer) == {"applies", "effect", "compliant", "because"}
    assert (answer["applies"], answer["effect"], answer["compliant"]) == (True, "DeployIfNotExists", False)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(body) for body in (VM, DB, with_extensions(AGENT))),
        json.dumps([VM, DB, with_extensions(AGENT)], indent=1),
        json.dumps({"value": [VM, DB, with_extensions(AGENT)]}),
        "\n".join(json.dumps({"case": "x", "body": body}) for body in (VM, DB, with_extensions(AGENT))),
    ],
    ids=["lines", "array", "arm list", "wrapped"],
)
def test_many_vms_get_one_answer_on_each_line_in_their_order(files: Path, text: str) -> None:
    options = ["--definition", str(files / "definition.json"), "--vm", "-", "--format", "json"]
    parameters = ["--parameters", json.dumps({"publisher": AGENT[1]})]
    command = [sys.executable, "-m", "onboarding", "policy", "evaluate", *options, *parameters]
    done = subprocess.run(command, input=text.encode("utf-8-sig"), capture_output=True, check=True)
    output = [(answer["applies"], answer["compliant"]) for answer in answers(done.stdout.decode())]
    assert output == [(True, False), (False, None), (True, True)]


def test_the_text_output_is_sentences(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(files, str(files / "vm.json")) == 0
    assert capsys.readouterr().out.startswith("vm-1: applies (DeployIfNotExists), not compliant\n  if: ✓")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--parameters", "{"], "the text is not JSON: "),
        (["--parameters", "[]"], "an empty list is not an object (--parameters); write"),
        (["--parameters", '{"effect": "x"}'], "'x' is not an allowed value of parameter 'effect' (--parameters); use"),
        (["--parameters", "@none.json"], "the input cannot be read: No such file or directory (none.json); give"),
    ],
)
def test_bad_parameters_are_named(
    files: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(files, str(files / "vm.json"), *more) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [("3", "a text is not a VM ("), ("", "the input is empty ("), ("{", "the text is not JSON: ")],
)
def test_bad_vms_are_named(files: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "bad.json").write_text(text)
    assert evaluate(files, str(files / "bad.json")) == 2
    assert message in capsys.readouterr().err


def test_a_broken_definition_is_named_with_file_and_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = definition(
        rule={"allOf": [{"field": "name", "like": "x"}, {"field": "Microsoft.Compute/image", "like": "x"}]}
    )
    path = files / "definition.json"
    path.write_text(json.dumps(broken, indent="\t"))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if '"Microsoft.Compute/image"' in text)
    assert evaluate(files, str(files / "vm.json")) == 2
    error = capsys.readouterr().err
    assert "unknown alias 'Microsoft.Compute/image'" in error
    assert f" ({path}:{line}: properties.policyRule.if.allOf[1].field); " in error


def test_explain_shows_the_tree_of_a_definition(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "vm.json").write_text(json.dumps(with_extensions(AGENT)))
    command = ["policy", "explain", "--definition", str(files / "definition.json"), "--vm", str(files / "vm.json")]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "  ✓ name like 'vm-*': 'vm-1'" in output
    assert "existenceCondition for 'ama'" in output
    assert "? Microsoft.Compute/virtualMachines/extensions/publisher" in output
    assert main([*command, "--format", "json"]) == 0
    (answer,) = answers(capsys.readouterr().out)
    assert answer["if"]["matched"] is True


def test_explain_shows_the_tree_of_a_policy(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = files / "policy.yaml"
    policy.write_text("name: x\nextension: oms-agent-linux\nrule:\n  field: tags['env']\n  notEquals: prod\n")
    assert main(["policy", "explain", "--policy", str(policy), "--vm", str(files / "vm.json")]) == 0
    assert "✗ tags['env'] notEquals 'prod': 'Prod'" in capsys.readouterr().out
    policy.write_text("name: x\nextension: oms-agent-linux\nrule:\n  field: tgas\n  notEquals: prod\n")
    assert main(["policy", "explain", "--policy", str(policy), "--vm", str(files / "vm.json")]) == 2
    assert f"unknown field 'tgas' ({policy}:4: rule.field); use an alias" in capsys.readouterr().err


def test_validate_finds_every_error_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(
        "name: a\neffect: deploy\nextension: oms-agent-linux\nrule:\n  allOf:\n"
        "    - {field: name, equal: y}\n    - {field: location, in: [westeurope]}\n    - {fild: location}\n"
    )
    (tmp_path / "b.json").write_text(json.dumps(definition()))
    (tmp_path / "c.yaml").write_text("name: [\n")
    (tmp_path / "d.cases.yaml").write_text("cases: []\n")
    assert main(["policy", "validate", str(tmp_path), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    found = [(Path(error["file"]).name, error["line"], error["place"]) for error in report["errors"]]
    assert report["files"] == 3
    assert found[:3] == [("a.yaml", 6, "rule.allOf[0]"), ("a.yaml", 8, "rule.allOf[2]"), ("a.yaml", 2, "effect")]
    assert found[3][0] == "c.yaml"
    assert main(["policy", "validate", str(tmp_path / "b.json")]) == 0
    assert capsys.readouterr().out == "1 file, 0 errors\n"
    assert main(["policy", "validate", str(tmp_path / "none")]) == 2


def test_test_runs_the_cases_of_the_policies(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "linux.yaml").write_text("name: x\nextension: oms-agent-linux\nrule: {field: name, like: vm-*}\n")
    cases = files / "linux.cases.yaml"
    cases.write_text(
        yaml.safe_dump(
            {
                "policy": "linux.yaml",
                "cases": [
                    {"name": "ours", "vm": "vm.json", "expect": {"selected": True}},
                    {"name": "other", "vm": DB, "expect": {"selected": False, "because": "name like"}},
                ],
            }
        )
    )
    assert main(["policy", "test", str(files)]) == 0
    assert "2 cases, 0 failed" in capsys.readouterr().out
    (files / "definition.cases.yaml").write_text(
        yaml.safe_dump(
            {
                "definition": "definition.json",
                "cases": [{"name": "wrong", "vm": VM, "expect": {"compliant": True, "x": 1}}],
            }
        )
    )
    assert main(["policy", "test", str(files)]) == 1
    output = capsys.readouterr().out
    assert "compliant: expected True, is False" in output
    assert "x: cannot be expected here" in output


def test_an_imported_policy_is_valid_once_nothing_is_missing(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "deploy.json").write_text(json.dumps(deploying(TEMPLATE)))
    out = files / "policy.yaml"
    assert main(["policy", "import", str(files / "deploy.json"), "-o", str(out)]) == 0
    assert "no value and no default for publisher" in capsys.readouterr().err
    assert main(["policy", "validate", str(out)]) == 1
    assert "unknown parameter 'publisher'" in capsys.readouterr().out
    given = ["--parameters", '{"publisher": "P"}']
    assert main(["policy", "import", str(files / "deploy.json"), "-o", str(out), *given]) == 0
    policy = yaml.safe_load(out.read_text())
    assert policy["settings"].pop("zone") == "FILL-IN"
    assert policy["settings"].pop("vm") == "{machine.name}"
    out.write_text(yaml.safe_dump(policy))
    assert main(["policy", "validate", str(out)]) == 0
    assert (policy["extension"], policy["source"]["version"]) == ("oms-agent-linux", "3.1.0")


def test_import_of_an_initiative_binds_each_of_its_definitions(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    initiative = {
        "properties": {
            "parameters": {"effect": {"type": "String", "defaultValue": "Disabled"}, "key": {"type": "String"}},
            "policyDefinitions": [
                {
                    "policyDefinitionId": "/providers/Microsoft.Authorization/policyDefinitions/ABC",
                    "policyDefinitionReferenceId": "agent",
                    "parameters": {
                        "effect": {"value": "[parameters('effect')]"},
                        "publisher": {"value": "[parameters('key')]"},
                    },
                },
                {"policyDefinitionId": "/providers/Microsoft.Authorization/policyDefinitions/gone"},
            ],
        }
    }
    (files / "set.json").write_text(json.dumps(initiative))
    command = ["policy", "import", str(files / "set.json"), "-o", str(files / "out")]
    assert main(command) == 1
    assert "agent: its conditions need a value of key; give --parameter key=VALUE" in capsys.readouterr().err
    assert main([*command, "--parameter", "key=Canonical"]) == 1
    output = capsys.readouterr()
    assert "definition /providers/Microsoft.Authorization/policyDefinitions/gone is not in" in output.err
    assert "; az policy definition show --name gone > " in output.err
    assert "1 taken over in 1 policy" in output.out
    policy = yaml.safe_load((files / "out" / "install-the-agent.yaml").read_text())
    assert policy["effect"] == "disabled"
    assert policy["parameters"]["effect"] == "Disabled"
