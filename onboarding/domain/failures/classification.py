"""From evidence of a failure to what it is: class, cause, meaning, advice, and how long it asks to wait.

Also reads how an installed extension stands, because that, too, must see through what ARM reports. Pure: the time
enters as an argument, the rules as a table; no input makes it raise.
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
from onboarding.domain.machine.machine_facts import InstalledExtension, Status

__all__ = [
    "Cause",
    "ErrorTable",
    "Evidence",
    "ExtensionState",
    "Failure",
    "FailureClass",
    "classify",
    "parse_errors",
    "read_extension_state",
    "reports_failure",
]

_TERMINAL = re.compile(
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
    """One failure, judged. `retry_after` is in seconds; `max_attempts` is there for every transient failure and only
    for those; `scope_wide` says that every VM of the scope would fail alike."""

    kind: FailureClass
    cause: Cause
    exit_code: int | None
    code: str
    meaning: str
    advice: str
    retry_after: float | None = None
    scope_wide: bool = False
    max_attempts: int | None = None


def classify(evidence: Evidence, errors: ErrorTable, now: datetime) -> Failure:
    """Judge a failure by the first rule of the table that holds."""
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
    """How an extension stands, from ARM's state of the resource and the handler's statuses together.

    A handler may report a final error as "transitioning", and may have failed long before ARM ends the operation. But
    while an *update* runs, a failed status can be the one before it, so it is not yet believed."""
    arm = extension.provisioning_state.lower()
    if arm in _CHANGING:
        return ExtensionState.IN_PROGRESS
    if arm in ("failed", "canceled") or any(reports_failure(status) for status in extension.statuses):
        return ExtensionState.FAILED
    reported = any(status.code.lower() == "provisioningstate/succeeded" for status in extension.statuses)
    return ExtensionState.SUCCEEDED if arm == "succeeded" or (reported and not arm) else ExtensionState.IN_PROGRESS


def reports_failure(status: Status) -> bool:
    """Whether a status tells of a failure, also one that it calls a transition."""
    state = status.code.lower()
    if state.startswith("provisioningstate/failed"):
        return True
    return state == "provisioningstate/transitioning" and _TERMINAL.search(status.message) is not None


def is_the_callers(evidence: Evidence, failure: Failure) -> bool:
    """Whether the refusal is about who asks: a login or a right is missing. It says nothing about the VM."""
    return evidence.code in NO_TOKEN or failure.cause is Cause.NOT_AUTHORIZED
