"""One Azurite and one host with the full app for all tests of this folder, since starting them takes long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulator.azurite import Azurite
from simulator.host_process import FunctionsHost

APPS = Path(__file__).parent / "apps"
WORK_QUEUE = "work"


class Client:
    """An HTTP client of a host, with access to what the app has seen."""

    def __init__(self, host: FunctionsHost, session: aiohttp.ClientSession) -> None:
        self.host = host
        self._session = session

    async def send(
        self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        async with self._session.request(method, self.host.url + path, data=body, headers=headers) as response:
            return response.status, await response.text()

    async def notify(self, function: str, content: Any, kind: str = "Notification") -> tuple[int, str]:
        path = f"/runtime/webhooks/eventgrid?functionName={function}"
        return await self.send("POST", path, json.dumps(content), {"aeg-event-type": kind})

    async def seen(self, function: str) -> list[dict[str, Any]]:
        _, body = await self.send("GET", "/api/seen")
        return [entry for entry in json.loads(body) if entry["function"] == function]


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    with Azurite() as running:
        yield running


@pytest.fixture(scope="session")
def host(azurite: Azurite) -> Iterator[FunctionsHost]:
    settings = {"AzureWebJobsStorage": azurite.connection_string, "WORK_QUEUE": WORK_QUEUE, "TICK": "* * * * * *"}
    with FunctionsHost(APPS / "full", settings) as running:
        yield running


@pytest.fixture
async def client(host: FunctionsHost) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(host, session)


async def eventually[T](check: Callable[[], Awaitable[T]], within: float = 10.0) -> T:
    """The first truthy answer; after too many tries it fails with the last one."""
    deadline = time.monotonic() + within
    found = await check()
    while not found:
        assert time.monotonic() < deadline, f"not in {within:.0f} s: {found!r}"
        await asyncio.sleep(0.02)
        found = await check()
    return found
