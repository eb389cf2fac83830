"""Only reading: the pages of Resource Graph and of the table by bare aiohttp, parsed as JSON and dropped."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from bench.implementations import wire
from bench.implementations.baseline import open_session, token_of
from bench.programs.fleet import PAGE

_TABLE = "/devstoreaccount1/onboarding()"
_CURRENT = "RowKey ge 'vm|' and RowKey lt 'vm}'"
_CONTINUED = ("NextPartitionKey", "NextRowKey")


async def read_graph() -> int:
    """Read all pages of the fleet; returns the number of VMs."""
    async with open_session() as session:
        headers = {"Authorization": f"Bearer {await token_of(session)}"}
        url = f"{os.environ['ARM_ENDPOINT']}/providers/Microsoft.ResourceGraph/resources?api-version=2024-04-01"
        options: dict[str, Any] = {"$top": PAGE}
        read = 0
        while True:
            async with session.post(url, json={"query": "", "options": options}, headers=headers) as response:
                page = json.loads(await response.read())
            read += len(page["data"])
            if "$skipToken" not in page:
                return read
            options["$skipToken"] = page["$skipToken"]


async def read_table(select: Sequence[str] = ()) -> int:
    """Read all current rows; returns their number."""
    async with open_session() as session:
        return sum([len(page) async for page in _pages(session, select)])


async def _pages(session: aiohttp.ClientSession, select: Sequence[str]) -> AsyncIterator[list[Any]]:
    query = f"$filter={quote(_CURRENT, safe='')}" + (f"&$select={','.join(select)}" if select else "")
    endpoint = wire.endpoint("Table").rsplit("/", 1)[0]
    following = ""
    while True:
        url: Any = URL(f"{endpoint}{_TABLE}?{query}{following}", encoded=True)
        async with session.get(url, headers=wire.signed_for_tables(_TABLE)) as response:
            response.raise_for_status()
            yield json.loads(await response.read())["value"]
            tokens = {name: response.headers.get(f"x-ms-continuation-{name}") for name in _CONTINUED}
        if not any(tokens.values()):
            return
        following = "".join(f"&{name}={quote(value, safe='')}" for name, value in tokens.items() if value)
