"""Where an installed agent reports to. The catalogue says which setting names the place; no extension is named here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.core.catalog import CatalogueEntry
from onboarding.core.facts import InstalledExtension
from onboarding.core.failure_rules import Cause, Diagnosis

MOVE = "To move it here, set reconnect: true in the policy, or run `onboard install --reconnect`."


def elsewhere(entry: CatalogueEntry, settings: Mapping[str, Any], extension: InstalledExtension) -> str:
    """The place other than the wanted one that the extension reports to; empty if it does not tell."""
    for spec in entry.settings:
        wanted, there = settings.get(spec.name), extension.settings.get(spec.name)
        if spec.destination and wanted and there and str(wanted).lower() != str(there).lower():
            return f"its {spec.name} is {there}"
    return ""


def differs(settings: Mapping[str, Any], extension: InstalledExtension) -> bool:
    """Whether sending these settings would change anything on the VM."""
    return any(extension.settings.get(name) != value for name, value in settings.items())


def advice_on(entry: CatalogueEntry) -> Diagnosis:
    """What the extension's own code table says of a VM that is connected already, or what all extensions share."""
    told = (rule.diagnosis for edition in entry.errors.editions for rule in edition.rules)
    own = next((diagnosis for diagnosis in told if diagnosis.cause is Cause.ALREADY_CONNECTED), None)
    return own or entry.errors.causes[Cause.ALREADY_CONNECTED]
