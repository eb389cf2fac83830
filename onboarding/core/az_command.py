"""The `az` command that asks for an extension as the line would, with placeholders where secrets go."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from onboarding.core.catalog import CatalogueEntry
from onboarding.core.resource_id import VmId


def az_extension_set(
    vm: VmId, entry: CatalogueEntry, name: str, public: Mapping[str, Any], protected: Iterable[str]
) -> str:
    """`az vm extension set`; to az, `--name` is the extension's type and the resource's name is another argument."""
    placeholders = {key: f"<{key}>" for key in protected}
    arguments = [
        ("--subscription", vm.subscription),
        ("--resource-group", vm.resource_group),
        ("--vm-name", vm.name),
        ("--name", entry.type),
        ("--extension-instance-name", name),
        ("--publisher", entry.publisher),
        ("--version", entry.version),
        ("--protected-settings", json.dumps(placeholders)),
        ("--settings", json.dumps(dict(public))),
    ]
    lines = [f"{option} {shlex.quote(value)}" for option, value in arguments]
    if not entry.auto_upgrade_minor_version:
        lines.append("--no-auto-upgrade-minor-version true")
    return " \\\n  ".join(["az vm extension set", *lines])
