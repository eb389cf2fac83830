"""What the rows say of a machine that ARM did not show us: they wait, end, or learn that it is gone."""

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
    """Records what follows from a read that failed."""

    def __init__(self, arm: Arm, rules: Rules, breakers: CircuitBreakers, recorder: Recorder) -> None:
        self._arm = arm
        self._rules = rules
        self._breakers = breakers
        self._recorder = recorder

    @cached_property
    def _errors(self) -> ErrorTable:
        """ARM's own, which mean the same for every extension."""
        return parse_errors({}, self._rules.reference.errors())

    async def record(
        self, work: Reconciliation, wanted: Sequence[Policy], orphaned_rows: Sequence[tuple[Row, Row]], error: ArmError
    ) -> None:
        """ARM did not give us the VM: every policy that could want something of it waits, or learns that it is gone."""
        failure = self.judge(error, work)
        if work.personal and (is_the_callers(error.evidence, failure) or not work.stored):
            raise error  # a slip of the pen is no row, and what a person may not do is no truth about the machine
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
                continue  # nothing new is known of our request, and it has its check
            if last is not None and last.outcome.final and not work.may_reopen(policy.extension):
                continue
            failure_of_entry = classify(error.evidence, self._rules.catalogue[policy.extension].errors, work.now)
            decision = after_refusal(RetryState(last, policy.waits, work.now), failure_of_entry, error.evidence.text)
            if not work.personal:
                settings = last.sent_digest if last else ""
                await self._breakers.record_failure(work.vm, policy.extension, settings, decision, work.now)
            rows.append(work.unread_row(policy, decision))
        await self._recorder.record(work, work.machine_row(rows=rows), rows)

    async def _keep_unconfirmed(self, work: Reconciliation, failure: Failure) -> bool:
        """Whether a VM that is said to be gone, and that cannot be read, is left as it is for now. Who is deleted with
        its group takes our role along: nothing is paused for that, and nothing is said before a second read a day
        later, or before the list of its subscription leaves it out."""
        if failure.cause is not Cause.NOT_AUTHORIZED or failure.code in NO_TOKEN:
            if work.deletion:
                await self._recorder.check_deletion(work)
            return work.deletion
        rows = []
        if work.requested_because == UNCONFIRMED:
            rows = _gone_rows(
                work, "gone (unconfirmed): its deletion was told, and for a day ARM has not let us read it"
            )
        elif work.requested_because == Reason.GONE and await self._is_visible(work.vm.subscription):
            rows = _gone_rows(
                work, "gone (unconfirmed): its subscription does not list it, and ARM does not let us read it"
            )
        elif _gone_rows(work, ""):
            await self._recorder.schedule(ReconcileRequest(work.vm, UNCONFIRMED, work.now + _SECOND_READ_AFTER), work)
        await self._recorder.record(work, work.machine_row(rows=rows), rows)
        return True

    async def _is_visible(self, subscription: str) -> bool:
        """Whether ARM shows us the subscription: else that its list leaves a VM out says nothing."""
        try:
            await self._arm.check_access(subscription)
        except ArmError:
            return False
        return True

    def judge(self, error: ArmError, work: Reconciliation) -> Failure:
        return classify(error.evidence, self._errors, work.now)


def _gone_rows(work: Reconciliation, why: str) -> list[Row]:
    """The rows that do not say so yet, ended since the VM is gone."""
    rows = [stored.row for stored in work.stored.values() if stored.row.outcome is not Outcome.GONE]
    return [closed(row, Outcome.GONE, why, work.now) for row in rows]
