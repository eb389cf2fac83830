"""Whether a change of what is on a machine has to wait for its change window: an update, a repair, a removal.

The first install is never held, nor is an extension that somebody removed: nothing that is there is changed. Nor are
further attempts of such an install, until it has succeeded. An identity may change how applications on the machine log
in, so only a new machine gets one outside of its window.
"""

from __future__ import annotations

from datetime import datetime

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.failures.classification import ExtensionState, read_extension_state
from onboarding.domain.machine.machine_facts import NEW_FOR, MachineFacts
from onboarding.domain.policy.change_window import ChangeWindows, read_tag
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.decision import Act, DecisionContext, Wait
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.step import StepKind

_UNFINISHED = (Outcome.REQUESTED, Outcome.WAITING, Outcome.FAILED)


def held_by_window(s: DecisionContext) -> Wait | None:
    """The wait of any change of what is there until the next window opens; None if it may be sent now."""
    try:
        windows, source = windows_of(s.assignment.policy, s.facts)
    except ConfigurationError as error:
        reason = f"nothing that is there is changed: {error}"
        return s.retry.wait_on(WaitingFor.CHANGE_WINDOW, reason)
    if not windows or windows.is_open(s.now):
        return None
    opening = windows.next_opening(s.now)
    reason = f"changes wait for the change window of {source} ({windows}), which opens at {opening:%Y-%m-%d %H:%M} UTC"
    turn = windows.turn_of(s.facts.id.key, s.now)
    return Wait(WaitingFor.CHANGE_WINDOW, s.retry.since(WaitingFor.CHANGE_WINDOW), turn, reason)


def changes_what_is_there(s: DecisionContext, act: Act) -> bool:
    """Whether the request changes something that was on the machine before us."""
    if act.step is StepKind.IDENTITY:
        return not _is_new(s)
    return act.step is StepKind.REMOVAL or (s.extension is not None and not _is_first_install(s))


def outcome_before(s: DecisionContext) -> str:
    """What the row keeps of an extension that was there when a change of it was held back or claimed: its outcome
    then."""
    last = s.last
    if s.extension is None:
        return ""
    if last is not None and last.was and last.was != Outcome.REMOVED:  # what was removed has been installed again
        return last.was
    if _is_first_install(s):
        return ""
    overwritten = last is not None and not last.outcome.final and s.drift != ""
    ours = overwritten or (last is not None and last.outcome is Outcome.INSTALLED)
    return (Outcome.INSTALLED if ours else Outcome.ALREADY_INSTALLED).value


def window_text(policy: Policy, facts: MachineFacts, now: datetime) -> str:
    """The machine's windows and the next opening, for people; empty if it may be changed at any time."""
    try:
        windows, source = windows_of(policy, facts)
    except ConfigurationError as error:
        return f"closed: {error}"
    if not windows:
        return ""
    opens = "open now" if windows.is_open(now) else f"opens at {windows.next_opening(now):%Y-%m-%d %H:%M} UTC"
    return f"{windows} (of {source}), {opens}"


def windows_of(policy: Policy, facts: MachineFacts) -> tuple[ChangeWindows, str]:
    """The windows that apply to the machine, and whose they are: its tag's, else the policy's. Raises
    ConfigurationError for a tag that cannot be read."""
    name = policy.change_window_tag.lower()
    tag = next((value for key, value in facts.tags.items() if key.lower() == name), None) if name else None
    if tag is None:
        return policy.change_windows, f"policy {policy.name}"
    try:
        return read_tag(tag), f"the tag {policy.change_window_tag}"
    except ConfigurationError as error:
        problem = f"the tag {policy.change_window_tag} of the VM: {error.problem}"
        raise ConfigurationError("", problem, error.fix) from None


def _is_first_install(s: DecisionContext) -> bool:
    """Whether the row's own requests brought the extension, and nobody has installed it yet."""
    last, extension = s.last, s.extension
    if extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED:
        return False
    return last is not None and last.attempt > 0 and last.outcome in _UNFINISHED and not last.was


def _is_new(s: DecisionContext) -> bool:
    """Whether the machine was new when the row opened."""
    last, created = s.last, s.facts.time_created
    opened = last.event_time if last is not None and not last.outcome.final and last.event_time else s.now
    return created is not None and opened - created < NEW_FOR
