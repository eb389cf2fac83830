"""A fleet of existing VMs and the real adapters of the product: ARM and Resource Graph over TLS, the ledger in Azurite.

The simulator's clock moves only when a test moves it. The queue is in memory, because Azurite hides messages by the
real clock.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby
from typing import Any

from onboarding.app import Application
from onboarding.application.dispatcher import Dispatcher
from onboarding.application.notifications import parse
from onboarding.application.ports import Message, Ports
from onboarding.application.rules import Rules
from onboarding.application.sweep.sweep_queue import Budget, SweepReport
from onboarding.application.sweep.sweeper import Sweeper
from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.arm.resource_graph import GraphAdapter
from onboarding.azure.http_connections import Connections
from onboarding.azure.outcome_topic import NullPublisher
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
from onboarding.azure.storage.stores.pause_store import TablePauses
from onboarding.azure.storage.stores.rollout_store import TableRolloutStore
from onboarding.azure.storage.stores.sweep_store import TableSweeps
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.row import Outcome
from onboarding.loading.policy_folder import load_catalogue
from onboarding.settings import Storage
from simulator.arm import ArmSimulator, Guest, Machine, Options, VmSpec
from simulator.clock import ManualClock
from tests.adapters.conftest import SCOPE, SUBSCRIPTIONS, Credential, delete_table
from tests.flow.world import POLICY, WORKSPACE_ID, WORKSPACE_KEY
from tests.reference import REFERENCE, parse_policy

_AT_ONCE = 32
_LONG_AGO = timedelta(days=30)


class InMemoryQueue:
    """A schedule queue in memory."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def schedule(self, message: Message, now: Any) -> None:
        self.messages.append(message)


@dataclass
class Fleet:
    arm: ArmSimulator
    clock: ManualClock
    ports: Ports
    queue: InMemoryQueue
    dispatcher: Dispatcher
    sweep: Sweeper
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, count: int, prefix: str = "vm", **spec: Any) -> list[Machine]:
        """Add running VMs that were created long ago."""
        guest = Guest(os_name="ubuntu", os_version="16.04", agent_delay=0)
        machines = [self.arm.add_vm(VmSpec(name=f"{prefix}-{n:05}", guest=guest, **spec)) for n in range(count)]
        for machine in machines:
            machine.created -= _LONG_AGO
        return machines

    async def sweep_and_reconcile(self) -> SweepReport:
        """Run one sweep, and deliver each of its messages when it is due."""
        report = await self.sweep.run()
        await self.deliver(timedelta(hours=1))
        return report

    async def deliver(self, within: timedelta) -> None:
        """Let time pass and deliver each message when it is due, also messages that are scheduled meanwhile."""
        until = self.clock.now() + within
        while due := [message for message in self.queue.messages if message.due <= until]:
            self.queue.messages = [message for message in self.queue.messages if message.due > until]
            due.sort(key=lambda message: message.due)
            for moment, some in groupby(due, key=lambda message: message.due.replace(microsecond=0)):
                await self.pass_time((moment + timedelta(seconds=1) - self.clock.now()).total_seconds())
                await self._take([*some])
        await self.pass_time((until - self.clock.now()).total_seconds())

    async def deliver_events(self) -> int:
        """Deliver every event that has been raised so far."""
        events, self.events[:] = list(self.events), []
        for event in events:
            await self.dispatcher.handle(parse(json.dumps(event), self.clock.now()))
        return len(events)

    async def pass_time(self, seconds: float) -> None:
        if seconds > 0:
            await self.clock.advance(seconds)

    async def outcomes(self) -> Counter[Outcome]:
        return Counter([row.outcome async for row in self.ports.ledger.current()])

    def calls(self) -> Counter[str]:
        """The number of requests to ARM of each kind since the last call of this method."""
        counted = self.arm.requests.kinds()
        self.arm.requests.clear()
        return counted

    async def _take(self, messages: Sequence[Message]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(message: Message) -> None:
            async with slots:
                await self.dispatcher.handle_message(message)

        await asyncio.gather(*(one(message) for message in messages))


@asynccontextmanager
async def open_fleet(
    storage: Storage,
    *,
    budget: Budget | None = None,
    limits: bool = True,
    policy: Mapping[str, Any] = POLICY,
    association_events: bool = False,
) -> AsyncIterator[Fleet]:
    events: list[dict[str, Any]] = []
    clock = ManualClock()
    options = Options(subscriptions=SUBSCRIPTIONS, limits=limits, association_events=association_events)
    arm = ArmSimulator(clock, publish=events.append, options=options)
    endpoints = await arm.start()
    connections = Connections(ssl.create_default_context(cafile=str(endpoints.ca_file)))
    credential, queue = Credential(arm), InMemoryQueue()
    rules = Rules(
        # Its machines were created long ago, and the policy is to act on them.
        PolicySet((parse_policy({"existing": "enforce", **policy}, "policy.yaml", compile_rule),)),
        load_catalogue(),
        {"OMS_WORKSPACE_ID": WORKSPACE_ID, "OMS_WORKSPACE_KEY": WORKSPACE_KEY},
        REFERENCE,
    )
    requests = ArmRequests(credential, endpoints.arm, SCOPE, clock.now, connections=connections)
    assert storage.connection_string is not None
    await delete_table(storage.connection_string.reveal())
    async with onboarding_table(storage, None) as table:
        ports = Ports(
            arm=ArmAdapter(requests),
            ledger=TableLedger(table),
            schedule_queue=queue,
            breakers=TableBreakerStore(table),
            rollouts=TableRolloutStore(table),
            pauses=TablePauses(table),
            publisher=NullPublisher(),
            clock=clock.now,
            inventory=GraphAdapter(requests, sleep=clock.advance),
            sweeps=TableSweeps(table),
        )
        worker = Application(ports, rules, budget or Budget())
        yield Fleet(arm, clock, ports, queue, worker.dispatcher, worker.sweeper, events)
    await connections.close()
    await arm.stop()
