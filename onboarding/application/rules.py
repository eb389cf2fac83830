"""The policies with all that they refer to, and the context of one decision on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from dataclasses import dataclass, field

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import ExtensionSettings, resolve_settings
from onboarding.domain.catalog.setting_templates import MachineValues
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
    """Everything that decisions rest on besides the machine itself. It does not change while the process runs."""

    policies: PolicySet
    """The policies of the policy folder that can be used."""
    catalogue: Mapping[str, CatalogueEntry]
    """The catalogue entries, by the extension's name."""
    app_settings: Mapping[str, str] = field(repr=False)
    """All app settings, by name; policies refer to them as `{NAME}`. Some are secrets."""
    reference: ReferenceData = field(repr=False)
    """The package's tables of images and errors."""
    overrides: Overrides = NO_OVERRIDES
    """The user's own rules on which OS release an image has."""
    unusable: Mapping[str, str] = field(default_factory=dict)
    """Why an extension's file cannot be used, by the extension's name; empty: all files can be used."""


def decision_context(
    rules: Rules,
    facts: MachineFacts,
    assignment: Assignment,
    retry: RetryState,
    request: OperatorRequest | None = None,
    definition: ImageDefinition | None = None,
) -> tuple[DecisionContext, ExtensionSettings]:
    """The context of the decision on one assignment, and the settings that an install would send."""
    policy = routed(assignment.policy, facts, retry.now)
    if request is not None and request.reconnect:
        policy = replace(policy, reconnect=True)
    entry = tuned(rules.catalogue[policy.extension], policy)
    release = identify(facts, rules.reference, rules.overrides, definition)
    settings = resolve_settings(entry, policy, rules.app_settings, MachineValues.of(facts))
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
