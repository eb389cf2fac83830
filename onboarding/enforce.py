"""One visit to one VM: read it once, decide per extension, and act."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from onboarding.brakes import Brakes
from onboarding.core.asked import Asked
from onboarding.core.brake import Hold, spread
from onboarding.core.catalog import CatalogueEntry
from onboarding.core.configuration import ExtensionSettings, resolve_settings
from onboarding.core.deciding import decide
from onboarding.core.decision import Decision, Install, Pace, Situation, Skip, Wait
from onboarding.core.errors import ArmError, LostRace
from onboarding.core.facts import MachineFacts, read_facts
from onboarding.core.failures import Cause, classify
from onboarding.core.images import NO_OVERRIDES, ImageDefinition, Overrides, identify
from onboarding.core.outcome import Outcome, WaitingFor
from onboarding.core.pause import Pause
from onboarding.core.policy import Assignment, Policy, PolicySet
from onboarding.core.record import Episode, closed, row_of, unread
from onboarding.core.resource_id import VmId
from onboarding.core.retries import after_refusal
from onboarding.core.routing import routed, tuned
from onboarding.core.support import judge
from onboarding.definitions import Definitions
from onboarding.install import Installer
from onboarding.pauses import Pauses
from onboarding.ports import Ports
from onboarding.reach import Reach
from onboarding.recording import Recorder
from onboarding.visit import Case, Visit

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to enforce, with which app settings, and what people taught about their own images."""

    policies: PolicySet
    catalogue: Mapping[str, CatalogueEntry]
    app_settings: Mapping[str, str] = field(repr=False)
    overrides: Overrides = NO_OVERRIDES


def situation_of(
    rules: Rules,
    facts: MachineFacts,
    assignment: Assignment,
    pace: Pace,
    asked: Asked | None = None,
    definition: ImageDefinition | None = None,
) -> tuple[Situation, ExtensionSettings]:
    """All that the decision on an assignment rests on, and the settings that would be sent."""
    policy = routed(assignment.policy, facts, pace.now)
    if asked is not None and asked.reconnect:
        policy = replace(policy, reconnect=True)
    entry = tuned(rules.catalogue[policy.extension], policy)
    release = identify(facts, rules.overrides, definition)
    settings = resolve_settings(entry, policy, rules.app_settings)
    situation = Situation(
        facts=facts,
        release=release,
        judgement=judge(release, entry.support_table(policy.support_table)),
        assignment=assignment if policy is assignment.policy else replace(assignment, policy=policy),
        entry=entry,
        problems=settings.problems,
        pace=pace,
        settings=settings.public,
        asked=asked,
    )
    return situation, settings


class Enforcement:
    """Visits VMs. Holds no state but what it remembers of paused scopes for some seconds."""

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._arm = ports.arm
        self._rules = rules
        self._definitions = Definitions(ports.arm, rules.overrides)
        self._reach = Reach(rules.policies, ports.inventory)
        self.pauses = Pauses(ports.pauses)
        self._brakes = Brakes(ports.brakes, rules.policies.policies)
        self.recorder = Recorder(ports, self.pauses, self._brakes)
        self._installer = Installer(ports.arm, self.recorder, self.pauses, ports.clock)

    async def visit(self, visit: Visit) -> None:
        """Read the VM once and see to every extension. Raises StorageError if nothing could be written down, and
        ArmError where a person asks for a VM that cannot be read and was never heard of."""
        paused = {e for e, stored in visit.stored.items() if stored.row.waiting_for is WaitingFor.SCOPE_PAUSED}
        if paused and visit.asked is None:
            cleared = frozenset([e for e in paused if not await self._still_paused(visit, e)])
            if not cleared and len(paused) == len(visit.stored):
                return
            visit = replace(visit, cleared=cleared)
        try:
            facts = read_facts(await self._arm.read_machine(visit.vm, to_install=visit.to_install))
        except ArmError as error:
            if visit.asked is not None and not visit.stored:
                raise  # a slip of the pen is no row
            await self._could_not_read(visit, error)
            return
        if facts.id.key != visit.vm.key:
            facts = replace(facts, id=visit.vm)
        if definition := await self._definitions.of(facts):
            visit = replace(visit, definition=definition)
        for assignment in (await self._reach.policies(visit.now)).assign(facts, visit.now):
            if not visit.concerns(assignment.policy):
                continue
            try:
                await self._enforce(visit, facts, assignment)
            except LostRace:
                _log.info("%s %s: another worker has this row", visit.vm.name, assignment.policy.extension)

    async def preview(self, visit: Visit) -> tuple[tuple[Case, Decision], ...]:
        """What a visit would decide, and do nothing. Raises ArmError."""
        facts = replace(read_facts(await self._arm.read_machine(visit.vm)), id=visit.vm)
        visit = replace(visit, definition=await self._definitions.of(facts))
        assigned = (await self._reach.policies(visit.now)).assign(facts, visit.now)
        cases = (self._case(visit, facts, said) for said in assigned if visit.concerns(said.policy))
        return tuple((case, decide(case.situation)) for case in cases)

    async def _enforce(self, visit: Visit, facts: MachineFacts, assignment: Assignment) -> None:
        case = self._case(visit, facts, assignment)
        decision = await self._decide(case)
        if isinstance(decision, Install):
            await self._installer.install(case, decision)
            return
        await self.pauses.heed(visit.vm, case.extension, decision, visit.now)
        stored = visit.stored.get(case.extension)
        row = row_of(case.situation, decision, visit.opening)
        wanted = visit.created or visit.asked is not None
        if stored is None and row.outcome is Outcome.OUT_OF_SCOPE and not wanted:
            return
        if row.differs(stored.row if stored else None):
            await self.recorder.write(visit, row, visit.version(case.extension))

    async def _decide(self, case: Case) -> Decision:
        """The decision, unless the scope is paused or the policy's brake holds: then the VM waits with the others."""
        decision = decide(case.situation)
        if not isinstance(decision, Install):
            return decision
        visit, pace = case.visit, case.situation.pace
        if case.extension not in visit.cleared:
            pause = await self.pauses.blocks(visit.vm, case.extension, visit.now)
            if pause is not None:
                return _wait_for_scope(pace, pause)
        hold = await self._brakes.hold(case.situation.assignment.policy.name, visit.now)
        return decision if hold is None else _wait_for_brake(pace, hold, visit.vm)

    def _case(self, visit: Visit, facts: MachineFacts, assignment: Assignment) -> Case:
        pace = Pace(visit.last(assignment.policy.extension, facts.vm_id), assignment.policy.waits, visit.now)
        situation, settings = situation_of(self._rules, facts, assignment, pace, visit.asked, visit.definition)
        return Case(visit, situation, settings)

    async def _still_paused(self, visit: Visit, extension: str) -> bool:
        """Whether a row that waits for its scope has to wait on. Does not ask ARM."""
        policy = next((p for p in await self._unread(visit) if p.extension == extension), None)
        pause = await self.pauses.blocks(visit.vm, extension, visit.now) if policy else None
        if policy is None or pause is None:
            return False
        pace = Pace(visit.last(extension), policy.waits, visit.now)
        await self._record_unread(visit, policy, _wait_for_scope(pace, pause))
        return True

    async def _could_not_read(self, visit: Visit, error: ArmError) -> None:
        """ARM did not give us the VM: every policy that could want something of it waits, or learns that it is gone."""
        policies = await self._unread(visit)
        await self._close_abandoned(visit, error, {policy.extension for policy in policies})
        for policy in policies:
            last = visit.last(policy.extension)
            if (last is None and not visit.created) or not visit.concerns(policy):
                continue
            failure = classify(error.evidence, self._rules.catalogue[policy.extension].errors, visit.now)
            decision = after_refusal(Pace(last, policy.waits, visit.now), failure, error.evidence.text)
            await self.pauses.heed(visit.vm, policy.extension, decision, visit.now)
            await self._record_unread(visit, policy, decision)

    async def _close_abandoned(self, visit: Visit, error: ArmError, wanted: set[str]) -> None:
        """Rows that no policy speaks of any more learn that their VM is gone, too."""
        abandoned = [s for e, s in visit.stored.items() if e not in wanted and s.row.outcome is not Outcome.GONE]
        errors = next(iter(self._rules.catalogue.values())).errors  # ARM's own codes mean the same in all of them
        if not abandoned or classify(error.evidence, errors, visit.now).cause is not Cause.VM_GONE:
            return
        for stored in abandoned:
            with suppress(LostRace):
                row = closed(stored.row, Outcome.GONE, "ARM knows no such VM any more", visit.now)
                await self.recorder.write(visit, row, stored.version)

    async def _unread(self, visit: Visit) -> tuple[Policy, ...]:
        return (await self._reach.policies(visit.now)).for_unread(visit.vm)

    async def _record_unread(self, visit: Visit, policy: Policy, decision: Wait | Skip) -> None:
        last = visit.last(policy.extension)
        row = unread(visit.vm, policy, last, decision, Episode.of(last, visit.opening, visit.now))
        if row.differs(last):
            with suppress(LostRace):  # whoever won has written what becomes of this row
                await self.recorder.write(visit, row, visit.version(policy.extension))


def _wait_for_scope(pace: Pace, pause: Pause) -> Wait | Skip:
    trouble = pause.trouble
    later = pace.wait(WaitingFor.SCOPE_PAUSED, str(pause), trouble)
    return later or Skip(Outcome.FAILED, f"gave up: {pause}", trouble)


def _wait_for_brake(pace: Pace, hold: Hold, vm: VmId) -> Wait | Skip:
    later = pace.wait(WaitingFor.BRAKE, hold.reason)
    if later is None:
        return Skip(Outcome.FAILED, f"gave up: {hold.reason}")
    planned = pace.last is not None and pace.last.next_attempt_at == later.until
    return later if planned or hold.until is None else replace(later, until=spread(hold.until, vm))
