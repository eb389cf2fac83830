"""From a policy's settings to what an extension is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.catalog.extension_settings import ExtensionSettings, known_settings, resolve_settings
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.masking import mask
from onboarding.domain.policy.rule import compile_rule
from onboarding.loading.policy_folder import load_catalogue
from tests.reference import parse_policy

OMS = load_catalogue()["oms-agent-linux"]
ID = "6f680a37-00c6-41c7-a93f-1437e3462574"
KEY = "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5"
APP_SETTINGS = {"OMS_WORKSPACE_ID": ID, "OMS_WORKSPACE_KEY": KEY}
MACHINE = MachineValues(
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/v", "v", "westeurope"
)
REFERENCES = {"workspaceId": "{OMS_WORKSPACE_ID}"}, {"workspaceKey": "{OMS_WORKSPACE_KEY}"}


def _resolve(settings: Any, protected: Any, app_settings: dict[str, str]) -> ExtensionSettings:
    raw = {"name": "p", "extension": OMS.name, "settings": settings, "protectedSettings": protected}
    return resolve_settings(OMS, parse_policy(raw, "p.yaml", compile_rule), app_settings, MACHINE)


def test_references_are_filled_in_and_the_key_is_hidden() -> None:
    found = _resolve(*REFERENCES, APP_SETTINGS)
    assert found.public == {"workspaceId": ID}
    assert found.protected.reveal() == {"workspaceKey": KEY}
    assert found.problems == ()
    assert KEY not in repr(found)


def test_space_around_an_app_setting_is_not_part_of_it() -> None:
    found = _resolve(*REFERENCES, {"OMS_WORKSPACE_ID": f" {ID}\n", "OMS_WORKSPACE_KEY": f"{KEY}\n"})
    assert (found.public["workspaceId"], found.protected.reveal()["workspaceKey"]) == (ID, KEY)
    assert found.problems == ()


def test_a_reference_can_be_a_part_of_a_text_and_is_filled_in_once() -> None:
    protected = {"workspaceKey": KEY, "proxy": "{USER}:{WORD}@proxy:80"}
    found = _resolve({"workspaceId": ID}, protected, {"USER": "u", "WORD": "{USER}"})
    assert found.protected.reveal()["proxy"] == "u:{USER}@proxy:80"


def test_values_that_are_no_text_stay_as_they_are() -> None:
    found = _resolve({"workspaceId": ID, "stopOnMultipleConnections": True}, {"workspaceKey": KEY}, {})
    assert found.public["stopOnMultipleConnections"] is True
    assert found.problems == ()


def test_what_is_null_is_not_given() -> None:
    found = _resolve({"workspaceId": None}, {"workspaceKey": None, "proxy": None}, {})
    assert (found.public, found.protected.reveal()) == ({}, {})
    assert found.problems == ("settings.workspaceId is missing", "protectedSettings.workspaceKey is missing")


@pytest.mark.parametrize(
    ("app_settings", "problems"),
    [
        ({}, ("app setting OMS_WORKSPACE_ID is not set", "app setting OMS_WORKSPACE_KEY is not set")),
        ({**APP_SETTINGS, "OMS_WORKSPACE_KEY": ""}, ("app setting OMS_WORKSPACE_KEY is not set",)),
    ],
)
def test_a_missing_app_setting_is_named(app_settings: dict[str, str], problems: tuple[str, ...]) -> None:
    assert _resolve(*REFERENCES, app_settings).problems == problems


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"OMS_WORKSPACE_ID": "my-very-own-workspace"}, "OMS_WORKSPACE_ID"),
        ({"OMS_WORKSPACE_ID": "  "}, "OMS_WORKSPACE_ID"),
        ({"OMS_WORKSPACE_KEY": "my-very-own-key"}, "OMS_WORKSPACE_KEY"),
        ({"OMS_WORKSPACE_KEY": "@Microsoft.KeyVault(SecretUri=my-very-own-vault)"}, "OMS_WORKSPACE_KEY"),
    ],
)
def test_a_problem_names_the_app_setting_and_never_the_value(change: dict[str, str], named: str) -> None:
    found = _resolve(*REFERENCES, {**APP_SETTINGS, **change})
    (problem,) = found.problems
    assert f", from app setting {named}" in problem
    assert "my-very-own" not in problem


def test_a_boolean_from_an_app_setting_is_a_text_and_refused() -> None:
    settings = {"workspaceId": ID, "stopOnMultipleConnections": "{STOP}"}
    (problem,) = _resolve(settings, {"workspaceKey": KEY}, {"STOP": "true"}).problems
    assert "JSON boolean" in problem
    assert ", from app setting STOP" in problem


def test_a_problem_of_a_literal_names_no_app_setting() -> None:
    (problem,) = _resolve({"workspaceId": "x"}, {"workspaceKey": KEY}, {}).problems
    assert "app setting" not in problem


VAULT = "@Microsoft.KeyVault(VaultName=my-very-own;SecretName=s)"


@pytest.mark.parametrize("reference", [VAULT, f"  {VAULT}\n", VAULT.lower(), VAULT.replace("(", " (")])
@pytest.mark.parametrize(
    ("place", "settings", "protected"),
    [
        ("settings.workspaceId", {"workspaceId": "{X}"}, {"workspaceKey": KEY}),
        ("settings.stopOnMultipleConnections", {"workspaceId": ID, "stopOnMultipleConnections": "{X}"}, {}),
        ("protectedSettings.workspaceKey", {"workspaceId": ID}, {"workspaceKey": "{X}"}),
        ("protectedSettings.proxy", {"workspaceId": ID}, {"workspaceKey": KEY, "proxy": "{X}"}),
        ("protectedSettings.proxy", {"workspaceId": ID}, {"workspaceKey": KEY, "proxy": "http://u:{X}@proxy:80"}),
    ],
)
def test_an_unresolved_key_vault_reference_is_named_and_left_out(
    place: str, settings: Any, protected: Any, reference: str
) -> None:
    found = _resolve(settings, protected, {"X": reference})
    (problem,) = found.problems
    assert problem.startswith(f"{place}, from app setting X, is a Key Vault reference that was not resolved: ")
    assert "Key Vault Secrets User" in problem
    assert "my-very-own" not in problem
    assert place.partition(".")[2] not in {**found.public, **found.protected.reveal()}


@pytest.mark.parametrize(
    ("value", "place"),
    [(VAULT, "more"), ([VAULT], "more[0]"), ({"key": VAULT}, "more.key")],
    ids=["text", "list", "object"],
)
def test_a_key_vault_reference_in_a_policy_file_is_named_too(value: Any, place: str) -> None:
    (problem,) = _resolve({"workspaceId": ID, "more": value}, {"workspaceKey": KEY}, {}).problems
    assert problem.startswith(f"settings.{place} is a Key Vault reference, which a policy file cannot hold: ")
    assert "my-very-own" not in problem


def test_an_unresolved_reference_is_no_known_setting_and_no_secret() -> None:
    assert known_settings({"workspaceId": "{X}", "a": "{Y}"}, {"X": VAULT, "Y": "y"}, MACHINE) == {"a": "y"}
    _resolve({"workspaceId": ID}, {"workspaceKey": "{X}"}, {"X": VAULT})
    assert mask(f"The reference {VAULT[20:]} was not resolved.") == f"The reference {VAULT[20:]} was not resolved."


@given(
    st.recursive(
        st.one_of(st.text(), st.none(), st.integers()), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
    )
)
def test_no_value_makes_resolving_raise(value: Any) -> None:
    _resolve({"workspaceId": value, "more": "{X}"}, {"workspaceKey": KEY}, {"X": str(value)})
