"""Proves, right before a removal, that the policy which the removal comes after is still satisfied.

The other policy's target is decided anew in the same pass, from the same reading of the machine. Its associations are
listed again, and the heartbeat of its agent is asked for where the removal wants one. What cannot be read proves
nothing, and is no reason to start the clock again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import replace

from msgspec import Struct, field

from onboarding.application.ports import Arm, Clock
from onboarding.application.readers.heartbeat_reader import FRESH, HeartbeatReader
from onboarding.application.reconciling.reconciliation import PolicyTarget, Reconciliation
from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.errors import ArmError, HeartbeatError
from onboarding.domain.failures.classification import classify
from onboarding.domain.policy.only_after import OnlyAfter
from onboarding.domain.policy.policy import Assignment, Effect
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, Preceding
from onboarding.domain.reconcile.retry import problem_of
from onboarding.domain.reconcile.row import Row
from onboarding.domain.reconcile.steps.association_step import Associations, read_associations
from onboarding.domain.resource_id import VmId


class Removal(Struct, frozen=True):
    """A removal that comes after another policy."""

    target: PolicyTarget
    other: Assignment | None
    """What the other policy says of this machine; None if it says nothing."""
    is_next: bool
    """Whether the removal would be requested now, if the other policy is proved to be satisfied."""
    starts_clock: bool
    """Whether the other policy's row says that it is satisfied, and not since when."""

    @property
    def rule(self) -> OnlyAfter | None:
        return self.target.context.assignment.policy.only_after

    @property
    def reopens(self) -> bool:
        """Whether the other policy's target has to be decided anew in this pass."""
        return self.is_next or self.starts_clock


class Proofs(Struct, frozen=True):
    """What was read to prove policies satisfied."""

    listed: Associations | None = None
    """The machine's associations; None if they were not listed."""
    unread: ArmError | None = None
    """Why they could not be listed."""
    heartbeats: Mapping[str, Preceding] = field(default_factory=dict)
    """By the removal's target: what is missing of the heartbeat that it wants."""


class PrecedingPolicies:
    """Knows and proves how the policies stand that removals come after."""

    def __init__(self, arm: Arm, heartbeats: HeartbeatReader, clock: Clock) -> None:
        self._arm = arm
        self._heartbeats = heartbeats
        self._clock = clock

    def removals(
        self, work: Reconciliation, targets: Iterable[PolicyTarget], assignments: Sequence[Assignment], busy: Row | None
    ) -> list[Removal]:
        """The removals among the targets that come after another policy, where the extension is there. `busy` is the
        row whose request of this machine is in flight."""
        found = []
        for target in targets:
            context = target.context
            rule = context.assignment.policy.only_after
            if rule is None or context.extension is None or not context.removes:
                continue
            other = next((each for each in assignments if each.policy.name == rule.policy), None)
            known = _known(other, _stored(work, other, context.facts.vm_id))
            assumed = replace(context, in_flight=busy, preceding=replace(known, proved=True))
            decision = decide(assumed)
            row = _stored(work, other, context.facts.vm_id)
            starts = known.since is None and row is not None and row.outcome.present and not known.reason
            found.append(Removal(target, other, isinstance(decision, Act), starts))
        return found

    def assumed(self, work: Reconciliation, removal: Removal) -> Preceding:
        """How the other policy stands by its row, as if it had been proved."""
        row = _stored(work, removal.other, removal.target.context.facts.vm_id)
        return replace(_known(removal.other, row), proved=True)

    async def read(self, work: Reconciliation, removals: Sequence[Removal], targets: Iterable[PolicyTarget]) -> Proofs:
        """Read what proves the policies before the removals that are next: at most one list of the machine's
        associations, and the heartbeats that they want. Errors of ARM are in the result."""
        following = [removal for removal in removals if removal.is_next and removal.other is not None]
        before = {_extension(removal) for removal in following}
        known = [target for target in targets if target.extension in before]
        listed, unread = None, None
        if any(target.associations.subjects for target in known):
            try:
                listed = read_associations(await self._arm.list_associations(work.vm), self._clock())
            except ArmError as error:
                unread = error
        beats = {}
        for removal in following:
            agent = next(t.context.entry for t in known if t.extension == _extension(removal))
            if unread is None and (missing := await self._heartbeat(work.vm, removal, agent)) is not None:
                beats[removal.target.extension] = missing
        return Proofs(listed, unread, beats)

    def state(self, work: Reconciliation, removal: Removal, proofs: Proofs, rows: Iterable[Row]) -> Preceding:
        """How the other policy stands, after its target was decided in this pass; `rows` are the pass's rows so far."""
        other, vm_id = removal.other, removal.target.context.facts.vm_id
        row = next((row for row in rows if row.extension == _extension(removal)), None)
        known = _known(other, row or _stored(work, other, vm_id))
        if not removal.is_next:
            return known
        if proofs.unread is not None:
            errors = removal.target.context.entry.errors
            problem = problem_of(classify(proofs.unread.evidence, errors, work.now), proofs.unread.evidence.text)
            return replace(known, reason="its associations could not be read", problem=problem)
        if row is None:  # it is not decided in this pass, or its request is about to be sent
            return Preceding(reason="ARM does not show it satisfied any more")
        if (missing := proofs.heartbeats.get(removal.target.extension)) is not None:
            return replace(known, reason=missing.reason, problem=missing.problem, unheard=True)
        return replace(known, proved=known.since is not None)

    async def _heartbeat(self, vm: VmId, removal: Removal, agent: CatalogueEntry) -> Preceding | None:
        """What is missing of the agent's heartbeat that the removal wants; None if it is there, or if none is wanted.
        A heartbeat of the old agent proves nothing about the new one."""
        context = removal.target.context
        workspace = context.needs.heartbeat
        if not workspace:
            return None
        if not self._heartbeats.available:
            return Preceding(reason="this process has no access to Log Analytics, so it cannot read heartbeats")
        if not agent.heartbeat:
            return Preceding(reason=f"the catalogue names no heartbeats of {agent.name}")
        since = _known(removal.other, _stored(removal.target.work, removal.other, context.facts.vm_id)).since
        earliest = max(since or context.now, context.now - FRESH)
        try:
            heard = await self._heartbeats.of_machine(workspace, vm.key)
        except HeartbeatError as error:
            problem = problem_of(classify(error.evidence, context.entry.errors, context.now), error.evidence.text)
            return Preceding(reason="its heartbeat could not be read", problem=problem)
        newest = heard.get(agent.heartbeat)
        if newest is None or newest <= earliest:
            return Preceding(reason=f"{agent.heartbeat} has sent the workspace no heartbeat in the last 15 minutes")
        return None


def _extension(removal: Removal) -> str:
    """The extension of the policy that the removal comes after."""
    return removal.other.policy.extension if removal.other is not None else ""


def _stored(work: Reconciliation, other: Assignment | None, vm_id: str) -> Row | None:
    return work.last(other.policy.extension, vm_id) if other is not None else None


def _known(other: Assignment | None, row: Row | None) -> Preceding:
    """How the other policy stands, by what it says of the machine and by its row."""
    if other is None:
        return Preceding(reason="no such policy decides on this machine")
    if not other.selected or other.policy.effect is not Effect.DEPLOY:
        audits = other.policy.effect is Effect.AUDIT
        return Preceding(reason="it only audits" if audits and other.selected else other.reason)
    if row is None or row.policy != other.policy.name:
        return Preceding(reason="it has not decided on this machine yet")
    if not row.outcome.present:
        return Preceding(reason=f"{row.outcome}, {row.reason}")
    return Preceding(row.satisfied_since)
