"""What the decision is where a policy only audits a machine, above all one that was there before the policy: it says
what would be done, and nothing is done."""

from __future__ import annotations

from onboarding.domain.failures.classification import Cause
from onboarding.domain.reconcile.decision import DecisionContext, Problem, Stop
from onboarding.domain.reconcile.row import Outcome


def only_audited(s: DecisionContext) -> Stop | None:
    """The decision on the extension of an existing machine; None if the machine is new or was taken up."""
    if s.existing is None:
        return None
    if s.removes:
        would = "would be removed"
    elif s.unmet:
        would = f"would be updated: {s.unmet}"
    else:
        would = "would be installed again" if s.extension is not None else "would be installed"
    return audited(s, f"{s.entry.type} {would}")


def audited(s: DecisionContext, would: str) -> Stop:
    """The decision where a policy only audits a machine, all machines or this existing one. `would` says what is done
    where it acts."""
    existing, policy = s.existing, s.assignment.policy.name
    if existing is None:
        return Stop(Outcome.AUDITED, f"policy {policy} only audits: {would}")
    known = s.entry.errors.causes[Cause.EXISTING_MACHINE]
    is_older = f"(created {existing.created:%Y-%m-%d %H:%M}) is older" if existing.created else "counts as older"
    seen = f"{existing.first_seen:%Y-%m-%d %H:%M} UTC"
    how = "`onboard install` has it done for this machine, `existing: enforce` in the policy for all"
    reason = f"the machine {is_older} than policy {policy}, first seen {seen}: {would}; {how}"
    return Stop(Outcome.AUDITED, reason, Problem(known.cause, known.cause, known.meaning, known.advice))
