"""The storage account's clients, from a connection string or with the app's identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from azure.core.credentials_async import AsyncTokenCredential
from azure.data.tables.aio import TableClient
from azure.storage.queue.aio import QueueClient

from onboarding.azure.queues import QueueDeferrals
from onboarding.core.errors import StorageError
from onboarding.settings import QUEUE, TABLE, Storage

# Storage answers in milliseconds; three quick tries outlast a hiccup and stay well inside Event Grid's 30 s. The two
# SDKs name the pause between tries differently; the queue's own would be 15 s and more. The table's would sleep a whole
# Retry-After, so that what it refuses is left to Event Grid, which delivers again.
_TRIES: dict[str, Any] = {"retry_total": 2, "connection_timeout": 5, "read_timeout": 5}
_TABLE_TRIES: dict[str, Any] = {**_TRIES, "retry_status": 0, "retry_backoff_factor": 0.2, "retry_backoff_max": 1}
_QUEUE_TRIES: dict[str, Any] = {**_TRIES, "initial_backoff": 0.3, "increment_base": 0, "random_jitter_range": 0.2}


def onboarding_table(storage: Storage, credential: AsyncTokenCredential | None) -> TableClient:
    """The table's client; `credential` is needed where there is no connection string. Raises StorageError."""
    with _said_plainly():
        if storage.connection_string is not None:
            return TableClient.from_connection_string(storage.connection_string.reveal(), TABLE, **_TABLE_TRIES)
        return TableClient(storage.table_endpoint, TABLE, credential=credential, **_TABLE_TRIES)


def deferrals_queue(storage: Storage, credential: AsyncTokenCredential | None) -> QueueDeferrals:
    with _said_plainly():
        if storage.connection_string is not None:
            client = QueueClient.from_connection_string(storage.connection_string.reveal(), QUEUE, **_QUEUE_TRIES)
            return QueueDeferrals(client)
        return QueueDeferrals(QueueClient(storage.queue_endpoint, QUEUE, credential=credential, **_QUEUE_TRIES))


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
