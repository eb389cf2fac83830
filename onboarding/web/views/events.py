"""Whether events arrive: the last event and the last count of each subscription, what no event reported, and messages
that failed too often."""

from __future__ import annotations

from onboarding.application.row_queries import counts_of_subscriptions
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.row_totals import EVENT
from onboarding.web.site import Data, Site, stamp

_MISSED, _DRIFTED = "sweep.missed", "sweep.drifted"


async def data(site: Site) -> Data:
    counts = await counts_of_subscriptions(site.reader, site.now)
    subscriptions = []
    for each in counts:
        opened = each.activity.opened if each.activity else {}
        subscriptions.append(
            {
                "subscription": each.subscription,
                "lastEvent": stamp(each.activity.last_event) if each.activity else "",
                "lastCount": stamp(each.days[-1].at) if each.days else "",
                "openedByEvents": opened.get(EVENT, 0),
                "missed": opened.get(_MISSED, 0),
                "drifted": opened.get(_DRIFTED, 0),
                "others": {
                    name: rows for name, rows in sorted(opened.items()) if name not in (EVENT, _MISSED, _DRIFTED)
                },
            }
        )
    sweep = (await site.ports.sweeps.read()).state
    poison, backlog = await _messages(site)
    return {
        "subscriptions": subscriptions,
        "sweepUnderWayUntil": stamp(sweep.held_until) if sweep.held_until and sweep.held_until > site.now else "",
        "poison": poison,
        "backlog": backlog,
    }


async def _messages(site: Site) -> tuple[int | None, int | None]:
    """How many messages failed too often, and how many are scheduled; None: that cannot be read."""
    if site.ports.poison is None:
        return None, None
    try:
        return await site.ports.poison.count(), await site.ports.poison.backlog()
    except StorageError:
        return None, None
