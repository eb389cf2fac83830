"""Events by a storage queue under the functions host: Azurite, the simulated ARM, and the real worker library. What
Event Grid would write to the queue is written here."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.storage.queue.aio import QueueClient

from simulator.arm import Guest, VmSpec
from simulator.demo.ledger import Ledger
from simulator.eventgrid.schema import to_cloud_event
from simulator.host_process import FunctionsHost
from simulator.laptop import ROOT, SUBSCRIPTIONS, CloudOptions, Laptop
from tests.host.conftest import eventually

QUEUE = "events"
SPEC = VmSpec(
    name="by-queue",
    image={"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"},
    guest=Guest(os_name="centos", os_version="7.9", agent_delay=0),
)


def event(spec: VmSpec) -> dict[str, Any]:
    return {
        "id": f"event-of-{spec.name}",
        "topic": f"/subscriptions/{spec.subscription}",
        "subject": spec.id,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": "2026-11-20T10:00:00Z",
        "dataVersion": "2",
        "metadataVersion": "1",
        "data": {"operationName": "Microsoft.Compute/virtualMachines/write", "resourceUri": spec.id},
    }


@asynccontextmanager
async def proxy(port: int, upstream: int) -> AsyncIterator[None]:
    """Carries bytes from that port to the other one."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", upstream)
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    async with server:
        yield


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.timeout(120)  # Event Grid's first wait is ten seconds, and so is ours
async def test_an_event_that_fails_in_an_outage_is_put_back_and_handled_afterwards(tmp_path: Path) -> None:
    async with (
        Laptop(CloudOptions(scale=300)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
        QueueClient.from_connection_string(laptop.azurite.connection_string, QUEUE) as queue,
    ):
        await queue.create_queue()
        table = urlsplit(laptop.azurite.endpoints["table"]).port or 0
        port = free_port()
        storage = laptop.azurite.connection_string.replace(f"127.0.0.1:{table}", f"127.0.0.1:{port}")
        settings = {"AzureWebJobsStorage": storage, "EVENTS_QUEUE": QUEUE}
        environment = laptop.host_environment(ROOT / "policies", settings)
        laptop.arm.add_vm(SPEC)
        other = replace(SPEC, name="by-queue-too", subscription=list(SUBSCRIPTIONS)[1])
        laptop.arm.add_vm(other)

        async def drained() -> bool:
            return (await queue.get_queue_properties()).approximate_message_count == 0

        async def requested() -> bool:
            current = await ledger.current()
            return all(
                spec.id.lower() in current and current[spec.id.lower()].outcome == "Requested" for spec in (SPEC, other)
            )

        with FunctionsHost(ROOT, environment) as host:
            await queue.send_message(base64.b64encode(json.dumps(event(SPEC)).encode()).decode())
            await queue.send_message(json.dumps(to_cloud_event(event(other))))

            async def both_failed() -> bool:
                return host.output().count("an event failed, and is tried again") == 2

            await eventually(both_failed, 30)
            async with proxy(port, table):
                await eventually(requested, 60)
                assert await eventually(drained, 60)
