"""What a decision about one VM and one extension rests on (`DecisionContext`), and the four forms that it can take.

Every decision is a value with a reason that a person can read; no exception steers. `decide` makes the decision.
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
from onboarding.domain.policy.policy import Assignment, Effect
from onboarding.domain.policy.step_needs import StepNeeds
from onboarding.domain.policy_digest import same_file, same_version
from onboarding.domain.reconcile.row import SENT, Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.identity_step import Fit, misnamed
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.taking_up import ExistingMachine
from onboarding.domain.reconcile.update import Update, update_of
from onboarding.domain.reconcile.wait_schedule import SEEN_BY_A_CHECK, WITHOUT_CAP, Waits


class Problem(Struct, frozen=True):
    """What went wrong, as the row's error columns say it."""

    code: str  # the handler's exit code, ARM's error code, or the cause where there is neither
    cause: Cause
    meaning: str  # one sentence for people
    advice: str  # what a person should do
    message: str = ""  # what ARM or the handler wrote, not yet cut or masked; empty if they wrote nothing
    stored_cause: str | None = None  # the cause in the row that the problem was read from; None: it was found now


class Act(Struct, frozen=True):
    """Send ARM the request of one step."""

    name: str  # of the extension resource; empty for another step
    attempt: int  # of this row, from 1
    force: bool  # make the handler run again although the request equals one that failed
    reason: str
    step: StepKind = StepKind.EXTENSION


class Satisfied(Struct, frozen=True):
    """The extension is on the VM and healthy: nothing to send."""

    extension: InstalledExtension
    ours: bool  # our request installed it
    reason: str
    problem: Problem | None = None  # it reports to a destination other than the policy's


class Wait(Struct, frozen=True):
    """Do nothing now and reconcile again later."""

    waiting_for: WaitingFor
    since: datetime  # when the row began to wait for this (UTC); the caps count from here
    until: datetime  # when to reconcile again (UTC)
    reason: str
    problem: Problem | None = None  # the failure or refusal that makes it wait; None if nothing went wrong


class Stop(Struct, frozen=True):
    """Nothing to do until a new event, a policy change or a person gives a reason."""

    outcome: Outcome  # a final one
    reason: str
    problem: Problem | None = None  # set for `Failed`, and where the right to read something is missing


type Decision = Act | Satisfied | Wait | Stop


class RetryState(Struct, frozen=True):
    """What the next wait or attempt follows from."""

    last: Row | None  # the row of this VM; None without one, or if it is of an earlier VM with the same name
    waits: Waits  # the schedules of the policy
    now: datetime  # UTC
    resend: bool = False  # the attempt that the row's claim names may be sent once more
    checks: bool = False  # the machine's scheduled check is the reason of this pass

    def wait(self, waiting_for: WaitingFor, reason: str, problem: Problem | None = None) -> Wait | None:
        """The wait until this kind's next check; None when its cap is over. A moment that is already planned stays."""
        since = self.since(waiting_for)
        if waiting_for not in WITHOUT_CAP and self.waits[waiting_for].next_interval(self.now - since) is None:
            planned = self._planned(waiting_for)
            return Wait(waiting_for, since, planned, reason, problem) if planned else None
        return self.wait_on(waiting_for, reason, problem)

    def wait_on(self, waiting_for: WaitingFor, reason: str, problem: Problem | None = None) -> Wait:
        """The same without a cap, for what other people have to end.

        The machine's check sees what all its rows wait for, so the intervals of such waits begin again with it: rows
        that began to wait at different times come to share one moment."""
        since, planned = self.since(waiting_for), self._planned(waiting_for)
        seen = self.checks and waiting_for in SEEN_BY_A_CHECK and not (self.last and self.last.error_code)
        if planned and not seen:
            return Wait(waiting_for, since, planned, reason, problem)
        interval = self.waits[waiting_for].interval_at(self.now - since)
        return Wait(waiting_for, since, self.now + interval, reason, problem)

    def _planned(self, waiting_for: WaitingFor) -> datetime | None:
        """The moment of this wait's next check; None if it is over, or if the row waits for something else."""
        last = self.last
        planned = last.next_attempt_at if last is not None and last.waiting_for is waiting_for else None
        return planned if planned and planned > self.now else None

    def since(self, waiting_for: WaitingFor) -> datetime:
        """When this kind of waiting began."""
        last = self.last
        same = last is not None and last.waiting_for is waiting_for
        return last.waiting_since if same and last is not None and last.waiting_since else self.now


class IdentityState(Struct, frozen=True):
    """How the machine's identities meet what the policy wants."""

    fit: Fit
    lost: frozenset[str] = frozenset()  # identities that our last request lost, folded
    added: tuple[str, ...] = ()  # what one request adds for all policies of the machine
    policies: tuple[str, ...] = ()  # the names of those policies


class Preceding(Struct, frozen=True):
    """How the policy stands that a removal comes after (`onlyAfter`)."""

    since: datetime | None = None  # since when it is satisfied on this machine (UTC); None if it is not
    reason: str = ""  # why it is not satisfied, or why that could not be proved
    proved: bool = False  # whether this pass has proved it from ARM, and with a heartbeat where that is asked for
    problem: Problem | None = None  # why the proof could not be read
    unheard: bool = False  # what is missing of the proof is the agent's heartbeat


class DecisionContext(Struct, frozen=True):
    """Everything that a decision rests on."""

    facts: MachineFacts  # what ARM says about the machine
    release: OsRelease  # its operating system
    judgement: Judgement  # whether the extension supports that operating system
    assignment: Assignment  # the policy, and whether it selects the machine
    entry: CatalogueEntry  # the extension
    problems: tuple[str, ...]  # what is wrong with the public and protected settings; empty if nothing is
    retry: RetryState
    settings: Mapping[str, Any] = field(default_factory=dict)  # the public settings that would be sent
    request: OperatorRequest | None = None  # None if no person asked for this pass
    in_flight: Row | None = None  # the row of another extension whose write of this machine has not ended
    settings_digest: str = ""  # the digest of `settings`
    needs: StepNeeds = StepNeeds()  # what the policy wants besides the extension
    identity: IdentityState | None = None  # None if the policy wants no identity, or does not want it of this machine
    preceding: Preceding = Preceding()  # of the policy that this one's removal comes after
    needed: tuple[CatalogueEntry, ...] = ()  # the extensions that have to be there first
    existing: ExistingMachine | None = None  # why the policy only audits this machine; None if it may act on it
    protected_digest: str = ""  # the keyed digest of the protected settings that would be sent; empty without a key
    caller: str = ""  # the kind of whoever wrote or deleted the extension, by the event of it; empty if unknown
    swept: bool = False  # the sweep or a person asked for this pass, so that an update of a final row may begin

    @property
    def acts(self) -> bool:
        """Whether the policy writes to the machine; else it only says what would be done."""
        return self.assignment.policy.effect is Effect.DEPLOY and self.existing is None

    @property
    def extension(self) -> InstalledExtension | None:
        return self.facts.find_extension(self.entry.publisher, self.entry.type)

    @property
    def removes(self) -> bool:
        """Whether the extension is to be removed, because a person or the policy says so. What a person began to remove
        goes on until it has ended or the policy changes."""
        if self.request is not None and self.request.removal is not None:
            return self.request.removal
        last = self.last
        begun = last is not None and not last.outcome.final and last.step == StepKind.REMOVAL
        return self.assignment.policy.removes or (begun and not self.policy_changed)

    @property
    def policy_changed(self) -> bool:
        """Whether another policy, or another version of it, decided the last row."""
        return self.last is not None and not same_version(self.last.policy_hash, self.assignment.policy.digest)

    @property
    def file_changed(self) -> bool:
        """The same of the policy's file alone, whatever has changed of its extension in the catalogue."""
        return self.last is not None and not same_file(self.last.policy_hash, self.assignment.policy.digest)

    @property
    def unmet(self) -> str:
        """Why an extension that is installed and healthy still does not meet the policy; empty if it does."""
        extension = self.extension
        healthy = extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED
        return unmet(self.assignment.policy, self.facts, extension, self.now) if healthy else ""

    @property
    def elsewhere(self) -> str:
        """Where an installed and healthy extension reports to instead of the policy's destination; empty if there."""
        extension = self.extension
        healthy = extension is not None and read_extension_state(extension) is ExtensionState.SUCCEEDED
        return elsewhere(self.entry, self.settings, extension) if healthy and extension is not None else ""

    @property
    def drift(self) -> str:
        """How an extension that we installed differs from what we sent, or which identity it no longer finds; empty if
        all is as it was, or if that is unknown."""
        extension, last = self.extension, self.last
        ours = last is not None and (last.was_ours or last.waiting_for in SENT)
        if extension is None or last is None or not ours:
            return ""
        if read_extension_state(extension) is not ExtensionState.SUCCEEDED:
            return ""
        if last.extension_name.lower() != extension.name.lower():
            return ""
        if not last.has_sent(extension.settings):
            return f"the settings of {extension.name} are not those that we sent"
        if self.identity is None or not self.identity.fit.there:
            return ""
        return misnamed(self.facts.identity, self.identity.fit, extension.settings, self.settings)

    @property
    def pending(self) -> Update | None:
        """What has changed of an extension that we installed since its policy or its catalogue entry changed; None if
        nothing has, or if the extension is not as we left it."""
        extension, last = self.extension, self.last
        if extension is None or last is None or not (last.was_ours or last.failed_update):
            return None
        if not self.assignment.selected or self.removes or last.extension_name.lower() != extension.name.lower():
            return None
        if read_extension_state(extension) is not ExtensionState.SUCCEEDED:
            return None
        policy, again = self.assignment.policy, self.request is not None or last.failed_update
        return update_of(self.entry, policy, extension, last, self.settings, self.protected_digest, again=again)

    @property
    def update(self) -> Update | None:
        """The update that is to be sent. Events alone begin none: hosts with the policy of before may still be at work,
        and the sweep waits until it is the same on all of them. One that failed begins again for a person."""
        last = self.last
        if not self.acts or last is None or (last.failed_update and self.request is None):
            return None
        begun = not last.outcome.final and last.update != ""
        return self.pending if self.swept or begun else None

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
    """What a person asked for on the command line."""

    policy: str = ""  # reconcile for this policy alone; empty for all
    extension: str = ""  # for this extension alone; empty for all
    removal: bool | None = None  # remove what is there, or install it; None: whichever the policy says
    force: bool = False  # install although support for the operating system is unknown
    reconnect: bool = False  # move a VM that reports to another workspace to the policy's
    despite_pause: bool = False  # send requests although a person has paused them
    by: str = ""  # the person's object id in Microsoft Entra ID; empty if unknown
