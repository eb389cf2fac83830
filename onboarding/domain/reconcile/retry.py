"""What follows a failure or a refusal: another attempt, a wait, or a stop until a person acts. Every kind of retrying
has an end.

The error table classifies what a handler or ARM said; the policy's schedules say how long to wait. Pure.
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
_CONTEST_WINDOW = timedelta(days=7)
_MOST_PROBES = 50  # handler runs, an hour apart, by which one VM tests whether its scope works again

_WAITS_AFTER = {
    Cause.VM_NOT_RUNNING: WaitingFor.VM_RUNNING,
    Cause.VM_AGENT_UNREACHABLE: WaitingFor.AGENT_READY,
    Cause.THROTTLED: WaitingFor.THROTTLING,
    Cause.OPERATION_IN_PROGRESS: WaitingFor.OPERATION,
    Cause.ALREADY_INSTALLED_UNDER_OTHER_NAME: WaitingFor.OPERATION,
    Cause.PACKAGE_MANAGER_LOCKED: WaitingFor.PACKAGE_MANAGER,
}

# Other codes may mean that a VM is being deleted or that another resource is missing: the next read shows which.
_PROVES_GONE = ("resourcenotfound", "resourcegroupnotfound")

# A row waits for these only after its attempt was due.
_HELD_WHEN_DUE = (WaitingFor.PAUSED, WaitingFor.CHANGE_WINDOW)

# What may delay an attempt that is due. Once the delay is over the attempt is sent: another wait would use up the open
# breaker's probe each time.
_HELD_UP = (WaitingFor.SCOPE_BREAKER, WaitingFor.ROLLOUT_LIMIT, WaitingFor.OPERATION, WaitingFor.THROTTLING)

_HOLDING = (
    WaitingFor.CLAIM,
    WaitingFor.INSTALL,
    WaitingFor.THROTTLING,
    WaitingFor.PLATFORM,
    WaitingFor.OPERATION,
)


def problem_of(failure: Failure, message: str = "") -> Problem:
    """A classified failure as the row's error columns say it; its code is the handler's exit code, else ARM's code."""
    code = str(failure.exit_code) if failure.exit_code is not None else failure.code
    return Problem(code or failure.cause, failure.cause, failure.meaning, failure.advice, message)


def after_refusal(retry: RetryState, failure: Failure, message: str) -> Wait | Stop:
    """What becomes of a row whose read or request ARM refused."""
    problem = problem_of(failure, message)
    if failure.cause is Cause.VM_GONE:
        if proves_gone(failure):
            return Stop(Outcome.GONE, "ARM says that the VM does not exist (any more)")
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
    requested_moment = retry.now + timedelta(seconds=min(failure.retry_after or 0, longest))
    # The rate limiter reserved a token for exactly this moment; a later attempt would find it gone.
    if failure.code == HELD_BACK or requested_moment > later.until:
        return Wait(waiting_for, later.since, requested_moment, later.reason, problem)
    return later


def after_unread(context: DecisionContext, failure: Failure, http_status: int | None, message: str) -> Wait | Stop:
    """What becomes of a row whose rule needs the resource group or the subscription, where ARM refused to show it. The
    row waits for a transient problem; if the right to read is missing, it ends as undetermined."""
    retry, assignment = context.retry, context.assignment
    if failure.cause is Cause.VM_GONE:
        # The machine existed a moment ago, so its group is being deleted with it; the machine's own read will show it.
        later = retry.wait(WaitingFor.PLATFORM, failure.meaning, problem_of(failure, message))
        return later or Stop(Outcome.UNDETERMINED, assignment.reason, problem_of(failure, message))
    if http_status != _FORBIDDEN:
        return after_refusal(retry, replace(failure, scope_wide=False), message)
    right, scope = RIGHTS[assignment.unread], id_of(assignment.unread, context.facts.id)
    advice = f"Give the identity the right {right} on {scope} (the role Reader has it), then retry the row."
    meaning = f"The identity may not read {scope}, which the policy's rule needs."
    problem = Problem(failure.code or failure.cause, failure.cause, meaning, advice, message)
    return Stop(Outcome.UNDETERMINED, f"{assignment.reason}, and ARM refuses to show it: {right} is missing", problem)


def proves_gone(failure: Failure) -> bool:
    """Whether ARM said that the VM or its resource group does not exist: nothing else ends a row as `Gone`."""
    return failure.cause is Cause.VM_GONE and failure.code.lower() in _PROVES_GONE


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


def held(s: DecisionContext) -> Decision | None:
    """The wait of a row that a later check continues: a claim that has not run out, or a delay that ARM asked for."""
    last = s.last
    if last is None or last.outcome.final or last.waiting_for is None or last.waiting_for not in _HOLDING:
        return None
    if last.waiting_for is WaitingFor.OPERATION and not last.error_code:
        return None  # it waits for somebody else's write, and this read shows whether that has ended
    if last.waiting_for is WaitingFor.INSTALL and s.drift:
        return None  # our request has ended, and somebody has overwritten it since
    return unfinished(s.retry)


def unfinished(retry: RetryState) -> Wait | None:
    """The wait that the row tells of, until its moment; None once that is over, or if the row does not wait."""
    last = retry.last
    if last is None or last.waiting_for is None or last.next_attempt_at is None or last.next_attempt_at <= retry.now:
        return None
    return Wait(last.waiting_for, last.waiting_since or retry.now, last.next_attempt_at, last.reason, problem_in(last))


def exhausted(s: DecisionContext) -> Decision | None:
    if s.last is None or s.last.outcome.final or s.attempts < MOST_ATTEMPTS:
        return None
    if (problem := problem_in(s.last)) is not None:
        return Stop(Outcome.FAILED, f"gave up after {s.attempts} requests: {problem.meaning}", problem)
    return failed(s, Cause.UNKNOWN, f"gave up: ARM took {s.attempts} requests and the extension is still not there")


def problem_in(last: Row) -> Problem | None:
    """The problem in the row's error columns; None without one. Its cause counts as unknown: what was found earlier
    opens no circuit breaker again."""
    if not last.error_code:
        return None
    return Problem(last.error_code, Cause.UNKNOWN, last.error_meaning, last.advice, last.message, last.cause)


def install(s: DecisionContext, reason: str, *, force: bool = False) -> Act:
    present, last = s.extension, s.last
    name = present.name if present else _free_name(s)
    if last is None or last.outcome.final:
        return Act(name, 1, force, reason)
    unanswered = last.waiting_for is WaitingFor.CLAIM and present is None and s.retry.resend
    return Act(name, max(s.attempts, 1) if unanswered else s.attempts + 1, force, reason)


def undoing(s: DecisionContext) -> bool:
    """Whether what we installed was removed or changed by somebody else, and we have not asked to undo that yet."""
    last = s.last
    if last is None or not (last.outcome is Outcome.INSTALLED or (last.was_ours and last.attempt == 0)):
        return False
    return s.extension is None or read_extension_state(s.extension) is ExtensionState.SUCCEEDED


def undone(last: Row | None, now: datetime) -> tuple[datetime, ...]:
    """When, within the last seven days, somebody undid what we did; a time that cannot be read is left out."""
    found = []
    for text in last.undone_at.split() if last else ():
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo and now - moment < _CONTEST_WINDOW:
                found.append(moment)
    return tuple(found)


def _free_name(s: DecisionContext) -> str:
    """The entry's resource name; its type if somebody else's extension already has that name."""
    taken = {extension.name.lower() for extension in s.facts.extensions}
    return s.entry.type if s.entry.resource_name.lower() in taken else s.entry.resource_name


def failed(s: DecisionContext, cause: Cause, reason: str) -> Stop:
    known = s.entry.errors.causes[cause]
    return Stop(Outcome.FAILED, reason, Problem(cause, cause, known.meaning, known.advice))


def gave_up(s: DecisionContext, cause: Cause, reason: str) -> Stop:
    since = s.last.waiting_since if s.last else None
    return failed(s, cause, f"{reason} (waited since {since:%Y-%m-%d %H:%M} UTC)" if since else reason)
