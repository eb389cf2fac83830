"""The rules that tell one failure from another: what to look at, and what it then means.

A rule holds when all that it names is there; the first that holds decides. Texts are tried before numbers, because
one exit code has many meanings. The rules themselves are data (`error_table`); no extension is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import replace
from enum import StrEnum
from fnmatch import fnmatchcase

from msgspec import Struct

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.handler_name import HandlerNames
from onboarding.domain.failures.handler_report import HandlerReport
from onboarding.domain.lazy_pattern import Pattern
from onboarding.domain.masking import cut, mask

_HANDLERS_CODES = ("provisioningstate/*", "vmextension*")


class FailureClass(StrEnum):
    """What can be done about a failure."""

    TRANSIENT = "transient"
    WAITING = "waiting"
    PERMANENT = "permanent"
    ALREADY_DONE = "already_done"


class Cause(StrEnum):
    """Why it failed. `arm_errors.yaml` says of each what it means and what to do."""

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
    CONTESTED = "contested"
    NOT_AUTHORIZED = "not-authorized"
    BLOCKED_BY_POLICY = "blocked-by-policy"
    RESOURCE_LOCKED = "resource-locked"
    SUBSCRIPTION_NOT_REGISTERED = "subscription-not-registered"
    SUBSCRIPTION_DISABLED = "subscription-disabled"
    PLATFORM_ERROR = "platform-error"
    UNKNOWN = "unknown"


class Diagnosis(Struct, frozen=True):
    """What a rule concludes. `{name}` in meaning and advice stands for the group of that name in the rule's text.

    `max_attempts` bounds the tries of a transient failure; the others have none. `exit_code` is the one that the
    words imply where they do not tell it."""

    cause: Cause
    kind: FailureClass
    meaning: str
    advice: str
    scope_wide: bool = False
    max_attempts: int | None = None
    exit_code: int | None = None

    def filled(self, words: Mapping[str, str]) -> Diagnosis:
        """With the failure's own words in place; they are foreign, so they are masked and kept short."""
        meaning, advice = self.meaning, self.advice
        for name, value in words.items():
            shown = cut(mask(" ".join(value.split())), 200)
            meaning, advice = (text.replace(f"{{{name}}}", shown) for text in (meaning, advice))
        return replace(self, meaning=meaning, advice=advice)


class Rule(Struct, frozen=True):
    """A condition and its diagnosis; an empty part of the condition holds for everything.

    `codes` may have `*` in them, without regard to case. A `refusal` is not looked for in what a handler said, which
    may quote any service. `since` is the first handler version that speaks so; it is
    looked at only where the failure names a version. `place` is where the rule stands in the data."""

    diagnosis: Diagnosis
    statuses: frozenset[int] = frozenset()
    codes: tuple[str, ...] = ()
    text: Pattern | None = None
    operations: frozenset[str] = frozenset()
    exit_codes: frozenset[int] = frozenset()
    refusal: bool = False
    since: tuple[int, ...] = ()
    place: str = ""

    def holds(self, evidence: Evidence, report: HandlerReport) -> bool:
        """Whether everything but the text is as the rule wants it."""
        return (
            (not self.statuses or evidence.http_status in self.statuses)
            and (not self.codes or _any_matches(evidence.codes, self.codes))
            and (not self.exit_codes or report.exit_code in self.exit_codes)
            and (not self.operations or not report.operation or report.operation in self.operations)
            and (not self.refusal or not _of_a_handler(evidence, report))
            and (not self.since or not report.version or report.version >= self.since)
        )


class Edition(Struct, frozen=True):
    """A code table as it was published: `handler_version` is the first that speaks so, empty for all."""

    date: str
    source: str
    handler_version: str
    rules: tuple[Rule, ...]


class ErrorTable(Struct, frozen=True):
    """Every rule that applies to one extension, in the order of decision; `editions`, the oldest first, are the code
    tables that some of them come from. `handlers` gives the names by which a failure's handler is found."""

    rules: tuple[Rule, ...]
    causes: Mapping[Cause, Diagnosis]
    handlers: Callable[[], HandlerNames]
    editions: tuple[Edition, ...] = ()

    def find(self, evidence: Evidence, report: HandlerReport) -> Diagnosis:
        """The diagnosis of the first rule that holds; `unknown` if none does."""
        text = evidence.text
        for rule in self.rules:
            if not rule.holds(evidence, report):
                continue
            if rule.text is None:
                return rule.diagnosis
            if found := rule.text.search(text):
                return rule.diagnosis.filled({name: value or "" for name, value in found.groupdict().items()})
        return self.causes[Cause.UNKNOWN]


def _of_a_handler(evidence: Evidence, report: HandlerReport) -> bool:
    return report.exit_code is not None or _any_matches(evidence.codes, _HANDLERS_CODES)


def _any_matches(codes: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(code.lower(), pattern) for code in codes for pattern in patterns)
