"""Whether an extension that is there is the one that a policy wants: its existence condition, and its settings.

As in Azure Policy, a VM is compliant when any of its extensions meets the condition, also one of another handler.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from onboarding.core.facts import InstalledExtension, MachineFacts
from onboarding.core.policy import Policy


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
