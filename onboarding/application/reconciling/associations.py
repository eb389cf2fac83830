"""Carries out the association steps of one pass: lists what is there if that is not known, and writes what is missing.

ARM answers each of these requests at once, and the same request twice changes nothing, so they need no claim: the
pass's last transaction says what they came to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import replace

from msgspec import Struct

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.limits.pauses import Pauses, Sender
from onboarding.application.ports import Arm, Clock
from onboarding.application.reconciling.reconciliation import PolicyTarget, Reconciliation
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.classification import Cause, classify
from onboarding.domain.json_access import digest
from onboarding.domain.limits.pause import Pause
from onboarding.domain.machine.machine_facts import NEW_FOR
from onboarding.domain.reconcile.change import Answer, Change
from onboarding.domain.reconcile.decision import Problem, Stop, Wait
from onboarding.domain.reconcile.existing_machines import audited
from onboarding.domain.reconcile.retry import after_refusal
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.association_step import (
    AssociationNeed,
    Associations,
    association_request,
    conflicting_endpoint,
    needs_list,
    read_associations,
)
from onboarding.domain.reconcile.steps.association_step import from_column as from_row
from onboarding.domain.reconcile.steps.combining import Associated, result_of
from onboarding.domain.reconcile.steps.step import StepKind, StepResult, StepState, from_column
from onboarding.domain.reconcile.steps.step_words import words_of, would, would_fail
from onboarding.domain.request_id import request_id
from onboarding.domain.resource_id import VmId, fold_id, name_in
from onboarding.logging import bound

OPERATION = StepKind.ASSOCIATION.value
"""What circuit breakers call these requests."""


class AssociationSteps(Struct, frozen=True):
    """What the associations of one machine came to."""

    known: Associations | None
    """What is known of them now, for the machine's own row."""
    of_targets: Mapping[str, tuple[Associated, ...]]
    """By the extension's name; targets that want none are left out."""
    sent: tuple[Change, ...] = ()
    """The writes that were sent for them, with ARM's answers."""


class AssociationWriter:
    """Writes the associations that policies want."""

    def __init__(self, arm: Arm, sender: Sender, pauses: Pauses, breakers: CircuitBreakers, clock: Clock) -> None:
        self._arm = arm
        self._sender = sender
        self._pauses = pauses
        self._breakers = breakers
        self._clock = clock

    async def write(
        self, work: Reconciliation, targets: Sequence[PolicyTarget], listed: Associations | None = None
    ) -> AssociationSteps:
        """Bring the machine to the associations that these targets want. `listed` are those that were just read; None:
        they were not. ARM's refusals are results, never raised. Raises StorageError."""
        wanting = [target for target in targets if target.associations.subjects]
        known = listed or _known(work, wanting)
        if not wanting:
            return AssociationSteps(known, {})
        needs = [_open_need(target) for target in wanting]
        refusal: ArmError | None = None
        if needs_list(needs, known, new=_is_new(work, wanting[0]), now=work.now):
            try:
                known = read_associations(await self._arm.list_associations(work.vm), self._clock())
            except ArmError as error:
                refusal = error
        held = known if known is not None and known.fresh(work.now) else Associations(self._clock(), False)
        results: dict[str, tuple[Associated, ...]] = {}
        written: dict[str, StepResult] = {}
        sent: list[Change] = []
        for target in wanting:
            done = []
            for subject in target.associations.subjects:
                endpoint = subject == target.associations.endpoint
                if refusal is not None:
                    done.append(self._after_refusal(target, subject, refusal))
                    continue
                result = await self._one(target, subject, held, written, sent, endpoint=endpoint)
                if result.result.state is StepState.DONE:
                    written[fold_id(subject)] = result.result
                    held = held.with_one(subject, endpoint=endpoint)
                done.append(result)
            results[target.extension] = tuple(done)
        return AssociationSteps(known if refusal is not None else held, results, tuple(sent))

    async def read(self, vm: VmId) -> Associations | None:
        """The machine's associations; None if ARM does not list them."""
        try:
            return read_associations(await self._arm.list_associations(vm), self._clock())
        except ArmError:
            return None

    async def _one(
        self,
        target: PolicyTarget,
        subject: str,
        held: Associations,
        written: Mapping[str, StepResult],
        changes: list[Change],
        *,
        endpoint: bool,
    ) -> Associated:
        if (there := written.get(fold_id(subject))) is not None:
            return Associated(there)
        if held.has(subject, endpoint=endpoint):
            return Associated(StepResult(StepKind.ASSOCIATION, StepState.DONE, subject))
        if endpoint and (other := conflicting_endpoint(target.associations, held)):
            return _refused(target, subject, Cause.ENDPOINT_CONFLICT, f"the machine is associated with {other}")
        if not target.context.acts:
            return _wanted(target, subject)
        if (before := _still(target, subject)) is not None:
            return before
        work, settings = target.work, digest(fold_id(subject))
        policies = target.policies(StepKind.ASSOCIATION)
        if not work.despite_pause and (pause := await self._pauses.find(work.vm, policies)) is not None:
            return _paused(target, subject, pause)  # before the breaker, so that it uses up no probe
        breaker = await self._breakers.find_open(work.vm, OPERATION, settings, work.now)
        if breaker is not None:
            decision = breaker.wait(work.vm, target.context.retry)
            return Associated(result_of(StepKind.ASSOCIATION, subject, decision), decision)
        request = association_request(work.vm, subject, endpoint=endpoint)
        identity = request_id(work.trigger.id, str(work.vm), f"{OPERATION}/{fold_id(subject)}")
        sent_at = self._clock()
        change = target.change(StepKind.ASSOCIATION, subject, _missing(subject), sent_at, identity)
        try:
            with bound(step=OPERATION, target=target.extension, client_request_id=identity):
                sent = await self._sender.send(work.vm, request, policies, despite_pause=work.despite_pause)
        except ArmError as error:
            changes.append(change.answered(Answer.of_error(error.evidence), error.evidence))
            result = self._after_refusal(target, subject, error)
            if result.decision is not None and not work.personal:
                retry = replace(target.context.retry, now=self._clock())
                decision = await self._breakers.record_failure(
                    work.vm, OPERATION, settings, result.decision, retry, sent={"id": subject}
                )
                return Associated(result_of(StepKind.ASSOCIATION, subject, decision), decision)
            return result
        if isinstance(sent, Pause):
            return _paused(target, subject, sent)
        changes.append(change.answered(Answer.ACCEPTED))
        await self._breakers.close_on_success(work.vm, OPERATION, settings, sent_at, self._clock(), installed=True)
        return Associated(
            StepResult(StepKind.ASSOCIATION, StepState.DONE, subject, ours=sent, at=sent_at if sent else None)
        )

    def _after_refusal(self, target: PolicyTarget, subject: str, error: ArmError) -> Associated:
        now = self._clock()
        failure = classify(error.evidence, target.context.entry.errors, now)
        if failure.cause is Cause.VM_GONE:
            # A rule that does not exist is refused with the same words as a machine that does not: the next read tells.
            failure = replace(failure, cause=Cause.BAD_REQUEST)
        decision = after_refusal(replace(target.context.retry, now=now), failure, error.evidence.text)
        if isinstance(decision, Stop):
            decision = replace(decision, reason=_refusal(subject, failure.meaning))
        return Associated(result_of(StepKind.ASSOCIATION, subject, decision), decision)


def _known(work: Reconciliation, wanting: Sequence[PolicyTarget]) -> Associations | None:
    """What the machine's own row says of its associations; None if it says nothing, or if it is about another machine
    or in doubt."""
    own = work.known.machine.row if work.known.machine else None
    if own is None or work.relist or (wanting and own.vm_id not in ("", wanting[0].context.facts.vm_id)):
        return None
    return from_row(own.associations)


def _is_new(work: Reconciliation, target: PolicyTarget) -> bool:
    """Whether the machine is so new that nobody but us can have associated it."""
    created = target.context.facts.time_created
    return not work.stored and created is not None and work.now - created < NEW_FOR


def _open_need(target: PolicyTarget) -> AssociationNeed:
    """What this pass has to ask for: without the associations whose earlier result still holds."""
    need = target.associations
    rules = tuple(rule for rule in need.rules if _still(target, rule) is None)
    return AssociationNeed(rules, "" if need.endpoint and _still(target, need.endpoint) else need.endpoint)


def _still(target: PolicyTarget, subject: str) -> Associated | None:
    """The result of an earlier pass of this episode that still holds: a wait that is not over, or a refusal. A person's
    request and a new episode try again."""
    last = target.context.last
    if last is None or last.outcome.final or target.work.request is not None:
        return None
    for step in from_column(last.steps):
        if step.step is not StepKind.ASSOCIATION or fold_id(step.subject) != fold_id(subject):
            continue
        problem = Problem(step.code, Cause.UNKNOWN, step.meaning, step.advice, stored_cause=step.cause)
        if step.state is StepState.REFUSED:
            return Associated(step, Stop(Outcome.FAILED, _refusal(subject, step.meaning), problem))
        if step.state is StepState.WAITING and step.until is not None and step.until > target.work.now:
            kind = last.waiting_for if last.step == StepKind.ASSOCIATION and last.waiting_for else WaitingFor.PLATFORM
            return Associated(
                step, Wait(kind, last.waiting_since or target.work.now, step.until, step.meaning, problem)
            )
    return None


def _paused(target: PolicyTarget, subject: str, pause: Pause) -> Associated:
    """What a pause makes of an association. The step has no moment until which it holds: each pass looks for the pause
    anew."""
    wait = pause.wait(target.work.vm, target.context.retry)
    return Associated(StepResult(StepKind.ASSOCIATION, StepState.WAITING, subject, meaning=wait.reason), wait)


def _missing(subject: str) -> str:
    return f"the VM is not associated with {name_in(subject)}"


def _refusal(subject: str, meaning: str) -> str:
    return f"the association with {name_in(subject)} was refused: {meaning}"


def _wanted(target: PolicyTarget, subject: str) -> Associated:
    """What an audit says of an association that is missing."""
    decision = audited(target.context, would([words_of(StepKind.ASSOCIATION, subject)]))
    return Associated(StepResult(StepKind.ASSOCIATION, StepState.WANTED, subject), decision)


def _refused(target: PolicyTarget, subject: str, cause: Cause, reason: str) -> Associated:
    known = target.context.entry.errors.causes[cause]
    decision = Stop(Outcome.FAILED, reason, Problem(cause, cause, known.meaning, known.advice))
    result = result_of(StepKind.ASSOCIATION, subject, decision)
    if target.context.existing is not None:  # nothing fails on a machine that is left alone
        decision = audited(target.context, would_fail(StepKind.ASSOCIATION, reason))
    return Associated(result, decision)
