"""Whether an extension that we installed is to be updated, as far as the inventory shows it."""

from __future__ import annotations

from copy import replace
from datetime import datetime

from onboarding.application.rules import Rules
from onboarding.domain.catalog.extension_settings import resolve_settings
from onboarding.domain.catalog.protected_settings import keyed_digest
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Effect, Policy
from onboarding.domain.policy.routing import routed, tuned
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.update import update_of


class FleetUpdates:
    """Compares with what would be sent at the moment `at`."""

    def __init__(self, rules: Rules, at: datetime) -> None:
        self._rules = rules
        self._at = at

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
        policy = routed(policy, facts, self._at)
        entry = tuned(entry, policy)
        settings = resolve_settings(entry, policy, self._rules.app_settings, MachineValues.of(facts))
        if settings.problems:
            return False  # settings that the handler would refuse are never sent
        extension = replace(found, handler_version=found.handler_version or summary.extension_version)
        protected = keyed_digest(settings.protected, self._rules.digest_key)
        return update_of(entry, policy, extension, summary, settings.public, protected) is not None
