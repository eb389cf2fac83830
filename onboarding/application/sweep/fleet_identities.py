"""Whether a VM of the inventory lacks an identity that serves an extension whose row says that it is installed."""

from __future__ import annotations

from onboarding.application.rules import Rules
from onboarding.domain.catalog.extension_settings import resolve_settings
from onboarding.domain.catalog.setting_templates import MachineValues
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Policy, PolicySet
from onboarding.domain.policy.step_needs import step_needs, with_entry_need
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.steps.identity_step import misnamed, named_identity, plan_identity


class FleetIdentities:
    """The needs of all policies, read once in a run."""

    def __init__(self, rules: Rules, policies: PolicySet) -> None:
        self._rules = rules
        self._needs = {policy.name: step_needs(policy, rules.app_settings).identity for policy in policies.policies}

    def lacks(self, facts: MachineFacts, policy: Policy, summary: RowSummary) -> bool:
        """Whether no identity of the VM serves, or the settings that we sent lead the agent to none. Settings of others
        are never overwritten, so they do not count."""
        entry = self._rules.entry_of(policy)
        need = with_entry_need(self._needs.get(policy.name), entry.needs.identity)
        if need is None:
            return False
        fit = plan_identity(facts.identity, [need]).fits[0]
        if not fit.there:
            return True
        extension = facts.find_extension(entry.publisher, entry.type)
        if extension is None or summary.outcome is not Outcome.INSTALLED:
            return False
        values = MachineValues.of(facts, named_identity(fit))
        wanted = resolve_settings(entry, policy, self._rules.app_settings, values).public if fit.named else {}
        return bool(misnamed(facts.identity, fit, extension.settings, wanted))
