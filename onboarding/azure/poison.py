"""The poison queue: looks that failed so often that the functions host laid them aside. They can be put back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from onboarding.core.errors import StorageError
from onboarding.messages import decode

_HIDDEN_S = 120  # while we are at it; what is not put back shows again after that


class PoisonQueue:
    """Implements `ports.Poison`."""

    def __init__(self, poison: QueueClient, queue: QueueClient) -> None:
        self._poison = poison
        self._queue = queue

    async def give_back(self) -> AsyncIterator[bool]:
        try:
            async for message in self._poison.receive_messages(messages_per_page=32, visibility_timeout=_HIDDEN_S):
                ours = _is_ours(str(message.content))
                if ours:
                    # In this order a crash doubles a look and loses none.
                    await self._queue.send_message(message.content, time_to_live=-1)
                    await self._poison.delete_message(message)
                yield ours
        except ResourceNotFoundError:
            return  # nothing was ever laid aside
        except (AzureError, TimeoutError) as error:
            raise StorageError(f"the poison queue could not be emptied: {type(error).__name__}") from None

    async def close(self) -> None:
        await self._poison.close()
        await self._queue.close()


def _is_ours(text: str) -> bool:
    try:
        decode(text)
    except ValueError:
        return False
    return True
