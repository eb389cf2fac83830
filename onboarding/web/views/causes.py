"""What needs a person, grouped by cause: the largest group first, with what it means, what would help and who can do
it; and what waits after a failure."""

from __future__ import annotations

from collections import Counter

from onboarding.application.reports.fleet_views import groups_of, overview, owner_of
from onboarding.application.row_queries import counts_of_subscriptions
from onboarding.domain.reconcile.row_totals import RowKind
from onboarding.web.site import Data, Site
from onboarding.web.views.overview import group_record, part_record, texts_of


async def data(site: Site) -> Data:
    counts = await counts_of_subscriptions(site.reader, site.now)
    kinds: Counter[RowKind] = Counter()
    by_subscription: dict[tuple[str, str], Counter[str]] = {}
    for each in counts:
        kinds.update(each.kinds)
        for kind, rows in each.kinds.items():
            if kind.outcome.needs_person:
                place = by_subscription.setdefault((kind.cause, kind.outcome.value), Counter())
                place[each.subscription] += rows
    waiting: Counter[tuple[str, str]] = Counter()
    for kind, rows in kinds.items():
        if kind.cause and not kind.outcome.final:
            waiting[kind.cause, kind.waiting_for] += rows
    groups = [group_record(group) for group in groups_of(kinds)]
    for group in groups:
        places = by_subscription[group["cause"], group["outcome"]].most_common()
        group["subscriptions"] = [{"subscription": name, "rows": rows} for name, rows in places]
    return {
        "total": part_record(overview(counts).total),
        "groups": groups,
        "waiting": [
            {
                "cause": cause,
                "waitingFor": wait,
                "rows": rows,
                "meaning": texts_of(cause)[0],
                "who": owner_of(cause).value,
            }
            for (cause, wait), rows in waiting.most_common()
        ],
    }
