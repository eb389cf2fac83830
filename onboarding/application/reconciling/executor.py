"""Sends an install to ARM: claim the write, send one PUT, record ARM's answer.

The scheduled check and the claim are written before the request is sent. After a crash at any line, the check finishes
the job. The claim is part of the machine's own row, so a machine has at most one write in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import replace
from datetime import datetime

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.pauses import Sender
from onboarding.application.ports import Clock
from onboarding.application.reconciling.reconciliation import PolicyTarget, Reconciliation
from onboarding.application.reconciling.recorder import Recorder
from onboarding.domain.errors import ArmError, LostRace, StorageError
from onboarding.domain.failures.classification import Cause, classify, is_the_callers
from onboarding.domain.failures.evidence import NO_TOKEN, Evidence
from onboarding.domain.limits.pause import Pause
from onboarding.domain.machine.machine_identity import SYSTEM
from onboarding.domain.reconcile.change import Answer, Change
from onboarding.domain.reconcile.decision import Act, DecisionContext, IdentityState, RetryState, Stop, Wait
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.retry import after_refusal, problem_of, proves_gone
from onboarding.domain.reconcile.row import Row, WaitingFor
from onboarding.domain.reconcile.row_builder import claim_of, requested, row_of, unanswered
from onboarding.domain.reconcile.steps.combining import Associated
from onboarding.domain.reconcile.steps.sent_steps import SENT_STEPS
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.request_id import request_id
from onboarding.domain.resource_id import fold_id
from onboarding.logging import bound, logger

_log = logger(__name__)

_REFUSALS = range(400, 500)
# The errors after which ARM may have the request although no answer came back.
_MAYBE_SENT = (
    "ServiceRequestError",
    "ServiceResponseError",
    "ServiceResponseTimeoutError",
    "IncompleteReadError",
    "TimeoutError",
)


class Executor:
    """Carries out `Act` decisions."""

    def __init__(self, sender: Sender, recorder: Recorder, breakers: CircuitBreakers, clock: Clock) -> None:
        self._sender = sender
        self._recorder = recorder
        self._breakers = breakers
        self._clock = clock

    def claim_row(self, target: PolicyTarget, install: Act, associated: Sequence[Associated] = ()) -> Row:
        """The row that says that the request is claimed."""
        work, context = target.work, target.context
        ends = work.now + context.retry.waits[WaitingFor.CLAIM].first
        claim = claim_of(context, install, ends, work.event_key, associated)
        return replace(claim, client_request_id=_request_id(target, install))

    async def install(
        self,
        target: PolicyTarget,
        install: Act,
        claim: Row,
        machine: MachineRow,
        others: Sequence[Row],
        associated: Sequence[Associated] = (),
    ) -> Reconciliation | None:
        """Claim the request of a step, send it, and record ARM's answer.

        `others` are the rows of the machine's other extensions, written with the claim; `associated` is what the
        target's associations came to in this pass. Returns the work with the new
        rows if ARM certainly refused or the request was not sent, so that another extension can be installed now; else
        None.

        Raises LostRace if another worker has claimed the machine, StorageError if the claim could not be written or
        it cannot be read whether the request is paused, and ArmError if ARM refuses a person: then the claim is taken
        back."""
        work, context = target.work, target.context
        tag = f"try-{install.attempt}-{context.now:%Y%m%d%H%M%S}" if install.force else ""
        request = SENT_STEPS[install.step].arm_request(context, install, work.vm, target.settings, tag)
        unclaimed = replace(machine, claim=None)
        machine = replace(machine, claim=_claim(target, install, tag))
        if install.step is StepKind.IDENTITY:
            machine = replace(machine, identities=" ".join(sorted(context.facts.identity.names)))
        change = _change(target, install, claim, self._clock())
        claimed = await self._recorder.claim(work, machine, claim, others, change)
        target = _with_answer(target, claimed, change, Answer.NOT_SENT)
        refused = False
        try:
            with bound(
                policy=claim.policy,
                target=claim.extension,
                step=install.step,
                client_request_id=claim.client_request_id,
            ):
                sent = await self._sender.send(
                    work.vm, request, target.policies(install.step), despite_pause=work.despite_pause
                )
        except ArmError as error:
            if work.personal and self._is_the_callers(context, error):
                # A person's missing right is no fact about the machine: the app's identity may have the right.
                await self._recorder.undo(work, claimed, target.extension, change)
                raise
            target = _with_answer(target, claimed, change, Answer.of_error(error.evidence), error.evidence)
            row = await self._row_after_refusal(target, install, error, claim, associated)
            machine = replace(machine, refused_identities=_refused_identities(machine, target, install, error))
            refused = error.evidence.http_status in _REFUSALS and not row.in_flight
        else:
            if isinstance(sent, Pause):
                return await self._release(target, unclaimed, sent, associated)
            target = _with_answer(target, claimed, change, Answer.ACCEPTED)
            if target.extension in work.cleared or install.step is not StepKind.EXTENSION:
                now = self._clock()
                key, settings = SENT_STEPS[install.step].breaker_key(context)
                await self._breakers.close_on_success(work.vm, key, settings, now, now, installed=False)
            protected = context.protected_digest if install.step is StepKind.EXTENSION else ""
            row = requested(claim, f"ARM accepted the request ({install.reason})", self._clock(), protected)
        try:
            written = await self._record(target, machine, row, context.last)
        except StorageError as error:
            # ARM has the request, and the claim's check is scheduled: it will read the result from ARM.
            _log.about(row).error("the request could not be recorded: %s", error)
            return None
        return written if refused else None

    async def _release(
        self, target: PolicyTarget, machine: MachineRow, pause: Pause, associated: Sequence[Associated]
    ) -> Reconciliation | None:
        """Give up the claim of a request that was not sent, since a person has paused it meanwhile: the row says what
        it would say without the claim. Returns the work with it. Raises StorageError: then the claim's own check ends
        the claim."""
        work, context = target.work, target.context
        row = row_of(context, pause.wait(work.vm, context.retry), work.event_key, associated)
        try:
            return await self._recorder.record(work, machine, [row], again=True, before_claim=context.last)
        except LostRace:
            return None  # another worker has written the rows since, and whoever it was has seen the claim

    def _is_the_callers(self, context: DecisionContext, error: ArmError) -> bool:
        return is_the_callers(error.evidence, classify(error.evidence, context.entry.errors, self._clock()))

    async def _row_after_refusal(
        self, target: PolicyTarget, install: Act, error: ArmError, claim: Row, associated: Sequence[Associated]
    ) -> Row:
        """The row after ARM refused or did not answer.

        A refusal that means "not now" does not count as an attempt. A request with an unknown effect does."""
        context, now = target.context, self._clock()
        failure = classify(error.evidence, context.entry.errors, now)
        if failure.cause is Cause.IDENTITY_REFUSED and _named_in(error, context.identity) and not _several(context):
            failure = replace(failure, scope_wide=True)  # every machine that is to get this identity is refused
        if _maybe_sent(error.evidence):
            return unanswered(claim, problem_of(failure, error.evidence.text))
        retry = replace(context.retry, now=now)
        decision = after_refusal(retry, failure, error.evidence.text)
        if proves_gone(failure):  # only a read of the machine proves that it is gone, not a refused install
            decision = retry.wait_on(WaitingFor.OPERATION, failure.meaning, problem_of(failure, error.evidence.text))
        if not target.work.personal:
            key, settings = SENT_STEPS[install.step].breaker_key(context)
            named = SENT_STEPS[install.step].sent(context)
            decision = await self._breakers.record_failure(target.work.vm, key, settings, decision, retry, sent=named)
        row = _row_after_claim(context, claim, decision, associated)
        if context.last is not None and context.update is not None and row.waiting_for is not WaitingFor.SCOPE_BREAKER:
            row = replace(row, sent_digest=context.last.sent_digest)  # what is there is still what we sent before
        if not isinstance(decision, Wait):
            return row
        sent = error.evidence.code not in NO_TOKEN
        least = 1 if sent and decision.waiting_for is WaitingFor.PLATFORM else 0
        return replace(row, attempt=max(least, claim.attempt - 1))

    async def _record(
        self, target: PolicyTarget, machine: MachineRow, row: Row, before: Row | None
    ) -> Reconciliation | None:
        """Write the row; returns the work with it, or None if another worker wrote first.

        A row that says the same as `before`, such as that of a failed probe, gets no line of history."""
        if not row.in_flight:
            machine = replace(machine, claim=None)
        try:
            return await self._recorder.record(target.work, machine, [row], again=True, before_claim=before)
        except LostRace:
            # The install's own event was handled first and wrote the newer row: only the line of history is missing.
            await self._recorder.append(target.work, row)
            return None


def _several(context: DecisionContext) -> bool:
    return context.identity is not None and len(context.identity.added) > 1


def _named_in(error: ArmError, identity: IdentityState | None) -> list[str]:
    """The identities of our request that a refusal names, folded."""
    text = error.evidence.text.lower()
    added = map(fold_id, identity.added if identity else ())
    return [each for each in added if each != SYSTEM and each in text]


def _refused_identities(machine: MachineRow, target: PolicyTarget, install: Act, error: ArmError) -> str:
    """With several identities in one request, those that the refusal names: the next attempt goes without them."""
    if install.step is not StepKind.IDENTITY or not _several(target.context):
        return machine.refused_identities
    return " ".join(sorted({*machine.refused_identities.split(), *_named_in(error, target.context.identity)}))


def _claim(target: PolicyTarget, install: Act, tag: str) -> Claim:
    context, work = target.context, target.work
    before = work.known.machine.row.claim if work.known.machine else None
    same = before is not None and (before.target, before.step, before.attempt) == (
        target.extension,
        install.step.value,
        install.attempt,
    )
    last = context.last
    resent = before is not None and same and last is not None and last.waiting_for is WaitingFor.CLAIM
    return Claim(
        target=target.extension,
        step=install.step.value,
        attempt=install.attempt,
        digest=SENT_STEPS[install.step].claim_digest(context, install, tag),
        at=work.now,
        trigger=work.trigger.id,
        sends=before.sends + 1 if before is not None and resent else 1,
    )


def _request_id(target: PolicyTarget, install: Act) -> str:
    """The client-request-id. An attempt that is sent again, since nobody answered, keeps its own."""
    last, work = target.context.last, target.work
    resent = last is not None and (last.waiting_for, last.attempt) == (WaitingFor.CLAIM, install.attempt)
    if last is not None and resent and (last.step or StepKind.EXTENSION) == install.step:
        before = last.client_request_id
    else:
        before = ""
    return before or request_id(work.trigger.id, str(work.vm), f"{install.step}/{target.extension}/{install.attempt}")


def _change(target: PolicyTarget, install: Act, claim: Row, at: datetime) -> Change:
    """The line of history of the request, as it stands until ARM has answered."""
    identity = target.context.identity if install.step is StepKind.IDENTITY else None
    subject = " ".join(identity.added) if identity is not None else install.name
    change = target.change(install.step, subject, install.reason, at, claim.client_request_id)
    return replace(change, attempt=install.attempt)


def _with_answer(
    target: PolicyTarget, claimed: Reconciliation, change: Change, answer: Answer, evidence: Evidence | None = None
) -> PolicyTarget:
    """The target after the claim, with what is to be recorded of its request."""
    return replace(target, work=replace(claimed, sent=(change.answered(answer, evidence),)))


def _maybe_sent(evidence: Evidence) -> bool:
    return evidence.http_status is None and evidence.code in _MAYBE_SENT


def _row_after_claim(
    context: DecisionContext, claim: Row, decision: Wait | Stop, associated: Sequence[Associated]
) -> Row:
    """The row for a decision after the claim, in the same episode."""
    claimed = replace(context, retry=RetryState(claim, context.retry.waits, context.now))
    return row_of(
        claimed, decision, (claim.event_id, claim.event_time or context.now, claim.correlation_id), associated
    )
