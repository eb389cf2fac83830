"""The events' queue and the container of undeliverable events, for events that come by a queue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import quote

from azure.core.exceptions import AzureError, ResourceNotFoundError

from onboarding.azure.storage.queue_client import QueueClient
from onboarding.azure.storage.storage_requests import StorageRequests, error_code, raise_for_status
from onboarding.domain.errors import StorageError

_XML = {"Content-Type": "application/xml"}
_BLOB = {"Content-Type": "application/json", "x-ms-blob-type": "BlockBlob"}


class StorageEventStore:
    """Implements `transport.queued_events.EventStore`. Creates queue and container if they do not exist."""

    def __init__(self, queue: QueueClient, container: StorageRequests) -> None:
        """`container` sends to the container's URL."""
        self._queue = queue
        self._container = container

    async def put_back(self, text: str, hidden: timedelta) -> None:
        with _storage_errors("put back"):
            await self._queue.send(text, math.ceil(hidden.total_seconds()))

    async def store(self, path: str, content: bytes) -> None:
        with _storage_errors("stored with the undeliverable ones"):
            try:
                await self._put(path, content)
            except ResourceNotFoundError:
                answer = await self._container.send_unchecked("PUT", "", "restype=container", headers=_XML)
                if error_code(answer) != "ContainerAlreadyExists":
                    raise_for_status(answer)
                await self._put(path, content)

    async def _put(self, path: str, content: bytes) -> None:
        await self._container.send("PUT", f"/{quote(path)}", headers=_BLOB, content=content)


@contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (AzureError, ValueError, TimeoutError) as error:  # ValueError: the account key is not base64
        raise StorageError(f"the event could not be {what}: {type(error).__name__}") from None
