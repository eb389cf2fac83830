"""Queue triggers like those of the storage extension: batches, back-off, retries, poison queue.

The listener waits for a queue that does not exist and does not create it, like the real host. Unlike in the real
host, a function that adds to a queue does not trigger a poll, and only connection strings are supported.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import random
from contextlib import suppress
from typing import Any

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from simulator.azurite import expand
from simulator.host.configuration import QueueOptions
from simulator.host.invoker import Invoker
from simulator.host.logs import host_logger
from simulator.host.messages import TypedData
from simulator.host.worker import Function

_LEASE = 600  # seconds a message stays hidden while its function runs; renewed at half time
_SHORTEST_WAIT = 0.1


class NoConnection(Exception):
    """The trigger's storage connection is not set."""


class QueueListener:
    def __init__(self, function: Function, options: QueueOptions, invoker: Invoker) -> None:
        connection = connection_string(function.resolved("connection"))
        name = function.resolved("queueName")
        self._function = function
        self._options = options
        self._invoker = invoker
        self._queue = QueueClient.from_connection_string(connection, name)
        # As in the real host: what fails in a poison queue stays there. It comes again when its lease ends, and after
        # too many tries it is left alone.
        self._poison = (
            None if name.endswith("-poison") else QueueClient.from_connection_string(connection, f"{name}-poison")
        )
        self._running: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Poll until cancelled: at once after messages, more and more slowly without messages."""
        wait = _SHORTEST_WAIT
        while True:
            messages = await self._receive()
            for message in messages:
                self._start(message)
            if not messages:
                await asyncio.sleep(wait * random.uniform(0.8, 1.2))
                wait = min(wait * 2, self._options.max_polling_interval)
                continue
            wait = _SHORTEST_WAIT
            while len(self._running) > self._options.new_batch_threshold:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Settle the messages of the last runs, then close the queue."""
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._queue.close()
        if self._poison is not None:
            await self._poison.close()

    def _start(self, message: QueueMessage) -> None:
        task = asyncio.create_task(self._process(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _receive(self) -> list[QueueMessage]:
        size = self._options.batch_size
        try:
            pages = self._queue.receive_messages(messages_per_page=size, max_messages=size, visibility_timeout=_LEASE)
            return [message async for message in pages]
        except ResourceNotFoundError:
            return []
        except AzureError as error:
            host_logger.warning("queue %s cannot be read: %s", self._queue.queue_name, _first_line(error))
            return []

    async def _process(self, message: QueueMessage) -> None:
        try:
            await self._handle(message)
        except AzureError as error:
            host_logger.warning("message %s was not settled, it will come again: %s", message.id, _first_line(error))

    async def _handle(self, message: QueueMessage) -> None:
        text = self._decoded(message)
        spent = (message.dequeue_count or 0) > self._options.max_dequeue_count
        if text is None or spent:
            return await self._give_up(message)
        lease = asyncio.create_task(self._renew(message))
        try:
            result = await self._invoker.invoke(self._function, TypedData(string=text), _metadata(message, text))
        finally:
            lease.cancel()
            with suppress(asyncio.CancelledError):
                await lease
        if result.succeeded:
            await self._delete(message)
        elif (message.dequeue_count or 0) >= self._options.max_dequeue_count:
            await self._give_up(message)
        else:
            await self._update(message, int(self._options.visibility_timeout))
        return None

    async def _renew(self, message: QueueMessage) -> None:
        while True:
            await asyncio.sleep(_LEASE / 2)
            await self._update(message, _LEASE)

    async def _update(self, message: QueueMessage, hidden_for: int) -> None:
        with suppress(ResourceNotFoundError):
            receipt = await self._queue.update_message(
                message.id, pop_receipt=message.pop_receipt, visibility_timeout=hidden_for
            )
            message.pop_receipt = receipt.pop_receipt

    async def _delete(self, message: QueueMessage) -> None:
        with suppress(ResourceNotFoundError):
            await self._queue.delete_message(message.id, message.pop_receipt)

    async def _give_up(self, message: QueueMessage) -> None:
        """Move a message unchanged to the poison queue; leave it where it is if this is one."""
        if self._poison is not None:
            await self._bury(message, self._poison)

    async def _bury(self, message: QueueMessage, poison: QueueClient) -> None:
        host_logger.error("Message has reached MaxDequeueCount, or cannot be decoded: moved to %s", poison.queue_name)
        try:
            await poison.send_message(message.content)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):
                await poison.create_queue()
            await poison.send_message(message.content)
        await self._delete(message)

    def _decoded(self, message: QueueMessage) -> str | None:
        if not self._options.base64:
            return str(message.content)
        try:
            return base64.b64decode(message.content, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None


def connection_string(name: str) -> str:
    """The storage connection that a binding names: `NAME`, `AzureWebJobsNAME`, or the app's own storage."""
    names = [name, f"AzureWebJobs{name}"] if name else ["AzureWebJobsStorage"]
    value = next((os.environ[candidate] for candidate in names if os.environ.get(candidate)), None)
    if value is None:
        raise NoConnection(f"Storage connection string '{names[0]}' does not exist: set it, or give --storage")
    return expand(value)


def _metadata(message: QueueMessage, text: str) -> dict[str, TypedData]:
    times = {
        "ExpirationTime": message.expires_on,
        "InsertionTime": message.inserted_on,
        "NextVisibleTime": message.next_visible_on,
    }
    values: dict[str, Any] = {
        "DequeueCount": message.dequeue_count,
        "Id": message.id,
        "PopReceipt": message.pop_receipt,
    }
    values |= {name: time.isoformat() for name, time in times.items() if time is not None}
    return {"QueueTrigger": TypedData(string=text), **{k: TypedData(json=json.dumps(v)) for k, v in values.items()}}


def _first_line(error: AzureError) -> str:
    status = f"{error.status_code} " if isinstance(error, HttpResponseError) else ""
    return f"{status}{str(error).splitlines()[0] if str(error) else type(error).__name__}"
