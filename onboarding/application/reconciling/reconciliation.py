"""The reconciliation of one machine: why it is done, what the table says, and what it is limited to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import replace
from datetime import datetime, timedelta

from msgspec import Struct, field

from onboarding.application.notifications import EventRef
from onboarding.application.ports import MachineRows, StoredRow
from onboarding.domain.catalog.extension_settings import ExtensionSettings
from onboarding.domain.errors import ArmError
from onboarding.domain.image.os_identification import ImageDefinition
from onboarding.domain.machine.machine_facts import MachineFacts
from onboarding.domain.masking import cut, mask
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.change import Change
from onboarding.domain.reconcile.decision import DecisionContext, OperatorRequest, Stop, Wait
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.row import Row, WaitingFor
from onboarding.domain.reconcile.row_builder import Episode, EventKey, unread
from onboarding.domain.reconcile.steps.association_step import AssociationNeed
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.reconcile.taking_up import TakenUpBy
from onboarding.domain.resource_id import VmId

# The Date header of an answer and the time of an event come from two clocks of Azure, which may differ by this.
_STALE = timedelta(seconds=10)
# Reasons of reconcile requests: a VM whose deletion was reported was still there, or could not be read.
DELETION, UNCONFIRMED = "deletion", "deletion-unconfirmed"


class Reconciliation(Struct, frozen=True):
    """One reason to reconcile one VM, with all that is known when it begins."""

    vm: VmId
    trigger: EventRef
    """The event, scheduled check or request that is the reason."""
    known: MachineRows
    """The VM's rows as they were read at the beginning."""
    now: datetime
    """The time of all decisions of this pass (UTC)."""
    created: bool = False
    """Whether the event may be that of a new VM."""
    deletion: bool = False
    """Whether an event says that the VM was deleted."""
    again: bool = False
    """Whether this is a repetition after another worker wrote the rows first."""
    checks: bool = False
    """Whether the trigger is the scheduled check that the machine waits for."""
    requested_because: str = ""
    """The reason of a reconcile request; empty: the trigger is an event, a scheduled check or a person."""
    cleared: frozenset[str] = frozenset()
    """The extensions that are not held back by a circuit breaker: theirs is closed, or this pass probes it."""
    definition: ImageDefinition | None = None
    """The definition of the VM's custom image; None: not custom, not needed or not read."""
    request: OperatorRequest | None = None
    """What a person requests; None: no person is the reason."""
    personal: bool = False
    """Whether ARM is called with a person's login instead of the app's identity."""
    despite_pause: bool = False
    """Whether a person wants requests to be sent although they are paused."""
    reopens: frozenset[str] | None = None
    """The extensions whose final rows may open again; None: all. An event about one extension does not reopen another
    extension that has failed."""
    relist: bool = False
    """Whether the associations that the machine's own row holds are in doubt, so that they are listed again."""
    policies: frozenset[str] | None = None
    """The names of the policies to decide on; None: all."""
    settled: frozenset[str] = frozenset()
    """The extensions to leave out, by their names in the catalogue."""
    sent: tuple[Change, ...] = ()
    """The writes to ARM that this pass has sent, and that have no line in the history yet."""
    unread: Mapping[str, ArmError] = field(default_factory=dict)
    """Why a container that a policy asks for could not be read, by `resourceGroup` or `subscription`; empty: all that
    were needed were read."""

    @property
    def stored(self) -> Mapping[str, StoredRow]:
        """The current row of each extension, by the extension's name."""
        return self.known.targets

    @property
    def claim(self) -> Claim | None:
        """The claim of the write in flight; None if no write is claimed, or if its row has ended."""
        claim = self.known.machine.row.claim if self.known.machine else None
        stored = self.stored.get(claim.target) if claim else None
        return claim if stored and stored.row.in_flight else None

    @property
    def next_check(self) -> datetime | None:
        """When the machine's scheduled check is due; None if none is scheduled."""
        return self.known.machine.row.next_attempt_at if self.known.machine else None

    @property
    def to_install(self) -> bool:
        """Whether an install is likely to follow the read: the VM has no rows yet, or one waits for throttling."""
        held_back = any(stored.row.waiting_for is WaitingFor.THROTTLING for stored in self.stored.values())
        return self.request is None and (held_back or not self.stored)

    @property
    def whole(self) -> bool:
        """Whether this pass covers every policy and extension of the VM.

        Only such a pass updates the time of the last read, by which later events are found stale."""
        of_one = self.request is not None and (self.request.policy or self.request.extension) != ""
        return self.reopens is None and self.policies is None and not self.settled and not of_one

    @property
    def stale(self) -> bool:
        """Whether the VM was read well after the event happened, and every row is final or has a scheduled check.

        The comparison uses ARM's clock and the event's, never this worker's."""
        read_at = self.known.machine.row.last_read_at if self.known.machine else None
        all_scheduled = all(s.row.outcome.final or s.row.next_attempt_at for s in self.stored.values())
        return read_at is not None and all_scheduled and self.trigger.time < read_at - _STALE

    def last(self, extension: str, vm_id: str = "") -> Row | None:
        """The extension's row; None if it was not written yet, or if it is that of an earlier VM of this name."""
        stored = self.stored.get(extension)
        if stored is None or (vm_id and stored.row.vm_id not in ("", vm_id)):
            return None
        return stored.row

    def concerns(self, policy: Policy) -> bool:
        """Whether this pass decides on that policy."""
        if self.request is not None and self.request.policy not in ("", policy.name):
            return False
        if self.request is not None and self.request.extension not in ("", policy.extension):
            return False
        return policy.extension not in self.settled and (self.policies is None or policy.name in self.policies)

    def request_for(self, policy: Policy) -> OperatorRequest | None:
        """What a person requests of that policy. A policy that is decided on for another's sake is not meant."""
        return self.request if self.concerns(policy) else None

    def may_reopen(self, extension: str) -> bool:
        """Whether a final row of that extension may open again."""
        return self.reopens is None or extension in self.reopens

    @property
    def event_key(self) -> EventKey:
        return self.trigger.id, self.trigger.time, self.trigger.correlation_id

    def machine_row(
        self, facts: MachineFacts | None = None, read_at: datetime | None = None, rows: Iterable[Row] = ()
    ) -> MachineRow:
        """The machine's own row after this pass, but for its next check. It keeps the claim if that write is still in
        flight, and the associations unless they are in doubt."""
        before = self.known.machine.row if self.known.machine else MachineRow(resource_id=str(self.vm))
        now = {row.extension: row for row in rows}
        claim = self.claim
        if claim is not None and claim.target in now and not now[claim.target].in_flight:
            claim = None
        identities = before.identities
        if facts is not None and claim is None and not set(identities.split()) - facts.identity.names:
            identities = ""  # our last request kept all of them
        if facts is not None and before.vm_id not in ("", facts.vm_id):
            claim = None
            before = replace(before, associations="", refused_identities="")
            identities = ""
        return replace(
            before,
            associations="" if self.relist else before.associations,
            vm_id=facts.vm_id if facts is not None else before.vm_id,
            last_read_at=(read_at if self.whole else None) or before.last_read_at,
            claim=claim,
            identities=identities,
        )

    def unread_row(self, policy: Policy, decision: Wait | Stop) -> Row:
        """The policy's row if the machine was not read."""
        last = self.last(policy.extension)
        by = TakenUpBy.PERSON if self.request is not None else None
        removal = self.request.removal if self.request is not None else None
        episode = Episode.of(last, self.event_key, self.now, self.request)
        return unread(self.vm, policy, last, decision, episode, by, removal)


class PolicyTarget(Struct, frozen=True):
    """One policy's extension on one machine, ready to be decided on."""

    work: Reconciliation
    """The pass that this target belongs to."""
    context: DecisionContext
    """All that the decision rests on."""
    settings: ExtensionSettings
    """The public and protected settings that an install would send."""

    @property
    def associations(self) -> AssociationNeed:
        """What the machine is to be associated with."""
        return self.context.needs.associations

    @property
    def extension(self) -> str:
        """The extension's name in the catalogue."""
        return self.context.entry.name

    def change(self, step: StepKind, subject: str, reason: str, at: datetime, request_id: str) -> Change:
        """The line of history of a write that is about to be sent, without ARM's answer."""
        context, trigger = self.context, self.work.trigger
        policy = context.assignment.policy
        episode = Episode.of(context.last, self.work.event_key, self.work.now, context.request)
        return Change(
            resource_id=str(self.work.vm),
            extension=self.extension,
            step=step.value,
            subject=subject,
            policy=policy.name,
            policy_hash=policy.digest,
            reason=cut(mask(reason)),
            sent_at=at,
            client_request_id=request_id,
            by=episode.by,
            event_id=trigger.id,
            event_time=trigger.time,
            correlation_id=episode.event_key[2],
        )

    def policies(self, step: StepKind) -> tuple[str, ...]:
        """The names of the policies that the request of a step is for: one request adds the identities that all
        policies of the machine want."""
        state = self.context.identity if step is StepKind.IDENTITY else None
        return (self.context.assignment.policy.name, *(state.policies if state else ()))
