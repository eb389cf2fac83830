"""The policies with all that they refer to, and the context of one decision on one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import replace
from typing import ClassVar

from msgspec import field

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import NO_SETTINGS, ExtensionSettings, resolve_settings
from onboarding.domain.catalog.protected_settings import DIGEST_KEY, keyed_digest
from onboarding.domain.catalog.setting_templates import MachineValues, is_unresolved
from onboarding.domain.catalog.support_table import Judgement, Verdict, judge
from onboarding.domain.failures.classification import parse_errors
from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.image.os_identification import NO_OVERRIDES, ImageDefinition, Overrides, identify
from onboarding.domain.image.os_release import OsRelease
from onboarding.domain.json_access import digest
from onboarding.domain.machine.machine_facts import MachineFacts, OsType
from onboarding.domain.policy.policy import Assignment, Policy, PolicySet
from onboarding.domain.policy.routing import routed, tuned
from onboarding.domain.policy.step_needs import step_needs, with_entry_need
from onboarding.domain.reconcile.decision import DecisionContext, IdentityState, OperatorRequest, RetryState
from onboarding.domain.reconcile.steps.combining import wants_steps
from onboarding.domain.reconcile.steps.identity_step import IdentityNeed, named_identity, plan_identity
from onboarding.domain.reconcile.taking_up import ExistingMachine
from onboarding.domain.reference_data import ReferenceData


class Rules(HidingStruct, frozen=True):
    """Everything that decisions rest on besides the machine itself. It does not change while the process runs."""

    hidden: ClassVar[frozenset[str]] = frozenset({"app_settings", "reference"})

    policies: PolicySet
    """The policies of the policy folder that can be used."""
    catalogue: Mapping[str, CatalogueEntry]
    """The catalogue entries, by the extension's name."""
    app_settings: Mapping[str, str]
    """All app settings, by name; policies refer to them as `{NAME}`. Some are secrets."""
    reference: ReferenceData
    """The package's tables of images and errors."""
    overrides: Overrides = NO_OVERRIDES
    """The user's own rules on which OS release an image has."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why an extension's file cannot be used, by the extension's name; empty: all files can be used."""

    @property
    def digest_key(self) -> str:
        """The key by which protected settings are recognised; empty without one that can be used."""
        key = self.app_settings.get(DIGEST_KEY, "").strip()
        return "" if is_unresolved(key) else key

    def entry_of(self, policy: Policy) -> CatalogueEntry:
        """The entry of the policy's extension. While it is open which of several a machine gets, it is one that no
        extension on a machine matches, with ARM's own errors."""
        if policy.extension != policy.open_target:
            return self.catalogue[policy.extension]
        names = " or ".join(self.catalogue[name].display_name for name in policy.extensions)
        return replace(
            self.catalogue[policy.extensions[0]],
            name=policy.open_target,
            display_name=names,
            publisher="policy",
            type=policy.open_target,
            os_type=OsType.UNKNOWN,
            read_errors=lambda: parse_errors({}, self.reference.errors()),
        )


def decision_context(
    rules: Rules,
    facts: MachineFacts,
    assignment: Assignment,
    retry: RetryState,
    request: OperatorRequest | None = None,
    definition: ImageDefinition | None = None,
    existing: ExistingMachine | None = None,
) -> tuple[DecisionContext, ExtensionSettings]:
    """The context of the decision on one assignment, and the settings that an install would send."""
    policy = routed(assignment.policy, facts, retry.now)
    if request is not None and request.reconnect:
        policy = replace(policy, reconnect=True)
    entry = tuned(rules.entry_of(policy), policy)
    release = identify(facts, rules.reference, rules.overrides, definition)
    settings = (
        NO_SETTINGS if policy.removes else resolve_settings(entry, policy, rules.app_settings, MachineValues.of(facts))
    )
    needs = step_needs(policy, rules.app_settings)
    needed: tuple[CatalogueEntry, ...] = ()
    if not policy.removes:
        needs = replace(needs, identity=with_entry_need(needs.identity, entry.needs.identity))
        needed = tuple(other for name in entry.needs.extensions if (other := rules.catalogue.get(name)) is not None)
    context = DecisionContext(
        facts=facts,
        release=release,
        judgement=_judgement(entry, policy, release),
        assignment=assignment if policy is assignment.policy else replace(assignment, policy=policy),
        entry=entry,
        problems=(*settings.problems, *needs.problems),
        retry=retry,
        settings=settings.public,
        request=request,
        settings_digest=digest(settings.public),
        needs=needs,
        needed=needed,
        existing=existing,
        protected_digest=keyed_digest(settings.protected, rules.digest_key),
    )
    return context, settings


def with_identity_state(
    rules: Rules, context: DecisionContext, settings: ExtensionSettings, identity: IdentityState
) -> tuple[DecisionContext, ExtensionSettings]:
    """The context and the settings, once it is known which identity serves: settings may have to name it."""
    context = replace(context, identity=identity)
    if not (named := named_identity(identity.fit)):
        return context, settings
    machine = MachineValues.of(context.facts, named)
    settings = resolve_settings(context.entry, context.assignment.policy, rules.app_settings, machine)
    problems = (*settings.problems, *context.needs.problems)
    public = settings.public
    protected = keyed_digest(settings.protected, rules.digest_key)
    context = replace(context, problems=problems, settings=public, protected_digest=protected)
    return replace(context, settings_digest=digest(public)), settings


def identity_states(
    facts: MachineFacts,
    contexts: Sequence[DecisionContext],
    *,
    seen: frozenset[str] = frozenset(),
    refused: frozenset[str] = frozenset(),
) -> Mapping[str, IdentityState]:
    """How the machine's identities meet each context's policy, by the extension's name; policies without a need are
    left out. One plan serves all policies that are to act on the machine; `seen` are the identities that it had before
    our last request, and `refused` those that ARM refused to add, folded."""
    acting: list[tuple[str, IdentityNeed]] = []
    policies: list[str] = []
    states: dict[str, IdentityState] = {}
    for context in contexts:
        need = context.needs.identity
        if need is None or context.entry.os_type is OsType.UNKNOWN:
            continue
        if wants_steps(context) and context.acts:
            acting.append((context.entry.name, need))
            policies.append(context.assignment.policy.name)
        else:  # what it would be, without a part in the plan
            states[context.entry.name] = IdentityState(plan_identity(facts.identity, [need]).fits[0])
    plan = plan_identity(facts.identity, [need for _, need in acting], seen=seen, refused=refused)
    for (name, _), fit in zip(acting, plan.fits, strict=True):
        states[name] = IdentityState(fit, plan.lost, plan.added, tuple(policies))
    return states


def _judgement(entry: CatalogueEntry, policy: Policy, release: OsRelease) -> Judgement:
    if entry.os_type is OsType.UNKNOWN:
        return Judgement(Verdict.UNKNOWN, "", "", "neither ARM nor the guest agent names the operating system")
    return judge(release, entry.support_table(policy.support_table))
