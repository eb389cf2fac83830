"""What a user would write: the compute SDK, one VM after the other, waiting for each install.

ARM answers "done" at the first poll, so this script never waits for a VM: its best case.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from azure.data.tables import TableClient
from azure.identity import ManagedIdentityCredential
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import VirtualMachineExtension

from bench.implementations import wire
from bench.load import RunEvent
from bench.workload import EXTENSION_NAME, GROUP, SUBSCRIPTION, vm_name

_SCOPE = "https://management.azure.com/.default"


async def prepare(run: str, events: int) -> tuple[RunEvent, Callable[[], Awaitable[None]]]:
    arm = ComputeManagementClient(
        ManagedIdentityCredential(), SUBSCRIPTION, base_url=os.environ["ARM_ENDPOINT"], credential_scopes=[_SCOPE]
    )
    table = TableClient.from_connection_string(os.environ["AzureWebJobsStorage"], "onboarding")

    def onboard(name: str) -> None:
        arm.virtual_machines.get(GROUP, name, expand="instanceView")
        extension = VirtualMachineExtension(wire.EXTENSION)
        arm.virtual_machine_extensions.begin_create_or_update(GROUP, name, EXTENSION_NAME, extension).result()
        table.upsert_entity({"PartitionKey": SUBSCRIPTION, "RowKey": name, "Outcome": "Installed"})

    async def run_event(number: int) -> None:
        await asyncio.to_thread(onboard, vm_name(run, number))

    async def close() -> None:
        arm.close()
        table.close()

    return run_event, close
