"""What the tests have in common that kill a host at each step of its work: the wire, and one death for each case."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from simulator.arm import VmSpec
from simulator.azurite import connection_string
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import Laptop
from simulator.storm.hosts import Hosts
from simulator.storm.storm import SETTINGS
from simulator.tls import Certificates
from tests.fault.kill_proxy import KillPoint, KillProxy, Step


async def settings_through(wire: KillProxy, laptop: Laptop, certificates: Certificates) -> dict[str, str]:
    """The settings of a host whose requests to storage and ARM go over the wire."""
    endpoints = {kind: await wire.forward(kind, url) for kind, url in laptop.azurite.endpoints.items()}
    arm = await wire.forward("arm", laptop.endpoints.arm, certificates.server_context())
    return {**SETTINGS, "AzureWebJobsStorage": connection_string(endpoints), "ARM_ENDPOINT": arm}


async def kill_at_each_step(
    laptop: Laptop, hosts: Hosts, wire: KillProxy, cases: Iterable[tuple[str, VmSpec, Step]]
) -> dict[str, KillPoint]:
    """Create a VM and a kill point for each case (name, VM, step), and start a new host after each death."""
    kill_points = {}
    for name, spec, step in cases:
        kill_points[spec.name] = KillPoint(spec.name, step)
        wire.kill_points.append(kill_points[spec.name])
        laptop.arm.create_vm(spec)
        await eventually(lambda: not hosts.alive(), f"a death {'after' if step.forwarded else 'before'} {name}")
        await hosts.restart()
    return kill_points


async def final_rows(laptop: Laptop, count: int) -> list[Row]:
    """The rows, once so many are final, or after a minute: then a test says what is missing."""
    rows: list[Row] = []
    async with Ledger(laptop.azurite.connection_string) as ledger:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while sum(row.final for row in rows) < count:
                    await asyncio.sleep(0.25)
                    rows = await ledger.rows()
    return rows


async def eventually(holds: Callable[[], bool], what: str, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"no {what} in {within:.0f} s"
        await asyncio.sleep(0.02)
