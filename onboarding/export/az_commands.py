"""The commands of the Azure CLI that write what the product would, one for each step. They show no secret."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.reconcile.steps.association_step import API_VERSION, association_request
from onboarding.domain.resource_id import VmId


def az_identity_assign(vm: VmId, identity: str) -> str:
    """The command that adds an identity, `system` or the id of a user-assigned one, and keeps all others."""
    named = "[system]" if identity == SYSTEM else identity
    arguments = (("--ids", str(vm)), ("--identities", named))
    return " \\\n  ".join(["az vm identity assign", *(f"{option} {shlex.quote(value)}" for option, value in arguments)])


def az_extension_delete(vm: VmId, name: str) -> str:
    """The command that removes the extension; its name is that of the resource."""
    arguments = (
        ("--subscription", vm.subscription),
        ("--resource-group", vm.resource_group),
        ("--vm-name", vm.name),
        ("--name", name),
    )
    options = (f"{option} {shlex.quote(value)}" for option, value in arguments)
    return " \\\n  ".join(["az vm extension delete", *options])


def az_association(vm: VmId, subject: str, *, endpoint: bool) -> str:
    """The command that associates the VM with a data collection rule or endpoint, as the product's own request does."""
    request = association_request(vm, subject, endpoint=endpoint)
    arguments = (
        ("--method", request.method.lower()),
        ("--url", f"{request.path}?api-version={API_VERSION}"),
        ("--body", json.dumps(request.body)),
    )
    return " \\\n  ".join(["az rest", *(f"{option} {shlex.quote(value)}" for option, value in arguments)])


def az_extension_set(
    vm: VmId, entry: CatalogueEntry, name: str, public: Mapping[str, Any], protected: Mapping[str, Any]
) -> str:
    """The command `az vm extension set`, with settings that show no secret. Its `--name` is the extension's type, not
    the resource's name."""
    arguments = [
        ("--subscription", vm.subscription),
        ("--resource-group", vm.resource_group),
        ("--vm-name", vm.name),
        ("--name", entry.type),
        ("--extension-instance-name", name),
        ("--publisher", entry.publisher),
        *([("--version", entry.version)] if entry.version else []),
        ("--protected-settings", json.dumps(dict(protected))),
        ("--settings", json.dumps(dict(public))),
    ]
    lines = [f"{option} {shlex.quote(value)}" for option, value in arguments]
    if not entry.auto_upgrade_minor_version:
        lines.append("--no-auto-upgrade-minor-version true")
    if entry.enable_automatic_upgrade is not None:
        lines.append(f"--enable-auto-upgrade {str(entry.enable_automatic_upgrade).lower()}")
    return " \\\n  ".join(["az vm extension set", *lines])
