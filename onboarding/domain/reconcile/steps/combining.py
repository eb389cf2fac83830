"""One row for all steps of a target: it is its worst open step, and the column `Steps` has each of them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import replace

from msgspec import Struct

from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Problem, Satisfied, Stop, Wait
from onboarding.domain.reconcile.row import SENT, Outcome, Row
from onboarding.domain.reconcile.steps.step import StepKind, StepResult, StepState, from_column, to_column
from onboarding.domain.resource_id import fold_id


class Associated(Struct, frozen=True):
    """What one association came to."""

    result: StepResult
    decision: Wait | Stop | None = None
    """What the row says if it is not done; None if it is."""


def wants_steps(context: DecisionContext) -> bool:
    """Whether the policy wants its steps of this machine: it selects it, the OS is the extension's and supported, and
    the machine is not being deleted."""
    os_type = context.facts.os_type
    if not context.assignment.selected or os_type is OsType.UNKNOWN or os_type is not context.entry.os_type:
        return False
    if context.facts.being_deleted or context.problems or context.removes:
        return False
    forced = context.request is not None and context.request.force
    return context.judgement.verdict is Verdict.SUPPORTED or (forced and context.judgement.verdict is Verdict.UNKNOWN)


def combined(decision: Satisfied | Wait | Stop, associated: Sequence[Associated]) -> Satisfied | Wait | Stop:
    """The decision for the row: a request in flight first, then the earliest wait, then a refusal; else what is done.
    An association that is refused or waits never holds the extension back."""
    if isinstance(decision, Wait) and decision.waiting_for in SENT:
        return decision
    if isinstance(decision, Stop) and decision.outcome is not Outcome.FAILED:
        return decision
    waits = [each.decision for each in associated if isinstance(each.decision, Wait)]
    if isinstance(decision, Wait):
        return replace(decision, until=min([decision.until, *(wait.until for wait in waits)]))
    if waits:
        return min(waits, key=lambda wait: wait.until)
    refused = next((each.decision for each in associated if isinstance(each.decision, Stop)), None)
    return refused if refused is not None and isinstance(decision, Satisfied) else decision


def steps_of(
    context: DecisionContext, decision: Decision, associated: Sequence[Associated] = ()
) -> tuple[StepResult, ...]:
    """What each step came to; none for a policy with the extension alone. `decision` is the one on identity and
    extension, before it was combined."""
    if (context.identity is None and not associated) or context.removes:
        return ()
    before = from_column(context.last.steps) if context.last else ()
    found = [each.result for each in associated]
    identity = _identity(context, decision, before)
    if identity is not None:
        found.insert(0, identity)
    blocked = identity is not None and identity.state not in (StepState.DONE, StepState.WANTED)
    found.append(_extension(context, decision, blocked=blocked))
    return tuple(_ours_still(each, before) for each in found)


def with_extension_done(row: Row) -> Row:
    """The row with its extension's step done, after its handler reported success."""
    steps = from_column(row.steps)
    if not steps:
        return row
    done = StepResult(StepKind.EXTENSION, StepState.DONE, row.extension, ours=True)
    return replace(row, step="", steps=to_column([*(s for s in steps if s.step is not StepKind.EXTENSION), done]))


def others_done(row: Row) -> bool:
    """Whether all steps but the extension are done, so that the extension's end is the row's."""
    return all(s.state is StepState.DONE for s in from_column(row.steps) if s.step is not StepKind.EXTENSION)


def result_of(step: StepKind, subject: str, decision: Wait | Stop) -> StepResult:
    """A step that waits or was refused."""
    state = StepState.WAITING if isinstance(decision, Wait) else StepState.REFUSED
    until = decision.until if isinstance(decision, Wait) else None
    return _with_problem(StepResult(step, state, subject, until=until), decision.problem, decision.reason)


def _identity(context: DecisionContext, decision: Decision, before: Sequence[StepResult]) -> StepResult | None:
    state = context.identity
    if state is None:
        return None
    subject = state.fit.identity
    if state.fit.there:
        sent = any(s.step is StepKind.IDENTITY and s.state is StepState.REQUESTED for s in before)
        return StepResult(StepKind.IDENTITY, StepState.DONE, subject, ours=sent)
    if isinstance(decision, Act) and decision.step is StepKind.IDENTITY:
        return StepResult(StepKind.IDENTITY, StepState.REQUESTED, subject)
    if _is_audited(decision):
        refused = bool(state.fit.conflict)
        now = StepState.REFUSED if refused else StepState.WANTED
        return StepResult(StepKind.IDENTITY, now, subject, meaning=state.fit.conflict)
    if isinstance(decision, Wait) and decision.waiting_for in SENT:
        return StepResult(StepKind.IDENTITY, StepState.REQUESTED, subject)
    if isinstance(decision, (Wait, Stop)):
        return result_of(StepKind.IDENTITY, subject, decision)
    return StepResult(StepKind.IDENTITY, StepState.WAITING, subject)


def _extension(context: DecisionContext, decision: Decision, *, blocked: bool) -> StepResult:
    subject = context.entry.name
    if isinstance(decision, Satisfied):
        return StepResult(StepKind.EXTENSION, StepState.DONE, subject, ours=decision.ours)
    if _is_audited(decision) and (_is_there(context) or not blocked):
        return StepResult(StepKind.EXTENSION, StepState.DONE if _is_there(context) else StepState.WANTED, subject)
    if blocked:
        refused = isinstance(decision, Stop)
        return StepResult(StepKind.EXTENSION, StepState.BLOCKED if refused else StepState.WAITING, subject)
    if isinstance(decision, Act) or (isinstance(decision, Wait) and decision.waiting_for in SENT):
        return StepResult(StepKind.EXTENSION, StepState.REQUESTED, subject)
    return result_of(StepKind.EXTENSION, subject, decision)


def _is_audited(decision: Decision) -> bool:
    return isinstance(decision, Stop) and decision.outcome is Outcome.AUDITED


def _is_there(context: DecisionContext) -> bool:
    """Whether the extension is installed and meets the policy, so that an audit is about another step."""
    there = context.extension
    healthy = there is not None and read_extension_state(there) is ExtensionState.SUCCEEDED
    return healthy and not context.unmet


def _ours_still(step: StepResult, before: Sequence[StepResult]) -> StepResult:
    """What we did stays ours while it is done."""
    if step.state is not StepState.DONE or step.ours:
        return step
    same = (s for s in before if s.step is step.step and fold_id(s.subject) == fold_id(step.subject) and s.ours)
    was = next(same, None)
    return replace(step, ours=True, at=was.at) if was is not None else step


def _with_problem(step: StepResult, problem: Problem | None, reason: str) -> StepResult:
    if problem is None:
        return replace(step, meaning=reason)
    return replace(step, code=problem.code, cause=problem.cause.value, meaning=problem.meaning, advice=problem.advice)
