"""The sweep: the timer that takes up what events and timed messages missed.

It looks at rows whose look is past, tells of outcomes that were not told, and compares what ARM lists with what the
table says: a VM without a row was never announced, a row without a VM missed its deletion, an installed extension that
is no longer there has drifted. It does nothing that an event would not do, so it may run twice or beside one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from onboarding.core.errors import ArmError, StorageError
from onboarding.core.facts import MachineFacts, read_facts
from onboarding.core.outcome import Outcome, Row
from onboarding.core.resource_id import VmId, parse_id
from onboarding.core.selection import Selection
from onboarding.enforce import Rules
from onboarding.events import Trigger, VmDeleted
from onboarding.onboard import Onboarding
from onboarding.ports import Look, Ports

_log = logging.getLogger(__name__)

# A message is late by the queue's polling interval at the most; a look that is later than this is not coming.
_GRACE = timedelta(minutes=2)
# What an event is about to tell is left to the event.
_SETTLED = timedelta(minutes=10)
_AT_ONCE = 16
_MOST_VISITS = 1000  # a run; the next one goes on where this one stopped, since what is done has a row


@dataclass(slots=True)
class SweepReport:
    """How many rows and VMs a run took up, and why."""

    overdue: int = 0
    announced: int = 0
    missed: int = 0
    drifted: int = 0
    gone: int = 0
    unread: list[str] = field(default_factory=list)

    @property
    def visits(self) -> int:
        return self.missed + self.drifted

    def __str__(self) -> str:
        parts = [f"{getattr(self, name)} {name}" for name in ("overdue", "announced", "missed", "drifted", "gone")]
        return ", ".join(parts) + (f"; could not read {', '.join(self.unread)}" if self.unread else "")


class Sweep:
    """One run over everything that the policies reach."""

    def __init__(self, ports: Ports, rules: Rules, onboarding: Onboarding) -> None:
        self._ports = ports
        self._rules = rules
        self._onboarding = onboarding

    async def run(self) -> SweepReport:
        """Raises StorageError if the table cannot be read; what ARM does not list is named in the report."""
        report = SweepReport()
        await self._look_at_overdue(report)
        await self._announce(report)
        for subscription in await self._subscriptions():
            try:
                await self._reconcile(subscription, report)
            except ArmError as error:
                report.unread.append(f"{subscription} ({error})")
        _log.info("sweep: %s", report)
        return report

    async def _look_at_overdue(self, report: SweepReport) -> None:
        looks = []
        async for row in self._ports.ledger.overdue(self._ports.clock() - _GRACE):
            vm = parse_id(row.resource_id)
            if isinstance(vm, VmId) and row.next_attempt_at:
                looks.append(self._onboarding.look(Look(vm, row.extension, row.next_attempt_at)))
        report.overdue = len(looks)
        await _all(looks)

    async def _announce(self, report: SweepReport) -> None:
        untold = [row async for row in self._ports.ledger.untold(self._ports.clock() - _GRACE)]
        for row in untold:
            if await self._ports.announcer.announce(row):
                await self._ports.ledger.told(row)
                report.announced += 1

    async def _subscriptions(self) -> list[str]:
        """The subscriptions that the policies name; where one names none, all that the identity can see."""
        named: set[str] = set()
        everywhere = False
        for policy in self._rules.policies.policies:
            subscriptions = {scope.subscription for scope in policy.scopes}
            everywhere |= not subscriptions or "" in subscriptions
            named |= subscriptions - {""}
        if everywhere:
            try:
                named |= {subscription.lower() for subscription in await self._ports.arm.list_subscriptions()}
            except ArmError as error:
                _log.warning("sweep: the subscriptions could not be listed: %s", error)
        return sorted(named)

    async def _reconcile(self, subscription: str, report: SweepReport) -> None:
        rows: dict[str, list[Row]] = {}
        async for row in self._ports.ledger.current(Selection(subscription=subscription)):
            rows.setdefault(row.resource_id.lower(), []).append(row)
        now = self._ports.clock()
        visits: list[Awaitable[None]] = []
        async for body in self._ports.arm.list_machines(subscription):
            facts = read_facts(body)
            known = rows.pop(facts.id.key, [])
            if report.visits < _MOST_VISITS and (reason := self._reason(facts, known, now)):
                setattr(report, reason, getattr(report, reason) + 1)
                visits.append(self._onboarding.revisit(facts.id, Trigger(f"sweep.{reason}.{now:%Y%m%dt%H%M%Sz}", now)))
        await _all(visits)
        await self._close(rows.values(), now, report)

    def _reason(self, facts: MachineFacts, known: list[Row], now: datetime) -> str:
        """Why a listed VM has to be visited: `missed`, `drifted`, or empty."""
        if facts.time_created and now - facts.time_created < _SETTLED:
            return ""
        by_extension = {row.extension: row for row in known if row.vm_id in ("", facts.vm_id)}
        for assignment in self._rules.policies.assign(facts, now):
            entry = self._rules.catalogue[assignment.policy.extension]
            if not assignment.selected or facts.os_type is not entry.os_type:
                continue
            row = by_extension.get(entry.name)
            if row is None or row.outcome is Outcome.GONE or row.outcome is Outcome.OUT_OF_SCOPE:
                return "missed"
            if row.outcome.present and _drifted(facts, row, now):
                return "drifted"
        return ""

    async def _close(self, orphans: Iterable[list[Row]], now: datetime, report: SweepReport) -> None:
        """Rows whose VM is not listed any more: its deletion was missed."""
        for rows in orphans:
            old = all(row.event_time is None or now - row.event_time > _SETTLED for row in rows)
            vm = parse_id(rows[0].resource_id)
            if old and isinstance(vm, VmId) and any(row.outcome is not Outcome.GONE for row in rows):
                report.gone += 1
                await self._onboarding.handle(VmDeleted(vm, Trigger(f"sweep.gone.{now:%Y%m%dt%H%M%Sz}", now)))


def _drifted(facts: MachineFacts, row: Row, now: datetime) -> bool:
    """Whether an extension that the row says is there is not listed with the VM (lists name extensions by id)."""
    if row.finished_at is None or now - row.finished_at < _SETTLED:
        return False
    return row.extension_name.lower() not in _listed_extensions(facts.body)


def _listed_extensions(body: Mapping[str, Any]) -> set[str]:
    resources = body.get("resources")
    ids = [item.get("id") for item in resources if isinstance(item, Mapping)] if isinstance(resources, list) else []
    return {str(resource_id).rpartition("/")[2].lower() for resource_id in ids}


async def _all(jobs: Iterable[Awaitable[None]]) -> None:
    """Do them all, some at a time. What storage refuses stays as it is: the next sweep finds it again."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(job: Awaitable[None]) -> None:
        async with slots:
            try:
                await job
            except StorageError as error:
                _log.warning("sweep: %s", error)

    await asyncio.gather(*(one(job) for job in jobs))
