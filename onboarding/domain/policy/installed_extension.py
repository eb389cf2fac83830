"""Whether an installed extension meets the policy: its existence condition, and its settings.

As in Azure Policy, a VM is compliant if any of its extensions meets the condition, even one of another handler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import Path, destinations, value_at, written
from onboarding.domain.failures.failure_rules import Cause, Diagnosis
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts
from onboarding.domain.policy.policy import Policy


def unmet(policy: Policy, facts: MachineFacts, extension: InstalledExtension | None, now: datetime) -> str:
    """Why the extension does not meet the policy; empty if it does, or if there is no extension."""
    if policy.existence is None or extension is None:
        return ""
    match = policy.existence.decide_extension(facts, extension.name, now)
    if match.holds is not False:
        return ""  # an undecided condition is no reason to write an extension again; `Policy.select` reports it
    return f"existenceCondition of policy {policy.name} does not hold for {extension.name}: {match.why}"


def instead(
    policy: Policy, facts: MachineFacts, extension: InstalledExtension | None, now: datetime
) -> InstalledExtension | None:
    """An extension of another handler that meets the policy's existence condition; None without one."""
    if policy.existence is None:
        return None
    for other in facts.extensions:
        if other != extension and policy.existence.decide_extension(facts, other.name, now).holds:
            return other
    return None


def differences(policy: Policy, settings: Mapping[str, Any], extension: InstalledExtension) -> Iterator[str]:
    """The settings that differ between the extension and the policy, such as another workspace, in words."""
    for path, there, wanted in _differing(extension.settings, settings, ()):
        yield f"its {written(path)} is {there}, policy {policy.name} says {wanted}"


def _differing(there: Any, wanted: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """The values that differ; upper and lower case are the same. A whole setting that is not there is no difference."""
    if isinstance(wanted, Mapping) and isinstance(there, Mapping):
        for name in wanted:
            if name in there or path:
                yield from _differing(there.get(name, "missing"), wanted[name], (*path, name))
    elif isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        for index, each in enumerate(wanted):
            yield from _differing(there[index], each, (*path, index))
    elif str(there).lower() != str(wanted).lower():
        yield path, there, wanted


MOVE = "To move it to this workspace, set reconnect: true in the policy, or run `onboard install --reconnect`."


def elsewhere(entry: CatalogueEntry, settings: Mapping[str, Any], extension: InstalledExtension) -> str:
    """Where the extension reports to instead of the policy's destination; empty if there, or if it does not say."""
    for path in destinations(entry.settings):
        wanted, there = value_at(settings, path), value_at(extension.settings, path)
        if wanted and there and str(wanted).lower() != str(there).lower():
            return f"its {written(path)} is {there}"
    return ""


def differs(settings: Mapping[str, Any], extension: InstalledExtension) -> bool:
    """Whether sending these settings would change anything on the VM."""
    return any(extension.settings.get(name) != value for name, value in settings.items())


def advice_on(entry: CatalogueEntry) -> Diagnosis:
    """The diagnosis of a VM that is connected already: the extension's own, else the shared one."""
    diagnoses = (rule.diagnosis for edition in entry.errors.editions for rule in edition.rules)
    own = next((diagnosis for diagnosis in diagnoses if diagnosis.cause is Cause.ALREADY_CONNECTED), None)
    return own or entry.errors.causes[Cause.ALREADY_CONNECTED]
