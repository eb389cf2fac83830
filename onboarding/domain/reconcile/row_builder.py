"""Builds the row for a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import replace
from datetime import datetime
from typing import Any

from msgspec import Struct

from onboarding.domain.failures.classification import Cause
from onboarding.domain.machine.machine_facts import InstalledExtension
from onboarding.domain.masking import cut, mask
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.decision import (
    Act,
    DecisionContext,
    OperatorRequest,
    Problem,
    Satisfied,
    Stop,
    Wait,
)
from onboarding.domain.reconcile.existing_machines import audited, extension_words
from onboarding.domain.reconcile.retry import undoing, undone
from onboarding.domain.reconcile.row import ACCEPTED, NO_PROBLEM, SENT, Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.combining import Associated, combined, steps_of
from onboarding.domain.reconcile.steps.sent_steps import SENT_STEPS
from onboarding.domain.reconcile.steps.step import StepKind, StepResult, to_column
from onboarding.domain.reconcile.steps.step_words import would_do
from onboarding.domain.reconcile.taking_up import TakenUpBy, taken_up
from onboarding.domain.reconcile.window_question import outcome_before
from onboarding.domain.resource_id import VmId

# What holds back the change of an extension that may be there. Meanwhile the row keeps what it was before.
_HELD_CHANGES = (WaitingFor.CHANGE_WINDOW, WaitingFor.ROLLOUT_LIMIT, WaitingFor.PAUSED)

type EventKey = tuple[str, datetime, str]  # id, time (UTC) and correlation id of the event that opened the episode


def row_of(
    context: DecisionContext,
    decision: Satisfied | Wait | Stop,
    event_key: EventKey,
    associated: Sequence[Associated] = (),
) -> Row:
    """The row for a decision, and for what the associations came to. `event_key` names the event that opens it, unless
    the last row's episode goes on."""
    last = context.last
    steps = steps_of(context, decision, associated)
    whole = combined(decision, associated)
    known = {
        **_known_columns(context, opens=isinstance(decision, Wait)),
        "attempt": _attempts(last, decision),
        "steps": to_column(steps),
    }
    if context.removes and isinstance(decision, Wait):
        known["undone_at"] = _undone_column(context)  # that it was installed again; the claim will find no trace of it
    by = TakenUpBy.REQUEST if any(step.ours for step in steps) else None
    known["taken_up"] = taken_up(last, context.now, TakenUpBy.PERSON if context.request else by)
    known["was"] = _was(context, decision)
    if isinstance(whole, Satisfied):
        known |= _extension_columns(whole.extension)
        known["satisfied_since"] = _satisfied_since(context, steps)
        ours = whole.ours or any(step.ours for step in steps)
        whole = replace(whole, ours=ours)
    elif isinstance(whole, Wait) and whole.waiting_for in SENT and last is not None:
        known["step"] = last.step
        if last.step == StepKind.REMOVAL:  # whoever wants it gone is to be known when it is
            known |= {"policy": last.policy, "policy_hash": last.policy_hash, "effect": last.effect}
    elif context.removes or (isinstance(whole, Stop) and whole.outcome is Outcome.REMOVED):
        known |= _removal_columns(last, whole)
    elif steps:
        known["step"] = _step(context, whole, associated)
    whole = _with_steps_in_words(context, whole, steps)
    return concluded(context.facts.id, known, whole, Episode.of(last, event_key, context.now, context.request))


def _with_steps_in_words(
    context: DecisionContext, decision: Satisfied | Wait | Stop, steps: Sequence[StepResult]
) -> Satisfied | Wait | Stop:
    """The decision; that of an audit says what each step would do."""
    if not steps or not isinstance(decision, Stop) or decision.outcome is not Outcome.AUDITED:
        return decision
    return audited(context, would_do(steps, extension_words(context)))


def _satisfied_since(context: DecisionContext, steps: Sequence[StepResult]) -> datetime:
    """Since when all that the policy wants is there. An association that this pass had to write was missing."""
    last = context.last
    written = any(step.at is not None and step.at >= context.now for step in steps)
    since = last.satisfied_since if last is not None and last.policy == context.assignment.policy.name else None
    return context.now if since is None or written else since


def _removal_columns(last: Row | None, decision: Wait | Stop) -> dict[str, Any]:
    """What the row says of a removal; what was requested for another step does not count."""
    if isinstance(decision, Stop) and decision.outcome not in (Outcome.REMOVED, Outcome.FAILED):
        return {}
    same = last is not None and (last.step == StepKind.REMOVAL or last.was_removed)
    known: dict[str, Any] = {"step": StepKind.REMOVAL.value} | ({} if same else {"attempt": 0})
    if last is not None and isinstance(decision, Stop) and decision.outcome is Outcome.REMOVED:
        known |= {"extension_name": last.extension_name, "extension_version": last.extension_version}
    return known


def _step(context: DecisionContext, decision: Wait | Stop, associated: Sequence[Associated]) -> str:
    """The step that the row is about; empty for the extension."""
    if any(each.decision is decision for each in associated):
        return StepKind.ASSOCIATION.value
    return StepKind.IDENTITY.value if context.identity is not None and not context.identity.fit.there else ""


def claim_of(
    context: DecisionContext,
    install: Act,
    until: datetime,
    event_key: EventKey,
    associated: Sequence[Associated] = (),
) -> Row:
    """The row that claims an install: the worker that writes it first sends the request, and the check at `until`
    continues from there."""
    now = context.now
    waiting = Wait(WaitingFor.CLAIM, now, until, install.reason)
    known = {
        **_known_columns(context, opens=True),
        "attempt": install.attempt,
        "steps": to_column(steps_of(context, install, associated)),
        "undone_at": _undone_column(context),
        "taken_up": taken_up(context.last, now, TakenUpBy.PERSON if context.request else TakenUpBy.REQUEST),
        "was": outcome_before(context),
    }
    known |= SENT_STEPS[install.step].claim_columns(context, install)
    return concluded(context.facts.id, known, waiting, Episode.of(context.last, event_key, now, context.request))


def requested(claim: Row, reason: str, now: datetime, protected_digest: str = "") -> Row:
    """The claim after ARM accepted the request: the handler is at work, and the scheduled check stays as it is. Only
    now it is sure that the protected settings were sent: ARM never shows them."""
    return replace(
        claim,
        protected_digest=protected_digest or claim.protected_digest,
        outcome=Outcome.REQUESTED,
        reason=_written(reason),
        waiting_for=SENT_STEPS[StepKind(claim.step or StepKind.EXTENSION)].ACCEPTED,
        waiting_since=now,
        requested_at=now,
    )


def unanswered(claim: Row, problem: Problem) -> Row:
    """The claim after a request that nobody answered: ARM may have it, so the check reads ARM before it sends again."""
    reason = _written("no answer came to the request; ARM is read before it is sent again")
    code, (meaning, advice, message) = _code(problem), _texts(problem)
    return replace(
        claim,
        reason=reason,
        error_code=code,
        cause=_cause(problem),
        error_meaning=meaning,
        advice=advice,
        message=message,
    )


def unread(
    vm: VmId,
    policy: Policy,
    last: Row | None,
    decision: Wait | Stop,
    episode: Episode,
    by: TakenUpBy | None = None,
    removal: bool | None = None,
) -> Row:
    """The row for a VM that could not be read: the facts of the last row, and why there are no newer ones. `by` is who
    takes the VM up; `removal` is what a person requests, to remove what is there or to install it."""
    facts = {name: getattr(last, name) for name in _FACTS} if last else {}
    known = {**facts, "extension": policy.extension, "policy": policy.name, "effect": policy.effect.value}
    known |= {"policy_hash": policy.digest, "taken_up": taken_up(last, episode.now, by)}
    if last is not None:
        kept = ("extension_name", "sent_digest", "protected_digest", "update", "steps")
        known |= {name: getattr(last, name) for name in kept} | _unread_columns(policy, last, decision)
    if removal is not None:
        known["step"] = StepKind.REMOVAL.value if removal else ""
    return concluded(vm, known, decision, episode)


def _unread_columns(policy: Policy, last: Row, decision: Wait | Stop) -> dict[str, Any]:
    """What the row of a VM that could not be read keeps of the last one, so that the next read goes on from there."""
    contest = last.finished_at if last.outcome is Outcome.FAILED and last.error_code == Cause.CONTESTED else None
    opened = last.outcome.value if last.outcome.present or last.outcome is Outcome.REMOVED else ""
    known: dict[str, Any] = {
        "attempt": last.attempt if last.was_removed else _attempts(last, decision),
        "undone_at": f"{last.undone_at} {contest.isoformat()}".strip() if contest else last.undone_at,
        "was": opened or ("" if last.outcome.final and last.outcome is not Outcome.FAILED else last.was),
        "satisfied_since": last.satisfied_since if last.policy == policy.name else None,
    }
    begun = not last.outcome.final and last.step == StepKind.REMOVAL and not policy.removes
    if begun or (not last.outcome.final and (last.in_flight or last.attempt > 0)):
        known["step"] = last.step
    if last.was_removed or known.get("step") == StepKind.REMOVAL:  # it holds until that policy changes
        known |= {"policy": last.policy, "policy_hash": last.policy_hash, "effect": last.effect}
    return known


def closed(row: Row, outcome: Outcome, reason: str, now: datetime, extension_version: str = "") -> Row:
    """The row with a final outcome and everything that it knew about the VM; `extension_version` is the handler's,
    empty if unknown.

    A row that was final before gets no duration: its episode ended long ago. If the install ended before our request
    was recorded, the claim's time counts as the time of the request."""
    request = row.waiting_since if outcome is Outcome.INSTALLED else None
    took = None if row.outcome.final or row.event_time is None else _milliseconds(row.event_time, now)
    return replace(
        row,
        outcome=outcome,
        reason=_written(reason),
        waiting_for=None,
        waiting_since=None,
        next_attempt_at=None,
        requested_at=row.requested_at or request,
        finished_at=now,
        duration_ms=took,
        step=StepKind.REMOVAL.value if outcome is Outcome.REMOVED else "",
        satisfied_since=row.satisfied_since or now if outcome.present else None,
        was="",
        extension_version=extension_version or row.extension_version,
        taken_up=taken_up(row, now),
        **NO_PROBLEM,
    )


def waiting(row: Row, wait: Wait) -> Row:
    """The row with another wait and everything that it knew about the VM."""
    return replace(
        row,
        outcome=Outcome.WAITING,
        reason=_written(wait.reason),
        waiting_for=wait.waiting_for,
        waiting_since=wait.since,
        next_attempt_at=wait.until,
        satisfied_since=None,
        **NO_PROBLEM,
    )


def opened_by_person(row: Row, event_key: EventKey, due: datetime, by: str = "") -> Row:
    """A final row that a person has taken up, as it waits for its turn: under the rollout limit of its policy, so that
    the change of what is there is not forgotten. `by` is the person's object id, empty if unknown."""
    event_id, event_time, correlation_id = event_key
    reason = (
        f"taken up by a person; policy {row.policy} begins at {due:%Y-%m-%d %H:%M} UTC, or with the VM's next event"
    )
    wait = Wait(WaitingFor.ROLLOUT_LIMIT, event_time, due, reason)
    return replace(
        waiting(row, wait),
        attempt=0,
        event_id=event_id,
        event_time=event_time,
        correlation_id=correlation_id,
        requested_at=None,
        finished_at=None,
        duration_ms=None,
        client_request_id="",
        step="",
        steps="",
        taken_up=taken_up(row, event_time, TakenUpBy.PERSON),
        by=by,
    )


class Episode(Struct, frozen=True):
    """What stays the same while a row is open."""

    event_key: EventKey  # the event that opened it
    requested_at: datetime | None  # when ARM accepted our request (UTC); None if it did not yet
    client_request_id: str  # of our last request; empty if none was sent
    now: datetime
    by: str = ""  # the object id of the person who asked for it; empty: nobody did, or unknown

    @classmethod
    def of(
        cls, last: Row | None, event_key: EventKey, now: datetime, request: OperatorRequest | None = None
    ) -> Episode:
        if last is None or last.outcome.final or last.event_time is None:
            return cls(event_key, None, "", now, request.by if request else "")
        opened = last.event_id, last.event_time, last.correlation_id
        by = request.by if request else last.by
        return cls(opened, last.requested_at, last.client_request_id, now, by)


def concluded(vm: VmId, known: Mapping[str, Any], decision: Satisfied | Wait | Stop, episode: Episode) -> Row:
    """The row for a decision, with the columns in `known` and all that follow from the decision and the episode."""
    outcome = _outcome(decision)
    event_id, event_time, correlation_id = episode.event_key
    finished = episode.now if outcome.final else None
    waiting = decision if isinstance(decision, Wait) else None
    return Row(
        resource_id=str(vm),
        vm_name=vm.name,
        resource_group=vm.resource_group,
        outcome=outcome,
        reason=_written(decision.reason),
        waiting_for=waiting.waiting_for if waiting else None,
        waiting_since=waiting.since if waiting else None,
        next_attempt_at=waiting.until if waiting else None,
        event_id=event_id,
        event_time=event_time,
        correlation_id=correlation_id,
        requested_at=episode.requested_at,
        client_request_id=episode.client_request_id,
        by=episode.by,
        finished_at=finished,
        duration_ms=_milliseconds(event_time, finished) if finished else None,
        **{**known, **_problem_columns(decision.problem)},
    )


_FACTS = frozenset(
    [
        "vm_id",
        "location",
        "image_publisher",
        "image_offer",
        "image_sku",
        "image_version",
        "image_id",
        "distribution",
        "os_version",
        "architecture",
        "witness",
        "verdict",
        "support_table",
    ]
)


def _written(reason: str) -> str:
    """The reason, masked and cut."""
    return cut(mask(reason))


def _milliseconds(start: datetime, end: datetime) -> int:
    return max(0, int((end - start).total_seconds() * 1000))


def _outcome(decision: Satisfied | Wait | Stop) -> Outcome:
    match decision:
        case Satisfied(ours=ours):
            return Outcome.INSTALLED if ours else Outcome.ALREADY_INSTALLED
        case Wait(waiting_for=waiting_for):
            return Outcome.REQUESTED if waiting_for in ACCEPTED else Outcome.WAITING
        case Stop(outcome=outcome):
            return outcome


def _problem_columns(problem: Problem | None) -> dict[str, str]:
    if problem is None:
        return {}
    meaning, advice, message = _texts(problem)
    return {
        "error_code": _code(problem),
        "cause": _cause(problem),
        "error_meaning": meaning,
        "advice": advice,
        "message": message,
    }


def _texts(problem: Problem) -> tuple[str, str, str]:
    """Meaning, advice and message, masked and cut."""
    return cut(mask(problem.meaning)), cut(mask(problem.advice)), cut(mask(problem.message))


def _cause(problem: Problem) -> str:
    return problem.cause.value if problem.stored_cause is None else problem.stored_cause


def _code(problem: Problem) -> str:
    """The code, masked and cut: it is foreign text where it is ARM's own."""
    return cut(mask(problem.code), 256)


def _known_columns(context: DecisionContext, *, opens: bool) -> dict[str, Any]:
    facts, release, policy = context.facts, context.release, context.assignment.policy
    image, present = facts.image, context.extension
    return {
        "extension": context.entry.name,
        "vm_id": facts.vm_id,
        "location": facts.location,
        "image_publisher": image.publisher,
        "image_offer": image.offer,
        "image_sku": image.sku,
        "image_version": image.exact_version or image.version,
        "image_id": image.id,
        "distribution": release.distribution,
        "os_version": release.product or release.version or "",
        "architecture": release.architecture or "",
        "witness": release.source.value,
        "verdict": context.judgement.verdict.value,
        "support_table": context.judgement.table,
        "extension_name": _name_of(context.last),
        "extension_version": _version_of(context.last),
        "policy": policy.name,
        "policy_hash": policy.digest,
        "effect": policy.effect.value,
        "sent_digest": context.last.sent_digest if context.last else "",
        "undone_at": context.last.undone_at if context.last else "",
        "protected_digest": context.last.protected_digest if context.last else "",
        "update": _update(context, opens=opens),
        **(_extension_columns(present) if present else {}),
    }


def _update(context: DecisionContext, *, opens: bool) -> str:
    """The update that is due or under way, else the last one. A row that opens for something else has none, nor has one
    whose update waited and was never sent: the machine or the policy has changed meanwhile."""
    last = context.last
    if context.extension is None or last is None:
        return ""
    if (update := context.update) is not None:
        return update.to_column()
    forgotten = opens if last.outcome.final else last.attempt == 0
    return "" if forgotten else last.update


def _extension_columns(extension: InstalledExtension) -> dict[str, Any]:
    return {"extension_name": extension.name, "extension_version": extension.handler_version or extension.version}


def _undone_column(context: DecisionContext) -> str:
    """The times at which somebody undid what we did, including now if that is what happened."""
    times = undone(context.last, context.now)
    if undoing(context):
        times = (*times, context.now)
    return " ".join(time.isoformat() for time in times)


def _attempts(last: Row | None, decision: Satisfied | Wait | Stop) -> int:
    """The attempts of the episode so far: none in a row that opens with a wait."""
    if last is None or (last.outcome.final and isinstance(decision, Wait)):
        return 0
    return last.attempt


def _was(context: DecisionContext, decision: Satisfied | Wait | Stop) -> str:
    """The outcome before the change that the row is about, which waits or has failed. What is missing or was changed
    by somebody is still ours while its repair waits, whatever for."""
    last = context.last
    if isinstance(decision, Wait) and last is not None and last.outcome.present and not context.removes:
        return last.outcome.value
    if isinstance(decision, Wait) and decision.waiting_for in _HELD_CHANGES:
        return outcome_before(context)
    fails = isinstance(decision, Stop) and decision.outcome is Outcome.FAILED
    if fails and last is not None and last.outcome is Outcome.INSTALLED and not context.removes:
        return last.outcome.value
    goes_on = isinstance(decision, Wait) or fails
    return last.was if goes_on and last is not None and not last.was_removed else ""


def _name_of(last: Row | None) -> str:
    return last.extension_name if last is not None and not last.outcome.final else ""


def _version_of(last: Row | None) -> str:
    return last.extension_version if last is not None and not last.outcome.final else ""
