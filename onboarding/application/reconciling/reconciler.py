"""One pass over one VM: read it once, decide for each extension, send at most one request, record."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import replace
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from onboarding.application.limits.circuit_breakers import Pauses
from onboarding.application.limits.rollout_limits import Brakes
from onboarding.application.ports import Ports, Revisit, Stored
from onboarding.application.readers.container_reader import Completed, SurroundingsReader
from onboarding.application.readers.image_definitions import Definitions
from onboarding.application.readers.policy_scopes import Reach
from onboarding.application.reconciling.executor import Installer
from onboarding.application.reconciling.reconciliation import DELETION, UNCONFIRMED, Case, Visit
from onboarding.application.reconciling.recorder import Recorder
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.extension_settings import ExtensionSettings, resolve_settings
from onboarding.domain.catalog.support_table import judge
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.classification import (
    Cause,
    ErrorTable,
    ExtensionState,
    Failure,
    classify,
    is_the_callers,
    parse_errors,
    read_extension_state,
)
from onboarding.domain.failures.evidence import NO_TOKEN
from onboarding.domain.image.os_identification import NO_OVERRIDES, ImageDefinition, Overrides, identify
from onboarding.domain.json_access import digest
from onboarding.domain.limits.circuit_breaker import Pause
from onboarding.domain.limits.rollout_limit import Hold, spread
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts, read_extension, read_facts
from onboarding.domain.policy.policy import Assignment, Effect, Policy, PolicySet
from onboarding.domain.policy.routing import routed, tuned
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import AlreadyInstalled, Asked, Decision, Install, Pace, Situation, Skip, Wait
from onboarding.domain.reconcile.drift import Reason
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.retry import MOST_SENDS, after_refusal, after_unread, proves_gone
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import Episode, closed, row_of, unread, waiting
from onboarding.domain.reconcile.wait_schedule import Waits
from onboarding.domain.resource_id import VmId

_log = logging.getLogger(__name__)

_LOOK_AGAIN, _LOOK_AGAIN_LATER = timedelta(minutes=5), timedelta(hours=1)
_A_DAY = timedelta(days=1)
_MAY_BE_GONE = (DELETION, UNCONFIRMED, Reason.GONE)


@dataclass(frozen=True, slots=True)
class Rules:
    """What to enforce, with which app settings, and what people taught about their own images."""

    policies: PolicySet
    catalogue: Mapping[str, CatalogueEntry]
    app_settings: Mapping[str, str] = field(repr=False)
    overrides: Overrides = NO_OVERRIDES
    unusable: Mapping[str, str] = field(default_factory=dict)  # why an extension is not in the catalogue, by its name


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
        settings_digest=digest(settings.public),
    )
    return situation, settings


class Enforcement:
    """Reconciles VMs: reads one, decides for each extension, sends at most one request, and records what came of it.

    Holds no state but what it remembers of pauses for some seconds."""

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._arm = ports.arm
        self._deferrals = ports.deferrals
        self._rules = rules
        self._definitions = Definitions(ports.arm, rules.overrides)
        self._surroundings = SurroundingsReader(ports.arm)
        self._reach = Reach(rules.policies, ports.inventory)
        self.pauses = Pauses(ports.pauses)
        self._brakes = Brakes(ports.brakes, rules.policies.policies)
        self.recorder = Recorder(ports, self.pauses, self._brakes)
        self._installer = Installer(ports.arm, self.recorder, self.pauses, ports.clock)

    @cached_property
    def _errors(self) -> ErrorTable:
        """ARM's own, which mean the same for every extension."""
        return parse_errors({})

    async def visit(self, visit: Visit) -> None:
        """One pass over one VM: read it once and see to every extension.

        Raises LostRace if another worker wrote meanwhile, StorageError if nothing could be written down, and ArmError
        where a person asks for a VM that cannot be read."""
        policies = await self._reach.policies(visit.now)
        reaching = policies.reaching(visit.vm)
        wanted = policies.for_unread(visit.vm)
        orphans = self._orphans(visit, policies, wanted)
        if visit.asked is None and not self._to_be_read(visit, reaching, orphans):
            ended = [row for _, row in orphans]
            await self.recorder.record(visit, _machine(visit, rows=ended), ended)
            return
        if (cleared := await self._probed(visit, wanted)) is None:
            return
        visit = replace(visit, cleared=visit.cleared | cleared)
        try:
            reading = await self._arm.read_machine(visit.vm, to_install=visit.to_install)
        except ArmError as error:
            await self._could_not_read(visit, wanted, orphans, error)
            return
        facts = read_facts(reading.body)
        if facts.id.key != visit.vm.key:
            facts = replace(facts, id=visit.vm)
        if definition := await self._definitions.of(facts):
            visit = replace(visit, definition=definition)
        completed = await self._surroundings.complete(facts, policies, visit.now)
        for failed in _that_matter(visit, completed):
            if visit.personal and is_the_callers(failed.evidence, self._judge(failed, visit)):
                raise failed  # what a person may not read is no truth about the machine
        visit = replace(visit, unread=completed.failures)
        await self._reconcile(visit, completed, policies, orphans, reading.at)

    async def confirm(self, visit: Visit, stored: Stored) -> None:
        """An event says that the extension we asked for was written: ARM's word on it settles the row. Where that is
        anything but a clean success, the VM is reconciled. Raises as `visit`."""
        row, claim = stored.row, visit.claim
        if row.waiting_for is WaitingFor.CLAIM and claim is not None and claim.at > visit.trigger.time:
            return  # of an earlier write: the request that this row is about was not sent yet
        try:
            reading = await self._arm.read_extension(visit.vm, row.extension_name)
        except ArmError as error:
            if error.evidence.http_status == 404:
                await self.visit(visit)
            return  # else the row has its check
        extension = read_extension(reading.body)
        state = read_extension_state(extension)
        if state is ExtensionState.IN_PROGRESS:
            return
        if state is not ExtensionState.SUCCEEDED or not self._is_as_sent(row, extension):
            await self.visit(visit)
            return
        version = extension.handler_version or extension.version
        done = closed(row, Outcome.INSTALLED, "the handler reports success", visit.now, version)
        await self.recorder.record(visit, _machine(visit, rows=[done]), [done])

    async def preview(self, visit: Visit) -> tuple[tuple[Case, Decision], ...]:
        """What a visit would decide, and do nothing. Raises ArmError."""
        reading = await self._arm.read_machine(visit.vm)
        facts = replace(read_facts(reading.body), id=visit.vm)
        visit = replace(visit, definition=await self._definitions.of(facts))
        policies = await self._reach.policies(visit.now)
        completed = await self._surroundings.complete(facts, policies, visit.now)
        for error in _that_matter(visit, completed):
            raise error
        wanted = (said for said in completed.assignments if visit.concerns(said.policy))
        cases = (self._case(visit, completed.facts, said) for said in wanted)
        return tuple((case, decide(case.situation)) for case in cases)

    def _is_as_sent(self, row: Row, extension: InstalledExtension) -> bool:
        entry = self._rules.catalogue.get(row.extension)
        if entry is None:
            return False
        handler = (extension.publisher.lower(), extension.type.lower()) == (entry.publisher.lower(), entry.type.lower())
        return handler and row.has_sent(extension.settings)

    def _orphans(self, visit: Visit, policies: PolicySet, wanted: Sequence[Policy]) -> list[tuple[Row, Row]]:
        """Open rows of extensions that nobody wants of this VM any more, and how they end. One whose extension has a
        file that cannot be used does not: it waits until that is mended."""
        names = {policy.extension for policy in wanted}
        found = []
        for stored in visit.stored.values():
            row = stored.row
            if row.outcome.final or row.extension in names or row.extension in visit.settled:
                continue
            naming = next((p for p in policies.policies if p.extension == row.extension), None)
            if naming is None and (why := self._rules.unusable.get(row.extension)):
                found.append((row, waiting(row, Pace(row, Waits(), visit.now).wait_on(WaitingFor.CONFIGURATION, why))))
                continue
            reason = f"no policy names {row.extension} any more (a file that cannot be read is named at /api/health)"
            if naming is not None:
                off = naming.effect is Effect.DISABLED
                reason = f"policy {naming.name} is disabled" if off else f"outside the scope of policy {naming.name}"
            found.append((row, closed(row, Outcome.OUT_OF_SCOPE, reason, visit.now)))
        return found

    def _to_be_read(self, visit: Visit, reaching: Sequence[Policy], orphans: Sequence[tuple[Row, Row]]) -> bool:
        """Whether ARM has anything to tell: of a VM outside every scope, only what became of a request of ours and
        whether it is gone."""
        if any(visit.concerns(policy) for policy in reaching) or any(row.in_flight for row, _ in orphans):
            return True
        rows = [stored.row for extension, stored in visit.stored.items() if extension not in visit.settled]
        known = any(row.outcome is not Outcome.GONE for row in rows)
        return known and (visit.deletion or bool(visit.revisit))

    async def _probed(self, visit: Visit, wanted: Sequence[Policy]) -> frozenset[str] | None:
        """Of the extensions that wait for a pause, those that this visit probes or whose pause is over. None where all
        of the VM's rows wait on: then ARM is not asked."""
        waiting = {e for e, stored in visit.stored.items() if stored.row.waiting_for is WaitingFor.SCOPE_PAUSED}
        if not waiting or visit.asked is not None:
            return frozenset()
        policies = {policy.extension: policy for policy in wanted}
        cleared, rows = set[str](), []
        for extension in waiting:
            row, policy = visit.stored[extension].row, policies.get(extension)
            if policy is None:
                cleared.add(extension)
                continue
            pause = await self.pauses.blocks(visit.vm, extension, row.sent_digest, visit.now)
            if pause is None:
                cleared.add(extension)
                continue
            pace = Pace(row, policy.waits, visit.now)
            rows.append(_unread(visit, policy, _wait_for_scope(pace, pause)))
        if cleared or len(waiting) < len(visit.stored):
            return frozenset(cleared)
        await self.recorder.record(visit, _machine(visit), rows)
        return None

    async def _reconcile(
        self,
        visit: Visit,
        completed: Completed,
        policies: PolicySet,
        orphans: Sequence[tuple[Row, Row]],
        read_at: datetime | None,
    ) -> None:
        """Decide for each extension, and carry out what can be carried out now."""
        facts = completed.facts
        deleting = facts.provisioning_state.lower() == "deleting"
        if visit.deletion or deleting:
            await self._look_again(visit)
        rows = [_ended_by(row, ended, facts, visit) for row, ended in orphans]
        busy = next((row for row in rows if row.in_flight), None)
        busy = busy or self._busy_elsewhere(visit, facts, policies, {row.extension for row in rows})
        cases = []
        for assignment in completed.assignments:
            if visit.concerns(assignment.policy) and not self._left_alone(visit, facts, assignment, policies, deleting):
                cases.append(self._case(visit, facts, assignment))
        # What we are writing already is looked at first: whether it has ended decides over all others.
        cases.sort(key=lambda case: not (case.situation.last and case.situation.last.in_flight))
        sending: tuple[Case, Install, Row] | None = None
        for case in cases:
            case = replace(case, situation=replace(case.situation, in_flight=busy))
            decision = await self._decide(case)
            if isinstance(decision, Install):
                busy = self._installer.claimed(case, decision)
                sending = (case, decision, busy)
                continue
            if not visit.personal:
                sent = case.situation.last.sent_digest if case.situation.last else ""
                settings = sent or case.situation.settings_digest
                now_sent = case.situation.settings if settings == case.situation.settings_digest else None
                await self.pauses.heed(visit.vm, case.extension, settings, decision, visit.now, sent=now_sent)
            row = self._row(case, decision)
            if row.in_flight:
                busy = row
            wanted = visit.created or visit.asked is not None
            if case.extension in visit.stored or row.outcome is not Outcome.OUT_OF_SCOPE or wanted:
                rows.append(row)
        machine = _machine(visit, facts, read_at, rows)
        if sending is None:
            await self.recorder.record(visit, machine, rows)
            return
        case, install, claim = sending
        following = await self._installer.install(case, install, claim, machine, rows)
        if following is not None and any(row.waiting_for is WaitingFor.OPERATION for row in rows):
            # ARM took nothing, so that the next of the machine's extensions has its turn, by what was read just now.
            settled = visit.settled | {case.extension}
            await self._reconcile(replace(following, settled=settled, again=True), completed, policies, (), read_at)

    def _row(self, case: Case, decision: AlreadyInstalled | Wait | Skip) -> Row:
        row = row_of(case.situation, decision, case.visit.opening)
        if row.waiting_for is WaitingFor.SCOPE_PAUSED:
            # Names the pause that it waits for, so that its checks need not read the VM.
            return replace(row, sent_digest=case.situation.settings_digest)
        return row

    def _busy_elsewhere(
        self, visit: Visit, facts: MachineFacts, policies: PolicySet, seen: Collection[str]
    ) -> Row | None:
        """A request of ours that this visit is not about."""
        concerned = {p.extension for p in policies.policies if visit.concerns(p)}.union(seen)
        for extension, stored in visit.stored.items():
            row = stored.row
            if row.in_flight and extension not in concerned and row.vm_id in ("", facts.vm_id):
                return row
        return None

    def _left_alone(
        self, visit: Visit, facts: MachineFacts, assignment: Assignment, policies: PolicySet, deleting: bool
    ) -> bool:
        """Final rows that this visit cannot change: those it is not about, those of a VM that is being deleted, and
        those of another version of the policy, which another host may work with. A changed policy takes rows up by
        way of the sweep."""
        last = visit.last(assignment.policy.extension, facts.vm_id)
        if last is None or not last.outcome.final or last.outcome is Outcome.GONE or visit.asked is not None:
            return False
        if not visit.may_reopen(last.extension):
            return True
        ours = {policy.name: policy.digest for policy in policies.policies}
        other = last.policy_hash not in ("", ours.get(last.policy))
        return deleting or (other and not visit.revisit)

    async def _look_again(self, visit: Visit) -> None:
        """ARM still knows a VM that is said to be gone, or that is being deleted: it is read once more."""
        if any(s.row.outcome.final and s.row.outcome is not Outcome.GONE for s in visit.stored.values()):
            due = visit.now + (_LOOK_AGAIN_LATER if visit.revisit == DELETION else _LOOK_AGAIN)
            await self._deferrals.schedule(Revisit(visit.vm, DELETION, due), visit.now)

    async def _decide(self, case: Case) -> Decision:
        """The decision, unless its scope or settings are paused or the policy's brake holds: then the VM waits."""
        decision = decide(case.situation)
        if isinstance(decision, Skip) and decision.outcome is Outcome.UNDETERMINED:
            return self._unless_unread(case, decision)
        if not isinstance(decision, Install):
            return decision
        visit, pace = case.visit, case.situation.pace
        if case.extension not in visit.cleared:
            settings = case.situation.settings_digest
            pause = await self.pauses.blocks(visit.vm, case.extension, settings, visit.now)
            if pause is not None:
                return _wait_for_scope(pace, pause)
        hold = await self._brakes.hold(case.situation.assignment.policy.name, visit.now)
        return decision if hold is None else _wait_for_brake(pace, hold, visit.vm)

    def _unless_unread(self, case: Case, decision: Skip) -> Decision:
        """The decision, unless it rests on what ARM did not let us read."""
        said = case.situation.assignment
        error = case.visit.unread.get(said.unread) if said.undecided else None
        if error is None:
            return decision
        failure = classify(error.evidence, case.situation.entry.errors, case.visit.now)
        return after_unread(case.situation, failure, error.evidence.http_status, error.evidence.text)

    def _case(self, visit: Visit, facts: MachineFacts, assignment: Assignment) -> Case:
        extension = assignment.policy.extension
        claim = visit.claim
        resend = claim is not None and claim.target == extension and claim.sends < MOST_SENDS
        pace = Pace(visit.last(extension, facts.vm_id), assignment.policy.waits, visit.now, resend)
        situation, settings = situation_of(self._rules, facts, assignment, pace, visit.asked, visit.definition)
        return Case(visit, situation, settings)

    async def _could_not_read(
        self, visit: Visit, wanted: Sequence[Policy], orphans: Sequence[tuple[Row, Row]], error: ArmError
    ) -> None:
        """ARM did not give us the VM: every policy that could want something of it waits, or learns that it is gone."""
        failure = self._judge(error, visit)
        if visit.personal and (is_the_callers(error.evidence, failure) or not visit.stored):
            raise error  # a slip of the pen is no row, and what a person may not do is no truth about the machine
        gone = proves_gone(failure)
        if not gone and (visit.deletion or visit.revisit in _MAY_BE_GONE) and await self._still_unsure(visit, failure):
            return
        rows = [_ended_unread(row, ended, visit) for row, ended in orphans]
        if gone:
            why = "the VM was deleted" if visit.deletion else "ARM knows no such VM any more"
            rows = _gone(visit, why)
            wanted = [policy for policy in wanted if visit.created and policy.extension not in visit.stored]
        for policy in wanted:
            if not visit.concerns(policy):
                continue
            last = visit.last(policy.extension)
            if last is not None and last.in_flight and last.next_attempt_at and last.next_attempt_at > visit.now:
                continue  # nothing new is known of our request, and it has its check
            if last is not None and last.outcome.final and not visit.may_reopen(policy.extension):
                continue
            told = classify(error.evidence, self._rules.catalogue[policy.extension].errors, visit.now)
            decision = after_refusal(Pace(last, policy.waits, visit.now), told, error.evidence.text)
            if not visit.personal:
                settings = last.sent_digest if last else ""
                await self.pauses.heed(visit.vm, policy.extension, settings, decision, visit.now)
            rows.append(_unread(visit, policy, decision))
        await self.recorder.record(visit, _machine(visit, rows=rows), rows)

    async def _still_unsure(self, visit: Visit, failure: Failure) -> bool:
        """Whether a VM that is said to be gone, and that cannot be read, is left as it is for now. Who is deleted with
        its group takes our role along: nothing is paused for that, and nothing is said before a second read a day
        later, or before the list of its subscription leaves it out."""
        if failure.cause is not Cause.NOT_AUTHORIZED or failure.code in NO_TOKEN:
            if visit.deletion:
                await self._look_again(visit)
            return visit.deletion
        rows = []
        if visit.revisit == UNCONFIRMED:
            rows = _gone(visit, "gone (unconfirmed): its deletion was told, and for a day ARM has not let us read it")
        elif visit.revisit == Reason.GONE and await self._is_shown(visit.vm.subscription):
            rows = _gone(
                visit, "gone (unconfirmed): its subscription does not list it, and ARM does not let us read it"
            )
        elif _gone(visit, ""):
            await self._deferrals.schedule(Revisit(visit.vm, UNCONFIRMED, visit.now + _A_DAY), visit.now)
        await self.recorder.record(visit, _machine(visit, rows=rows), rows)
        return True

    async def _is_shown(self, subscription: str) -> bool:
        """Whether ARM shows us the subscription: else that its list leaves a VM out says nothing."""
        try:
            await self._arm.check_access(subscription)
        except ArmError:
            return False
        return True

    def _judge(self, error: ArmError, visit: Visit) -> Failure:
        return classify(error.evidence, self._errors, visit.now)


def _machine(
    visit: Visit, facts: MachineFacts | None = None, read_at: datetime | None = None, rows: Iterable[Row] = ()
) -> MachineRow:
    """The machine's own row after this pass, with the claim of the write that is still in flight."""
    before = visit.known.machine.row if visit.known.machine else MachineRow(resource_id=str(visit.vm))
    now = {row.extension: row for row in rows}
    claim = visit.claim
    if claim is not None and claim.target in now and not now[claim.target].in_flight:
        claim = None
    if facts is not None and before.vm_id not in ("", facts.vm_id):
        claim = None
    return replace(
        before,
        vm_id=facts.vm_id if facts is not None else before.vm_id,
        last_read_at=(read_at if visit.whole else None) or before.last_read_at,
        claim=claim,
    )


def _that_matter(visit: Visit, completed: Completed) -> list[ArmError]:
    """Why what the visit is about cannot be decided."""
    asked = [said.unread for said in completed.assignments if visit.concerns(said.policy)]
    return [completed.failures[what] for what in asked if what in completed.failures]


def _gone(visit: Visit, why: str) -> list[Row]:
    """The rows that do not say so yet, ended since the VM is gone."""
    rows = [stored.row for stored in visit.stored.values() if stored.row.outcome is not Outcome.GONE]
    return [closed(row, Outcome.GONE, why, visit.now) for row in rows]


def _ended_by(row: Row, ended: Row, facts: MachineFacts, visit: Visit) -> Row:
    """An open row that nobody wants any more. A request of ours ends by what became of it all the same."""
    name = row.extension_name.lower()
    extension = next((e for e in facts.extensions if e.name.lower() == name), None)
    if not row.in_flight or row.vm_id not in ("", facts.vm_id):
        return ended
    if row.waiting_for is WaitingFor.CLAIM and row.next_attempt_at and row.next_attempt_at > visit.now:
        return row  # until its claim runs out, the request may be on its way
    if extension is None:
        return ended
    match read_extension_state(extension):
        case ExtensionState.SUCCEEDED if row.has_sent(extension.settings):
            version = extension.handler_version or extension.version
            return closed(row, Outcome.INSTALLED, "the handler reports success", visit.now, version)
        case ExtensionState.IN_PROGRESS:
            return _ended_unread(row, ended, visit)
        case _:
            return ended


def _ended_unread(row: Row, ended: Row, visit: Visit) -> Row:
    """The same where nothing new is known: a request of ours is waited for as long as any."""
    later = Pace(row, Waits(), visit.now).wait(WaitingFor.INSTALL, row.reason) if row.in_flight else None
    if later is None:
        return ended
    return replace(
        row,
        waiting_for=later.waiting_for,
        waiting_since=later.since,
        next_attempt_at=later.until,
        outcome=Outcome.REQUESTED,
    )


def _unread(visit: Visit, policy: Policy, decision: Wait | Skip) -> Row:
    last = visit.last(policy.extension)
    return unread(visit.vm, policy, last, decision, Episode.of(last, visit.opening, visit.now))


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
