"""Makes the storage account's clients, from a connection string or with the app's identity.

The SDK's clients are used for rare operations; `StorageRequests` sends the few requests that every event needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.utils import parse_connection_string
from azure.data.tables.aio import TableClient

from onboarding.azure.http_connections import Connections, proxies_for
from onboarding.azure.storage.poison_queue import PoisonQueue
from onboarding.azure.storage.schedule_queue import StorageScheduleQueue
from onboarding.azure.storage.storage_requests import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    Credential,
    Service,
    StorageRequests,
)
from onboarding.domain.errors import StorageError
from onboarding.settings import QUEUE, TABLE, Storage

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueClient

_SUFFIX = "core.windows.net"
# As few and short retries as in `StorageRequests`. None after an answer: azure-core would sleep a whole Retry-After.
_TRIES: dict[str, Any] = {
    "retry_total": 2,
    "retry_status": 0,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 1,
    "connection_timeout": CONNECT_TIMEOUT_S,
    "read_timeout": READ_TIMEOUT_S,
    "permit_redirects": False,  # a token is sent to the account only
}


class OnboardingTable(TableClient):
    """The SDK's client of the table, with `requests` for what every event sends."""

    def __init__(self, endpoint: str, *, connections: Connections, **options: Any) -> None:
        super().__init__(endpoint, transport=connections, proxies=proxies_for(endpoint), **_TRIES, **options)
        self.requests = StorageRequests(Service.TABLE, self.url, self.credential, connections)


def onboarding_table(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> OnboardingTable:
    """The table's client; without a connection string it needs `credential`. Raises StorageError."""
    shared = connections or Connections()
    with _setting_errors():
        if storage.connection_string is not None:
            text = storage.connection_string.reveal()
            table = OnboardingTable.from_connection_string(text, TABLE, connections=shared)
            return cast(OnboardingTable, table)
        return OnboardingTable(storage.table_endpoint, table_name=TABLE, credential=credential, connections=shared)


def storage_schedule_queue(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> StorageScheduleQueue:
    """The schedule queue, as `onboarding_table`."""
    return StorageScheduleQueue(queue_requests(storage, credential, connections))


def queue_requests(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> StorageRequests:
    """Requests to the schedule queue's URL. Raises StorageError."""
    shared = connections or Connections()
    endpoint, key = storage.queue_endpoint, cast(Credential, credential)
    if storage.connection_string is not None:
        with _setting_errors():
            endpoint, key = _queue_service(storage.connection_string.reveal())
    return StorageRequests(Service.QUEUE, f"{endpoint.rstrip('/')}/{QUEUE}", key, shared)


def poison_queue(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> PoisonQueue:
    """The poison queue, as `onboarding_table`."""
    shared = connections or Connections()

    def queue(name: str) -> QueueClient:
        # Imported here: no event needs it, and loading it takes a seventh of a cold start.
        from azure.storage.queue.aio import QueueClient

        # The SDK's default is to retry for more than a minute.
        retries = {"retry_total": 2, "initial_backoff": 1, "increment_base": 1}
        options: dict[str, Any] = {"transport": shared, "permit_redirects": False, **retries}
        with _setting_errors():
            if storage.connection_string is not None:
                return QueueClient.from_connection_string(storage.connection_string.reveal(), name, **options)
            return QueueClient(storage.queue_endpoint, name, credential=credential, **options)

    return PoisonQueue(lambda: (queue(f"{QUEUE}-poison"), queue(QUEUE)))


def _queue_service(connection_string: str) -> tuple[str, Credential]:
    """The URL of the account's queues, and the key or SAS for them. Raises ValueError."""
    parts = parse_connection_string(connection_string)
    name, key, sas = (parts.get(each, "") for each in ("accountname", "accountkey", "sharedaccesssignature"))
    endpoint = parts.get("queueendpoint", "")
    if not endpoint:
        if not name:
            raise ValueError("no account")
        protocol, suffix = parts.get("defaultendpointsprotocol", "https"), parts.get("endpointsuffix", _SUFFIX)
        endpoint = f"{protocol}://{name}.queue.{suffix}"
    return endpoint, AzureSasCredential(sas) if sas else AzureNamedKeyCredential(name, key)


@contextmanager
def _setting_errors() -> Iterator[None]:
    """Raises the SDK's error about a connection string or an endpoint as StorageError, without the secret value."""
    try:
        yield
    except ValueError:
        raise StorageError(
            "the storage setting is malformed: copy the connection string of the account as the portal shows it,"
            " or name the account in <setting>__accountName"
        ) from None
