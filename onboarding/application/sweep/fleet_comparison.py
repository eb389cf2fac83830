"""Compares a set of subscriptions: every VM of the inventory with its rows, and every row with the inventory.

The inventory is Resource Graph. If it does not answer, ARM's lists are read, one subscription at a time. VMs are
streamed; only summaries of the rows are held in memory.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from onboarding.application.ports import Ports
from onboarding.application.readers.container_reader import ContainerReader
from onboarding.application.readers.heartbeat_reader import HeartbeatReader
from onboarding.application.rules import Rules
from onboarding.application.sweep.fleet_associations import FleetAssociations
from onboarding.application.sweep.fleet_heartbeats import FleetHeartbeats
from onboarding.application.sweep.fleet_identities import FleetIdentities
from onboarding.application.sweep.fleet_updates import FleetUpdates
from onboarding.application.sweep.machine_summaries import MachineSummaries, Summaries, place_of
from onboarding.application.sweep.row_counts import RowCounts
from onboarding.application.sweep.sweep_queue import Refused, SweepQueue
from onboarding.domain.errors import ArmError
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, CircuitBreaker
from onboarding.domain.limits.pause import Pause, covering
from onboarding.domain.machine.machine_facts import MachineFacts, read_facts
from onboarding.domain.policy.policy import Assignment, Policy, PolicySet
from onboarding.domain.reconcile.drift import Finding, Reason, RowSummary, find, gone
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.step import StepKind
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.logging import logger

_log = logger(__name__)

_TOO_MANY = 429
_NOT_ALLOWED = (401, 403)


class FleetComparison:
    """Compares subscriptions, and requests a reconciliation for each VM with a finding.

    After a run that stopped, `at` is the first subscription of the batch that was not finished, and `width` is the
    number of subscriptions in it."""

    def __init__(
        self,
        ports: Ports,
        rules: Rules,
        policies: PolicySet,
        sweep_queue: SweepQueue,
        stable: Callable[[Policy], bool],
        containers: ContainerReader,
        row_counts: RowCounts,
        heartbeats: HeartbeatReader,
    ) -> None:
        self._ports = ports
        self._row_counts = row_counts
        self._rules = rules
        self._policies = policies
        self._sweep_queue = sweep_queue
        self._stable = stable
        self._containers = containers
        self._associations = FleetAssociations(ports.inventory, policies, rules.app_settings, sweep_queue)
        self._inactive = {n for policy in policies.policies if policy.inactive for n in policy.extensions}
        self._identities = FleetIdentities(rules, policies)
        self._updates = FleetUpdates(rules, sweep_queue.started)
        self._heartbeats = FleetHeartbeats(heartbeats, rules, policies, sweep_queue)
        self.at, self.width = "", 0
        self._breakers: dict[str, Sequence[CircuitBreaker]] = {}  # the open ones, by subscription
        self._pauses: Sequence[Pause] | None = None  # all; None: not read yet

    async def run(self, subscriptions: Sequence[str]) -> None:
        """Compare the subscriptions. Raises StorageError, and Stopped if the budget or the time is used up."""
        self.at, self.width = subscriptions[0], len(subscriptions)
        known: dict[str, Summaries] = {}
        for subscription in subscriptions:
            self._sweep_queue.check()
            known[subscription] = await self._read_table(subscription)
        await self._associations.read(subscriptions, known)
        try:
            seen = await self._compare(self._ports.inventory.machines(subscriptions), known)
        except ArmError as error:
            if error.evidence.http_status == _TOO_MANY:
                raise Refused(f"Resource Graph: {error}") from None
            await self._read_lists(known, error)
            return
        for subscription, rows in known.items():
            await (self._request_unlisted(rows) if subscription in seen else self._read_unseen(subscription, rows))

    async def _read_lists(self, known: Mapping[str, Summaries], error: ArmError) -> None:
        """Compare with ARM's lists, after Resource Graph failed or gave only a part.

        The lists are complete, but they have no state of extensions. A part of the inventory cannot show that a VM is
        gone."""
        _log.warning("sweep: Resource Graph did not answer (%s); reading ARM's lists", error)
        if error.evidence.http_status not in _NOT_ALLOWED:
            what = (
                f"Resource Graph for {self.width} subscriptions from {self.at} ({error}); ARM's lists were read instead"
            )
            self._sweep_queue.report.could_not_read(what)
        for subscription, rows in known.items():
            self.at, self.width = subscription, 1
            self._sweep_queue.check()
            await self._read_list(subscription, rows)

    async def _read_unseen(self, subscription: str, rows: Summaries) -> None:
        """Read ARM's list of a subscription of which Resource Graph has no VM, if it has open rows.

        Resource Graph leaves out what our identity may not see, so a missing VM proves nothing."""
        if any(_has_open_rows(known) for known in rows.values()):
            self._sweep_queue.check()
            await self._read_list(subscription, rows)

    async def _read_list(self, subscription: str, rows: Summaries) -> None:
        try:
            await self._compare(self._ports.arm.list_machines(subscription), {subscription: rows})
        except ArmError as error:
            self._sweep_queue.report.could_not_read(f"{subscription} ({error})")
        else:
            await self._request_unlisted(rows)

    async def _read_table(self, subscription: str) -> Summaries:
        rows: Summaries = {}
        async for resource_id, summary in self._row_counts.summaries(subscription):
            if isinstance(vm := parse_id(resource_id), VmId):
                place = place_of(vm)
                if place not in rows:
                    shared = sys.intern(vm.subscription), sys.intern(vm.resource_group)
                    rows[place] = MachineSummaries(VmId(*shared, vm.name))
                rows[place].summaries += (summary,)
        return rows

    async def _compare(self, machines: AsyncIterator[Mapping[str, Any]], known: Mapping[str, Summaries]) -> set[str]:
        """Compare each VM with its rows; returns the subscriptions that had VMs."""
        seen = set[str]()
        async for body in machines:
            self._sweep_queue.compared()
            facts = read_facts(body)
            subscription = facts.id.subscription.lower()
            seen.add(subscription)
            row = known.get(subscription, {}).get(place_of(facts.id))
            kept = {each.extension for each in row.summaries} & self._inactive if row else ()
            completed = await self._containers.complete(facts, self._policies, self._sweep_queue.started, kept)
            if row is not None:
                row.listed = True
                self._associations.count_beside(row, completed.assignments)
            summaries = row.summaries if row else ()
            finding = self._find(completed.facts, completed.assignments, row)
            finding = finding or await self._find_resumed(facts.id, summaries, completed.assignments)
            if finding is not None and facts.id.name:
                await self._sweep_queue.request(facts.id, finding, facts.vm_id, summaries)
        return seen

    def _find(
        self, facts: MachineFacts, assignments: Iterable[Assignment], row: MachineSummaries | None
    ) -> Finding | None:
        if only := self._sweep_queue.sweep_filter.policy:
            assignments = [each for each in assignments if each.policy.name == only]
        subscription = facts.id.subscription.lower()
        return find(
            facts,
            assignments,
            self._rules.catalogue,
            row.summaries if row else (),
            self._sweep_queue.settled,
            self._stable,
            lambda policy: row is not None and self._associations.lacks(row, subscription, policy),
            lambda policy, summary: self._identities.lacks(facts, policy, summary),
            lambda policy, summary: self._updates.outdated(facts, policy, summary),
        )

    async def _find_resumed(
        self, vm: VmId, summaries: Iterable[RowSummary], assignments: Iterable[Assignment]
    ) -> Finding | None:
        """A finding if a row of the VM waits for a circuit breaker that has closed, for the end of a pause that has
        ended, or for a heartbeat that has come: its check may be a day away. One request adds the identities of all
        policies that select the VM, so it waits for the pause of any of them."""
        only = self._sweep_queue.sweep_filter.policy
        for each in summaries:
            if not each.settled(self._sweep_queue.settled) or (only and each.policy != only):
                continue
            if each.waiting_for == WaitingFor.PAUSED:
                others = [a.policy.name for a in assignments if a.selected and each.step == StepKind.IDENTITY]
                if not await self._is_paused(vm, (each.policy, *others)):
                    return Finding(Reason.RESUMED, each.policy)
            if await self._heartbeats.heard(vm, each):
                return Finding(Reason.HEARTBEAT, each.policy)
            if each.waiting_for != WaitingFor.SCOPE_BREAKER:
                continue
            breakers = [*await self._open_breakers(vm.subscription.lower()), *await self._open_breakers(EVERYWHERE)]
            if not any(b.covers(vm, each.extension, each.sent_digest) or b.may_cover(vm, each.step) for b in breakers):
                return Finding(Reason.RESUMED, each.policy)
        return None

    async def _is_paused(self, vm: VmId, policies: Collection[str]) -> bool:
        """Whether a pause covers the writes of one of the policies to the VM; the pauses are read once in a run."""
        if self._pauses is None:
            self._pauses = [stored.pause for stored in await self._ports.pauses.read_all()]
        return covering(self._pauses, vm.subscription, policies, self._sweep_queue.started) is not None

    async def _open_breakers(self, subscription: str) -> Sequence[CircuitBreaker]:
        """The open breakers of a subscription, or of all (`*`), read once in a run."""
        if subscription not in self._breakers:
            stored = await self._ports.breakers.read(subscription)
            self._breakers[subscription] = [each.breaker for each in stored]
        return self._breakers[subscription]

    async def _request_unlisted(self, rows: Summaries) -> None:
        """Request a reconciliation for each VM that has rows and is not in the inventory: ARM decides if it is gone."""
        for known in rows.values():
            missing = (
                not known.listed
                and not self._sweep_queue.sweep_filter.policy
                and gone(known.summaries, self._sweep_queue.settled)
            )
            if missing:
                await self._sweep_queue.request(known.vm, Finding(Reason.GONE, ""), "", known.summaries)


def _has_open_rows(known: MachineSummaries) -> bool:
    return any(summary.outcome is not Outcome.GONE for summary in known.summaries)
