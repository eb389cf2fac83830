"""A custom topic over TLS, which accepts the events of the Azure SDK's publisher and keeps them for reading.

It accepts both schemas, with an access key (`aeg-sas-key`) or a bearer token, and refuses what Azure refuses: missing
or wrong credentials, a body that is not an array of events, an event without a required member, more than 1 MB. It
delivers nothing: the product's own events end here.
"""

from __future__ import annotations

import hmac
import json
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import web

_PATH = "/api/events"
_MAX_BYTES = 1_048_576
_REQUIRED = {
    "application/cloudevents-batch+json": ("id", "source", "type", "specversion"),
    "application/json": ("id", "subject", "eventType", "eventTime", "dataVersion"),
}


class CustomTopic:
    """`accepts_token` checks bearer tokens; without it and without a key, nobody may publish."""

    def __init__(self, access_key: str | None = None, accepts_token: Callable[[str], bool] | None = None) -> None:
        self._access_key = access_key
        self._accepts_token = accepts_token
        self._runner: web.AppRunner | None = None
        self.endpoint = ""
        self.events: list[dict[str, Any]] = []

    async def start(self, tls: ssl.SSLContext | None, port: int = 0) -> Self:
        """Listen on loopback. Bearer tokens need TLS: the SDK sends none over plain http."""
        app = web.Application(client_max_size=_MAX_BYTES + 1024)
        app.router.add_post(_PATH, self._receive)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls).start()
        bound = self._runner.addresses[0][1]
        self.endpoint = f"{'https' if tls else 'http'}://localhost:{bound}{_PATH}"
        return self

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _receive(self, request: web.Request) -> web.Response:
        if not self._authorized(request):
            return _error(401, "Unauthorized", "Request must contain one of: aeg-sas-key, Authorization bearer token.")
        if "api-version" not in request.query:
            return _error(400, "BadRequest", "The api-version query parameter is missing.")
        if (request.content_length or 0) > _MAX_BYTES:
            return _error(413, "RequestEntityTooLarge", f"The request is larger than {_MAX_BYTES} bytes.")
        events = _read(await request.read(), request.content_type)
        if isinstance(events, str):
            return _error(400, "BadRequest", events)
        self.events.extend(events)
        return web.Response(status=200)

    def _authorized(self, request: web.Request) -> bool:
        key = request.headers.get("aeg-sas-key")
        if key is not None:
            return self._access_key is not None and hmac.compare_digest(key.encode(), self._access_key.encode())
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._accepts_token is not None and self._accepts_token(token)


def _read(body: bytes, content_type: str) -> list[dict[str, Any]] | str:
    """The events of a request, or the error in it."""
    required = _REQUIRED.get(content_type)
    if required is None:
        return f"The content type {content_type} is not one of {', '.join(_REQUIRED)}."
    try:
        events = json.loads(body)
    except ValueError as error:
        return f"The request is not JSON: {error}."
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return "The request must be a JSON array of events."
    missing = next(((i, name) for i, event in enumerate(events) for name in required if name not in event), None)
    return (
        f"This resource is configured to receive events with '{missing[1]}'; event {missing[0]} has none."
        if missing
        else events
    )


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)
