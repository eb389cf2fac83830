"""Records the rows of a machine that ARM did not let us read: they wait, end, or become `Gone`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.ports import Arm, ReconcileRequest
from onboarding.application.reconciling.orphaned_rows import end_unread
from onboarding.application.reconciling.reconciliation import DELETION, UNCONFIRMED, Reconciliation
from onboarding.application.reconciling.recorder import Recorder
from onboarding.application.rules import Rules
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.classification import (
    Cause,
    ErrorTable,
    Failure,
    classify,
    is_the_callers,
    parse_errors,
)
from onboarding.domain.failures.evidence import NO_TOKEN
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.decision import RetryState
from onboarding.domain.reconcile.drift import Reason
from onboarding.domain.reconcile.retry import after_refusal, proves_gone
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.reconcile.row_builder import closed

_SECOND_READ_AFTER = timedelta(days=1)
_MAY_BE_GONE = (DELETION, UNCONFIRMED, Reason.GONE)


class UnreadMachine:
    """Records the rows after a failed read of the machine."""

    def __init__(self, arm: Arm, rules: Rules, breakers: CircuitBreakers, recorder: Recorder) -> None:
        self._arm = arm
        self._rules = rules
        self._breakers = breakers
        self._recorder = recorder

    @cached_property
    def _errors(self) -> ErrorTable:
        """The error table of ARM itself, without those of extensions."""
        return parse_errors({}, self._rules.reference.errors())

    async def record(
        self, work: Reconciliation, wanted: Sequence[Policy], orphaned_rows: Sequence[tuple[Row, Row]], error: ArmError
    ) -> None:
        """Write the rows of every policy that may want something on the VM: they wait, or become `Gone`.

        Raises the ArmError for a person whose login or right is missing, or whose VM has no rows; LostRace and
        StorageError."""
        failure = self.judge(error, work)
        if work.personal and (is_the_callers(error.evidence, failure) or not work.stored):
            raise error  # a mistyped name makes no row, and a person's missing right is no fact about the machine
        gone = proves_gone(failure)
        if (
            not gone
            and (work.deletion or work.requested_because in _MAY_BE_GONE)
            and await self._keep_unconfirmed(work, failure)
        ):
            return
        rows = [end_unread(row, ended, work) for row, ended in orphaned_rows]
        if gone:
            why = "the VM was deleted" if work.deletion else "ARM knows no such VM any more"
            rows = _gone_rows(work, why)
            wanted = [policy for policy in wanted if work.created and policy.extension not in work.stored]
        for policy in wanted:
            if not work.concerns(policy):
                continue
            last = work.last(policy.extension)
            if last is not None and last.in_flight and last.next_attempt_at and last.next_attempt_at > work.now:
                continue  # the request is in flight, and its scheduled check reads it
            if last is not None and last.outcome is Outcome.GONE and work.requested_because in _MAY_BE_GONE:
                continue  # another event reported the deletion first
            if last is not None and last.outcome.final and not work.may_reopen(policy.extension):
                continue
            entry = self._rules.catalogue.get(policy.extension)
            failure_of_entry = classify(error.evidence, entry.errors if entry else self._errors, work.now)
            retry = RetryState(last, policy.waits, work.now, checks=work.checks)
            decision = after_refusal(retry, failure_of_entry, error.evidence.text)
            if not work.personal:
                settings = last.sent_digest if last else ""
                decision = await self._breakers.record_failure(work.vm, policy.extension, settings, decision, retry)
            rows.append(work.unread_row(policy, decision))
        await self._recorder.record(work, work.machine_row(rows=rows), rows)

    async def _keep_unconfirmed(self, work: Reconciliation, failure: Failure) -> bool:
        """Handle a VM that is reported as deleted and cannot be read; False if the normal way applies.

        When a resource group is deleted, our role on it goes with it, so ARM answers "not authorized". That opens no
        circuit breaker. The rows become `Gone` only after a second read a day later, or when the list of the
        subscription no longer has the VM."""
        if failure.cause is not Cause.NOT_AUTHORIZED or failure.code in NO_TOKEN:
            if work.deletion:
                await self._recorder.check_deletion(work)
            return work.deletion
        rows = []
        if work.requested_because == UNCONFIRMED:
            why = "gone (unconfirmed): an event reported its deletion, and for a day ARM has not let us read it"
            rows = _gone_rows(work, why)
        elif work.requested_because == Reason.GONE and await self._is_visible(work.vm.subscription):
            rows = _gone_rows(
                work, "gone (unconfirmed): its subscription does not list it, and ARM does not let us read it"
            )
        elif _gone_rows(work, ""):
            await self._recorder.schedule(ReconcileRequest(work.vm, UNCONFIRMED, work.now + _SECOND_READ_AFTER), work)
        await self._recorder.record(work, work.machine_row(rows=rows), rows)
        return True

    async def _is_visible(self, subscription: str) -> bool:
        """Whether ARM shows us the subscription; without that, a VM missing from its list proves nothing."""
        try:
            await self._arm.check_access(subscription)
        except ArmError:
            return False
        return True

    def judge(self, error: ArmError, work: Reconciliation) -> Failure:
        """Classify an error of ARM by ARM's own error table."""
        return classify(error.evidence, self._errors, work.now)


def _gone_rows(work: Reconciliation, why: str) -> list[Row]:
    """The rows that are not `Gone` yet, ended as `Gone` with that reason."""
    rows = [stored.row for stored in work.stored.values() if stored.row.outcome is not Outcome.GONE]
    return [closed(row, Outcome.GONE, why, work.now) for row in rows]
