"""The SDK baseline: the same requests through the SDK's clients with their defaults, no logic."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from azure.data.tables import EdmType
from azure.data.tables.aio import TableClient
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.compute.models import VirtualMachineExtension
from azure.storage.queue.aio import QueueClient

from bench.implementations import wire
from bench.load import RunEvent
from bench.workload import EXTENSION_NAME, GROUP, SUBSCRIPTION, vm_name

_SCOPE = "https://management.azure.com/.default"


async def prepare(run: str, events: int) -> tuple[RunEvent, Callable[[], Awaitable[None]]]:
    stack = AsyncExitStack()
    connection = os.environ["AzureWebJobsStorage"]
    credential = await stack.enter_async_context(ManagedIdentityCredential())
    arm = await stack.enter_async_context(
        ComputeManagementClient(
            credential, SUBSCRIPTION, base_url=os.environ["ARM_ENDPOINT"], credential_scopes=[_SCOPE]
        )
    )
    table = await stack.enter_async_context(TableClient.from_connection_string(connection, "onboarding"))
    queue = await stack.enter_async_context(QueueClient.from_connection_string(connection, "deferrals"))

    async def run_event(number: int) -> None:
        name = vm_name(run, number)
        current, history = wire.keys(name)
        await arm.virtual_machines.get(GROUP, name, expand="instanceView")
        text = wire.message(name).decode()
        claim = table.upsert_entity(_entity(name, current))
        await asyncio.gather(queue.send_message(text, visibility_timeout=1800), claim)
        await arm.virtual_machine_extensions.begin_create_or_update(
            GROUP, name, EXTENSION_NAME, VirtualMachineExtension(wire.EXTENSION), polling=False
        )
        await table.upsert_entity(_entity(name, history))

    return run_event, stack.aclose


def _entity(name: str, key: str) -> dict[str, object]:
    """The row as a program passes it to the SDK: times as datetimes."""
    row = wire.row(name, key)
    times = [n.partition("@")[0] for n in row if n.endswith("@odata.type")]
    plain = {n: value for n, value in row.items() if "@" not in n}
    now = datetime.now(UTC)
    return {**plain, **dict.fromkeys(times, now), "Attempt": (1, EdmType.INT64)}
