"""The removal step: an extension that is to be gone from the machine.

ARM carries out a removal after it has accepted it, and only a read that finds no extension proves that it has ended.
After a request whose effect is unknown, ARM is read too: what is still there, with nothing under way, was not removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from onboarding.domain.catalog.extension_settings import ExtensionSettings
from onboarding.domain.failures.classification import (
    Cause,
    Evidence,
    ExtensionState,
    FailureClass,
    classify,
    is_being_written,
    read_extension_state,
)
from onboarding.domain.json_access import digest
from onboarding.domain.policy.policy import BY_HAND
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Problem, Stop, Wait
from onboarding.domain.reconcile.existing_machines import only_audited
from onboarding.domain.reconcile.retry import (
    MOST_ATTEMPTS,
    contested,
    failed,
    held,
    problem_in,
    problem_of,
    unfinished,
)
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.machine_ready import agent_not_ready, disallowed, misconfigured, not_running
from onboarding.domain.reconcile.steps.step import ArmRequest, StepKind
from onboarding.domain.resource_id import VmId

NEEDS_SUPPORT = False
CHANGES_EXTENSION = True
ACCEPTED = WaitingFor.REMOVAL


def arm_request(s: DecisionContext, act: Act, vm: VmId, settings: ExtensionSettings, tag: str) -> ArmRequest:
    return ArmRequest("DELETE", f"{vm}/extensions/{act.name}")


def claim_digest(s: DecisionContext, act: Act, tag: str) -> str:
    return digest([act.step, act.name])


def claim_columns(s: DecisionContext, act: Act) -> Mapping[str, Any]:
    return {"step": StepKind.REMOVAL.value, "extension_name": act.name}


def breaker_key(s: DecisionContext) -> tuple[str, str]:
    return StepKind.REMOVAL.value, digest(s.entry.name)


def sent(s: DecisionContext) -> Mapping[str, Any]:
    return {}


def follow(s: DecisionContext) -> Decision | None:
    """What is known of our removal, until it has ended: it is followed even if no policy wants it any more."""
    last, extension = s.last, s.extension
    if last is None or not last.in_flight or last.step != StepKind.REMOVAL:
        return None
    if extension is None:
        wanted_again = s.assignment.selected and not s.removes
        return None if wanted_again else _removed(s)
    if is_being_written(extension) or s.facts.being_written:
        return s.retry.wait(WaitingFor.REMOVAL, "ARM accepted the removal; the handler is at work")
    return unfinished(s.retry)  # ARM may show the state before the request for some seconds


def observe(s: DecisionContext) -> Decision | None:
    return _removed(s) if s.extension is None else None


def request(s: DecisionContext) -> Decision:
    """The request, or what it has to wait for, or why it is not sent."""
    for question in _BEFORE_REQUEST:
        if (answer := question(s)) is not None:
            return answer
    attempt = 1 if s.last is None or s.last.outcome.final else s.attempts + 1
    policy = s.assignment.policy
    begun_by_person = not policy.removes or policy.name == BY_HAND
    why = "a person removes it" if begun_by_person or named_by_person(s) else f"policy {policy.name} removes it"
    name = s.extension.name if s.extension else ""
    return Act(name, attempt, False, f"{why}{_after(s)}", StepKind.REMOVAL)


def stays_removed(s: DecisionContext) -> Decision | None:
    """What a person or a policy has removed stays away until a person or another version of the policy wants it."""
    last = s.last
    if last is None or not last.was_removed or s.extension is not None:
        return None
    if s.file_changed and (s.assignment.selected or last.policy != BY_HAND):
        return None
    return _removed(s) if s.request is None or s.removes else None


def _removed(s: DecisionContext) -> Stop:
    last = s.last
    if last is not None and last.outcome is Outcome.REMOVED:
        return Stop(Outcome.REMOVED, last.reason)
    ours = last is not None and last.attempt > 0 and (last.was_removed or _is_open(last))
    gone = "was removed: ARM shows it no more" if ours else "is not on the machine"
    left = ""
    if f"{s.entry.publisher}.{s.entry.type}".lower() in (handler.lower() for handler in s.facts.handlers):
        left = "; the guest agent still names its handler"
    return Stop(Outcome.REMOVED, f"{s.entry.type} {gone}{left}")


def _is_open(last: Row) -> bool:
    return last.step == StepKind.REMOVAL and not last.outcome.final


def named_by_person(s: DecisionContext) -> bool:
    """Whether a person removes the extension by its name: they decide alone, and wait for no other policy."""
    return s.request is not None and s.request.removal is True and s.request.extension != ""


def _after(s: DecisionContext) -> str:
    rule, since = s.assignment.policy.only_after, s.preceding.since
    if rule is None or since is None or named_by_person(s):
        return ""
    return f", since policy {rule.policy} has been satisfied from {since:%Y-%m-%d %H:%M} UTC on"


def _too_early(s: DecisionContext) -> Decision | None:
    """What a policy removes waits for the policy before it."""
    rule = s.assignment.policy.only_after
    if rule is None or named_by_person(s):
        return None
    since, wait = s.preceding.since, timedelta(seconds=rule.wait)
    if since is None:
        why = s.preceding.reason or "it has no row on this machine"
        return s.retry.wait_on(WaitingFor.ONLY_AFTER, f"policy {rule.policy} is not satisfied: {why}")
    if since + wait <= s.now:
        return None
    reason = f"policy {rule.policy} is satisfied since {since:%Y-%m-%d %H:%M} UTC, and must be for {wait}"
    return Wait(WaitingFor.ONLY_AFTER, s.retry.since(WaitingFor.ONLY_AFTER), since + wait, reason)


def not_proved(s: DecisionContext) -> Decision | None:
    """The wait for the proof that the policy before a removal is satisfied. It is read only when nothing else holds the
    removal back."""
    rule = s.assignment.policy.only_after
    if rule is None or s.preceding.proved or named_by_person(s):
        return None
    reason = f"nothing is removed before policy {rule.policy} is proved to be satisfied: {s.preceding.reason}"
    if s.preceding.unheard:
        return s.retry.wait_on(WaitingFor.HEARTBEAT, reason, s.preceding.problem)
    kind, last = WaitingFor.ONLY_AFTER, s.last
    if last is not None and last.waiting_for is kind and last.next_attempt_at and last.next_attempt_at > s.now:
        return Wait(kind, s.retry.since(kind), last.next_attempt_at, reason, s.preceding.problem)
    # The intervals count from when the proof was due, and not from when the other policy began to be waited for.
    due = (s.preceding.since or s.now) + timedelta(seconds=rule.wait)
    until = s.now + s.retry.waits[kind].interval_at(s.now - due)
    return Wait(kind, s.retry.since(kind), until, reason, s.preceding.problem)


def _handler_failed(s: DecisionContext) -> Decision | None:
    """After our request the extension is still there and failed: what the handler said decides."""
    last, extension = s.last, s.extension
    if last is None or extension is None or s.request is not None or not s.attempts:
        return None
    if last.outcome.final and (last.outcome is not Outcome.FAILED or s.policy_changed):
        return None
    if last.step != StepKind.REMOVAL or read_extension_state(extension) is not ExtensionState.FAILED:
        return None
    problem, lasting = _problem(s)
    # Any other failure may be that of an install: somebody installed it again before we saw that it was gone.
    lasting = lasting and problem.cause is Cause.REMOVAL_FAILED
    if last.outcome.final or lasting or s.attempts >= MOST_ATTEMPTS:
        return Stop(Outcome.FAILED, f"{extension.name} could not be removed: {problem.meaning}", problem)
    return None


def _exhausted(s: DecisionContext) -> Decision | None:
    if s.last is None or s.last.outcome.final or s.attempts < MOST_ATTEMPTS:
        return None
    reason = f"gave up: ARM took {s.attempts} removals and the extension is still there"
    problem = problem_in(s.last)
    return Stop(Outcome.FAILED, reason, problem) if problem else failed(s, Cause.REMOVAL_FAILED, reason)


def _problem(s: DecisionContext) -> tuple[Problem, bool]:
    """What the handler said, and whether another attempt would end in the same way."""
    statuses = s.extension.statuses if s.extension else ()
    failure = classify(Evidence.from_status(statuses), s.entry.errors, s.now)
    text = "\n".join(status.message for status in statuses if status.message)
    if failure.cause is Cause.UNKNOWN:
        known = s.entry.errors.causes[Cause.REMOVAL_FAILED]
        return Problem(Cause.REMOVAL_FAILED, Cause.REMOVAL_FAILED, known.meaning, known.advice, text), False
    return problem_of(failure, text), failure.kind is FailureClass.PERMANENT


_BEFORE_REQUEST: tuple[Callable[[DecisionContext], Decision | None], ...] = (
    only_audited,
    misconfigured,
    _too_early,
    disallowed,
    contested,
    _handler_failed,
    not_running,
    agent_not_ready,
    held,
    _exhausted,
)
