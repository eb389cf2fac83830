"""The request of the extension step: another attempt, the first one, and what a handler's failure makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from typing import Any

from onboarding.domain.catalog.catalogue_entry import extension_body, over
from onboarding.domain.catalog.extension_settings import ExtensionSettings
from onboarding.domain.failures.classification import (
    Cause,
    Evidence,
    ExtensionState,
    Failure,
    FailureClass,
    classify,
    read_extension_state,
)
from onboarding.domain.json_access import digest
from onboarding.domain.policy.installed_extension import MOVE, differs
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Problem, Stop, Wait
from onboarding.domain.reconcile.retry import held, problem_of
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId

_MOST_PROBES = 50  # handler runs, an hour apart, by which one VM tests whether its scope works again

# A row waits for these only after its attempt was due.
_HELD_WHEN_DUE = (WaitingFor.PAUSED, WaitingFor.CHANGE_WINDOW)

# What may delay an attempt that is due. Once the delay is over the attempt is sent: another wait would use up the open
# breaker's probe each time.
_HELD_UP = (WaitingFor.SCOPE_BREAKER, WaitingFor.ROLLOUT_LIMIT, WaitingFor.OPERATION, WaitingFor.THROTTLING)


CHANGES_EXTENSION = True
ACCEPTED = WaitingFor.INSTALL


def arm_request(s: DecisionContext, act: Act, vm: VmId, settings: ExtensionSettings, tag: str) -> ArmRequest:
    body = extension_body(s.entry, s.facts.location, settings.public, settings.protected, tag, s.extension)
    return ArmRequest("PUT", f"{vm}/extensions/{act.name}", body)


def claim_digest(s: DecisionContext, act: Act, tag: str) -> str:
    protected = [s.protected_digest] if s.protected_digest else []
    return digest([act.name, _version(s), s.settings_digest, tag, *protected])


def claim_columns(s: DecisionContext, act: Act) -> Mapping[str, Any]:
    return {
        "extension_name": act.name,
        "extension_version": _version(s),
        "sent_digest": s.settings_digest,
    }


def _version(s: DecisionContext) -> str:
    """The version that the request names."""
    return s.entry.version if s.extension is None else over(s.entry, s.extension).version


def breaker_key(s: DecisionContext) -> tuple[str, str]:
    return s.entry.name, s.settings_digest


def sent(s: DecisionContext) -> Mapping[str, Any]:
    return s.settings


def install(s: DecisionContext, reason: str, *, force: bool = False) -> Act:
    present, last = s.extension, s.last
    name = present.name if present else _free_name(s)
    if last is None or last.outcome.final:
        return Act(name, 1, force, reason)
    unanswered = last.waiting_for is WaitingFor.CLAIM and present is None and s.retry.resend
    return Act(name, max(s.attempts, 1) if unanswered else s.attempts + 1, force, reason)


def _free_name(s: DecisionContext) -> str:
    """The entry's resource name; its type if somebody else's extension already has that name."""
    taken = {extension.name.lower() for extension in s.facts.extensions}
    return s.entry.type if s.entry.resource_name.lower() in taken else s.entry.resource_name


def broken(s: DecisionContext) -> Decision | None:
    """The extension is installed and failed: what the handler said decides between another attempt and a stop."""
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.FAILED:
        return None
    failure = classify(Evidence.from_status(extension.statuses), s.entry.errors, s.now)
    problem = problem_of(failure, "\n".join(status.message for status in extension.statuses if status.message))
    if s.request is not None and held(s) is None:
        return install(s, f"an operator requests it again after: {failure.meaning}", force=True)
    if failure.kind in (FailureClass.TRANSIENT, FailureClass.WAITING):
        return _try_again(s, failure, problem)
    if failure.cause is Cause.ALREADY_CONNECTED:
        if s.assignment.policy.reconnect and differs(s.settings, extension):
            return install(s, f"connects the VM to this destination as well: {failure.meaning}", force=True)
        problem = replace(problem, advice=f"{problem.advice} {MOVE}")
    if failure.scope_wide and (later := _waits_for_breaker(s, failure, problem)):
        return later
    return Stop(Outcome.FAILED, f"the handler failed: {failure.meaning}", problem)


def _waits_for_breaker(s: DecisionContext, failure: Failure, problem: Problem) -> Decision | None:
    """The handler proved a problem of the whole scope. When the row's check is due, another attempt is the probe."""
    last = s.last
    if s.attempts >= _MOST_PROBES:
        return None
    due = last is not None and last.next_attempt_at is not None and last.next_attempt_at <= s.now
    if last and (last.waiting_for in _HELD_WHEN_DUE or (due and last.waiting_for is WaitingFor.SCOPE_BREAKER)):
        return install(s, f"try {s.attempts + 1} after: {failure.meaning}", force=True)
    return s.retry.wait(WaitingFor.SCOPE_BREAKER, failure.meaning, problem)


def _try_again(s: DecisionContext, failure: Failure, problem: Problem) -> Decision:
    locked = failure.cause is Cause.PACKAGE_MANAGER_LOCKED
    kind = WaitingFor.PACKAGE_MANAGER if locked else WaitingFor.PLATFORM
    last = s.last
    again = install(s, f"try {s.attempts + 1} after: {failure.meaning}", force=True)
    due = last is not None and last.next_attempt_at is not None and last.next_attempt_at <= s.now
    if last is not None and (last.waiting_for in _HELD_WHEN_DUE or (due and last.waiting_for is kind)):
        return again
    spent = failure.max_attempts is not None and s.attempts >= failure.max_attempts
    interval = None if spent else s.retry.waits[kind].interval_after(max(s.attempts, 1))
    if interval is None:
        return Stop(Outcome.FAILED, f"gave up after {s.attempts} tries: {failure.meaning}", problem)
    if due and last is not None and last.waiting_for in _HELD_UP:
        return again
    if last and last.waiting_for is kind and last.next_attempt_at and last.waiting_since:
        return Wait(kind, last.waiting_since, last.next_attempt_at, last.reason, problem)
    return Wait(kind, s.now, s.now + interval, f"try {max(s.attempts, 1)} failed: {failure.meaning}", problem)
