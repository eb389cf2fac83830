"""The poison queue: the functions host moves messages there that failed too often. They can be moved back, and those
that no row waits for can be removed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from azure.core.exceptions import AzureError

from onboarding.application.messages import decode
from onboarding.application.ports import Message
from onboarding.azure.storage.queue_client import LARGEST_PAGE, QueueClient, ReceivedMessage
from onboarding.domain.errors import StorageError

_REQUEUE_HIDDEN_S = 120  # how long a message is hidden while it is moved; if that fails, it appears again
_REMOVE_HIDDEN_S = 60  # the same while it is examined


class PoisonQueue:
    """Implements `ports.Poison`."""

    def __init__(self, poison: QueueClient, queue: QueueClient) -> None:
        """`queue` is the one that the messages come from."""
        self._poison = poison
        self._queue = queue

    async def count(self) -> int:
        return await _count(self._poison)

    async def backlog(self) -> int:
        return await _count(self._queue)

    async def requeue(self) -> AsyncIterator[bool]:
        while page := await self._receive(LARGEST_PAGE, _REQUEUE_HIDDEN_S):
            for message in page:
                ours = _decoded(message.text) is not None
                if ours:
                    # In this order, a crash duplicates a check instead of losing it.
                    with _queue_errors():
                        await self._queue.send(message.text)
                        await self._poison.delete(message)
                yield ours

    async def remove(self, settled: Callable[[Message], Awaitable[bool]], most: int) -> int:
        removed = 0
        while most > 0 and (page := await self._receive(min(LARGEST_PAGE, most), _REMOVE_HIDDEN_S)):
            poisoned = [(message, _decoded(message.text)) for message in page]
            ours = [(message, decoded) for message, decoded in poisoned if decoded is not None]
            said = await asyncio.gather(*(settled(decoded) for _, decoded in ours))
            for (message, _), unneeded in zip(ours, said, strict=True):
                if unneeded:
                    with _queue_errors():
                        await self._poison.delete(message)
                    removed += 1
            most -= len(page)
        return removed

    async def close(self) -> None:
        await self._poison.close()
        await self._queue.close()

    async def _receive(self, most: int, hidden_s: int) -> list[ReceivedMessage]:
        with _queue_errors():
            return await self._poison.receive(most, hidden_s)


async def _count(queue: QueueClient) -> int:
    try:
        return await queue.count()
    except (AzureError, ValueError, TimeoutError) as error:
        raise StorageError(f"the messages of a queue could not be counted: {type(error).__name__}") from None


@contextmanager
def _queue_errors() -> Iterator[None]:
    """Raises azure-core's errors as StorageError."""
    try:
        yield
    except (AzureError, ValueError, TimeoutError) as error:
        raise StorageError(f"the poison queue could not be emptied: {type(error).__name__}") from None


def _decoded(text: str) -> Message | None:
    try:
        return decode(text)
    except ValueError:
        return None
