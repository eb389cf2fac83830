"""The schedule queue on Azurite: a check is hidden until it is due, and is received as it was scheduled."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.queue.aio import QueueClient

from onboarding.application.messages import decode
from onboarding.application.ports import ScheduledCheck, ScheduleQueue
from onboarding.azure.storage.storage_clients import storage_schedule_queue
from onboarding.domain.errors import StorageError
from tests.adapters.conftest import storage_of
from tests.adapters.storage.rows import OMS, TIME, new_vm

NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;QueueEndpoint=http://127.0.0.1:9/a;"


async def test_a_due_check_is_received_as_it_was_scheduled(schedule_queue: ScheduleQueue, queue: QueueClient) -> None:
    check = ScheduledCheck(new_vm("web.01_(ü)"), OMS, TIME)

    await schedule_queue.schedule(check, TIME)

    message = await queue.receive_message()
    assert message is not None
    assert decode(message.content) == check


async def test_the_message_is_plain_json_that_never_expires(schedule_queue: ScheduleQueue, queue: QueueClient) -> None:
    vm = new_vm()

    await schedule_queue.schedule(ScheduledCheck(vm, OMS, TIME), TIME)

    message = await queue.receive_message()
    assert message is not None
    assert json.loads(message.content) == {"vm": str(vm), "extension": OMS, "due": "2026-11-20T09:14:07.331820+00:00"}
    assert message.expires_on is not None
    assert message.expires_on > datetime.now(UTC) + timedelta(days=3650)


async def test_a_check_is_hidden_until_it_is_due(schedule_queue: ScheduleQueue, queue: QueueClient) -> None:
    await schedule_queue.schedule(ScheduledCheck(new_vm(), OMS, TIME + timedelta(hours=1)), TIME)

    assert await queue.receive_message() is None
    assert (await queue.get_queue_properties()).approximate_message_count == 1


async def test_concurrent_workers_create_a_missing_queue_once(
    schedule_queue: ScheduleQueue, queue: QueueClient
) -> None:
    checks = [ScheduledCheck(new_vm(), OMS, TIME) for _ in range(4)]

    await asyncio.gather(*(schedule_queue.schedule(check, TIME) for check in checks))

    found = [decode(message.content) async for message in queue.receive_messages(max_messages=10)]
    assert sorted(map(str, found)) == sorted(map(str, checks))


async def test_a_check_may_be_scheduled_twice(schedule_queue: ScheduleQueue, queue: QueueClient) -> None:
    check = ScheduledCheck(new_vm(), OMS, TIME)

    await schedule_queue.schedule(check, TIME)
    await schedule_queue.schedule(check, TIME)

    assert (await queue.get_queue_properties()).approximate_message_count == 2


async def test_an_unreachable_queue_is_a_storage_error_long_before_event_grid_gives_up() -> None:
    schedule_queue = storage_schedule_queue(storage_of(NOWHERE), None)
    with pytest.raises(StorageError):
        async with asyncio.timeout(10):
            await schedule_queue.schedule(ScheduledCheck(new_vm(), OMS, TIME), TIME)
    await schedule_queue.close()
