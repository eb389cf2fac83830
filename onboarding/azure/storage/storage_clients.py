"""Makes the clients of the storage account, from a connection string or with the app's identity."""

from __future__ import annotations

from urllib.parse import urlsplit

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.utils import parse_connection_string

from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.event_store import StorageEventStore
from onboarding.azure.storage.poison_queue import PoisonQueue
from onboarding.azure.storage.queue_client import QueueClient
from onboarding.azure.storage.schedule_queue import StorageScheduleQueue
from onboarding.azure.storage.storage_requests import Credential, Service, StorageRequests
from onboarding.azure.storage.table_client import TableClient
from onboarding.domain.errors import StorageError
from onboarding.settings import DEAD_LETTERS, QUEUE, TABLE, Storage

_SUFFIX = "core.windows.net"


def onboarding_table(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> TableClient:
    """The table's client; without a connection string it needs `credential`. Raises StorageError."""
    return TableClient(_requests(Service.TABLE, "", storage, credential, connections), TABLE)


def schedule_queue_client(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> QueueClient:
    """The client of the schedule queue, as `onboarding_table`."""
    return QueueClient(_requests(Service.QUEUE, f"/{QUEUE}", storage, credential, connections))


def storage_schedule_queue(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> StorageScheduleQueue:
    """The schedule queue, as `onboarding_table`."""
    return StorageScheduleQueue(schedule_queue_client(storage, credential, connections))


def poison_queue(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None = None
) -> PoisonQueue:
    """The poison queue, as `onboarding_table`."""
    shared = connections or Connections()
    poison = QueueClient(_requests(Service.QUEUE, f"/{QUEUE}-poison", storage, credential, shared))
    return PoisonQueue(poison, schedule_queue_client(storage, credential, shared))


def event_store(
    storage: Storage, queue: str, credential: AsyncTokenCredential | None, connections: Connections
) -> StorageEventStore:
    """The events' queue of that name with the container of undeliverable events, as `onboarding_table`."""
    client = QueueClient(_requests(Service.QUEUE, f"/{queue}", storage, credential, connections))
    return StorageEventStore(client, dead_letters(storage, credential, connections))


def dead_letters(
    storage: Storage, credential: AsyncTokenCredential | None, connections: Connections | None
) -> StorageRequests:
    """Requests to the container of undeliverable events, as `onboarding_table`."""
    return _requests(Service.BLOB, f"/{DEAD_LETTERS}", storage, credential, connections)


def _requests(
    kind: Service,
    path: str,
    storage: Storage,
    credential: AsyncTokenCredential | None,
    connections: Connections | None,
) -> StorageRequests:
    """Requests to a path of one service of the account."""
    endpoint = {
        Service.TABLE: storage.table_endpoint,
        Service.QUEUE: storage.queue_endpoint,
        Service.BLOB: storage.blob_endpoint,
    }[kind]
    key: Credential = credential
    try:
        if storage.connection_string is not None:
            endpoint, key = _service(kind, storage.connection_string.reveal())
        if not urlsplit(endpoint).netloc:
            raise ValueError("no host")
        return StorageRequests(kind, f"{endpoint.rstrip('/')}{path}", key, connections or Connections())
    except ValueError:
        raise StorageError(
            "the storage setting is malformed: copy the connection string of the account as the portal shows it,"
            " or name the account in <setting>__accountName"
        ) from None


def _service(kind: Service, connection_string: str) -> tuple[str, Credential]:
    """The URL of a service of the account, and the key or SAS for it; the key, if there are both. Raises ValueError."""
    parts = parse_connection_string(connection_string)
    name, key, sas = (parts.get(each, "") for each in ("accountname", "accountkey", "sharedaccesssignature"))
    service = kind.name.lower()
    endpoint = parts.get(f"{service}endpoint", "")
    if not endpoint:
        if not name:
            raise ValueError("no account")
        protocol, suffix = parts.get("defaultendpointsprotocol", "https"), parts.get("endpointsuffix", _SUFFIX)
        endpoint = f"{protocol}://{name}.{service}.{suffix}"
    if "://" not in endpoint:
        endpoint = f"https://{endpoint}"
    if name and key:
        return endpoint, AzureNamedKeyCredential(name, key)
    if not sas:
        raise ValueError("neither a key nor a SAS")
    return endpoint, AzureSasCredential(sas)
