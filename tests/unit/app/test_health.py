"""What `/api/health` answers. It names settings and files, never values."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from onboarding.app import read_configuration
from onboarding.domain.limits.pause import Pause
from onboarding.web.health import health

ROOT = Path(__file__).parents[3]
KEY = "bm90IGEgcmVhbCB3b3Jrc3BhY2Uga2V5"
GOOD = {
    "AzureWebJobsStorage": "UseDevelopmentStorage=true",
    "ONBOARDING_POLICIES": str(ROOT / "policies"),
    "OMS_WORKSPACE_ID": "6f680a37-00c6-41c7-a93f-1437e3462574",
    "OMS_WORKSPACE_KEY": KEY,
}


def _health(**changes: str) -> dict[str, Any]:
    body = health(read_configuration({**GOOD, **changes}))
    assert json.loads(json.dumps(body)) == body
    return body


def test_a_policy_for_both_systems_is_listed_once_with_both_extensions(tmp_path: Path) -> None:
    both = ["azure-monitor-agent-linux", "azure-monitor-agent-windows"]
    (tmp_path / "both.yaml").write_text(f"name: ama\nextension: {both}\n")
    (tmp_path / "one.yaml").write_text("name: one\nextension: azure-monitor-agent-linux\neffect: disabled\n")
    policies = _health(ONBOARDING_POLICIES=str(tmp_path))["policies"]
    assert [(each["name"], each["extension"]) for each in policies] == [("ama", both), ("one", both[0])]


def test_all_is_well() -> None:
    body = _health()
    assert (body["status"], body["problems"]) == ("healthy", [])
    new, old = body["policies"]
    expected = {"name": "linux-monitoring", "effect": "deployIfNotExists", "extension": "oms-agent-linux"}
    assert old == {**expected, "active": True}
    because = "app setting DATA_COLLECTION_RULE_ID is not set"
    assert (new["name"], new["active"], new["because"]) == ("azure-monitor", False, because)
    assert any("2024-08-31" in notice for notice in body["notices"])
    assert body["version"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"OMS_WORKSPACE_ID": ""}, ["app setting OMS_WORKSPACE_ID is not set"]),
        ({"OMS_WORKSPACE_KEY": ""}, ["app setting OMS_WORKSPACE_KEY is not set"]),
        ({"OMS_WORKSPACE_ID": "sesame"}, ["linux-monitoring", "GUID", "OMS_WORKSPACE_ID"]),
        ({"OMS_WORKSPACE_KEY": "sesame!"}, ["linux-monitoring", "base64", "OMS_WORKSPACE_KEY"]),
        ({"OMS_WORKSPACE_KEY": "@Microsoft.KeyVault(sesame)"}, ["Key Vault", "OMS_WORKSPACE_KEY"]),
        ({"OMS_WORKSPACE_ID": " @microsoft.keyvault(sesame)"}, ["linux-monitoring", "Key Vault", "OMS_WORKSPACE_ID"]),
        ({"OUTCOME_TOPIC_KEY": "@Microsoft.KeyVault(sesame)"}, ["Key Vault", "OUTCOME_TOPIC_KEY"]),
        ({"AzureWebJobsStorage": "sesame"}, ["AzureWebJobsStorage", "connection string"]),
        ({"ARM_ENDPOINT": "sesame"}, ["ARM_ENDPOINT", "https"]),
    ],
)
def test_a_bad_setting_is_named_and_never_shown(changes: dict[str, str], named: list[str]) -> None:
    body = _health(**changes)
    assert body["status"] == "unhealthy"
    (problem,) = body["problems"]
    assert all(name in problem for name in named)
    assert "sesame" not in json.dumps(body)
    assert KEY not in json.dumps(body)


RULE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/r"


@pytest.mark.parametrize("old", [{}, {"OMS_WORKSPACE_ID": "", "OMS_WORKSPACE_KEY": ""}], ids=["both", "the new one"])
def test_with_a_data_collection_rule_the_new_agent_is_active_and_the_old_one_is_not(old: dict[str, str]) -> None:
    body = _health(DATA_COLLECTION_RULE_ID=RULE, **old)
    assert (body["status"], body["problems"]) == ("healthy", [])
    active = {each["name"]: each["active"] for each in body["policies"]}
    assert active == {"azure-monitor": True, "linux-monitoring": False}
    (notice,) = body["notices"]
    assert notice == (
        "policy linux-monitoring is not active: app setting DATA_COLLECTION_RULE_ID is set;"
        " it installs nothing, and what is there stays"
    )
    assert RULE not in json.dumps(body)


def test_with_neither_the_settings_of_both_agents_are_named() -> None:
    body = _health(OMS_WORKSPACE_ID="", OMS_WORKSPACE_KEY="")
    assert body["status"] == "unhealthy"
    said = " ".join([*body["problems"], *body["notices"]])
    names = ("OMS_WORKSPACE_ID", "OMS_WORKSPACE_KEY", "DATA_COLLECTION_RULE_ID")
    assert all(f"app setting {name} is not set" in said for name in names)


def test_a_policy_that_is_disabled_beside_one_that_is_not_active_does_not_count_as_active(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nextension: oms-agent-linux\nactiveWhen: {settings: NOT_SET}\n")
    (tmp_path / "b.yaml").write_text("name: b\nextension: oms-agent-linux\neffect: disabled\n")
    (problem,) = _health(ONBOARDING_POLICIES=str(tmp_path))["problems"]
    assert "(policy a is not active: app setting NOT_SET is not set)" in problem
    (tmp_path / "c.yaml").write_text("name: c\nextension: oms-agent-linux\neffect: auditIfNotExists\n")
    assert _health(ONBOARDING_POLICIES=str(tmp_path))["problems"] == []


def test_a_bad_policy_file_is_left_out_and_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\nextension: [oms-agent-linux")
    (tmp_path / "good.yaml").write_text("name: good\nextension: oms-agent-linux\neffect: auditIfNotExists")
    body = _health(ONBOARDING_POLICIES=str(tmp_path))
    assert body["status"] == "unhealthy"
    assert [policy["name"] for policy in body["policies"]] == ["good"]
    (problem,) = body["problems"]
    assert problem.startswith("the text is not YAML: ")
    assert " (bad.yaml:2); correct the YAML" in problem


@pytest.mark.parametrize("effect", ["auditIfNotExists", "disabled"])
def test_settings_that_nothing_is_deployed_with_are_no_problem(tmp_path: Path, effect: str) -> None:
    settings = "settings: {workspaceId: '{NOT_SET}'}"
    (tmp_path / "p.yaml").write_text(f"name: p\nextension: oms-agent-linux\neffect: {effect}\n{settings}")
    assert _health(ONBOARDING_POLICIES=str(tmp_path))["problems"] == []


def test_no_secret_shows_in_the_configuration() -> None:
    assert KEY not in repr(read_configuration(GOOD))


def test_a_proxy_that_key_vault_did_not_give_is_named_with_its_policy(tmp_path: Path) -> None:
    protected = "protectedSettings: {workspaceKey: '{OMS_WORKSPACE_KEY}', proxy: '{P}'}"
    given = f"settings: {{workspaceId: '{{OMS_WORKSPACE_ID}}'}}\n{protected}"
    (tmp_path / "p.yaml").write_text(f"name: by-proxy\nextension: oms-agent-linux\n{given}")
    body = _health(ONBOARDING_POLICIES=str(tmp_path), P="@Microsoft.KeyVault(SecretUri=https://sesame/secrets/p)")
    assert body["status"] == "unhealthy"
    (problem,) = body["problems"]
    assert problem.startswith("protectedSettings.proxy, from app setting P, is a Key Vault reference")
    assert "(policy by-proxy); " in problem
    assert "sesame" not in json.dumps(body)


def test_a_pause_is_shown_and_is_no_problem() -> None:
    since = datetime(2026, 11, 20, 10, 0, 5, tzinfo=UTC)
    subscription, person = "11112222-3333-4444-5555-666677778888", "0a1b2c3d-0000-4000-8000-00000000000f"
    pauses = (
        Pause(reason="change freeze", since=since, by=person),
        Pause(reason="x", since=since, until=since + timedelta(hours=1), subscription=subscription, policy="p"),
        Pause(reason="x", since=since, subscription=subscription),
    )
    body = health(read_configuration(GOOD), pauses)
    assert body["status"] == "healthy"
    assert body["pauses"] == [
        {"paused": "everything", "since": "2026-11-20T10:00:05+00:00", "until": None},
        {
            "paused": "policy p in one subscription",
            "since": "2026-11-20T10:00:05+00:00",
            "until": "2026-11-20T11:00:05+00:00",
        },
        {"paused": "one subscription", "since": "2026-11-20T10:00:05+00:00", "until": None},
    ]
    shown = json.dumps(body)
    assert not any(each in shown for each in ("change freeze", person, subscription)), "everybody can read it"


def test_pauses_that_could_not_be_read_are_none() -> None:
    body = health(read_configuration(GOOD), None)
    assert (body["status"], body["pauses"]) == ("healthy", None)
