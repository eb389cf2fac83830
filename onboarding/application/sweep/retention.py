"""Deletes what is older than it is kept: lines of history, and all rows of machines that have been `Gone` that long.

A round over all subscriptions begins once a day. Each run of the sweep goes on where the last one stopped, for a share
of its time, so that a large table is pruned by several runs. The round also reaches the subscriptions that no policy
names any more, and renews their index rows.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from onboarding.application.ports import Ports, Pruning
from onboarding.application.sweep.row_counts import RowCounts
from onboarding.application.sweep.sweep_queue import Budget, SweepReport
from onboarding.domain.errors import StorageError

_ROUND = timedelta(days=1)
# Of a run's time: after the first it stops by itself, after the second a request that hangs is cut off.
_SHARE, _HARD_SHARE = 1 / 8, 3 / 16


class Retention:
    """One run's part of a round. `position` is where the next run goes on, at any moment."""

    def __init__(self, ports: Ports, budget: Budget, position: Pruning, row_counts: RowCounts) -> None:
        self._ports = ports
        self._row_counts = row_counts
        self._budget = budget
        self.position = position

    async def run(self, report: SweepReport) -> None:
        """Delete as much as the time allows. A failure is named in the report and ends only this part of the run."""
        began = self._ports.clock()
        if self.position.next_round and self.position.next_round > began:
            return
        try:
            async with asyncio.timeout((self._budget.longest * _HARD_SHARE).total_seconds()):
                await self._run_round(report)
        except TimeoutError:
            report.unpruned = f"{self.position.subscription or 'the table'}: a request took too long"
        except StorageError as error:
            report.unpruned = report.unpruned or str(error)

    async def _run_round(self, report: SweepReport) -> None:
        began = self._ports.clock()
        ends, before = began + self._budget.longest * _SHARE, began - self._budget.history
        subscription, after = self.position.subscription, self.position.after
        if not subscription:
            subscription = await self._ports.ledger.next_subscription("")
        while subscription:
            try:
                async for step in self._ports.ledger.prune(subscription, before, after):
                    report.pruned += step.rows
                    self.position = Pruning(None, subscription, step.after)
                    if self._ports.clock() > ends:
                        return
                await self._row_counts.renew(subscription)
            except StorageError as error:
                # The next run goes on with the next subscription: the same rows may fail again.
                report.unpruned = f"{subscription}: {error}"
            subscription, after = await self._ports.ledger.next_subscription(subscription), ""
            self.position = Pruning(None, subscription)
            if subscription and (report.unpruned or self._ports.clock() > ends):
                return
        self.position = Pruning(self._ports.clock() + _ROUND)
