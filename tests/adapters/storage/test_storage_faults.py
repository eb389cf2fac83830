"""Answers that Azure's storage can give and Azurite never does; and the exact requests to the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from aiohttp import web

from onboarding.application.ports import ScheduledCheck
from onboarding.azure.storage.storage_clients import onboarding_table, storage_schedule_queue
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import LostRace, OnboardingError, StorageError
from tests.adapters.conftest import storage_of
from tests.adapters.storage.rows import TIME, create, new_vm, row_of, trigger
from tests.adapters.storage.storage_stub import refusal, refused_transaction, storage_stub

SENT = (
    '<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage>'
    "<MessageId>7d35e3ce-0000-4000-8000-000000000001</MessageId><PopReceipt>receipt</PopReceipt>"
    "<InsertionTime>Fri, 20 Nov 2026 09:14:07 GMT</InsertionTime>"
    "<ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime>"
    "<TimeNextVisible>Fri, 20 Nov 2026 09:14:07 GMT</TimeNextVisible>"
    "</QueueMessage></QueueMessagesList>"
)


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (lambda: refused_transaction(409, "EntityAlreadyExists"), LostRace),
        (lambda: refused_transaction(412, "UpdateConditionNotSatisfied"), LostRace),
        (lambda: refused_transaction(409, "TableBeingDeleted"), StorageError),
        (lambda: refusal(409, "TableBeingDeleted"), StorageError),
        (lambda: refused_transaction(404, "ResourceNotFound"), LostRace),
        (lambda: refused_transaction(404, "TableNotFound"), StorageError),
        (lambda: refusal(404, "TableNotFound"), StorageError),
        (lambda: refused_transaction(400, "PropertyValueTooLarge"), StorageError),
        (lambda: refusal(403, "AuthorizationFailure"), StorageError),
        (lambda: refusal(413, "RequestBodyTooLarge"), StorageError),
        (lambda: refusal(500, "InternalError"), StorageError),
        (lambda: refusal(503, "ServerBusy"), StorageError),
        (lambda: web.Response(status=502, text="<html>proxy</html>", content_type="text/html"), StorageError),
    ],
)
async def test_only_a_conflicting_write_is_a_lost_race(
    answer: Callable[[], web.Response], raised: type[OnboardingError]
) -> None:
    vm = new_vm()
    async with storage_stub(answer) as stub, onboarding_table(storage_of(stub.connection), None) as table:
        with pytest.raises(raised):
            await create(TableLedger(table), row_of(vm), trigger())


@pytest.mark.parametrize("status", [400, 403, 409, 412, 500, 503])
async def test_a_refused_read_is_a_storage_error_for_any_status(status: int) -> None:
    async with (
        storage_stub(lambda: refusal(status, "Refused")) as stub,
        onboarding_table(storage_of(stub.connection), None) as table,
    ):
        with pytest.raises(StorageError, match=str(status)):
            await TableLedger(table).read(new_vm())


async def test_the_retry_after_of_a_busy_table_is_not_slept_in_the_trigger() -> None:
    def busy() -> web.Response:
        answer = refusal(503, "ServerBusy")
        answer.headers["Retry-After"] = "600"
        return answer

    async with storage_stub(busy) as stub, onboarding_table(storage_of(stub.connection), None) as table:
        for call in (TableLedger(table).read(new_vm()), create(TableLedger(table), row_of(new_vm()), trigger())):
            with pytest.raises(StorageError):
                async with asyncio.timeout(10):
                    await call


@pytest.mark.parametrize("text", ["{", "<html>", "[]"])
async def test_a_malformed_answer_is_a_storage_error(text: str) -> None:
    async with (
        storage_stub(lambda: web.Response(status=200, text=text, content_type="application/json")) as stub,
        onboarding_table(storage_of(stub.connection), None) as table,
    ):
        with pytest.raises(StorageError):
            await TableLedger(table).read(new_vm())


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [
        (timedelta(minutes=-5), 0),
        (timedelta(), 0),
        (timedelta(microseconds=1), 1),
        (timedelta(seconds=90), 90),
        (timedelta(seconds=90, microseconds=1), 91),
        (timedelta(days=6), 518_400),
        (timedelta(days=30), 518_400),
    ],
)
async def test_a_check_is_hidden_until_it_is_due_and_never_expires(ahead: timedelta, seconds: int) -> None:
    async with storage_stub(lambda: web.Response(status=201, text=SENT, content_type="application/xml")) as stub:
        schedule_queue = storage_schedule_queue(storage_of(stub.connection), None)
        await schedule_queue.schedule(ScheduledCheck(new_vm(), TIME + ahead), TIME)
        await schedule_queue.close()

    (request,) = stub.requests
    assert request.method == "POST"
    assert request.query["visibilitytimeout"] == str(seconds)
    assert request.query["messagettl"] == "-1"


@pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")  # the SDK, reading XML
@pytest.mark.parametrize("status", [400, 403, 409, 413, 500, 503])
async def test_a_refused_check_is_a_storage_error(status: int) -> None:
    async with storage_stub(lambda: web.Response(status=status, headers={"x-ms-error-code": "Refused"})) as stub:
        schedule_queue = storage_schedule_queue(storage_of(stub.connection), None)
        with pytest.raises(StorageError):
            await schedule_queue.schedule(ScheduledCheck(new_vm(), TIME), TIME)
        await schedule_queue.close()
