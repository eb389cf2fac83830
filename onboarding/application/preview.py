"""What would be decided for a VM of which only a body in a file is known. Nothing is requested or written.

If the body has no power state or guest agent, the VM counts as running with a ready agent, and app settings that are
missing here count as set: a preview shows what the policies want. It shows what would be done for a new VM: only the
table says since when a policy is there, so `audited_first` names what the policy may leave to a person. The handler and
the state of an extension are not guessed: if the decision depends on them and the body leaves them out, the decision is
`unknown`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import replace
from datetime import datetime
from typing import Any

from msgspec import Struct

from onboarding.application.planned_steps import PlannedStep, in_words, planned_steps
from onboarding.application.rules import Rules, decision_context, identity_states, with_identity_state
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import ExtensionSettings, are_known, given_settings, known_settings
from onboarding.domain.catalog.setting_templates import MachineValues, app_settings_in
from onboarding.domain.image.os_identification import ImageDefinition
from onboarding.domain.json_access import digest, mapping
from onboarding.domain.machine.machine_facts import AgentState, InstalledExtension, MachineFacts, PowerState
from onboarding.domain.policy.management_groups import resolve
from onboarding.domain.policy.policy import Assignment, Policy
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import (
    Act,
    Decision,
    DecisionContext,
    IdentityState,
    RetryState,
    Satisfied,
    Stop,
    Wait,
)
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.steps.identity_step import named_identity
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.taking_up import depends_on_first_seen
from onboarding.domain.reconcile.update import if_ours
from onboarding.domain.reconcile.window_question import window_text

UNKNOWN = "unknown"
_MAX_NAMED = 3  # extensions in a reason
_NO_EXTENSIONS_GIVEN = "; the body does not say which extensions the VM has"


class Forecast(Struct, frozen=True):
    """What would be decided for one extension."""

    context: DecisionContext
    """All that the decision rests on."""
    decision: Decision
    """What would be done, with the reason."""
    unknown_because: str = ""
    """The missing fact that the decision depends on; empty: nothing is missing."""
    extension: Decision | None = None
    """The decision on the extension alone, where an identity is written first; None: `decision` is about it."""
    steps: tuple[PlannedStep, ...] = ()
    """What would become of each step; empty: the policy wants nothing of the machine."""

    @property
    def word(self) -> str:
        """`Install`, `Update`, `Remove`, the outcome, or `unknown`."""
        return UNKNOWN if self.unknown_because else self._decided

    @property
    def reason(self) -> str:
        if self.unknown_because:
            return self.unknown_because
        no_extensions = self.word not in (Outcome.OUT_OF_SCOPE, Outcome.UNSUPPORTED) and _lacks_extensions(self.context)
        return self._deciding.reason + (_NO_EXTENSIONS_GIVEN if no_extensions else "")

    @property
    def _deciding(self) -> Decision:
        """The decision on the extension, or on what is written beside it if the extension itself is there."""
        return self.decision if isinstance(self.extension, (Satisfied, type(None))) else self.extension

    @property
    def _decided(self) -> str:
        match self._deciding:
            case Act(step=StepKind.REMOVAL):
                return "Remove"
            case Act():
                return "Update" if self.context.extension else "Install"
            case Satisfied():
                return Outcome.ALREADY_INSTALLED
            case Wait():
                return Outcome.WAITING
            case Stop(outcome=outcome):
                return outcome

    @property
    def words(self) -> str:
        """The word, and what would be written: `Install (associate dcr if missing, install AgentForLinux)`, or
        `AlreadyInstalled (update 1.36 → 1.40 if we installed it)`."""
        written = "" if self.unknown_because else in_words(self.steps)
        if self.update:
            written = f"{written}{', ' if written else ''}update {self.update} if we installed it"
        return f"{self.word} ({written})" if written else self.word

    @property
    def update(self) -> str:
        """What would change of an extension that is there and meets the policy, if we installed it: only the table says
        whose it is. Empty: nothing would."""
        there = self.context.extension
        if not isinstance(self._deciding, Satisfied) or there is None or self.unknown_because or not self.context.acts:
            return ""
        known = digest(self.context.settings) == self.context.settings_digest  # else an app setting is missing here
        settings = self.context.settings if known else there.settings
        update = if_ours(self.context.entry, self.policy, there, settings)
        return str(update) if update is not None else ""

    @property
    def audited_first(self) -> bool:
        """Whether the VM would be written to, and is so old that the policy only audits it unless somebody takes it up:
        it is known to be older than an hour, and the policy has `existing: audit`."""
        facts = self.context.facts
        is_older = facts.time_created is not None and depends_on_first_seen(self.policy, facts, None, self.context.now)
        return is_older and isinstance(self.decision, Act) and not self.unknown_because

    @property
    def policy(self) -> Policy:
        return self.context.assignment.policy

    @property
    def window(self) -> str:
        """When the machine may be changed, and when that is next; empty: at any time."""
        return window_text(self.policy, self.context.facts, self.context.now)

    def as_dict(self) -> dict[str, Any]:
        first = {"auditedFirst": True} if self.audited_first else {}
        window = {"changeWindow": self.window} if self.window else {}
        steps = [] if self.unknown_because else [step.as_dict() for step in self.steps]
        update = {"updateIfOurs": self.update} if self.update else {}
        said = {"decision": self.word, "policy": self.policy.name, "reason": self.reason, "steps": steps}
        return {**said, **self._problem(), **update, **first, **window}

    def _problem(self) -> dict[str, Any]:
        problem = None if self.unknown_because else getattr(self.decision, "problem", None)
        return {"cause": problem.cause.value, "advice": problem.advice} if problem else {}

    @property
    def advice(self) -> str:
        """What a person should do about it; empty: nothing."""
        return str(self._problem().get("advice", ""))

    def differs(self, other: Forecast) -> bool:
        """Whether something else would be done, or the same with other settings."""
        return self._effect() != other._effect()

    def _effect(self) -> tuple[Any, ...]:
        policy = self.policy
        settings = dict(policy.settings), dict(policy.protected_settings)
        return self.word, policy.name, *settings, policy.reconnect, self.context.needs, self.steps, self.update


def forecast(
    rules: Rules, facts: MachineFacts, now: datetime, definition: ImageDefinition | None = None
) -> tuple[Forecast, ...]:
    """One forecast for each extension that a policy names. `definition` is that of the VM's custom image, if it was
    read."""
    if facts.agent is AgentState.NOT_EXPANDED:
        facts = replace(facts, power=PowerState.RUNNING, agent=AgentState.READY)
    assigned = resolve(rules.policies, {}).assign(facts, now)
    rules = _with_rule_names(rules, assigned)
    contexts = [_context(rules, facts, assignment, now, definition) for assignment in assigned]
    identities = identity_states(facts, [context for context, _ in contexts]) if _says_identities(facts) else {}
    return tuple(
        _forecast_assignment(rules, facts, assignment, now, definition, identities.get(context.entry.name))
        for assignment, (context, _) in zip(assigned, contexts, strict=True)
    )


def _with_rule_names(rules: Rules, assigned: Sequence[Assignment]) -> Rules:
    """The rules with `{NAME}` for each data collection rule whose app setting is missing here."""
    named = {name: f"{{{name}}}" for each in assigned for name in app_settings_in(list(each.policy.associations.rules))}
    given = {name: value for name, value in rules.app_settings.items() if value}
    return replace(rules, app_settings={**rules.app_settings, **{n: named[n] for n in named if n not in given}})


def _says_identities(facts: MachineFacts) -> bool:
    """Whether the body says which identities the machine has. ARM leaves the key out of a body without any; lists of
    Resource Graph and `az` have it, unless somebody selected other columns."""
    return "identity" in facts.body or not _is_list_row(facts.body)


def _context(
    rules: Rules, facts: MachineFacts, assignment: Assignment, now: datetime, definition: ImageDefinition | None
) -> tuple[DecisionContext, ExtensionSettings]:
    retry = RetryState(None, assignment.policy.waits, now)
    context, settings = decision_context(rules, facts, assignment, retry, definition=definition)
    return _with_known_settings(context, rules.app_settings), settings


def _forecast_assignment(
    rules: Rules,
    facts: MachineFacts,
    assignment: Assignment,
    now: datetime,
    definition: ImageDefinition | None,
    identity: IdentityState | None,
) -> Forecast:
    def decided(*extensions: InstalledExtension) -> Forecast:
        seen = replace(facts, extensions=extensions)
        context, settings = _context(rules, seen, assignment, now, definition)
        if identity is not None:
            context, _ = with_identity_state(rules, context, settings, identity)
            context = _with_known_settings(context, rules.app_settings)
        decision, alone = decide(context), decide(replace(context, identity=None))
        steps = planned_steps(context, alone, identities_known=_says_identities(facts))
        first = isinstance(decision, Act) and decision.step is StepKind.IDENTITY
        return Forecast(context, decision, extension=alone if first else None, steps=steps)

    entry = rules.entry_of(assignment.policy)
    unclear = _unclear_extensions(facts, entry)
    if not unclear:
        return decided(*facts.extensions)
    # An unclear extension may be this one, in a healthy state. Only a decision that is the same in both cases is known.
    clear = [extension for extension in facts.extensions if extension not in unclear]
    assumed_healthy = replace(unclear[0], publisher=entry.publisher, type=entry.type, provisioning_state="Succeeded")
    missing, healthy = decided(*clear), decided(*clear, assumed_healthy)
    if missing.word == healthy.word:
        return missing
    return replace(missing, unknown_because=_unknown_extensions(unclear))


def _unclear_extensions(facts: MachineFacts, entry: CatalogueEntry) -> list[InstalledExtension]:
    """The extensions that may be the entry's, or that are the entry's in an unknown state.

    A VM has each handler once, so if one extension is the entry's, no other is."""
    if (ours := facts.find_extension(entry.publisher, entry.type)) is not None:
        return [] if ours.provisioning_state or ours.statuses else [ours]
    return [each for each in facts.extensions if not each.type or _may_be_entry(each, entry)]


def _lacks_extensions(context: DecisionContext) -> bool:
    """Whether the body leaves out the VM's extensions. Rows of Resource Graph and of `az` lists, which have a resource
    group, do; in a body of ARM's own, no extensions means that the VM has none."""
    return "resources" not in context.facts.body and _is_list_row(context.facts.body)


def _is_list_row(body: Mapping[str, Any]) -> bool:
    return "resourceGroup" in body or "resourceGroup" in mapping(body.get("properties"))


def _may_be_entry(extension: InstalledExtension, entry: CatalogueEntry) -> bool:
    return not extension.publisher and extension.type.lower() == entry.type.lower()


def _unknown_extensions(extensions: Sequence[InstalledExtension]) -> str:
    names = ", ".join(extension.name for extension in extensions[:_MAX_NAMED])
    more = f" and {len(extensions) - _MAX_NAMED} more" if len(extensions) > _MAX_NAMED else ""
    return (
        f"the body names the VM's extensions without handler or state ({names}{more}); read the VM from Azure"
        " (`onboard policy plan --live`), or give its body as `az vm get-instance-view` prints it"
    )


def _with_known_settings(context: DecisionContext, app_settings: Mapping[str, str]) -> DecisionContext:
    policy = context.assignment.policy
    given = given_settings(context.entry, policy)
    if all(are_known(settings, app_settings) for settings in given.values()):
        return context
    named = named_identity(context.identity.fit) if context.identity else ""
    known = known_settings(given["settings"], app_settings, MachineValues.of(context.facts, named))
    return replace(context, problems=(), settings=known)
