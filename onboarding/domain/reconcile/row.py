"""What the table says of one VM and one extension: the outcomes, and the row that carries one.

A row is a value; nothing here knows how or where it is stored. The names of the fields are the table's column
names in snake case, so that the two never drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, Self

from msgspec import Struct

from onboarding.domain.json_access import digest
from onboarding.domain.masking import cut


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
    """What a row that is not final waits for; each has its own schedule of looks (`wait_schedule`)."""

    CLAIM = "install-request"  # we are about to ask ARM; if we die first, the look asks again
    INSTALL = "install"
    VM_RUNNING = "vm-running"
    AGENT_READY = "agent-ready"
    OPERATION = "operation"
    PACKAGE_MANAGER = "package-manager"
    THROTTLING = "throttling"
    PLATFORM = "platform"
    SETTLE_DELAY = "settle-delay"
    SCOPE_BREAKER = "scope-paused"
    ROLLOUT_LIMIT = "brake"
    CONFIGURATION = "configuration"  # the file of its extension cannot be used


# A request of ours is about to be sent, or was sent and has not ended: no other write may go to this machine.
SENT = (WaitingFor.CLAIM, WaitingFor.INSTALL)


class Row(Struct, frozen=True, kw_only=True):
    """One row. Times are UTC; `waiting_since` is what the caps of `wait_schedule` are measured from.

    `event_id` and `event_time` name what opened the episode; looks and settling events show in the history under
    their own. `policy_hash` is the digest of the policy that decided, `sent_digest` that of the public settings that we
    sent last. `undone_at` holds the times at which somebody undid what we did, in ISO 8601 with blanks between them."""

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
    sent_digest: str = ""
    undone_at: str = ""

    def to_properties(self) -> dict[str, Any]:
        """The table's columns; empty ones are left out, but for those that every row has. Texts are cut, since what
        guests and people write has any length, and the table takes 32,768 characters."""
        columns = zip(_COLUMNS.values(), _values(self), strict=True)
        told = {column: value for column, value in columns if (value is not None and value != "") or column in _ALWAYS}
        for column in [column for column, value in told.items() if type(value) is str and len(value) > _NAME_LIMIT]:
            told[column] = cut(told[column], _TEXT_LIMIT if column in _TEXTS else _NAME_LIMIT)
        told["Outcome"] = self.outcome.value
        if self.waiting_for is not None:
            told["WaitingFor"] = self.waiting_for.value
        return told

    @classmethod
    def from_properties(cls, properties: dict[str, Any]) -> Self:
        """Read a stored row back; columns that this version does not know are left alone. Raises ValueError, TypeError
        and LookupError for a row that it cannot read."""
        known = {name: properties[column] for name, column in _COLUMNS.items() if column in properties}
        for name, kind in _TYPES.items():
            if name in known and not isinstance(known[name], kind):
                raise ValueError(f"{_COLUMNS[name]} is {known[name]!r}")
        known["outcome"] = Outcome(known["outcome"])
        if waiting_for := known.get("waiting_for"):
            known["waiting_for"] = WaitingFor(waiting_for)
        return cls(**known)

    @property
    def in_flight(self) -> bool:
        """Whether a request of ours is about to be sent or has not ended."""
        return self.waiting_for in SENT

    def has_sent(self, settings: Mapping[str, Any]) -> bool:
        """Whether these are the public settings that we sent last; also where nobody knows which they were."""
        return self.sent_digest in ("", digest(settings))

    def changed_since(self, time: datetime) -> bool:
        """Whether this row tells of something that happened after that time."""
        return any(at is not None and at > time for at in (self.event_time, self.requested_at, self.finished_at))

    def differs(self, other: Row | None) -> bool:
        """Whether this row tells anything that the other does not; times and event ids tell nothing new."""
        return other is None or _told(self) != _told(other)

    def tells_more_than(self, other: Row | None) -> bool:
        """Whether it is worth a line of history: more than that the same wait goes on, in whatever words, or that it is
        said under another digest."""
        if other is None or self.outcome is not other.outcome:
            return True
        if self.outcome is Outcome.WAITING:
            return self._wait != other._wait
        return self.differs(replace(other, policy_hash=self.policy_hash, sent_digest=self.sent_digest))

    @property
    def _wait(self) -> tuple[WaitingFor | None, datetime | None, int, str]:
        return self.waiting_for, self.waiting_since, self.attempt, self.policy


_TIMES = {"event_id", "event_time", "correlation_id", "requested_at", "finished_at", "duration_ms"}


def _told(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in Row.__struct_fields__ if name not in _TIMES)


# Columns of prose; everything else is a name, a number or an id.
_TEXTS = frozenset({"Reason", "ErrorMeaning", "Advice", "Message"})
_NAME_LIMIT, _TEXT_LIMIT = 1024, 8192


_COLUMNS = {name: "".join(part.title() for part in name.split("_")) for name in Row.__struct_fields__}
_TYPES: Mapping[str, type] = {
    name: datetime if "datetime" in kind else int
    for name, kind in Row.__annotations__.items()
    if kind.startswith(("datetime", "int"))
}
ROW_COLUMNS = frozenset(_COLUMNS.values())
_ALWAYS = frozenset(list(_COLUMNS.values())[: -len(Row.__struct_defaults__)])
_values = attrgetter(*_COLUMNS)


class Selection(Struct, frozen=True, kw_only=True):
    """A field that is empty selects all."""

    subscription: str = ""
    resource_group: str = ""
    vm_name: str = ""
    outcomes: tuple[Outcome, ...] = ()


EVERYTHING = Selection()
