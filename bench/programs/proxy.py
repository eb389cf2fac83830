"""`python -m bench.programs.proxy URL…`: forward requests to Azurite and record them.

Prints `ready` and a port for each address. `GET /record` at any of them returns the requests as [begin, end, method,
path], and begins a new record. It is slower than a direct connection: use it for counting, not for timing. The process
ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

_OF_THE_CONNECTION = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


class Proxy:
    """All ports share one record; times are of the monotonic clock, which all processes of a machine share."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._record: list[tuple[float, float, str, str]] = []

    async def open(self, target: str) -> int:
        async def answer(request: web.BaseRequest) -> web.Response:
            return await self._answer(target, request)

        loop = asyncio.get_running_loop()
        server = await loop.create_server(web.Server(answer, access_log=None), "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _answer(self, target: str, request: web.BaseRequest) -> web.Response:
        if request.path == "/record":
            requests, self._record = self._record, []
            return web.json_response(requests)
        began = time.monotonic()
        # Unchanged: the signature covers the path as it is quoted.
        url: Any = URL(f"{target}{request.raw_path}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_THE_CONNECTION}
        body = await request.read() or None
        async with self._session.request(request.method, url, headers=headers, data=body) as response:
            content = await response.read()
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _OF_THE_CONNECTION}
            self._record.append((began, time.monotonic(), request.method, request.path))
            return web.Response(body=content, status=response.status, headers=kept)


async def _serve(targets: Sequence[str]) -> None:
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=("Content-Type",)) as session:
        proxy = Proxy(session)
        ports = [await proxy.open(target) for target in targets]
        print("ready", *ports, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    asyncio.run(_serve(sys.argv[1:]))


if __name__ == "__main__":
    main()
