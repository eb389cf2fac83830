"""What the table says of one VM and one extension: the outcomes, and the row that carries one.

A row is a value; nothing here knows how or where it is stored. The names of the fields are the table's column
names in snake case, so that the two never drift apart.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, Self


class Outcome(StrEnum):
    REQUESTED = "Requested"
    WAITING = "Waiting"
    INSTALLED = "Installed"
    ALREADY_INSTALLED = "AlreadyInstalled"
    UNSUPPORTED = "Unsupported"
    UNDETERMINED = "Undetermined"
    OUT_OF_SCOPE = "OutOfScope"
    AUDITED = "Audited"
    FAILED = "Failed"
    GONE = "Gone"

    @property
    def final(self) -> bool:
        """Whether the row rests until a new event, a policy change or a person gives a reason to look again."""
        return self not in (Outcome.REQUESTED, Outcome.WAITING)

    @property
    def present(self) -> bool:
        """Whether the extension is on the VM and healthy."""
        return self in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)


class WaitingFor(StrEnum):
    """What a row that is not final waits for; each has its own schedule of looks (`core.waits`)."""

    CLAIM = "install-request"  # we are about to ask ARM; if we die first, the look asks again
    INSTALL = "install"
    VM_RUNNING = "vm-running"
    AGENT_READY = "agent-ready"
    OPERATION = "operation"
    PACKAGE_MANAGER = "package-manager"
    THROTTLING = "throttling"
    PLATFORM = "platform"
    SETTLE_DELAY = "settle-delay"
    SCOPE_PAUSED = "scope-paused"
    BRAKE = "brake"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. Times are UTC; `waiting_since` is what the caps of `core.waits` are measured from.

    `event_id` and `event_time` name what opened the episode; looks and settling events show in the history under
    their own."""

    resource_id: str
    vm_name: str
    resource_group: str
    extension: str
    outcome: Outcome
    reason: str
    waiting_for: WaitingFor | None = None
    waiting_since: datetime | None = None
    next_attempt_at: datetime | None = None
    attempt: int = 0
    vm_id: str = ""
    location: str = ""
    image_publisher: str = ""
    image_offer: str = ""
    image_sku: str = ""
    image_version: str = ""
    image_id: str = ""
    distribution: str = ""
    os_version: str = ""
    architecture: str = ""
    witness: str = ""
    verdict: str = ""
    support_table: str = ""
    extension_name: str = ""
    extension_version: str = ""
    policy: str = ""
    effect: str = ""
    error_code: str = ""
    error_meaning: str = ""
    advice: str = ""
    message: str = ""
    event_id: str = ""
    event_time: datetime | None = None
    correlation_id: str = ""
    requested_at: datetime | None = None
    finished_at: datetime | None = None
    duration_ms: int | None = None
    policy_hash: str = ""

    def to_properties(self) -> dict[str, Any]:
        """The table's columns; empty ones are left out, but for those that every row has."""
        columns = zip(_COLUMNS.values(), _values(self), strict=True)
        told = {column: value for column, value in columns if (value is not None and value != "") or column in _ALWAYS}
        told["Outcome"] = self.outcome.value
        if self.waiting_for is not None:
            told["WaitingFor"] = self.waiting_for.value
        return told

    @classmethod
    def from_properties(cls, properties: dict[str, Any]) -> Self:
        """Read a stored row back; columns that this version does not know are left alone."""
        known = {name: properties[column] for name, column in _COLUMNS.items() if column in properties}
        known["outcome"] = Outcome(known["outcome"])
        if waiting_for := known.get("waiting_for"):
            known["waiting_for"] = WaitingFor(waiting_for)
        return cls(**known)

    def changed_since(self, time: datetime) -> bool:
        """Whether this row tells of something that happened after that time."""
        return any(at is not None and at > time for at in (self.event_time, self.requested_at, self.finished_at))

    def differs(self, other: Row | None) -> bool:
        """Whether this row tells anything that the other does not; times and event ids tell nothing new."""
        return other is None or _told(self) != _told(other)


_TIMES = {"event_id", "event_time", "correlation_id", "requested_at", "finished_at", "duration_ms"}


def _told(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, f.name) for f in fields(row) if f.name not in _TIMES)


_COLUMNS = {f.name: "".join(part.title() for part in f.name.split("_")) for f in fields(Row)}
_ALWAYS = frozenset(_COLUMNS[f.name] for f in fields(Row) if f.default is MISSING)
_values = attrgetter(*_COLUMNS)
