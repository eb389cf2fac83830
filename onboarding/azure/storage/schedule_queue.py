"""The schedule queue on Azure Queue Storage: a message stays invisible until it is due."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from onboarding.application.messages import encode
from onboarding.application.ports import Message
from onboarding.azure.storage.storage_requests import StorageRequests
from onboarding.domain.errors import StorageError

# The service hides a message for 7 days at most; the dispatcher puts a check back that arrives early.
_LONGEST = timedelta(days=6)
_XML = {"Content-Type": "application/xml"}


class StorageScheduleQueue:
    """Implements `ports.ScheduleQueue`. Creates the queue if it does not exist.

    It does not use the SDK's client: loading that takes a seventh of a cold start."""

    def __init__(self, requests: StorageRequests) -> None:
        """`requests` sends to the queue's URL."""
        self._requests = requests

    async def schedule(self, message: Message, now: datetime) -> None:
        text = encode(message)
        hidden = min(max(message.due - now, timedelta()), _LONGEST)
        # Whole seconds, rounded up, so that a message is never early. It does not expire (-1); the default is 7 days.
        seconds = math.ceil(hidden.total_seconds())
        try:
            try:
                await self._send(text, seconds)
            except ResourceNotFoundError:
                await self._create()
                await self._send(text, seconds)
        except (AzureError, ValueError, TimeoutError) as error:  # ValueError: the account key is not base64
            raise StorageError(f"the message could not be scheduled: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._requests.close()

    async def _send(self, text: str, seconds: int) -> None:
        content = f"<QueueMessage><MessageText>{escape(text)}</MessageText></QueueMessage>"
        query = f"visibilitytimeout={seconds}&messagettl=-1"
        # Sent again even if the first may have arrived: a duplicate check finds nothing to do. Without it, the event
        # would be delivered again and schedule the same check, but only after its claim has run out.
        await self._requests.send("POST", "/messages", query, headers=_XML, content=content.encode(), repeatable=True)

    async def _create(self) -> None:
        try:
            await self._requests.send("PUT", "", headers=_XML)
        except HttpResponseError as error:
            if error.status_code != 409:  # another worker has created it
                raise
