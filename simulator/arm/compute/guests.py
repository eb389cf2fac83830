"""The guest of a VM that was created over HTTP: derived from the image's name, so that a VM made with `az rest`
behaves realistically. Fleets made with `VmSpec` specify their guests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulator.arm.compute.spec import Guest

_SYSTEMS = (
    ("canonical", "ubuntu", re.compile(r"(\d\d)[._](\d\d)")),
    ("redhat", "redhat", re.compile(r"(\d+)[._]?(\d+)?")),
    ("suse", "sles", re.compile(r"(\d\d)(?:-sp(\d))?")),
    ("credativ", "debian", re.compile(r"(\d+)")),
    ("debian", "debian", re.compile(r"(\d+)")),
    ("oracle", "oracle", re.compile(r"(\d+)[._]?(\d+)?")),
    ("openlogic", "centos", re.compile(r"(\d+)[._]?(\d+)?")),
)
# The name that Windows reports, by a part of the image's name; the first match counts.
_WINDOWS = (
    ("2008-r2", "Windows Server 2008 R2 Datacenter", "6.1.7601"),
    ("2012-r2", "Windows Server 2012 R2 Datacenter", "6.3.9600"),
    ("2012", "Windows Server 2012 Datacenter", "6.2.9200"),
    ("2016", "Windows Server 2016 Datacenter", "10.0.14393"),
    ("2019", "Windows Server 2019 Datacenter", "10.0.17763"),
    ("2025", "Windows Server 2025 Datacenter", "10.0.26100"),
    ("windows-10", "Windows 10 Enterprise", "10.0.19045"),
    ("windows-11", "Windows 11 Enterprise", "10.0.22631"),
    ("", "Windows Server 2022 Datacenter", "10.0.20348"),
)
_DEFAULT = Guest(os_name="ubuntu", os_version="22.04")


def guest_of(body: Mapping[str, Any]) -> Guest:
    """A guest that fits the body's image; Ubuntu 22.04 if the image's name is not known."""
    storage = (body.get("properties") or {}).get("storageProfile") or {}
    image = storage.get("imageReference") or {}
    publisher = str(image.get("publisher", "")).lower()
    if publisher.startswith("microsoftwindows"):
        return _windows(f"{image.get('sku', '')} {image.get('offer', '')}".lower())
    for prefix, name, version in _SYSTEMS:
        if publisher.startswith(prefix):
            return _guest(name, version, f"{image.get('sku', '')} {image.get('offer', '')}")
    return _DEFAULT


def _windows(text: str) -> Guest:
    name, version = next((name, version) for part, name, version in _WINDOWS if part in text)
    return Guest(os_name=name, os_version=version, architecture="arm64" if "arm64" in text else "x64")


def _guest(name: str, version: re.Pattern[str], text: str) -> Guest:
    match = version.search(text)
    parts = [part for part in match.groups() if part] if match else []
    architecture = "arm64" if "arm64" in text.lower() else "x64"
    return Guest(os_name=name, os_version=".".join(parts) or "0", architecture=architecture)
