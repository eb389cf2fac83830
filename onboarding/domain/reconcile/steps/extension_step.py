"""The extension step: an extension that a policy wants on the machine, installed and healthy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onboarding.domain.catalog.catalogue_entry import over
from onboarding.domain.catalog.support_table import Verdict
from onboarding.domain.failures.classification import Cause, ExtensionState, read_extension_state
from onboarding.domain.json_access import digest
from onboarding.domain.machine.machine_facts import InstalledExtension
from onboarding.domain.policy.installed_extension import MOVE, advice_on, differences, instead
from onboarding.domain.reconcile.decision import Decision, DecisionContext, Problem, Satisfied, Stop, Wait
from onboarding.domain.reconcile.existing_machines import only_audited
from onboarding.domain.reconcile.retry import contested, exhausted, gave_up, held, problem_in
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.extension_request import broken, install
from onboarding.domain.reconcile.steps.machine_ready import (
    agent_not_ready,
    disallowed,
    misconfigured,
    needed_missing,
    not_running,
)
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.update import beside_policy

NEEDS_SUPPORT = True


def follow(s: DecisionContext) -> Decision | None:
    """What is known of our request, until it has ended: it is followed even if no policy selects the VM any more."""
    if s.last is None or not s.last.in_flight or s.last.step == StepKind.REMOVAL:
        return None
    return _under_way(s) or (None if s.assignment.selected else _present(s)) or _claimed(s)


def observe(s: DecisionContext) -> Decision | None:
    """What the machine has already, or is about to get; None if something is missing."""
    return _accepted_instead(s) or _present(s) or _under_way(s)


def request(s: DecisionContext) -> Decision:
    """The request, or what it has to wait for, or why it is not sent."""
    for question in _BEFORE_REQUEST:
        if (answer := question(s)) is not None:
            return answer
    return install(s, s.unmet or _moved(s) or s.drift or _updates(s) or _wanted(s))


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
    if s.update is not None and not s.drift:
        return None
    if (failed := _failed_update(s)) is not None:
        return failed
    problem = _connected_elsewhere(s) if s.elsewhere else None
    different = "".join(f"; {each}" for each in _left(s, extension))
    if _is_ours(s, extension) and not s.drift:
        return Satisfied(extension, True, f"the handler reports success{different}", problem)
    there = f"{s.entry.type} was already installed, as {extension.name}"
    return Satisfied(extension, False, there + different, problem)


def _failed_update(s: DecisionContext) -> Decision | None:
    """An update that failed or was refused stays so until a person, the policy or the machine has changed something:
    what is there works, and is not what the policy asks for."""
    last = s.last
    if last is None or not last.failed_update or s.policy_changed or not s.acts or s.pending is None:
        return None
    return Stop(Outcome.FAILED, last.reason, problem_in(last))


def _left(s: DecisionContext, extension: InstalledExtension) -> Iterator[str]:
    """What differs from the policy and is left as it is, in words."""
    policy = s.assignment.policy
    yield from differences(policy, s.settings, extension)
    if version := beside_policy(s.entry, policy, extension):
        yield version
    if not s.acts and (update := s.pending) is not None:
        yield f"policy {policy.name} only audits: would update {s.entry.type} ({update})"


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


def _unfixable(s: DecisionContext) -> Decision | None:
    """The extension has everything that we would send and still does not meet the policy: another request would change
    nothing."""
    extension = s.extension
    if extension is None or not s.unmet or any(differences(s.assignment.policy, s.settings, extension)):
        return None
    if over(s.entry, extension).version not in ("", extension.version) or set(s.settings) - set(extension.settings):
        return None
    advice = "let the policy's settings and its existenceCondition agree, then retry the row"
    problem = Problem(Cause.BAD_CONFIGURATION, Cause.BAD_CONFIGURATION, s.unmet, advice)
    return Stop(Outcome.FAILED, f"the extension has the policy's settings, but {s.unmet}", problem)


def _fresh(s: DecisionContext) -> Decision | None:
    """An install that runs beside the owner's first-boot installs can break them, so a policy can delay it
    (`settleDelay`)."""
    delay, born = s.assignment.policy.settle_delay, s.facts.time_created
    if not delay or born is None or born + delay <= s.now:
        return None
    return Wait(
        WaitingFor.SETTLE_DELAY, born, born + delay, f"the VM is new; the policy waits {delay} before the install"
    )


def _moved(s: DecisionContext) -> str:
    return f"moves the VM to this destination: {s.elsewhere}" if s.elsewhere else ""


def _updates(s: DecisionContext) -> str:
    return f"updates it for policy {s.assignment.policy.name}: {s.update}" if s.update is not None else ""


def _wanted(s: DecisionContext) -> str:
    forced = "an operator forces it although support for the OS is unknown"
    return f"{s.assignment.reason}, and {forced if s.judgement.verdict is Verdict.UNKNOWN else 'the OS supports it'}"


_BEFORE_REQUEST: tuple[Callable[[DecisionContext], Decision | None], ...] = (
    only_audited,
    disallowed,
    misconfigured,
    _unfixable,
    contested,
    not_running,
    agent_not_ready,
    needed_missing,
    broken,
    _fresh,
    held,
    exhausted,
)
