"""Templates in settings: what they stand for, and what is left out where the machine has no value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onboarding.domain.catalog.extension_settings import ExtensionSettings, resolve_settings
from onboarding.domain.catalog.setting_templates import MachineValues, fill
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.masking import mask
from onboarding.domain.policy.rule import compile_rule
from tests.extension_examples import APP_SETTINGS, AZURE_MONITOR, CUSTOM_SCRIPT, KEY_VAULT_LINUX, POLICIES
from tests.reference import parse_entry, parse_policy

ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web01"
BARE = MachineValues(ID, "web01", "westeurope")
CLIENT_ID = "0c1d2e3f-0000-4000-8000-000000000000"
WITH_IDENTITY = MachineValues(ID, "web01", "westeurope", "/subscriptions/s/id-ama", CLIENT_ID)
SECRETS = {name: APP_SETTINGS[name] for name in ("SETUP_TOKEN", "STORAGE_KEY", "PROXY_PASSWORD")}


def resolve(
    entry: dict[str, Any],
    machine: MachineValues | None = BARE,
    app_settings: dict[str, str] = APP_SETTINGS,
    **change: Any,
) -> ExtensionSettings:
    policy = next(policy for policy in POLICIES if policy["extension"] == entry["name"])
    parsed = parse_policy({**policy, **change}, "p.yaml", compile_rule)
    return resolve_settings(parse_entry(entry, "x.yaml"), parsed, app_settings, machine)


def test_the_machine_of_a_body_has_its_values() -> None:
    assert MachineValues.of(read_facts({"id": ID, "location": "westeurope"})) == BARE
    assert MachineValues.of(read_facts({"location": "westeurope"})) == MachineValues("", "", "westeurope")


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"a": "{machine.name}-{machine.location}/{X}"}, {"a": "web01-westeurope/x"}),
        ({"a": {"b": [{"c": "{machine.id}"}, 5, True]}}, {"a": {"b": [{"c": ID}, 5, True]}}),
        ({"a": {"b": "{identity.id}", "c": 1}, "d": 2}, {"d": 2}),
        ({"a": {"b": {"c": "{identity.id}"}}, "d": 2}, {"d": 2}),
        ({"a": {"b": {"c": "{identity.id}"}, "e": 1}}, {"a": {"e": 1}}),
        ({"a": {"b": ["x", "{identity.id}"], "e": {}}, "d": {}}, {"d": {}}),
        ({"a": [{"b": "{identity.id}"}, {"c": 1}]}, {"a": [{"c": 1}]}),
        ({"a": "{identity.id}", "b": 1}, {"b": 1}),
        ({"a": ["{identity.id}"], "b": 1}, {"b": 1}),
        ({"a": "x {identity.clientId} y", "b": None, "c": {"d": None}}, {}),
        ({"a": "{print}, ${machine} {machine.} { machine.id }"}, {"a": "p, $m {machine.} { machine.id }"}),
    ],
)
def test_templates_are_filled_or_take_their_smallest_object_along(settings: Any, sent: Any) -> None:
    assert fill(settings, {"X": " x\n", "print": "p", "machine": "m"}, BARE) == sent


def test_without_a_machine_its_templates_stay() -> None:
    settings = {"a": {"b": "{machine.id} {X}"}, "c": "{identity.id}"}
    assert fill(settings, {"X": "x"}, None) == {"a": {"b": "{machine.id} x"}, "c": "{identity.id}"}


def test_an_app_setting_is_filled_in_once() -> None:
    assert fill({"a": "{X}"}, {"X": "{machine.id}"}, BARE) == {"a": "{machine.id}"}


def test_a_default_is_left_out_without_an_identity_and_sent_with_one() -> None:
    assert "authentication" not in resolve(AZURE_MONITOR).public
    assert resolve(AZURE_MONITOR, WITH_IDENTITY).public["authentication"] == {
        "managedIdentity": {"identifier-name": "mi_res_id", "identifier-value": "/subscriptions/s/id-ama"}
    }
    assert resolve(KEY_VAULT_LINUX, WITH_IDENTITY).public["authenticationSettings"]["msiClientId"] == CLIENT_ID


def test_settings_of_any_depth_are_sent_without_a_problem_before_and_after_the_machine_is_known() -> None:
    for entry in (AZURE_MONITOR, CUSTOM_SCRIPT, KEY_VAULT_LINUX):
        for machine in (None, BARE, WITH_IDENTITY):
            assert resolve(entry, machine).problems == ()


def test_secrets_at_every_depth_are_masked_and_never_shown() -> None:
    found = [resolve(CUSTOM_SCRIPT), resolve(AZURE_MONITOR)]
    for name, value in SECRETS.items():
        assert value in json.dumps([each.protected.reveal() for each in found]), name
        assert value not in repr(found) + str(found)
        assert value not in mask(f"the handler wrote: {value} at once")


def test_the_values_of_the_machine_in_a_secret_are_not_masked() -> None:
    assert ID in str(resolve(CUSTOM_SCRIPT).protected.reveal())
    assert mask(f"{ID} in westeurope") == f"{ID} in westeurope"


def test_a_public_secret_inside_of_an_object_is_masked_too() -> None:
    hidden = {
        "type": "object",
        "properties": {"a": {"properties": {"key": {"secret": True}, "number": {"secret": True}}}},
    }
    entry = {**CUSTOM_SCRIPT, "settings": hidden, "protectedSettings": {"type": "object"}}
    settings = {"a": {"key": "{OPEN_SECRET}", "number": 9081726354}}
    found = resolve(entry, app_settings={"OPEN_SECRET": "open-sesame-0918"}, settings=settings, protectedSettings={})
    assert found.public == {"a": {"key": "open-sesame-0918", "number": 9081726354}}
    assert mask("it says open-sesame-0918 and 9081726354") == "it says *** and ***"


@pytest.mark.parametrize(
    ("change", "app_settings", "problem"),
    [
        ({}, {"STORAGE_KEY": ""}, "app setting STORAGE_KEY is not set"),
        (
            {},
            {"STORAGE_KEY": "@Microsoft.KeyVault(SecretUri=https://sesame.example/s)"},
            "protectedSettings.storageAccount.key, from app setting STORAGE_KEY, is a Key Vault reference that was not",
        ),
        ({"settings": {"fileUris": ["{FILE}"]}}, {"FILE": "a sesame"}, "settings.fileUris[0] must be a URI such as"),
        (
            {"settings": {"timestamp": "{FILE}"}},
            {"FILE": "5"},
            "settings.timestamp must be a whole number, not a string, f",
        ),
        (
            {"settings": {"fileUris": ["{machine.idd}"]}},
            {},
            "settings.fileUris[0] has the unknown template {machine.idd};",
        ),
        ({"settings": {"fileUri": "x"}}, {}, "settings.fileUri is unknown to custom-script-linux"),
        (
            {"protectedSettings": {"commandToExecute": "x", "storageAccount": {"name": "n"}}},
            {},
            "protectedSettings.storageAccount.key is missing",
        ),
    ],
)
def test_a_problem_names_the_path_and_the_app_setting_and_never_the_value(
    change: dict[str, Any], app_settings: dict[str, str], problem: str
) -> None:
    (one,) = resolve(CUSTOM_SCRIPT, app_settings={**APP_SETTINGS, **app_settings}, **change).problems
    assert one.startswith(problem)
    assert "sesame" not in one
    assert ("from app setting FILE" in one) is ("FILE" in app_settings)
