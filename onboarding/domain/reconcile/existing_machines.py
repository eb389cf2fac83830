"""What the decision is where a policy only audits a machine, above all one that was there before the policy: it says
which steps would be done, and nothing is done."""

from __future__ import annotations

from onboarding.domain.failures.classification import Cause
from onboarding.domain.policy.policy import Effect
from onboarding.domain.reconcile.decision import DecisionContext, Problem, Stop
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.reconcile.steps.step import StepKind, from_column
from onboarding.domain.reconcile.steps.step_words import words_of, would, would_do


def only_audited(s: DecisionContext) -> Stop | None:
    """The decision on the extension where the policy only audits all machines, or this one, which is older than the
    policy and was not taken up; None where it may act."""
    acts = s.assignment.policy.effect is not Effect.AUDIT and s.existing is None
    return None if acts else audited(s, would([extension_words(s)]))


def extension_words(s: DecisionContext) -> str:
    """What the step of the extension would do."""
    if s.removes:
        return words_of(StepKind.REMOVAL, s.entry.type)
    if s.unmet:
        return f"update {s.entry.type} ({s.unmet})"
    if s.elsewhere:
        return f"update {s.entry.type} (it reports to another destination: {s.elsewhere})"
    if s.pending is not None:
        return f"update {s.entry.type} ({s.pending})"
    if s.extension is not None:
        return f"update {s.entry.type} (its handler failed)"
    return words_of(StepKind.EXTENSION, s.entry.type)


def what_would_be_done(row: Row, extension_type: str) -> str:
    """The same for all steps of a row that is only audited: `would associate dcr-linux, update AgentForLinux`."""
    if row.effect == Effect.REMOVE:
        extension = words_of(StepKind.REMOVAL, extension_type)
    elif row.extension_name:
        extension = f"update {extension_type}"
    else:
        extension = words_of(StepKind.EXTENSION, extension_type)
    steps = from_column(row.steps)
    return would_do(steps, extension) if steps else would([extension])


def audited(s: DecisionContext, what: str) -> Stop:
    """The decision where a policy only audits a machine, all machines or this existing one. `what` says what would be
    done where it acts."""
    existing, policy = s.existing, s.assignment.policy.name
    if existing is None:
        return Stop(Outcome.AUDITED, f"policy {policy} only audits: {what}")
    known = s.entry.errors.causes[Cause.EXISTING_MACHINE]
    is_older = f"(created {existing.created:%Y-%m-%d %H:%M}) is older" if existing.created else "counts as older"
    seen = f"{existing.first_seen:%Y-%m-%d %H:%M} UTC"
    how = f"`onboard enforce {policy}` has it done for all such machines, `onboard install` for this one"
    reason = f"the machine {is_older} than policy {policy}, first seen {seen}: {what}; {how}"
    return Stop(Outcome.AUDITED, reason, Problem(known.cause, known.cause, known.meaning, known.advice))
