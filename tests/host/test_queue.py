"""Queue triggers against Azurite."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from simulator.azurite import Azurite
from simulator.host_process import FunctionsHost
from tests.host.conftest import WORK_QUEUE, Client, eventually


@pytest.fixture
async def queue(azurite: Azurite) -> AsyncIterator[QueueClient]:
    """The queue that the app listens to; it is created here, long after the host has begun to listen."""
    async with QueueClient.from_connection_string(azurite.connection_string, WORK_QUEUE) as client:
        try:
            await client.create_queue()
        except ResourceExistsError:
            await client.clear_messages()
        yield client


async def deliveries(client: Client, text: str) -> list[int]:
    return [entry["dequeue_count"] for entry in await client.seen("on_message") if entry["text"] == text]


async def left(queue: QueueClient) -> int:
    return (await queue.get_queue_properties()).approximate_message_count or 0


async def drained(queue: QueueClient) -> bool:
    return await left(queue) == 0


async def test_a_message_is_handled_once_and_deleted(client: Client, queue: QueueClient) -> None:
    sent = await queue.send_message("plain text")
    await eventually(lambda: deliveries(client, "plain text"))
    await eventually(lambda: drained(queue))
    assert await deliveries(client, "plain text") == [1]
    assert [m["id"] for m in await client.seen("on_message") if m["text"] == "plain text"] == [sent.id]


async def test_a_failed_message_is_delivered_again(client: Client, queue: QueueClient) -> None:
    await queue.send_message("once")
    await eventually(lambda: drained(queue))
    assert await deliveries(client, "once") == [1, 2]


async def test_a_message_that_always_fails_ends_in_the_poison_queue(
    client: Client, queue: QueueClient, azurite: Azurite
) -> None:
    await queue.send_message("bad")
    await eventually(lambda: drained(queue))
    assert await deliveries(client, "bad") == [1, 2, 3]
    async with QueueClient.from_connection_string(azurite.connection_string, f"{WORK_QUEUE}-poison") as poison:
        assert [message.content async for message in poison.receive_messages()] == ["bad"]


async def test_many_messages_are_all_handled(client: Client, queue: QueueClient) -> None:
    for number in range(40):
        await queue.send_message(f"many-{number}")
    await eventually(lambda: drained(queue))
    taken = [m["text"] for m in await client.seen("on_message") if m["text"].startswith("many-")]
    assert sorted(taken) == sorted(f"many-{n}" for n in range(40))


APP = """
import azure.functions as func
app = func.FunctionApp()
@app.queue_trigger(arg_name="message", queue_name="encoded", connection="Other")
def on_message(message: func.QueueMessage) -> None:
    print("took", message.get_body().decode(), flush=True)
"""


FAILING = """
import azure.functions as func
app = func.FunctionApp()
@app.queue_trigger(arg_name="message", queue_name="given-up-poison", connection="Other")
def on_message(message: func.QueueMessage) -> None:
    print("took", message.dequeue_count, flush=True)
    raise ValueError("again")
"""


async def test_what_fails_in_a_poison_queue_stays_there(tmp_path: Path, azurite: Azurite) -> None:
    (tmp_path / "function_app.py").write_text(FAILING)
    queues = {"messageEncoding": "none", "maxDequeueCount": 2, "visibilityTimeout": "00:00:00"}
    (tmp_path / "host.json").write_text(json.dumps({"version": "2.0", "extensions": {"queues": queues}}))
    connection = azurite.connection_string
    async with (
        QueueClient.from_connection_string(connection, "given-up-poison") as queue,
        QueueClient.from_connection_string(connection, "given-up-poison-poison") as further,
    ):
        await queue.create_queue()
        await queue.send_message("bad")
        with FunctionsHost(tmp_path, {"AzureWebJobsOther": connection}) as host:

            async def tried_twice() -> bool:
                return "took 2" in host.output()

            await eventually(tried_twice)
        assert await left(queue) == 1
        with pytest.raises(ResourceNotFoundError):
            await further.get_queue_properties()


async def test_base64_is_the_default_and_other_texts_go_to_the_poison_queue(tmp_path: Path, azurite: Azurite) -> None:
    (tmp_path / "function_app.py").write_text(APP)
    (tmp_path / "host.json").write_text('{"version": "2.0"}')
    connection = azurite.connection_string
    async with (
        QueueClient.from_connection_string(connection, "encoded") as queue,
        QueueClient.from_connection_string(connection, "encoded-poison") as poison,
    ):
        await queue.create_queue()
        await queue.send_message("aGVsbG8=")
        await queue.send_message("not base64!")
        with FunctionsHost(tmp_path, {"AzureWebJobsOther": connection}) as host:
            await eventually(lambda: drained(queue))
            assert "took hello" in host.output()

        async def buried() -> list[str]:
            try:
                return [message.content async for message in poison.receive_messages()]
            except ResourceNotFoundError:
                return []

        assert await eventually(buried) == ["not base64!"]
