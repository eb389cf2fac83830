"""Questions to the table that people ask, over the ledger's port: whoever shows rows asks them here."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from copy import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from msgspec import Struct

from onboarding.application.ports import MOST_ON_A_PAGE, LedgerReader, RowPage
from onboarding.domain.failures.classification import Cause
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection
from onboarding.domain.reconcile.row_totals import RowKind
from onboarding.domain.resource_id import VmId, parse_id


class CurrentRows(Protocol):
    """What a question about names needs of the ledger."""

    def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]: ...


class Subscriptions(Protocol):
    """What going from subscription to subscription needs of it."""

    async def next_subscription(self, after: str) -> str: ...


async def machines_named(
    ledger: CurrentRows, names: Collection[str], *, subscription: str = "", resource_group: str = ""
) -> Mapping[str, tuple[VmId, ...]]:
    """The VMs of the table with each of these names, in any case; read once for all names. A VM that is gone counts
    only where no other has its name. Raises StorageError."""
    wanted = {name.lower(): name for name in names}
    name = next(iter(wanted)) if len(wanted) == 1 else ""
    selection = Selection(subscription=subscription, resource_group=resource_group, vm_name=name)
    there: dict[str, dict[str, VmId]] = {each: {} for each in wanted}
    gone: dict[str, dict[str, VmId]] = {each: {} for each in wanted}
    async for row in ledger.current(selection):
        vm = parse_id(row.resource_id)
        if isinstance(vm, VmId) and (key := vm.name.lower()) in wanted:
            (gone if row.outcome is Outcome.GONE else there)[key].setdefault(vm.key, vm)
    return {given: tuple((there[key] or gone[key]).values()) for key, given in wanted.items()}


class RowOrder(StrEnum):
    """By what rows are sorted; rows that are equal by it stay in the order of the table."""

    NAME = "name"
    OUTCOME = "outcome"
    TIME = "time"  # of the last thing that happened, the latest first
    NEXT = "next"  # the next scheduled check, the soonest first
    DURATION = "duration"  # the longest first


class RowQuery(Struct, frozen=True, kw_only=True):
    """Which rows to show, in which order; an empty field selects all. Names count in upper or lower case."""

    selection: Selection = EVERYTHING
    policies: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    attention: bool = False
    """Only final rows that need a person, found by their index rows."""

    since: datetime | None = None
    """Only rows in which something happened at that time or later."""

    order: RowOrder | None = None

    limit: int | None = None
    """The first rows only, in that order."""

    @property
    def totals_can_answer(self) -> bool:
        """Whether the totals of subscriptions tell how many rows there are."""
        return not (self.selection.resource_group or self.selection.vm_name or self.since)

    def matches(self, row: Row) -> bool:
        """Whether a row of the selection is one of the query."""
        if self.since is not None and _last_time(row) < self.since:
            return False
        return self.names(row)

    def names(self, row: Row | RowKind) -> bool:
        """Whether rows, or lines of history, are of a policy, an extension and a cause of the query."""
        named = (row.policy, self.policies), (row.extension, self.extensions), (row.cause, self.causes)
        return all(_is_one_of(name, wanted) for name, wanted in named)


async def matching_rows(ledger: LedgerReader, query: RowQuery) -> AsyncIterator[Row]:
    """The current rows of the query. Without an order they come as they are read; with an order and a limit, no more
    than twice the limit is kept. Raises StorageError."""
    rows = _rows_of_attention(ledger, query.selection) if query.attention else ledger.current(query.selection)
    if query.order is None:
        left = query.limit
        if left == 0:
            return
        async for row in rows:
            if query.matches(row):
                yield row
                left = None if left is None else left - 1
                if left == 0:
                    return
        return
    key, limit = _KEYS[query.order], query.limit
    best: list[Row] = []
    async for row in rows:
        if query.matches(row):
            best.append(row)
        if limit is not None and len(best) > 2 * limit:
            best = sorted(best, key=key)[:limit]
    for row in sorted(best, key=key)[:limit]:
        yield row


async def _rows_of_attention(ledger: LedgerReader, selection: Selection) -> AsyncIterator[Row]:
    async for subscription in _subscriptions(ledger, selection):
        async for row in ledger.attention(subscription):
            group, name = selection.resource_group.lower(), selection.vm_name.lower()
            named = group in ("", row.resource_group.lower()) and name in ("", row.vm_name.lower())
            if named and (not selection.outcomes or row.outcome in selection.outcomes):
                yield row


class CountedRows(Struct, frozen=True):
    """The number of rows of a query."""

    kinds: Mapping[RowKind, int]
    as_of: datetime | None
    """When the oldest of the numbers was counted (UTC); None: the rows were counted for this answer."""

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """The number of rows by outcome; outcomes without a row are left out."""
        counts: Counter[Outcome] = Counter()
        for kind, rows in self.kinds.items():
            counts[kind.outcome] += rows
        return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}

    @property
    def existing_machines(self) -> Mapping[str, int]:
        """How many are only audited since their machine is older than the policy, by the policy's name."""
        counts: Counter[str] = Counter()
        for kind, rows in self.kinds.items():
            if kind.outcome is Outcome.AUDITED and kind.cause == Cause.EXISTING_MACHINE:
                counts[kind.policy] += rows
        return dict(sorted(counts.items()))


async def matching_totals(ledger: LedgerReader, query: RowQuery, now: datetime, *, exact: bool = False) -> CountedRows:
    """The number of rows of the query: from the totals that the sweep keeps, as far as they can answer; with `exact`,
    and in subscriptions without totals of today or yesterday, the rows are counted. Raises StorageError."""
    if query.since is not None:
        counted = Counter(
            [RowSummary.of(row).kind async for row in ledger.current(query.selection) if query.matches(row)]
        )
        return CountedRows(counted, None)
    kinds: Counter[RowKind] = Counter()
    times: list[datetime] = []
    async for subscription in _subscriptions(ledger, query.selection):
        latest = None
        if query.totals_can_answer and not exact:
            async for totals in ledger.totals(subscription, now.date() - timedelta(days=1)):
                latest = totals if totals.counts is not None else latest
        if latest is not None and latest.counts is not None:
            times.append(latest.at)
            kinds.update(latest.counts)
        else:
            kinds.update(await ledger.count(replace(query.selection, subscription=subscription)))
    outcomes = query.selection.outcomes or tuple(Outcome)
    wanted = {kind: rows for kind, rows in kinds.items() if kind.outcome in outcomes and query.names(kind)}
    return CountedRows(wanted, min(times, default=None))


async def stored_subscriptions(ledger: Subscriptions) -> AsyncIterator[str]:
    """The subscriptions that have rows, one after the other. Raises StorageError."""
    found = await ledger.next_subscription("")
    while found:
        yield found
        found = await ledger.next_subscription(found)


async def _subscriptions(ledger: Subscriptions, selection: Selection) -> AsyncIterator[str]:
    if selection.subscription:
        yield selection.subscription.lower()
        return
    async for found in stored_subscriptions(ledger):
        yield found


async def matching_page(ledger: LedgerReader, query: RowQuery, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
    """The rows of the query among the next `most` rows of its selection, in the order of the table; `begin` is where
    the page before ended (`RowPage.following`). It may be none although others follow. Raises StorageError, and
    ValueError if `begin` is no such place."""
    page = await ledger.page(query.selection, begin, most)
    return replace(page, rows=[row for row in page.rows if query.matches(row)])


async def matching_history(ledger: LedgerReader, vm: VmId, query: RowQuery) -> list[Row]:
    """The lines of a VM's history that match the query, the oldest first; with a limit, the latest of them. Raises
    StorageError."""
    wanted = query.selection.outcomes
    lines = [line async for line in ledger.history(vm) if not wanted or line.outcome in wanted]
    lines = [
        line for line in lines if query.names(line) and (query.since is None or _of(line.event_time) >= query.since)
    ]
    lines.reverse()  # so that entries of the same time keep their order
    lines.sort(key=lambda line: line.event_time.timestamp() if line.event_time else 0)
    return lines if query.limit is None else lines[len(lines) - min(query.limit, len(lines)) :]


def _is_one_of(name: str, wanted: Collection[str]) -> bool:
    return not wanted or any(name.lower() == each.lower() for each in wanted)


_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


def _of(time: datetime | None) -> datetime:
    return time or _BEGINNING


def _last_time(row: Row) -> datetime:
    return max(map(_of, (row.event_time, row.waiting_since, row.requested_at, row.finished_at)))


_PLACES = {outcome: place for place, outcome in enumerate(Outcome)}
_KEYS: Mapping[RowOrder, Callable[[Row], Any]] = {
    RowOrder.NAME: lambda row: (row.vm_name.lower(), row.resource_group.lower(), row.extension),
    RowOrder.OUTCOME: lambda row: _PLACES[row.outcome],
    RowOrder.TIME: lambda row: _END - _last_time(row),
    RowOrder.NEXT: lambda row: row.next_attempt_at or _END,
    RowOrder.DURATION: lambda row: -1 if row.duration_ms is None else -row.duration_ms - 2,
}
