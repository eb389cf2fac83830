"""Whether events arrive: the last event and the last count of each subscription, what no event reported, messages that
failed too often, and events that could not be delivered or handled."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from onboarding.application.ports import LetterCount, Ports
from onboarding.application.row_queries import SubscriptionCounts, counts_of_subscriptions
from onboarding.domain.errors import StorageError
from onboarding.domain.json_access import stamp
from onboarding.domain.reconcile.row_totals import EVENT

_MISSED, _DRIFTED = "sweep.missed", "sweep.drifted"
_NOT_READ = "they cannot be counted here"


async def arrivals(ports: Ports, now: datetime) -> dict[str, Any]:
    """JSON. What cannot be read is null; of dead letters `problem` says why. Raises StorageError without the table."""
    counts = await counts_of_subscriptions(ports.lists(), now)
    sweep = (await ports.sweeps.read()).state
    poison, backlog = await _messages(ports)
    return {
        "subscriptions": [_subscription(each) for each in counts],
        "sweepUnderWayUntil": stamp(sweep.held_until) if sweep.held_until and sweep.held_until > now else "",
        "poison": poison,
        "backlog": backlog,
        "deadLetters": await _dead_letters(ports),
    }


def _subscription(counts: SubscriptionCounts) -> dict[str, Any]:
    opened = counts.activity.opened if counts.activity else {}
    return {
        "subscription": counts.subscription,
        "lastEvent": stamp(counts.activity.last_event) if counts.activity else "",
        "lastCount": stamp(counts.days[-1].at) if counts.days else "",
        "openedByEvents": opened.get(EVENT, 0),
        "missed": opened.get(_MISSED, 0),
        "drifted": opened.get(_DRIFTED, 0),
        "others": {name: rows for name, rows in sorted(opened.items()) if name not in (EVENT, _MISSED, _DRIFTED)},
    }


async def _messages(ports: Ports) -> tuple[int | None, int | None]:
    """How many messages failed too often, and how many are scheduled; None: that cannot be read."""
    if ports.poison is None:
        return None, None
    try:
        return await ports.poison.count(), await ports.poison.backlog()
    except StorageError:
        return None, None


async def _dead_letters(ports: Ports) -> dict[str, Any]:
    try:
        found = await ports.dead_letters() if ports.dead_letters is not None else _NOT_READ
    except StorageError as error:
        found = str(error)
    if isinstance(found, LetterCount):
        return {"files": found.files, "more": found.more, "newest": stamp(found.newest), "problem": ""}
    return {"files": None, "more": False, "newest": "", "problem": found}
