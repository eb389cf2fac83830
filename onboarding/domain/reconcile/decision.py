"""What there is to decide about one VM and one extension, and the values that a decision can be.

Every decision has a reason that a person can read; nobody raises to steer. `decide` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.support_table import Judgement
from onboarding.domain.failures.classification import (
    Cause,
    ExtensionState,
    read_extension_state,
)
from onboarding.domain.image.os_release import OsRelease
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts
from onboarding.domain.policy.installed_extension import elsewhere, unmet
from onboarding.domain.policy.policy import Assignment
from onboarding.domain.reconcile.row import SENT, Outcome, Row, WaitingFor
from onboarding.domain.reconcile.wait_schedule import WITHOUT_CAP, Waits


class Problem(Struct, frozen=True):
    """What went wrong, in the table's words. `message` is the foreign text, not yet cut or masked."""

    code: str
    cause: Cause
    meaning: str
    advice: str
    message: str = ""


class Act(Struct, frozen=True):
    """Ask ARM for the extension. `force` makes the handler run again where the same request failed before."""

    name: str
    attempt: int
    force: bool
    reason: str


class Satisfied(Struct, frozen=True):
    """The extension is on the VM and healthy; `ours` if we asked for it. `trouble`: it reports to somebody else."""

    extension: InstalledExtension
    ours: bool
    reason: str
    problem: Problem | None = None


class Wait(Struct, frozen=True):
    """Not now: look again at `until`. `since` is when this kind of waiting began."""

    waiting_for: WaitingFor
    since: datetime
    until: datetime
    reason: str
    problem: Problem | None = None


class Stop(Struct, frozen=True):
    """Nothing to do, for good: the outcome says why."""

    outcome: Outcome
    reason: str
    problem: Problem | None = None


type Decision = Act | Satisfied | Wait | Stop


class RetryState(Struct, frozen=True):
    """Where a row stands in time. `last` is the row of this very VM, not of one that had its name before; `resend`
    says that the attempt which its claim names may be sent once more."""

    last: Row | None
    waits: Waits
    now: datetime
    resend: bool = False

    def wait(self, waiting_for: WaitingFor, reason: str, problem: Problem | None = None) -> Wait | None:
        """The next check of this kind of waiting; None when its time is up. A check that is planned already stays."""
        since = self.since(waiting_for)
        if waiting_for not in WITHOUT_CAP and self.waits[waiting_for].next_breaker(self.now - since) is None:
            last = self.last
            planned = last.next_attempt_at if last is not None and last.waiting_for is waiting_for else None
            if not planned or planned <= self.now:
                return None
        return self.wait_on(waiting_for, reason, problem)

    def wait_on(self, waiting_for: WaitingFor, reason: str, problem: Problem | None = None) -> Wait:
        """The same without an end: for what is in other people's hands."""
        since, last = self.since(waiting_for), self.last
        planned = last.next_attempt_at if last is not None and last.waiting_for is waiting_for else None
        if planned and planned > self.now:
            return Wait(waiting_for, since, planned, reason, problem)
        breaker = self.waits[waiting_for].breaker_at(self.now - since)
        return Wait(waiting_for, since, self.now + breaker, reason, problem)

    def since(self, waiting_for: WaitingFor) -> datetime:
        """When this kind of waiting began."""
        last = self.last
        same = last is not None and last.waiting_for is waiting_for
        return last.waiting_since if same and last is not None and last.waiting_since else self.now


class DecisionContext(Struct, frozen=True):
    """Everything that a decision rests on. `settings` are the public ones that would be sent, and `problems` what is
    wrong with these and the protected ones. `asked` is there when a person wants it; `in_flight` is the row of another
    extension that we are writing on this VM, `settings_digest` names the public settings."""

    facts: MachineFacts
    release: OsRelease
    judgement: Judgement
    assignment: Assignment
    entry: CatalogueEntry
    problems: tuple[str, ...]
    retry: RetryState
    settings: Mapping[str, Any] = field(default_factory=dict)
    request: OperatorRequest | None = None
    in_flight: Row | None = None
    settings_digest: str = ""

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
    def drift(self) -> str:
        """Why an extension that we installed is no longer what we sent; empty if it is, or if nobody knows."""
        extension, last = self.extension, self.last
        ours = last is not None and (last.outcome is Outcome.INSTALLED or last.waiting_for in SENT)
        if extension is None or last is None or not ours:
            return ""
        if read_extension_state(extension) is not ExtensionState.SUCCEEDED:
            return ""
        if last.extension_name.lower() != extension.name.lower():
            return ""
        return (
            "" if last.has_sent(extension.settings) else f"the settings of {extension.name} are not those that we sent"
        )

    @property
    def last(self) -> Row | None:
        return self.retry.last

    @property
    def now(self) -> datetime:
        return self.retry.now

    @property
    def attempts(self) -> int:
        return self.last.attempt if self.last else 0


class OperatorRequest(Struct, frozen=True):
    """`policy` keeps to what that policy decides; `force` takes an operating system that nothing tells for a supported
    one; `reconnect` moves a VM that reports to another workspace."""

    policy: str = ""
    force: bool = False
    reconnect: bool = False
