"""The product's own requests, sent by bare aiohttp without logic: the product's additional time is its overhead.

Unlike the baseline, it reads the VM's row first and writes the last row with its line of history, like the product.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import aiohttp

from bench.implementations import wire
from bench.implementations.baseline import Requests, open_session, token_of
from bench.load import RunEvent
from bench.workload import EXTENSION_NAME, vm_name, vm_path


async def prepare(run: str, events: int) -> tuple[RunEvent, Callable[[], Awaitable[None]]]:
    session = open_session()
    requests = BareRequests(session, await token_of(session))

    async def run_event(number: int) -> None:
        await requests.onboard(vm_name(run, number))

    return run_event, session.close


class BareRequests(Requests):
    """For one VM: read row and VM, write claim and message concurrently, send the PUT, write row and history."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        super().__init__(session, token)

    async def onboard(self, name: str) -> None:
        path = vm_path(name)
        current, history = wire.keys(name)
        await self._read_row(current)
        json.loads(await self._ask("GET", f"{self._arm}{path}?$expand=instanceView&{wire.COMPUTE}", self._token))
        await asyncio.gather(self._message(name), self._write(name, current))
        url = f"{self._arm}{path}/extensions/{EXTENSION_NAME}?{wire.COMPUTE}"
        headers = {**self._token, "Content-Type": "application/json"}
        json.loads(await self._ask("PUT", url, headers, json.dumps(wire.EXTENSION).encode()))
        await self._transact(name, current, history)

    async def _read_row(self, key: str) -> None:
        path = wire.entity_path(key)
        await self._ask("GET", f"{self._table}{path}", wire.signed_for_tables(path), missing=True)

    async def _transact(self, name: str, *keys: str) -> None:
        path = "/devstoreaccount1/$batch"
        headers = {**wire.signed_for_tables(path), "Content-Type": f"multipart/mixed; boundary={wire.BATCH}"}
        await self._ask("POST", f"{self._table}{path}", headers, wire.transaction(self._table, name, *keys))
