"""What the application needs from outside, as protocols: ARM, the ledger, the schedule queue, the outcome publisher.

The adapters in `onboarding.azure` implement them; tests have their own. A method raises only the errors that its
docstring names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

from msgspec import Struct, field

from onboarding.application.notifications import EventRef
from onboarding.domain.errors import StorageError
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.domain.limits.pause import Pause
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.change import Change, HistoryLine
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import EVERYTHING, Row, Selection
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.reconcile.sweep_requests import Mark
from onboarding.domain.resource_id import VmId


class StoredRow(Struct, frozen=True):
    """The current row of one extension, as the table has it."""

    row: Row
    version: str
    """The row's etag. A write fails with LostRace if the row has another one by then."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The columns that this version of the product does not know, as the table gave them. They are written back."""
    replaces: tuple[StoredRow, ...] = ()
    """The stored rows of other targets that the next write of this row deletes. If the row itself was moved from one of
    them, its etag is empty."""


class StoredMachine(Struct, frozen=True):
    """The machine's own row, as the table has it."""

    row: MachineRow
    version: str
    """The row's etag. A write fails with LostRace if the row has another one by then."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The columns that this version of the product does not know, as the table gave them. They are written back."""


class MachineRows(Struct, frozen=True):
    """All current rows of one machine."""

    machine: StoredMachine | None = None
    """The machine's own row; None: it was not written yet."""
    targets: Mapping[str, StoredRow] = field(default_factory=dict)
    """The current row of each extension, by the extension's name."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """The etags of rows that cannot be read, by the extension's name in lower case. Such a row is replaced."""

    def version(self, extension: str) -> str | None:
        """The etag that a write of this extension's row must name; None if there is no row."""
        stored = self.targets.get(extension)
        return (stored.version or None) if stored else self.unreadable.get(extension.lower())

    def awaits(self, due: datetime) -> bool:
        """Whether the machine waits for the scheduled check of that time.

        The machine's own row names its check. In the version before, each row that waits had its own, and the sweep
        still sends one for a row that is late."""
        waiting = [stored.row.next_attempt_at for stored in self.targets.values() if not stored.row.outcome.final]
        own = self.machine.row.next_attempt_at if self.machine else None
        return bool(waiting) and due in (own, *waiting)


class RowWrite(Struct, frozen=True):
    """A row to be written."""

    row: Row
    version: str | None = None
    """The etag of the row that is replaced; None: there was no row, and the write creates it."""
    history: bool = True
    """Whether a line of history is written with the row."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The stored columns that this version of the product does not know; they are written back."""
    ended: Row | None = None
    """The last row of an earlier machine of this name, which gets a line of history; None: there was no other."""
    replaces: tuple[StoredRow, ...] = ()
    """The rows of other targets that are deleted in the same transaction; the write fails if one of them changed."""


class RowVersions(Struct, frozen=True):
    """The etags after a write."""

    machine: str
    """Of the machine's own row."""
    targets: Mapping[str, str]
    """Of the rows that were written, by the extension's name."""


class Pruned(Struct, frozen=True):
    """One step of deleting rows that are older than they are kept."""

    after: str
    """The place in the subscription up to which nothing is left to delete; the next run goes on after it."""
    rows: int
    """How many rows the step deleted."""


class ArmAnswer(Struct, frozen=True):
    """ARM's answer to a read."""

    body: Mapping[str, Any]
    """The JSON of the resource."""
    at: datetime | None = None
    """When ARM answered, by its `Date` header (UTC); None: the answer has no such header."""


class ScheduledCheck(Struct, frozen=True):
    """A timed message: reconcile this VM again, since rows of it wait."""

    vm: VmId
    due: datetime
    """When the check is due (UTC). It is dropped if the VM waits for another time by then (`MachineRows.awaits`)."""


class ReconcileRequest(Struct, frozen=True):
    """A message: reconcile this VM, although no event asks for it."""

    vm: VmId
    reason: str
    """Why: a finding of the sweep, or a deletion that has to be confirmed."""
    due: datetime
    """When the reconciliation is due (UTC). Reason and time identify the request: a duplicate has no effect."""


type Message = ScheduledCheck | ReconcileRequest


class Arm(Protocol):
    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        """The VM with its instance view: one GET. Raises ArmError. With `to_install` it also raises ArmError while the
        rate limiter would not let the install's PUT follow, so that the VM is read only once."""

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        """One extension of the VM with its instance view: one GET. Raises ArmError."""

    async def read_image(self, image_id: str) -> Mapping[str, Any]:
        """The body of a managed image or of a gallery image definition: one GET. Raises ArmError."""

    async def read_scope(self, scope: str) -> Mapping[str, Any]:
        """The body of a subscription or a resource group, by its id: one GET. Raises ArmError."""

    async def list_associations(self, vm: VmId) -> Sequence[Mapping[str, Any]]:
        """The bodies of the machine's associations with data collection rules and endpoints. Raises ArmError."""

    async def send(self, vm: VmId, request: ArmRequest) -> bool:
        """Send one write of the machine or of a resource below it, and do not wait for the operation to end. Returns
        whether it created the resource at once (201). A DELETE of what is not there is no error. Raises ArmError."""

    def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        """The bodies of all VMs of a subscription, as ARM lists them: without instance view, and with the ids of the
        extensions only. Raises ArmError."""

    async def list_subscriptions(self) -> tuple[str, ...]:
        """The subscriptions that the identity can see. Raises ArmError."""

    async def check_access(self, subscription: str) -> None:
        """Read the subscription: one GET. Raises ArmError if ARM does not show it to the identity."""


class Shell(Protocol):
    async def run(self, vm: VmId, script: str, os_type: OsType = OsType.LINUX) -> str:
        """Run a script in the VM, in the shell of its OS type; returns what it prints. It takes minutes, so only
        commands of a person call it. Raises ArmError."""


class Ledger(Protocol):
    async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
        """The VM's current rows. With `new`, the VM's own row is read first, and without one nothing else is read: a
        VM that was just created has no rows. Raises StorageError."""

    async def commit(
        self,
        machine: MachineRow,
        version: str | None,
        entries: Sequence[RowWrite],
        trigger: EventRef,
        *,
        again: bool = False,
        rest: Mapping[str, Any] | None = None,
        changes: Sequence[Change] = (),
    ) -> RowVersions:
        """Write the machine's own row, the rows of `entries`, their lines of history and those of `changes` in one
        transaction. A change that was written before is replaced.

        If outcomes are published, a final row with a line of history also gets a row in the outbox. `version` is the
        etag of the machine's own row as it was read (None: there was none); `rest` are its columns that this version of
        the product does not know. `again` says that lines of history with this trigger may exist. Raises LostRace, also
        if a row is gone, and StorageError. More than ten entries, or forty changes, take several transactions, of
        which the first may be written."""

    async def undo(
        self,
        machine: MachineRow,
        version: str,
        extension: str,
        before: StoredRow | None,
        at: str,
        *,
        rest: Mapping[str, Any] | None = None,
        change: Change | None = None,
    ) -> None:
        """Take back a claim: write the extension's row as it was `before` (None: delete it) over the row with the etag
        `at`, and delete the line of history of `change`, which was written with the claim. Raises LostRace and
        StorageError."""

    async def append(self, row: Row, trigger: EventRef) -> None:
        """Write a line of history, without the current row. Raises StorageError."""

    async def append_changes(self, changes: Sequence[Change]) -> None:
        """Write the lines of history of changes of one machine, without its rows. Raises StorageError."""

    def overdue(self, subscription: str, before: datetime) -> AsyncIterator[ScheduledCheck]:
        """The scheduled checks of the subscription's machines that were due before that time, the earliest minute
        first: the one that a machine's own row names, and that of each row that waits for an earlier moment. What a
        version without index rows wrote is found after `summaries` with `index`. Raises StorageError."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        """The current rows, a page at a time. Raises StorageError."""

    def unpublished(self, subscription: str, before: datetime) -> AsyncIterator[Row]:
        """The subscription's final rows, finished before that time, whose outcome event is unpublished. Raises
        StorageError."""

    async def mark_published(self, row: Row) -> None:
        """Remove the row from the outbox, since its outcome event was published. Raises StorageError."""

    def summaries(
        self,
        subscription: str,
        *,
        index: bool = False,
        late: datetime | None = None,
        activity: Activity | None = None,
    ) -> AsyncIterator[tuple[str, RowSummary]]:
        """A summary of each current row of a subscription, with the VM's resource id. With `index`, the index row that
        leads to each row is written on the way, and those that lead to no row needing a person are deleted at the end.
        Without it, only those are written that lead to an open row whose check was due before `late`. Each row is
        counted in `activity`. Raises StorageError."""

    def totals(self, subscription: str, since: date) -> AsyncIterator[Totals]:
        """As `LedgerReader.totals`."""

    async def write_totals(self, totals: Totals) -> None:
        """Write a subscription's totals over earlier ones of their day. Raises StorageError."""

    async def next_subscription(self, after: str) -> str:
        """The first subscription after that one, in the order of their ids, which has rows of any kind (`after` empty:
        the first of all); empty: no subscription follows. Raises StorageError."""

    def prune(self, subscription: str, before: datetime, after: str = "") -> AsyncIterator[Pruned]:
        """Delete the subscription's lines of history and totals that are older than `before`, and the rows of machines
        all of whose targets have been `Gone` since before then, beginning after the place `after` (empty: the start).

        It works as far as the caller iterates, in steps of at most 1,000 rows read and 100 deleted. A current row that
        was written since it was read stays, with all rows of its machine. Raises StorageError."""


class RowPage(Struct, frozen=True):
    """Some of the current rows."""

    rows: Sequence[Row]
    """The rows; it may be none, although others follow."""
    following: str
    """Where the next page begins; empty: this is the last."""
    read: int = 0
    """How many entities, or index rows, were read for it."""


MOST_ON_A_PAGE = 1000


class LedgerReader(Protocol):
    """What people ask the table. Without a subscription, a list reads one subscription after the other."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        """The current rows, a page at a time. Raises StorageError."""

    async def page(self, selection: Selection = EVERYTHING, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        """One page of the current rows, made of at most `most` entities (and of at most 1,000): the first, or the one
        that begins at `RowPage.following`. Raises StorageError, and ValueError if `begin` is no such place."""

    def attention(self, subscription: str) -> AsyncIterator[Row]:
        """The subscription's final rows that need a person (`Outcome.needs_person`). A row that a version without
        index rows wrote is found after `Ledger.summaries` with `index`. Raises StorageError."""

    async def attention_page(self, selection: Selection, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        """As `page`, of the rows that need a person: those of at most `most` index rows, in the order of the table.
        `selection` names a subscription."""

    async def open_page(self, selection: Selection, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        """As `page`, of the rows that are not final: those of at most `most` machines, the earliest next check first.
        `selection` names a subscription."""

    async def count(self, selection: Selection = EVERYTHING) -> Mapping[RowKind, int]:
        """The number of current rows of each kind, which takes as long as reading them all. Raises StorageError."""

    def totals(self, subscription: str, since: date) -> AsyncIterator[Totals]:
        """The subscription's totals from that day (UTC) on, the oldest first: one a day. Raises StorageError."""

    async def next_subscription(self, after: str) -> str:
        """As `Ledger.next_subscription`."""

    def history(self, vm: VmId) -> AsyncIterator[Row]:
        """The VM's lines of history, without those of changes, the newest first within an extension. Event id and time
        are those of the trigger that wrote the line. Raises StorageError."""

    def changes(self, subscription: str, selection: Selection, since: datetime) -> AsyncIterator[Change | HistoryLine]:
        """The changes of the subscription that were sent at `since` or later, with the lines of history that may tell
        what they came to; `selection` names a resource group and a machine, or neither. The lines of one target follow
        each other. They are read a page at a time. Raises StorageError."""


class StoredBreaker(Struct, frozen=True):
    """An open circuit breaker, as the table has it."""

    breaker: CircuitBreaker
    version: str
    """The row's etag. A write fails with LostRace if the row has another one by then."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The stored columns that this version of the product does not know; they are written back."""


class BreakerStore(Protocol):
    async def read(self, subscription: str) -> tuple[StoredBreaker, ...]:
        """The open breakers of one subscription, or those of all subscriptions (`*`). Raises StorageError."""

    async def write(
        self, breaker: CircuitBreaker, version: str | None, *, rest: Mapping[str, Any] | None = None
    ) -> None:
        """Write an open breaker: create it (`version` None), or replace the row with that etag, and keep the columns
        `rest`. Raises LostRace and StorageError."""

    async def delete(self, breaker: CircuitBreaker, version: str) -> None:
        """Delete an open breaker, which closes it. A breaker that is not there any more is no error. Raises LostRace if
        it was written since it was read, and StorageError."""


class StoredPause(Struct, frozen=True):
    """A pause that a person began, as the table has it."""

    pause: Pause
    version: str
    """The row's etag. A write or deletion fails with LostRace if the row has another one by then."""
    key: str
    """What identifies its row."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The stored columns that this version of the product does not know; they are written back."""


class PauseStore(Protocol):
    async def read_all(self) -> tuple[StoredPause, ...]:
        """All pauses, also those that have ended by themselves: one small query. Raises StorageError."""

    async def write(self, pause: Pause, version: str | None, *, rest: Mapping[str, Any] | None = None) -> None:
        """Write the pause of its scope: create it (`version` None), or replace the row with that etag, and keep the
        columns `rest`. Raises LostRace and StorageError."""

    async def delete(self, stored: StoredPause) -> None:
        """Delete a pause, which ends it. One that is not there any more is no error. Raises LostRace if it was written
        since it was read, and StorageError."""


class FoundAssociation(Struct, frozen=True):
    """A VM's association with a data collection rule or endpoint, as the inventory has it. All ids are in lower
    case."""

    machine: str
    """The VM's id."""
    rule: str = ""
    """Empty for an association with an endpoint alone."""
    endpoint: str = ""
    """Empty for an association with a rule alone."""


class Inventory(Protocol):
    """All VMs from an index that lags by minutes: good for sweeps, not for decisions."""

    def machines(self, subscriptions: Sequence[str]) -> AsyncIterator[Mapping[str, Any]]:
        """The bodies of all VMs, in the shape of a GET with extensions and without instance view. Takes at most
        `SUBSCRIPTIONS_AT_ONCE` subscriptions; those that the identity cannot see are left out. Raises ArmError."""

    def associations(self, subscriptions: Sequence[str]) -> AsyncIterator[FoundAssociation]:
        """The associations of all VMs of these subscriptions, as many as `machines` takes; those that the identity may
        not read are left out. Raises ArmError."""

    async def members(self, groups: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """The subscriptions in each of these management groups, in lower case. Unknown and empty groups are left out.
        Raises ArmError."""


class Heartbeats(Protocol):
    """The heartbeats that Log Analytics workspaces received from the agents of machines."""

    async def newest(
        self, workspace: str, machines: Sequence[str] = (), *, since: datetime
    ) -> Mapping[str, Mapping[str, datetime]]:
        """The newest heartbeat of each machine after `since`, by the machine's id in lower case and by the category of
        the agent (`Azure Monitor Agent`, `Direct Agent`). A machine without one is left out.

        One call is one query. `workspace` is the workspace's GUID, `machines` are resource ids in any spelling; empty:
        all machines of the workspace. Raises HeartbeatError, also for an incomplete answer."""


# With more, one query costs more than two of half the size (Resource Graph's guidance for throttled requests).
SUBSCRIPTIONS_AT_ONCE = 300


class Pruning(Struct, frozen=True):
    """How far the sweep has deleted rows that are older than they are kept."""

    next_round: datetime | None = None
    """When the next round over all subscriptions begins (UTC); None: at once."""
    subscription: str = ""
    """The subscription at which the round goes on; empty: the first."""
    after: str = ""
    """The place in that subscription after which it goes on (`Pruned.after`); empty: its start."""


class SweepState(Struct, frozen=True):
    """What one run of the sweep leaves for the next."""

    held_until: datetime | None = None
    """Until when a run holds the sweep (UTC); None: no run is under way."""
    busy_until: datetime | None = None
    """Until when the requests of the last run are being worked off (UTC); None: there were none."""
    resume_at: str = ""
    """The id of the subscription to begin with; empty: the first."""
    overdue: Mark | None = None
    """The last overdue row for which a check was sent; None: none was."""
    unanswered: bytes = b""
    """The requests without a result yet, in the format of `domain.reconcile.sweep_requests`; empty: there are none."""
    pruning: Pruning = Pruning()
    """How far rows that are older than they are kept have been deleted."""


class StoredSweep(Struct, frozen=True):
    """The sweep's state, as the table has it."""

    state: SweepState
    version: str | None
    """The row's etag; None: there is no row yet."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The stored columns that this version of the product does not know; they are written back."""


class SweepStore(Protocol):
    async def read(self) -> StoredSweep:
        """The state; an empty one if there is no row. Raises StorageError."""

    async def write(self, state: SweepState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> str:
        """Write the state over the row with that etag (None: create it), and keep the columns `rest`; returns the new
        etag. Raises LostRace and StorageError."""


class StoredRollout(Struct, frozen=True):
    """The counts of one policy's rollout limit, as the table has them."""

    state: RolloutState
    version: str | None
    """The row's etag; None: there is no row yet."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The stored columns that this version of the product does not know; they are written back."""


class RolloutStore(Protocol):
    async def read(self, policy: str) -> StoredRollout | None:
        """The counts of the policy of that name; None: nothing was counted yet. Raises StorageError."""

    async def write(self, state: RolloutState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> str:
        """Write the counts over the row with that etag (None: create it), and keep the columns `rest`; returns the new
        etag. Raises LostRace and StorageError."""

    async def read_all(self) -> tuple[RolloutState, ...]:
        """The counts of all policies. Raises StorageError."""


class StoredPolicy(Struct, frozen=True):
    """The last seen version of one policy, as the table has it."""

    state: PolicyState
    version: str
    """The row's etag. A write fails with LostRace if the row has another one by then."""
    rest: Mapping[str, Any] = field(default_factory=dict)
    """The stored columns that this version of the product does not know; they are written back."""


class PolicyStore(Protocol):
    async def read_all(self) -> Mapping[str, StoredPolicy]:
        """The last seen version of each policy, by the policy's name. Raises StorageError."""

    async def write(self, state: PolicyState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> None:
        """Write the last seen version of one policy over the row with that etag (None: create it), and keep the columns
        `rest`. Raises LostRace and StorageError."""


class ScheduleQueue(Protocol):
    async def schedule(self, message: Message, now: datetime) -> None:
        """Put `message` on the queue, hidden until it is due. Raises StorageError."""


class Poison(Protocol):
    async def count(self) -> int:
        """How many messages there are, about. Raises StorageError."""

    async def backlog(self) -> int:
        """How many messages the schedule queue has, about: due ones and those that are hidden until they are due.
        Raises StorageError."""

    def requeue(self) -> AsyncIterator[bool]:
        """Move each message back to the schedule queue. Yields True for a moved message, and False for one that cannot
        be decoded, which stays. Raises StorageError."""

    async def remove(self, settled: Callable[[Message], Awaitable[bool]], most: int) -> int:
        """Read at most `most` messages, and delete those for which `settled` is true; returns how many were deleted. A
        message that cannot be decoded stays. Raises StorageError, and what `settled` raises."""


class LetterCount(Struct, frozen=True):
    """Files of events that Event Grid could not deliver, or that the app gave up after a day."""

    files: int
    more: bool
    """Whether there are others, which were not read."""
    newest: datetime | None
    """When the newest of those that were read was written (UTC); None: no file was read."""


class OutcomePublisher(Protocol):
    async def publish(self, row: Row) -> bool:
        """Send the outcome event of a final row; returns whether the topic accepted it. Never raises: an unpublished
        outcome stays in the outbox."""


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, in UTC."""


class Ports(Struct, frozen=True):
    """All ports together, as the composition root passes them on."""

    arm: Arm
    """Reads machines and sends requests to ARM."""
    ledger: Ledger
    """The table's rows and history."""
    schedule_queue: ScheduleQueue
    """Scheduled checks and reconcile requests."""
    breakers: BreakerStore
    """The open circuit breakers."""
    rollouts: RolloutStore
    """The counts of the policies' rollout limits."""
    pauses: PauseStore
    """What people have paused."""
    publisher: OutcomePublisher
    """Sends outcome events; a null object if no topic is set."""
    clock: Clock
    inventory: Inventory
    """All VMs, and the subscriptions of management groups, from Resource Graph."""
    sweeps: SweepStore
    """The sweep's state between two runs."""
    poison: Poison | None = None
    """The messages that failed too often; None: the sweep does not clean them up."""
    reader: LedgerReader | None = None
    """The same table as `ledger`, for the lists that people ask for; None: nobody asks."""
    policy_states: PolicyStore | None = None
    """The last seen version of each policy; None: every policy counts as stable, and as first seen now."""
    caller: Callable[[], Awaitable[str]] | None = None
    """The object id of whoever calls ARM, empty if unknown; None: unknown."""
    heartbeats: Heartbeats | None = None
    """What agents sent to Log Analytics; None: policies that ask for heartbeats wait."""
    dead_letters: Callable[[], Awaitable[LetterCount | str]] | None = None
    """Counts dead letters, or says why they cannot be counted; raises StorageError. None: nobody asks."""

    def lists(self) -> LedgerReader:
        """The `reader`. Raises StorageError where nobody asks for lists."""
        if self.reader is None:
            raise StorageError("the table's lists cannot be read here")
        return self.reader
