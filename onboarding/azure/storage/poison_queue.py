"""The poison queue: the functions host moves messages there that failed too often. They can be moved back, and those
that no row waits for can be removed.

The queue SDK is loaded when the poison queue is first used: loading it takes a seventh of a cold start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from onboarding.application.messages import decode
from onboarding.application.ports import Message
from onboarding.domain.errors import StorageError

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueClient

_PAGE = 32  # messages; the service's maximum
_REQUEUE_HIDDEN_S = 120  # how long a message is hidden while it is moved; if that fails, it appears again
_REMOVE_HIDDEN_S = 60  # the same while it is examined


class PoisonQueue:
    """Implements `ports.Poison`."""

    def __init__(self, connect: Callable[[], tuple[QueueClient, QueueClient]]) -> None:
        """`connect` makes the clients of the poison queue and of the queue that its messages come from."""
        self._connect = connect
        self._clients: tuple[QueueClient, QueueClient] | None = None

    async def requeue(self) -> AsyncIterator[bool]:
        poison, queue = self._connected()
        with _queue_errors():
            async for message in poison.receive_messages(messages_per_page=_PAGE, visibility_timeout=_REQUEUE_HIDDEN_S):
                ours = _decoded(str(message.content)) is not None
                if ours:
                    # In this order, a crash duplicates a check instead of losing it.
                    await _send(queue, message.content)
                    await poison.delete_message(message)
                yield ours

    async def remove(self, settled: Callable[[Message], Awaitable[bool]], most: int) -> int:
        poison, _ = self._connected()
        removed = 0
        with _queue_errors():
            pages = poison.receive_messages(
                messages_per_page=min(_PAGE, most), visibility_timeout=_REMOVE_HIDDEN_S, max_messages=most
            ).by_page()
            async for page in pages:
                poisoned = [(message, _decoded(str(message.content))) async for message in page]
                ours = [(message, decoded) for message, decoded in poisoned if decoded is not None]
                said = await asyncio.gather(*(settled(decoded) for _, decoded in ours))
                for (message, _), unneeded in zip(ours, said, strict=True):
                    if unneeded:
                        with suppress(ResourceNotFoundError):  # it was moved back meanwhile
                            await poison.delete_message(message)
                        removed += 1
        return removed

    async def close(self) -> None:
        for client in self._clients or ():
            await client.close()

    def _connected(self) -> tuple[QueueClient, QueueClient]:
        if self._clients is None:
            self._clients = self._connect()
        return self._clients


async def _send(queue: QueueClient, content: Any) -> None:
    """Send a message that never expires; a queue that does not exist is created, or the message could not leave."""
    try:
        await queue.send_message(content, time_to_live=-1)
    except ResourceNotFoundError:
        with suppress(ResourceExistsError):
            await queue.create_queue()
        await queue.send_message(content, time_to_live=-1)


@contextmanager
def _queue_errors() -> Iterator[None]:
    """Raises the SDK's errors as StorageError. A queue that does not exist holds nothing: no message ever failed."""
    try:
        yield
    except ResourceNotFoundError:
        return
    except (AzureError, TimeoutError) as error:
        raise StorageError(f"the poison queue could not be emptied: {type(error).__name__}") from None


def _decoded(text: str) -> Message | None:
    try:
        return decode(text)
    except ValueError:
        return None
