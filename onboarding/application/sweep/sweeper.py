"""The sweep finds what events and scheduled checks missed. The timer runs it, or a person.

It finds rows whose scheduled check is late, unpublished outcomes, and VMs on which the inventory and the table differ.
It reconciles none of them: each becomes a message on the schedule queue, so that Functions scales the work out, and a
VM that needs nothing costs no request. A finding is a reason to reconcile and never a decision, so a sweep may run
twice, concurrently with events, and from an inventory that lags.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from copy import replace
from datetime import datetime
from itertools import batched

from onboarding.application.ports import SUBSCRIPTIONS_AT_ONCE, Message, Ports, ScheduledCheck, StoredSweep, SweepStore
from onboarding.application.readers.container_reader import ContainerReader
from onboarding.application.readers.heartbeat_reader import HeartbeatReader
from onboarding.application.readers.policy_scopes import PolicyScopes
from onboarding.application.readers.policy_versions import PolicyVersions
from onboarding.application.row_queries import stored_subscriptions
from onboarding.application.rules import Rules
from onboarding.application.sweep.fleet_comparison import FleetComparison
from onboarding.application.sweep.retention import Retention
from onboarding.application.sweep.row_counts import RowCounts
from onboarding.application.sweep.sweep_queue import (
    AT_ONCE,
    Budget,
    OutOfTime,
    Refused,
    Stopped,
    SweepFilter,
    SweepListener,
    SweepQueue,
    SweepReport,
)
from onboarding.domain.errors import ArmError, LostRace, StorageError
from onboarding.domain.policy.management_groups import NOWHERE
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.reconcile.sweep_requests import Mark, last_moment
from onboarding.logging import logger

_log = logger(__name__)

# The shares of a run's time after which its parts end, so that time is left for the next part.
_OVERDUE_SHARE, _PUBLISHING_SHARE, _HARD_SHARE = 1 / 4, 1 / 2, 9 / 8
_MAX_POISON_MESSAGES = 256
_POISON_S = 20


class Sweeper:
    """Runs the sweep over everything that the policies reach. At most one run is under way at a time."""

    def __init__(
        self,
        ports: Ports,
        rules: Rules,
        budget: Budget,
        policy_scopes: PolicyScopes,
        versions: PolicyVersions,
        containers: ContainerReader,
        heartbeats: HeartbeatReader,
    ) -> None:
        self._ports = ports
        self._rules = rules
        self._budget = budget
        self._policy_scopes = policy_scopes
        self._versions = versions
        self._containers = containers
        self._heartbeats = heartbeats

    async def run(self, sweep_filter: SweepFilter | None = None, listener: SweepListener | None = None) -> SweepReport:
        """Run one sweep. Raises StorageError if storage cannot be reached; the report names what cannot be read."""
        sweep_queue = SweepQueue(self._ports, self._budget, sweep_filter or SweepFilter(), listener or SweepListener())
        if sweep_queue.sweep_filter.dry_run:
            await self._versions.read(sweep_queue.started, write=False)
            await self._compare_fleet(sweep_queue, None)
        else:
            await self._run_alone(sweep_queue)
        _log.info("sweep: %s", sweep_queue.report)
        return sweep_queue.report

    async def _run_alone(self, sweep_queue: SweepQueue) -> None:
        stored = await self._ports.sweeps.read()
        now = self._ports.clock()
        if (stored.state.held_until or now) > now:
            sweep_queue.report.held = True
            return
        progress = _Progress(self._ports.sweeps, stored)
        progress.state = replace(stored.state, held_until=now + self._budget.held)
        try:
            await progress.save()
        except LostRace:
            sweep_queue.report.held = True
            return
        sweep_queue.remember(stored.state.unanswered)
        try:
            await self._run_in_time(sweep_queue, progress)
        except LostRace:
            sweep_queue.report.stop("another sweep has begun")
        finally:
            await self._release(sweep_queue, progress)

    async def _release(self, sweep_queue: SweepQueue, progress: _Progress) -> None:
        progress.keep(sweep_queue)
        progress.state = replace(progress.state, held_until=None)
        try:
            await progress.save()
        except LostRace:
            _log.warning("sweep: it took so long that another sweep has begun")

    async def _run_in_time(self, sweep_queue: SweepQueue, progress: _Progress) -> None:
        """Run all parts. Each part ends by itself when its time is up; the timeout only cuts off a hanging request."""
        try:
            async with asyncio.timeout((self._budget.longest * _HARD_SHARE).total_seconds()) as limit:
                await self._run_parts(sweep_queue, progress)
        except TimeoutError:
            if not limit.expired():
                raise
            sweep_queue.report.stop("a request took too long")
            progress.keep(sweep_queue, resume_at=progress.after_timeout)

    async def _run_parts(self, sweep_queue: SweepQueue, progress: _Progress) -> None:
        await self._versions.read(sweep_queue.started, write=True)
        subscriptions = [each async for each in stored_subscriptions(self._ports.ledger)]
        await self._take_up_overdue(sweep_queue, progress, subscriptions)
        await self._publish_missed(sweep_queue, subscriptions)
        await self._prune(sweep_queue, progress)
        if progress.state.busy_until and progress.state.busy_until > sweep_queue.started:
            sweep_queue.report.busy = True
        else:
            await self._compare_fleet(sweep_queue, progress)
        await self._clear_poison(sweep_queue)

    async def _take_up_overdue(
        self, sweep_queue: SweepQueue, progress: _Progress, subscriptions: Sequence[str]
    ) -> None:
        """Send a check for each machine whose scheduled check is late, the earliest first.

        The machine gets it once when it becomes late, and again at the times of `last_moment`."""
        before, most, last = sweep_queue.started - self._budget.grace, self._budget.requested, progress.state.overdue
        found: dict[Mark, ScheduledCheck] = {}  # one for each machine and moment
        left = 0
        try:
            async for check in self._overdue(sweep_queue, subscriptions, before):
                moment = last_moment(check.due, before, self._budget.request_again_after, self._budget.repeated)
                mark = Mark(moment, check.vm.key)
                if last is not None and mark <= last:
                    sweep_queue.report.skipped += 1
                    continue
                found[mark] = check
                if len(found) > 2 * most:
                    left += _drop_latest(found, most)
        except OutOfTime as stopped:
            sweep_queue.report.stop(f"{stopped} of reading overdue checks")
        left += _drop_latest(found, most)
        for some in batched(sorted(found.items()), AT_ONCE, strict=False):
            await sweep_queue.schedule(check for _, check in some)
            sweep_queue.report.overdue += len(some)
            sweep_queue.report.repeated += sum(mark.moment > check.due for mark, check in some)
            progress.state = replace(progress.state, overdue=some[-1][0])
        if left:
            sweep_queue.report.stop(f"after {most} checks")
        else:
            progress.state = replace(progress.state, overdue=Mark(before))
        if found:
            await progress.save()

    async def _overdue(
        self, sweep_queue: SweepQueue, subscriptions: Sequence[str], before: datetime
    ) -> AsyncIterator[ScheduledCheck]:
        for subscription in subscriptions:
            sweep_queue.check(_OVERDUE_SHARE)
            async for check in self._ports.ledger.overdue(subscription, before):
                sweep_queue.check(_OVERDUE_SHARE)
                yield check

    async def _publish_missed(self, sweep_queue: SweepQueue, subscriptions: Sequence[str]) -> None:
        before = sweep_queue.started - self._budget.grace
        try:
            for subscription in subscriptions:
                sweep_queue.check(_PUBLISHING_SHARE)
                async for row in self._ports.ledger.unpublished(subscription, before):
                    sweep_queue.check(_PUBLISHING_SHARE)
                    if await self._ports.publisher.publish(row):
                        await self._ports.ledger.mark_published(row)
                        sweep_queue.report.announced += 1
        except OutOfTime as stopped:
            sweep_queue.report.stop(f"{stopped} of publishing outcomes")

    async def _prune(self, sweep_queue: SweepQueue, progress: _Progress) -> None:
        """Delete what is older than it is kept, in a run over everything."""
        if not sweep_queue.sweep_filter.whole:
            return
        row_counts = self._row_counts(sweep_queue, write=True)
        retention = Retention(self._ports, self._budget, progress.state.pruning, row_counts)
        try:
            await retention.run(sweep_queue.report)
        finally:
            progress.state = replace(progress.state, pruning=retention.position)

    async def _compare_fleet(self, sweep_queue: SweepQueue, progress: _Progress | None) -> None:
        """Compare all subscriptions, beginning where the last run stopped. A dry run (`progress` None) begins with the
        first and stores nothing."""
        policies = await self._policy_scopes.policies(sweep_queue.started)
        for problem in self._policy_scopes.problems:
            sweep_queue.report.could_not_read(problem)
        comparison = FleetComparison(
            self._ports,
            self._rules,
            policies,
            sweep_queue,
            lambda policy: self._versions.settled(policy, sweep_queue.started),
            self._containers,
            self._row_counts(sweep_queue, write=progress is not None),
            self._heartbeats,
        )
        subscriptions = await self._subscriptions(sweep_queue, policies)
        resume_at = progress.state.resume_at if progress and sweep_queue.sweep_filter.whole else ""
        at = next((n for n, each in enumerate(subscriptions) if each >= resume_at), 0)
        subscriptions = subscriptions[at:] + subscriptions[:at]
        following, done = "", 0
        for some in batched(subscriptions, SUBSCRIPTIONS_AT_ONCE, strict=False):
            if progress and sweep_queue.sweep_filter.whole:
                progress.after_timeout = subscriptions[(done + len(some)) % len(subscriptions)]
            try:
                await comparison.run(some)
                await sweep_queue.send()
            except Stopped as stopped:
                following = _resume_at(stopped, comparison, subscriptions)
                sweep_queue.report.stop(str(stopped))
                await sweep_queue.send()
                break
            done += len(some)
            if progress and done < len(subscriptions):
                progress.keep(sweep_queue, resume_at=subscriptions[done] if sweep_queue.sweep_filter.whole else None)
                await progress.save()
        if progress:
            progress.keep(sweep_queue, resume_at=following if sweep_queue.sweep_filter.whole else None)

    def _row_counts(self, sweep_queue: SweepQueue, *, write: bool) -> RowCounts:
        at_once = sweep_queue.sweep_filter.count
        return RowCounts(self._ports, sweep_queue.started, self._budget.grace, write=write, at_once=at_once)

    async def _clear_poison(self, sweep_queue: SweepQueue) -> None:
        """Remove the messages from the poison queue that no row waits for: what is left there needs a person."""
        if self._ports.poison is None:
            return
        seen: set[Message] = set()

        async def settled(message: Message) -> bool:
            if message in seen:
                return True
            seen.add(message)
            return await self._settled(message, sweep_queue)

        try:
            async with asyncio.timeout(_POISON_S):
                sweep_queue.report.poison = await self._ports.poison.remove(settled, _MAX_POISON_MESSAGES)
        except TimeoutError:
            sweep_queue.report.could_not_read(f"the poison queue (in {_POISON_S} s)")
        except StorageError as error:
            sweep_queue.report.could_not_read(str(error))

    async def _settled(self, message: Message, sweep_queue: SweepQueue) -> bool:
        """Whether no row waits for this message: its row was written since, or is final, or the request is so old that
        the sweep has repeated it."""
        known = await self._ports.ledger.read(message.vm)
        if isinstance(message, ScheduledCheck):
            return not known.awaits(message.due)
        if message.due < sweep_queue.started - self._budget.repeated:
            return True
        rows = [stored.row for stored in known.targets.values()]
        return any(row.changed_since(message.due) or row.event_time == message.due for row in rows)

    async def _subscriptions(self, sweep_queue: SweepQueue, policies: PolicySet) -> list[str]:
        """The subscriptions that the active policies name. If one names none, all that the identity can see. For a
        policy that is not active, those that have rows: they may be its own."""
        if sweep_queue.sweep_filter.subscription:
            return [sweep_queue.sweep_filter.subscription.lower()]
        named: set[str] = set()
        everywhere = False
        active = [policy for policy in policies.policies if not policy.inactive]
        if len(active) < len(policies.policies):
            named |= {each async for each in stored_subscriptions(self._ports.ledger)}
        for policy in active:
            subscriptions = {scope.subscription for scope in policy.scopes if scope != NOWHERE}
            everywhere |= not policy.scopes or "" in subscriptions
            named |= subscriptions - {""}
        if everywhere:
            try:
                named |= {subscription.lower() for subscription in await self._ports.arm.list_subscriptions()}
            except ArmError as error:
                sweep_queue.report.could_not_read(f"the list of subscriptions ({error})")
        return sorted(named)


class _Progress:
    """The state for the next run. It is saved during the run, so that the next one continues after a run that died."""

    def __init__(self, store: SweepStore, stored: StoredSweep) -> None:
        self._store = store
        self._version = stored.version
        self._rest = stored.rest
        self.state = stored.state
        self.after_timeout: str | None = None  # the subscription to resume at if the current batch hangs

    def keep(self, sweep_queue: SweepQueue, resume_at: str | None = None) -> None:
        """Take over the requests of this run, and the subscription to resume at (None: unchanged)."""
        self.state = replace(
            self.state,
            busy_until=sweep_queue.busy_until or self.state.busy_until,
            resume_at=self.state.resume_at if resume_at is None else resume_at,
            unanswered=sweep_queue.unanswered.to_bytes(),
        )

    async def save(self) -> None:
        """Write the state. Raises LostRace if another run has begun, and StorageError."""
        self._version = await self._store.write(self.state, self._version, rest=self._rest)


def _drop_latest(found: dict[Mark, ScheduledCheck], most: int) -> int:
    """Drop all but the earliest `most` checks; returns how many were dropped."""
    dropped = sorted(found)[most:]
    for mark in dropped:
        del found[mark]
    return len(dropped)


def _resume_at(stopped: Stopped, comparison: FleetComparison, subscriptions: Sequence[str]) -> str:
    """The subscription at which the next run begins: that of the current batch, or the one after it if the same batch
    would stop that run as well."""
    at = subscriptions.index(comparison.at)
    if isinstance(stopped, Refused) or (isinstance(stopped, OutOfTime) and at == 0):
        at += comparison.width
    return subscriptions[at % len(subscriptions)]
