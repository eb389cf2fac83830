"""The settings of the Azure Monitor Agent, as its handler reads them: it checks their form and nothing else.

The handler never asks for a token, so it succeeds on a machine without identity. Where only the code of the failure is
public, the words after it are invented. The Windows handler's own codes are not public; it is simulated like the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LINUX_AGENT = "Microsoft.Azure.Monitor.AzureMonitorLinuxAgent"
WINDOWS_AGENT = "Microsoft.Azure.Monitor.AzureMonitorWindowsAgent"
OMS_AGENT = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
WINDOWS_OMS_AGENT = "Microsoft.EnterpriseCloud.Monitoring.MicrosoftMonitoringAgent"
NEW_AGENT, OLD_AGENT = "Azure Monitor Agent", "Direct Agent"
# How the table Heartbeat names the agents of these handlers. The second is by memory: no source shows it.
CATEGORIES = {
    LINUX_AGENT.lower(): NEW_AGENT,
    WINDOWS_AGENT.lower(): NEW_AGENT,
    OMS_AGENT.lower(): OLD_AGENT,
    WINDOWS_OMS_AGENT.lower(): OLD_AGENT,
}
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ALONE = ("genevaConfiguration", "azureMonitorConfiguration")
_FAILED = "Failed to determine managed identity settings."


@dataclass(frozen=True, slots=True)
class NamedIdentity:
    """The identity that the settings name: by `mi_res_id`, `client_id` or `object_id`."""

    name: str
    value: str


def named_identity(settings: Mapping[str, Any]) -> NamedIdentity | None:
    """The identity that accepted settings name."""
    managed = _member(_member(_inner(settings), "authentication"), "managedIdentity")
    if not managed:
        return None
    return NamedIdentity(str(managed.get("identifier-name", "")), str(managed.get("identifier-value", "")))


def complaint(settings: Mapping[str, Any], protected: Mapping[str, Any]) -> str:
    """The text of the handler's failure with code 53; empty for settings that it accepts."""
    for key in _ALONE:
        if key in settings and len(settings) > 1:
            return f"The settings cannot have '{key}' beside other keys"
    inner = _inner(settings)
    return _authentication_complaint(inner) or _proxy_complaint(inner, protected)


def _authentication_complaint(settings: Mapping[str, Any]) -> str:
    if not settings.get("authentication"):
        return ""
    managed = _member(_member(settings, "authentication"), "managedIdentity")
    name, value = managed.get("identifier-name"), managed.get("identifier-value")
    if name not in ("mi_res_id", "client_id", "object_id"):
        return f"{_FAILED} Invalid identifier-name '{name}'"
    if not isinstance(value, str) or not value:
        return f"{_FAILED} Missing identifier-value"
    if name != "mi_res_id" and not _GUID.search(value):
        return f"{_FAILED} Invalid identifier-value for {name}"
    return ""


def _proxy_complaint(settings: Mapping[str, Any], protected: Mapping[str, Any]) -> str:
    proxy = _member(settings, "proxy")
    if proxy.get("mode") != "application":
        return "Not all required GCS parameters are provided" if protected else ""
    if not proxy.get("address"):
        return 'Parameter "address" is required in proxy public setting'
    if str(proxy.get("auth", "")).lower() == "true":
        secret = _member(protected, "proxy")
        if not secret.get("username") or not secret.get("password"):
            return 'Parameter "username" and "password" not in proxy protected setting'
    return ""


def _inner(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings themselves, which may be nested one level deeper."""
    return _member(_member(settings, "azureMonitorConfiguration"), "configuration") or settings


def _member(settings: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = settings.get(key)
    return value if isinstance(value, Mapping) else {}
