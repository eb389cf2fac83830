"""The HTTP connections of one process, kept open between events and shared by all clients.

The SDK's own sessions look for a `.netrc` file at every request, in a thread. This one reads the environment's proxies
once per client and nothing else. Every request ends before the deadline of its event.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from azure.core.exceptions import ServiceRequestTimeoutError, ServiceResponseTimeoutError
from azure.core.pipeline.policies import UserAgentPolicy
from azure.core.pipeline.transport import AioHttpTransport

from onboarding.concurrency import limit

_MAX_CONNECTIONS = 300  # a Consumption instance has 600
_KEEP_ALIVE_S = 60.0
DEADLINE_PASSED = "the deadline of this event has passed"
USER_AGENT = UserAgentPolicy("vm-onboarding").user_agent


class Connections(AioHttpTransport):  # type: ignore[misc]  # azure-core loads it lazily, which hides its type
    """A transport that several clients share. A client may close it; it opens again at the next request."""

    session: aiohttp.ClientSession | None

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """`tls` holds the certificate authorities to trust; None: those of the system."""
        super().__init__()
        self._tls = tls

    async def open(self) -> None:
        await self.opened()

    async def send(self, request: Any, **options: Any) -> Any:
        """As the SDK's, within the time that the event has left. Raises azure-core's errors."""
        left = limit(None)
        if left is None:
            return await super().send(request, **options)
        if not left:
            raise ServiceRequestTimeoutError(DEADLINE_PASSED)
        try:
            async with asyncio.timeout(left):
                return await super().send(request, **options)
        except TimeoutError:
            raise ServiceResponseTimeoutError(DEADLINE_PASSED) from None

    async def opened(self) -> aiohttp.ClientSession:
        """The open session. The caller must not close it."""
        if self.session is None:
            connector = aiohttp.TCPConnector(
                limit=_MAX_CONNECTIONS, ssl=self._tls or True, keepalive_timeout=_KEEP_ALIVE_S
            )
            jar = aiohttp.DummyCookieJar()
            self.session = aiohttp.ClientSession(
                connector=connector, cookie_jar=jar, auto_decompress=False, middlewares=(_send_once,)
            )
        return self.session


async def _send_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a PUT or DELETE again after the server closed the connection.

    ARM may have accepted the first request and would refuse the second with a conflict, as if somebody else were
    installing. aiohttp repeats a request only after these two errors, so a third kind is raised instead."""
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method == "GET" or isinstance(error, aiohttp.ClientConnectorError):
            raise
        raise aiohttp.ClientConnectionError(f"the server closed the connection: {type(error).__name__}") from None


@asynccontextmanager
async def within_deadline() -> AsyncIterator[None]:
    """Limits a request to anything but the storage account: the time that is reserved for storage is left out.

    Raises TimeoutError if the answer took too long, and azure-core's error if there was no time for a request."""
    left = limit(None, keep_reserve=True)
    if left is not None and not left:
        raise ServiceRequestTimeoutError(DEADLINE_PASSED)
    async with asyncio.timeout(left):
        yield


def proxies_for(endpoint: str) -> dict[str, str] | None:
    """The proxies that the environment names for requests to that endpoint; None if there are none."""
    proxies = getproxies()
    return proxies if proxies and not proxy_bypass(urlsplit(endpoint).hostname or "") else None
