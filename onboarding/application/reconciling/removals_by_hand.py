"""What a person removes by name where no policy reaches the machine for that extension.

A row belongs to a policy, and a removal that has begun goes on in passes that no person asked for. So such a removal is
a policy of its own, of that extension on that machine, from the person's request until the row is final.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from onboarding.application.reconciling.reconciliation import Reconciliation
from onboarding.application.rules import Rules
from onboarding.domain.json_access import digest
from onboarding.domain.machine.managed_machines import ManagedKinds
from onboarding.domain.policy.policy import BY_HAND, Effect, Existing, Policy, PolicySet
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.wait_schedule import Waits


def with_removals_by_hand(work: Reconciliation, policies: PolicySet, rules: Rules) -> PolicySet:
    """The policies, and one for each extension that a person removes from this machine and no policy decides on."""
    wanted = {name for name in _by_hand(work) if name in rules.catalogue}
    if not wanted:
        return policies
    decided = {name for policy in policies.reaching(work.vm) for name in (*policy.extensions, policy.extension)}
    return PolicySet((*policies.policies, *(_removal(name) for name in sorted(wanted - decided))))


def _by_hand(work: Reconciliation) -> Iterator[str]:
    """The extensions that this pass's person removes, and those of removals by hand that have not ended, or that a
    person retries."""
    request = work.request
    if request is not None and request.removal is True and request.policy == "":
        yield request.extension
    retried = request is not None and request.removal is None
    for extension, stored in work.stored.items():
        row = stored.row
        if row.policy == BY_HAND and (not row.outcome.final or (retried and row.outcome is Outcome.FAILED)):
            yield extension


def _removal(extension: str) -> Policy:
    return Policy(
        name=BY_HAND,
        effect=Effect.REMOVE,
        extension=extension,
        scopes=(),
        not_scopes=(),
        kinds=ManagedKinds(()),
        include_managed=frozenset(),
        rule=None,
        existence=None,
        settings={},
        protected_settings={},
        support_table="",
        exemptions=(),
        waits=Waits(),
        settle_delay=timedelta(),
        existing=Existing.ENFORCE,
        digest=digest([BY_HAND, extension]),
    )
