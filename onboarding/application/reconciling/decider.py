"""The decision on one policy for one machine, held back by circuit breakers and rollout limits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import replace

from onboarding.application.limits.circuit_breakers import Pauses
from onboarding.application.limits.rollout_limits import Brakes
from onboarding.application.reconciling.reconciliation import Case, Visit
from onboarding.application.rules import Rules, situation_of
from onboarding.domain.failures.classification import classify
from onboarding.domain.limits.circuit_breaker import Pause
from onboarding.domain.limits.rollout_limit import Hold, spread
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Assignment, Policy
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Decision, Install, Pace, Skip, Wait
from onboarding.domain.reconcile.retry import MOST_SENDS, after_unread
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.resource_id import VmId


class Decider:
    """Pure decisions, held back where a breaker is open or a limit is reached."""

    def __init__(self, rules: Rules, pauses: Pauses, brakes: Brakes) -> None:
        self._rules = rules
        self._pauses = pauses
        self._brakes = brakes

    async def decide(self, case: Case) -> Decision:
        """The decision, unless its scope or settings are paused or the policy's brake holds: then the VM waits."""
        decision = decide(case.situation)
        if isinstance(decision, Skip) and decision.outcome is Outcome.UNDETERMINED:
            return self._unless_unread(case, decision)
        if not isinstance(decision, Install):
            return decision
        visit, pace = case.visit, case.situation.pace
        if case.extension not in visit.cleared:
            settings = case.situation.settings_digest
            pause = await self._pauses.blocks(visit.vm, case.extension, settings, visit.now)
            if pause is not None:
                return _wait_for_scope(pace, pause)
        hold = await self._brakes.hold(case.situation.assignment.policy.name, visit.now)
        return decision if hold is None else _wait_for_brake(pace, hold, visit.vm)

    def _unless_unread(self, case: Case, decision: Skip) -> Decision:
        """The decision, unless it rests on what ARM did not let us read."""
        said = case.situation.assignment
        error = case.visit.unread.get(said.unread) if said.undecided else None
        if error is None:
            return decision
        failure = classify(error.evidence, case.situation.entry.errors, case.visit.now)
        return after_unread(case.situation, failure, error.evidence.http_status, error.evidence.text)

    async def heed(self, case: Case, decision: Decision) -> None:
        """If the decision says that the trouble is not this VM's alone, pause what is at fault."""
        visit, situation = case.visit, case.situation
        sent = situation.last.sent_digest if situation.last else ""
        settings = sent or situation.settings_digest
        now_sent = situation.settings if settings == situation.settings_digest else None
        await self._pauses.heed(visit.vm, case.extension, settings, decision, visit.now, sent=now_sent)

    def case(self, visit: Visit, facts: MachineFacts, assignment: Assignment) -> Case:
        extension = assignment.policy.extension
        claim = visit.claim
        resend = claim is not None and claim.target == extension and claim.sends < MOST_SENDS
        pace = Pace(visit.last(extension, facts.vm_id), assignment.policy.waits, visit.now, resend)
        situation, settings = situation_of(self._rules, facts, assignment, pace, visit.asked, visit.definition)
        return Case(visit, situation, settings)

    async def probed(self, visit: Visit, wanted: Sequence[Policy]) -> tuple[frozenset[str], Sequence[Row] | None]:
        """Of the extensions that wait for a pause, those that this visit probes or whose pause is over; and the rows
        that wait on where all of the VM's do: then ARM is not asked."""
        waiting = {e for e, stored in visit.stored.items() if stored.row.waiting_for is WaitingFor.SCOPE_PAUSED}
        if not waiting or visit.asked is not None:
            return frozenset(), None
        policies = {policy.extension: policy for policy in wanted}
        cleared, rows = set[str](), []
        for extension in waiting:
            row, policy = visit.stored[extension].row, policies.get(extension)
            if policy is None:
                cleared.add(extension)
                continue
            pause = await self._pauses.blocks(visit.vm, extension, row.sent_digest, visit.now)
            if pause is None:
                cleared.add(extension)
                continue
            pace = Pace(row, policy.waits, visit.now)
            rows.append(visit.unread_row(policy, _wait_for_scope(pace, pause)))
        if cleared or len(waiting) < len(visit.stored):
            return frozenset(cleared), None
        return frozenset(), rows


def _wait_for_scope(pace: Pace, pause: Pause) -> Wait | Skip:
    trouble = pause.trouble
    later = pace.wait(WaitingFor.SCOPE_PAUSED, str(pause), trouble)
    return later or Skip(Outcome.FAILED, f"gave up: {pause}", trouble)


def _wait_for_brake(pace: Pace, hold: Hold, vm: VmId) -> Wait | Skip:
    later = pace.wait(WaitingFor.BRAKE, hold.reason)
    if later is None:
        return Skip(Outcome.FAILED, f"gave up: {hold.reason}")
    planned = pace.last is not None and pace.last.next_attempt_at == later.until
    return later if planned or hold.until is None else replace(later, until=spread(hold.until, vm))
