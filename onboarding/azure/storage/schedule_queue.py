"""Deferrals on Azure Queue Storage: a message that stays invisible until its time has come."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from xml.sax.saxutils import escape

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from onboarding.application.messages import encode
from onboarding.application.ports import Message
from onboarding.azure.storage.storage_requests import StorageRequests
from onboarding.domain.errors import StorageError

# The service's own bound is 7 days; a look that comes early is put back by the line.
_LONGEST = timedelta(days=6)
_XML = {"Content-Type": "application/xml"}


class StorageScheduleQueue:
    """Implements `ports.Deferrals`. Makes the queue when it is missing.

    Without the SDK's client: loading that takes a seventh of a cold start."""

    def __init__(self, requests: StorageRequests) -> None:
        """`requests` go to that queue."""
        self._requests = requests

    async def schedule(self, message: Message, now: datetime) -> None:
        text = encode(message)
        hidden = min(max(message.due - now, timedelta()), _LONGEST)
        # Whole seconds, rounded up: a message is never early. Kept until it is taken (-1), not for the default 7 days.
        seconds = math.ceil(hidden.total_seconds())
        try:
            try:
                await self._send(text, seconds)
            except ResourceNotFoundError:
                await self._create()
                await self._send(text, seconds)
        except (AzureError, ValueError, TimeoutError) as error:  # a ValueError: a key that is none
            raise StorageError(f"the message could not be scheduled: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._requests.close()

    async def _send(self, text: str, seconds: int) -> None:
        content = f"<QueueMessage><MessageText>{escape(text)}</MessageText></QueueMessage>"
        query = f"visibilitytimeout={seconds}&messagettl=-1"
        # Sent again also where the first may have arrived: the second of two looks finds nothing to do, while giving up
        # would bring the event again, which schedules the same look once more, and leave its claim to run out first.
        await self._requests.send("POST", "/messages", query, headers=_XML, content=content.encode(), repeatable=True)

    async def _create(self) -> None:
        try:
            await self._requests.send("PUT", "", headers=_XML)
        except HttpResponseError as error:
            if error.status_code != 409:  # somebody else has made it
                raise
