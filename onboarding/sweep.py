"""The sweep: what takes up what events and timed messages missed. The timer runs it, or a person.

It finds rows whose look is past, outcomes that were not told, and VMs that an inventory and the table disagree about.
It visits none of them: each becomes a message on the deferrals queue, so that Functions scales the visits out, and a
VM that needs nothing costs no call at all. What it finds is a reason to look, never a decision, so it may run twice,
beside an event, or from an inventory that lags.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import batched

from onboarding.core.errors import ArmError, LostRace
from onboarding.core.management_groups import NOWHERE
from onboarding.core.policy import PolicySet
from onboarding.core.resource_id import VmId, parse_id
from onboarding.enforce import Rules
from onboarding.plan import Budget, Order, Plan, Stopped, SweepReport, Watch
from onboarding.ports import SUBSCRIPTIONS_AT_ONCE, Look, Ports, StoredSweep, SweepState
from onboarding.reach import Reach
from onboarding.survey import Survey

_log = logging.getLogger(__name__)


class Sweep:
    """One run over everything that the policies reach. Never two at once."""

    def __init__(self, ports: Ports, rules: Rules, budget: Budget | None = None) -> None:
        self._ports = ports
        self._rules = rules
        self._budget = budget or Budget()
        self._reach = Reach(rules.policies, ports.inventory)

    async def run(self, order: Order | None = None, watch: Watch | None = None) -> SweepReport:
        """Raises StorageError if storage cannot be reached; what cannot be read is named in the report."""
        plan = Plan(self._ports, self._budget, order or Order(), watch or Watch())
        if plan.order.dry_run:
            await self._survey(plan, "")
        else:
            await self._run_alone(plan)
        _log.info("sweep: %s", plan.report)
        return plan.report

    async def _run_alone(self, plan: Plan) -> None:
        stored = await self._ports.sweeps.read()
        now = self._ports.clock()
        if (stored.state.held_until or now) > now:
            plan.report.held = True
            return
        try:
            version = await self._ports.sweeps.write(
                replace(stored.state, held_until=now + self._budget.held), stored.version
            )
        except LostRace:
            plan.report.held = True
            return
        held = StoredSweep(stored.state, version)
        try:
            held = StoredSweep(await self._run_held(plan, stored.state), version)
        finally:
            await self._release(held)

    async def _release(self, held: StoredSweep) -> None:
        try:
            await self._ports.sweeps.write(replace(held.state, held_until=None), held.version)
        except LostRace:
            _log.warning("sweep: it took so long that another one began")

    async def _run_held(self, plan: Plan, state: SweepState) -> SweepState:
        """The whole run; what the next one has to know."""
        await self._look_at_overdue(plan)
        await self._announce(plan)
        if state.busy_until and state.busy_until > plan.started:
            plan.report.busy = True
            return state
        resume_at = await self._survey(plan, state.resume_at if plan.order.whole else "")
        await plan.send()
        return SweepState(None, plan.busy_until, resume_at if plan.order.whole else state.resume_at)

    async def _look_at_overdue(self, plan: Plan) -> None:
        async for row in self._ports.ledger.overdue(plan.started - self._budget.grace):
            vm = parse_id(row.resource_id)
            if isinstance(vm, VmId) and row.next_attempt_at:
                await plan.put(Look(vm, row.extension, row.next_attempt_at))
                plan.report.overdue += 1
        await plan.send()

    async def _announce(self, plan: Plan) -> None:
        async for row in self._ports.ledger.untold(plan.started - self._budget.grace):
            if await self._ports.announcer.announce(row):
                await self._ports.ledger.told(row)
                plan.report.announced += 1

    async def _survey(self, plan: Plan, resume_at: str) -> str:
        """Compare everything; where to go on if there was too much for one run, empty if there was not."""
        policies = await self._reach.policies(plan.started)
        plan.report.unread += self._reach.problems
        subscriptions = await self._subscriptions(plan, policies)
        at = next((n for n, each in enumerate(subscriptions) if each >= resume_at), 0)
        for some in batched(subscriptions[at:] + subscriptions[:at], SUBSCRIPTIONS_AT_ONCE, strict=False):
            try:
                await Survey(self._ports, self._rules, policies, plan).run(some)
            except Stopped as stopped:
                plan.report.stopped = str(stopped)
                return some[0]
        return ""

    async def _subscriptions(self, plan: Plan, policies: PolicySet) -> list[str]:
        """The subscriptions that the policies name; where one names none, all that the identity can see."""
        if plan.order.subscription:
            return [plan.order.subscription.lower()]
        named: set[str] = set()
        everywhere = False
        for policy in policies.policies:
            subscriptions = {scope.subscription for scope in policy.scopes if scope != NOWHERE}
            everywhere |= not policy.scopes or "" in subscriptions
            named |= subscriptions - {""}
        if everywhere:
            try:
                named |= {subscription.lower() for subscription in await self._ports.arm.list_subscriptions()}
            except ArmError as error:
                plan.report.unread.append(f"the list of subscriptions ({error})")
        return sorted(named)
