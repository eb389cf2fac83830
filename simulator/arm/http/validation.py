"""ARM's requirements for the bodies of writes: camelCase, the right nesting, a location, read-only properties ignored.

A body with snake_case or flat keys must not work here, because it does not work in Azure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from simulator.arm.compute.machines import Machine
from simulator.arm.http import errors

_VERSION = re.compile(r"\d+\.\d+")
_TOP = {
    *("id", "name", "type", "location", "tags", "properties", "zones", "plan", "identity", "sku", "kind"),
    *("managedBy", "extendedLocation", "etag", "systemData", "placement", "resources"),
}
_EXTENSION = {
    *("publisher", "type", "typeHandlerVersion", "autoUpgradeMinorVersion", "enableAutomaticUpgrade", "forceUpdateTag"),
    *("settings", "protectedSettings", "protectedSettingsFromKeyVault", "suppressFailures", "provisionAfterExtensions"),
    *("provisioningState", "instanceView"),
}
_READ_ONLY_TOP = {"id", "name", "type", "resources", "etag", "properties"}
_READ_ONLY = {"vmId", "timeCreated", "provisioningState", "instanceView"}


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object of a request's body."""
    try:
        body = json.loads(text or b"{}")
    except ValueError as problem:
        raise errors.invalid_content(f"Unexpected character encountered while parsing value. {problem}") from None
    if not isinstance(body, dict):
        raise errors.invalid_content(
            "Error converting value to type 'ResourceDefinition'. Path '', line 1, position 1."
        )
    return body


def parse_body(text: bytes) -> dict[str, Any]:
    """The JSON object of a write."""
    body = parse_object(text)
    for member in body:
        if member not in _TOP:
            reason = f"Could not find member '{member}' on object of type 'ResourceDefinition'. Path '{member}'"
            raise errors.invalid_content(reason)
    if not isinstance(body.get("properties", {}), dict):
        raise errors.invalid_content("Error converting value to type 'properties'. Path 'properties'")
    return body


def check_extension(body: Mapping[str, Any], machine: Machine, name: str, *, patch: bool = False) -> None:
    """Raise ARM's refusal of a bad extension body."""
    properties = body.get("properties", {})
    for member in properties:
        if member not in _EXTENSION:
            raise errors.unknown_member(member, "VirtualMachineExtensionProperties")
    version = properties.get("typeHandlerVersion")
    if version is not None and not (isinstance(version, str) and _VERSION.fullmatch(version)):
        raise errors.invalid_parameter("typeHandlerVersion")
    if patch:
        return
    location = body.get("location")
    if not location:
        raise errors.location_required()
    if str(location).replace(" ", "").lower() != machine.location.lower():
        raise errors.location_conflict(f"{machine.name}/{name}", machine.location, machine.group, str(location))
    for member in ("publisher", "type", "typeHandlerVersion"):
        if not isinstance(properties.get(member), str) or not properties[member]:
            raise errors.invalid_parameter(member)


def check_vm(body: Mapping[str, Any], stored: Machine | None) -> dict[str, Any]:
    """The part of a VM body that is stored; raises ARM's refusal of a bad one."""
    properties = body.get("properties", {})
    location = body.get("location")
    if stored is None and not location:
        raise errors.location_required()
    if stored is not None and location and str(location).lower() != stored.location.lower():
        raise errors.location_conflict(stored.name, stored.location, stored.group, str(location))
    if stored is None and not isinstance(properties.get("storageProfile"), Mapping):
        raise errors.invalid_parameter("storageProfile")
    profile = properties.get("osProfile") or {}
    agent = (profile.get("linuxConfiguration") or {}).get("provisionVMAgent")
    if agent is False and profile.get("allowExtensionOperations") is True:
        raise errors.invalid_parameter("allowExtensionOperations")
    kept = {k: v for k, v in body.items() if k not in _READ_ONLY_TOP}
    written = {k: v for k, v in properties.items() if k not in _READ_ONLY}
    return kept | ({"properties": written} if written or stored is None else {})
