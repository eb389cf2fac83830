"""The list of machines: one row for each machine and extension, with filters in the address."""

from __future__ import annotations

from uuid import UUID

from onboarding.application.reports.fleet_views import overview
from onboarding.application.row_queries import (
    RowIndex,
    RowQuery,
    counts_of_subscriptions,
    existing_names,
    found_rows,
    stored_subscriptions,
    unknown_names,
)
from onboarding.domain.failures.failure_rules import Cause
from onboarding.domain.json_access import stamp
from onboarding.domain.reconcile.row import Outcome, Selection, WaitingFor
from onboarding.web.site import BadQuery, Data, Query, Site
from onboarding.web.views.row_record import row_record

ENOUGH = 40  # rows of one answer, unless one page of the table holds more
FILTERS = (
    "subscription",
    "group",
    "name",
    "outcome",
    "cause",
    "waitingFor",
    "policy",
    "extension",
    "text",
    "attention",
)


async def data(site: Site) -> Data:
    query = read_query(site.query)
    try:
        found = await found_rows(site.reader, query, site.query.one("at"), ENOUGH)
    except ValueError:
        raise BadQuery("the place in the list is not one of this list; begin at its start") from None
    counted, as_of = await _counted(site, query)
    return {
        "filters": {name: list(site.query.many(name)) for name in FILTERS if site.query.many(name)},
        "rows": [row_record(row) for row in found.rows],
        "unknown": await _unknown(site, query) if not found.rows else [],
        "following": found.following,
        "read": found.read,
        "order": "next check" if query.index is RowIndex.OPEN else "subscription, resource group, name",
        "counted": counted,
        "asOf": as_of,
        "subscriptions": [each async for each in stored_subscriptions(site.reader)],
        "policies": [policy.name for policy in site.rules.policies.policies],
        "outcomes": [outcome.value for outcome in Outcome],
        "causes": [cause.value for cause in Cause],
        "waits": [wait.value for wait in WaitingFor],
    }


def read_query(query: Query) -> RowQuery:
    """The rows that a request asks for. Raises BadQuery."""
    subscription = query.one("subscription").lower()
    if subscription:
        try:
            subscription = str(UUID(subscription))
        except ValueError:
            raise BadQuery("the subscription is not the id of one; copy it from `az account list -o table`") from None
    return RowQuery(
        selection=Selection(
            subscription=subscription,
            resource_group=query.one("group"),
            vm_prefix=query.one("name"),
            outcomes=tuple(_outcome(name) for name in query.many("outcome")),
        ),
        policies=query.many("policy"),
        extensions=query.many("extension"),
        causes=query.many("cause"),
        waiting_for=query.many("waitingFor"),
        text=query.one("text"),
        attention=query.one("attention") != "",
    )


async def _unknown(site: Site, query: RowQuery) -> list[str]:
    """What the query names that does not exist."""
    states = site.ports.policy_states if query.policies else None
    return unknown_names(query, *await existing_names(site.rules, states))


def _outcome(name: str) -> Outcome:
    known = {outcome.lower(): outcome for outcome in Outcome}
    if name.lower() not in known:
        raise BadQuery(f"there is no such outcome; use {', '.join(Outcome)}")
    return known[name.lower()]


async def _counted(site: Site, query: RowQuery) -> tuple[int | None, str]:
    """How many rows the whole list has, and since when that is known; None: only reading them all would tell."""
    if not query.totals_can_answer:
        return None, ""
    counts = await counts_of_subscriptions(site.reader, site.now, subscription=query.selection.subscription)
    outcomes = query.selection.outcomes or tuple(o for o in Outcome if o.needs_person or not query.attention)
    kinds = [(kind, rows) for each in counts for kind, rows in each.kinds.items()]
    total = overview(counts).total
    if not total.complete:
        return None, ""
    as_of = stamp(total.as_of)
    return sum(rows for kind, rows in kinds if kind.outcome in outcomes and query.names(kind)), as_of
