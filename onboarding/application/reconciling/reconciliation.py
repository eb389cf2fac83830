"""One reason to look at one VM, and what is known when it comes to acting."""

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
from onboarding.domain.policy.policy import Policy
from onboarding.domain.reconcile.decision import DecisionContext, OperatorRequest, Stop, Wait
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.row import Row, WaitingFor
from onboarding.domain.reconcile.row_builder import Episode, EventKey, unread
from onboarding.domain.resource_id import VmId

# The Date header of an answer and the time of an event are of two clocks of Azure's.
_STALE = timedelta(seconds=10)
# Why a VM is read again by a queued message: its deletion was told and it was there, or might not be read.
DELETION, UNCONFIRMED = "deletion", "deletion-unconfirmed"


class Reconciliation(Struct, frozen=True):
    """One reason to reconcile one VM, and what the table says of it.

    `created`: the event may be that of a new VM. `deletion`: somebody says that the VM is gone. `again`: this reason
    was here before and was overtaken. `revisit` is the reason that a queued message gave, empty for events and checks.
    `cleared` are the extensions whose pause this visit probes. `asked` is there when a person is the reason, and
    `personal` says that ARM is asked with a person's login. `reopens` are the extensions whose final rows may open
    again, and None is all: an event that speaks of one extension is no reason to try again what failed for good with
    another. `policies` are the names of those that it is about, and None is all; `settled` are extensions that it
    leaves out. `unread` is why the resource group or the subscription could not be read, where a policy asks for it."""

    vm: VmId
    trigger: EventRef
    known: MachineRows
    now: datetime
    created: bool = False
    deletion: bool = False
    again: bool = False
    requested_because: str = ""
    cleared: frozenset[str] = frozenset()
    definition: ImageDefinition | None = None
    request: OperatorRequest | None = None
    personal: bool = False
    reopens: frozenset[str] | None = None
    policies: frozenset[str] | None = None
    settled: frozenset[str] = frozenset()
    unread: Mapping[str, ArmError] = field(default_factory=dict)

    @property
    def stored(self) -> Mapping[str, StoredRow]:
        return self.known.targets

    @property
    def claim(self) -> Claim | None:
        """The write that is in flight; None where the row that it is for has ended."""
        claim = self.known.machine.row.claim if self.known.machine else None
        stored = self.stored.get(claim.target) if claim else None
        return claim if stored and stored.row.in_flight else None

    @property
    def to_install(self) -> bool:
        """Whether an install is likely to follow: nothing is known of the VM yet, or it was held back before."""
        held_back = any(stored.row.waiting_for is WaitingFor.THROTTLING for stored in self.stored.values())
        return self.request is None and (held_back or not self.stored)

    @property
    def whole(self) -> bool:
        """Whether this visit looks at all that policies want of the VM. After one that does not, no event is stale:
        what it tells of may be what was left out."""
        of_one = self.request is not None and self.request.policy != ""
        return self.reopens is None and self.policies is None and not self.settled and not of_one

    @property
    def stale(self) -> bool:
        """Whether the VM was read as a whole well after what the event tells of, and every row is final or has its
        check. By ARM's clock and the event's, never by ours."""
        read_at = self.known.machine.row.last_read_at if self.known.machine else None
        all_scheduled = all(s.row.outcome.final or s.row.next_attempt_at for s in self.stored.values())
        return read_at is not None and all_scheduled and self.trigger.time < read_at - _STALE

    def last(self, extension: str, vm_id: str = "") -> Row | None:
        """The extension's row, unless it is that of another VM that had this name before."""
        stored = self.stored.get(extension)
        if stored is None or (vm_id and stored.row.vm_id not in ("", vm_id)):
            return None
        return stored.row

    def concerns(self, policy: Policy) -> bool:
        """Whether what that policy decides is looked at."""
        if self.request is not None and self.request.policy not in ("", policy.name):
            return False
        return policy.extension not in self.settled and (self.policies is None or policy.name in self.policies)

    def may_reopen(self, extension: str) -> bool:
        """Whether a final row of that extension may open again."""
        return self.reopens is None or extension in self.reopens

    @property
    def event_key(self) -> EventKey:
        return self.trigger.id, self.trigger.time, self.trigger.correlation_id

    def machine_row(
        self, facts: MachineFacts | None = None, read_at: datetime | None = None, rows: Iterable[Row] = ()
    ) -> MachineRow:
        """The machine's own row after this pass, with the claim of the write that is still in flight."""
        before = self.known.machine.row if self.known.machine else MachineRow(resource_id=str(self.vm))
        now = {row.extension: row for row in rows}
        claim = self.claim
        if claim is not None and claim.target in now and not now[claim.target].in_flight:
            claim = None
        if facts is not None and before.vm_id not in ("", facts.vm_id):
            claim = None
        return replace(
            before,
            vm_id=facts.vm_id if facts is not None else before.vm_id,
            last_read_at=(read_at if self.whole else None) or before.last_read_at,
            claim=claim,
        )

    def unread_row(self, policy: Policy, decision: Wait | Stop) -> Row:
        """The policy's row where the machine was not read."""
        last = self.last(policy.extension)
        return unread(self.vm, policy, last, decision, Episode.of(last, self.event_key, self.now))


class PolicyTarget(Struct, frozen=True):
    """A situation on a visit, and the settings that would be sent."""

    work: Reconciliation
    context: DecisionContext
    settings: ExtensionSettings

    @property
    def extension(self) -> str:
        return self.context.entry.name
