"""When something failed or was refused: another try, a wait, or a person. Every kind of trying ends.

What a handler or ARM said is judged by the error table; how long to wait follows from the policy's schedules. Pure.
"""

from __future__ import annotations

from contextlib import suppress
from copy import replace
from datetime import datetime, timedelta

from onboarding.domain.failures.classification import (
    Cause,
    Evidence,
    ExtensionState,
    Failure,
    FailureClass,
    classify,
    read_extension_state,
)
from onboarding.domain.limits.rate_limiter import HELD_BACK
from onboarding.domain.machine.resource_containers import RIGHTS, id_of
from onboarding.domain.policy.installed_extension import MOVE, differs
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Problem, RetryState, Stop, Wait
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor

MOST_ATTEMPTS = 5
MOST_SENDS = 2  # of one attempt: a request that nobody answered is sent again once
_FORBIDDEN = 403
_WAR = timedelta(days=7)
_MOST_PROBES = 50  # handler runs by which one VM finds out whether its scope was mended; an hour apart

_WAITS_AFTER = {
    Cause.VM_NOT_RUNNING: WaitingFor.VM_RUNNING,
    Cause.VM_AGENT_UNREACHABLE: WaitingFor.AGENT_READY,
    Cause.THROTTLED: WaitingFor.THROTTLING,
    Cause.OPERATION_IN_PROGRESS: WaitingFor.OPERATION,
    Cause.ALREADY_INSTALLED_UNDER_OTHER_NAME: WaitingFor.OPERATION,
    Cause.PACKAGE_MANAGER_LOCKED: WaitingFor.PACKAGE_MANAGER,
}

# That a VM is about to be deleted, or that something near it is missing, proves nothing: the next read does.
_PROVES_GONE = ("resourcenotfound", "resourcegroupnotfound")

# What a try may meet whose time has come. When that is over it is sent: to wait anew would use up a paused scope's
# probe for nothing, each time.
_HELD_UP = (WaitingFor.SCOPE_BREAKER, WaitingFor.ROLLOUT_LIMIT, WaitingFor.OPERATION, WaitingFor.THROTTLING)

_HOLDING = (
    WaitingFor.CLAIM,
    WaitingFor.INSTALL,
    WaitingFor.THROTTLING,
    WaitingFor.PLATFORM,
    WaitingFor.OPERATION,
)


def problem_of(failure: Failure, message: str = "") -> Problem:
    """A classified failure in the table's words: the handler's exit code where there is one, else ARM's code."""
    code = str(failure.exit_code) if failure.exit_code is not None else failure.code
    return Problem(code or failure.cause, failure.cause, failure.meaning, failure.advice, message)


def after_refusal(retry: RetryState, failure: Failure, message: str) -> Wait | Stop:
    """What becomes of a row whose read or request ARM refused."""
    problem = problem_of(failure, message)
    if failure.cause is Cause.VM_GONE:
        if proves_gone(failure):
            return Stop(Outcome.GONE, "ARM knows no such VM (any more)")
        return retry.wait_on(WaitingFor.OPERATION, failure.meaning, problem)
    waiting_for = WaitingFor.SCOPE_BREAKER if failure.scope_wide else _WAITS_AFTER.get(failure.cause)
    if waiting_for is None and failure.kind is not FailureClass.PERMANENT:
        waiting_for = WaitingFor.PLATFORM
    if waiting_for is None:
        return Stop(Outcome.FAILED, f"ARM refused: {failure.meaning}", problem)
    later = retry.wait(waiting_for, failure.meaning, problem)
    if later is None:
        return Stop(Outcome.FAILED, f"gave up: {failure.meaning}", problem)
    longest = retry.waits[waiting_for].give_up_after
    request = retry.now + timedelta(seconds=min(failure.retry_after or 0, longest))
    # Who was held back was promised that moment, and would find the token gone later.
    exactly = failure.code == HELD_BACK
    return Wait(waiting_for, later.since, request, later.reason, problem) if exactly or request > later.until else later


def after_unread(context: DecisionContext, failure: Failure, http_status: int | None, message: str) -> Wait | Stop:
    """What becomes of a row whose rule rests on the resource group or the subscription, which ARM did not let us read.
    Trouble that passes is waited for; without the right to read it the policy stays undecided."""
    retry, said = context.retry, context.assignment
    if failure.cause is Cause.VM_GONE:
        # The machine was there a moment ago, so that it goes with its group, and its own read will tell.
        later = retry.wait(WaitingFor.PLATFORM, failure.meaning, problem_of(failure, message))
        return later or Stop(Outcome.UNDETERMINED, said.reason, problem_of(failure, message))
    if http_status != _FORBIDDEN:
        return after_refusal(retry, replace(failure, scope_wide=False), message)
    right, scope = RIGHTS[said.unread], id_of(said.unread, context.facts.id)
    advice = f"Give the identity the right {right} on {scope} (the role Reader has it), then retry the row."
    meaning = f"The identity may not read {scope}, which the policy asks for."
    problem = Problem(failure.code or failure.cause, failure.cause, meaning, advice, message)
    return Stop(Outcome.UNDETERMINED, f"{said.reason}, and ARM refuses to show it: {right} is missing", problem)


def proves_gone(failure: Failure) -> bool:
    """Whether ARM said that there is no such VM, or no such group: nothing else ends a row as gone."""
    return failure.cause is Cause.VM_GONE and failure.code.lower() in _PROVES_GONE


def broken(s: DecisionContext) -> Decision | None:
    """The extension is there and failed: what the handler said decides between another try and a person."""
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.FAILED:
        return None
    failure = classify(Evidence.from_status(extension.statuses), s.entry.errors, s.now)
    problem = problem_of(failure, "\n".join(status.message for status in extension.statuses if status.message))
    if s.request is not None and held(s) is None:
        return install(s, f"a person asks again after: {failure.meaning}", force=True)
    if failure.kind in (FailureClass.TRANSIENT, FailureClass.WAITING):
        return _try_again(s, failure, problem)
    if failure.cause is Cause.ALREADY_CONNECTED:
        if s.assignment.policy.reconnect and differs(s.settings, extension):
            return install(s, f"connects it here as well: {failure.meaning}", force=True)
        problem = replace(problem, advice=f"{problem.advice} {MOVE}")
    if failure.scope_wide and (later := _paused(s, failure, problem)):
        return later
    return Stop(Outcome.FAILED, f"the handler failed: {failure.meaning}", problem)


def _paused(s: DecisionContext, failure: Failure, problem: Problem) -> Decision | None:
    """The handler proved trouble of the whole scope. When its look has come, asking again is what probes it."""
    last = s.last
    if s.attempts >= _MOST_PROBES:
        return None
    if last and last.waiting_for is WaitingFor.SCOPE_BREAKER and last.next_attempt_at and last.next_attempt_at <= s.now:
        return install(s, f"try {s.attempts + 1} after: {failure.meaning}", force=True)
    return s.retry.wait(WaitingFor.SCOPE_BREAKER, failure.meaning, problem)


def _try_again(s: DecisionContext, failure: Failure, problem: Problem) -> Decision:
    locked = failure.cause is Cause.PACKAGE_MANAGER_LOCKED
    kind = WaitingFor.PACKAGE_MANAGER if locked else WaitingFor.PLATFORM
    last = s.last
    again = install(s, f"try {s.attempts + 1} after: {failure.meaning}", force=True)
    due = last is not None and last.next_attempt_at is not None and last.next_attempt_at <= s.now
    if due and last is not None and last.waiting_for is kind:
        return again
    spent = failure.max_attempts is not None and s.attempts >= failure.max_attempts
    breaker = None if spent else s.retry.waits[kind].breaker_before(max(s.attempts, 1))
    if breaker is None:
        return Stop(Outcome.FAILED, f"gave up after {s.attempts} tries: {failure.meaning}", problem)
    if due and last is not None and last.waiting_for in _HELD_UP:
        return again
    if last and last.waiting_for is kind and last.next_attempt_at and last.waiting_since:
        return Wait(kind, last.waiting_since, last.next_attempt_at, last.reason, problem)
    return Wait(kind, s.now, s.now + breaker, f"try {max(s.attempts, 1)} failed: {failure.meaning}", problem)


def held(s: DecisionContext) -> Decision | None:
    """A row that another look is going to take up: a claim that has not run out, or a pause that ARM asked for."""
    last = s.last
    if last is None or last.outcome.final or last.waiting_for is None or last.waiting_for not in _HOLDING:
        return None
    if last.waiting_for is WaitingFor.OPERATION and not last.error_code:
        return None  # for somebody else's write, of which this very read tells whether it has ended
    if last.waiting_for is WaitingFor.INSTALL and s.drift:
        return None  # our request has ended, and somebody wrote over it
    if last.next_attempt_at is None or last.next_attempt_at <= s.now:
        return None
    return Wait(last.waiting_for, last.waiting_since or s.now, last.next_attempt_at, last.reason, told(last))


def exhausted(s: DecisionContext) -> Decision | None:
    if s.last is None or s.last.outcome.final or s.attempts < MOST_ATTEMPTS:
        return None
    if (problem := told(s.last)) is not None:
        return Stop(Outcome.FAILED, f"gave up after {s.attempts} requests: {problem.meaning}", problem)
    return failed(s, Cause.UNKNOWN, f"gave up: ARM took {s.attempts} requests and the extension is still not there")


def told(last: Row) -> Problem | None:
    """The trouble that the row tells of; which cause it had is in its words alone."""
    if not last.error_code:
        return None
    return Problem(last.error_code, Cause.UNKNOWN, last.error_meaning, last.advice, last.message)


def install(s: DecisionContext, reason: str, *, force: bool = False) -> Act:
    present, last = s.extension, s.last
    name = present.name if present else _free_name(s)
    if last is None or last.outcome.final:
        return Act(name, 1, force, reason)
    unanswered = last.waiting_for is WaitingFor.CLAIM and present is None and s.retry.resend
    return Act(name, max(s.attempts, 1) if unanswered else s.attempts + 1, force, reason)


def undoing(s: DecisionContext) -> bool:
    """Whether what we installed was removed or changed by somebody else."""
    if s.last is None or s.last.outcome is not Outcome.INSTALLED:
        return False
    return s.extension is None or read_extension_state(s.extension) is ExtensionState.SUCCEEDED


def undone(last: Row | None, now: datetime) -> tuple[datetime, ...]:
    """When, within the last seven days, somebody undid what we did; what cannot be read counts as never."""
    found = []
    for text in last.undone_at.split() if last else ():
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo and now - moment < _WAR:
                found.append(moment)
    return tuple(found)


def _free_name(s: DecisionContext) -> str:
    """The entry's resource name, or its type where somebody else's extension has that name."""
    taken = {extension.name.lower() for extension in s.facts.extensions}
    return s.entry.type if s.entry.resource_name.lower() in taken else s.entry.resource_name


def failed(s: DecisionContext, cause: Cause, reason: str) -> Stop:
    known = s.entry.errors.causes[cause]
    return Stop(Outcome.FAILED, reason, Problem(cause, cause, known.meaning, known.advice))


def gave_up(s: DecisionContext, cause: Cause, reason: str) -> Stop:
    since = s.last.waiting_since if s.last else None
    return failed(s, cause, f"{reason} (waited since {since:%Y-%m-%d %H:%M} UTC)" if since else reason)
