"""What would be decided for a VM that is only a body in a file: no row, no request, nothing written.

What a list leaves out of power and guest agent is taken to be in order, and app settings that are not here are taken
for set: the question is what the policies want. What it leaves out of an extension, its handler and its state, is not
guessed: where the decision hangs on it, it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import replace
from datetime import datetime
from typing import Any

from msgspec import Struct

from onboarding.application.rules import Rules, decision_context
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import known_settings
from onboarding.domain.image.os_identification import ImageDefinition
from onboarding.domain.json_access import mapping
from onboarding.domain.machine.machine_facts import AgentState, InstalledExtension, MachineFacts, PowerState
from onboarding.domain.policy.management_groups import resolve
from onboarding.domain.policy.policy import Assignment, Policy
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, RetryState, Satisfied, Stop, Wait
from onboarding.domain.reconcile.row import Outcome

UNKNOWN = "unknown"
_MAX_NAMED = 3  # extensions in a reason
_NO_EXTENSIONS_GIVEN = "; what is given does not tell which extensions the VM has"


class Forecast(Struct, frozen=True):
    """What would be decided for one extension, and on what grounds. `untold`: the decision hangs on this, and nobody
    told it."""

    context: DecisionContext
    decision: Decision
    unknown_because: str = ""

    @property
    def word(self) -> str:
        """`Install`, `Update`, the outcome, or `unknown`."""
        return UNKNOWN if self.unknown_because else self._decided

    @property
    def reason(self) -> str:
        if self.unknown_because:
            return self.unknown_because
        no_extensions = self.word not in (Outcome.OUT_OF_SCOPE, Outcome.UNSUPPORTED) and _lacks_extensions(self.context)
        return self.decision.reason + (_NO_EXTENSIONS_GIVEN if no_extensions else "")

    @property
    def _decided(self) -> str:
        match self.decision:
            case Act():
                return "Update" if self.context.extension else "Install"
            case Satisfied():
                return Outcome.ALREADY_INSTALLED
            case Wait():
                return Outcome.WAITING
            case Stop(outcome=outcome):
                return outcome

    @property
    def policy(self) -> Policy:
        return self.context.assignment.policy

    def as_dict(self) -> dict[str, Any]:
        return {"decision": self.word, "policy": self.policy.name, "reason": self.reason}

    def differs(self, other: Forecast) -> bool:
        """Whether something else would be done, or the same with other settings."""
        return self._effect() != other._effect()

    def _effect(self) -> tuple[Any, ...]:
        policy = self.policy
        return self.word, policy.name, dict(policy.settings), dict(policy.protected_settings), policy.reconnect


def forecast(
    rules: Rules, facts: MachineFacts, now: datetime, definition: ImageDefinition | None = None
) -> tuple[Forecast, ...]:
    """One forecast for each extension that any policy names. `definition` is that of the VM's image, where it was
    read."""
    if facts.agent is AgentState.NOT_EXPANDED:
        facts = replace(facts, power=PowerState.RUNNING, agent=AgentState.READY)
    assigned = resolve(rules.policies, {}).assign(facts, now)
    return tuple(_forecast_assignment(rules, facts, assignment, now, definition) for assignment in assigned)


def _forecast_assignment(
    rules: Rules, facts: MachineFacts, assignment: Assignment, now: datetime, definition: ImageDefinition | None
) -> Forecast:
    def decided(*extensions: InstalledExtension) -> Forecast:
        seen = replace(facts, extensions=extensions)
        retry = RetryState(None, assignment.policy.waits, now)
        context, _ = decision_context(rules, seen, assignment, retry, definition=definition)
        context = _with_known_settings(context, rules.app_settings)
        return Forecast(context, decide(context))

    entry = rules.catalogue[assignment.policy.extension]
    unclear = _unclear_extensions(facts, entry)
    if not unclear:
        return decided(*facts.extensions)
    # Whatever is not told may be this extension, and well: only what is decided either way is known.
    clear = [extension for extension in facts.extensions if extension not in unclear]
    assumed_healthy = replace(unclear[0], publisher=entry.publisher, type=entry.type, provisioning_state="Succeeded")
    missing, healthy = decided(*clear), decided(*clear, assumed_healthy)
    if missing.word == healthy.word:
        return missing
    return replace(missing, unknown_because=_unknown_extensions(unclear))


def _unclear_extensions(facts: MachineFacts, entry: CatalogueEntry) -> list[InstalledExtension]:
    """The extensions of which it is not told whether they are the entry's, or how they stand. A VM has a handler once:
    where one is known to be the entry's, no other can be."""
    if (ours := facts.find_extension(entry.publisher, entry.type)) is not None:
        return [] if ours.provisioning_state or ours.statuses else [ours]
    return [each for each in facts.extensions if not each.type or _may_be_entry(each, entry)]


def _lacks_extensions(context: DecisionContext) -> bool:
    """Rows of Resource Graph and projections of the CLI's lists have a resource group and no extensions; a body of
    ARM's own leaves out what is not there."""
    body = context.facts.body
    return "resources" not in body and ("resourceGroup" in body or "resourceGroup" in mapping(body.get("properties")))


def _may_be_entry(extension: InstalledExtension, entry: CatalogueEntry) -> bool:
    return not extension.publisher and extension.type.lower() == entry.type.lower()


def _unknown_extensions(extensions: Sequence[InstalledExtension]) -> str:
    names = ", ".join(extension.name for extension in extensions[:_MAX_NAMED])
    more = f" and {len(extensions) - _MAX_NAMED} more" if len(extensions) > _MAX_NAMED else ""
    return (
        f"what is given names the VM's extensions without handler or state ({names}{more}); read the VM from Azure"
        " (`onboard policy plan --live`), or give its body as `az vm get-instance-view` prints it"
    )


def _with_known_settings(context: DecisionContext, app_settings: Mapping[str, str]) -> DecisionContext:
    policy = context.assignment.policy
    unset = any(
        len(known_settings(settings, app_settings)) < sum(value is not None for value in settings.values())
        for settings in (policy.settings, policy.protected_settings)
    )
    if not unset:
        return context
    return replace(context, problems=(), settings=known_settings(policy.settings, app_settings))
