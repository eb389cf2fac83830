"""Asking ARM for an extension: claim the write, send one PUT, record how ARM took it.

The check that will close the row is scheduled and the write is claimed before ARM is asked, so a crash at any line
leaves something written down that finishes the job. The claim stands in the machine's own row: one write of a machine
is in flight at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import replace

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.ports import Arm, Clock
from onboarding.application.reconciling.reconciliation import PolicyTarget, Reconciliation
from onboarding.application.reconciling.recorder import Recorder, with_written_rows
from onboarding.domain.catalog.catalogue_entry import extension_body
from onboarding.domain.errors import ArmError, LostRace, StorageError
from onboarding.domain.failures.classification import classify, is_the_callers
from onboarding.domain.failures.evidence import NO_TOKEN, Evidence
from onboarding.domain.json_access import digest
from onboarding.domain.reconcile.decision import Act, DecisionContext, RetryState, Stop, Wait
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.retry import after_refusal, problem_of, proves_gone
from onboarding.domain.reconcile.row import Row, WaitingFor
from onboarding.domain.reconcile.row_builder import claim_of, requested, row_of, unanswered

_log = logging.getLogger(__name__)

_REFUSALS = range(400, 500)
# The request may have reached ARM although no answer came back.
_MAYBE_SENT = (
    "ServiceRequestError",
    "ServiceResponseError",
    "ServiceResponseTimeoutError",
    "IncompleteReadError",
    "TimeoutError",
)


class Executor:
    """Carries out `Install` decisions."""

    def __init__(self, arm: Arm, recorder: Recorder, breakers: CircuitBreakers, clock: Clock) -> None:
        self._arm = arm
        self._recorder = recorder
        self._breakers = breakers
        self._clock = clock

    def claim_row(self, target: PolicyTarget, install: Act) -> Row:
        """The row that claims the install."""
        work, context = target.work, target.context
        ends = work.now + context.retry.waits[WaitingFor.CLAIM].first
        return claim_of(context, install, ends, work.event_key)

    async def install(
        self, target: PolicyTarget, install: Act, claim: Row, machine: MachineRow, others: Sequence[Row]
    ) -> Reconciliation | None:
        """Send one request; `others` are what this pass says of the machine's other extensions. Where ARM surely did
        not take it, the visit that may go on with these.

        Raises LostRace when another worker has the machine, StorageError when nothing could be claimed, and ArmError
        where a person may not ask for it: then nothing has changed."""
        work, context = target.work, target.context
        tag = f"try-{install.attempt}-{context.now:%Y%m%d%H%M%S}" if install.force else ""
        body = extension_body(
            context.entry, context.facts.location, target.settings.public, target.settings.protected, tag
        )
        machine = replace(machine, claim=_claim(target, install, tag))
        versions = await self._recorder.claim(work, machine, claim, others)
        target = replace(target, work=with_written_rows(work, machine, versions, [claim, *others]))
        refused = False
        try:
            await self._arm.start_install(work.vm, install.name, body)
        except ArmError as error:
            if work.personal and self._is_the_callers(context, error):
                # What a person may not do is no truth about the machine: the app's own identity may well do it.
                free = replace(machine, claim=None)
                await self._recorder.undo(work, free, versions, target.extension)
                raise
            row = await self._row_after_refusal(target, error, claim)
            refused = error.evidence.http_status in _REFUSALS and not row.in_flight
        else:
            if target.extension in work.cleared:
                now = self._clock()
                await self._breakers.close_on_success(
                    work.vm, target.extension, claim.sent_digest, now, now, installed=False
                )
            row = requested(claim, f"ARM accepted the request ({install.reason})", self._clock())
        try:
            written = await self._record(target, machine, row, context.last)
        except StorageError as error:
            # ARM has the request, and the claim's check is scheduled: it settles from what ARM says.
            _log.warning("%s %s: the request could not be recorded: %s", work.vm.name, target.extension, error)
            return None
        return written if refused else None

    def _is_the_callers(self, context: DecisionContext, error: ArmError) -> bool:
        return is_the_callers(error.evidence, classify(error.evidence, context.entry.errors, self._clock()))

    async def _row_after_refusal(self, target: PolicyTarget, error: ArmError, claim: Row) -> Row:
        """A refusal that says "not now" is no attempt; one whose effect is unknown may have been the first."""
        context, now = target.context, self._clock()
        failure = classify(error.evidence, context.entry.errors, now)
        if _maybe_sent(error.evidence):
            return unanswered(claim, problem_of(failure, error.evidence.text))
        retry = replace(context.retry, now=now)
        decision = after_refusal(retry, failure, error.evidence.text)
        if proves_gone(failure):  # of the machine, only a read of it does
            decision = retry.wait_on(WaitingFor.OPERATION, failure.meaning, problem_of(failure, error.evidence.text))
        if not target.work.personal:
            await self._breakers.record_failure(
                target.work.vm, target.extension, claim.sent_digest, decision, now, sent=context.settings
            )
        row = _row_after_claim(context, claim, decision)
        if not isinstance(decision, Wait):
            return row
        sent = error.evidence.code not in NO_TOKEN
        least = 1 if sent and decision.waiting_for is WaitingFor.PLATFORM else 0
        return replace(row, attempt=max(least, claim.attempt - 1))

    async def _record(
        self, target: PolicyTarget, machine: MachineRow, row: Row, before: Row | None
    ) -> Reconciliation | None:
        """The visit after it; None where somebody else goes on. A request that came to nothing but the same wait again,
        such as the probe of a pause, is no line of history."""
        if not row.in_flight:
            machine = replace(machine, claim=None)
        try:
            versions = await self._recorder.record(target.work, machine, [row], again=True, before_claim=before)
        except LostRace:
            # The install's own event overtook us and wrote the truth; only the history is ours to complete.
            await self._recorder.append(target.work, row)
            return None
        return with_written_rows(target.work, machine, versions, [row]) if versions else None


def _claim(target: PolicyTarget, install: Act, tag: str) -> Claim:
    context, work = target.context, target.work
    before = work.known.machine.row.claim if work.known.machine else None
    same = before is not None and (before.target, before.attempt) == (target.extension, install.attempt)
    last = context.last
    resent = before is not None and same and last is not None and last.waiting_for is WaitingFor.CLAIM
    return Claim(
        target=target.extension,
        step="extension",
        attempt=install.attempt,
        digest=digest([install.name, context.entry.version, context.settings_digest, tag]),
        at=work.now,
        trigger=work.trigger.id,
        sends=before.sends + 1 if before is not None and resent else 1,
    )


def _maybe_sent(evidence: Evidence) -> bool:
    return evidence.http_status is None and evidence.code in _MAYBE_SENT


def _row_after_claim(context: DecisionContext, claim: Row, decision: Wait | Stop) -> Row:
    """The row that follows the claim: its episode goes on."""
    claim_row = replace(context, retry=RetryState(claim, context.retry.waits, context.now))
    return row_of(claim_row, decision, (claim.event_id, claim.event_time or context.now, claim.correlation_id))
