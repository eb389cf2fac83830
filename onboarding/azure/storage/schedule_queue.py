"""The schedule queue on Azure Queue Storage: a message stays invisible until it is due."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from azure.core.exceptions import AzureError

from onboarding.application.messages import encode
from onboarding.application.ports import Message
from onboarding.azure.storage.queue_client import QueueClient
from onboarding.domain.errors import StorageError

# The service hides a message for 7 days at most; the dispatcher puts a check back that arrives early.
_LONGEST = timedelta(days=6)


class StorageScheduleQueue:
    """Implements `ports.ScheduleQueue`. Creates the queue if it does not exist.

    A message may arrive twice: a duplicate check finds nothing to do. If one with an unknown result was not sent again,
    the event would be delivered again and schedule the same check, but only after its claim has run out."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    async def schedule(self, message: Message, now: datetime) -> None:
        hidden = min(max(message.due - now, timedelta()), _LONGEST)
        # Whole seconds, rounded up, so that a message is never early.
        seconds = math.ceil(hidden.total_seconds())
        try:
            await self._queue.send(encode(message), seconds)
        except (AzureError, ValueError, TimeoutError) as error:  # ValueError: the account key is not base64
            raise StorageError(f"the message could not be scheduled: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._queue.close()
