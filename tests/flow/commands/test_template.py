"""`onboard template`: the resource of the extension in both placements and both languages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onboarding.cli.main import main
from onboarding.export.arm_template import arm_template
from onboarding.export.bicep_template import bicep_template
from onboarding.export.extension_template import ExtensionTemplate, Placement
from onboarding.export.template_values import bicep_text
from onboarding.loading.policy_folder import load_catalogue
from tests.bicep_compiler import compile_text, needs_bicep

ID = "6f680a37-00c6-41c7-a93f-1437e3462574"
KEY = "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5LCBvbmx5IDY0IGJ5dGVzIG9mIHRleHQgZm9yIHRoZSB0ZXN0cyBvZiB0aGlzISE="
POLICY = """
name: linux-monitoring
extension: oms-agent-linux
settings: {workspaceId: "{OMS_WORKSPACE_ID}"}
protectedSettings: {workspaceKey: "{OMS_WORKSPACE_KEY}"}
"""
# The two examples of the document. They differ only in name and type.
NESTED = {
    "type": "extensions",
    "name": "OMSExtension",
    "apiVersion": "2015-06-15",
    "location": "<location>",
    "dependsOn": ["[concat('Microsoft.Compute/virtualMachines/', <vm-name>)]"],
    "properties": {
        "publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "type": "OmsAgentForLinux",
        "typeHandlerVersion": "1.3",
        "settings": {"workspaceId": "myWorkspaceId"},
        "protectedSettings": {"workspaceKey": "myWorkSpaceKey"},
    },
}
ROOT = {
    **NESTED,
    "type": "Microsoft.Compute/virtualMachines/extensions",
    "name": "<parentVmResource>/OMSExtension",
}
NAMES = {
    "<location>": "westeurope",
    "<vm-name>": "'web01'",
    "<parentVmResource>": "web01",
    "myWorkspaceId": ID,
    "myWorkSpaceKey": "[parameters('workspaceKey')]",
}


@pytest.fixture(autouse=True)
def settings(tmp_path: Path) -> Path:
    """A policy folder, and a settings file that names it."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "linux.yaml").write_text(POLICY)
    file = tmp_path / "settings.json"
    values = {"ONBOARDING_POLICIES": str(tmp_path / "policies"), "OMS_WORKSPACE_ID": ID, "OMS_WORKSPACE_KEY": KEY}
    file.write_text(json.dumps({"Values": values}))
    return file


@pytest.fixture
def template(settings: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def print_template(*arguments: str) -> str:
        assert main(["template", "--settings", str(settings), *arguments]) == 0
        output = capsys.readouterr()
        assert KEY not in output.out + output.err
        return output.out

    return print_template


@pytest.mark.parametrize(("placement", "example"), [("nested", NESTED), ("root", ROOT)])
def test_the_resource_is_the_documents_example(template: Any, placement: str, example: dict[str, Any]) -> None:
    text = json.dumps(example)
    for name, value in NAMES.items():
        text = text.replace(name, value)
    made = json.loads(template("--placement", placement, "--vm", "web01", "--location", "westeurope"))
    expected = json.loads(text)
    assert list(made) == list(expected)
    assert made == expected


def test_names_that_are_not_given_become_parameters(template: Any) -> None:
    made = json.loads(template("--placement", "root"))
    assert made["name"] == "[concat(parameters('vmName'), '/OMSExtension')]"
    assert made["dependsOn"] == ["[concat('Microsoft.Compute/virtualMachines/', parameters('vmName'))]"]
    assert made["location"] == "[resourceGroup().location]"


def test_a_complete_template_deploys_what_the_function_app_requests(template: Any) -> None:
    made = json.loads(template("--placement", "root", "--complete", "--vm", "web01"))
    assert made["parameters"]["workspaceKey"]["type"] == "secureString"
    assert "defaultValue" not in made["parameters"]["workspaceKey"]
    assert made["parameters"]["workspaceId"]["defaultValue"] == ID
    assert made["parameters"]["vmName"]["defaultValue"] == "web01"
    (extension,) = made["resources"]
    assert extension["properties"]["autoUpgradeMinorVersion"] is True
    assert extension["properties"]["settings"] == {"workspaceId": "[parameters('workspaceId')]"}
    assert "dependsOn" not in extension  # ARM refuses a dependency on a resource that the template does not deploy


def test_a_complete_nested_template_contains_the_vm(template: Any) -> None:
    made = json.loads(template("--complete"))
    (machine,) = made["resources"]
    (extension,) = machine["resources"]
    assert (machine["type"], extension["type"]) == ("Microsoft.Compute/virtualMachines", "extensions")
    assert extension["dependsOn"] == ["[resourceId('Microsoft.Compute/virtualMachines', parameters('vmName'))]"]
    used = set(json.dumps(machine).split("parameters('")[1:])
    assert {name.partition("'")[0] for name in used} == set(made["parameters"])


@needs_bicep
@pytest.mark.parametrize("complete", [(), ("--complete",)])
@pytest.mark.parametrize("placement", ["nested", "root"])
def test_bicep_says_the_same(template: Any, placement: str, complete: tuple[str, ...]) -> None:
    arguments = ("--placement", placement, "--vm", "web01", "--location", "westeurope", *complete)
    compiled = compile_text(template(*arguments, "--format", "bicep"))
    arm = json.loads(template(*arguments))
    resource = arm["resources"][0] if complete else arm
    extension = resource["resources"][0] if complete and placement == "nested" else resource
    (found,) = [each for each in compiled["resources"] if each["type"].endswith("/extensions")]
    assert "OMSExtension" in found["name"]
    assert found["properties"] == extension["properties"]
    assert compiled["parameters"]["workspaceKey"]["type"].lower() == "securestring"
    assert "defaultValue" not in compiled["parameters"]["workspaceKey"]


BOTH = "name: ama\nextension: [azure-monitor-agent-linux, azure-monitor-agent-windows]\n"


@pytest.mark.parametrize("system", ["linux", "windows"])
def test_of_a_policy_for_both_systems_one_extension_is_printed(template: Any, settings: Path, system: str) -> None:
    (settings.parent / "policies" / "both.yaml").write_text(BOTH)
    made = json.loads(template("--policy", "ama", "--extension", f"azure-monitor-agent-{system}"))
    assert made["properties"]["type"] == f"AzureMonitor{system.title()}Agent"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--policy", "ama"], "missing option --extension"),
        (["--policy", "ama", "--extension", "oms-agent-linux"], "policy ama has no extension 'oms-agent-linux'"),
        (["--policy", "linux-monitoring", "--extension", "ama"], "has no extension 'ama'"),
    ],
)
def test_the_extension_of_a_template_must_be_one_of_the_policy(
    settings: Path, given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings.parent / "policies" / "both.yaml").write_text(BOTH)
    assert main(["template", "--settings", str(settings), *given]) == 2
    assert says in capsys.readouterr().err


SPECIAL = ["it's", "a\\b", "${x}", "[x]", "line\nline", "'''", "\t"]


@pytest.mark.parametrize("value", SPECIAL)
def test_texts_are_not_read_as_expressions(value: str) -> None:
    entry = load_catalogue()["oms-agent-linux"]
    template = ExtensionTemplate(entry, Placement.NESTED, public={"workspaceId": value}, vm="v", location="l")
    made = arm_template(template)
    assert isinstance(made, dict)
    assert made["properties"]["settings"] == {"workspaceId": f"[{value}" if value.startswith("[") else value}
    line = next(line for line in bicep_template(template).splitlines() if "workspaceId:" in line)
    written = line.partition(": ")[2]
    assert "${" not in written.replace("\\${", "")


@needs_bicep
def test_the_compiler_reads_texts_as_they_were_meant() -> None:
    lines = [f"output o{index} string = {bicep_text(value)}" for index, value in enumerate(SPECIAL)]
    outputs = compile_text("\n".join(lines))["outputs"]
    read = [outputs[f"o{index}"]["value"] for index in range(len(SPECIAL))]
    assert read == [f"[{value}" if value.startswith("[") else value for value in SPECIAL]


def test_a_setting_without_a_value_here_is_a_parameter(
    tmp_path: Path, settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"ONBOARDING_POLICIES": str(tmp_path / "policies"), "OMS_WORKSPACE_ID": ""}
    settings.write_text(json.dumps({"Values": values}))
    assert main(["template", "--settings", str(settings)]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["properties"]["settings"] == {"workspaceId": "[parameters('workspaceId')]"}
    assert '"workspaceKey": {"type": "secureString"' in output.err


@pytest.mark.parametrize(
    ("change", "arguments", "says"),
    [
        ("stopOnMultipleConnections: 'true', ", [], "JSON boolean"),
        ("", ["--policy", "nobody"], "unknown policy 'nobody' (--policy); known policies: linux-monitoring"),
        ("", ["--workspace", "nobody"], "has no workspace 'nobody' (workspace); remove it"),
        ("", ["--vm", "a b"], "--vm"),
    ],
)
def test_impossible_arguments_are_refused(
    tmp_path: Path,
    settings: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    arguments: list[str],
    says: str,
) -> None:
    file = tmp_path / "policies" / "linux.yaml"
    file.write_text(POLICY.replace("settings: {", f"settings: {{{change}", 1))
    assert main(["template", "--settings", str(settings), *arguments]) == 2
    assert says in capsys.readouterr().err
