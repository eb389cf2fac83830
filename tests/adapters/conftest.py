"""One Azurite and one simulated ARM over TLS for the tests of the adapters, which use the real SDKs and HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableClient as SdkTableClient
from azure.storage.queue.aio import QueueClient

from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.schedule_queue import StorageScheduleQueue
from onboarding.azure.storage.storage_clients import onboarding_table, storage_schedule_queue
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.settings import QUEUE, TABLE, Storage, read_settings
from simulator.arm import ArmSimulator, Endpoints, Options
from simulator.azurite import Azurite
from simulator.clock import ManualClock

AUDIENCE = "https://management.azure.com"
SCOPE = f"{AUDIENCE}/.default"
SUBSCRIPTIONS = ("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")
# A storage account at which nobody listens.
NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;" + "".join(
    f"{service}Endpoint=http://127.0.0.1:9/a;" for service in ("Blob", "Queue", "Table")
)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture
def storage(azurite: Azurite) -> Storage:
    return storage_of(azurite.connection_string)


def storage_of(connection: str) -> Storage:
    settings = read_settings({"AzureWebJobsStorage": connection})
    assert not settings.problems
    return settings.storage


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    opened = Connections()
    yield opened
    await opened.close()


@pytest.fixture
async def sdk_table(azurite: Azurite) -> AsyncIterator[SdkTableClient]:
    """The table as another program uses it."""
    async with SdkTableClient.from_connection_string(azurite.connection_string, TABLE) as client:
        yield client


async def delete_table(connection: str) -> None:
    async with SdkTableClient.from_connection_string(connection, TABLE) as client:
        await client.delete_table()


@pytest.fixture
async def table(storage: Storage, azurite: Azurite) -> AsyncIterator[TableClient]:
    """The client that the product makes; its table does not exist yet."""
    await delete_table(azurite.connection_string)
    async with onboarding_table(storage, None) as client:
        yield client


@pytest.fixture
def ledger(table: TableClient) -> TableLedger:
    return TableLedger(table)


@pytest.fixture
async def schedule_queue(storage: Storage) -> AsyncIterator[StorageScheduleQueue]:
    adapter = storage_schedule_queue(storage, None)
    yield adapter
    await adapter.close()


@pytest.fixture
async def queue(azurite: Azurite) -> AsyncIterator[QueueClient]:
    """The queue as its trigger sees it; it does not exist yet."""
    async with QueueClient.from_connection_string(azurite.connection_string, QUEUE) as client:
        with suppress(ResourceNotFoundError):
            await client.delete_queue()
        yield client


class Credential:
    """A managed identity whose tokens the simulator accepts; `failure` is raised instead of a token."""

    def __init__(self, arm: ArmSimulator) -> None:
        self._arm = arm
        self.failure: Exception | None = None
        self.tokens: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if self.failure is not None:
            raise self.failure
        token = self._arm.tokens.issue(scopes[0].removesuffix("/.default"))
        self.tokens.append(token.value)
        return AccessToken(token.value, int(token.expires.timestamp()))

    async def close(self) -> None: ...

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Azure:
    """The simulated ARM, and the client and the adapter that are connected to it."""

    arm: ArmSimulator
    clock: ManualClock
    endpoints: Endpoints
    tls: ssl.SSLContext
    credential: Credential
    requests: ArmRequests
    adapter: ArmAdapter


@pytest.fixture
async def azure() -> AsyncIterator[Azure]:
    clock = ManualClock()  # starts at the present: the SDK compares a token's lifetime with the wall clock
    arm = ArmSimulator(clock, options=Options(subscriptions=SUBSCRIPTIONS))
    endpoints = await arm.start()
    tls = ssl.create_default_context(cafile=str(endpoints.ca_file))
    credential = Credential(arm)
    requests = ArmRequests(credential, endpoints.arm, SCOPE, clock.now, connections=Connections(tls))
    yield Azure(arm, clock, endpoints, tls, credential, requests, ArmAdapter(requests))
    await requests.close()
    await arm.stop()
