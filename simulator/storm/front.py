"""The front end of a function app with several instances: one address, whose requests go to the hosts in turn.

Like Azure's front end, it answers 503 if no host runs, and 502 if the host dies before it has answered. It repeats
nothing: whoever sent the request does that.
"""

from __future__ import annotations

import io

import aiohttp
from aiohttp import web
from yarl import URL

_LARGEST = 100 * 1024 * 1024  # the functions host's own limit
_OF_ONE_CONNECTION = ("Host", "Content-Length", "Transfer-Encoding", "Connection")


class Front:
    """Start, then stop; `hosts` are the addresses that take requests now."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.url = ""
        self._turns = 0
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=_LARGEST)
        application.router.add_route("*", "/{path:.*}", self._forward)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None and self._session is not None:
            await self._runner.cleanup()
            await self._session.close()

    async def _forward(self, request: web.Request) -> web.Response:
        if not self.hosts or self._session is None:
            return web.Response(status=503, text="no host runs")
        self._turns += 1
        host = self.hosts[self._turns % len(self.hosts)]
        headers = request.headers.copy()
        for name in _OF_ONE_CONNECTION:
            headers.popall(name, None)
        content = io.BytesIO(await request.read())  # aiohttp warns about bytes as large as the largest event
        url = URL(host + request.raw_path, encoded=True)
        try:
            async with self._session.request(request.method, url, data=content, headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), headers={"Content-Type": answer.content_type}
                )
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=f"the host did not answer: {type(error).__name__}")
