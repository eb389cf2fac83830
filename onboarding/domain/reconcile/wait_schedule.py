"""The schedules of waiting: the intervals between two checks, and when to give up.

The position in a schedule follows from the time that has passed, so nothing has to be counted or stored, and a check
that comes late or twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field

from onboarding.domain.errors import ConfigurationError, as_written
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.typed_file import FileMapping

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)")
_LONGEST = 3650 * 24 * _HOUR
_SECONDS = {"ms": 0.001, "s": 1, "m": _MINUTE, "h": _HOUR, "d": 24 * _HOUR}


# These waits end by what others do: the owner starts the VM, a deployment ends, another policy is satisfied, somebody
# installs what the extension needs, a person corrects a file or ends a pause. Such a wait never becomes a failure,
# whatever cap a policy file gives it.
WITHOUT_CAP = frozenset(
    {
        WaitingFor.VM_RUNNING,
        WaitingFor.OPERATION,
        WaitingFor.ONLY_AFTER,
        WaitingFor.NEEDED_EXTENSION,
        WaitingFor.HEARTBEAT,
        WaitingFor.PAUSED,
        WaitingFor.CONFIGURATION,
    }
)

# Every check of the machine shows whether such a wait is over, whichever row the check was planned for.
SEEN_BY_A_CHECK = WITHOUT_CAP | {WaitingFor.AGENT_READY}


class Schedule(Struct, frozen=True):
    """When a row that waits is checked."""

    intervals: tuple[float, ...]  # seconds between two checks; the last one repeats
    give_up_after: float  # seconds after the waiting began

    @property
    def first(self) -> timedelta:
        return timedelta(seconds=self.intervals[0])

    def next_interval(self, elapsed: timedelta) -> timedelta | None:
        """The interval until the next check, `elapsed` after the waiting began; None when it is time to give up."""
        seconds = elapsed.total_seconds()
        if seconds >= self.give_up_after:
            return None
        return self.interval_at(elapsed)

    def interval_at(self, elapsed: timedelta) -> timedelta:
        """The same without a cap."""
        seconds, reached = elapsed.total_seconds(), 0.0
        for interval in self.intervals:
            reached += interval
            # A check that comes a little before its moment counts as on time, or the same interval would come twice.
            if reached > seconds + 0.5 * interval:
                return timedelta(seconds=interval)
        return timedelta(seconds=self.intervals[-1])

    def interval_after(self, attempts: int) -> timedelta | None:
        """The interval after so many failed attempts; None when the attempts are used up."""
        if attempts > len(self.intervals):
            return None
        return timedelta(seconds=self.intervals[attempts - 1])


# ARM ends an install that never reports after about 90 minutes. Others take 45 to 451 s (median 104 s) and end with an
# event of their own: a check after 2 minutes would read two VMs of five for nothing.
DEFAULTS: Mapping[WaitingFor, Schedule] = {
    WaitingFor.CLAIM: Schedule((4 * _MINUTE,), 24 * _HOUR),
    WaitingFor.INSTALL: Schedule((4 * _MINUTE, 4 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE), 3 * _HOUR),
    # A change of identities takes 3 to 9 s and ends with an event of its own.
    WaitingFor.IDENTITY: Schedule((4 * _MINUTE, 4 * _MINUTE, 10 * _MINUTE), _HOUR),
    # A removal takes 14 to 101 s and ends with an event of its own; ARM gives up on one that hangs like on an install.
    WaitingFor.REMOVAL: Schedule((4 * _MINUTE, 4 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE), 3 * _HOUR),
    # Once the other policy is satisfied, the moment is known and the check is due then.
    WaitingFor.ONLY_AFTER: Schedule((_HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST),
    # The other extension's own event continues the row; the checks are for events that were lost.
    WaitingFor.NEEDED_EXTENSION: Schedule((_HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST),
    # The sweep finds the heartbeats that come, with one query for all machines.
    WaitingFor.HEARTBEAT: Schedule((_HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST),
    WaitingFor.VM_RUNNING: Schedule((_HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST),
    WaitingFor.AGENT_READY: Schedule(
        (_MINUTE, 2 * _MINUTE, 4 * _MINUTE, 8 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR), 48 * _HOUR
    ),
    WaitingFor.OPERATION: Schedule(
        (_MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST
    ),
    WaitingFor.PACKAGE_MANAGER: Schedule((5 * _MINUTE, 10 * _MINUTE, 20 * _MINUTE, 40 * _MINUTE), 24 * _HOUR),
    WaitingFor.THROTTLING: Schedule((30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE), 24 * _HOUR),
    # The policy's `settleDelay` says how long; only the cap of this schedule is used.
    WaitingFor.SETTLE_DELAY: Schedule((_MINUTE,), 24 * _HOUR),
    # The VM that probes the breaker is checked when its probe is due. When it has closed, the sweep finds the others.
    WaitingFor.SCOPE_BREAKER: Schedule((24 * _HOUR,), 7 * 24 * _HOUR),
    # When the installs of the hour are used up, each VM waits for its own moment of the next hour instead.
    WaitingFor.ROLLOUT_LIMIT: Schedule((5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE), 30 * 24 * _HOUR),
    # A window says itself when it opens; this is for a tag that cannot be read. Neither wait has a cap.
    WaitingFor.CHANGE_WINDOW: Schedule((24 * _HOUR,), _LONGEST),
    # A pause with an end is checked soon after it; `onboard resume` and the sweep continue the row earlier.
    WaitingFor.PAUSED: Schedule((24 * _HOUR,), _LONGEST),
    # Such a check reads the table and not ARM.
    WaitingFor.CONFIGURATION: Schedule((10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST),
    WaitingFor.PLATFORM: Schedule((30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE), 6 * _HOUR),
}


class Waits(Struct, frozen=True):
    """A policy's schedules; kinds that it does not name have the schedule in `DEFAULTS`."""

    schedules: Mapping[WaitingFor, Schedule] = field(default_factory=lambda: DEFAULTS)

    def __getitem__(self, waiting_for: WaitingFor) -> Schedule:
        return self.schedules[waiting_for]


class Duration(float):
    """Seconds, written as `500ms`, `90s`, `5m`, `1h` or `2d`; from a millisecond to ten years."""

    __slots__ = ()
    file_schema: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"}

    @classmethod
    def from_file(cls, text: object) -> Duration:
        match = _DURATION.fullmatch(str(text).strip())
        seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else 0
        if not 0.001 <= seconds <= _LONGEST:
            problem = f"{as_written(text)} is not a duration"
            raise ConfigurationError("", problem, "use a number and s, m, h or d, such as 30m")
        return cls(seconds)


class ScheduleEntry(FileMapping, frozen=True):
    """A schedule in `waits:` of a policy file: `{every: [1m, 2m, 1h], giveUpAfter: 48h}`."""

    what: ClassVar[str] = "a schedule"

    every: Annotated[tuple[Duration, ...], Meta(description="The times between two checks; the last repeats.")] = ()
    give_up_after: Annotated[Duration | None, Meta(description="How long it is checked at all.")] = None

    def over(self, default: Schedule) -> Schedule:
        """The schedule, with the default's where it says nothing."""
        return Schedule(self.every or default.intervals, self.give_up_after or default.give_up_after)


def waits_of(entries: Mapping[WaitingFor, ScheduleEntry]) -> Waits:
    """A policy's schedules, with those in `DEFAULTS` for the kinds that it does not name."""
    return Waits({**DEFAULTS, **{kind: entry.over(DEFAULTS[kind]) for kind, entry in entries.items()}})
