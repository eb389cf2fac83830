"""The rules that classify failures: each has a condition and a diagnosis.

A rule matches if all parts of its condition do; the first that matches decides. Texts are tried before numbers, because
one exit code has many meanings. The rules themselves are data (`error_table`); this module names no extension.
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

    TRANSIENT = "transient"  # another attempt may succeed
    WAITING = "waiting"  # something else has to happen first
    PERMANENT = "permanent"  # a person has to act
    ALREADY_DONE = "already_done"  # the machine already has what was requested


class Cause(StrEnum):
    """Why it failed. `arm_errors.yaml` says what each cause means and what to do about it."""

    UNSUPPORTED_OS = "unsupported-os"
    PACKAGE_INSTALL_FAILED = "package-install-failed"
    MISSING_DEPENDENCY = "missing-dependency"
    LOW_DISK_SPACE = "low-disk-space"
    AGENT_CONFIGURATION_FAILED = "agent-configuration-failed"
    BAD_CONFIGURATION = "bad-configuration"
    ALREADY_CONNECTED = "already-connected"
    NEEDED_EXTENSION_MISSING = "needed-extension-missing"
    IDENTITY_MISSING = "identity-missing"
    ASSOCIATION_MISSING = "association-missing"
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
    REMOVAL_FAILED = "removal-failed"
    NOT_AUTHORIZED = "not-authorized"
    BLOCKED_BY_POLICY = "blocked-by-policy"
    RESOURCE_LOCKED = "resource-locked"
    SUBSCRIPTION_NOT_REGISTERED = "subscription-not-registered"
    SUBSCRIPTION_DISABLED = "subscription-disabled"
    IDENTITY_CONFLICT = "identity-conflict"
    IDENTITY_REFUSED = "identity-refused"
    IDENTITY_LOST = "identity-lost"
    ENDPOINT_CONFLICT = "endpoint-conflict"
    WORKSPACE_UNREADABLE = "workspace-unreadable"
    EXISTING_MACHINE = "existing-machine"
    PLATFORM_ERROR = "platform-error"
    UNKNOWN = "unknown"


class Diagnosis(Struct, frozen=True):
    """What a rule concludes. `{name}` in meaning and advice stands for the group of that name in the rule's text."""

    cause: Cause
    kind: FailureClass
    meaning: str  # one sentence for people
    advice: str  # what a person should do
    scope_wide: bool = False  # every VM of the scope would fail in the same way
    max_attempts: int | None = None  # attempts of a transient failure; None for all others
    exit_code: int | None = None  # the handler's exit code that the text implies without containing it

    def filled(self, words: Mapping[str, str]) -> Diagnosis:
        """The diagnosis with the failure's own words filled in; they are foreign, so they are masked and cut."""
        meaning, advice = self.meaning, self.advice
        for name, value in words.items():
            shown = cut(mask(" ".join(value.split())), 200)
            meaning, advice = (text.replace(f"{{{name}}}", shown) for text in (meaning, advice))
        return replace(self, meaning=meaning, advice=advice)


class Rule(Struct, frozen=True):
    """A condition and its diagnosis; an empty part of the condition matches everything."""

    diagnosis: Diagnosis
    statuses: frozenset[int] = frozenset()  # HTTP statuses
    codes: tuple[str, ...] = ()  # in lower case; `*` is allowed
    text: Pattern | None = None  # searched for in all messages
    operations: frozenset[str] = frozenset()  # of the handler, in lower case; without one in the failure all match
    exit_codes: frozenset[int] = frozenset()  # of the handler
    refusal: bool = False  # ARM's: it does not match what a handler said, since that may quote any service
    since: tuple[int, ...] = ()  # the first handler version with this meaning; compared if the failure names a version
    place: str = ""  # where the rule is in the data

    def holds(self, evidence: Evidence, report: HandlerReport) -> bool:
        """Whether everything but the text matches."""
        return (
            (not self.statuses or evidence.http_status in self.statuses)
            and (not self.codes or _any_matches(evidence.codes, self.codes))
            and (not self.exit_codes or report.exit_code in self.exit_codes)
            and (not self.operations or not report.operation or report.operation in self.operations)
            and (not self.refusal or not _of_a_handler(evidence, report))
            and (not self.since or not report.version or report.version >= self.since)
        )


class Edition(Struct, frozen=True):
    """A table of exit codes as it was published."""

    date: str  # such as 2024-07-01
    source: str  # the address of the source
    handler_version: str  # the first version that it is about; empty for all
    rules: tuple[Rule, ...]


class ErrorTable(Struct, frozen=True):
    """All rules for one extension."""

    rules: tuple[Rule, ...]  # in the order in which they are tried
    causes: Mapping[Cause, Diagnosis]  # the meaning of each cause unless a rule has a more exact one
    handlers: Callable[[], HandlerNames]  # the names by which a failure's handler is found
    editions: tuple[Edition, ...] = ()  # the code tables that some rules come from, the oldest first

    def find(self, evidence: Evidence, report: HandlerReport) -> Diagnosis:
        """The diagnosis of the first rule that matches; that of the cause `unknown` if none does."""
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
