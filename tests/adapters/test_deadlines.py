"""The deadline of an event: every request gets its answer, or the usual error, before the deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import azure.mgmt.compute.aio  # noqa: F401  # loading it takes longer than the events of these tests have
import pytest
from aiohttp import web

from onboarding.application.ports import ScheduledCheck
from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.arm.resource_graph import GraphAdapter
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.storage_clients import onboarding_table, storage_schedule_queue
from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.concurrency import deadline
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.failures.classification import classify
from simulator.tls import make_certificates
from tests.adapters.arm.arm_calls import EVERY_CALL, Call
from tests.adapters.conftest import SCOPE, storage_of
from tests.adapters.storage.rows import TIME, create, new_vm, row_of, trigger
from tests.adapters.storage.test_storage_connections import Identity, trusting
from tests.reference import parse_errors

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
SHORT = 0.3  # seconds that an event has
SOON = 3.0  # far less than the shortest timeout of a step


class Silent:
    """A server that never answers; with `dribble`, it sends a byte of an answer now and then."""

    def __init__(self, *, dribble: bool = False) -> None:
        self.requests: list[str] = []
        self.over = asyncio.Event()
        self.dribble = dribble
        self.endpoint = ""

    @property
    def connection(self) -> str:
        account = "DefaultEndpointsProtocol=http;AccountName=account;AccountKey=c2VjcmV0IGtleQ=="
        return f"{account};TableEndpoint={self.endpoint}/account;QueueEndpoint={self.endpoint}/account;"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.method)
        answer = web.StreamResponse()
        if self.dribble:
            await answer.prepare(request)
        while not self.over.is_set() and self.dribble:
            await answer.write(b" ")
            await asyncio.wait([asyncio.ensure_future(self.over.wait())], timeout=0.02)
        await self.over.wait()
        return answer


@asynccontextmanager
async def silent(folder: Path | None = None, *, dribble: bool = False) -> AsyncIterator[Silent]:
    server = Silent(dribble=dribble)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    tls = make_certificates(folder).server_context() if folder else None
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    server.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.over.set()
        await runner.cleanup()


async def within_deadline(work: Awaitable[object], seconds: float = SHORT) -> None:
    began = time.monotonic()
    with deadline(seconds):
        await work
    assert time.monotonic() - began < SOON


async def fails(work: Callable[[], Awaitable[object]], error: type[Exception], seconds: float = SHORT) -> Exception:
    async def failing() -> None:
        with pytest.raises(error) as raised:
            await work()
        errors.append(raised.value)

    errors: list[Exception] = []
    await within_deadline(failing(), seconds)
    return errors[0]


@EVERY_CALL
@pytest.mark.parametrize("dribble", [False, True], ids=["silent", "dribbling"])
async def test_arm_s_answer_is_waited_for_as_long_as_the_event_lasts(tmp_path: Path, call: Call, dribble: bool) -> None:
    async with silent(tmp_path, dribble=dribble) as server:
        requests = ArmRequests(Identity(), server.endpoint, SCOPE, lambda: NOW, connections=trusting(tmp_path))
        error = await fails(lambda: call(requests, new_vm()), ArmError)
        await requests.close()
    assert isinstance(error, ArmError)
    classified = classify(error.evidence, parse_errors({}), NOW)
    assert (classified.kind, classified.cause, classified.scope_wide) == ("transient", "platform-error", False)
    assert len(server.requests) == 1


async def test_resource_graph_s_answer_is_waited_for_as_long_as_the_event_lasts(tmp_path: Path) -> None:
    async with silent(tmp_path) as server:
        requests = ArmRequests(Identity(), server.endpoint, SCOPE, lambda: NOW, connections=trusting(tmp_path))
        await fails(lambda: GraphAdapter(requests).members(["group"]), ArmError)
        await requests.close()


@EVERY_CALL
async def test_no_request_to_arm_when_only_the_time_reserved_for_storage_is_left(tmp_path: Path, call: Call) -> None:
    async with silent(tmp_path) as server:
        requests = ArmRequests(Identity(), server.endpoint, SCOPE, lambda: NOW, connections=trusting(tmp_path))
        await fails(lambda: call(requests, new_vm()), ArmError, seconds=0)
        await requests.close()
    assert server.requests == []


@pytest.mark.parametrize("dribble", [False, True], ids=["silent", "dribbling"])
async def test_storage_s_answer_is_waited_for_as_long_as_the_event_lasts(dribble: bool) -> None:
    async with silent(dribble=dribble) as server, onboarding_table(storage_of(server.connection), None) as table:
        await fails(lambda: TableLedger(table).read(new_vm()), StorageError)
        await fails(lambda: create(TableLedger(table), row_of(new_vm()), trigger()), StorageError)
        await fails(lambda: TableBreakerStore(table).read("s"), StorageError)
        schedule_queue = storage_schedule_queue(storage_of(server.connection), None)
        await fails(lambda: schedule_queue.schedule(ScheduledCheck(new_vm(), TIME), TIME), StorageError)
        await schedule_queue.close()


async def test_no_request_to_storage_when_no_time_is_left() -> None:
    async with silent() as server, onboarding_table(storage_of(server.connection), None) as table:
        await fails(lambda: TableLedger(table).read(new_vm()), StorageError, seconds=0)
        await fails(lambda: TableBreakerStore(table).read("s"), StorageError, seconds=0)
    assert server.requests == []


async def test_storage_has_time_left_after_arm_used_up_its_share(tmp_path: Path) -> None:
    """ARM's share of the time ends before the event's deadline, so the row can still be written."""

    async def event() -> None:
        with pytest.raises(ArmError):
            await ArmAdapter(requests).read_machine(new_vm())
        with pytest.raises(StorageError):
            await TableLedger(table).read(new_vm())
        assert storage.requests

    async with silent(tmp_path) as server, silent() as storage:
        requests = ArmRequests(Identity(), server.endpoint, SCOPE, lambda: NOW, connections=trusting(tmp_path))
        async with onboarding_table(storage_of(storage.connection), None, Connections()) as table:
            await within_deadline(event())
        await requests.close()
