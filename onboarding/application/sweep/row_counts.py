"""Counts the rows that the sweep reads, for the totals of each subscription, and renews the index rows on the way.

A version of the product that knows no index rows may work on the same table. So the sweep writes the index rows of
every subscription again twice a day, from the rows that it reads anyway, and in each run those of checks that are late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from onboarding.application.ports import Ports
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals

_COUNTED_EVERY = timedelta(hours=1)
# A run may come late, and a large table takes several: so all index rows are renewed within a day.
_INDEXED_EVERY = timedelta(hours=12)


class RowCounts:
    """Reads the rows of subscriptions in one run. A dry run (`write` False) writes nothing."""

    def __init__(self, ports: Ports, now: datetime, grace: timedelta, *, write: bool, at_once: bool) -> None:
        """`grace` is how late a scheduled check may be; `at_once`: count whenever the last count was."""
        self._ports = ports
        self._now = now
        self._late = now - grace if write else None
        self._write = write
        self._counted_every = timedelta() if at_once else _COUNTED_EVERY

    async def summaries(self, subscription: str) -> AsyncIterator[tuple[str, RowSummary]]:
        """As the ledger's; at the end the rows are counted, if that is due. Raises StorageError."""
        last = await self._last(subscription) if self._write else None
        index = self._write and self._must_index(last)
        counts: Counter[RowKind] = Counter()
        activity = Activity()
        rows = self._ports.ledger.summaries(subscription, index=index, late=self._late, activity=activity)
        async for resource_id, summary in rows:
            counts[summary.kind] += 1
            yield resource_id, summary
        due = last is None or self._now - last.at >= self._counted_every
        # A subscription without a row gets none of totals, so that the table names only those with machines.
        if self._write and (index or due) and (counts or last):
            indexed_at = self._now if index or last is None else last.indexed_at
            await self._ports.ledger.write_totals(Totals(subscription.lower(), self._now, counts, indexed_at, activity))

    async def renew(self, subscription: str) -> None:
        """Read the rows of a subscription that no policy names, if its index rows have to be renewed. Raises
        StorageError."""
        if self._must_index(await self._last(subscription)):
            async for _ in self.summaries(subscription):
                pass

    def _must_index(self, last: Totals | None) -> bool:
        return last is None or last.indexed_at is None or self._now - last.indexed_at >= _INDEXED_EVERY

    async def _last(self, subscription: str) -> Totals | None:
        last = None
        async for totals in self._ports.ledger.totals(subscription, (self._now - _INDEXED_EVERY).date()):
            last = totals
        return last
