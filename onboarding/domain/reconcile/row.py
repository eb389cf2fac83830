"""What the table says about one VM and one extension: the outcomes, and the row that carries one.

A row is a value; this module does not know how or where it is stored. The fields are named like the table's columns,
in snake case, so the two cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, Self

from msgspec import Struct

from onboarding.domain.failures.failure_rules import Cause
from onboarding.domain.json_access import digest
from onboarding.domain.masking import cut
from onboarding.domain.policy_digest import joined, parts


class Outcome(StrEnum):
    REQUESTED = "Requested"
    WAITING = "Waiting"
    INSTALLED = "Installed"
    ALREADY_INSTALLED = "AlreadyInstalled"
    REMOVED = "Removed"
    UNSUPPORTED = "Unsupported"
    UNDETERMINED = "Undetermined"
    OUT_OF_SCOPE = "OutOfScope"
    AUDITED = "Audited"
    FAILED = "Failed"
    GONE = "Gone"

    @property
    def final(self) -> bool:
        """Whether the row stays until a new event, a policy change or a person gives a reason to reconcile again."""
        return self not in (Outcome.REQUESTED, Outcome.WAITING)

    @property
    def needs_person(self) -> bool:
        """Whether the extension is missing until a person acts, whatever the cause: `Failed` names what to do, and
        `Undetermined` what nobody could tell. After every other final outcome there is nothing to do."""
        return self in (Outcome.FAILED, Outcome.UNDETERMINED)

    @property
    def present(self) -> bool:
        """Whether the extension is on the VM and healthy."""
        return self in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)


class WaitingFor(StrEnum):
    """What a row that is not final waits for; each kind has its own schedule of checks (`wait_schedule`)."""

    CLAIM = "install-request"  # we are about to send the request; if we stop first, the check sends it
    INSTALL = "install"  # ARM accepted our request, and it has not ended
    IDENTITY = "identity"  # ARM accepted our change of the machine's identities, and it has not ended
    REMOVAL = "removal"  # ARM accepted our removal of the extension, and it has not ended
    ONLY_AFTER = "only-after"  # the policy that the removal comes after is not satisfied for long enough, or not proved
    NEEDED_EXTENSION = "needed-extension"  # another extension that this one needs is not there, or not healthy
    HEARTBEAT = "heartbeat"  # the time of that policy is over, and a heartbeat of its agent is what is missing
    VM_RUNNING = "vm-running"
    AGENT_READY = "agent-ready"
    OPERATION = "operation"  # another write of the machine, ours or somebody else's
    PACKAGE_MANAGER = "package-manager"  # another process holds its lock
    THROTTLING = "throttling"
    PLATFORM = "platform"  # a transient failure of ARM or of the handler
    SETTLE_DELAY = "settle-delay"  # the time that the policy leaves a new VM
    SCOPE_BREAKER = "scope-paused"  # an open circuit breaker
    ROLLOUT_LIMIT = "brake"
    CHANGE_WINDOW = "change-window"  # the time in which what is there may be changed
    PAUSED = "paused"  # a person has stopped all writes, or those of its subscription or its policy
    CONFIGURATION = "configuration"  # the file of its extension cannot be used


# ARM accepted our request, and it has not ended.
ACCEPTED = (WaitingFor.INSTALL, WaitingFor.IDENTITY, WaitingFor.REMOVAL)
# Our request is about to be sent, or was sent and has not ended: no other write may go to this machine.
SENT = (WaitingFor.CLAIM, *ACCEPTED)


class Row(Struct, frozen=True, kw_only=True):
    """One row. Times are UTC. Empty texts and None mean unknown or not applicable; those columns are not stored.

    An episode begins with the event that opens a row and ends with a final outcome."""

    resource_id: str  # of the VM, as ARM or the event spells it
    vm_name: str
    resource_group: str
    extension: str  # the catalogue entry's name
    outcome: Outcome
    reason: str  # one sentence for people, masked
    waiting_for: WaitingFor | None = None  # None if the outcome is final
    waiting_since: datetime | None = (
        None  # when this kind of waiting began; the caps of `wait_schedule` count from here
    )
    next_attempt_at: datetime | None = None  # when the scheduled check is due
    attempt: int = 0  # install requests of this episode
    vm_id: str = ""  # ARM's id of this very VM, which another VM of the same name does not have
    location: str = ""
    image_publisher: str = ""
    image_offer: str = ""
    image_sku: str = ""
    image_version: str = ""  # the exact version where ARM says it
    image_id: str = ""  # of an image that is not from the marketplace
    distribution: str = ""
    os_version: str = ""  # a Windows release, or the version of a distribution
    architecture: str = ""
    witness: str = ""  # the source of the operating system (`OsSource`)
    verdict: str = ""  # whether the extension supports it (`Verdict`)
    support_table: str = ""  # the name of the table that the verdict comes from
    extension_name: str = ""  # of the extension resource
    extension_version: str = ""  # of the handler; the requested version until the handler reports its own
    policy: str = ""  # the name of the policy that decided
    effect: str = ""  # of that policy
    error_code: str = ""  # empty if nothing went wrong
    cause: str = ""  # of the failure, one of our `Cause`s; empty if nothing went wrong, or before it had a column
    error_meaning: str = ""
    advice: str = ""  # what a person should do
    message: str = ""  # what ARM or the handler wrote, masked
    event_id: str = ""  # of the event that opened the episode; later events and checks are in the history
    event_time: datetime | None = None  # of the same event
    correlation_id: str = ""  # of the same event
    requested_at: datetime | None = None  # when ARM accepted our request
    finished_at: datetime | None = None  # when the outcome became final
    duration_ms: int | None = None  # from the event to the final outcome
    policy_hash: str = ""  # the digest of the policy that decided, in two columns
    sent_digest: str = ""  # the digest of the public settings that we sent last
    undone_at: str = ""  # when somebody undid what we did: ISO 8601 times, separated by blanks
    client_request_id: str = ""  # of this episode's last request to ARM; empty without one, or before it had a column
    step: str = ""  # the step that the row is about; empty for the extension, and before it had a column
    steps: str = ""  # what each step came to, as `steps.step` writes it; empty if the extension is the only one
    satisfied_since: datetime | None = None  # since when all that the policy wants is there; None if something is not
    taken_up: str = ""  # when and by whom, as `taking_up` writes it; empty before it had a column
    by: str = ""  # the object id of the person who asked for this episode last; empty: nobody did, or unknown
    update: str = ""  # the last update of an extension of ours, as `update` writes it; empty: none was sent or waits
    protected_digest: str = ""  # the keyed digest of the protected settings that we sent last; empty without a key
    was: str = ""  # of an open or failed row: the outcome before, of what was there or removed; empty for an install

    def to_properties(self) -> dict[str, Any]:
        """The table's columns; empty ones are left out, except those that every row has. Texts are cut, since guests
        and people write texts of any length, and a column holds 32,768 characters."""
        values = zip(_COLUMNS.values(), _values(self), strict=True)
        columns = {name: value for name, value in values if (value is not None and value != "") or name in _ALWAYS}
        for name in [name for name, value in columns.items() if type(value) is str and len(value) > _NAME_LIMIT]:
            columns[name] = cut(columns[name], _TEXT_LIMIT if name in _TEXTS else _NAME_LIMIT)
        columns["Outcome"] = self.outcome.value
        of_file, of_entries = parts(self.policy_hash)
        if of_entries:
            columns |= {"PolicyHash": cut(of_file, _NAME_LIMIT), ENTRY_HASH: cut(of_entries, _NAME_LIMIT)}
        if self.waiting_for is not None:
            columns["WaitingFor"] = self.waiting_for.value
        return columns

    @classmethod
    def from_properties(cls, properties: dict[str, Any]) -> Self:
        """Read a stored row back; columns that this version does not know are ignored. Raises ValueError, TypeError or
        LookupError for a row that it cannot read."""
        known = {name: properties[column] for name, column in _COLUMNS.items() if column in properties}
        for name, kind in _TYPES.items():
            if name in known and not isinstance(known[name], kind):
                raise ValueError(f"{_COLUMNS[name]} is {known[name]!r}")
        known["outcome"] = Outcome(known["outcome"])
        known["policy_hash"] = joined(known.get("policy_hash", ""), str(properties.get(ENTRY_HASH, "")))
        if waiting_for := known.get("waiting_for"):
            known["waiting_for"] = WaitingFor(waiting_for)
        return cls(**known)

    @property
    def in_flight(self) -> bool:
        """Whether our request is about to be sent, or was sent and has not ended."""
        return self.waiting_for in SENT

    @property
    def was_ours(self) -> bool:
        """Whether the extension is one that we installed, or was when a change of it had to wait, or when somebody had
        undone our install so often that a person has to decide."""
        contested = self.outcome is Outcome.FAILED and self.error_code == Cause.CONTESTED
        held = (contested or not self.outcome.final) and self.was == Outcome.INSTALLED
        return held or self.outcome is Outcome.INSTALLED

    @property
    def failed_update(self) -> bool:
        """Whether the row ended with an update of what we had installed: what is there may still be healthy."""
        return self.outcome is Outcome.FAILED and self.update != ""

    @property
    def was_removed(self) -> bool:
        """Whether the extension is one that was removed, or was when the VM could last be read."""
        held = not self.outcome.final and self.was == Outcome.REMOVED
        return held or self.outcome is Outcome.REMOVED

    def has_sent(self, settings: Mapping[str, Any]) -> bool:
        """Whether we last sent these public settings; true too if the row does not say which they were."""
        return self.sent_digest in ("", digest(settings))

    def changed_since(self, time: datetime) -> bool:
        """Whether something in this row happened after that time."""
        return any(at is not None and at > time for at in (self.event_time, self.requested_at, self.finished_at))

    def differs(self, other: Row | None) -> bool:
        """Whether this row says something else than the other; times and event ids do not count, nor does a column that
        the other is too old to have."""
        if other is None:
            return True
        known = other if other.taken_up else replace(other, taken_up=self.taken_up)
        return _content_of(self) != _content_of(known)

    def belongs_in_history(self, other: Row | None) -> bool:
        """Whether this row, which follows the other, needs an entry in the history. It does not if the same wait goes
        on, in whatever words, or if only a digest, the cause, who took it up or since when all is there differs: a row
        of an earlier version has none of them."""
        if other is None or self.outcome is not other.outcome:
            return True
        if self.outcome is Outcome.WAITING:
            return self._wait != other._wait
        kept = {name: getattr(self, name) for name in _WITHOUT_HISTORY}
        known = replace(other, **kept)
        return self.differs(known)

    @property
    def _wait(self) -> tuple[WaitingFor | None, datetime | None, int, str]:
        return self.waiting_for, self.waiting_since, self.attempt, self.policy


NO_PROBLEM: Mapping[str, Any] = dict.fromkeys(("error_code", "cause", "error_meaning", "advice", "message"), "")
"""The columns of a failure, as a row has them if nothing went wrong."""

_TIMES = {
    "event_id",
    "event_time",
    "correlation_id",
    "requested_at",
    "finished_at",
    "duration_ms",
    "client_request_id",
    "by",
}


_WITHOUT_HISTORY = ("policy_hash", "sent_digest", "protected_digest", "cause", "satisfied_since", "taken_up")


def _content_of(row: Row) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in Row.__struct_fields__ if name not in _TIMES)


# Columns of prose; everything else is a name, a number or an id.
_TEXTS = frozenset({"Reason", "ErrorMeaning", "Advice", "Message", "Steps", "Update"})
_NAME_LIMIT, _TEXT_LIMIT = 1024, 8192


_COLUMNS = {name: "".join(part.title() for part in name.split("_")) for name in Row.__struct_fields__}
_TYPES: Mapping[str, type] = {
    name: datetime if "datetime" in kind else int
    for name, kind in Row.__annotations__.items()
    if kind.startswith(("datetime", "int"))
}
ENTRY_HASH = "EntryHash"  # the part of `policy_hash` that is about the extension's catalogue entry
COLUMNS = (*_COLUMNS.values(), ENTRY_HASH)  # in the order of the fields
ROW_COLUMNS = frozenset(COLUMNS)
_ALWAYS = frozenset(list(_COLUMNS.values())[: -len(Row.__struct_defaults__)])
_values = attrgetter(*_COLUMNS)


class Selection(Struct, frozen=True, kw_only=True):
    """Which rows to read; an empty field selects all."""

    subscription: str = ""
    resource_group: str = ""
    vm_name: str = ""
    vm_prefix: str = ""  # what the machine's name begins with
    outcomes: tuple[Outcome, ...] = ()

    def names(self, resource_group: str, vm_name: str) -> bool:
        """Whether a machine of its subscription is selected; names count in upper or lower case."""
        name = vm_name.lower()
        in_group = self.resource_group.lower() in ("", resource_group.lower())
        return in_group and self.vm_name.lower() in ("", name) and name.startswith(self.vm_prefix.lower())


EVERYTHING = Selection()
