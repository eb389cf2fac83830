"""How far machines are from one agent to another, where a policy removes the old one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from onboarding.application.migration import MachineProgress, Migration, Progress, State, machine_progress, migrations
from onboarding.application.ports import MOST_ON_A_PAGE
from onboarding.application.row_queries import counts_of_subscriptions
from onboarding.domain.json_access import stamp
from onboarding.domain.reconcile.row import EVERYTHING, Row, Selection
from onboarding.domain.reconcile.row_totals import RowKind
from onboarding.web.site import BadQuery, Data, Site

_LISTED = 100  # machines of one answer
WORDS = {
    State.BOTH: "both agents",
    State.OLD: "only the old agent",
    State.NEW: "only the new agent",
    State.NEITHER: "neither agent",
}


class _Rows:
    """Some rows that were read, in the order of the table."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        for row in self._rows:
            yield row


async def data(site: Site) -> Data:
    found = migrations(site.rules.policies)
    if not found:
        return {"migrations": [], "following": "", "whole": True}
    try:
        page = await site.reader.page(EVERYTHING, site.query.one("at"), MOST_ON_A_PAGE)
    except ValueError:
        raise BadQuery("the place in the list is not one of this list; begin at its start") from None
    kinds: Counter[RowKind] = Counter()
    for each in await counts_of_subscriptions(site.reader, site.now):
        kinds.update(each.kinds)
    return {
        "migrations": [await _migration(each, page.rows, kinds) for each in found],
        "following": page.following,
        "whole": not page.following and not site.query.one("at"),
    }


async def _migration(migration: Migration, rows: Sequence[Row], kinds: Counter[RowKind]) -> Data:
    progress = Progress()
    machines: list[MachineProgress] = []
    async for machine in machine_progress(_Rows(rows), migration):
        progress.add(machine)
        if machine.state is not State.NEW and len(machines) < _LISTED:
            machines.append(machine)
    states: Counter[State] = Counter()
    for (_, state, _), number in progress.counts.items():
        states[state] += number
    return {
        "from": list(migration.old),
        "to": migration.policy,
        "removal": migration.removal,
        "states": [{"state": state.value, "words": WORDS[state], "machines": states[state]} for state in State],
        "removalRows": _outcomes(kinds, migration.removal),
        "newRows": _outcomes(kinds, migration.policy),
        "reasons": [
            {
                "state": WORDS[state],
                "policy": why.policy,
                "outcome": why.outcome,
                "reason": why.reason,
                "advice": why.advice,
                "needsPerson": why.needs_person,
                "machines": number,
            }
            for (state, why), number in progress.reasons.items()
        ],
        "machines": [_machine(machine) for machine in machines],
    }


def _outcomes(kinds: Counter[RowKind], policy: str) -> list[Data]:
    """The rows of a policy over the whole fleet, by outcome, the most first."""
    found: Counter[str] = Counter()
    for kind, rows in kinds.items():
        if kind.policy == policy:
            found[kind.outcome.value] += rows
    return [{"outcome": outcome, "rows": rows} for outcome, rows in found.most_common()]


def _machine(machine: MachineProgress) -> Data:
    row = machine.blocking
    return {
        "id": str(machine.vm),
        "name": machine.vm.name,
        "resourceGroup": machine.vm.resource_group,
        "state": WORDS[machine.state],
        "outcome": machine.why.outcome,
        "reason": row.reason if row else "",
        "needsPerson": machine.why.needs_person,
        "nextCheck": stamp(row.next_attempt_at) if row else "",
    }
