"""Both formats of a catalogue entry's file, what is printed of them, and the keys that only the present one has."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from msgspec import structs

from onboarding.app import read_configuration
from onboarding.application.rules import decision_context
from onboarding.cli.main import main
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, extension_body
from onboarding.domain.catalog.entry_file import IdentityNeed, read_entry_file
from onboarding.domain.catalog.protected_settings import ProtectedSettings
from onboarding.domain.errors import ConfigurationError
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.machine.machine_kind import MachineKind
from onboarding.domain.policy_digest import parts
from onboarding.domain.reconcile.decision import RetryState
from onboarding.export.entry_schema import entry_schema
from onboarding.loading.policy_folder import load_catalogue, load_catalogue_of
from tests.extension_examples import ENTRIES, KEY_VAULT_LINUX
from tests.reference import parse_entry
from tests.windows_entry import ENTRY as FORMER_WINDOWS

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "onboarding/catalog/linux/oms-agent-linux.yaml"
# The part of the shipped file that had another form.
FORMER_OMS: dict[str, Any] = {
    "osType": "Linux",
    "settings": {
        "workspaceId": {"required": True, "format": "guid", "destination": True},
        "stopOnMultipleConnections": {"type": "boolean"},
        "skipDockerProviderInstall": {"type": "boolean"},
    },
    "protectedSettings": {"workspaceKey": {"required": True, "format": "base64"}, "proxy": {"type": "string"}},
}
FORMER: dict[str, Any] = {
    "name": "probe-linux",
    "publisher": "Fabrikam.Probe",
    "type": "ProbeLinux",
    "version": "6.0",
    "resourceName": "Probe",
    "osType": "Linux",
    "settings": {"site": {"required": True}, "ingest": {"secret": True}, "free": None},
    "protectedSettings": {"api_key": {"required": True}, "note": {"secret": False}},
    "logs": None,
    "supportTables": {2026: {"date": "2026-01-15", "source": "s", "versions": "any"}},
    "defaultSupportTable": 2026,
}
LEAST = {"name": "x", "publisher": "P", "type": "T", "resourceName": "R", "os": "linux"}


def shipped() -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    return raw


def former_oms() -> dict[str, Any]:
    return {key: value for key, value in shipped().items() if key != "os"} | FORMER_OMS


def comparable(entry: CatalogueEntry) -> tuple[Any, ...]:
    """The entry with regular expressions as texts: two that say the same are not equal."""
    rules = [(structs.replace(rule, text=None), rule.text and rule.text.text) for rule in entry.errors.rules]
    return structs.replace(entry, read_errors=None), rules


@pytest.mark.parametrize("raw", [former_oms(), FORMER_WINDOWS, FORMER], ids=lambda raw: str(raw["name"]))
def test_a_file_in_the_former_format_is_printed_in_the_present_one(
    raw: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    assert main(["extension", "show", str(tmp_path / "old.yaml")]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert ("os" in printed, "osType" in printed) == (True, False)
    assert read_entry_file(printed, "new.yaml") == read_entry_file(raw, "old.yaml")
    assert comparable(parse_entry(printed, "new.yaml")) == comparable(parse_entry(raw, "old.yaml"))
    assert main(["extension", "show", str(tmp_path / "old.yaml"), "-o", "json"]) == 0
    as_json = parse_entry(json.loads(capsys.readouterr().out), "new.json")
    assert comparable(as_json) == comparable(parse_entry(raw, "old.yaml"))


def test_the_shipped_entry_is_the_one_that_its_former_file_said() -> None:
    assert read_entry_file(former_oms(), "old.yaml") == read_entry_file(shipped(), "new.yaml")


def test_an_entry_is_shown_by_its_name_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "vault.yaml").write_text(yaml.safe_dump(KEY_VAULT_LINUX))
    monkeypatch.setenv("ONBOARDING_POLICIES", str(tmp_path))
    assert main(["extension", "show", "key-vault-linux"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["type"] == "KeyVaultForLinux"
    assert main(["extension", "show", "key-valt-linux"]) == 2
    error = capsys.readouterr().err
    assert "unknown extension 'key-valt-linux'; known extensions: " in error
    assert "did you mean 'key-vault-linux'?" in error
    assert main(["extension"]) == 2


def test_the_request_of_the_oms_agent_is_byte_for_byte_as_ever() -> None:
    protected = ProtectedSettings({"workspaceKey": "a2V5", "proxy": "p:80"}, [])
    body = extension_body(load_catalogue()["oms-agent-linux"], "westeurope", {"workspaceId": "i"}, protected, "try-2")
    assert json.dumps(body) == (
        '{"location": "westeurope", "properties": {"publisher": "Microsoft.EnterpriseCloud.Monitoring",'
        ' "type": "OmsAgentForLinux", "typeHandlerVersion": "1.3", "autoUpgradeMinorVersion": true,'
        ' "settings": {"workspaceId": "i"}, "protectedSettings": {"workspaceKey": "a2V5", "proxy": "p:80"},'
        ' "forceUpdateTag": "try-2"}}'
    )


def test_what_the_least_entry_leaves_out_is_not_sent() -> None:
    entry = parse_entry(LEAST, "x.yaml")
    assert (entry.machines, entry.needs.identity, entry.needs.extensions) == ((MachineKind.VM,), IdentityNeed.NONE, ())
    assert extension_body(entry, "w", {}, ProtectedSettings({}, []))["properties"] == {
        "publisher": "P",
        "type": "T",
        "autoUpgradeMinorVersion": True,
        "settings": {},
        "protectedSettings": {},
    }


@pytest.mark.parametrize("upgrade", [True, False])
def test_automatic_upgrade_is_sent_where_the_entry_says_it(upgrade: bool) -> None:
    entry = parse_entry({**LEAST, "enableAutomaticUpgrade": upgrade, "version": "1.10"}, "x.yaml")
    properties = extension_body(entry, "w", {}, ProtectedSettings({}, []))["properties"]
    assert (properties["enableAutomaticUpgrade"], properties["typeHandlerVersion"]) == (upgrade, "1.10")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"os": "linx"}, "unknown operating system 'linx' (x.yaml: os); write linux or windows"),
        ({"os": None}, "missing key 'os' in the catalogue entry (x.yaml: os); add `os:` and an operating system"),
        ({"osType": "Linux"}, "unknown key 'osType' in the catalogue entry (x.yaml: osType); known keys: name"),
        ({"version": "latest"}, "'latest' is not a version (x.yaml: version); write major.minor in quotes"),
        ({"version": "1.10\n"}, " is not a version (x.yaml: version)"),
        ({"name": "x\n"}, " is not the name of an extension (x.yaml: name)"),
        ({"publisher": ""}, "key 'publisher' is empty (x.yaml: publisher); write a text"),
        ({"machines": ["vmm"]}, "unknown value 'vmm' (x.yaml: machines[0]); known values: vm, arc, scaleSet; did you"),
        ({"needs": {"identity": "own"}}, "unknown value 'own' (x.yaml: needs.identity); known values: none, any"),
        ({"needs": {"extension": []}}, "unknown key 'extension' in 'needs' (x.yaml: needs.extension); known keys"),
        ({"needs": {"extensions": ["x"]}}, "the extension needs itself (x.yaml: needs.extensions[0]); remove it"),
        ({"enableAutomaticUpgrade": "yes"}, "'yes' is not true or false (x.yaml: enableAutomaticUpgrade); write"),
        ({"settings": {"type": "string"}}, "the settings of an extension are an object (x.yaml: settings); write"),
        ({"settings": {"a": {"type": "string"}}}, "unknown key 'a' in the schema of a setting (x.yaml: settings.a)"),
    ],
)
def test_a_bad_key_is_named_with_its_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_entry({**LEAST, **change}, "x.yaml")
    assert says in str(raised.value)


SCHEMAS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown type": ({"type": "strin"}, "'strin' (x.yaml: settings.properties.a.type); known values: array"),
    "an unknown key": ({"typ": "string"}, "'typ' in the schema of a setting (x.yaml: settings.properties.a.typ);"),
    "a key of another type": ({"type": "array", "properties": {"b": {}}}, "'properties' has no meaning for the type a"),
    "a format of a number": ({"type": "integer", "format": "guid"}, "(x.yaml: settings.properties.a.format); write"),
    "a required one that is unknown": (
        {"properties": {"bc": {}}, "required": ["bd"]},
        "'bd' is not among the properties (x.yaml: settings.properties.a.required[0]); known properties: bc",
    ),
    "a bad pattern": ({"pattern": "("}, "'(' is not a regular expression: missing ), unterminated subpattern"),
    "a bad default": (
        {"properties": {"b": {"items": {"type": "integer", "default": "5"}}}},
        "it must be a whole number, not a string (x.yaml: settings.properties.a.properties.b.items.default); correct",
    ),
    "a default with an unknown template": ({"default": "{machine.idd}"}, "template '{machine.idd}' (x.yaml: settings."),
    "a secret default": ({"secret": True, "default": "sesame"}, "the default of a secret setting is readable in this"),
    "an empty enum": ({"enum": []}, "(x.yaml: settings.properties.a.enum); "),
}


@pytest.mark.parametrize(("schema", "says"), SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_that_contradicts_itself_is_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_entry({**LEAST, "settings": {"type": "object", "properties": {"a": schema}}}, "x.yaml")
    assert says in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_an_entry_that_needs_an_unknown_extension_is_left_out_with_those_that_need_it(tmp_path: Path) -> None:
    (tmp_path / "extensions").mkdir()
    needs = {"a": ["b"], "b": ["nowhere"], "c": ["oms-agent-linux"], "d": []}
    for name, needed in needs.items():
        entry = {**LEAST, "name": name, "type": name, "needs": {"extensions": needed}}
        (tmp_path / "extensions" / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    catalogue = load_catalogue_of(tmp_path)
    assert set(catalogue.entries) - set(load_catalogue()) == {"c", "d"}
    unknown, needing = catalogue.problems
    assert unknown.startswith(
        "unknown extension 'nowhere' (extensions/b.yaml:4: needs.extensions[0]); known extensions"
    )
    assert needing == (
        "the catalogue entry of the extension 'b' cannot be used (extensions/a.yaml:4: needs.extensions[0]); correct"
        f" this first: {unknown}"
    )


def test_the_schema_for_editors_is_up_to_date_and_takes_every_entry() -> None:
    assert main(["extension", "schema", "--check", str(ROOT / "docs/schemas/extension.schema.json")]) == 0
    validator = jsonschema.Draft202012Validator(entry_schema())
    for entry in (*ENTRIES, json.loads(json.dumps(shipped(), default=str))):
        assert list(validator.iter_errors(entry)) == []
    bad_setting = {"type": "object", "properties": {"a": {"type": "strin"}}}
    changes: list[dict[str, Any]] = [{"os": "linx"}, {"machines": []}, {"settings": bad_setting}, {"nme": 1}]
    for wrong in changes:
        assert list(validator.iter_errors({**LEAST, **wrong}))


def test_the_digests_that_reopen_rows_are_those_of_the_version_before() -> None:
    """A row that an earlier version wrote must not look like one of another policy, or of other settings."""
    environment = {
        "AzureWebJobsStorage": "UseDevelopmentStorage=true",
        "ONBOARDING_POLICIES": str(ROOT / "policies"),
        "OMS_WORKSPACE_ID": "6f680a37-00c6-41c7-a93f-1437e3462574",
        "OMS_WORKSPACE_KEY": "bm90IGEgcmVhbCBrZXk=",
    }
    configuration = read_configuration(environment)
    (policy,) = (each for each in configuration.rules.policies.policies if not each.inactive)
    vm = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v"
    facts, now = read_facts({"id": vm, "location": "w"}), datetime(2026, 11, 20, tzinfo=UTC)
    retry = RetryState(None, policy.waits, now)
    context, _ = decision_context(configuration.rules, facts, policy.select(facts, now), retry)
    assert (parts(policy.digest)[0], context.settings_digest) == ("16389bf7c90ee818", "8b480e7ae417b2a4")
