"""The connections of one process, kept open between events and shared by every client.

The SDK's own sessions look for a `.netrc` on disk at every request, in a thread; this one reads the environment's
proxies once per client and nothing else. Whatever goes over them ends within the time that its event has.
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
DEADLINE_PASSED = "the time of this event is up"
USER_AGENT = UserAgentPolicy("vm-onboarding").user_agent


class Connections(AioHttpTransport):  # type: ignore[misc]  # azure-core loads it lazily, which hides its type
    """A transport that several clients may close, and use again: it opens when it is needed."""

    session: aiohttp.ClientSession | None

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """`tls` says whom to trust; without it, the authorities of the system do."""
        super().__init__()
        self._tls = tls

    async def open(self) -> None:
        await self.opened()

    async def send(self, request: Any, **options: Any) -> Any:
        """As the SDK's, within the time that is left. Raises what azure-core does."""
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
        """The session; it stays ours to close."""
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
    """Where the other side hangs up, aiohttp sends a PUT or DELETE again by itself, and ARM, which has taken the first,
    refuses the second: an install of our own would look like somebody else's. It leaves other errors than these two
    alone."""
    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method == "GET" or isinstance(error, aiohttp.ClientConnectorError):
            raise
        raise aiohttp.ClientConnectionError(f"the other side hung up: {type(error).__name__}") from None


@asynccontextmanager
async def within_deadline() -> AsyncIterator[None]:
    """For asking anybody but the storage account, whose share of the event's time is left alone. Raises TimeoutError
    where the answer took too long, and azure-core's error where there was no time to ask."""
    left = limit(None, keep_reserve=True)
    if left is not None and not left:
        raise ServiceRequestTimeoutError(DEADLINE_PASSED)
    async with asyncio.timeout(left):
        yield


def proxies_for(endpoint: str) -> dict[str, str] | None:
    """The proxies that the environment names for requests to that endpoint, if any."""
    proxies = getproxies()
    return proxies if proxies and not proxy_bypass(urlsplit(endpoint).hostname or "") else None
