"""One visit to one VM: read it, decide per extension, and act.

The order is what keeps every promise: the look that will close the row is scheduled and the row is claimed before
ARM is asked, so a crash at any line leaves something written down that finishes the job.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from onboarding.core.catalog import CatalogueEntry, extension_body
from onboarding.core.configuration import ExtensionSettings, resolve_settings
from onboarding.core.decision import Install, Pace, Situation, Wait, after_refusal, decide
from onboarding.core.errors import ArmError, LostRace, StorageError
from onboarding.core.facts import MachineFacts, read_facts
from onboarding.core.failures import classify
from onboarding.core.images import NO_OVERRIDES, Overrides, identify
from onboarding.core.outcome import Outcome, Row, WaitingFor
from onboarding.core.policy import Assignment, PolicySet
from onboarding.core.record import Episode, Opening, claim_of, row_of, unread
from onboarding.core.resource_id import VmId
from onboarding.core.support import judge
from onboarding.events import Trigger
from onboarding.ports import Look, Ports, Stored

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to enforce, with which app settings, and what people taught about their own images."""

    policies: PolicySet
    catalogue: Mapping[str, CatalogueEntry]
    app_settings: Mapping[str, str]
    overrides: Overrides = NO_OVERRIDES


@dataclass(frozen=True, slots=True)
class Visit:
    """One reason to look at one VM, and what the table knew of it before. `created` is what the event said."""

    vm: VmId
    trigger: Trigger
    stored: Mapping[str, Stored]
    now: datetime
    created: bool = False

    def last(self, extension: str, vm_id: str = "") -> Row | None:
        """The extension's row, unless it is that of another VM that had this name before."""
        stored = self.stored.get(extension)
        if stored is None or (vm_id and stored.row.vm_id not in ("", vm_id)):
            return None
        return stored.row

    def version(self, extension: str) -> str | None:
        return self.stored[extension].version if extension in self.stored else None

    @property
    def opening(self) -> Opening:
        return self.trigger.id, self.trigger.time, self.trigger.correlation_id


@dataclass(frozen=True, slots=True)
class Case:
    """A situation and the settings that would be sent."""

    situation: Situation
    settings: ExtensionSettings


class Enforcement:
    """Visits VMs. Holds no state of its own."""

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._ports = ports
        self._rules = rules

    async def visit(self, visit: Visit) -> None:
        """Read the VM once and see to every extension. Raises StorageError if nothing could be written down."""
        try:
            body = await self._ports.arm.read_machine(visit.vm)
        except ArmError as error:
            await self._could_not_read(visit, error)
            return
        facts = read_facts(body)
        for assignment in self._rules.policies.assign(facts, visit.now):
            try:
                await self._enforce(visit, facts, assignment)
            except LostRace:
                _log.info("%s %s: another worker has this row", visit.vm.name, assignment.policy.extension)

    async def write(self, visit: Visit, row: Row, *, version: str | None, again: bool = False) -> str:
        """Write a row with its line of history, schedule its look first, and tell of a final outcome."""
        if row.next_attempt_at:
            await self._ports.deferrals.schedule(Look(visit.vm, row.extension, row.next_attempt_at), visit.now)
        written = await self._ports.ledger.write(row, visit.trigger, version, again=again)
        _log.info("%s %s: %s, %s", visit.vm.name, row.extension, row.outcome, row.reason)
        if row.outcome.final:
            await self._ports.announcer.announce(row)
        return written

    async def _enforce(self, visit: Visit, facts: MachineFacts, assignment: Assignment) -> None:
        case = self._case(visit, facts, assignment)
        decision = decide(case.situation)
        if isinstance(decision, Install):
            await self._install(visit, case, decision)
            return
        extension = assignment.policy.extension
        stored = visit.stored.get(extension)
        row = row_of(case.situation, decision, visit.opening)
        if stored is None and row.outcome is Outcome.OUT_OF_SCOPE and not visit.created:
            return
        if row.differs(stored.row if stored else None):
            await self.write(visit, row, version=visit.version(extension))

    def _case(self, visit: Visit, facts: MachineFacts, assignment: Assignment) -> Case:
        policy = assignment.policy
        entry = self._rules.catalogue[policy.extension]
        release = identify(facts, self._rules.overrides)
        settings = resolve_settings(entry, policy, self._rules.app_settings)
        situation = Situation(
            facts=facts,
            release=release,
            judgement=judge(release, entry.support_table(policy.support_table)),
            assignment=assignment,
            entry=entry,
            problems=settings.problems,
            pace=Pace(visit.last(policy.extension, facts.vm_id), policy.waits, visit.now),
        )
        return Case(situation, settings)

    async def _install(self, visit: Visit, case: Case, install: Install) -> None:
        situation, extension = case.situation, case.situation.entry.name
        claim_ends = visit.now + situation.pace.waits[WaitingFor.CLAIM].first
        claim = claim_of(situation, install, claim_ends, visit.opening)
        version = await self._claim(visit, claim)
        row = await self._ask_arm(case, install, claim)
        try:
            await self._record(visit, row, claim, version)
        except StorageError as error:
            # ARM has the request, and the claim's look is scheduled: it settles from what ARM says.
            _log.warning("%s %s: the request could not be recorded: %s", visit.vm.name, extension, error)

    async def _claim(self, visit: Visit, claim: Row) -> str:
        """Schedule the look and claim the row, side by side: whichever is lost, the other leads back here. A look
        without a claim is dropped; a claim without a look gets one when its event is delivered again."""
        due = claim.next_attempt_at or visit.now
        scheduled, claimed = await asyncio.gather(
            self._ports.deferrals.schedule(Look(visit.vm, claim.extension, due), visit.now),
            self._ports.ledger.write(claim, visit.trigger, visit.version(claim.extension)),
            return_exceptions=True,
        )
        for result in (claimed, scheduled):
            if isinstance(result, BaseException):
                raise result
        return str(claimed)

    async def _ask_arm(self, case: Case, install: Install, claim: Row) -> Row:
        """One PUT; the row that tells how ARM took it."""
        situation, entry = case.situation, case.situation.entry
        vm, location = situation.facts.id, situation.facts.location
        tag = f"try-{install.attempt}-{situation.now:%Y%m%d%H%M%S}" if install.force else ""
        body = extension_body(entry, location, case.settings.public, case.settings.protected, tag)
        try:
            await self._ports.arm.start_install(vm, install.name, body)
        except ArmError as error:
            asked = self._after_asking(situation, claim)
            return _refused(asked, error, claim)
        asked = self._after_asking(situation, claim)
        until = claim.next_attempt_at or asked.now
        accepted = Wait(WaitingFor.INSTALL, asked.now, until, "ARM accepted the request; the handler is at work")
        row = row_of(asked, accepted, (claim.event_id, claim.event_time or asked.now, claim.correlation_id))
        return replace(row, requested_at=asked.now)

    def _after_asking(self, situation: Situation, claim: Row) -> Situation:
        return replace(situation, pace=Pace(claim, situation.pace.waits, self._ports.clock()))

    async def _record(self, visit: Visit, row: Row, claim: Row, version: str) -> None:
        try:
            if row.next_attempt_at == claim.next_attempt_at:
                await self._ports.ledger.write(row, visit.trigger, version, again=True)
                _log.info("%s %s: %s, %s", visit.vm.name, row.extension, row.outcome, row.reason)
            else:
                await self.write(visit, row, version=version, again=True)
        except LostRace:
            # The install's own event overtook us and wrote the truth; only the history is ours to complete.
            await self._ports.ledger.append(row, visit.trigger)

    async def _could_not_read(self, visit: Visit, error: ArmError) -> None:
        """ARM did not give us the VM: every policy that could want something of it waits, or learns that it is gone."""
        for policy in self._rules.policies.for_unread(visit.vm):
            last = visit.last(policy.extension)
            if last is None and not visit.created:
                continue
            pace = Pace(last, policy.waits, visit.now)
            failure = classify(error.evidence, self._rules.catalogue[policy.extension].errors, visit.now)
            decision = after_refusal(pace, failure, error.evidence.text)
            row = unread(visit.vm, policy, last, decision, Episode.of(last, visit.opening, visit.now))
            try:
                if row.differs(last):
                    await self.write(visit, row, version=visit.version(policy.extension))
            except LostRace:
                _log.info("%s %s: another worker has this row", visit.vm.name, policy.extension)


def _refused(situation: Situation, error: ArmError, claim: Row) -> Row:
    """A refusal that says "not now" is no attempt; one whose effect is unknown may have been one."""
    failure = classify(error.evidence, situation.entry.errors, situation.now)
    fresh = replace(situation, pace=Pace(None, situation.pace.waits, situation.now))
    decision = after_refusal(fresh.pace, failure, error.evidence.text)
    row = row_of(situation, decision, (claim.event_id, claim.event_time or situation.now, claim.correlation_id))
    unused = isinstance(decision, Wait) and decision.waiting_for is not WaitingFor.PLATFORM
    return replace(row, attempt=claim.attempt - 1) if unused else row
