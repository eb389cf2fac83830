"""One pass over one machine: read, decide, schedule and claim, send, record."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from copy import replace
from datetime import datetime

from onboarding.application.planned_steps import PlannedStep, planned_steps
from onboarding.application.ports import StoredRow
from onboarding.application.readers.container_reader import CompletedFacts
from onboarding.application.readers.policy_versions import FirstSeen
from onboarding.application.reconciling.associations import AssociationWriter
from onboarding.application.reconciling.decider import Decider, asks_for_first_seen
from onboarding.application.reconciling.executor import Executor
from onboarding.application.reconciling.machine_reader import MachineReader
from onboarding.application.reconciling.moved_rows import with_moved_rows
from onboarding.application.reconciling.orphaned_rows import end_after_read, orphaned_rows
from onboarding.application.reconciling.preceding_policies import PrecedingPolicies, Proofs, Removal
from onboarding.application.reconciling.reconciliation import PolicyTarget, Reconciliation
from onboarding.application.reconciling.recorder import Recorder
from onboarding.application.reconciling.removals_by_hand import with_removals_by_hand
from onboarding.application.reconciling.unread_machine import UnreadMachine
from onboarding.application.rules import Rules
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.classification import ExtensionState, is_the_callers, read_extension_state
from onboarding.domain.machine.machine_facts import InstalledExtension, MachineFacts
from onboarding.domain.policy.policy import Assignment, Policy, PolicySet
from onboarding.domain.policy_digest import same_version
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, Decision, Satisfied, Stop, Wait
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.row_builder import closed, row_of
from onboarding.domain.reconcile.steps.association_step import Associations, to_column
from onboarding.domain.reconcile.steps.combining import Associated, others_done, wants_steps, with_extension_done
from onboarding.domain.reconcile.update import is_done


class Reconciler:
    """Reads a machine, decides for each extension, sends at most one request at a time, and records the results."""

    def __init__(
        self,
        rules: Rules,
        reader: MachineReader,
        unread: UnreadMachine,
        decider: Decider,
        preceding: PrecedingPolicies,
        associations: AssociationWriter,
        executor: Executor,
        recorder: Recorder,
        first_seen: FirstSeen,
    ) -> None:
        self._rules = rules
        self._reader = reader
        self._unread = unread
        self._decider = decider
        self._preceding = preceding
        self._associations = associations
        self._executor = executor
        self._recorder = recorder
        self._first_seen = first_seen

    async def reconcile(self, work: Reconciliation) -> None:
        """Run one pass over one VM: read it once, and decide for every extension.

        Raises LostRace if another worker wrote the rows first, StorageError if the next step could not be stored, and
        ArmError if a person requests a VM that cannot be read."""
        policies = with_removals_by_hand(work, await self._reader.policies(work.now), self._rules)
        wanted = policies.for_unread(work.vm, work.stored)
        orphaned = orphaned_rows(work, policies, wanted, self._rules.unusable)
        if work.request is None and not _must_read(work, policies.reaching(work.vm, work.stored), orphaned):
            ended = [row for _, row in orphaned]
            await self._recorder.record(work, work.machine_row(rows=ended), ended)
            return
        cleared, waiting = await self._decider.check_breakers(work, wanted)
        if waiting is not None:
            await self._recorder.record(work, work.machine_row(), waiting)
            return
        work = replace(work, cleared=work.cleared | cleared)
        try:
            reading = await self._reader.machine(work, policies, to_install=work.to_install)
        except ArmError as error:
            await self._unread.record(work, wanted, orphaned, error)
            await self._keep_first_seen(work)
            return
        for failed in reading.failures(work):
            if work.personal and is_the_callers(failed.evidence, self._unread.judge(failed, work)):
                raise failed  # a person's missing right is no fact about the machine
        await self._decider.close_after_read(work, policies)
        work = replace(work, definition=reading.definition, unread=reading.completed.failures)
        work = with_moved_rows(work, reading.completed.facts.os_type, policies, [row.extension for row, _ in orphaned])
        await self._reconcile(work, reading.completed, policies, orphaned, reading.at)
        await self._keep_first_seen(work)

    async def confirm(self, work: Reconciliation, stored: StoredRow) -> None:
        """Read the extension of our request after an event said that it was written.

        If ARM reports success with our settings, the row ends as installed; anything else reconciles the whole VM.
        Raises as `reconcile`."""
        row, claim = stored.row, work.claim
        if row.waiting_for is WaitingFor.CLAIM and claim is not None and claim.at > work.trigger.time:
            return  # the event is about an earlier write: the request of this row was not sent yet
        try:
            extension = await self._reader.extension(work, row.extension_name)
        except ArmError as error:
            if error.evidence.http_status == 404:
                await self.reconcile(work)
            return  # after any other failure, the row's scheduled check reads it again
        state = read_extension_state(extension)
        if state is ExtensionState.IN_PROGRESS:
            return
        if state is not ExtensionState.SUCCEEDED or not self._is_as_sent(row, extension) or not others_done(row):
            await self.reconcile(work)
            return
        version = extension.handler_version or extension.version
        done = with_extension_done(closed(row, Outcome.INSTALLED, "the handler reports success", work.now, version))
        await self._recorder.record(work, work.machine_row(rows=[done]), [done])

    async def preview(self, work: Reconciliation) -> tuple[tuple[PolicyTarget, Decision, tuple[PlannedStep, ...]], ...]:
        """What a reconciliation would decide, and which steps it would do, with the proofs before removals taken for
        granted; nothing is written. Raises ArmError."""
        policies = with_removals_by_hand(work, await self._reader.policies(work.now), self._rules)
        reading = await self._reader.machine(work, policies, to_install=False)
        for error in reading.failures(work):
            raise error
        work = replace(work, definition=reading.definition)
        wanted = [assignment for assignment in reading.completed.assignments if work.concerns(assignment.policy)]
        targets = self._decider.targets(work, reading.completed.facts, wanted, {})
        removals = self._preceding.removals(work, targets, reading.completed.assignments, None)
        assumed = {removal.target.extension: self._preceding.assumed(work, removal) for removal in removals}
        targets = [
            replace(t, context=replace(t.context, preceding=assumed.get(t.extension, t.context.preceding)))
            for t in targets
        ]
        lists = any(target.associations.subjects and wants_steps(target.context) for target in targets)
        known = await self._associations.read(work.vm) if lists else None
        return tuple((target, decide(target.context), _planned(target, known)) for target in targets)

    async def _keep_first_seen(self, work: Reconciliation) -> None:
        """Have it stored when the policies were first seen, so that a machine that waits stays a new one. A person's
        policy files may be others than those of the app."""
        if not work.personal:
            await self._first_seen.keep(work.now)

    def _is_as_sent(self, row: Row, extension: InstalledExtension) -> bool:
        entry = self._rules.catalogue.get(row.extension)
        if entry is None:
            return False
        handler = (extension.publisher.lower(), extension.type.lower()) == (entry.publisher.lower(), entry.type.lower())
        return handler and row.has_sent(extension.settings) and is_done(row.update, extension)

    async def _prove(
        self,
        work: Reconciliation,
        facts: MachineFacts,
        assignments: Sequence[Assignment],
        targets: list[PolicyTarget],
        removals: Sequence[Removal],
        first_seen: Mapping[str, datetime],
    ) -> tuple[list[PolicyTarget], Proofs]:
        """Read what proves the policies that removals come after. Returns the targets with those of these policies,
        which are decided anew, even if nothing else is a reason for it."""
        known = {target.extension for target in targets}
        others = {r.other.policy.extension: r.other for r in removals if r.reopens and r.other is not None}
        if not others:
            return targets, Proofs()
        added = [other for extension, other in others.items() if extension not in known]
        if added:
            targets = self._decider.targets(work, facts, [*assignments, *added], first_seen)
        proofs = await self._preceding.read(work, removals, targets)
        if proofs.unread is not None:  # what cannot be read changes nothing about a policy that is satisfied
            kept = {e for e in others if (last := work.last(e, facts.vm_id)) is not None and last.outcome.final}
            targets = [target for target in targets if target.extension not in kept]
        return targets, proofs

    async def _reconcile(
        self,
        work: Reconciliation,
        completed: CompletedFacts,
        policies: PolicySet,
        orphaned: Sequence[tuple[Row, Row]],
        read_at: datetime | None,
    ) -> None:
        """Decide for each extension, send the first install, and record all rows."""
        facts = completed.facts
        deleting = facts.being_deleted
        if work.deletion or deleting:
            await self._recorder.check_deletion(work)
        rows = [end_after_read(row, ended, facts, work) for row, ended in orphaned]
        busy = next((row for row in rows if row.in_flight), None)
        ending = {row.extension for row in rows}
        busy = busy or _other_request_in_flight(work, facts, policies, ending)
        assignments = [
            assignment
            for assignment in completed.assignments
            if work.concerns(assignment.policy)
            and assignment.policy.extension not in ending
            and not _cannot_change(work, facts, assignment, policies, deleting)
        ]
        depends = any(asks_for_first_seen(work, facts, assignment) for assignment in assignments)
        first_seen = await self._first_seen.read(work.now, write=not work.personal) if depends else {}
        targets = self._decider.targets(work, facts, assignments, first_seen)
        removals = self._preceding.removals(work, targets, completed.assignments, busy)
        targets, proofs = await self._prove(work, facts, assignments, targets, removals, first_seen)
        associated = await self._associations.write(work, [t for t in targets if wants_steps(t.context)], proofs.listed)
        work = replace(work, sent=(*work.sent, *associated.sent))
        after = {removal.target.extension: removal for removal in removals}
        # The extension with a request in flight comes first: the others wait until that request has ended. A removal
        # comes after the policy that it waits for, and an extension after those that it needs.
        again = {extension for extension, removal in after.items() if removal.is_next}  # ARM has none under way
        depth = _depths(targets)
        targets.sort(
            key=lambda t: (t.extension in again or not _in_flight(t), t.extension in after, depth[t.extension])
        )
        sending: tuple[PolicyTarget, Act, Row, tuple[Associated, ...]] | None = None
        for target in targets:
            target = replace(target, work=work, context=replace(target.context, in_flight=busy))
            if (removal := after.get(target.extension)) is not None:
                preceding = self._preceding.state(work, removal, proofs, rows)
                target = replace(target, context=replace(target.context, preceding=preceding))
            decision = await self._decider.decide(target)
            steps = associated.of_targets.get(target.extension, ())
            if isinstance(decision, Act):
                busy = self._executor.claim_row(target, decision, steps)
                sending = (target, decision, busy, steps)
                continue
            if not work.personal:
                decision = await self._decider.record_failure(target, decision)
            row = _target_row(target, decision, steps)
            if row.in_flight:
                busy = row
            if _is_worth_a_row(target, row):
                rows.append(row)
        machine = replace(work.machine_row(facts, read_at, rows), associations=to_column(associated.known))
        if sending is None:
            await self._recorder.record(work, machine, rows)
            return
        target, install, claim, steps = sending
        following = await self._executor.install(target, install, claim, machine, rows, steps)
        if following is not None and any(row.next_attempt_at == claim.next_attempt_at for row in rows):
            # ARM refused the request, so another extension of the machine can be installed from the same reading.
            settled = work.settled | {target.extension}
            await self._reconcile(
                replace(following, settled=settled, again=True, relist=False), completed, policies, (), read_at
            )


def _planned(target: PolicyTarget, known: Associations | None) -> tuple[PlannedStep, ...]:
    alone = decide(replace(target.context, identity=None))
    return planned_steps(target.context, alone, associations=known)


def _depths(targets: Sequence[PolicyTarget]) -> Mapping[str, int]:
    """By target, how many extensions among the targets have to be there first, directly or through another."""
    needs = {each.extension: [entry.name for entry in each.context.needed] for each in targets}
    depths = {}
    for extension in needs:
        found: set[str] = set()
        pending = [extension]
        while pending:
            new = [name for name in needs[pending.pop()] if name in needs and name not in found]
            found.update(new)
            pending += new
        depths[extension] = len(found)
    return depths


def _in_flight(target: PolicyTarget) -> bool:
    last = target.context.last
    return last is not None and last.in_flight


def _is_worth_a_row(target: PolicyTarget, row: Row) -> bool:
    """Whether the row is written. A machine that has nothing to remove gets no row for that."""
    work = target.work
    stored = work.stored.get(target.extension)
    if row.outcome is Outcome.REMOVED:
        return stored is not None and stored.row.outcome is not Outcome.GONE
    if stored is not None or row.outcome is not Outcome.OUT_OF_SCOPE:
        return True
    return (work.created or work.request is not None) and not target.context.assignment.policy.removes


def _must_read(work: Reconciliation, reaching: Sequence[Policy], orphaned: Sequence[tuple[Row, Row]]) -> bool:
    """Whether the VM must be read: a policy reaches it, a request of ours is in flight, or it may be gone."""
    if any(work.concerns(policy) for policy in reaching) or any(row.in_flight for row, _ in orphaned):
        return True
    rows = [stored.row for extension, stored in work.stored.items() if extension not in work.settled]
    known = any(row.outcome is not Outcome.GONE for row in rows)
    return known and (work.deletion or bool(work.requested_because))


def _target_row(target: PolicyTarget, decision: Satisfied | Wait | Stop, steps: Sequence[Associated]) -> Row:
    row = row_of(target.context, decision, target.work.event_key, steps)
    if row.waiting_for is WaitingFor.SCOPE_BREAKER and not row.step:
        # The digest identifies the breaker, so that the row's checks need not read the VM.
        return replace(row, sent_digest=target.context.settings_digest)
    return row


def _other_request_in_flight(
    work: Reconciliation, facts: MachineFacts, policies: PolicySet, seen: Collection[str]
) -> Row | None:
    """The row of a request in flight for an extension that this reconciliation leaves out; None: no such request."""
    every = [policy.for_target(name) for policy in policies.policies for name in policy.extensions]
    concerned = {policy.extension for policy in every if work.concerns(policy)}.union(seen)
    for extension, stored in work.stored.items():
        row = stored.row
        if row.in_flight and extension not in concerned and row.vm_id in ("", facts.vm_id):
            return row
    return None


def _cannot_change(
    work: Reconciliation, facts: MachineFacts, assignment: Assignment, policies: PolicySet, deleting: bool
) -> bool:
    """Whether the assignment's row is final and stays as it is.

    That holds for rows that may not reopen, for rows of a VM that is being deleted, and for rows of another version of
    the policy, which another host may still use: after a policy change, the sweep opens rows again."""
    last = work.last(assignment.policy.extension, facts.vm_id)
    if last is None or not last.outcome.final or last.outcome is Outcome.GONE or work.request is not None:
        return False
    if not work.may_reopen(last.extension):
        return True
    ours = {policy.name: policy.digest for policy in policies.policies}
    other = not same_version(last.policy_hash, ours.get(last.policy, ""))
    # A removal that comes to decide on what another policy has brought may be of a version that is being deployed.
    takes_over = assignment.policy.removes and last.outcome.present and last.policy != assignment.policy.name
    return deleting or ((other or takes_over) and not work.requested_because)
