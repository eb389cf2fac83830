"""The app settings: what is read, what is wrong, and that no value shows."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.application.sweep.sweep_queue import Budget
from onboarding.settings import AppSettings, events_queue, read_settings, storage_connection

KEY = "c3RvcmFnZSBrZXk="
CONNECTION = f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net"
SAS = "TableEndpoint=https://a.table.core.windows.net/;SharedAccessSignature=sv=2022-11-02&sig=abc"
STORAGE = {"AzureWebJobsStorage": CONNECTION}


def test_every_setting_is_in_the_readme_and_says_what_it_is() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    table = readme.split("\n## Settings\n")[1].split("\n## ")[0]
    named = {
        name for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    of_policies = {name for name in named if name.startswith(("OMS_", "AMA_", "DATA_COLLECTION_", "LOG_ANALYTICS_W"))}
    assert len(of_policies) == 6
    assert named - of_policies == set(AppSettings.__struct_encode_fields__)
    hints = get_type_hints(AppSettings, include_extras=True)
    assert all(hint.__metadata__[0].description for hint in hints.values())
    defaults = AppSettings()
    for name, shown in (("ONBOARDING_POLICIES", defaults.policies), ("HISTORY_DAYS", str(defaults.history_days))):
        assert f"`{shown}`" in next(row for row in table.splitlines() if row.startswith(f"| `{name}`"))
    assert defaults.sweep_grace_period == timedelta(minutes=10).total_seconds()  # as the table says


def test_several_wrong_settings_are_all_named_and_the_others_hold() -> None:
    wrong = {"SWEEP_VISITS": "many", "HISTORY_DAYS": "0", "AZURE_CLOUD": "moon", "ONBOARDING_LOG": "xml"}
    settings = read_settings({**STORAGE, **wrong, "SWEEP_PATIENCE": "1h", "SWEEP_VISITS_PER_MINUTE": "7"})
    assert {problem.partition("(app setting ")[2].partition(")")[0] for problem in settings.problems} == set(wrong)
    assert (settings.sweep_requests, settings.history_days, settings.cloud.name) == (None, 90, "AzurePublicCloud")
    assert (settings.sweep_grace_period, settings.sweep_requests_per_minute) == (timedelta(hours=1), 7)


def test_the_defaults() -> None:
    settings = read_settings(STORAGE)
    assert settings.problems == ()
    assert (settings.cloud.name, settings.arm_endpoint) == ("AzurePublicCloud", "https://management.azure.com")
    assert settings.cloud.arm_scope == "https://management.azure.com/.default"
    assert settings.policies == "policies"
    assert (settings.client_id, settings.topic_endpoint, settings.topic_key) == ("", "", None)


@pytest.mark.parametrize(
    ("cloud", "arm", "authority", "table"),
    [
        ("", "https://management.azure.com", "https://login.microsoftonline.com", "core.windows.net"),
        ("AzurePublicCloud", "https://management.azure.com", "https://login.microsoftonline.com", "core.windows.net"),
        (
            "AzureUSGovernment",
            "https://management.usgovcloudapi.net",
            "https://login.microsoftonline.us",
            "core.usgovcloudapi.net",
        ),
        (
            "AzureChinaCloud",
            "https://management.chinacloudapi.cn",
            "https://login.chinacloudapi.cn",
            "core.chinacloudapi.cn",
        ),
    ],
)
def test_clouds(cloud: str, arm: str, authority: str, table: str) -> None:
    settings = read_settings({"AZURE_CLOUD": cloud, "AzureWebJobsStorage__accountName": "a"})
    assert settings.problems == ()
    assert (settings.arm_endpoint, settings.cloud.authority) == (arm, authority)
    assert settings.storage.table_endpoint == f"https://a.table.{table}"
    assert settings.storage.queue_endpoint == f"https://a.queue.{table}"


def test_an_own_endpoint_leaves_the_clouds_token_scope() -> None:
    settings = read_settings({**STORAGE, "ARM_ENDPOINT": "https://localhost:8443/"})
    assert settings.arm_endpoint == "https://localhost:8443"
    assert settings.cloud.arm_scope == "https://management.azure.com/.default"


def test_the_topic_key_is_a_secret() -> None:
    topic = {"OUTCOME_TOPIC_ENDPOINT": "https://t.example/api/events", "OUTCOME_TOPIC_KEY": KEY}
    settings = read_settings({**STORAGE, **topic})
    assert settings.topic_key is not None
    assert settings.topic_key.reveal() == KEY
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "connection"),
    [
        ({}, "AzureWebJobsStorage"),
        (STORAGE, "AzureWebJobsStorage"),
        ({"ONBOARDING_STORAGE": ""}, "AzureWebJobsStorage"),
        ({"ONBOARDING_STORAGE__accountName": ""}, "AzureWebJobsStorage"),
        ({"ONBOARDING_STORAGES": "x"}, "AzureWebJobsStorage"),
        ({**STORAGE, "ONBOARDING_STORAGE": CONNECTION}, "ONBOARDING_STORAGE"),
        ({**STORAGE, "ONBOARDING_STORAGE__accountName": "a"}, "ONBOARDING_STORAGE"),
    ],
)
def test_which_connection_holds_table_and_queue(environment: dict[str, str], connection: str) -> None:
    assert storage_connection(environment) == connection


@pytest.mark.parametrize("connection", [CONNECTION, SAS])
def test_a_connection_string_is_a_secret(connection: str) -> None:
    settings = read_settings({"AzureWebJobsStorage": connection})
    assert settings.storage.connection_string is not None
    assert settings.storage.connection_string.reveal() == connection
    assert settings.problems == ()
    assert connection not in repr(settings)


def test_the_emulators_shorthand_is_written_out() -> None:
    found = read_settings({"AzureWebJobsStorage": "UseDevelopmentStorage=true"}).storage.connection_string
    assert found is not None
    assert "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1" in found.reveal()


def test_storage_with_an_identity() -> None:
    storage = read_settings(
        {
            "AZURE_CLIENT_ID": "general",
            "ONBOARDING_STORAGE__tableServiceUri": "https://t.example",
            "ONBOARDING_STORAGE__queueServiceUri": "https://q.example",
            "ONBOARDING_STORAGE__clientId": "own",
        }
    ).storage
    assert (storage.table_endpoint, storage.queue_endpoint) == ("https://t.example", "https://q.example")
    assert (storage.connection_string, storage.client_id) == (None, "own")
    assert read_settings({"AZURE_CLIENT_ID": "general"}).storage.client_id == "general"


NO_CONNECTION = (
    "the value is not the connection string of a storage account (app setting AzureWebJobsStorage); copy it from"
)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"AZURE_CLOUD": "AzureMoonCloud"},
            "the value is not a known cloud (app setting AZURE_CLOUD); known clouds: AzurePublicCloud",
        ),
        (
            {"ARM_ENDPOINT": "http://moon.example"},
            "the value is not an https URL (app setting ARM_ENDPOINT); write https://",
        ),
        (
            {"LOG_ANALYTICS_ENDPOINT": "http://moon.example"},
            "the value is not an https URL (app setting LOG_ANALYTICS_ENDPOINT); write https://",
        ),
        ({"ARM_ENDPOINT": "moon.example"}, "the value is not an https URL (app setting ARM_ENDPOINT); write https://"),
        ({"ARM_ENDPOINT": "https://[moon"}, "the value is not an https URL (app setting ARM_ENDPOINT); write https://"),
        ({"ARM_ENDPOINT": "https://:443"}, "the value is not an https URL (app setting ARM_ENDPOINT); write https://"),
        (
            {"OUTCOME_TOPIC_ENDPOINT": "http://moon.example"},
            "the value is not an https URL (app setting OUTCOME_TOPIC_ENDPOINT); write",
        ),
        ({"AzureWebJobsStorage": "moon"}, NO_CONNECTION),
        ({"AzureWebJobsStorage": "AccountName=moon"}, NO_CONNECTION),
        (
            {"ONBOARDING_STORAGE": "@Microsoft.KeyVault(moon)"},
            "the value is a Key Vault reference that was not resolved (app setting ONBOARDING_STORAGE); give",
        ),
        (
            {"ONBOARDING_STORAGE__tableServiceUri": "https://moon.example"},
            "missing storage account (app setting ONBOARDING_STORAGE); set it, or ONBOARDING_STORAGE__accountName, or "
            "ONBOARDING_STORAGE__queueServiceUri",
        ),
        (
            {
                "ONBOARDING_STORAGE__accountName": "moon",
                "ONBOARDING_STORAGE__tableServiceUri": "http://moon.example",
            },
            "the value is not an https URL (app setting ONBOARDING_STORAGE__tableServiceUri); write",
        ),
    ],
)
def test_a_problem_names_the_setting_and_never_the_value(change: dict[str, str], named: str) -> None:
    (problem,) = read_settings({**STORAGE, **change}).problems
    assert problem.startswith(named)
    assert "moon" not in problem


@pytest.mark.parametrize(
    "reference",
    [
        "@Microsoft.KeyVault(SecretUri=https://moon.vault.azure.net/secrets/s)",
        "@Microsoft.KeyVault(VaultName=moon;SecretName=s)",
        " @MICROSOFT.KEYVAULT(VaultName=moon;SecretName=s)\n",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "AZURE_CLOUD",
        "ARM_ENDPOINT",
        "LOG_ANALYTICS_ENDPOINT",
        "AZURE_CLIENT_ID",
        "OUTCOME_TOPIC_ENDPOINT",
        "OUTCOME_TOPIC_KEY",
        "AzureWebJobsStorage",
        "AzureWebJobsStorage__accountName",
        "ONBOARDING_STORAGE",
        "ONBOARDING_STORAGE__tableServiceUri",
        "ONBOARDING_POLICIES",
        "SWEEP_SCHEDULE",
        "SWEEP_VISITS",
        "SWEEP_PATIENCE",
        "HISTORY_DAYS",
    ],
)
def test_an_unresolved_key_vault_reference_is_named_once_and_not_used(name: str, reference: str) -> None:
    settings = read_settings({"AzureWebJobsStorage": CONNECTION, name: reference})
    (problem,) = settings.problems
    assert problem.startswith(f"the value is a Key Vault reference that was not resolved (app setting {name}); ")
    assert "Key Vault Secrets User" in problem
    used = (
        settings.arm_endpoint,
        settings.logs_endpoint,
        settings.client_id,
        settings.topic_endpoint,
        settings.topic_key,
        settings.storage,
    )
    assert "moon" not in repr(used)
    if "torage" in name.lower():
        assert (settings.storage.connection_string, settings.storage.table_endpoint) == (None, "")
    if name == "ONBOARDING_POLICIES":
        assert settings.policies != "policies"


@pytest.mark.parametrize(("text", "minutes"), [("", 10), ("90s", 1.5), ("1h", 60), ("moon", 10)])
def test_the_sweeps_patience_is_a_duration(text: str, minutes: float) -> None:
    settings = read_settings({**STORAGE, "SWEEP_PATIENCE": text})
    assert settings.sweep_grace_period == timedelta(minutes=minutes)
    problem = "the value is not a duration (app setting SWEEP_PATIENCE); use a number and s, m, h or d, such as 30m"
    assert [*settings.problems] == [problem] * (text == "moon")


@pytest.mark.parametrize(
    ("text", "days"),
    [("", 90), (" 30 ", 30), ("1", 1), ("9999", 9999)]
    + [(wrong, None) for wrong in ("0", "-5", "off", "1.5", "30d", "10000", "٣")],
)
def test_history_is_kept_for_a_number_of_days(text: str, days: int | None) -> None:
    settings = read_settings({**STORAGE, "HISTORY_DAYS": text})
    assert settings.history_days == (days or 90)
    assert Budget.of(settings).history == timedelta(days=days or 90)
    problem = (
        "the value is not a whole number of days from 1 to 9999 (app setting HISTORY_DAYS); "
        "write a number such as 90, or remove the setting"
    )
    assert [*settings.problems] == [problem] * (days is None)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        ("events", "events"),
        ("vm-events", "vm-events"),
        ("Events", ""),
        ("-x-", ""),
        ("ab", ""),
        ("e" * 57, ""),
    ],
)
def test_the_events_queue_is_the_name_of_a_queue_or_there_is_no_trigger(text: str, name: str) -> None:
    environment = {**STORAGE, "EVENTS_QUEUE": text}
    settings = read_settings(environment)
    assert settings.events_queue == events_queue(environment) == name
    assert bool(settings.problems) == (bool(text) and not name)
    assert not [problem for problem in settings.problems if text in problem]


def test_events_by_a_queue_need_somewhere_for_undeliverable_ones() -> None:
    account = {f"AzureWebJobsStorage__{each}ServiceUri": f"https://a.{each}.example" for each in ("table", "queue")}
    (problem,) = read_settings({**account, "EVENTS_QUEUE": "events"}).problems
    assert "missing blob endpoint (app setting AzureWebJobsStorage__blobServiceUri)" in problem
    assert read_settings(account).problems == ()
    complete = {**account, "AzureWebJobsStorage__blobServiceUri": "https://a.blob.example", "EVENTS_QUEUE": "events"}
    assert read_settings(complete).problems == ()
    assert read_settings({"AzureWebJobsStorage__accountName": "a", "EVENTS_QUEUE": "events"}).problems == ()


def test_a_missing_account_is_named_once_with_all_that_it_may_be() -> None:
    assert [*read_settings({}).problems] == [
        "missing storage account (app setting AzureWebJobsStorage); set it, or AzureWebJobsStorage__accountName, or "
        "AzureWebJobsStorage__tableServiceUri and AzureWebJobsStorage__queueServiceUri"
    ]


NAMES = ["AZURE_CLOUD", "ARM_ENDPOINT", "OUTCOME_TOPIC_ENDPOINT", "AzureWebJobsStorage", "ONBOARDING_STORAGE"]


@given(st.dictionaries(st.sampled_from([*NAMES, "ONBOARDING_STORAGE__accountName"]), st.text()))
def test_no_value_makes_reading_raise(environment: dict[str, str]) -> None:
    read_settings(environment)


@pytest.mark.parametrize("name", ["SWEEP_VISITS", "SWEEP_VISITS_PER_MINUTE"])
@pytest.mark.parametrize(
    ("text", "number"), [("", None), (" 250 ", 250), ("1", 1), ("0", None), ("-5", None), ("many", None), ("1e3", None)]
)
def test_how_much_a_sweep_may_ask_for(name: str, text: str, number: int | None) -> None:
    settings = read_settings({"AzureWebJobsStorage": "UseDevelopmentStorage=true", name: text})
    read = {"SWEEP_VISITS": settings.sweep_requests, "SWEEP_VISITS_PER_MINUTE": settings.sweep_requests_per_minute}
    assert read[name] == number
    assert bool(settings.problems) is (number is None and text != "")
