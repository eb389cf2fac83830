"""Installs by many handlers: on which systems each runs, and which settings the Azure Monitor Agent accepts."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import Guest, Machine
from tests.simulator.conftest import MakeScene, Scene, oms_body

AMA: dict[str, Any] = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent"}
WINDOWS = Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1")
UBUNTU = Guest(os_name="ubuntu", os_version="22.04")


async def _install(scene: Scene, machine: Machine, publisher: str, type_: str, version: str, **more: Any) -> str:
    """How the operation of an install ends, and the code of the handler's status."""
    properties = {"publisher": publisher, "type": type_, "typeHandlerVersion": version, "autoUpgradeMinorVersion": True}
    body = {"location": machine.location, "properties": properties | more}
    accepted = await scene.call("PUT", f"{machine.id}/extensions/{type_}", body)
    assert accepted.status == 201, accepted
    await scene.clock.advance(1_000)
    polled = (await scene.poll(accepted)).body
    return f"{polled['status']} {machine.extensions[type_.lower()].statuses[0]['code']}"


SETTINGS: list[tuple[str, Any, Any, bool]] = [
    ("none", {}, {}, True),
    ("a resource id, unchecked", ("mi_res_id", "anything"), {}, True),
    ("a client id", ("client_id", "11111111-2222-4333-8444-555555555555"), {}, True),
    ("no guid", ("client_id", "/subscriptions/x"), {}, False),
    ("an object id", ("object_id", "11111111-2222-4333-8444-555555555555"), {}, True),
    ("another name", ("name", "x"), {}, False),
    ("an empty value", ("mi_res_id", ""), {}, False),
    ("authentication without its parts", {"authentication": {"x": 1}}, {}, False),
    ("no proxy", {"proxy": {"mode": "none"}}, {}, True),
    ("a proxy", {"proxy": {"mode": "application", "address": "http://p:1"}}, {}, True),
    ("a proxy without address", {"proxy": {"mode": "application"}}, {}, False),
    (
        "a proxy without password",
        {"proxy": {"mode": "application", "address": "http://p:1", "auth": "true"}},
        {},
        False,
    ),
    (
        "a proxy with password",
        {"proxy": {"mode": "application", "address": "http://p:1", "auth": True}},
        {"proxy": {"username": "u", "password": "p"}},
        True,
    ),
    ("a workspace key", {}, {"workspaceKey": "x"}, False),
    ("a workspace id", {"workspaceId": "x"}, {}, True),
    ("nested", {"azureMonitorConfiguration": {"configuration": {"authentication": {"x": 1}}}}, {}, False),
    ("nested beside others", {"azureMonitorConfiguration": {}, "proxy": {}}, {}, False),
]


@pytest.mark.parametrize(("settings", "protected", "accepted"), [s[1:] for s in SETTINGS], ids=[s[0] for s in SETTINGS])
@pytest.mark.parametrize("os_type", ["Linux", "Windows"])
async def test_the_azure_monitor_agent_checks_the_form_of_its_settings_and_no_identity(
    scene: Scene, settings: Any, protected: Any, accepted: bool, os_type: str
) -> None:
    if isinstance(settings, tuple):
        named = {"identifier-name": settings[0], "identifier-value": settings[1]}
        settings = {"authentication": {"managedIdentity": named}}
    machine = scene.add(os_type=os_type, guest=WINDOWS if os_type == "Windows" else UBUNTU)
    type_, version = f"AzureMonitor{os_type}Agent", "1.2" if os_type == "Windows" else "1.36"
    more = {"settings": settings, "protectedSettings": protected}
    state = await _install(scene, machine, AMA["publisher"], type_, version, **more)
    assert state == ("Succeeded ProvisioningState/succeeded" if accepted else "Failed ProvisioningState/failed/53")
    assert "identity" not in (await scene.call("GET", machine.id)).body


@pytest.mark.parametrize(
    ("os_type", "guest", "handler", "state"),
    [
        ("Linux", UBUNTU, (*AMA.values(), "1.36"), "succeeded"),
        ("Linux", Guest(os_name="centos", os_version="7.9"), (*AMA.values(), "1.36"), "failed/51"),
        (
            "Linux",
            Guest(os_name="almalinux", os_version="9.4", architecture="arm64"),
            (*AMA.values(), "1.36"),
            "failed/51",
        ),
        ("Windows", WINDOWS, (*AMA.values(), "1.36"), "failed/51"),
        ("Windows", WINDOWS, ("Microsoft.Azure.Monitor", "AzureMonitorWindowsAgent", "1.2"), "succeeded"),
        ("Linux", UBUNTU, ("Microsoft.Azure.Monitor", "AzureMonitorWindowsAgent", "1.2"), "failed/51"),
        (
            "Windows",
            Guest(os_name="Windows Server 2008 R2 Datacenter", os_version="6.1.7601"),
            ("Microsoft.Azure.Monitor", "AzureMonitorWindowsAgent", "1.2"),
            "failed/51",
        ),
        ("Windows", WINDOWS, ("Microsoft.EnterpriseCloud.Monitoring", "MicrosoftMonitoringAgent", "1.0"), "succeeded"),
        (
            "Windows",
            WINDOWS,
            ("Microsoft.Azure.Monitoring.DependencyAgent", "DependencyAgentWindows", "9.10"),
            "succeeded",
        ),
        ("Linux", UBUNTU, ("Microsoft.Compute", "CustomScriptExtension", "1.10"), "failed/51"),
        ("Linux", UBUNTU, ("Microsoft.Azure.ChangeTrackingAndInventory", "ChangeTracking-Linux", "2.0"), "succeeded"),
    ],
)
async def test_each_handler_runs_on_its_systems(
    scene: Scene, os_type: str, guest: Guest, handler: tuple[str, str, str], state: str
) -> None:
    machine = scene.add(os_type=os_type, guest=guest)
    assert f"ProvisioningState/{state}" in await _install(scene, machine, *handler)


async def test_generic_handlers_exist_where_the_options_name_them(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(generic_handlers=("Contoso.*",))
    machine = scene.add()
    assert (await _install(scene, machine, "Contoso.Agents", "Scanner", "7.3")).startswith("Succeeded")
    assert machine.extensions["scanner"].handler_version == "7.3.0"
    other = await scene.call("PUT", f"{machine.id}/extensions/X", oms_body(publisher="Fabrikam", type="Scanner"))
    assert (other.status, other.code) == (404, "ArtifactNotFound")
