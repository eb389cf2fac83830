"""An endpoint for Event Grid whose answers the test decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


class Hook:
    """Answers with the given statuses in turn, then 200; `requests` keeps the requests without the handshakes."""

    def __init__(self, statuses: Iterable[int] = (), slow: float = 0.0) -> None:
        self._statuses = iter(statuses)
        self._slow = slow
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.handshakes: list[tuple[dict[str, str], Any]] = []
        self.at_once = 0
        self.most_at_once = 0
        app = web.Application()
        app.router.add_post("/", self._receive)
        app.router.add_options("/", self._permit)
        self._server = TestServer(app)

    async def __aenter__(self) -> Hook:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("/"))

    @property
    def events(self) -> list[Any]:
        """Every received event, one by one, in either schema."""
        return [e for _, body in self.requests for e in (body if isinstance(body, list) else [body])]

    async def answered(self) -> int:
        """The number of requests so far."""
        return len(self.requests)

    async def _receive(self, request: web.Request) -> web.Response:
        content, headers = await request.json(), {name.lower(): value for name, value in request.headers.items()}
        if headers["aeg-event-type"] == "SubscriptionValidation":
            self.handshakes.append((headers, content))
            data = content[0]["data"] if isinstance(content, list) else json.loads(content["data"])
            return web.json_response({"validationResponse": data["validationCode"]})
        self.requests.append((headers, content))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._slow)
        self.at_once -= 1
        return web.Response(status=next(self._statuses, 200))

    async def _permit(self, request: web.Request) -> web.Response:
        self.handshakes.append((dict(request.headers), None))
        return web.Response(headers={"WebHook-Allowed-Origin": request.headers["WebHook-Request-Origin"]})
