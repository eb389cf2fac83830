"""The storage account's clients, from a connection string or with the app's identity.

Each is the SDK's, with the requests that every event makes beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.data.tables.aio import TableClient
from azure.storage.queue.aio import QueueClient

from onboarding.azure.connections import Connections, proxies_for
from onboarding.azure.poison import PoisonQueue
from onboarding.azure.queues import QueueDeferrals
from onboarding.azure.storage_requests import Service, StorageRequests
from onboarding.core.errors import StorageError
from onboarding.settings import QUEUE, TABLE, Storage

# As few and short as those of `StorageRequests`. No try follows an answer: azure-core would sleep a whole Retry-After.
_TRIES: dict[str, Any] = {
    "retry_total": 2,
    "retry_status": 0,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 1,
    "connection_timeout": 5,
    "read_timeout": 5,
}


class OnboardingTable(TableClient):
    """The SDK's client of the table."""

    def __init__(self, endpoint: str, *, connections: Connections, **options: Any) -> None:
        super().__init__(endpoint, transport=connections, proxies=proxies_for(endpoint), **_TRIES, **options)
        self.requests = StorageRequests(Service.TABLE, self.url, self.credential, connections)


def onboarding_table(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> OnboardingTable:
    """The table's client; `credential` is needed where there is no connection string. Raises StorageError."""
    shared = connections or Connections()
    with _said_plainly():
        if storage.connection_string is not None:
            text = storage.connection_string.reveal()
            table = OnboardingTable.from_connection_string(text, TABLE, connections=shared)
            return cast(OnboardingTable, table)
        return OnboardingTable(storage.table_endpoint, table_name=TABLE, credential=credential, connections=shared)


def deferrals_queue(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> QueueDeferrals:
    """As `onboarding_table`, for the queue."""
    shared = connections or Connections()
    queue = _queue(QUEUE, storage, credential, shared)
    text = storage.connection_string
    key = credential if text is None else _named_key(text.reveal())
    return QueueDeferrals(queue, StorageRequests(Service.QUEUE, queue.url, key, shared))


def poison_queue(storage: Storage, credential: AsyncTokenCredential | None) -> PoisonQueue:
    """As `onboarding_table`, for what the functions host laid aside."""
    shared = Connections()
    return PoisonQueue(
        _queue(f"{QUEUE}-poison", storage, credential, shared), _queue(QUEUE, storage, credential, shared)
    )


def _queue(
    name: str, storage: Storage, credential: AsyncTokenCredential | None, connections: Connections
) -> QueueClient:
    with _said_plainly():
        if storage.connection_string is not None:
            text = storage.connection_string.reveal()
            return QueueClient.from_connection_string(text, name, transport=connections)
        return QueueClient(storage.queue_endpoint, name, credential=credential, transport=connections)


def _named_key(connection_string: str) -> AzureNamedKeyCredential | None:
    """The account's key, unless the string has a SAS, which is in the client's URL then."""
    parts = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
    name, key = parts.get("AccountName"), parts.get("AccountKey")
    return AzureNamedKeyCredential(name, key) if name and key else None


@contextmanager
def _said_plainly() -> Iterator[None]:
    """The SDK's complaint about a connection string or an endpoint, without the string in it."""
    try:
        yield
    except ValueError:
        raise StorageError(
            "the storage setting is malformed: copy the connection string of the account as the portal shows it,"
            " or name the account in <setting>__accountName"
        ) from None
