"""The poison queue: messages that failed so often that the functions host laid them aside. They can be put back, and
those that nobody needs any more can be removed.

The SDK of queues is loaded when the poison queue is first used: loading takes a seventh of a cold start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, ResourceNotFoundError

from onboarding.application.messages import decode
from onboarding.application.ports import Message
from onboarding.domain.errors import StorageError

if TYPE_CHECKING:
    from azure.storage.queue.aio import QueueClient

_PAGE = 32  # the most that the service gives
_REQUEUE_HIDDEN_S = 120  # while we are at it; what is not put back shows again after that
_REMOVE_HIDDEN_S = 60


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
                    # In this order a crash doubles a look and loses none.
                    await queue.send_message(message.content, time_to_live=-1)
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
                        with suppress(ResourceNotFoundError):  # somebody has put it back meanwhile
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


@contextmanager
def _queue_errors() -> Iterator[None]:
    """For both uses. A queue that is not there yet holds nothing: no message was ever laid aside."""
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
