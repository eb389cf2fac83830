"""The decision for one extension on one VM.

`_QUESTIONS` are asked in order, cheap and final ones first; the first that returns a decision ends it. The decision
rests on what ARM, the policy and the last row say; this module does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import replace

from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.failures.classification import (
    Cause,
    ExtensionState,
    is_being_written,
    read_extension_state,
)
from onboarding.domain.image.os_release import OsSource
from onboarding.domain.json_access import digest
from onboarding.domain.machine.machine_facts import AgentState, InstalledExtension, OsType, PowerState
from onboarding.domain.machine.machine_kind import MachineKind
from onboarding.domain.policy.installed_extension import MOVE, advice_on, differences, instead
from onboarding.domain.reconcile.decision import Act, Decision, DecisionContext, Problem, Satisfied, Stop, Wait
from onboarding.domain.reconcile.existing_machines import only_audited
from onboarding.domain.reconcile.retry import (
    broken,
    exhausted,
    failed,
    gave_up,
    held,
    install,
    problem_in,
    undoing,
    undone,
)
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.identity_decision import after_identity, in_flight, with_identity
from onboarding.domain.reconcile.window_question import changes_what_is_there, held_by_window

_MOST_UNDONE = 3


def decide(context: DecisionContext) -> Decision:
    """The decision for one extension on one VM, and for the identity that its policy wants first."""
    if (later := in_flight(context)) is not None:
        return later
    decision = with_identity(context, _decide(after_identity(context)))
    if not isinstance(decision, Act):
        return decision
    later = held_by_window(context) if changes_what_is_there(context, decision) else None
    return later or _somebody_writes(context) or decision


def _decide(context: DecisionContext) -> Decision:
    for question in _QUESTIONS:
        if (answer := question(context)) is not None:
            return answer
    return install(context, context.unmet or _moved(context) or context.drift or _wanted(context))


def _moved(s: DecisionContext) -> str:
    return f"moves the VM to this destination: {s.elsewhere}" if s.elsewhere else ""


def _wanted(s: DecisionContext) -> str:
    forced = "an operator forces it although support for the OS is unknown"
    return f"{s.assignment.reason}, and {forced if s.judgement.verdict is Verdict.UNKNOWN else 'the OS supports it'}"


def _not_selected(s: DecisionContext) -> Decision | None:
    if s.assignment.selected or s.assignment.undecided:
        return None
    return Stop(Outcome.OUT_OF_SCOPE, s.assignment.reason)


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
    return Stop(Outcome.UNDETERMINED, s.assignment.reason) if s.assignment.undecided else None


def _unknown_system(s: DecisionContext) -> Decision | None:
    """It is open which of the policy's extensions the machine gets: only the guest agent can still tell."""
    if s.entry.os_type is not OsType.UNKNOWN:
        return None
    later = _not_running(s) or _agent_not_ready(s)
    if isinstance(later, Wait):
        return later
    policy = s.assignment.policy
    reason = f"{s.judgement.reason}, and policy {policy.name} has an extension for each ({s.entry.display_name})"
    return Stop(Outcome.UNDETERMINED, reason)


def _sent(s: DecisionContext) -> Decision | None:
    """A request that we sent is followed to its end, even if no policy selects the VM any more."""
    if s.last is None or not s.last.in_flight:
        return None
    return _under_way(s) or (None if s.assignment.selected else _present(s)) or _claimed(s)


def _claimed(s: DecisionContext) -> Decision | None:
    """Until a claim runs out, its request may still be on its way, and ARM may show the state before it. So only an
    extension that succeeded with the claimed settings ends the claim: a failed one may be what the claim repairs."""
    last, extension = s.last, s.extension
    if last is None or last.waiting_for is not WaitingFor.CLAIM:
        return None
    done = extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED
    if done and extension is not None and digest(extension.settings) == last.sent_digest:
        return None
    return held(s)


def _accepted_instead(s: DecisionContext) -> Decision | None:
    policy = s.assignment.policy
    other = instead(policy, s.facts, s.extension, s.now)
    if other is None:
        return None
    return Satisfied(other, False, f"existenceCondition of policy {policy.name} holds for {other.name}")


def _present(s: DecisionContext) -> Decision | None:
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.SUCCEEDED or s.unmet:
        return None
    if (s.elsewhere and s.assignment.policy.reconnect) or (s.drift and not s.elsewhere):
        return None
    problem = _connected_elsewhere(s) if s.elsewhere else None
    different = "".join(f"; {each}" for each in differences(s.assignment.policy, s.settings, extension))
    if _is_ours(s, extension) and not s.drift:
        return Satisfied(extension, True, f"the handler reports success{different}", problem)
    there = f"{s.entry.type} was already installed, as {extension.name}"
    return Satisfied(extension, False, there + different, problem)


def _connected_elsewhere(s: DecisionContext) -> Problem:
    known = advice_on(s.entry)
    return Problem(Cause.ALREADY_CONNECTED, Cause.ALREADY_CONNECTED, known.meaning, f"{known.advice} {MOVE}")


def _is_ours(s: DecisionContext, extension: InstalledExtension) -> bool:
    """Whether our own request wrote this extension; a handler may report success after we gave up."""
    last = s.last
    if last is None or last.extension_name.lower() != extension.name.lower():
        return False
    if not last.has_sent(extension.settings):
        return False  # ours failed, and somebody else wrote it since
    open_or_given_up = not last.outcome.final or last.outcome is Outcome.FAILED
    return last.was_ours or (last.attempt > 0 and open_or_given_up)


def _under_way(s: DecisionContext) -> Decision | None:
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.IN_PROGRESS:
        return None
    if s.last is not None and s.attempts and not s.last.outcome.final:
        known = s.last.reason if s.last.waiting_for is WaitingFor.INSTALL else ""
        later = s.retry.wait(WaitingFor.INSTALL, known or "ARM accepted the request; the handler is at work")
        return later or gave_up(s, Cause.TIMEOUT, "the handler has not reported for too long")
    return s.retry.wait_on(WaitingFor.OPERATION, f"another deployment is writing extension {extension.name}")


def _unsupported(s: DecisionContext) -> Decision | None:
    return Stop(Outcome.UNSUPPORTED, s.judgement.reason) if s.judgement.verdict is Verdict.UNSUPPORTED else None


def _undetermined(s: DecisionContext) -> Decision | None:
    if s.judgement.verdict is not Verdict.UNKNOWN or _forced(s):
        return None
    too_coarse = s.release.source in (OsSource.IMAGE, OsSource.PLAN) and not s.facts.guest_os_name
    if s.release.needs_agent or too_coarse:
        later = _not_running(s) or _agent_not_ready(s)
        if isinstance(later, Wait):
            return later
    return Stop(Outcome.UNDETERMINED, s.judgement.reason)


def _forced(s: DecisionContext) -> bool:
    """Whether an operator forces the install on an unknown OS, or did so when this row's request was sent."""
    last = s.last
    sent = last is not None and not last.outcome.final and last.attempt > 0 and last.verdict == Verdict.UNKNOWN
    return sent or (s.request is not None and s.request.force)


def _disallowed(s: DecisionContext) -> Decision | None:
    facts = s.facts
    if facts.extension_operations_allowed is False:
        cause = Cause.EXTENSION_OPERATIONS_DISALLOWED
        return failed(s, cause, "the VM's owner switched extension operations off (allowExtensionOperations is false)")
    if facts.provision_vm_agent is False and facts.agent is not AgentState.READY:
        cause = Cause.EXTENSION_OPERATIONS_DISALLOWED
        return failed(s, cause, "the VM was made without the guest agent (provisionVMAgent is false)")
    return None


def _misconfigured(s: DecisionContext) -> Decision | None:
    if not s.problems:
        return None
    named = "; ".join(s.problems)
    advice = "fix what is named here, then write the VM or retry the row"
    problem = Problem(Cause.BAD_CONFIGURATION, Cause.BAD_CONFIGURATION, named, advice)
    return Stop(Outcome.FAILED, f"our own settings are not usable: {named}", problem)


def _unfixable(s: DecisionContext) -> Decision | None:
    """The extension has everything that we would send and still does not meet the policy: another request would change
    nothing."""
    extension = s.extension
    if extension is None or not s.unmet or any(differences(s.assignment.policy, s.settings, extension)):
        return None
    if s.entry.version not in ("", extension.version) or set(s.settings) - set(extension.settings):
        return None
    advice = "let the policy's settings and its existenceCondition agree, then retry the row"
    problem = Problem(Cause.BAD_CONFIGURATION, Cause.BAD_CONFIGURATION, s.unmet, advice)
    return Stop(Outcome.FAILED, f"the extension has the policy's settings, but {s.unmet}", problem)


def _not_running(s: DecisionContext) -> Decision | None:
    if s.facts.power in (PowerState.RUNNING, PowerState.UNKNOWN):
        return None
    reason = f"the VM is {s.facts.power}; extensions need a running VM, and its start event continues this row"
    return s.retry.wait_on(WaitingFor.VM_RUNNING, reason)


def _agent_not_ready(s: DecisionContext) -> Decision | None:
    running = s.facts.power is PowerState.RUNNING
    if running and s.facts.agent is AgentState.READY and not s.facts.os_provisioning:
        return None
    later = s.retry.wait(WaitingFor.AGENT_READY, "the guest agent has not reported ready yet")
    return later or gave_up(s, Cause.VM_AGENT_UNREACHABLE, "the guest agent has not reported ready for too long")


def _fresh(s: DecisionContext) -> Decision | None:
    """An install that runs beside the owner's first-boot installs can break them, so a policy can delay it
    (`settleDelay`)."""
    delay, born = s.assignment.policy.settle_delay, s.facts.time_created
    if not delay or born is None or born + delay <= s.now:
        return None
    return Wait(
        WaitingFor.SETTLE_DELAY, born, born + delay, f"the VM is new; the policy waits {delay} before the install"
    )


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
    writing = [e for e in s.facts.extensions if is_being_written(e)]
    if writing:
        return s.retry.wait_on(WaitingFor.OPERATION, f"another deployment is writing extension {writing[0].name}")
    if s.facts.being_written:
        return s.retry.wait_on(WaitingFor.OPERATION, "another deployment is writing the VM")
    return None


def _contested(s: DecisionContext) -> Decision | None:
    """Two owners who undo each other's changes would go on for ever: after the third time within a week we stop, and a
    person decides."""
    last = s.last
    if last is None or s.request is not None:
        return None
    changed = last.policy_hash and last.policy_hash != s.assignment.policy.digest
    if last.outcome is Outcome.FAILED and last.error_code == Cause.CONTESTED and not changed:
        return failed(s, Cause.CONTESTED, last.reason)
    if not undoing(s) or len(undone(last, s.now)) < _MOST_UNDONE - 1:
        return None
    reason = (
        f"somebody undid our install {_MOST_UNDONE} times in 7 days, most recently before {s.now:%Y-%m-%d %H:%M} UTC"
    )
    return failed(s, Cause.CONTESTED, reason)


_QUESTIONS: tuple[Callable[[DecisionContext], Decision | None], ...] = (
    _sent,
    _not_selected,
    _other_machine,
    _deleting,
    _unclear,
    _unknown_system,
    _accepted_instead,
    _present,
    _under_way,
    _unsupported,
    _undetermined,
    only_audited,
    _disallowed,
    _misconfigured,
    _unfixable,
    _contested,
    _not_running,
    _agent_not_ready,
    broken,
    _fresh,
    held,
    exhausted,
)
