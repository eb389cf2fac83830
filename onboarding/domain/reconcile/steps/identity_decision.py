"""What the identity step makes of the decision on an extension: the agent is installed, and counts as installed, only
once the machine has an identity that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from typing import Any

from onboarding.domain.catalog.extension_settings import ExtensionSettings
from onboarding.domain.failures.classification import Cause
from onboarding.domain.json_access import digest
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, IdentityState, Satisfied, Stop, Wait
from onboarding.domain.reconcile.existing_machines import audited
from onboarding.domain.reconcile.retry import MOST_ATTEMPTS, as_if_new, failed, problem_in, unfinished
from onboarding.domain.reconcile.row import SENT, Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.identity_step import Fit, identity_request
from onboarding.domain.reconcile.steps.step import ArmRequest, StepKind
from onboarding.domain.reconcile.steps.step_words import words_of, would, would_fail
from onboarding.domain.resource_id import VmId, fold_id

CHANGES_EXTENSION = False
ACCEPTED = WaitingFor.IDENTITY


def arm_request(s: DecisionContext, act: Act, vm: VmId, settings: ExtensionSettings, tag: str) -> ArmRequest:
    return identity_request(vm, s.facts.identity, _added(s), s.facts.etag)


def claim_digest(s: DecisionContext, act: Act, tag: str) -> str:
    return digest([act.step, *breaker_key(s)])


def claim_columns(s: DecisionContext, act: Act) -> Mapping[str, Any]:
    return {"step": StepKind.IDENTITY.value}


def breaker_key(s: DecisionContext) -> tuple[str, str]:
    return StepKind.IDENTITY.value, digest(sorted(map(fold_id, _added(s))))


def sent(s: DecisionContext) -> Mapping[str, Any]:
    return {str(place): each for place, each in enumerate(_added(s))}


def _added(s: DecisionContext) -> tuple[str, ...]:
    return s.identity.added if s.identity else ()


def in_flight(s: DecisionContext) -> Wait | None:
    """The wait for our own request of this step; None if none is in flight, or if this read shows that it has ended."""
    last = s.last
    if last is None or not _is_about_identity(last) or last.waiting_for not in SENT:
        return None
    if s.facts.being_written:
        return s.retry.wait_on(last.waiting_for, last.reason)
    there = s.identity is None or s.identity.fit.there
    return None if there else unfinished(s.retry)  # ARM may show the state before the request for some seconds


def after_identity(s: DecisionContext) -> DecisionContext:
    """The context for the extension's own decision: what the row says of the identity step is not about it."""
    last = s.last
    if last is None or not _is_about_identity(last) or last.outcome.final:
        return s
    return replace(s, retry=replace(s.retry, last=as_if_new(last)))


def with_identity(s: DecisionContext, decision: Decision) -> Decision:
    """The decision, or what the identity step wants first. Nothing is added to a machine on which the extension cannot
    or need not be."""
    state = s.identity
    if state is None or not _goes_on(s, decision):
        return decision
    if not s.acts:
        missing = isinstance(decision, Satisfied) and not state.fit.there
        return audited(s, _would(state.fit)) if missing else decision
    if state.lost:
        names = ", ".join(sorted(state.lost))
        return failed(s, Cause.IDENTITY_LOST, f"after our request the machine no longer has {names}")
    if state.fit.conflict:
        return failed(s, Cause.IDENTITY_CONFLICT, f"no identity serves the agent: {state.fit.conflict}")
    nothing = state.fit.there or not state.added  # it has no part in the plan where the OS may not be supported
    return decision if nothing else _request(s, state)


def _would(fit: Fit) -> str:
    if fit.conflict:
        return would_fail(StepKind.IDENTITY, fit.conflict)
    return would([words_of(StepKind.IDENTITY, fit.identity)])


def _is_about_identity(row: Row) -> bool:
    return row.step == StepKind.IDENTITY


def _goes_on(s: DecisionContext, decision: Decision) -> bool:
    if s.facts.being_deleted or isinstance(decision, Stop):
        return False
    return not (isinstance(decision, Wait) and decision.waiting_for in SENT)


def _request(s: DecisionContext, state: IdentityState) -> Decision:
    last = s.last
    ours = last if last is not None and _is_about_identity(last) and not last.outcome.final else None
    attempts = ours.attempt if ours else 0
    if ours is not None:
        if (later := _held(s, ours)) is not None:
            return later
        if attempts >= MOST_ATTEMPTS:
            problem = problem_in(ours)
            why = problem.meaning if problem else "ARM took the requests and the identity is still not there"
            return Stop(Outcome.FAILED, f"gave up after {attempts} requests: {why}", problem)
    reason = f"policy {s.assignment.policy.name} wants an identity on the machine, and it has none that serves"
    return Act("", attempts + 1, False, reason, StepKind.IDENTITY)


def _held(s: DecisionContext, last: Row) -> Wait | None:
    """The delay that ARM asked for, until it is over. A write of somebody else's is looked for in each read, breakers
    and pauses before each request."""
    if last.waiting_for in (None, WaitingFor.SCOPE_BREAKER, WaitingFor.PAUSED, *SENT):
        return None
    if last.waiting_for is WaitingFor.OPERATION and not last.error_code:
        return None
    return unfinished(s.retry)
