"""Whether an extension that is there is the one that a policy wants: its existence condition, and its settings.

As in Azure Policy, a VM is compliant when any of its extensions meets the condition, also one of another handler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.failures.failure_rules import Cause, Diagnosis
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts
from onboarding.domain.policy.policy import Policy


def unmet(policy: Policy, facts: MachineFacts, extension: InstalledExtension | None, now: datetime) -> str:
    """Why the extension is not as the policy wants it; empty if it is, or is not there."""
    if policy.existence is None or extension is None:
        return ""
    match = policy.existence.decide_extension(facts, extension.name, now)
    if match.holds is not False:
        return ""  # what cannot be decided is no reason to write an extension anew; `Policy.select` says so
    return f"existenceCondition of policy {policy.name} does not hold for {extension.name}: {match.why}"


def instead(
    policy: Policy, facts: MachineFacts, extension: InstalledExtension | None, now: datetime
) -> InstalledExtension | None:
    """An extension of another handler that the policy takes for the one it wants."""
    if policy.existence is None:
        return None
    for other in facts.extensions:
        if other != extension and policy.existence.decide_extension(facts, other.name, now).holds:
            return other
    return None


def differences(policy: Policy, settings: Mapping[str, Any], extension: InstalledExtension) -> Iterator[str]:
    """The settings that the extension has and the policy has otherwise, such as another workspace."""
    for name, wanted in settings.items():
        there = extension.settings.get(name, wanted)
        if str(there).lower() != str(wanted).lower():
            yield f"its {name} is {there}, policy {policy.name} says {wanted}"


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
