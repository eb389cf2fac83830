"""Classifies a failure by its evidence: class, cause, meaning, advice, and how long ARM asks to wait.

It also reads the state of an installed extension, where ARM's state and the handler's statuses can disagree. Pure: the
time and the table of rules are arguments; no input makes it raise.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from onboarding.domain.failures.error_table import parse_errors
from onboarding.domain.failures.evidence import NO_TOKEN, Evidence
from onboarding.domain.failures.failure_rules import Cause, ErrorTable, FailureClass
from onboarding.domain.failures.handler_report import read_report
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.lazy_pattern import Pattern
from onboarding.domain.machine.machine_facts import InstalledExtension, Status

__all__ = [
    "Cause",
    "ErrorTable",
    "Evidence",
    "ExtensionState",
    "Failure",
    "FailureClass",
    "classify",
    "is_being_written",
    "parse_errors",
    "read_extension_state",
    "reports_failure",
]

_TERMINAL = Pattern(
    r",failed,-?\d|Non-zero exit code|\bfailed with (?:exit code|error)|\bfailed due to|\bTimeout\(\d+\)"
    r"|Unsupported operating system|Indeterminate operating system|terminal (?:failure|error)",
    re.IGNORECASE,
)
_CHANGING = frozenset(("updating", "deleting", "accepted", "running", "inprogress"))


class ExtensionState(StrEnum):
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"


class Failure(Struct, frozen=True):
    """One failure, classified."""

    kind: FailureClass
    cause: Cause
    exit_code: int | None  # the handler's; None without one
    code: str  # ARM's error code or the status's; empty without one
    meaning: str  # one sentence for people
    advice: str  # what a person should do
    retry_after: float | None = None  # seconds that ARM asks to wait; None if it does not
    scope_wide: bool = False  # every VM of the scope would fail in the same way
    max_attempts: int | None = None  # of a transient failure; None for all others


def classify(evidence: Evidence, errors: ErrorTable, now: datetime) -> Failure:
    """Classify a failure by the first rule of the table that matches."""
    report = read_report(evidence, errors.handlers())
    found = errors.find(evidence, report)
    return Failure(
        kind=found.kind,
        cause=found.cause,
        exit_code=found.exit_code if report.exit_code is None else report.exit_code,
        code=evidence.code,
        meaning=found.meaning,
        advice=found.advice,
        retry_after=read_retry_after(evidence, now),
        scope_wide=found.scope_wide,
        max_attempts=found.max_attempts,
    )


def read_extension_state(extension: InstalledExtension) -> ExtensionState:
    """The state of an extension, from ARM's state of the resource and the handler's statuses together.

    A handler may report a final error as "transitioning", and may have failed long before ARM ends the operation. But
    while an *update* runs, a failed status may be from before the update, so it does not count yet."""
    arm = extension.provisioning_state.lower()
    if arm in _CHANGING:
        return ExtensionState.IN_PROGRESS
    if arm in ("failed", "canceled") or any(reports_failure(status) for status in extension.statuses):
        return ExtensionState.FAILED
    reported = any(status.code.lower() == "provisioningstate/succeeded" for status in extension.statuses)
    return ExtensionState.SUCCEEDED if arm == "succeeded" or (reported and not arm) else ExtensionState.IN_PROGRESS


def is_being_written(extension: InstalledExtension) -> bool:
    """Whether an operation on the extension is under way, whatever its handler reported meanwhile."""
    arm = extension.provisioning_state.lower()
    return arm == "creating" or read_extension_state(extension) is ExtensionState.IN_PROGRESS


def reports_failure(status: Status) -> bool:
    """Whether a status reports a failure, even if it calls itself a transition."""
    state = status.code.lower()
    if state.startswith("provisioningstate/failed"):
        return True
    return state == "provisioningstate/transitioning" and _TERMINAL.search(status.message) is not None


def is_the_callers(evidence: Evidence, failure: Failure) -> bool:
    """Whether the refusal is about the caller, who lacks a login or a right, and not about the VM."""
    return evidence.code in NO_TOKEN or failure.cause is Cause.NOT_AUTHORIZED
