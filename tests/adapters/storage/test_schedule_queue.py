"""The schedule queue where the contract ends: no queue yet, no account."""

from __future__ import annotations

import asyncio

import pytest
from azure.storage.queue.aio import QueueClient

from onboarding.application.messages import decode
from onboarding.application.ports import ScheduledCheck, ScheduleQueue
from onboarding.azure.storage.storage_clients import storage_schedule_queue
from onboarding.domain.errors import StorageError
from tests.adapters.conftest import storage_of
from tests.adapters.storage.rows import TIME, new_vm

NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;QueueEndpoint=http://127.0.0.1:9/a;"


async def test_concurrent_workers_create_a_missing_queue_once(
    schedule_queue: ScheduleQueue, queue: QueueClient
) -> None:
    checks = [ScheduledCheck(new_vm(), TIME) for _ in range(4)]

    await asyncio.gather(*(schedule_queue.schedule(check, TIME) for check in checks))

    found = [decode(message.content) async for message in queue.receive_messages(max_messages=10)]
    assert sorted(map(str, found)) == sorted(map(str, checks))


async def test_an_unreachable_queue_is_a_storage_error_long_before_event_grid_gives_up() -> None:
    schedule_queue = storage_schedule_queue(storage_of(NOWHERE), None)
    with pytest.raises(StorageError):
        async with asyncio.timeout(10):
            await schedule_queue.schedule(ScheduledCheck(new_vm(), TIME), TIME)
    await schedule_queue.close()
