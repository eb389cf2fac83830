"""The events' queue and the container of undeliverable events, on Azurite."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.storage_clients import event_store
from onboarding.azure.storage.storage_requests import Service, StorageRequests
from onboarding.domain.errors import StorageError
from onboarding.settings import DEAD_LETTERS
from simulator.azurite import ACCOUNT, KEY, Azurite
from tests.adapters.conftest import NOWHERE, storage_of

QUEUE = "events-kept"


async def test_an_event_is_put_back_and_hidden(azurite: Azurite, connections: Connections) -> None:
    store = event_store(storage_of(azurite.connection_string), QUEUE, None, connections)
    async with QueueClient.from_connection_string(azurite.connection_string, QUEUE) as queue:
        await store.put_back('{"event": "<&>"}', timedelta())
        await store.put_back("later", timedelta(hours=1))
        assert [message.content async for message in queue.receive_messages()] == ['{"event": "<&>"}']
        assert (await queue.get_queue_properties()).approximate_message_count == 2


async def test_an_undeliverable_event_is_stored_once_also_if_it_is_stored_twice(
    azurite: Azurite, connections: Connections
) -> None:
    store = event_store(storage_of(azurite.connection_string), QUEUE, None, connections)
    container = StorageRequests(
        Service.BLOB,
        f"{azurite.endpoints['blob']}/{ACCOUNT}/{DEAD_LETTERS}",
        AzureNamedKeyCredential(ACCOUNT, KEY),
        connections,
    )
    with pytest.raises(ResourceNotFoundError):  # no container yet
        await container.send("GET", "/a/b.json", headers={})
    for attempt in (1, 2):
        await store.store("a/b.json", json.dumps([{"tries": attempt}]).encode())
    assert json.loads((await container.send("GET", "/a/b.json", headers={})).content) == [{"tries": 2}]


async def test_storage_that_cannot_be_reached_is_a_storage_error(connections: Connections) -> None:
    store = event_store(storage_of(NOWHERE), QUEUE, None, connections)
    with pytest.raises(StorageError, match="put back"):
        await store.put_back("x", timedelta())
    with pytest.raises(StorageError, match="undeliverable"):
        await store.store("x.json", b"[]")
