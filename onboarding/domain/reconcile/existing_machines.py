"""What the decision is for a machine that was there before its policy: it says what would be done, and nothing is
done."""

from __future__ import annotations

from onboarding.domain.failures.classification import Cause
from onboarding.domain.reconcile.decision import DecisionContext, Problem, Stop
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.taking_up import ExistingMachine


def only_audited(s: DecisionContext) -> Stop | None:
    """The decision on the extension of an existing machine; None if the machine is new or was taken up."""
    if s.existing is None:
        return None
    if s.unmet:
        would = f"would be updated: {s.unmet}"
    else:
        would = "would be installed again" if s.extension is not None else "would be installed"
    return audited(s, s.existing, f"{s.entry.type} {would}")


def audited(s: DecisionContext, existing: ExistingMachine, would: str) -> Stop:
    """The decision for an existing machine. `would` says what is done on a new one."""
    policy, known = s.assignment.policy.name, s.entry.errors.causes[Cause.EXISTING_MACHINE]
    created = f"created {existing.created:%Y-%m-%d %H:%M}" if existing.created else "of an unknown age"
    seen = f"{existing.first_seen:%Y-%m-%d %H:%M} UTC"
    reason = f"the machine ({created}) is older than policy {policy}, first seen {seen}: {would}"
    how = "`onboard install` has it done for this machine, `existing: enforce` in the policy for all"
    problem = Problem(Cause.EXISTING_MACHINE, Cause.EXISTING_MACHINE, known.meaning, known.advice)
    return Stop(Outcome.AUDITED, f"{reason}; {how}", problem)
