"""What the line needs of the world, as protocols: ARM, the ledger, the deferrals, and who is told of outcomes.

The adapters in `onboarding.azure` implement them; tests bring their own. Every method may raise what its docstring
names and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from onboarding.core.outcome import Row
from onboarding.core.pause import Pause
from onboarding.core.resource_id import VmId
from onboarding.core.selection import EVERYTHING, Selection
from onboarding.events import Trigger


@dataclass(frozen=True, slots=True)
class Stored:
    """A current row as it is in the table; `version` must still be the same when it is written over."""

    row: Row
    version: str


@dataclass(frozen=True, slots=True)
class Look:
    """A timed message: look at this VM's extension again. It counts only while the row still waits for `due`."""

    vm: VmId
    extension: str
    due: datetime


class Arm(Protocol):
    async def read_machine(self, vm: VmId) -> Mapping[str, Any]:
        """The VM's body with its instance view: one GET. Raises ArmError."""

    async def start_install(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        """Ask for an extension and do not wait: one PUT. Raises ArmError."""

    def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        """The bodies of all VMs, as lists have them: no instance view, extensions by id alone. Raises ArmError."""

    async def list_subscriptions(self) -> tuple[str, ...]:
        """The subscriptions that the identity can see. Raises ArmError."""


class Ledger(Protocol):
    async def read(self, vm: VmId) -> Mapping[str, Stored]:
        """The VM's current rows by extension. Raises StorageError."""

    async def write(self, row: Row, trigger: Trigger, version: str | None, *, again: bool = False) -> str:
        """Write the current row and its line of history in one transaction; the new version.

        With a final row goes a note that its outcome is still to be told, where anybody is told of outcomes.
        `version` is the one that was read (None: there was no row). `again` says that this trigger's line of history
        may be there already. Raises LostRace and StorageError."""

    async def append(self, row: Row, trigger: Trigger) -> None:
        """Write the line of history alone. Raises StorageError."""

    def overdue(self, before: datetime) -> AsyncIterator[Row]:
        """Rows that are not final and whose look is past. Raises StorageError."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        """The current rows, a page at a time. Raises StorageError."""

    def untold(self, before: datetime) -> AsyncIterator[Row]:
        """Final rows, written before that time, whose outcome event nobody has taken yet. Raises StorageError."""

    async def told(self, row: Row) -> None:
        """The outcome event of a final row was taken. Raises StorageError."""


class LedgerReader(Protocol):
    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        """The current rows, a page at a time. Raises StorageError."""

    def history(self, vm: VmId) -> AsyncIterator[Row]:
        """The VM's lines of history, within an extension the newest first; event and time are those of each line's
        own trigger. Raises StorageError."""


@dataclass(frozen=True, slots=True)
class StoredPause:
    """A pause as it is in the table; `version` must still be the same when it is written over."""

    pause: Pause
    version: str


class PauseStore(Protocol):
    async def read(self, subscription: str) -> tuple[StoredPause, ...]:
        """The pauses of one subscription. Raises StorageError."""

    async def write(self, pause: Pause, version: str | None) -> None:
        """Write a pause, new (None) or over the version that was read. Raises LostRace and StorageError."""

    async def delete(self, pause: Pause) -> None:
        """Remove a pause; one that is gone already is no error. Raises StorageError."""


class Deferrals(Protocol):
    async def schedule(self, look: Look, now: datetime) -> None:
        """Have `look` come back when it is due. Raises StorageError."""


class Announcer(Protocol):
    async def announce(self, row: Row) -> bool:
        """Tell of a final outcome; whether it was taken. Never raises: the table is the record."""


class Clock(Protocol):
    def __call__(self) -> datetime:
        """Now, in UTC."""


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them together, as the composition root hands them over."""

    arm: Arm
    ledger: Ledger
    deferrals: Deferrals
    pauses: PauseStore
    announcer: Announcer
    clock: Clock
