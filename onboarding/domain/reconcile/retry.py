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
    ExtensionState,
    Failure,
    FailureClass,
    read_extension_state,
)
from onboarding.domain.limits.rate_limiter import HELD_BACK
from onboarding.domain.machine.resource_containers import RIGHTS, id_of
from onboarding.domain.reconcile.decision import Decision, DecisionContext, Problem, RetryState, Stop, Wait
from onboarding.domain.reconcile.row import NO_PROBLEM, Outcome, Row, WaitingFor

MOST_ATTEMPTS = 5
MOST_SENDS = 2  # of one attempt: a request that nobody answered is sent again once
_FORBIDDEN = 403
_CONTEST_WINDOW = timedelta(days=7)
_MOST_UNDONE = 3

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
    roles = "VM Onboarding Machines and Reader have it"
    advice = f"Give the identity the right {right} on {scope} ({roles}), then retry the row."
    meaning = f"The identity may not read {scope}, which the policy's rule needs."
    problem = Problem(failure.code or failure.cause, failure.cause, meaning, advice, message)
    return Stop(Outcome.UNDETERMINED, f"{assignment.reason}, and ARM refuses to show it: {right} is missing", problem)


def proves_gone(failure: Failure) -> bool:
    """Whether ARM said that the VM or its resource group does not exist: nothing else ends a row as `Gone`."""
    return failure.cause is Cause.VM_GONE and failure.code.lower() in _PROVES_GONE


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


def undoing(s: DecisionContext) -> bool:
    """Whether what we installed was removed or changed by somebody else, and we have not asked to undo that yet; or
    whether what we removed was installed again."""
    last = s.last
    if s.removes:
        return last is not None and last.was_removed and last.attempt > 0 and s.extension is not None
    if last is None or not (last.outcome is Outcome.INSTALLED or (last.was_ours and last.attempt == 0)):
        return False
    if not last.outcome.final and last.client_request_id:
        return False  # a request of this episode was refused for now; its claim has counted it
    if s.extension is None:
        return True
    return read_extension_state(s.extension) is ExtensionState.SUCCEEDED and not _updating(s, last)


def _updating(s: DecisionContext, last: Row) -> bool:
    """Whether we change what we installed because the policy or the catalogue has changed, and nobody else did."""
    waits = last.update != "" and not last.outcome.final
    return waits or (s.update is not None and not s.drift)


def as_if_new(last: Row) -> Row:
    """The row as if nothing had been requested yet, for a step that the row is not about. What we had sent before
    still tells whether the extension is as we left it."""
    sent = last.sent_digest if last.was_ours else ""
    begun = replace(
        last, waiting_for=None, waiting_since=None, next_attempt_at=None, attempt=0, step="", sent_digest=sent
    )
    return replace(begun, **NO_PROBLEM)


def undone(last: Row | None, now: datetime) -> tuple[datetime, ...]:
    """When, within the last seven days, somebody undid what we did; a time that cannot be read is left out."""
    found = []
    for text in last.undone_at.split() if last else ():
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo and now - moment < _CONTEST_WINDOW:
                found.append(moment)
    return tuple(found)


def contested(s: DecisionContext) -> Decision | None:
    """Two owners who undo each other's changes would go on for ever: after the third time within a week we stop, and a
    person decides."""
    last = s.last
    if last is None or s.request is not None:
        return None
    if last.outcome is Outcome.FAILED and last.error_code == Cause.CONTESTED and not s.policy_changed:
        return failed(s, Cause.CONTESTED, last.reason)
    if len(undone(last, s.now)) + undoing(s) < _MOST_UNDONE:
        return None
    what = "somebody installed it again after our removal" if s.removes else "somebody undid our install"
    # An event of a write may be that of our own install, which somebody has overwritten since.
    by = f"by {s.caller}, " if s.caller and (s.removes or s.extension is None) else ""
    reason = f"{what} {_MOST_UNDONE} times in 7 days, most recently {by}before {s.now:%Y-%m-%d %H:%M} UTC"
    return failed(s, Cause.CONTESTED, reason)


def failed(s: DecisionContext, cause: Cause, reason: str) -> Stop:
    known = s.entry.errors.causes[cause]
    return Stop(Outcome.FAILED, reason, Problem(cause, cause, known.meaning, known.advice))


def gave_up(s: DecisionContext, cause: Cause, reason: str) -> Stop:
    since = s.last.waiting_since if s.last else None
    return failed(s, cause, f"{reason} (waited since {since:%Y-%m-%d %H:%M} UTC)" if since else reason)
