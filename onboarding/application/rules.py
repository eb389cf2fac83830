"""What to enforce, and all that one decision about one machine rests on."""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from dataclasses import dataclass, field

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import ExtensionSettings, resolve_settings
from onboarding.domain.catalog.support_table import judge
from onboarding.domain.image.os_identification import NO_OVERRIDES, ImageDefinition, Overrides, identify
from onboarding.domain.json_access import digest
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Assignment, PolicySet
from onboarding.domain.policy.routing import routed, tuned
from onboarding.domain.reconcile.decision import DecisionContext, OperatorRequest, RetryState
from onboarding.domain.reference_data import ReferenceData


@dataclass(frozen=True, slots=True)
class Rules:
    """What to enforce, with which app settings, what is known beforehand, and what people taught about their own
    images."""

    policies: PolicySet
    catalogue: Mapping[str, CatalogueEntry]
    app_settings: Mapping[str, str] = field(repr=False)
    reference: ReferenceData = field(repr=False)
    overrides: Overrides = NO_OVERRIDES
    unusable: Mapping[str, str] = field(default_factory=dict)  # why an extension is not in the catalogue, by its name


def decision_context(
    rules: Rules,
    facts: MachineFacts,
    assignment: Assignment,
    retry: RetryState,
    request: OperatorRequest | None = None,
    definition: ImageDefinition | None = None,
) -> tuple[DecisionContext, ExtensionSettings]:
    """All that the decision on an assignment rests on, and the settings that would be sent."""
    policy = routed(assignment.policy, facts, retry.now)
    if request is not None and request.reconnect:
        policy = replace(policy, reconnect=True)
    entry = tuned(rules.catalogue[policy.extension], policy)
    release = identify(facts, rules.reference, rules.overrides, definition)
    settings = resolve_settings(entry, policy, rules.app_settings)
    context = DecisionContext(
        facts=facts,
        release=release,
        judgement=judge(release, entry.support_table(policy.support_table)),
        assignment=assignment if policy is assignment.policy else replace(assignment, policy=policy),
        entry=entry,
        problems=settings.problems,
        retry=retry,
        settings=settings.public,
        request=request,
        settings_digest=digest(settings.public),
    )
    return context, settings
