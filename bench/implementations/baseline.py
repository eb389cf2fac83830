"""The baseline: bare aiohttp, the same requests in the same order, no logic. Python cannot do it for less."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from yarl import URL

from bench.implementations import wire
from bench.load import RunEvent
from bench.workload import EXTENSION_NAME, vm_name, vm_path

_AGENT = {"User-Agent": "baseline"}


async def prepare(run: str, events: int) -> tuple[RunEvent, Callable[[], Awaitable[None]]]:
    session = open_session()
    requests = Requests(session, await token_of(session))

    async def run_event(number: int) -> None:
        await requests.onboard(vm_name(run, number))

    return run_event, session.close


def open_session() -> aiohttp.ClientSession:
    tls = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=300, ssl=tls), headers=_AGENT)


class Requests:
    """For one VM: read it, write claim and message concurrently, send the PUT of the extension, write the row."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self._session = session
        self._token = {"Authorization": f"Bearer {token}"}
        self._arm = os.environ["ARM_ENDPOINT"]
        self._table = wire.endpoint("Table").rsplit("/", 1)[0]
        self._queue = wire.endpoint("Queue").rsplit("/", 1)[0]

    async def onboard(self, name: str) -> None:
        path = vm_path(name)
        current, history = wire.keys(name)
        json.loads(await self._ask("GET", f"{self._arm}{path}?$expand=instanceView&{wire.COMPUTE}", self._token))
        await asyncio.gather(self._message(name), self._write(name, current))
        url = f"{self._arm}{path}/extensions/{EXTENSION_NAME}?{wire.COMPUTE}"
        headers = {**self._token, "Content-Type": "application/json"}
        json.loads(await self._ask("PUT", url, headers, json.dumps(wire.EXTENSION).encode()))
        await self._write(name, history)

    async def _write(self, name: str, key: str) -> None:
        path = wire.entity_path(key)
        body = json.dumps(wire.row(name, key)).encode()
        headers = wire.signed_for_tables(path)
        await self._ask("PUT", f"{self._table}{path}", headers, body)

    async def _message(self, name: str) -> None:
        path = "/devstoreaccount1/deferrals/messages"
        headers = wire.signed_for_queues("POST", path)
        await self._ask("POST", f"{self._queue}{path}?visibilitytimeout=1800", headers, wire.message(name))

    async def _ask(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None = None, *, missing: bool = False
    ) -> bytes:
        target: Any = URL(url, encoded=True)
        async with self._session.request(method, target, headers=headers, data=body) as response:
            content = await response.read()
            if response.status >= 300 and not (missing and response.status == 404):
                raise RuntimeError(f"{method} {url}: {response.status} {content[:300]!r}")
            return content


async def token_of(session: aiohttp.ClientSession) -> str:
    async with session.get(os.environ["IDENTITY_ENDPOINT"]) as response:
        return str((await response.json())["access_token"])
