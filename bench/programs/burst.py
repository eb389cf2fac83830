"""`python -m bench.programs.burst --vms N --within S --workers M`: a burst in virtual time.

It runs against the simulator's own token buckets, under the roles that ship with the app. Time stands still while the
product works, and then moves to the next due event, scheduled check or end of an install. The product, its ARM adapter,
the SDK and TLS, the table (Azurite) and the buckets are real. The queue is a list that shows each message at its time,
in whole seconds, like Azure's. Prints the results as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import json
import os
import ssl
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Iterator
from copy import replace
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

from azure.core.credentials import AccessToken

from bench.workload import GROUP, SUBSCRIPTION, created_event, vm_name
from onboarding.app import assemble, open_ports, read_configuration
from onboarding.application import notifications
from onboarding.application.dispatcher import Dispatcher
from onboarding.application.ports import Message, Ports
from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.http_connections import Connections
from onboarding.domain.reconcile.row import Outcome
from simulator.arm import ArmSimulator, Guest, VmSpec
from simulator.arm.http.targets import Kind
from simulator.arm.options import Options
from simulator.clock import ManualClock
from simulator.roles import assign_shipped_roles

_SCOPE = "https://management.azure.com/.default"
_AT_ONCE = 24  # events and messages handled concurrently by one worker; host.json has this number for messages
_IMAGE = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}


class ScheduleQueue:
    """Implements `ports.ScheduleQueue`: each message becomes visible on a whole second, as in Azure."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self._hidden: list[tuple[int, int, Message]] = []
        self.scheduled = 0

    async def schedule(self, message: Message, now: datetime) -> None:
        self.scheduled += 1
        hidden = max(0.0, (message.due - now).total_seconds())
        heapq.heappush(self._hidden, (ceil(self._clock.seconds() + hidden), next(self._order), message))

    @property
    def next(self) -> float | None:
        return self._hidden[0][0] if self._hidden else None

    def due(self) -> Iterable[Message]:
        while self._hidden and self._hidden[0][0] <= self._clock.seconds():
            yield heapq.heappop(self._hidden)[2]


class Credential:
    """The simulator's managed identity."""

    def __init__(self, arm: ArmSimulator) -> None:
        self._arm = arm

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        token = self._arm.tokens.issue(scopes[0].removesuffix("/.default"))
        return AccessToken(token.value, int(token.expires.timestamp()))

    async def close(self) -> None: ...

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@dataclass
class Burst:
    """Several workers with one ARM and one table; due events and messages are given to them in turn."""

    clock: ManualClock
    schedule_queue: ScheduleQueue
    published: list[Any]
    workers: Iterator[Dispatcher]

    async def play(self, vms: int, within: float) -> None:
        """Create all VMs within so many seconds, and return when nothing is due any more."""
        created = deque((within * number / vms, vm_name("burst", number)) for number in range(vms))
        while True:
            now = self.clock.seconds()
            jobs = [next(self.workers).handle_message(message) for message in self.schedule_queue.due()]
            while created and created[0][0] <= now:
                jobs.append(self._deliver(created_event(created.popleft()[1])))
            jobs += [self._deliver(json.dumps(event)) for event in self.published]
            self.published.clear()
            if jobs:
                await _at_once(jobs)
                continue
            upcoming = [self.schedule_queue.next, self.clock.next_due, created[0][0] if created else None]
            due = min((each for each in upcoming if each is not None), default=None)
            if due is None:
                return
            await self.clock.advance(due - now)

    async def _deliver(self, event: str) -> None:
        await next(self.workers).handle(notifications.parse(event, self.clock.now()))


async def _at_once(jobs: list[Coroutine[Any, Any, None]]) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(job: Coroutine[Any, Any, None]) -> None:
        async with gate:
            await job

    await asyncio.gather(*(one(job) for job in jobs))


async def _run(vms: int, within: float, workers: int) -> dict[str, Any]:
    clock, published = ManualClock(), list[Any]()
    arm = ArmSimulator(clock, publish=published.append, options=Options(subscriptions=(SUBSCRIPTION,)))
    assign_shipped_roles(arm, (SUBSCRIPTION,))
    for number in range(vms):
        guest = Guest(os_name="centos", os_version="7.9", agent_delay=0)
        spec = VmSpec(name=vm_name("burst", number), group=GROUP, subscription=SUBSCRIPTION, image=_IMAGE, guest=guest)
        arm.add_vm(spec)
    await clock.advance(1)
    published.clear()
    endpoints = await arm.start()
    tls = ssl.create_default_context(cafile=str(endpoints.ca_file))
    schedule_queue = ScheduleQueue(clock)
    began = clock.now()
    try:
        configuration = read_configuration(os.environ)
        async with open_ports(configuration) as ports:
            dispatchers = []
            for _ in range(workers):
                requests = ArmRequests(Credential(arm), endpoints.arm, _SCOPE, clock.now, connections=Connections(tls))
                own = replace(ports, arm=ArmAdapter(requests), schedule_queue=schedule_queue, clock=clock.now)
                dispatchers.append(assemble(own, configuration).dispatcher)
            await Burst(clock, schedule_queue, published, itertools.cycle(dispatchers)).play(vms, within)
            return await _results(arm, ports, began, schedule_queue.scheduled)
    finally:
        await arm.stop()


async def _results(arm: ArmSimulator, ports: Ports, began: datetime, checks: int) -> dict[str, Any]:
    puts = [r for r in arm.requests if r.kind == Kind.EXTENSION_PUT and r.status < 300]
    sent = Counter(r.vm for r in puts)
    installed = set()
    async for row in ports.ledger.current():
        if row.outcome is Outcome.INSTALLED:
            installed.add(row.resource_id.lower())
    return {
        "puts": [(r.at - began).total_seconds() for r in puts],
        "calls": len(arm.requests),
        "refused": sum(r.status == 429 for r in arm.requests),
        "whole": sum(vm in installed and count == 1 for vm, count in sent.items()),
        "checks": checks,
        "operations": sorted(arm.scopes.needed.of(arm.options.principal_id)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vms", type=int, required=True)
    parser.add_argument("--within", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(_run(args.vms, args.within, args.workers))))


if __name__ == "__main__":
    main()
