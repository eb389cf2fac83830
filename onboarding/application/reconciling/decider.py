"""The decision on one policy for one machine, held back by circuit breakers and rollout limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import replace
from datetime import datetime

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.pauses import Pauses
from onboarding.application.limits.rollout_limits import RolloutLimits
from onboarding.application.reconciling.reconciliation import PolicyTarget, Reconciliation
from onboarding.application.rules import Rules, decision_context, identity_states, with_identity_state
from onboarding.domain.failures.classification import classify
from onboarding.domain.limits.rollout_limit import RolloutBlock, spread
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.policy.policy import Assignment, Policy, PolicySet
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, Decision, RetryState, Stop, Wait
from onboarding.domain.reconcile.drift import Reason
from onboarding.domain.reconcile.retry import MOST_SENDS, after_unread
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.sent_steps import SENT_STEPS
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.taking_up import depends_on_first_seen, existing_machine
from onboarding.domain.resource_id import VmId


class Decider:
    """Pure decisions, held back where a person has paused the request, a breaker is open or a limit is reached."""

    def __init__(self, rules: Rules, pauses: Pauses, breakers: CircuitBreakers, rollouts: RolloutLimits) -> None:
        self._rules = rules
        self._pauses = pauses
        self._breakers = breakers
        self._rollouts = rollouts

    async def decide(self, target: PolicyTarget) -> Decision:
        """The decision on one target. A request waits instead for the end of a pause, for an open circuit breaker or
        for the rollout limit. Raises StorageError."""
        decision = decide(target.context)
        if isinstance(decision, Stop) and decision.outcome is Outcome.UNDETERMINED:
            return self._wait_if_unread(target, decision)
        if not isinstance(decision, Act):
            return decision
        work, retry, step = target.work, target.context.retry, SENT_STEPS[decision.step]
        # First of all, so that a request that is not sent uses up neither a probe nor an install of the hour.
        if not work.despite_pause and (pause := await self._pauses.find(work.vm, target.policies(decision.step))):
            return pause.wait(work.vm, retry)
        cleared = target.extension in work.cleared
        if decision.step is StepKind.REMOVAL:
            cleared = work.request is not None  # a person's request probes every breaker
        if not cleared or decision.step is StepKind.IDENTITY:
            key, settings = step.breaker_key(target.context)
            breaker = await self._breakers.find_open(work.vm, key, settings, work.now)
            if breaker is not None:
                return breaker.wait(work.vm, retry)
        if not step.CHANGES_EXTENSION:
            return decision  # the rollout limit counts changes of extensions alone
        name = target.context.assignment.policy.name
        blocked = await self._rollouts.count_install(name, work.vm, work.now, requested=work.request is not None)
        return decision if blocked is None else _wait_for_rollout(retry, blocked, work.vm)

    def _wait_if_unread(self, target: PolicyTarget, decision: Stop) -> Decision:
        """The decision, or a wait if it rests on a container that could not be read."""
        assignment = target.context.assignment
        error = target.work.unread.get(assignment.unread) if assignment.undecided else None
        if error is None:
            return decision
        failure = classify(error.evidence, target.context.entry.errors, target.work.now)
        return after_unread(target.context, failure, error.evidence.http_status, error.evidence.text)

    async def record_failure[D: Decision](self, target: PolicyTarget, decision: D) -> D | Wait:
        """Open a circuit breaker if the decision says that the problem is not this VM's alone; returns the decision,
        with the moment that the breaker gives the VM."""
        work, context = target.work, target.context
        sent = context.last.sent_digest if context.last else ""
        settings = sent or context.settings_digest
        now_sent = context.settings if settings == context.settings_digest else None
        return await self._breakers.record_failure(
            work.vm, target.extension, settings, decision, context.retry, sent=now_sent
        )

    def targets(
        self,
        work: Reconciliation,
        facts: MachineFacts,
        assignments: Iterable[Assignment],
        first_seen: Mapping[str, datetime],
    ) -> list[PolicyTarget]:
        """The assignments, with all that the decisions on them rest on. The identities that their policies want are
        planned together, and settings may name the identity that serves. `first_seen` has the time of each policy for
        which `asks_for_first_seen` is true, by the policy's name; a policy that it lacks counts as seen now."""
        targets = {each.policy.extension: self._target(work, facts, each, first_seen) for each in assignments}
        if not any(target.context.needs.identity for target in targets.values()):
            return list(targets.values())
        own = work.known.machine.row if work.known.machine and work.request is None else None
        seen = frozenset(own.identities.split() if own else ())
        refused = frozenset(own.refused_identities.split() if own else ())
        contexts = [target.context for target in targets.values()]
        for extension, state in identity_states(facts, contexts, seen=seen, refused=refused).items():
            target = targets[extension]
            context, settings = with_identity_state(self._rules, target.context, target.settings, state)
            targets[extension] = PolicyTarget(work, context, settings)
        return list(targets.values())

    def _target(
        self, work: Reconciliation, facts: MachineFacts, assignment: Assignment, first_seen: Mapping[str, datetime]
    ) -> PolicyTarget:
        """One policy's assignment, with all that the decision on it rests on."""
        extension = assignment.policy.extension
        claim = work.claim
        resend = claim is not None and claim.target == extension and claim.sends < MOST_SENDS
        last = work.last(extension, facts.vm_id)
        if last is not None and last.waiting_for is WaitingFor.SCOPE_BREAKER and extension in work.cleared:
            last = replace(last, next_attempt_at=work.now)  # its breaker holds it back no longer
        retry = RetryState(last, assignment.policy.waits, work.now, resend, work.checks)
        existing = None
        if asks_for_first_seen(work, facts, assignment):
            existing = existing_machine(facts, first_seen.get(assignment.policy.name, work.now))
        context, settings = decision_context(
            self._rules, facts, assignment, retry, work.request_for(assignment.policy), work.definition, existing
        )
        swept = work.requested_because == Reason.OUTDATED or work.request is not None
        caller = work.trigger.caller if extension in (work.reopens or ()) else ""
        return PolicyTarget(work, replace(context, swept=swept, caller=caller), settings)

    async def close_after_read(self, work: Reconciliation, policies: PolicySet) -> None:
        """Close the breakers that machines of an unknown operating system wait for: only a failed read opens one, and
        this machine was read. Raises StorageError."""
        for policy in policies.policies:
            stored = work.stored.get(policy.open_target)
            if stored is not None and stored.row.waiting_for is WaitingFor.SCOPE_BREAKER:
                digest = stored.row.sent_digest
                await self._breakers.close_on_success(
                    work.vm, policy.open_target, digest, work.now, work.now, installed=True
                )

    async def check_breakers(
        self, work: Reconciliation, wanted: Sequence[Policy]
    ) -> tuple[frozenset[str], Sequence[Row] | None]:
        """Look for the open breakers that rows of this machine wait for, before the machine is read.

        Returns the extensions whose breaker is closed or probed now, and the rows that wait on. The rows are None if
        the machine must be read: if any row does not wait for an open breaker."""
        # A list in the order of the rows: the order of a set of texts differs from process to process.
        waiting = [e for e, stored in work.stored.items() if stored.row.waiting_for is WaitingFor.SCOPE_BREAKER]
        if not waiting or work.request is not None or any(work.stored[extension].row.step for extension in waiting):
            return frozenset(), None
        policies = {policy.extension: policy for policy in wanted}
        cleared, rows = set[str](), []
        for extension in waiting:
            row, policy = work.stored[extension].row, policies.get(extension)
            if policy is None:
                cleared.add(extension)
                continue
            # One probe at a time: the request of another extension would wait for the end of the first.
            probe = not cleared
            breaker = await self._breakers.find_open(work.vm, extension, row.sent_digest, work.now, probe=probe)
            if breaker is None:
                cleared.add(extension)
                continue
            retry = RetryState(row, policy.waits, work.now)
            rows.append(work.unread_row(policy, breaker.wait(work.vm, retry)))
        if cleared or len(waiting) < len(work.stored):
            return frozenset(cleared), None
        return frozenset(), rows


def asks_for_first_seen(work: Reconciliation, facts: MachineFacts, assignment: Assignment) -> bool:
    """Whether the decision depends on when the policy was first seen. A person's request takes the machine up."""
    if work.request_for(assignment.policy) is not None or not assignment.selected:
        return False
    last = work.last(assignment.policy.extension, facts.vm_id)
    return depends_on_first_seen(assignment.policy, facts, last, work.now)


def _wait_for_rollout(retry: RetryState, blocked: RolloutBlock, vm: VmId) -> Wait | Stop:
    later = retry.wait(WaitingFor.ROLLOUT_LIMIT, blocked.reason)
    if later is None:
        return Stop(Outcome.FAILED, f"gave up: {blocked.reason}")
    planned = retry.last is not None and retry.last.next_attempt_at == later.until
    return later if planned or blocked.until is None else replace(later, until=spread(blocked.until, vm))
