"""Whether an extension that we installed is to be updated, as far as the inventory shows it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from datetime import datetime
from typing import Any, ClassVar

from onboarding.application.rules import Rules
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import given_settings, resolve_settings
from onboarding.domain.catalog.protected_settings import keyed_digest
from onboarding.domain.catalog.setting_templates import MachineValues, machine_templates_in
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.hidden_fields import HidingStruct
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Effect, Policy
from onboarding.domain.policy.routing import routed, tuned
from onboarding.domain.policy.workspaces import choose
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.update import update_of


class _Wanted(HidingStruct, frozen=True):
    """What one policy would send."""

    hidden: ClassVar[frozenset[str]] = frozenset({"settings"})

    policy: Policy
    entry: CatalogueEntry
    settings: Mapping[str, Any]
    """The public ones."""
    protected_digest: str
    usable: bool
    """Whether nothing is wrong with them. Others are never sent."""


class FleetUpdates:
    """Compares with what would be sent at the moment `at`. Settings that are the same for all machines are resolved
    once: a fleet is large."""

    def __init__(self, rules: Rules, at: datetime) -> None:
        self._rules = rules
        self._at = at
        self._same: dict[tuple[str, str, str], _Wanted | None] = {}  # None: each machine has its own

    def outdated(self, facts: MachineFacts, policy: Policy, summary: RowSummary) -> bool:
        """Whether the extension of a row is to be updated. The inventory does not have the version that runs, so the
        row's counts, which is of the last read."""
        if summary.outcome is not Outcome.INSTALLED or policy.effect is not Effect.DEPLOY:
            return False
        entry = self._rules.entry_of(policy)
        found = facts.find_extension(entry.publisher, entry.type)
        if found is None or found.name.lower() != summary.extension_name.lower():
            return False
        if read_extension_state(found) is not ExtensionState.SUCCEEDED:
            return False
        wanted = self._wanted(facts, policy, entry)
        if not wanted.usable:
            return False
        extension = replace(found, handler_version=found.handler_version or summary.extension_version)
        update = update_of(wanted.entry, wanted.policy, extension, summary, wanted.settings, wanted.protected_digest)
        return update is not None

    def _wanted(self, facts: MachineFacts, policy: Policy, entry: CatalogueEntry) -> _Wanted:
        workspace, _ = choose(policy.workspaces, facts, self._at)
        key = policy.name, policy.extension, workspace.name if workspace else ""
        if key not in self._same:
            variant = routed(policy, facts, self._at)
            entry = tuned(entry, variant)
            self._same[key] = self._resolved(variant, entry, None) if _is_the_same(entry, variant) else None
        if (same := self._same[key]) is not None:
            return same
        policy = routed(policy, facts, self._at)
        return self._resolved(policy, tuned(entry, policy), MachineValues.of(facts))

    def _resolved(self, policy: Policy, entry: CatalogueEntry, machine: MachineValues | None) -> _Wanted:
        settings = resolve_settings(entry, policy, self._rules.app_settings, machine)
        protected = keyed_digest(settings.protected, self._rules.digest_key)
        return _Wanted(policy, entry, settings.public, protected, not settings.problems)


def _is_the_same(entry: CatalogueEntry, policy: Policy) -> bool:
    """Whether all machines get the same settings, but for public ones that stand for an identity: these are no reason
    for an update."""
    given = given_settings(entry, policy)
    public = machine_templates_in(given["settings"])
    return not machine_templates_in(given["protectedSettings"]) and all(
        template.startswith("identity.") for template in public
    )
