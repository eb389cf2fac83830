"""How much of the fleet is onboarded, since when, what needs a person, and what waits for what."""

from __future__ import annotations

from collections.abc import Sequence

from onboarding.application.pause_requests import PauseRequests
from onboarding.application.reports.fleet_views import FORMULA, FORMULA_IN_WORDS, Group, Part, overview, owner_of
from onboarding.application.row_queries import counts_of_subscriptions
from onboarding.domain.failures.failure_rules import Cause
from onboarding.domain.json_access import stamp
from onboarding.loading.package_data import shared_errors
from onboarding.web.site import Data, Site

DAYS = 90
AZURE_POLICY_S = 600
"""Azure Policy's own remediation of a new machine begins ten minutes after its creation."""
_FIRST = 5  # groups on the overview


async def data(site: Site) -> Data:
    counts = await counts_of_subscriptions(site.reader, site.now, days=DAYS)
    found = overview(counts)
    pauses = await PauseRequests(site.ports.pauses, site.ports.clock).active()
    seconds = {f"p{share}": found.activity.seconds(share / 100) for share in (50, 95)}
    return {
        "total": part_record(found.total),
        "formula": FORMULA,
        "formulaInWords": FORMULA_IN_WORDS,
        "outcomes": {outcome.value: rows for outcome, rows in found.outcomes.items()},
        "subscriptions": [part_record(part) for part in found.subscriptions],
        "policies": [part_record(part) for part in found.policies],
        "needsPerson": [group_record(group) for group in found.groups[:_FIRST]],
        "needsPersonGroups": len(found.groups),
        "waits": [{"waitingFor": name, "rows": rows} for name, rows in found.waits.items()],
        "trend": [
            {"day": day.isoformat(), "onboarded": share.onboarded, "inScope": share.in_scope, "percent": share.percent}
            for day, share in found.trend
        ],
        "secondsToAgent": {
            **{name: round(value, 1) if value is not None else None for name, value in seconds.items()},
            "installs": sum(found.activity.durations.values()),
            "azurePolicyBeginsAfter": AZURE_POLICY_S,
        },
        "lastEvent": stamp(found.activity.last_event),
        "pauses": [str(pause) for pause in pauses],
        "existingMachines": dict(found.existing),
    }


def part_record(part: Part) -> Data:
    """The numbers of a subscription, a policy or all."""
    return {
        "name": part.name,
        "onboarded": part.share.onboarded,
        "inScope": part.share.in_scope,
        "percent": part.share.percent,
        "needsPerson": part.needs_person,
        "open": part.open,
        "rows": part.rows,
        "asOf": stamp(part.as_of),
        "complete": part.complete,
    }


def group_record(group: Group) -> Data:
    """What rows that failed alike have in common, with what it means and what would help."""
    meaning, advice = texts_of(group.cause)
    if not group.cause:
        meaning = "Nobody could tell what the machine runs, or a rule depends on a value that could not be read."
        advice = "Give the image a line in the override file, or the right to read what the rule asks for."
    return {
        "cause": group.cause,
        "outcome": group.outcome.value,
        "policy": group.policy,
        "extension": group.extension,
        "rows": group.rows,
        "meaning": meaning,
        "advice": advice,
        "who": owner_of(group.cause).value if group.cause else "author of the policy",
    }


def texts_of(cause: str) -> Sequence[str]:
    """The meaning and the advice of a cause; empty for one that this version does not know."""
    known = shared_errors().causes.get(Cause(cause)) if cause in frozenset(Cause) else None
    return (known.meaning, known.advice) if known else ("", "")
