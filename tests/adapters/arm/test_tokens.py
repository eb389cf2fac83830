"""Tokens: concurrent callers share one request for a token, within their deadlines, and a token is sent to its own host
only."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.arm.resource_graph import GraphAdapter
from onboarding.azure.http_connections import Connections
from onboarding.azure.identity import NoToken, Tokens, credential, object_id
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.concurrency import deadline
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.failures.classification import classify
from onboarding.domain.resource_id import VmId
from onboarding.settings import Storage, read_settings
from simulator.arm import FaultRule
from simulator.tls import make_certificates
from tests.adapters.arm.arm_calls import add, list_all, refusal
from tests.adapters.conftest import SCOPE, SUBSCRIPTIONS, Azure
from tests.adapters.storage.rows import new_vm
from tests.adapters.storage.storage_stub import storage_stub
from tests.adapters.storage.test_storage_connections import Identity, nothing, trusting
from tests.reference import parse_errors

HOUR = 3600.0
NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


class Slow:
    """A credential that answers when the test lets it: with a token of `lifetime`, or with `failure`."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.now = now
        self.lifetime = HOUR
        self.failure: Exception | None = None
        self.requests: list[tuple[str, ...]] = []
        self.answers = asyncio.Event()

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.requests.append(scopes)
        number = len(self.requests)
        await self.answers.wait()
        if self.failure is not None:
            raise self.failure
        return AccessToken(f"token-{number}", int(self.now() + self.lifetime))

    async def close(self) -> None: ...

    async def __aenter__(self) -> Slow:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Hands:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def all_waiting() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_concurrent_callers_share_one_request_for_a_token() -> None:
    slow = Slow()
    tokens = Tokens(slow, clock=lambda: 0.0)
    waiting = asyncio.gather(*(tokens.get_token("a") for _ in range(64)), tokens.get_token("b"))
    await all_waiting()
    slow.answers.set()

    *same, other = [token.token for token in await waiting]
    assert slow.requests == [("a",), ("b",)]
    assert set(same) == {"token-1"}
    assert other == "token-2"


async def test_a_failure_is_raised_for_all_waiting_callers_and_the_next_caller_tries_again() -> None:
    slow = Slow()
    tokens = Tokens(slow, clock=lambda: 0.0)
    slow.failure = ClientAuthenticationError("busy")
    waiting = asyncio.gather(*(tokens.get_token("a") for _ in range(8)), return_exceptions=True)
    await all_waiting()
    slow.answers.set()

    failures = await waiting
    assert [(type(failure), str(failure)) for failure in failures] == [(NoToken, "busy")] * 8
    assert len(slow.requests) == 1

    slow.failure = None
    assert (await tokens.get_token("a")).token == "token-2"


async def test_during_a_renewal_other_callers_use_the_old_token() -> None:
    clock = Hands()
    slow = Slow(clock)
    slow.answers.set()
    tokens = Tokens(slow, clock=clock)
    await tokens.get_token("a")
    slow.answers.clear()
    clock.now += HOUR - 60

    renewing = asyncio.create_task(tokens.get_token("a"))
    await all_waiting()
    others = [await tokens.get_token("a") for _ in range(64)]
    assert {token.token for token in others} == {"token-1"}
    assert len(slow.requests) == 2

    slow.answers.set()
    assert (await renewing).token == "token-2"
    assert (await tokens.get_token("a")).token == "token-2"


async def test_after_a_failed_renewal_the_old_token_is_used_while_it_is_valid() -> None:
    clock = Hands()
    slow = Slow(clock)
    slow.answers.set()
    tokens = Tokens(slow, clock=clock)
    await tokens.get_token("a")
    clock.now += HOUR - 60
    slow.failure = ClientAuthenticationError("busy")

    assert (await tokens.get_token("a")).token == "token-1"
    clock.now += 61
    with pytest.raises(NoToken):
        await tokens.get_token("a")


async def test_a_caller_that_stops_waiting_does_not_cancel_the_request() -> None:
    slow = Slow()
    tokens = Tokens(slow, clock=lambda: 0.0)
    first, second = (asyncio.create_task(tokens.get_token("a")) for _ in range(2))
    await all_waiting()
    first.cancel()
    await all_waiting()
    slow.answers.set()

    assert (await second).token == "token-1"
    assert len(slow.requests) == 1


async def test_a_credential_that_hangs_times_out() -> None:
    tokens = Tokens(Slow(), timeout_s=0.05)
    with pytest.raises(NoToken, match=r"within 0\.05 s"):
        await tokens.get_token("a")


async def test_a_caller_whose_deadline_passes_gives_up_and_the_others_wait_on() -> None:
    slow = Slow()
    tokens = Tokens(slow, clock=lambda: 0.0)
    with deadline(0.05):
        hurried = asyncio.create_task(tokens.get_token("a"))
    await all_waiting()
    patient = asyncio.create_task(tokens.get_token("a"))
    with pytest.raises(NoToken):
        await hurried
    slow.answers.set()
    assert (await patient).token == "token-1"
    assert len(slow.requests) == 1


async def test_a_burst_of_events_requests_one_token_for_arm(azure: Azure) -> None:
    vm = add(azure)
    gate = asyncio.Event()
    issue, requests = azure.credential.get_token, 0

    class Gated(Slow):
        async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            nonlocal requests
            requests += 1
            await gate.wait()
            return await issue(*scopes, **options)

    client = ArmRequests(Gated(), azure.endpoints.arm, SCOPE, azure.clock.now, connections=Connections(azure.tls))
    adapter = ArmAdapter(client)
    other = VmId(SUBSCRIPTIONS[1], vm.resource_group, vm.name)
    reading = asyncio.gather(
        *(adapter.read_machine(vm) for _ in range(32)),
        *(adapter.read_machine(other) for _ in range(32)),
        return_exceptions=True,
    )
    await all_waiting()
    gate.set()
    await reading
    await client.close()
    assert requests == 1


async def test_a_burst_of_events_requests_one_token_for_storage(tmp_path: Path) -> None:
    class Distant(Identity):
        async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
            token = await super().get_token(*scopes, **options)
            await all_waiting()
            return token

    async with storage_stub(nothing, make_certificates(tmp_path).server_context()) as stub:
        identity = Distant()
        storage = Storage(None, table_endpoint=stub.endpoint, queue_endpoint=stub.endpoint)
        async with onboarding_table(storage, identity, trusting(tmp_path)) as table:
            await asyncio.gather(*(TableLedger(table).read(new_vm()) for _ in range(64)))
    assert len(stub.requests) == 64
    assert len(identity.scopes) == 1


async def test_the_storage_error_says_that_there_was_no_token(tmp_path: Path) -> None:
    class Broken(Identity):
        async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            raise PermissionError("the file of the credential")

    storage = Storage(None, table_endpoint="https://127.0.0.1:9", queue_endpoint="https://127.0.0.1:9")
    async with onboarding_table(storage, Broken(), Connections()) as table:
        with pytest.raises(StorageError, match="NoToken"):
            await TableLedger(table).read(new_vm())


@asynccontextmanager
async def token_endpoint(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """The endpoint of a managed identity, as App Service has it."""
    application = web.Application()
    application.router.add_get("/token", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/token"
    finally:
        await runner.cleanup()


def status(number: int, text: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        body = {"statusCode": number, "message": text}
        return web.json_response(body, status=number, headers={"Retry-After": "60"})

    return answer


async def hang_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


MANAGED = {
    "busy": (status(429, "busy"), "TokenUnavailable"),
    "gone": (status(410, "gone"), "TokenUnavailable"),
    "not ready": (status(400, "not ready"), "TokenUnavailable"),
    "upset": (status(500, "upset"), "TokenUnavailable"),
    "hangs up": (hang_up, "TokenUnavailable"),
    "no identity": (status(400, "Unable to load the proper Managed Identity."), "IdentityUnusable"),
}


@pytest.mark.parametrize(("answer", "code"), MANAGED.values(), ids=MANAGED)
async def test_the_real_credential_sends_one_request_and_its_error_has_the_endpoints_text(
    answer: Callable[[web.Request], Awaitable[web.Response]], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with token_endpoint(answer) as url:
        monkeypatch.setenv("IDENTITY_ENDPOINT", url)
        monkeypatch.setenv("IDENTITY_HEADER", "x")
        identity = credential(read_settings({}).cloud, "", {"IDENTITY_ENDPOINT": url})
        client = ArmRequests(identity, "https://127.0.0.1:9", SCOPE, lambda: NOW)
        async with asyncio.timeout(5):
            with pytest.raises(ArmError) as raised:
                await ArmAdapter(client).read_machine(new_vm())
        await client.close()
        await identity.close()
    assert raised.value.evidence.code == code


AWAY = {
    "another host": "https://arm.invalid/subscriptions/s?api-version=1",
    "another port": "https://127.0.0.1:9/x",
    "in the clear": "http://{host}/x",
    "the host as a user": "https://{host}@arm.invalid/x",
    "a user": "https://user@{host}/x",
    "the host as a beginning": "https://{host}.arm.invalid/x",
    "no host": "/subscriptions",
    "no link": "https://[",
}


@pytest.mark.parametrize("link", AWAY.values(), ids=AWAY)
async def test_a_link_to_another_host_than_arm_is_not_followed(azure: Azure, link: str) -> None:
    vm = add(azure)
    host = azure.endpoints.arm.removeprefix("https://")
    body = {"value": [], "nextLink": link.format(host=host)}
    azure.arm.faults.add(FaultRule(status=200, body=body))

    evidence = await refusal(list_all, azure.requests, vm)

    classified = classify(evidence, parse_errors({}), azure.clock.now())
    assert (evidence.code, classified.cause) == ("InvalidLink", "bad-request")
    assert len(azure.arm.requests) == 1


async def test_a_redirect_of_resource_graph_to_another_host_is_not_followed(tmp_path: Path) -> None:
    """Its endpoint is ARM's own, so only a redirect could lead to another host."""
    tls = make_certificates(tmp_path).server_context()
    async with storage_stub(nothing, tls) as elsewhere:
        headers = {"Location": f"{elsewhere.endpoint}/x"}
        async with storage_stub(lambda: web.Response(status=307, headers=headers), tls) as stub:
            client = ArmRequests(Identity(), stub.endpoint, SCOPE, lambda: NOW, connections=trusting(tmp_path))
            with pytest.raises(ArmError):
                await anext(aiter(GraphAdapter(client).machines(["s"])))
            await client.close()
    assert elsewhere.requests == []


BAD_IMAGES = ["", "/", "x", "images/golden", ".arm.invalid/subscriptions/s/x", "@arm.invalid/subscriptions/s/x/y"]


@pytest.mark.parametrize("image", [*BAD_IMAGES, "/subscriptions/", "/subscriptions/s/../../x", "/subscriptions/s//x"])
async def test_a_malformed_image_id_is_an_arm_error_without_a_request(azure: Azure, image: str) -> None:
    with pytest.raises(ArmError) as raised:
        await azure.adapter.read_image(image)
    assert classify(raised.value.evidence, parse_errors({}), azure.clock.now()).cause == "bad-request"
    assert len(azure.arm.requests) == 0


async def test_unknown_subscriptions_leave_nothing_behind(tmp_path: Path) -> None:
    def unknown() -> web.Response:
        return web.json_response({"error": {"code": "SubscriptionNotFound"}}, status=404)

    async with storage_stub(unknown, make_certificates(tmp_path).server_context()) as stub:
        client = ArmRequests(Identity(), stub.endpoint, SCOPE, lambda: NOW, connections=trusting(tmp_path))
        adapter = ArmAdapter(client)

        async def ask(numbers: range) -> None:
            for number in numbers:
                vm = VmId(f"00000000-0000-4000-8000-{number:012}", "rg", "vm")
                with pytest.raises(ArmError):
                    await adapter.read_machine(vm)
                stub.requests.clear()

        await ask(range(10))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        await ask(range(10, 70))
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        await client.close()
    assert grown < 60 * 10_000


class OneToken(Identity):
    """A credential with a token of a test."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        if not self._token:
            raise ClientAuthenticationError("no token")
        return AccessToken(self._token, 4_000_000_000)


def token_with(claims: object) -> str:
    content = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{content}.signature"


@pytest.mark.parametrize(
    ("token", "found"),
    [
        (token_with({"oid": "0a1b2c3d-0000-4000-8000-00000000000f", "upn": "jane@example.com"}), True),
        (token_with({"upn": "jane@example.com"}), False),
        (token_with({"oid": 7}), False),
        (token_with([]), False),
        (token_with("text"), False),
        ("opaque", False),
        ("a.b.c", False),
        ("a.ÿÿ.c", False),
        ("", False),
    ],
)
async def test_the_object_id_of_whoever_is_signed_in_is_read_from_the_token(token: str, found: bool) -> None:
    assert await object_id(OneToken(token)) == ("0a1b2c3d-0000-4000-8000-00000000000f" if found else "")
