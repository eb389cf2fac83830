"""The decision on one target of one machine: what a policy wants of one extension.

What is asked once for each target is here, cheap and final questions first; the step that the policy wants asks the
rest. The decision rests on what ARM, the policy and the last row say; this module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import replace
from typing import Protocol

from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.failures.classification import ExtensionState, is_being_written, read_extension_state
from onboarding.domain.image.os_release import OsSource
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.machine.machine_kind import MachineKind
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Satisfied, Stop, Wait
from onboarding.domain.reconcile.retry import as_if_new, problem_in
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps import extension_step, removal_step
from onboarding.domain.reconcile.steps.identity_decision import after_identity, in_flight, with_identity
from onboarding.domain.reconcile.steps.machine_ready import agent_not_ready, not_running
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.window_question import changes_what_is_there, held_by_window


class TargetStep(Protocol):
    """The module of a step that is about the target's extension."""

    NEEDS_SUPPORT: bool
    """Whether it is only done where the extension supports the operating system."""

    def follow(self, s: DecisionContext, /) -> Decision | None:
        """What is known of our request, until it has ended."""

    def observe(self, s: DecisionContext, /) -> Decision | None:
        """The decision if nothing has to be requested; else None."""

    def request(self, s: DecisionContext, /) -> Decision:
        """The request, or what it has to wait for, or why it is not sent."""


def decide(context: DecisionContext) -> Decision:
    """The decision for one extension on one VM, and for the identity that its policy wants first."""
    if (later := in_flight(context)) is not None:
        return later
    decision = _decide(after_identity(context))
    if not context.removes:
        decision = with_identity(context, decision)
    if not isinstance(decision, Act):
        return decision
    later = held_by_window(context) if changes_what_is_there(context, decision) else None
    held = later or _somebody_writes(context)
    if held is None and decision.step is StepKind.REMOVAL:
        held = removal_step.not_proved(context)
    return held or decision


def _decide(context: DecisionContext) -> Decision:
    step: TargetStep = removal_step if context.removes else extension_step
    for each in _STEPS:
        if (answer := each.follow(context)) is not None:
            return answer
    context = _after_other_step(context)
    for question in (*_FOR_EACH_TARGET, step.observe, *(_OF_SUPPORT if step.NEEDS_SUPPORT else ())):
        if (answer := question(context)) is not None:
            return answer
    return step.request(context)


def _after_other_step(s: DecisionContext) -> DecisionContext:
    """The context for the step that is wanted now: what an open row says of another step's request is not about it."""
    last = s.last
    if last is None or last.outcome.final or s.removes is (last.step == StepKind.REMOVAL):
        return s
    return replace(s, retry=replace(s.retry, last=as_if_new(last)))


def _not_selected(s: DecisionContext) -> Decision | None:
    if s.assignment.selected or s.assignment.undecided or _by_person(s):
        return None
    return _kept(s) or Stop(Outcome.OUT_OF_SCOPE, s.assignment.reason)


def _kept(s: DecisionContext) -> Decision | None:
    """What a policy installed or found stays, with its row, when the policy is no longer active."""
    last, extension = s.last, s.extension
    if not s.assignment.policy.inactive or last is None or not last.outcome.present or extension is None:
        return None
    if read_extension_state(extension) is not ExtensionState.SUCCEEDED:
        return None
    return Satisfied(extension, last.outcome is Outcome.INSTALLED, last.reason, problem_in(last))


def _by_person(s: DecisionContext) -> bool:
    """Whether a person removes the extension: no policy has to select the machine for that."""
    return s.removes and not s.assignment.policy.removes


def _removed_by_policy(s: DecisionContext) -> Decision | None:
    """A person cannot install what a policy removes."""
    if s.removes or not s.assignment.policy.removes:
        return None
    return Stop(Outcome.OUT_OF_SCOPE, f"policy {s.assignment.policy.name} removes {s.entry.type} from it")


def _other_machine(s: DecisionContext) -> Decision | None:
    if MachineKind.VM not in s.entry.machines:
        kinds = " and ".join(s.entry.machines)
        return Stop(Outcome.OUT_OF_SCOPE, f"a VM; {s.entry.display_name} is for machines of kind {kinds}")
    if s.facts.os_type in (s.entry.os_type, OsType.UNKNOWN):
        return None
    return Stop(Outcome.OUT_OF_SCOPE, f"a {s.facts.os_type} VM; {s.entry.display_name} is for {s.entry.os_type}")


def _deleting(s: DecisionContext) -> Decision | None:
    """A VM is `Gone` only after ARM says that it does not exist. Until then the row waits: the deletion may fail."""
    if not s.facts.being_deleted:
        return None
    return s.retry.wait_on(WaitingFor.OPERATION, "the VM is being deleted")


def _unclear(s: DecisionContext) -> Decision | None:
    """A value that is not known could exclude the VM, so nothing is done."""
    unclear = s.assignment.undecided and not _by_person(s)
    return Stop(Outcome.UNDETERMINED, s.assignment.reason) if unclear else None


def _unknown_system(s: DecisionContext) -> Decision | None:
    """It is open which of the policy's extensions the machine gets: only the guest agent can still tell."""
    if s.entry.os_type is not OsType.UNKNOWN:
        return None
    later = not_running(s) or agent_not_ready(s)
    if isinstance(later, Wait):
        return later
    policy = s.assignment.policy
    reason = f"{s.judgement.reason}, and policy {policy.name} has an extension for each ({s.entry.display_name})"
    return Stop(Outcome.UNDETERMINED, reason)


def _unsupported(s: DecisionContext) -> Decision | None:
    return Stop(Outcome.UNSUPPORTED, s.judgement.reason) if s.judgement.verdict is Verdict.UNSUPPORTED else None


def _undetermined(s: DecisionContext) -> Decision | None:
    if s.judgement.verdict is not Verdict.UNKNOWN or _forced(s):
        return None
    too_coarse = s.release.source in (OsSource.IMAGE, OsSource.PLAN) and not s.facts.guest_os_name
    if s.release.needs_agent or too_coarse:
        later = not_running(s) or agent_not_ready(s)
        if isinstance(later, Wait):
            return later
    return Stop(Outcome.UNDETERMINED, s.judgement.reason)


def _forced(s: DecisionContext) -> bool:
    """Whether an operator forces the install on an unknown OS, or did so when this row's request was sent."""
    last = s.last
    sent = last is not None and not last.outcome.final and last.attempt > 0 and last.verdict == Verdict.UNKNOWN
    return sent or (s.request is not None and s.request.force)


def _somebody_writes(s: DecisionContext) -> Decision | None:
    """ARM accepts one write of a machine at a time, so a write that is under way is waited for."""
    ours, last = s.in_flight, s.last
    if ours is not None and last is not None and last.waiting_for is WaitingFor.SCOPE_BREAKER:
        # The row waits for its circuit breaker too, so that wait's cap goes on.
        later = s.retry.wait(WaitingFor.SCOPE_BREAKER, last.reason, problem_in(last))
        if later is None:
            return Stop(Outcome.FAILED, f"gave up: {last.reason}", problem_in(last))
        return replace(later, until=min(later.until, ours.next_attempt_at or later.until))
    if ours is not None and ours.next_attempt_at is not None:
        reason = f"one write at a time: the request for {ours.extension} has not ended yet"
        return Wait(WaitingFor.OPERATION, s.retry.since(WaitingFor.OPERATION), ours.next_attempt_at, reason)
    # A handler may have reported its failure although ARM has not ended the operation: ARM refuses a second one then.
    # A removal that hangs can only be asked for again.
    own = s.extension if s.removes and s.attempts else None
    writing = [e for e in s.facts.extensions if is_being_written(e) and e is not own]
    if writing:
        return s.retry.wait_on(WaitingFor.OPERATION, f"another deployment is writing extension {writing[0].name}")
    if s.facts.being_written:
        return s.retry.wait_on(WaitingFor.OPERATION, "another deployment is writing the VM")
    return None


_STEPS: tuple[TargetStep, ...] = (extension_step, removal_step)
_FOR_EACH_TARGET: tuple[Callable[[DecisionContext], Decision | None], ...] = (
    removal_step.stays_removed,
    _not_selected,
    _removed_by_policy,
    _other_machine,
    _deleting,
    _unclear,
    _unknown_system,
)
_OF_SUPPORT: tuple[Callable[[DecisionContext], Decision | None], ...] = (_unsupported, _undetermined)
