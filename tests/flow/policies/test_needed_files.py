"""What `policy validate` warns of where the extensions of policies need what no policy gives the VM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flow.policies.test_removal_files import warnings_of

LOGIN: dict[str, Any] = {"name": "login", "extension": "entra-login-linux"}
MONITOR: dict[str, Any] = {
    "name": "monitor",
    "extension": ["azure-monitor-agent-linux", "azure-monitor-agent-windows"],
    "identity": {"use": "any", "add": "system"},
}
DEPENDENCY: dict[str, Any] = {
    "name": "dependency",
    "extension": ["dependency-agent-linux", "dependency-agent-windows"],
}
USER = "/subscriptions/s/resourceGroups/r/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"


@pytest.mark.parametrize("identity", [None, {"add": "none"}, {"use": "added", "add": USER}])
def test_a_policy_that_cannot_give_the_system_assigned_identity_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], identity: dict[str, Any] | None
) -> None:
    policy = LOGIN if identity is None else {**LOGIN, "identity": identity}
    (warning,) = warnings_of(tmp_path, capsys, policy)
    assert warning["file"].endswith("login.yaml")
    assert warning["message"].startswith("entra-login-linux needs the system-assigned identity, which the policy does")
    assert "`identity: {add: system}`" in warning["message"]


@pytest.mark.parametrize("identity", [{"add": "system"}, {"use": "any"}, {"add": "{SOME_IDENTITY}"}])
def test_a_policy_that_can_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str], identity: dict[str, Any]) -> None:
    assert warnings_of(tmp_path, capsys, {**LOGIN, "identity": identity}) == []


@pytest.mark.parametrize("extension", ["azure-monitor-agent-linux", "key-vault-windows"])
def test_a_policy_without_identity_for_an_extension_that_needs_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extension: str
) -> None:
    settings: dict[str, Any] = (
        {"secretsManagementSettings": {"observedCertificates": []}} if "vault" in extension else {}
    )
    policy = {"name": "p", "extension": extension, "settings": settings}
    (warning,) = warnings_of(tmp_path, capsys, policy)
    assert "has no `identity`" in warning["message"]
    assert warnings_of(tmp_path, capsys, {**policy, "effect": "auditIfNotExists"}) == []


def test_an_extension_that_nobody_installs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = warnings_of(tmp_path, capsys, DEPENDENCY)
    assert [warning["place"] for warning in found] == ["extension", "extension"]
    assert found[0]["message"].startswith(
        "dependency-agent-linux needs azure-monitor-agent-linux, which no policy here"
    )
    assert "until then each VM waits" in found[0]["message"]
    audit = {**MONITOR, "effect": "auditIfNotExists"}
    assert len(warnings_of(tmp_path, capsys, audit, DEPENDENCY)) == 2, "an audit installs nothing"
    assert warnings_of(tmp_path, capsys, MONITOR, DEPENDENCY) == []
