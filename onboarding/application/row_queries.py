"""Questions to the table that people ask, over the ledger's port: whoever shows rows asks them here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from copy import replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from onboarding.application.ports import MOST_ON_A_PAGE, LedgerReader, PolicyStore, RowPage
from onboarding.domain.errors import as_written, did_you_mean, known_names
from onboarding.domain.failures.classification import Cause
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Row, Selection
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from onboarding.domain.resource_id import VmId, parse_id

if TYPE_CHECKING:
    from onboarding.application.rules import Rules

_PLACE = "~"  # between the subscription and the place in it at which a page through an index begins
_READ_BY_INDEX = 2  # entities for one index row: itself, and what it leads to
_COST_OF_INDEX_ROW = 4  # entities that are read in its time: what it leads to takes a request of its own
_AT_ONCE = 16  # subscriptions whose totals are read concurrently


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


class RowIndex(StrEnum):
    """Which index rows lead to the rows of a query."""

    NONE = "none"  # the rows themselves are read, in the order of their names
    ATTENTION = "attention"  # those of rows that need a person, in the order of their names
    OPEN = "open"  # those of what is due, the earliest check first


class RowQuery(Struct, frozen=True, kw_only=True):
    """Which rows to show, in which order; an empty field selects all. Names count in upper or lower case."""

    selection: Selection = EVERYTHING
    policies: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    waiting_for: tuple[str, ...] = ()

    text: str = ""
    """Only rows that have this text in the machine's name or in what they say."""

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
        chosen = self.selection
        return not (chosen.resource_group or chosen.vm_name or chosen.vm_prefix or self.since or self.text)

    def matches(self, row: Row) -> bool:
        """Whether a row of the selection is one of the query."""
        if self.since is not None and _last_time(row) < self.since:
            return False
        return self.names(row) and (not self.text or _says(row, self.text.lower()))

    def names(self, row: Row | RowKind) -> bool:
        """Whether rows, or lines of history, are of a policy, an extension, a cause and a wait of the query."""
        named = (
            (row.policy, self.policies),
            (row.extension, self.extensions),
            (row.cause, self.causes),
            (row.waiting_for or "", self.waiting_for),
        )
        return all(_is_one_of(name, wanted) for name, wanted in named)

    @property
    def index(self) -> RowIndex:
        """The index whose rows are enough to find those of the query."""
        outcomes = self.selection.outcomes
        if self.attention or (outcomes and all(outcome.needs_person for outcome in outcomes)):
            return RowIndex.ATTENTION
        if self.waiting_for or (outcomes and not any(outcome.final for outcome in outcomes)):
            return RowIndex.OPEN
        return RowIndex.NONE


async def existing_names(rules: Rules, states: PolicyStore | None) -> tuple[frozenset[str], frozenset[str]]:
    """The names of policies that the folder or the table (None: it does not count) has, and of extensions that ship or
    that the folder has. Raises StorageError."""
    stored = await states.read_all() if states is not None else ()
    return frozenset([*stored, *(policy.name for policy in rules.policies.policies)]), frozenset(rules.catalogue)


def unknown_names(query: RowQuery, policies: Collection[str], extensions: Collection[str]) -> list[str]:
    """Why a query may have found nothing: a text for each of its policies and extensions that these do not have, with
    those that there are, the nearest first."""
    return [
        text
        for what, named, known in (("policy", query.policies, policies), ("extension", query.extensions, extensions))
        for name in named
        if (text := _unknown(what, name, known))
    ]


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    if name.lower() in {each.lower() for each in known}:
        return ""
    plural = {"policy": "policies", "extension": "extensions"}[what]
    nearest = did_you_mean(known, name)
    names = sorted(known, key=lambda each: (each != nearest, each))
    there_are = known_names(plural, names, name) if names else f"no {plural} are known here"
    return f"unknown {what} {as_written(name)}; {there_are}"


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
            if selection.names(row.resource_group, row.vm_name) and (
                not selection.outcomes or row.outcome in selection.outcomes
            ):
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
    if query.since is not None or query.text:
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


async def indexed_page(ledger: LedgerReader, query: RowQuery, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
    """As `matching_page`, through the index of the query: `most` counts index rows, and the order is that of the index.
    Subscriptions follow each other."""
    subscription, _, place = begin.partition(_PLACE)
    wanted = query.selection.subscription.lower()
    if begin and wanted not in ("", subscription):
        raise ValueError(f"{begin!r} is not where a page of these rows ends")
    if not begin:
        subscription = wanted or await ledger.next_subscription("")
    if not subscription:
        return RowPage((), "")
    read = ledger.open_page if query.index is RowIndex.OPEN else ledger.attention_page
    page = await read(replace(query.selection, subscription=subscription), place, most)
    rows = [row for row in page.rows if query.matches(row)]
    if page.following:
        return RowPage(rows, f"{subscription}{_PLACE}{page.following}", page.read)
    following = "" if wanted else await ledger.next_subscription(subscription)
    return RowPage(rows, f"{following}{_PLACE}" if following else "", page.read)


class FoundRows(Struct, frozen=True):
    """What one request found of a list."""

    rows: Sequence[Row]
    following: str
    """Where the list goes on; empty: this was all."""
    read: int
    """How many entities were read."""


_FIRST_READ = 100  # entities
_MOST_REQUESTS = 24  # of one answer: subscriptions may be empty


async def found_rows(
    ledger: LedgerReader, query: RowQuery, begin: str, enough: int, *, no_more: bool = False
) -> FoundRows:
    """The next rows of the query: at least `enough` of them, or what at most 1,000 entities hold. `no_more` than that
    are returned if the list is to go on with the very next one. Raises StorageError, and ValueError if this list has no
    page that begins at `begin`."""
    indexed = query.index is not RowIndex.NONE
    ask, holds, cost = (indexed_page, _READ_BY_INDEX, _COST_OF_INDEX_ROW) if indexed else (matching_page, 1, 1)
    # The table would look for an outcome in as many entities as it has: here, it is looked for in those that were read.
    outcomes = query.selection.outcomes or tuple(Outcome)
    without = replace(query, selection=replace(query.selection, outcomes=()))
    wanted = query if indexed else without
    rows: list[Row] = []
    read, most, place = 0, _FIRST_READ, begin  # index rows, or entities where there is no index
    for _ in range(_MOST_REQUESTS):
        wished = min(most // holds, MOST_ON_A_PAGE // cost - read)
        if no_more:  # an entity holds one row at most
            wished = min(wished, enough - len(rows))
        page = await ask(ledger, wanted, place, wished)
        rows += [row for row in page.rows if row.outcome in outcomes]
        read, place = read + page.read, page.following
        if not place or len(rows) >= enough or read >= MOST_ON_A_PAGE // cost:
            break
        if page.read >= wished:  # few of the rows are wanted, so the next request reads more
            most *= 3
    return FoundRows(rows, place, read * holds)


class SubscriptionCounts(Struct, frozen=True):
    """How many rows of a subscription are of each kind, now and on the days before."""

    subscription: str
    kinds: Mapping[RowKind, int]
    as_of: datetime | None
    """When they were counted (UTC); None: for this answer."""
    complete: bool
    """Whether these are all; else there are more, and the sweep has not counted them yet."""
    days: Sequence[Totals] = ()
    """What the sweep counted, the oldest day first."""

    @property
    def activity(self) -> Activity | None:
        """What the last day says of events and times; None: nothing."""
        return self.days[-1].activity if self.days else None


async def counts_of_subscriptions(
    ledger: LedgerReader, now: datetime, *, days: int = 1, subscription: str = ""
) -> list[SubscriptionCounts]:
    """The counts of each subscription, from the totals that the sweep keeps. Where they say that there are few rows, or
    where there are no totals, at most 1,000 entities are read to count the rows themselves. Of many subscriptions,
    fewer days are read than were asked for. Raises StorageError."""
    names = [each async for each in _subscriptions(ledger, Selection(subscription=subscription))]
    days = max(2, min(days, MOST_ON_A_PAGE // max(1, len(names))))
    since = now.date() - timedelta(days=days - 1)
    found: list[SubscriptionCounts] = []
    for some in batched(names, _AT_ONCE, strict=False):
        found += await asyncio.gather(*(_counts(ledger, each, since, now.date(), len(names)) for each in some))
    return found


async def _counts(
    ledger: LedgerReader, subscription: str, since: date, today: date, subscriptions: int
) -> SubscriptionCounts:
    days = [totals async for totals in ledger.totals(subscription, since)]
    latest = days[-1] if days and days[-1].day >= today - timedelta(days=1) else None
    counted = latest.counts if latest is not None else None
    most = max(_FIRST_READ, MOST_ON_A_PAGE // subscriptions)
    # A machine has at least two entities: its own row, and one for each target.
    if latest is not None and counted is not None and sum(counted.values()) > most // 3:
        return SubscriptionCounts(subscription, counted, latest.at, True, days)
    page = await ledger.page(Selection(subscription=subscription), "", most)
    if page.following and latest is not None and counted is not None:
        return SubscriptionCounts(subscription, counted, latest.at, True, days)
    kinds = Counter(RowSummary.of(row).kind for row in page.rows)
    return SubscriptionCounts(subscription, kinds, None, not page.following, days)


async def matching_history(ledger: LedgerReader, vm: VmId, query: RowQuery) -> list[Row]:
    """The lines of a VM's history that match the query, the oldest first; with a limit, the latest of them. Raises
    StorageError."""
    wanted = query.selection.outcomes
    lines = [line async for line in ledger.history(vm) if not wanted or line.outcome in wanted]
    lines = [
        line
        for line in lines
        if query.names(line)
        and (query.since is None or _of(line.event_time) >= query.since)
        and (not query.text or _says(line, query.text.lower()))
    ]
    lines.reverse()  # so that entries of the same time keep their order
    lines.sort(key=lambda line: line.event_time.timestamp() if line.event_time else 0)
    return lines if query.limit is None else lines[len(lines) - min(query.limit, len(lines)) :]


def _says(row: Row, text: str) -> bool:
    """Whether the text, in lower case, is in the machine's name, its system and image, or in what the row says."""
    said = (
        row.vm_name,
        row.reason,
        row.advice,
        row.message,
        row.error_code,
        row.distribution,
        row.os_version,
        row.image_id,
        f"{row.image_publisher}:{row.image_offer}:{row.image_sku}",
    )
    return any(text in each.lower() for each in said)


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
