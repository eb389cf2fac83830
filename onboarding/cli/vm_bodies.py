"""VM bodies as the Azure CLI prints them, in ARM's own shape: `az` lifts what is under `properties` one level up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TOP = frozenset(
    [
        "id",
        "name",
        "type",
        "location",
        "tags",
        "plan",
        "zones",
        "identity",
        "managedBy",
        "resources",
        "extendedLocation",
    ]
)
_OWN_TYPE = ("typePropertiesType", "virtualMachineExtensionType")  # newer and older versions of az


def arm_shape(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body as a GET of the VM answers it; one that has that shape already, or no VM's, as it is."""
    if "properties" in body or not ({"storageProfile", "vmId", "hardwareProfile"} & set(body)):
        return body
    shaped = _lowered(body)
    resources = body.get("resources")
    if isinstance(resources, list):
        shaped["resources"] = [_extension(item) if isinstance(item, Mapping) else item for item in resources]
    return shaped


def _extension(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if "properties" in item:
        return item
    shaped = _lowered(item)
    own = next((item[key] for key in _OWN_TYPE if key in item), None)
    if own is not None:
        shaped["properties"]["type"] = own
    return shaped


def _lowered(item: Mapping[str, Any]) -> dict[str, Any]:
    top = {key: value for key, value in item.items() if key in _TOP}
    return {**top, "properties": {key: value for key, value in item.items() if key not in _TOP}}
