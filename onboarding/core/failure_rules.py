"""The rules that tell one failure from another, read from data: what to look at, and what it then means.

A rule holds when all that it names is there; the first that holds decides. Texts are tried before numbers, because
one exit code has many meanings. Bad rules are refused when they are read, with the place; none is guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from onboarding.core.evidence import Evidence
from onboarding.core.handler_report import HandlerReport


class FailureClass(StrEnum):
    """What can be done about a failure."""

    TRANSIENT = "transient"
    WAITING = "waiting"
    PERMANENT = "permanent"
    ALREADY_DONE = "already_done"


class Cause(StrEnum):
    """Why it failed. `core/data/arm_errors.yaml` says of each what it means and what to do."""

    UNSUPPORTED_OS = "unsupported-os"
    PACKAGE_INSTALL_FAILED = "package-install-failed"
    MISSING_DEPENDENCY = "missing-dependency"
    LOW_DISK_SPACE = "low-disk-space"
    AGENT_CONFIGURATION_FAILED = "agent-configuration-failed"
    BAD_CONFIGURATION = "bad-configuration"
    ALREADY_CONNECTED = "already-connected"
    NO_CONNECTIVITY = "no-connectivity"
    PACKAGE_MANAGER_LOCKED = "package-manager-locked"
    ENABLE_BEFORE_INSTALL = "enable-before-install"
    SERVICE_START_FAILED = "service-start-failed"
    TIMEOUT = "timeout"
    DOWNLOAD_FAILED = "download-failed"
    ALREADY_INSTALLED_UNDER_OTHER_NAME = "already-installed-under-other-name"
    ALREADY_INSTALLED_OTHER_VERSION = "already-installed-other-version"
    BAD_REQUEST = "bad-request"
    VM_NOT_RUNNING = "vm-not-running"
    EXTENSION_OPERATIONS_DISALLOWED = "extension-operations-disallowed"
    VM_AGENT_UNREACHABLE = "vm-agent-unreachable"
    THROTTLED = "throttled"
    OPERATION_IN_PROGRESS = "operation-in-progress"
    VM_GONE = "vm-gone"
    NOT_AUTHORIZED = "not-authorized"
    BLOCKED_BY_POLICY = "blocked-by-policy"
    RESOURCE_LOCKED = "resource-locked"
    SUBSCRIPTION_NOT_REGISTERED = "subscription-not-registered"
    SUBSCRIPTION_DISABLED = "subscription-disabled"
    PLATFORM_ERROR = "platform-error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a rule concludes. `max_attempts` bounds the tries of a transient failure; the others are not tried."""

    cause: Cause
    kind: FailureClass
    meaning: str
    advice: str
    scope_wide: bool = False
    max_attempts: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition and its diagnosis; an empty part of the condition holds for everything.

    `since` is the first handler version that speaks so; it is looked at only where the failure names a version."""

    diagnosis: Diagnosis
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None
    operations: frozenset[str] = frozenset()
    exit_codes: frozenset[int] = frozenset()
    since: tuple[int, ...] = ()
    place: str = field(default="", compare=False)

    def holds(self, evidence: Evidence, report: HandlerReport) -> bool:
        return (
            (not self.statuses or evidence.http_status in self.statuses)
            and (not self.codes or any(code.lower() in self.codes for code in evidence.codes))
            and (not self.exit_codes or report.exit_code in self.exit_codes)
            and (not self.operations or not report.operation or report.operation in self.operations)
            and (not self.since or not report.version or report.version >= self.since)
            and (self.text is None or self.text.search(evidence.text) is not None)
        )


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Every rule that applies to one extension, in the order of decision; the last one always holds."""

    rules: tuple[Rule, ...]
    causes: Mapping[Cause, Diagnosis]

    def find(self, evidence: Evidence, report: HandlerReport) -> Diagnosis:
        """The diagnosis of the first rule that holds."""
        holding = (rule.diagnosis for rule in self.rules if rule.holds(evidence, report))
        return next(holding, self.causes[Cause.UNKNOWN])
