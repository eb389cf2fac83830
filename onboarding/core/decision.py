"""What to do about one VM and one extension: a value with a reason that a person can read.

`decide` asks one question after the other, the cheap and final ones first; the first that has an answer decides.
It sees what ARM says, what policy says and what the last row says, and it does no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from onboarding.core.asked import Asked
from onboarding.core.catalog import CatalogueEntry
from onboarding.core.connection import MOVE, advice_on, differs, elsewhere
from onboarding.core.existence import differences, instead, unmet
from onboarding.core.facts import AgentState, InstalledExtension, MachineFacts, OsType, PowerState
from onboarding.core.failures import (
    Cause,
    Evidence,
    ExtensionState,
    Failure,
    FailureClass,
    classify,
    read_extension_state,
)
from onboarding.core.outcome import Outcome, Row, WaitingFor
from onboarding.core.policy import Assignment, Effect
from onboarding.core.release import OsRelease
from onboarding.core.support import Judgement, Verdict
from onboarding.core.waits import Waits

MOST_ATTEMPTS = 5
_MOST_PROBES = 50  # handler runs by which one VM finds out whether its scope was mended; an hour apart


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong, in the table's words. `message` is the foreign text, not yet cut or masked."""

    code: str
    cause: Cause
    meaning: str
    advice: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Install:
    """Ask ARM for the extension. `force` makes the handler run again where the same request failed before."""

    name: str
    attempt: int
    force: bool
    reason: str


@dataclass(frozen=True, slots=True)
class AlreadyInstalled:
    """The extension is on the VM and healthy; `ours` if we asked for it. `trouble`: it reports to somebody else."""

    extension: InstalledExtension
    ours: bool
    reason: str
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: look again at `until`. `since` is when this kind of waiting began."""

    waiting_for: WaitingFor
    since: datetime
    until: datetime
    reason: str
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing to do, for good: the outcome says why."""

    outcome: Outcome
    reason: str
    trouble: Trouble | None = None


type Decision = Install | AlreadyInstalled | Wait | Skip


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a row stands in time. `last` is the row of this very VM, not of one that had its name before."""

    last: Row | None
    waits: Waits
    now: datetime

    def wait(self, waiting_for: WaitingFor, reason: str, trouble: Trouble | None = None) -> Wait | None:
        """The next look of this kind of waiting; None when its time is up. A look that is planned already stays."""
        since, last = self.now, self.last
        if last is not None and last.waiting_for is waiting_for and last.waiting_since:
            since = last.waiting_since
            if last.next_attempt_at and last.next_attempt_at > self.now:
                return Wait(waiting_for, since, last.next_attempt_at, reason, trouble)
        pause = self.waits[waiting_for].next_pause(self.now - since)
        return Wait(waiting_for, since, self.now + pause, reason, trouble) if pause else None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a decision rests on. `settings` are the public ones that would be sent, and `problems` what is
    wrong with these and the protected ones. `asked` is there when a person wants it."""

    facts: MachineFacts
    release: OsRelease
    judgement: Judgement
    assignment: Assignment
    entry: CatalogueEntry
    problems: tuple[str, ...]
    pace: Pace
    settings: Mapping[str, Any] = field(default_factory=dict)
    asked: Asked | None = None

    @property
    def extension(self) -> InstalledExtension | None:
        return self.facts.find_extension(self.entry.publisher, self.entry.type)

    @property
    def unmet(self) -> str:
        """Why an extension that is there and healthy still is not as the policy wants it; empty if it is."""
        extension = self.extension
        healthy = extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED
        return unmet(self.assignment.policy, self.facts, extension, self.now) if healthy else ""

    @property
    def elsewhere(self) -> str:
        """To whom an extension that is there and healthy reports in our place; empty if to us."""
        extension = self.extension
        healthy = extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED
        return elsewhere(self.entry, self.settings, extension) if healthy and extension is not None else ""

    @property
    def last(self) -> Row | None:
        return self.pace.last

    @property
    def now(self) -> datetime:
        return self.pace.now

    @property
    def attempts(self) -> int:
        return self.last.attempt if self.last else 0


def decide(situation: Situation) -> Decision:
    """The decision for one extension on one VM."""
    for question in _QUESTIONS:
        if (answer := question(situation)) is not None:
            return answer
    return _install(situation, situation.unmet or f"{situation.assignment.reason}, and the OS supports it")


def trouble_of(failure: Failure, message: str = "") -> Trouble:
    """A classified failure in the table's words: the handler's exit code where there is one, else ARM's code."""
    code = str(failure.exit_code) if failure.exit_code is not None else failure.code
    return Trouble(code or failure.cause, failure.cause, failure.meaning, failure.advice, message)


def after_refusal(pace: Pace, failure: Failure, message: str) -> Wait | Skip:
    """What becomes of a row whose read or request ARM refused."""
    trouble = trouble_of(failure, message)
    if failure.cause is Cause.VM_GONE:
        return Skip(Outcome.GONE, "ARM knows no such VM (any more)")
    waiting_for = WaitingFor.SCOPE_PAUSED if failure.scope_wide else _WAITS_AFTER.get(failure.cause)
    if waiting_for is None and failure.kind is not FailureClass.PERMANENT:
        waiting_for = WaitingFor.PLATFORM
    if waiting_for is None:
        return Skip(Outcome.FAILED, f"ARM refused: {failure.meaning}", trouble)
    later = pace.wait(waiting_for, failure.meaning, trouble)
    if later is None:
        return Skip(Outcome.FAILED, f"gave up: {failure.meaning}", trouble)
    longest = pace.waits[waiting_for].give_up_after
    asked = pace.now + timedelta(seconds=min(failure.retry_after or 0, longest))
    return later if asked <= later.until else Wait(waiting_for, later.since, asked, later.reason, trouble)


def _not_selected(s: Situation) -> Decision | None:
    return None if s.assignment.selected else Skip(Outcome.OUT_OF_SCOPE, s.assignment.reason)


def _other_os(s: Situation) -> Decision | None:
    if s.facts.os_type in (s.entry.os_type, OsType.UNKNOWN):
        return None
    return Skip(Outcome.OUT_OF_SCOPE, f"a {s.facts.os_type} VM; {s.entry.display_name} is for {s.entry.os_type}")


def _deleting(s: Situation) -> Decision | None:
    if s.facts.provisioning_state.lower() != "deleting":
        return None
    return Skip(Outcome.GONE, "the VM is being deleted")


def _accepted_instead(s: Situation) -> Decision | None:
    policy = s.assignment.policy
    other = instead(policy, s.facts, s.extension, s.now)
    if other is None:
        return None
    return AlreadyInstalled(other, False, f"existenceCondition of policy {policy.name} holds for {other.name}")


def _present(s: Situation) -> Decision | None:
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.SUCCEEDED or s.unmet:
        return None
    if s.elsewhere and s.assignment.policy.reconnect:
        return None
    trouble = _connected_elsewhere(s) if s.elsewhere else None
    different = "".join(f"; {each}" for each in differences(s.assignment.policy, s.settings, extension))
    if _asked_for(s, extension):
        return AlreadyInstalled(extension, True, f"the handler reports success{different}", trouble)
    there = f"{s.entry.type} was there before we looked, as {extension.name}"
    return AlreadyInstalled(extension, False, there + different, trouble)


def _connected_elsewhere(s: Situation) -> Trouble:
    known = advice_on(s.entry)
    return Trouble(Cause.ALREADY_CONNECTED, Cause.ALREADY_CONNECTED, known.meaning, f"{known.advice} {MOVE}")


def _asked_for(s: Situation, extension: InstalledExtension) -> bool:
    """Whether this is the extension of our own request; a handler may report success after we gave it up."""
    last = s.last
    if last is None or last.extension_name.lower() != extension.name.lower():
        return False
    open_or_given_up = not last.outcome.final or last.outcome is Outcome.FAILED
    return last.outcome is Outcome.INSTALLED or (last.attempt > 0 and open_or_given_up)


def _under_way(s: Situation) -> Decision | None:
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.IN_PROGRESS:
        return None
    if s.last is not None and s.attempts and not s.last.outcome.final:
        later = s.pace.wait(WaitingFor.INSTALL, "ARM accepted the request; the handler is at work")
        return later or _gave_up(s, Cause.TIMEOUT, "the handler has not reported for too long")
    later = s.pace.wait(WaitingFor.OPERATION, f"another deployment is writing extension {extension.name}")
    return later or _gave_up(s, Cause.OPERATION_IN_PROGRESS, "another deployment has not ended for too long")


def _unsupported(s: Situation) -> Decision | None:
    return Skip(Outcome.UNSUPPORTED, s.judgement.reason) if s.judgement.verdict is Verdict.UNSUPPORTED else None


def _undetermined(s: Situation) -> Decision | None:
    if s.judgement.verdict is not Verdict.UNKNOWN or _forced(s):
        return None
    if s.release.needs_agent:
        later = _not_running(s) or _agent_silent(s)
        if isinstance(later, Wait):
            return later
    return Skip(Outcome.UNDETERMINED, s.judgement.reason)


def _forced(s: Situation) -> bool:
    """A person vouches for the operating system, or did when this row's request was sent."""
    last = s.last
    sent = last is not None and not last.outcome.final and last.attempt > 0 and last.verdict == Verdict.UNKNOWN
    return sent or (s.asked is not None and s.asked.force)


def _audited(s: Situation) -> Decision | None:
    if s.assignment.policy.effect is not Effect.AUDIT:
        return None
    would = f"would be updated: {s.unmet}" if s.unmet else "would be installed"
    return Skip(Outcome.AUDITED, f"policy {s.assignment.policy.name} only audits: {s.entry.type} {would}")


def _disallowed(s: Situation) -> Decision | None:
    facts = s.facts
    if facts.extension_operations_allowed is False:
        cause = Cause.EXTENSION_OPERATIONS_DISALLOWED
        return _failed(s, cause, "the VM's owner switched extension operations off (allowExtensionOperations is false)")
    if facts.provision_vm_agent is False and facts.agent is not AgentState.READY:
        cause = Cause.EXTENSION_OPERATIONS_DISALLOWED
        return _failed(s, cause, "the VM was made without the guest agent (provisionVMAgent is false)")
    return None


def _misconfigured(s: Situation) -> Decision | None:
    if not s.problems:
        return None
    problem = "; ".join(s.problems)
    advice = "mend what is named here, then write the VM or retry the row"
    trouble = Trouble(Cause.BAD_CONFIGURATION, Cause.BAD_CONFIGURATION, problem, advice)
    return Skip(Outcome.FAILED, f"our own settings are not usable: {problem}", trouble)


def _unmendable(s: Situation) -> Decision | None:
    """The extension has all that we would send, and still is not as the policy wants it: sending it again is idle."""
    extension = s.extension
    if extension is None or not s.unmet or any(differences(s.assignment.policy, s.settings, extension)):
        return None
    if extension.version != s.entry.version or set(s.settings) - set(extension.settings):
        return None
    advice = "let the policy's settings and its existenceCondition agree, then retry the row"
    trouble = Trouble(Cause.BAD_CONFIGURATION, Cause.BAD_CONFIGURATION, s.unmet, advice)
    return Skip(Outcome.FAILED, f"it has the policy's settings, and yet {s.unmet}", trouble)


def _not_running(s: Situation) -> Decision | None:
    if s.facts.power in (PowerState.RUNNING, PowerState.UNKNOWN):
        return None
    reason = f"the VM is {s.facts.power}; extensions need it running, and its start event wakes this row"
    return s.pace.wait(WaitingFor.VM_RUNNING, reason) or _gave_up(
        s, Cause.VM_NOT_RUNNING, "the VM has not been started"
    )


def _agent_silent(s: Situation) -> Decision | None:
    running = s.facts.power is PowerState.RUNNING
    if running and s.facts.agent is AgentState.READY and not s.facts.os_provisioning:
        return None
    later = s.pace.wait(WaitingFor.AGENT_READY, "the guest agent has not reported ready yet")
    return later or _gave_up(s, Cause.VM_AGENT_UNREACHABLE, "the guest agent has not reported ready for too long")


def _broken(s: Situation) -> Decision | None:
    """The extension is there and failed: what the handler said decides between another try and a person."""
    extension = s.extension
    if extension is None or read_extension_state(extension) is not ExtensionState.FAILED:
        return None
    failure = classify(Evidence.from_status(extension.statuses), s.entry.errors, s.now)
    trouble = trouble_of(failure, "\n".join(status.message for status in extension.statuses if status.message))
    if s.asked is not None and _held(s) is None:
        return _install(s, f"a person asks again after: {failure.meaning}", force=True)
    if failure.kind in (FailureClass.TRANSIENT, FailureClass.WAITING):
        return _try_again(s, failure, trouble)
    if failure.cause is Cause.ALREADY_CONNECTED:
        if s.assignment.policy.reconnect and differs(s.settings, extension):
            return _install(s, f"connects it here as well: {failure.meaning}", force=True)
        trouble = replace(trouble, advice=f"{trouble.advice} {MOVE}")
    if failure.scope_wide and (later := _paused(s, failure, trouble)):
        return later
    return Skip(Outcome.FAILED, f"the handler failed: {failure.meaning}", trouble)


def _paused(s: Situation, failure: Failure, trouble: Trouble) -> Decision | None:
    """The handler proved trouble of the whole scope. When its look has come, asking again is what probes it."""
    last = s.last
    if s.attempts >= _MOST_PROBES:
        return None
    if last and last.waiting_for is WaitingFor.SCOPE_PAUSED and last.next_attempt_at and last.next_attempt_at <= s.now:
        return _install(s, f"try {s.attempts + 1} after: {failure.meaning}", force=True)
    return s.pace.wait(WaitingFor.SCOPE_PAUSED, failure.meaning, trouble)


def _try_again(s: Situation, failure: Failure, trouble: Trouble) -> Decision:
    locked = failure.cause is Cause.PACKAGE_MANAGER_LOCKED
    kind = WaitingFor.PACKAGE_MANAGER if locked else WaitingFor.PLATFORM
    last = s.last
    if last and last.waiting_for is kind and last.next_attempt_at and last.next_attempt_at <= s.now:
        return _install(s, f"try {s.attempts + 1} after: {failure.meaning}", force=True)
    spent = failure.max_attempts is not None and s.attempts >= failure.max_attempts
    pause = None if spent else s.pace.waits[kind].pause_before(max(s.attempts, 1))
    if pause is None:
        return Skip(Outcome.FAILED, f"gave up after {s.attempts} tries: {failure.meaning}", trouble)
    if last and last.waiting_for is kind and last.next_attempt_at and last.waiting_since:
        return Wait(kind, last.waiting_since, last.next_attempt_at, last.reason, trouble)
    return Wait(kind, s.now, s.now + pause, f"try {max(s.attempts, 1)} failed: {failure.meaning}", trouble)


def _fresh(s: Situation) -> Decision | None:
    """Two package managers at once break the owner's first-boot installs; a policy can leave them time."""
    delay, born = s.assignment.policy.settle_delay, s.facts.time_created
    if not delay or born is None or born + delay <= s.now:
        return None
    return Wait(WaitingFor.SETTLE_DELAY, born, born + delay, f"the VM is new; the policy leaves it {delay} to settle")


def _held(s: Situation) -> Decision | None:
    """A row that another look is going to take up: a claim that has not run out, or a pause that ARM asked for."""
    last = s.last
    if last is None or last.outcome.final or last.waiting_for is None or last.waiting_for not in _HOLDING:
        return None
    if last.next_attempt_at is None or last.next_attempt_at <= s.now:
        return None
    return Wait(last.waiting_for, last.waiting_since or s.now, last.next_attempt_at, last.reason, _told(last))


def _exhausted(s: Situation) -> Decision | None:
    if s.last is None or s.last.outcome.final or s.attempts < MOST_ATTEMPTS:
        return None
    if (trouble := _told(s.last)) is not None:
        return Skip(Outcome.FAILED, f"gave up after {s.attempts} requests: {trouble.meaning}", trouble)
    return _failed(s, Cause.UNKNOWN, f"gave up: ARM took {s.attempts} requests and the extension is still not there")


def _told(last: Row) -> Trouble | None:
    """The trouble that the row tells of; which cause it had is in its words alone."""
    if not last.error_code:
        return None
    return Trouble(last.error_code, Cause.UNKNOWN, last.error_meaning, last.advice, last.message)


def _install(s: Situation, reason: str, *, force: bool = False) -> Install:
    present = s.extension
    attempt = 1 if s.last is None or s.last.outcome.final else s.attempts + 1
    return Install(present.name if present else _free_name(s), attempt, force, reason)


def _free_name(s: Situation) -> str:
    """The entry's resource name, or its type where somebody else's extension has that name."""
    taken = {extension.name.lower() for extension in s.facts.extensions}
    return s.entry.type if s.entry.resource_name.lower() in taken else s.entry.resource_name


def _failed(s: Situation, cause: Cause, reason: str) -> Skip:
    known = s.entry.errors.causes[cause]
    return Skip(Outcome.FAILED, reason, Trouble(cause, cause, known.meaning, known.advice))


def _gave_up(s: Situation, cause: Cause, reason: str) -> Skip:
    since = s.last.waiting_since if s.last else None
    return _failed(s, cause, f"{reason} (waited since {since:%Y-%m-%d %H:%M} UTC)" if since else reason)


_WAITS_AFTER = {
    Cause.VM_NOT_RUNNING: WaitingFor.VM_RUNNING,
    Cause.VM_AGENT_UNREACHABLE: WaitingFor.AGENT_READY,
    Cause.THROTTLED: WaitingFor.THROTTLING,
    Cause.OPERATION_IN_PROGRESS: WaitingFor.OPERATION,
    Cause.ALREADY_INSTALLED_UNDER_OTHER_NAME: WaitingFor.OPERATION,
    Cause.PACKAGE_MANAGER_LOCKED: WaitingFor.PACKAGE_MANAGER,
}

_HOLDING = (
    WaitingFor.CLAIM,
    WaitingFor.INSTALL,
    WaitingFor.THROTTLING,
    WaitingFor.PLATFORM,
    WaitingFor.OPERATION,
)

_QUESTIONS: tuple[Callable[[Situation], Decision | None], ...] = (
    _deleting,
    _not_selected,
    _other_os,
    _accepted_instead,
    _present,
    _under_way,
    _unsupported,
    _undetermined,
    _audited,
    _disallowed,
    _misconfigured,
    _unmendable,
    _not_running,
    _agent_silent,
    _broken,
    _fresh,
    _held,
    _exhausted,
)
