"""Connections to storage: which requests are repeated after a broken one, and to which host a token is sent."""

from __future__ import annotations

import re
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError, ServiceResponseError

from onboarding.application.ports import MachineRows, RowWrite, ScheduledCheck
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.queue_client import ReceivedMessage
from onboarding.azure.storage.storage_clients import (
    onboarding_table,
    poison_queue,
    schedule_queue_client,
    storage_schedule_queue,
)
from onboarding.azure.storage.storage_requests import Answer, Service, StorageRequests
from onboarding.azure.storage.storage_requests import refusal as refused
from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.settings import Storage
from simulator.tls import make_certificates
from tests.adapters.conftest import storage_of
from tests.adapters.storage.rows import OMS, TIME, create, listed, new_vm, row_of, trigger
from tests.adapters.storage.storage_stub import StorageStub, refusal, storage_stub

HOUR = 3600


class Identity:
    """Gives a new token at each call."""

    def __init__(self, lifetime: float = 24 * HOUR) -> None:
        self.lifetime = lifetime
        self.scopes: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        return AccessToken(f"token-{len(self.scopes)}", int(time.time() + self.lifetime))

    async def close(self) -> None: ...

    async def __aenter__(self) -> Identity:
        return self

    async def __aexit__(self, *_: object) -> None: ...


def nothing() -> web.Response:
    return web.json_response({"value": []})


def trusting(folder: Path) -> Connections:
    return Connections(ssl.create_default_context(cafile=str(folder / "ca.pem")))


def shown(stub: StorageStub) -> list[str]:
    return [request.headers["Authorization"] for request in stub.requests]


async def read(stub: StorageStub, identity: Identity, connections: Connections, times: int = 1) -> None:
    storage = Storage(None, table_endpoint=f"{stub.endpoint}", queue_endpoint=stub.endpoint)
    async with onboarding_table(storage, identity, connections) as table:
        for _ in range(times):
            await TableLedger(table).read(new_vm())


async def test_one_token_serves_many_requests(tmp_path: Path) -> None:
    identity = Identity()
    async with storage_stub(nothing, make_certificates(tmp_path).server_context()) as stub:
        await read(stub, identity, trusting(tmp_path), times=3)
    assert shown(stub) == ["Bearer token-1"] * 3
    assert identity.scopes == ["https://storage.azure.com/.default"]


async def test_a_token_that_is_about_to_expire_is_renewed(tmp_path: Path) -> None:
    async with storage_stub(nothing, make_certificates(tmp_path).server_context()) as stub:
        await read(stub, Identity(lifetime=60), trusting(tmp_path), times=2)
    assert shown(stub) == ["Bearer token-1", "Bearer token-2"]


async def test_a_refused_token_is_not_sent_again(tmp_path: Path) -> None:
    async with storage_stub(lambda: refusal(401, "InvalidToken"), make_certificates(tmp_path).server_context()) as stub:
        identity, connections = Identity(), trusting(tmp_path)
        storage = Storage(None, table_endpoint=stub.endpoint, queue_endpoint=stub.endpoint)
        async with onboarding_table(storage, identity, connections) as table:
            for _ in range(2):
                with pytest.raises(StorageError, match="401"):
                    await TableLedger(table).read(new_vm())
    assert shown(stub) == ["Bearer token-1", "Bearer token-2"]


async def test_a_token_is_not_sent_without_encryption() -> None:
    async with storage_stub(nothing) as stub:
        with pytest.raises(StorageError):
            await read(stub, Identity(), Connections())
    assert stub.requests == []


@pytest.mark.parametrize("broken", [1, 2])
async def test_a_broken_connection_is_opened_again(broken: int) -> None:
    async with storage_stub(nothing) as stub, onboarding_table(storage_of(stub.connection), None) as table:
        stub.broken = broken
        assert await TableLedger(table).read(new_vm()) == MachineRows()
    assert len(stub.requests) == broken + 1


async def test_connections_that_always_break_are_a_storage_error() -> None:
    async with storage_stub(nothing) as stub, onboarding_table(storage_of(stub.connection), None) as table:
        stub.broken = 100
        with pytest.raises(StorageError):
            await TableLedger(table).read(new_vm())
    assert len(stub.requests) == 3 * 2  # aiohttp sends each GET a second time


async def test_a_transaction_with_an_unknown_result_is_not_sent_again_before_the_row_was_read() -> None:
    async with storage_stub(nothing) as stub, onboarding_table(storage_of(stub.connection), None) as table:
        stub.broken = 100
        with pytest.raises(StorageError):
            await create(TableLedger(table), row_of(new_vm()), trigger())
    assert [request.method for request in stub.requests].count("POST") == 1


class LosesAnswers(StorageRequests):
    """Loses the answer to a transaction, before or after it was carried out."""

    def __init__(self, real: StorageRequests, *, carried_out: bool) -> None:
        self.__dict__.update(real.__dict__)
        self._real = real
        self._carried_out = carried_out
        self.losses = 1

    async def send(self, method: str, path: str, query: str = "", **options: Any) -> Answer:
        if path != "/$batch" or not self.losses:
            return await self._real.send(method, path, query, **options)
        self.losses -= 1
        if self._carried_out:
            await self._real.send(method, path, query, **options)
        raise ServiceResponseError("the answer was lost")


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_transaction_whose_answer_is_lost_is_written_once(table: TableClient, carried_out: bool) -> None:
    ledger, vm = TableLedger(table), new_vm()
    await create(ledger, row_of(new_vm()), trigger())  # the table is there
    table.requests = LosesAnswers(table.requests, carried_out=carried_out)
    entries = [RowWrite(row_of(vm, extension=name)) for name in (OMS, "another")]

    versions = await ledger.commit(MachineRow(resource_id=str(vm)), None, entries, trigger())

    known = await ledger.read(vm)
    assert known.machine is not None
    assert known.machine.version == versions.machine
    assert {name: stored.version for name, stored in known.targets.items()} == versions.targets
    assert len(await listed(ledger.history(vm))) == 2


class RefusesLongTexts(StorageRequests):
    """A table that refuses texts of more than 300 characters."""

    def __init__(self, real: StorageRequests) -> None:
        self.__dict__.update(real.__dict__)
        self._real = real
        self.refused = 0

    async def send(self, method: str, path: str, query: str = "", **options: Any) -> Answer:
        if path == "/$batch" and re.search(rb"x{300}", options["content"]):
            self.refused += 1
            raise refused(400, "PropertyValueTooLarge")
        return await self._real.send(method, path, query, **options)


async def test_a_row_that_the_table_refuses_is_written_reduced(
    table: TableClient, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, vm = TableLedger(table), new_vm()
    await create(ledger, row_of(new_vm()), trigger())  # the table is there
    table.requests = refusing = RefusesLongTexts(table.requests)
    row = row_of(vm, message="x" * 8000, image_sku="x" * 900, reason="the VM is not running")

    await create(ledger, row, trigger())

    written = (await ledger.read(vm)).targets[OMS].row
    assert refusing.refused == 1
    (line,) = [record for record in caplog.records if record.name.startswith("onboarding")]
    assert line.levelname == "ERROR"
    assert line.getMessage().startswith(f"{vm.name}: the table refused a row (400 ")
    assert (written.outcome, written.reason, written.next_attempt_at) == (row.outcome, row.reason, row.next_attempt_at)
    assert len(written.message) == len(written.image_sku) == 256
    assert len(await listed(ledger.history(vm))) == 1


async def test_a_transaction_whose_answer_is_lost_while_another_worker_writes_is_a_lost_race(
    table: TableClient,
) -> None:
    ledger, vm = TableLedger(table), new_vm()
    await create(ledger, row_of(vm), trigger("theirs"))
    table.requests = LosesAnswers(table.requests, carried_out=False)
    with pytest.raises(LostRace):
        await create(ledger, row_of(vm, extension="another"), trigger("ours"))


@pytest.mark.parametrize(
    ("method", "headers", "repeatable", "times"),
    [
        ("GET", {}, None, 6),  # aiohttp sends each GET a second time
        ("PUT", {}, None, 3),
        ("PUT", {"If-Match": "*"}, None, 3),
        ("PUT", {"If-Match": "W/1"}, None, 1),
        ("PATCH", {}, None, 3),
        ("PATCH", {"If-Match": "W/1"}, None, 1),
        ("POST", {}, None, 1),
        ("POST", {}, True, 3),
        ("DELETE", {"If-Match": "W/1"}, None, 1),
    ],
)
async def test_a_request_that_may_have_been_carried_out_is_sent_again_only_if_it_is_repeatable(
    method: str, headers: dict[str, str], repeatable: bool | None, times: int
) -> None:
    connections = Connections()
    async with storage_stub(nothing) as stub:
        requests = StorageRequests(Service.TABLE, f"{stub.endpoint}/account", None, connections)
        stub.broken = 100
        with pytest.raises(ServiceResponseError):
            await requests.send(method, "/x", headers=headers, repeatable=repeatable)
        await requests.close()
    assert len(stub.requests) == times


async def test_a_deletion_is_sent_again_since_nothing_is_left_to_delete() -> None:
    async with storage_stub(lambda: refusal(404, "ResourceNotFound")) as stub:
        stub.broken = 1
        async with onboarding_table(storage_of(stub.connection), None) as table:
            await table.delete({"PartitionKey": "p", "RowKey": "r"}, "W/1")
        stub.broken = 1
        queue = schedule_queue_client(storage_of(stub.connection), None)
        await queue.delete(ReceivedMessage("id", "receipt", "text"))
        await queue.close()
    assert [request.method for request in stub.requests] == ["DELETE"] * 4


@pytest.mark.parametrize("text", ["{", "[]", "<html/>", "<QueueMessagesList><QueueMessage>"])
async def test_a_malformed_answer_of_the_poison_queue_is_a_storage_error(text: str) -> None:
    async with storage_stub(lambda: web.Response(status=200, text=text)) as stub:
        poison = poison_queue(storage_of(stub.connection), None)
        with pytest.raises(StorageError, match="the poison queue could not be emptied: ValueError"):
            [moved async for moved in poison.requeue()]
        await poison.close()


class Counted(Connections):
    """Counts the attempts to open a connection."""

    wanted = 0

    async def opened(self) -> aiohttp.ClientSession:
        self.wanted += 1
        return await super().opened()


async def test_a_request_that_was_certainly_not_sent_is_always_sent_again() -> None:
    connections = Counted()
    requests = StorageRequests(Service.TABLE, "http://127.0.0.1:9/account", None, connections)
    with pytest.raises(ServiceRequestError):
        await requests.send("POST", "/$batch", headers={})
    await requests.close()
    assert connections.wanted == 3


async def test_a_check_is_sent_again_since_a_duplicate_does_no_harm() -> None:
    async with storage_stub(lambda: web.Response(status=201)) as stub:
        stub.broken = 1
        schedule_queue = storage_schedule_queue(storage_of(stub.connection), None)
        await schedule_queue.schedule(ScheduledCheck(new_vm(), TIME), TIME)
        await schedule_queue.close()
    assert [request.method for request in stub.requests] == ["POST", "POST"]


async def test_no_redirect_to_another_host_is_followed_with_a_token(tmp_path: Path) -> None:
    tls = make_certificates(tmp_path).server_context()
    async with storage_stub(nothing, tls) as elsewhere:
        headers = {"Location": f"{elsewhere.endpoint}/x"}
        async with storage_stub(lambda: web.Response(status=302, headers=headers), tls) as stub:
            with pytest.raises(StorageError):
                await read(stub, Identity(), trusting(tmp_path))
            storage = Storage(None, table_endpoint=stub.endpoint, queue_endpoint=stub.endpoint)
            async with onboarding_table(storage, Identity(), trusting(tmp_path)) as table:
                with pytest.raises(StorageError):
                    await TableBreakerStore(table).read("s")
    assert elsewhere.requests == []
