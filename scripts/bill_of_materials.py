"""Writes the bill of materials of a package in CycloneDX 1.6: the app, each Python package that lies in the zip, and
the script that the app's page has a copy of.

It names no time and no random number, so that the same package has the same bill.
"""

from __future__ import annotations

import email
import hashlib
import json
import re
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SITE_PACKAGES = ".python_packages/lib/site-packages/"
_METADATA = re.compile(rf"{re.escape(_SITE_PACKAGES)}[^/]+\.dist-info/METADATA")
_SCRIPT = "onboarding/web/static/htmx.min.js"
_SCRIPT_VERSION = re.compile(r'\bversion:"([0-9.]+)"')
_PINNED = re.compile(r"^([\w.-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64}|\s*\\\n|\s*;[^\\\n]*)*)", re.MULTILINE)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


def bill_of_materials(package: Path, sha256: str, version: str) -> dict[str, Any]:
    """The bill of the zip at that path, whose hash is `sha256`."""
    with zipfile.ZipFile(package) as archive:
        pinned = _pinned(archive.read("requirements.txt").decode())
        found = [*_components(archive, pinned), _script(archive)]
    components = sorted(found, key=lambda each: str(each["purl"]))
    app = {
        "type": "application",
        "bom-ref": "vm-onboarding",
        "name": "vm-onboarding",
        "version": version,
        "licenses": [{"license": {"id": "MIT"}}],
        "hashes": [{"alg": "SHA-256", "content": sha256}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, sha256)}",
        "version": 1,
        "metadata": {"component": app},
        "components": components,
        "dependencies": [{"ref": "vm-onboarding", "dependsOn": [each["bom-ref"] for each in components]}],
    }


def _components(archive: zipfile.ZipFile, pinned: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    for name in filter(_METADATA.fullmatch, archive.namelist()):
        described = email.message_from_bytes(archive.read(name))
        package, version = str(described["Name"]), str(described["Version"])
        purl = f"pkg:pypi/{_normal(package)}@{version}"
        licence = described["License-Expression"] or described["License"] or ""
        component: dict[str, Any] = {
            "type": "library",
            "bom-ref": purl,
            "name": package,
            "version": version,
            "purl": purl,
        }
        if described["License-Expression"]:
            component["licenses"] = [{"expression": licence}]
        elif licence and "\n" not in licence:
            component["licenses"] = [{"license": {"name": licence}}]
        # requirements.txt has the hash of each file that may be downloaded; which one it was differs by system.
        if hashes := pinned.get(_normal(package), []):
            component["externalReferences"] = [
                {
                    "type": "distribution",
                    "url": purl,
                    "hashes": [{"alg": "SHA-256", "content": each} for each in hashes],
                }
            ]
        yield component


def _script(archive: zipfile.ZipFile) -> dict[str, Any]:
    """htmx, which is a copy of one file: it says its version itself."""
    content = archive.read(_SCRIPT)
    version = _SCRIPT_VERSION.search(content.decode())
    if version is None:
        raise ValueError(f"{_SCRIPT} does not say its version")
    purl = f"pkg:npm/htmx.org@{version[1]}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": "htmx.org",
        "version": version[1],
        "purl": purl,
        "licenses": [{"license": {"id": "0BSD"}}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
    }


def _pinned(requirements: str) -> dict[str, list[str]]:
    return {_normal(name): _HASH.findall(rest) for name, _, rest in _PINNED.findall(requirements)}


def _normal(name: str) -> str:
    """The name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def write(package: Path, sha256: str, version: str) -> Path:
    """Write the bill beside the package, and return its path."""
    file = package.with_suffix(".cdx.json")
    file.write_text(json.dumps(bill_of_materials(package, sha256, version), indent=2) + "\n", "utf-8")
    return file
