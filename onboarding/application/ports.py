"""What the line needs of the world, as protocols: ARM, the ledger, the deferrals, and who is told of outcomes.

The adapters in `onboarding.azure` implement them; tests bring their own. Every method may raise what its docstring
names and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct
from msgspec import field as struct_field

from onboarding.application.notifications import EventRef
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection
from onboarding.domain.reconcile.sweep_requests import Mark
from onboarding.domain.resource_id import VmId


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A current row as it is in the table; `version` must still be the same when it is written over. `rest` are the
    columns that this version does not know, as the table gave them: they are written back."""

    row: Row
    version: str
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class StoredMachine:
    """The machine's own row, likewise."""

    row: MachineRow
    version: str
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)


class MachineRows(Struct, frozen=True):
    """What the table says of one machine: its own row, if there is one, and the current row of each extension.

    `unreadable` are the versions of rows that are there and cannot be read, by extension in lower case: they count as
    absent, and are replaced."""

    machine: StoredMachine | None = None
    targets: Mapping[str, StoredRow] = struct_field(default_factory=dict)
    unreadable: Mapping[str, str] = struct_field(default_factory=dict)

    def version(self, extension: str) -> str | None:
        """What a write of this extension's row has to name; None if there is no row."""
        stored = self.targets.get(extension)
        return stored.version if stored else self.unreadable.get(extension.lower())


@dataclass(frozen=True, slots=True)
class RowWrite:
    """A row to be written over the version that was read (None: there was none). `history`: with its line of history;
    `ended` is the row of another machine of the same name, which ends with a line of its own."""

    row: Row
    version: str | None = None
    history: bool = True
    rest: Mapping[str, Any] = field(default_factory=dict, repr=False)
    ended: Row | None = None


class RowVersions(Struct, frozen=True):
    """What the rows are after a write."""

    machine: str
    targets: Mapping[str, str]


class ArmAnswer(Struct, frozen=True):
    """One answer of ARM: the body, and when ARM gave it by its own clock (UTC; None if it does not say)."""

    body: Mapping[str, Any]
    at: datetime | None = None


class ScheduledCheck(Struct, frozen=True):
    """A timed message: look at this VM's extension again. It counts only while the row still waits for `due`."""

    vm: VmId
    extension: str
    due: datetime


class ReconcileRequest(Struct, frozen=True):
    """A message: look at this VM, for a reason that no event told. `due` also names it: the same one twice is one."""

    vm: VmId
    reason: str
    due: datetime


type Message = ScheduledCheck | ReconcileRequest


class Arm(Protocol):
    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        """The VM with its instance view: one GET. Raises ArmError; with `to_install` also where an install could
        not follow yet, so that a VM is read when it is its turn, and not before."""

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        """One extension of the VM with its instance view: one GET. Raises ArmError."""

    async def read_image(self, image_id: str) -> Mapping[str, Any]:
        """The body of a managed image or of a gallery image definition: one GET. Raises ArmError."""

    async def read_scope(self, scope: str) -> Mapping[str, Any]:
        """The body of a subscription or of a resource group, by its id: one GET. Raises ArmError."""

    async def start_install(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        """Ask for an extension and do not wait: one PUT. Raises ArmError."""

    def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        """The bodies of all VMs, as lists have them: no instance view, extensions by id alone. Raises ArmError."""

    async def list_subscriptions(self) -> tuple[str, ...]:
        """The subscriptions that the identity can see. Raises ArmError."""

    async def check_access(self, subscription: str) -> None:
        """Whether ARM knows the identity and shows it that subscription: one GET. Raises ArmError if not."""


class Shell(Protocol):
    async def run(self, vm: VmId, script: str, os_type: OsType = OsType.LINUX) -> str:
        """Run a script in the VM, in the shell of its OS type, and wait for what it prints. For people only. Raises
        ArmError."""


class Ledger(Protocol):
    async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
        """What the table says of the VM. With `new` its own row is looked for first, and where there is none nothing
        more is read: of a VM that was just made there is nothing. Raises StorageError."""

    async def commit(
        self,
        machine: MachineRow,
        version: str | None,
        entries: Sequence[RowWrite],
        trigger: EventRef,
        *,
        again: bool = False,
        rest: Mapping[str, Any] | None = None,
    ) -> RowVersions:
        """Write the machine's own row, the rows of `entries` and their lines of history in one transaction.

        With a final row goes a note that its outcome is still to be told, where anybody is told of outcomes.
        `version` is that of the machine's own row as it was read (None: there was none), `rest` its columns that this
        version does not know. `again` says that this trigger's lines of history may be there already. Raises LostRace
        and StorageError."""

    async def undo(
        self,
        machine: MachineRow,
        version: str,
        extension: str,
        before: StoredRow | None,
        at: str,
        *,
        rest: Mapping[str, Any] | None = None,
    ) -> None:
        """Take a claim back that was not sent: the extension's row as it was `before` (None: no row), over the version
        `at`. Raises LostRace and StorageError."""

    async def append(self, row: Row, trigger: EventRef) -> None:
        """Write the line of history alone. Raises StorageError."""

    def overdue(self, before: datetime) -> AsyncIterator[Row]:
        """Rows that are not final and whose look is past. Raises StorageError."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        """The current rows, a page at a time. Raises StorageError."""

    def unpublished(self, before: datetime) -> AsyncIterator[Row]:
        """Final rows, written before that time, whose outcome event nobody has taken yet. Raises StorageError."""

    async def mark_published(self, row: Row) -> None:
        """The outcome event of a final row was taken. Raises StorageError."""

    def summaries(self, subscription: str) -> AsyncIterator[tuple[str, RowSummary]]:
        """The current rows of a subscription, as short as they go, each with its `resource_id`. Raises StorageError."""


class LedgerReader(Protocol):
    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        """The current rows, a page at a time. Raises StorageError."""

    async def totals(self, selection: Selection = EVERYTHING) -> Mapping[Outcome, int]:
        """How many current rows there are of each outcome; none of an outcome is left out. Raises StorageError."""

    def history(self, vm: VmId) -> AsyncIterator[Row]:
        """The VM's lines of history, within an extension the newest first; event and time are those of each line's
        own trigger. Raises StorageError."""


class StoredBreaker(Struct, frozen=True):
    """A pause as it is in the table; `version` must still be the same when it is written over."""

    breaker: CircuitBreaker
    version: str


class BreakerStore(Protocol):
    async def read(self, subscription: str) -> tuple[StoredBreaker, ...]:
        """The pauses of one subscription, or those that hold in all of them (`*`). Raises StorageError."""

    async def write(self, breaker: CircuitBreaker, version: str | None) -> None:
        """Write a pause, new (None) or over the version that was read. Raises LostRace and StorageError."""

    async def delete(self, breaker: CircuitBreaker, version: str) -> None:
        """Remove the pause that was read; one that is gone already is no error. Raises LostRace where it was written
        since, and StorageError."""


class Inventory(Protocol):
    """All VMs at once, from an index that lags by minutes: for sweeps, not for decisions."""

    def machines(self, subscriptions: Sequence[str]) -> AsyncIterator[Mapping[str, Any]]:
        """The bodies of all VMs in shape of a GET, with their extensions and without instance view, a page at a time;
        at most `SUBSCRIPTIONS_AT_ONCE` subscriptions. One that cannot be seen is passed over. Raises ArmError."""

    async def members(self, groups: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """The subscriptions in each of these management groups, all in lower case; a group that is unknown or empty is
        left out. Raises ArmError."""


# More make a query dearer than two of half the size (Resource Graph's guidance for throttled requests).
SUBSCRIPTIONS_AT_ONCE = 300


class SweepState(Struct, frozen=True):
    """Which sweep is under way, and where the next one goes on.

    `held_until`: a run has it until then; `busy_until`: what was queued is on its way until then; `resume_at`: the
    subscription to begin with; `overdue`: how far looks of overdue rows were sent; `unanswered`: the visits that were
    asked for, as `domain.reconcile.sweep_requests` writes them."""

    held_until: datetime | None = None
    busy_until: datetime | None = None
    resume_at: str = ""
    overdue: Mark | None = None
    unanswered: bytes = b""


class StoredSweep(Struct, frozen=True):
    """The state as it is in the table; `version` must still be the same when it is written over (None: no row)."""

    state: SweepState
    version: str | None


class SweepStore(Protocol):
    async def read(self) -> StoredSweep:
        """Raises StorageError."""

    async def write(self, state: SweepState, version: str | None) -> str:
        """Write the state over the version that was read; the new version. Raises LostRace and StorageError."""


class StoredRollout(Struct, frozen=True):
    """What is counted for a policy's brake; `version` must still be the same when it is written over."""

    state: RolloutState
    version: str | None


class RolloutStore(Protocol):
    async def read(self, policy: str) -> StoredRollout | None:
        """What is counted for the policy of that name. Raises StorageError."""

    async def write(self, state: RolloutState, version: str | None) -> str:
        """Write it, new (None) or over the version that was read; the new version. Raises LostRace, StorageError."""

    async def read_all(self) -> tuple[RolloutState, ...]:
        """What is counted for all policies. Raises StorageError."""


class PolicyStore(Protocol):
    async def read_all(self) -> Mapping[str, PolicyState]:
        """What was seen last of each policy, by its name. Raises StorageError."""

    async def write(self, state: PolicyState) -> None:
        """Write it over what was there. Raises StorageError."""


class ScheduleQueue(Protocol):
    async def schedule(self, message: Message, now: datetime) -> None:
        """Have `message` come back when it is due. Raises StorageError."""


class Poison(Protocol):
    def requeue(self) -> AsyncIterator[bool]:
        """Put each message that was laid aside back on the queue; whether it was one of ours, else it stays. Raises
        StorageError."""

    async def remove(self, settled: Callable[[Message], Awaitable[bool]], most: int) -> int:
        """Look through at most so many messages, and remove those that are settled; how many that were. A message that
        cannot be decoded stays. Raises StorageError, and what `settled` raises."""


class OutcomePublisher(Protocol):
    async def publish(self, row: Row) -> bool:
        """Tell of a final outcome; whether it was taken. Never raises: the table is the record."""


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, in UTC."""


class Ports(Struct, frozen=True):
    """All of them together, as the composition root hands them over."""

    arm: Arm
    ledger: Ledger
    schedule_queue: ScheduleQueue
    breakers: BreakerStore
    rollouts: RolloutStore
    publisher: OutcomePublisher
    clock: Clock
    inventory: Inventory
    sweeps: SweepStore
    poison: Poison | None = None
    policy_states: PolicyStore | None = None
