"""Reverse proxies in front of storage and ARM. They kill the functions host at one exact request about one VM, before
or after the request has its effect. The product runs unchanged."""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import aiohttp
from aiohttp import web
from yarl import URL

# Headers that storage requests are signed with, and that aiohttp would add.
_SIGNED = ("Content-Type", "Accept", "Accept-Encoding", "User-Agent")
_HOP = {"transfer-encoding", "connection", "keep-alive", "content-length"}


@dataclass(frozen=True)
class Step:
    """One request about a VM: the service, the method, a word in its path or body, and the number of such requests
    before it. `forwarded`: the host dies after the request had its effect, else before."""

    service: str
    method: str
    word: str = ""
    nth: int = 1
    forwarded: bool = False

    def matches(self, service: str, method: str, text: str) -> bool:
        return (service, method) == (self.service, self.method) and self.word in text

    def __str__(self) -> str:
        side = "after" if self.forwarded else "before"
        return f"{side} {self.service} {self.method} {self.word} {self.nth}".replace("  ", " ")


@dataclass
class KillPoint:
    """A request about one VM at which the host is killed, once."""

    vm: str
    step: Step
    seen: int = 0
    fired: bool = False

    def matches(self, service: str, method: str, text: str) -> bool:
        if self.fired or self.vm not in text or not self.step.matches(service, method, text):
            return False
        self.seen += 1
        self.fired = self.seen == self.step.nth
        return self.fired


@dataclass
class KillProxy:
    """Use with `async with`. `forward` starts a proxy in front of a service and returns its address."""

    pid: Callable[[], int]
    kill_points: list[KillPoint] = field(default_factory=list)
    trusted: ssl.SSLContext | None = None
    _runners: list[web.AppRunner] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self.trusted or True)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for runner in self._runners:
            await runner.cleanup()
        await self._session.close()

    async def forward(self, service: str, upstream: str, tls: ssl.SSLContext | None = None) -> str:
        async def carry(request: web.Request) -> web.StreamResponse:
            return await self._carry(request, service, upstream)

        application = web.Application(client_max_size=8 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", carry)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"

    async def _carry(self, request: web.Request, service: str, upstream: str) -> web.StreamResponse:
        body = await request.read()
        text = unquote(request.raw_path) + body.decode(errors="replace")
        point = next((s for s in self.kill_points if s.matches(service, request.method, text)), None)
        if point is not None and not point.step.forwarded:
            return self._kill(request)
        url = URL(upstream + request.raw_path, encoded=True)
        async with self._session.request(
            request.method,
            url,
            data=body or None,
            headers=request.headers,
            skip_auto_headers=_SIGNED,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            if point is not None:
                return self._kill(request)
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            return web.Response(status=answer.status, headers=headers, body=content)

    def _kill(self, request: web.Request) -> web.Response:
        """Kill the host now; it does not get the response."""
        os.kill(self.pid(), signal.SIGKILL)
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=500)
