"""`onboard extension new`: an entry that is valid at once, from publisher and type or from an installed extension."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from onboarding.cli.main import main
from onboarding.domain.catalog.secret_names import names_secret
from onboarding.loading.policy_folder import load_catalogue_of, load_policies
from tests.reference import parse_entry

GROUP = "/subscriptions/aaaaaaaa-1111-4222-8333-bbbbbbbbbbbb/resourceGroups/app-rg"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/win01"
SECRET = "sesame-opens-everything"
SHOWN: dict[str, Any] = {  # as `az vm extension show -o json` prints it
    "autoUpgradeMinorVersion": False,
    "enableAutomaticUpgrade": True,
    "id": f"{MACHINE}/extensions/Sensor",
    "instanceView": None,
    "location": "westeurope",
    "name": "Sensor",
    "protectedSettings": None,
    "provisioningState": "Succeeded",
    "publisher": "Contoso.Security",
    "resourceGroup": "app-rg",
    "settings": {
        "resourceId": MACHINE,
        "region": "westeurope",
        "cloud": "eu-1",
        "scan": {"everyMinutes": 30, "folders": ["C:\\Data"], "deep": False, "apiKey": SECRET},
        "rules": [{"name": "a", "level": 1.5}],
        "proxyToken": SECRET,
        "tokens": [SECRET],
        "auth.client id": "x",
        "yes": "no",
        "empty": {},
        "nothing": None,
        "list": [],
    },
    "tags": None,
    "type": "Microsoft.Compute/virtualMachines/extensions",
    "typeHandlerVersion": "2.1.7",
    "typePropertiesType": "SensorWindows",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which a person works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONBOARDING_POLICIES", raising=False)
    return tmp_path


def arm_body(shown: dict[str, Any]) -> dict[str, Any]:
    """The same extension as a GET of ARM answers it."""
    properties = {key: shown[key] for key in ("publisher", "typeHandlerVersion", "settings", "autoUpgradeMinorVersion")}
    properties |= {"type": shown["typePropertiesType"], "enableAutomaticUpgrade": True}
    return {key: shown[key] for key in ("id", "name", "type", "location")} | {"properties": properties}


def test_publisher_and_type_are_enough_for_a_valid_entry(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extension", "new", "--publisher", "Contoso.Inventory", "--type", "InventoryAgentLinux"]) == 0
    out = capsys.readouterr().out
    assert "wrote policies/extensions/inventory-agent-linux.yaml\n" in out
    catalogue = load_catalogue_of(here / "policies")
    assert (catalogue.problems, catalogue.notices) == ((), ())
    entry = catalogue.entries["inventory-agent-linux"]
    assert (entry.publisher, entry.type, entry.version) == ("Contoso.Inventory", "InventoryAgentLinux", "1.0")
    assert (entry.os_type, entry.resource_name) == ("Linux", "InventoryAgentLinux")
    text = (here / "policies/extensions/inventory-agent-linux.yaml").read_text()
    assert "az vm extension image list-versions --publisher Contoso.Inventory --name InventoryAgentLinux" in text


def test_editors_get_the_schema_of_the_project_or_a_copy_of_it(here: Path) -> None:
    command = ["extension", "new", "--publisher", "A.B", "--type", "CLinux"]
    assert main(command) == 0
    entry = here / "policies/extensions/c-linux.yaml"
    first = entry.read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/extension.schema.json"
    schema = json.loads((entry.parent / "../schemas/extension.schema.json").read_text())
    assert "publisher" in schema["properties"]
    assert main(["extension", "new", "--publisher", "A.B", "--type", "DLinux", "--policy"]) == 0
    first = (here / "policies/d-linux.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=schemas/policy.schema.json"
    schema = json.loads((here / "policies/schemas/policy.schema.json").read_text())
    assert {"c-linux", "d-linux"} < {*schema["properties"]["extension"]["anyOf"][0]["enum"]}
    (here / "docs/schemas").mkdir(parents=True)
    (here / "docs/schemas/extension.schema.json").write_text("{}")
    assert main([*command, "--name", "other", "--policy"]) == 0
    assert "$schema=../../docs/schemas/extension.schema.json" in (entry.parent / "other.yaml").read_text()
    assert "$schema=../docs/policy.schema.json" in (here / "policies/other.yaml").read_text()


def test_secrets_become_protected_settings_and_app_settings_of_the_policy(here: Path) -> None:
    command = ["extension", "new", "--publisher", "Datadog.Agent", "--type", "DatadogLinuxAgent", "--version", "7.0.1"]
    assert main([*command, "--setting", "site=datadoghq.eu", "--secret", "api_key", "--policy"]) == 0
    catalogue = load_catalogue_of(here / "policies")
    entry = catalogue.entries["datadog-linux-agent"]
    assert (entry.version, entry.protected_settings.required) == ("7.0", ("api_key",))
    policies, problems = load_policies(here / "policies", catalogue.entries)
    assert problems == ()
    (policy,) = policies.policies
    assert (policy.name, policy.extension) == ("datadog-linux-agent", "datadog-linux-agent")
    assert policy.settings == {"site": "datadoghq.eu"}
    assert policy.protected_settings == {"api_key": "{DATADOG_API_KEY}"}
    assert main(["policy", "validate"]) == 0


@pytest.mark.parametrize("form", ["az", "ARM", "list", "template"])
def test_the_settings_of_an_installed_extension_become_a_schema_and_its_secrets_stay_away(
    form: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body: Any = {
        "az": SHOWN,
        "ARM": arm_body(SHOWN),
        "list": {"value": [arm_body(SHOWN), {"name": "x", "publisher": "P", "type": "Other"}]},
        "template": {**arm_body(SHOWN), "properties": {**arm_body(SHOWN)["properties"]}},
    }[form]
    if form == "template":
        body["properties"]["protectedSettings"] = {"registration": SECRET}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(body).encode())))
    chosen = ["--type", "SensorWindows"] if form == "list" else []
    assert main(["extension", "new", "-", "--policy", *chosen]) == 0
    text = (here / "policies/extensions/sensor-windows.yaml").read_text()
    policy = (here / "policies/sensor-windows.yaml").read_text()
    assert SECRET not in text + policy
    entry = parse_entry(yaml.safe_load(text), "sensor-windows.yaml")
    assert (entry.version, entry.resource_name, entry.os_type) == ("2.1", "Sensor", "Windows")
    assert (entry.auto_upgrade_minor_version, entry.enable_automatic_upgrade) == (False, True)
    named = entry.settings.properties or {}
    kinds = {name: schema.kind for name, schema in named.items()}
    assert kinds == {
        **dict.fromkeys(("resourceId", "region", "cloud", "proxyToken", "auth.client id", "yes"), "string"),
        "scan": "object",
        "rules": "array",
        "tokens": "array",
        "empty": "object",
        "nothing": "",
        "list": "array",
    }
    assert (named["resourceId"].default, named["region"].default) == ("{machine.id}", "{machine.location}")
    assert named["proxyToken"].secret is True
    inner = {name: schema.kind for name, schema in (named["scan"].properties or {}).items()}
    assert inner == {"everyMinutes": "integer", "folders": "array", "deep": "boolean", "apiKey": "string"}
    assert {name: schema.kind for name, schema in (named["rules"].each_item.properties or {}).items()} == {
        "name": "string",
        "level": "number",
    }
    assert 'cloud: {type: string} # for example "eu-1"' in text
    assert entry.protected_settings.required == (("registration",) if form == "template" else ())
    given = yaml.safe_load(policy)
    assert given["settings"]["cloud"] == "eu-1"
    assert not {"resourceId", "proxyToken", "scan", "tokens", "nothing"} & given["settings"].keys()


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extension", "new", "--publisher", "A.B", "--type", "CLinux", "--policy"]
    (here / "policies").mkdir()
    (here / "policies/c-linux.yaml").write_text("mine")
    assert main(command) == 2
    said = "onboard extension: the file is there already (policies/c-linux.yaml); give another --name or --file"
    assert capsys.readouterr().err.startswith(said)
    assert not (here / "policies/extensions").exists()


def test_the_text_can_be_printed_and_written_elsewhere(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["extension", "new", "--publisher", "A.B", "--type", "CLinux", "--file"]
    assert main([*command, "-"]) == 0
    printed = capsys.readouterr().out
    assert parse_entry(yaml.safe_load(printed), "x").type == "CLinux"
    assert list(here.iterdir()) == []
    assert main([*command, "away/c.yaml"]) == 0
    assert yaml.safe_load((here / "away/c.yaml").read_text()) == yaml.safe_load(printed)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the publisher of the extension is not given; give --publisher and --type, or an extension"),
        (["--publisher", "A.B"], "the type of the extension is not given; "),
        (["--publisher", "A.B", "--type", "C"], "the type 'C' does not say for which operating system it is (--os)"),
        (["--publisher", "A", "--type", "CLinux", "--name", "A b"], "'A b' is not the name of an extension (name); "),
        (["--publisher", "A", "--type", "CLinux", "--version", "one"], "'one' is not a version (version); write"),
        (["--publisher", "A", "--type", "CLinux", "--setting", "x"], "'x' has no value (--setting); write it as NAME"),
        (["--publisher", "A", "--type", "CLinux", "--setting", "x=["], "the value of 'x' is not YAML (--setting); "),
        (["two.json"], "the input has 2 extensions (two.json); choose one with --type: AgentLinux, AgentWindows"),
        (["vm.json"], "the input has no extension with publisher and type (vm.json); give --publisher and"),
        (["nowhere.json"], "the input cannot be read: No such file or directory (nowhere.json); give a file"),
    ],
)
def test_bad_input_is_named_with_its_fix(
    arguments: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [{"publisher": "A", "typePropertiesType": f"Agent{system}"} for system in ("Linux", "Windows")]
    (here / "two.json").write_text(json.dumps(two))
    (here / "vm.json").write_text('{"name": "vm", "type": "Microsoft.Compute/virtualMachines", "properties": {}}')
    assert main(["extension", "new", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"onboard extension: {said}")
    assert not (here / "policies").exists()


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "APIKEY", "key", "clientSecret", "password", "sasToken", "tokens", "storage-key"]
)
def test_a_name_of_a_secret_is_known(name: str) -> None:
    assert names_secret(name)


@pytest.mark.parametrize("name", ["site", "keyVaultUrl", "tokenUrl", "monkey", "secretsManagementSettings", "keys2"])
def test_other_names_are_not_taken_for_secrets(name: str) -> None:
    assert not names_secret(name)
