"""The schedule queue hides a message until it is due; the poison queue gives messages back or lets them go."""

from __future__ import annotations

from datetime import timedelta

import pytest

from onboarding.application.ports import Message, ReconcileRequest, ScheduledCheck
from onboarding.domain.errors import StorageError
from tests.adapters.storage.rows import TIME, new_vm
from tests.contract.backends import Backend

ODD = "Wéb.01_(ü)"


@pytest.mark.parametrize("name", ["web-01", ODD, "x" * 64])
async def test_a_due_message_is_received_as_it_was_scheduled(backend: Backend, name: str) -> None:
    messages: list[Message] = [
        ScheduledCheck(new_vm(name), TIME),
        ReconcileRequest(new_vm(name), "missed 'é' <b> & ]]>", TIME),
    ]

    for message in messages:
        await backend.schedule_queue.schedule(message, TIME)

    assert await backend.on_the_queue() == messages
    assert await backend.scheduled() == [(message, timedelta()) for message in messages]


@pytest.mark.parametrize(
    ("wait", "hidden"),
    [
        (timedelta(days=-9), timedelta()),
        (timedelta(0), timedelta()),
        (timedelta(microseconds=1), timedelta(seconds=1)),
        (timedelta(seconds=30), timedelta(seconds=30)),
        (timedelta(seconds=30, milliseconds=1), timedelta(seconds=31)),
        (timedelta(hours=1), timedelta(hours=1)),
        (timedelta(days=6), timedelta(days=6)),
        (timedelta(days=6, seconds=1), timedelta(days=6)),
        (timedelta(days=400), timedelta(days=6)),
    ],
    ids=str,
)
async def test_a_message_is_hidden_until_it_is_due_but_no_longer_than_the_service_allows(
    backend: Backend, wait: timedelta, hidden: timedelta
) -> None:
    check = ScheduledCheck(new_vm(), TIME + wait)

    await backend.schedule_queue.schedule(check, TIME)

    assert await backend.scheduled() == [(check, hidden)]
    assert await backend.on_the_queue() == ([] if hidden else [check])


async def test_a_check_may_be_scheduled_twice(backend: Backend) -> None:
    check = ScheduledCheck(new_vm(), TIME)

    for _ in range(2):
        await backend.schedule_queue.schedule(check, TIME)

    assert await backend.on_the_queue() == [check, check]


async def test_a_message_that_is_too_large_is_refused(backend: Backend) -> None:
    vm = new_vm()
    await backend.schedule_queue.schedule(ReconcileRequest(vm, "x" * 60_000, TIME), TIME)

    with pytest.raises(StorageError):
        await backend.schedule_queue.schedule(ReconcileRequest(vm, "x" * 70_000, TIME), TIME)

    assert len(await backend.on_the_queue()) == 1


async def everything(_: Message) -> bool:
    return True


async def test_settled_messages_leave_the_poison_queue_and_the_others_stay(backend: Backend) -> None:
    checks: list[Message] = [ScheduledCheck(new_vm(ODD), TIME) for _ in range(40)]
    await backend.fail(*checks, ReconcileRequest(new_vm(), "missed", TIME), "not a message")
    examined: list[Message] = []

    async def settled(message: Message) -> bool:
        examined.append(message)
        return message in checks[:35]

    assert await backend.poison.remove(settled, 256) == 35
    assert len(examined) == 41
    assert await backend.failed() == 7
    assert await backend.on_the_queue() == []


async def test_no_more_messages_than_the_limit_are_read(backend: Backend) -> None:
    await backend.fail(*(ScheduledCheck(new_vm(), TIME) for _ in range(5)))

    assert await backend.poison.remove(everything, 3) == 3
    assert await backend.failed() == 2


async def test_a_message_that_was_examined_and_stays_is_hidden_from_the_next_run(backend: Backend) -> None:
    await backend.fail(ScheduledCheck(new_vm(), TIME), "not a message")

    async def nothing(_: Message) -> bool:
        return False

    assert await backend.poison.remove(nothing, 256) == 0
    assert await backend.poison.remove(everything, 256) == 0
    assert await backend.failed() == 2


async def test_what_settled_raises_reaches_the_caller_and_no_message_is_lost(backend: Backend) -> None:
    await backend.fail(ScheduledCheck(new_vm(), TIME))

    async def fails(_: Message) -> bool:
        raise StorageError("the table could not be read")

    with pytest.raises(StorageError, match="the table could not be read"):
        await backend.poison.remove(fails, 256)
    assert await backend.failed() == 1


async def test_messages_are_moved_back_to_the_schedule_queue_and_other_texts_stay(backend: Backend) -> None:
    messages: list[Message] = [
        ScheduledCheck(new_vm(ODD), TIME + timedelta(days=999)),
        ReconcileRequest(new_vm(), "missed", TIME),
    ]
    await backend.fail(messages[0], "not a message", messages[1])

    assert sorted([moved async for moved in backend.poison.requeue()]) == [False, True, True]

    assert await backend.on_the_queue() == messages
    assert await backend.failed() == 1


async def test_an_empty_poison_queue_has_nothing_to_move_and_nothing_to_remove(backend: Backend) -> None:
    for _ in range(2):  # without a queue, and with an empty one
        assert await backend.poison.remove(everything, 256) == 0
        assert [moved async for moved in backend.poison.requeue()] == []
        await backend.fail()
