"""Deferrals on Azure Queue Storage: a message that stays invisible until its time has come."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import datetime, timedelta

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from onboarding.core.errors import StorageError
from onboarding.messages import encode
from onboarding.ports import Message

# The service's own bound is 7 days; a look that comes early is put back by the line.
_LONGEST = timedelta(days=6)


class QueueDeferrals:
    """Implements `ports.Deferrals`. Makes the queue when it is missing."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def schedule(self, message: Message, now: datetime) -> None:
        text = encode(message)
        hidden = min(max(message.due - now, timedelta()), _LONGEST)
        # Whole seconds, rounded up: a message is never early. Kept until it is taken (-1), not for the default 7 days.
        seconds = math.ceil(hidden.total_seconds())
        try:
            try:
                await self._queue.send_message(text, visibility_timeout=seconds, time_to_live=-1)
            except ResourceNotFoundError:
                await self._create()
                await self._queue.send_message(text, visibility_timeout=seconds, time_to_live=-1)
        except (AzureError, TimeoutError) as error:
            raise StorageError(f"the message could not be scheduled: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._queue.close()

    async def _create(self) -> None:
        with suppress(ResourceExistsError):
            await self._queue.create_queue()
