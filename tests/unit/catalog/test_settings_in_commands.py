"""Nested settings in the commands: `policy validate`, `policy schema`, `template` and `install --show-az`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from onboarding.cli.main import main
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.resource_id import VmId
from onboarding.export.az_commands import az_extension_set
from onboarding.export.template_settings import placeholders
from tests.extension_examples import APP_SETTINGS, CUSTOM_SCRIPT, ENTRIES, POLICIES
from tests.reference import parse_entry, parse_policy

SCRIPT = next(policy for policy in POLICIES if policy["extension"] == CUSTOM_SCRIPT["name"])
MACHINE = "resourceId('Microsoft.Compute/virtualMachines', parameters('vmName'))"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "extensions").mkdir()
    for entry in ENTRIES:
        (tmp_path / "extensions" / f"{entry['name']}.yaml").write_text(yaml.safe_dump(entry))
    for policy in POLICIES:
        (tmp_path / f"{policy['name']}.yaml").write_text(yaml.safe_dump(policy))
    monkeypatch.setenv("ONBOARDING_POLICIES", str(tmp_path))
    return tmp_path


def test_the_examples_have_no_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "validate", str(folder)]) == 0
    assert "7 files, 0 errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"settings": {"fileUris": ["no uri"]}}, "settings.fileUris[0]", ["setting 0 must be a URI"]),
        (
            {"settings": {"fileUris": "{FILES}"}},
            "settings.fileUris",
            ["must be a list", "not the name of an app setting"],
        ),
        (
            {"settings": {"timestamp": "{T}"}},
            "settings.timestamp",
            ["must be a whole number", "not the name of an app"],
        ),
        ({"settings": {"fileUris": ["{machine.nme}"]}}, "settings.fileUris[0]", ["'{machine.nme}'", "'machine.name'?"]),
        (
            {"settings": {"fileUrls": []}},
            "settings.fileUrls",
            ["unknown setting 'fileUrls'", "did you mean 'fileUris'?"],
        ),
        (
            {"settings": {"commandToExecute": "{C}"}},
            "settings.commandToExecute",
            ["belongs in protectedSettings, not in settings"],
        ),
        (
            {
                "protectedSettings": {
                    "commandToExecute": "{C}",
                    "storageAccount": {"nme": "x", "key": "{K}", "name": "n"},
                }
            },
            "protectedSettings.storageAccount.nme",
            ["unknown setting 'nme'", "did you mean 'name'?"],
        ),
        (
            {"protectedSettings": {"commandToExecute": "{C}", "storageAccount": {"name": "files"}}},
            "protectedSettings.storageAccount.key",
            ["missing setting 'key'", "add it to protectedSettings.storageAccount"],
        ),
        (
            {"protectedSettings": {"commandToExecute": "{C}", "storageAccount": {"name": "x", "key": "sesame"}}},
            "protectedSettings.storageAccount.key",
            ["the value of the secret setting 'key' is readable in this file", "Key Vault"],
        ),
    ],
)
def test_an_error_inside_of_a_setting_has_its_place(
    folder: Path, change: dict[str, Any], place: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "script.yaml"
    path.write_text(yaml.safe_dump({**SCRIPT, **change}))
    assert main(["policy", "validate", str(path), "-o", "json"]) == 1
    errors = json.loads(capsys.readouterr().out)["errors"]
    found = next(error for error in errors if error["place"] == place)
    assert [each for each in says if each not in found["message"]] == []
    assert "sesame" not in str(errors)


def test_the_schema_of_policies_knows_nested_settings(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    assert main(["policy", "schema", str(file)]) == 0
    validator = jsonschema.Draft7Validator(json.loads(file.read_text()))
    for policy in POLICIES:
        assert list(validator.iter_errors(policy)) == []
    wrong: list[dict[str, Any]] = [
        {"settings": {"fileUris": "x"}},
        {"settings": {"timestamp": "5"}},
        {"protectedSettings": {"storageAccount": {"nme": "x"}}},
    ]
    for change in wrong:
        assert list(validator.iter_errors({**SCRIPT, **change})), change


def template(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, **app_settings: str) -> str:
    values = {"ONBOARDING_POLICIES": str(folder), **APP_SETTINGS, **app_settings}
    (folder / "settings.txt").write_text(json.dumps({"Values": values}))
    assert main(["template", "--settings", str(folder / "settings.txt"), "--complete", *arguments]) == 0
    out = capsys.readouterr().out
    assert not [name for name, value in APP_SETTINGS.items() if value in out]
    return out


def test_a_template_computes_what_is_the_machines_and_asks_for_secrets(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = json.loads(template(folder, capsys, "--policy", "script", "--placement", "root"))
    properties = made["resources"][0]["properties"]
    assert properties["settings"] == {
        "fileUris": ["[concat('https://files.example/', parameters('location'), '/setup.sh')]"],
        "timestamp": 123456789,
    }
    assert properties["protectedSettings"] == {
        "commandToExecute": "[parameters('commandToExecute')]",
        "storageAccount": {
            "name": "[parameters('storageAccountName')]",
            "key": "[parameters('storageAccountKey')]",
        },
    }
    secure = {name for name, each in made["parameters"].items() if each["type"] == "secureString"}
    assert secure == {"commandToExecute", "storageAccountName", "storageAccountKey"}
    bicep = template(folder, capsys, "--policy", "script", "--placement", "root", "--format", "bicep")
    assert "@secure()\nparam storageAccountKey string\n" in bicep


def test_a_template_has_the_version_and_the_upgrades_of_the_entry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = json.loads(template(folder, capsys, "--policy", "monitor", "--placement", "root"))
    properties = made["resources"][0]["properties"]
    assert (properties["typeHandlerVersion"], properties["enableAutomaticUpgrade"]) == ("1.36", True)
    # A template knows no identity, so the default `authentication` is left out.
    assert properties["settings"] == {"proxy": {"mode": "application", "address": "http://proxy.example:3128"}}
    entry = {key: value for key, value in CUSTOM_SCRIPT.items() if key != "version"}
    (folder / "extensions" / "custom-script-linux.yaml").write_text(yaml.safe_dump(entry))
    made = json.loads(template(folder, capsys, "--policy", "script", "--placement", "root"))
    assert not {"typeHandlerVersion", "enableAutomaticUpgrade"} & set(made["resources"][0]["properties"])


def test_a_value_inside_that_is_not_known_here_is_a_parameter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"fileUris": ["{FILE}", "https://files.example/x", "{machine.id}"]}
    (folder / "script.yaml").write_text(yaml.safe_dump({**SCRIPT, "settings": settings}))
    made = json.loads(template(folder, capsys, "--policy", "script", "--placement", "root"))
    assert made["resources"][0]["properties"]["settings"]["fileUris"] == [
        "[parameters('fileUris0')]",
        "https://files.example/x",
        f"[{MACHINE}]",
    ]
    assert made["parameters"]["fileUris0"]["type"] == "string"
    assert "defaultValue" not in made["parameters"]["fileUris0"]


def test_the_az_command_has_placeholders_for_secrets_at_every_depth() -> None:
    settings = {
        "type": "object",
        "properties": {"a": {"properties": {"key": {"secret": True}, "n": {"type": "integer"}}}},
    }
    entry = parse_entry({**CUSTOM_SCRIPT, "settings": settings, "enableAutomaticUpgrade": False}, "x.yaml")
    policy = parse_policy({**SCRIPT, "settings": {}}, "p.yaml", compile_rule)
    vm = VmId("s", "g", "web01")
    machine = MachineValues(str(vm), "web01", "westeurope")
    public, protected = placeholders(entry, policy, {"a": {"key": "open-sesame", "n": 5}}, machine)
    assert public == {"a": {"key": "<key>", "n": 5}}
    assert protected == {"commandToExecute": "<commandToExecute>", "storageAccount": {"name": "<name>", "key": "<key>"}}
    command = az_extension_set(vm, entry, "CustomScript", public, protected)
    assert "--enable-auto-upgrade false" in command
    assert "--version 2.1" in command
    assert "sesame" not in command
