"""Makes a catalogue entry for an extension of which only a request is known: publisher, type, version and settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from onboarding.domain.json_access import json_type
from onboarding.domain.machine.machine_facts import OsType


def entry_of_request(
    publisher: str,
    type_: str,
    os: OsType,
    *,
    version: str = "",
    resource_name: str = "",
    automatic_upgrade: bool | None = None,
    minor_upgrades: bool = True,
    identity: str = "none",
    settings: Mapping[str, Any] | None = None,
    protected_settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of an entry's file. Its schemas name the settings that are given, and let others through: the request
    shows what somebody sent, not all that the handler knows."""
    name = entry_name(type_, os)
    entry: dict[str, Any] = {
        "name": name,
        "displayName": type_,
        "publisher": publisher,
        "type": type_,
        "version": version if re.fullmatch(r"[0-9]+(\.[0-9]+){0,3}", version) else "",
        "autoUpgradeMinorVersion": minor_upgrades,
        "enableAutomaticUpgrade": automatic_upgrade,
        "resourceName": resource_name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", resource_name) else name,
        "os": "windows" if os is OsType.WINDOWS else "linux",
        "needs": {"identity": identity} if identity != "none" else {},
        "settings": _schema(settings or {}),
        "protectedSettings": _schema(protected_settings or {}),
    }
    return {key: value for key, value in entry.items() if value not in ("", None, {})}


def entry_name(type_: str, os: OsType) -> str:
    """The entry's name: the type in lower case, with the operating system where the type does not name it."""
    name = re.sub(r"[^a-z0-9]+", "-", type_.lower()).strip("-")[:60] or "extension"
    word = "windows" if os is OsType.WINDOWS else "linux"
    return name if word in name else f"{name}-{word}"


def os_named(*texts: str) -> OsType:
    """The operating system that names of a handler tell."""
    words = " ".join(texts).lower()
    windows, linux = "windows" in words, "linux" in words
    if windows == linux:
        return OsType.UNKNOWN
    return OsType.WINDOWS if windows else OsType.LINUX


def _schema(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: _kind(value) for name, value in values.items()},
        "additionalProperties": True,
    }


def _kind(value: Any) -> dict[str, Any]:
    name = json_type(value)
    return {"type": name} if name else {}
