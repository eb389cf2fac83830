"""What would be decided for a VM that is only a body in a file: no row, no request, nothing written.

What a list leaves out (power, guest agent, the extensions' own properties) is taken to be in order, and app settings
that are not here are taken for set: the question is what the policies want.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from onboarding.core.catalog import CatalogueEntry
from onboarding.core.configuration import known_settings
from onboarding.core.deciding import decide
from onboarding.core.decision import AlreadyInstalled, Decision, Install, Pace, Situation, Skip, Wait
from onboarding.core.facts import AgentState, InstalledExtension, MachineFacts, PowerState
from onboarding.core.management_groups import resolve
from onboarding.core.outcome import Outcome
from onboarding.core.policy import Policy
from onboarding.enforce import Rules, situation_of


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would be decided for one extension, and on what grounds."""

    situation: Situation
    decision: Decision

    @property
    def word(self) -> str:
        """`Install`, `Update`, or the outcome."""
        match self.decision:
            case Install():
                return "Update" if self.situation.extension else "Install"
            case AlreadyInstalled():
                return Outcome.ALREADY_INSTALLED
            case Wait():
                return Outcome.WAITING
            case Skip(outcome=outcome):
                return outcome

    @property
    def policy(self) -> Policy:
        return self.situation.assignment.policy

    def as_dict(self) -> dict[str, Any]:
        return {"decision": self.word, "policy": self.policy.name, "reason": self.decision.reason}

    def differs(self, other: Forecast) -> bool:
        """Whether something else would be done, or the same with other settings."""
        return self._wish() != other._wish()

    def _wish(self) -> tuple[Any, ...]:
        policy = self.policy
        return self.word, policy.name, dict(policy.settings), dict(policy.protected_settings), policy.reconnect


def forecast(rules: Rules, facts: MachineFacts, now: datetime) -> tuple[Forecast, ...]:
    """One forecast for each extension that any policy names."""
    if facts.agent is AgentState.NOT_EXPANDED:
        facts = replace(facts, power=PowerState.RUNNING, agent=AgentState.READY)
    found = []
    for assignment in resolve(rules.policies, {}).assign(facts, now):
        seen = _recognised(facts, rules.catalogue[assignment.policy.extension])
        situation, _ = situation_of(rules, seen, assignment, Pace(None, assignment.policy.waits, now))
        situation = _as_if_set(situation, rules.app_settings)
        found.append(Forecast(situation, decide(situation)))
    return tuple(found)


def _recognised(facts: MachineFacts, entry: CatalogueEntry) -> MachineFacts:
    """Lists name extensions by id alone: one that is called as the entry's is taken for it."""
    names = {entry.resource_name.lower(), entry.type.lower()}

    def seen(extension: InstalledExtension) -> InstalledExtension:
        if extension.type or extension.name.lower() not in names:
            return extension
        state = extension.provisioning_state or "Succeeded"
        return replace(extension, publisher=entry.publisher, type=entry.type, provisioning_state=state)

    return replace(facts, extensions=tuple(map(seen, facts.extensions)))


def _as_if_set(situation: Situation, app_settings: Mapping[str, str]) -> Situation:
    policy = situation.assignment.policy
    unset = any(
        len(known_settings(settings, app_settings)) < sum(value is not None for value in settings.values())
        for settings in (policy.settings, policy.protected_settings)
    )
    if not unset:
        return situation
    return replace(situation, problems=(), settings=known_settings(policy.settings, app_settings))
