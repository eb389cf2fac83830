"""The schedules of waiting: the intervals between two checks, and when to give up.

The position in a schedule follows from the time that has passed, so nothing has to be counted or stored, and a check
that comes late or twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from msgspec import Struct, field

from onboarding.domain.errors import ConfigurationError, as_written, unknown_key
from onboarding.domain.reconcile.row import WaitingFor

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|m|h|d)")
_KEYS = ("every", "giveUpAfter")
_LONGEST = 3650 * 24 * _HOUR
_SECONDS = {"ms": 0.001, "s": 1, "m": _MINUTE, "h": _HOUR, "d": 24 * _HOUR}


# These waits end by what others do: the owner starts the VM, a deployment ends, a person corrects a file. Such a wait
# never becomes a failure, whatever cap a policy file gives it.
WITHOUT_CAP = frozenset({WaitingFor.VM_RUNNING, WaitingFor.OPERATION, WaitingFor.CONFIGURATION})

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
    # Such a check reads the table and not ARM.
    WaitingFor.CONFIGURATION: Schedule((10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 6 * _HOUR, 24 * _HOUR), _LONGEST),
    WaitingFor.PLATFORM: Schedule((30, _MINUTE, 2 * _MINUTE, 5 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE), 6 * _HOUR),
}


class Waits(Struct, frozen=True):
    """A policy's schedules; kinds that it does not name have the schedule in `DEFAULTS`."""

    schedules: Mapping[WaitingFor, Schedule] = field(default_factory=lambda: DEFAULTS)

    def __getitem__(self, waiting_for: WaitingFor) -> Schedule:
        return self.schedules[waiting_for]


def parse_waits(raw: object, place: str) -> Waits:
    """Read `waits:` of a policy file: `{agent-ready: {every: [1m, 2m, 1h], giveUpAfter: 48h}}`."""
    if raw is None:
        return Waits()
    if not isinstance(raw, Mapping):
        raise ConfigurationError(
            place, f"{as_written(raw)} is not a mapping", "write `agent-ready: {every: [1m, 2m]}` lines"
        )
    schedules = dict(DEFAULTS)
    for name, value in raw.items():
        if name not in WaitingFor:
            raise unknown_key(f"{place}.{name}", name, "waits", WaitingFor)
        kind = WaitingFor(name)
        schedules[kind] = _parse_schedule(value, DEFAULTS[kind], f"{place}.{name}")
    return Waits(schedules)


def parse_duration(text: object, place: str) -> float:
    """Seconds of `500ms`, `90s`, `5m`, `1h`, `2d`; from a millisecond to ten years."""
    match = _DURATION.fullmatch(str(text).strip())
    seconds = float(match["number"]) * _SECONDS[match["unit"]] if match else 0
    if not 0.001 <= seconds <= _LONGEST:
        problem = f"{as_written(text)} is not a duration"
        raise ConfigurationError(place, problem, "use a number and s, m, h or d, such as 30m")
    return seconds


def _parse_schedule(raw: Any, default: Schedule, place: str) -> Schedule:
    if not isinstance(raw, Mapping):
        fix = "write {every: [1m, 2m], giveUpAfter: 48h}"
        raise ConfigurationError(place, f"{as_written(raw)} is not a schedule", fix)
    for key in raw:
        if key not in _KEYS:
            raise unknown_key(f"{place}.{key}", key, "a schedule", _KEYS)
    every = raw.get("every", [])
    if not isinstance(every, list):
        problem = f"{as_written(every)} is not a list"
        raise ConfigurationError(f"{place}.every", problem, "write durations in brackets: [1m, 2m, 1h]")
    intervals = (
        tuple(parse_duration(interval, f"{place}.every[{n}]") for n, interval in enumerate(every)) or default.intervals
    )
    give_up = (
        parse_duration(raw["giveUpAfter"], f"{place}.giveUpAfter") if "giveUpAfter" in raw else default.give_up_after
    )
    return Schedule(intervals, give_up)
