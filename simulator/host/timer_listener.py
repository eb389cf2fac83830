"""Timer triggers: run at the times of a schedule, one at a time, in real time and UTC.

The real host keeps the last run in storage, so that only one instance runs a timer and a missed run is repeated
after a restart; here it is kept in memory. If a run takes longer than the interval, the next one follows at once.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

from simulator.host.invoker import Invoker
from simulator.host.messages import TypedData
from simulator.host.ncrontab import Schedule, parse_schedule
from simulator.host.worker import Function

_LATE = timedelta(seconds=1)


class TimerListener:
    """Raises BadSchedule for an invalid schedule."""

    def __init__(self, function: Function, invoker: Invoker) -> None:
        self._function = function
        self._invoker = invoker
        self._schedule: Schedule = parse_schedule(function.resolved("schedule"))
        self._last: datetime | None = None

    async def listen(self) -> None:
        """Run at every due time until cancelled."""
        if self._function.trigger.get("runOnStartup"):
            await self.run(past_due=False)
        due = self._schedule.after(_now())
        while True:
            await _until(due)
            started = _now()
            await self.run(past_due=started - due > _LATE)
            due = self._schedule.after(max(due, started))

    async def close(self) -> None:
        """Do nothing: a timer has nothing to close."""

    async def run(self, past_due: bool) -> None:
        started = _now()
        payload = _payload(past_due, self._last, self._schedule.after(started), started)
        await self._invoker.invoke(self._function, TypedData(json=json.dumps(payload)))
        self._last = started


def _payload(past_due: bool, last: datetime | None, following: datetime, now: datetime) -> dict[str, object]:
    """The timer's information in the host's own casing."""
    status = {"Last": _iso(last or datetime.min.replace(tzinfo=UTC)), "Next": _iso(following), "LastUpdated": _iso(now)}
    return {"IsPastDue": past_due, "Schedule": {"AdjustForDST": True}, "ScheduleStatus": status}


async def _until(due: datetime) -> None:
    """Sleep to a time; the loop's clock may run slightly ahead of the wall clock, so it checks again."""
    left = (due - _now()).total_seconds()
    while left > 0:
        await asyncio.sleep(left)
        left = (due - _now()).total_seconds()


def _now() -> datetime:
    return datetime.now(UTC)


def _iso(moment: datetime) -> str:
    return moment.isoformat()
