"""Requests to the storage account over bare connections, for the few that every event makes.

The SDK's clients and azure-core's pipeline spend several times what such a request takes (docs/performance.md). What
goes wrong leaves as azure-core's errors all the same, so that whoever asks need not know which way a request went.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from yarl import URL

from onboarding.azure.connections import USER_AGENT, Connections, proxies_for

type Credential = AzureNamedKeyCredential | AzureSasCredential | AsyncTokenCredential | None

_SCOPE = "https://storage.azure.com/.default"  # in every cloud
_VERSION = "2019-02-02"
_CODE = re.compile(r'"code"\s*:\s*"(\w+)"|<Code>(\w+)</Code>')
_COMMON = {"User-Agent": USER_AGENT, "x-ms-version": _VERSION, "Accept-Encoding": "identity"}
_RENEWED_S = 300.0  # before a token runs out
# Storage answers in milliseconds; three quick tries outlast a hiccup and stay inside Event Grid's 30 s. No try follows
# an answer: what storage refuses is left to Event Grid, which delivers again.
_PAUSES_S = (0.0, 0.4)
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 8  # the table service works on a query for up to five seconds before it gives a part of the answer
_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
_REPEATABLE = ("GET", "PUT")  # also where nobody knows whether the first was carried out


class Service(Enum):
    TABLE = auto()
    QUEUE = auto()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said; `headers` without case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class StorageRequests:
    """One service of the account."""

    def __init__(self, kind: Service, url: str, credential: Credential, connections: Connections) -> None:
        """`url` has the SAS in its query, if that is the credential."""
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        self.kind = kind
        self._sas = credential.signature.lstrip("?") if isinstance(credential, AzureSasCredential) else parts.query
        self._credential = credential
        self._connections = connections
        self._proxy = (proxies_for(url) or {}).get(parts.scheme)
        self._token: AccessToken | None = None

    async def send(
        self, method: str, path: str, query: str = "", *, headers: Mapping[str, str], content: bytes | None = None
    ) -> Answer:
        """The answer to one request; `path` and `query` are quoted already. Raises what azure-core does."""
        return good(await self.ask(method, path, query, headers=headers, content=content))

    async def ask(
        self, method: str, path: str, query: str = "", *, headers: Mapping[str, str], content: bytes | None = None
    ) -> Answer:
        """As `send`, for whom a refusal is an answer, too."""
        asked = "&".join(filter(None, (query, self._sas)))
        sent = {**_COMMON, **headers, **await self._authorization(method, path, headers)}
        target = URL(f"{self.url}{path}?{asked}" if asked else f"{self.url}{path}", encoded=True)
        answer = await self._insist(method, target, sent, content)
        if answer.status == 401:
            self._token = None
        return answer

    async def close(self) -> None:
        await self._connections.close()

    async def _insist(self, method: str, url: URL, headers: dict[str, str], content: bytes | None) -> Answer:
        for pause in _PAUSES_S:
            try:
                return await self._once(method, url, headers, content)
            except ServiceRequestError:
                await asyncio.sleep(pause)
            except ServiceResponseTimeoutError:
                if method not in _REPEATABLE:
                    raise
                await asyncio.sleep(pause)
        return await self._once(method, url, headers, content)

    async def _once(self, method: str, url: URL, headers: dict[str, str], content: bytes | None) -> Answer:
        session = await self._connections.opened()
        try:
            asking: Any = session.request(
                method, url, headers=headers, data=content, timeout=_TIMEOUT, proxy=self._proxy, allow_redirects=False
            )
            async with asking as response:
                return Answer(response.status, response.reason or "", response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError as error:
            raise ServiceRequestError(type(error).__name__) from None
        except TimeoutError as error:
            raise ServiceResponseTimeoutError(type(error).__name__) from None
        except aiohttp.ClientError as error:
            raise ServiceRequestError(type(error).__name__) from None

    async def _authorization(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, str]:
        credential = self._credential
        if credential is None or isinstance(credential, AzureSasCredential):
            return {}
        if isinstance(credential, AzureNamedKeyCredential):
            content_type = headers.get("Content-Type", "")
            return _shared_key(credential, self.kind, method, self._path + path, content_type)
        if not self.url.startswith("https:"):
            raise ServiceRequestError("a token is not sent over a connection that anybody can read")
        if self._token is None or self._token.expires_on - time.time() < _RENEWED_S:
            self._token = await credential.get_token(_SCOPE)
        return {"Authorization": f"Bearer {self._token.token}"}


def good(answer: Answer) -> Answer:
    """The answer, unless it is a refusal: that is raised."""
    if answer.status >= 300:
        raise refusal(answer.status, answer.content.decode(errors="replace"), answer.reason)
    return answer


def refusal(status: int, text: str, reason: str | None = None) -> HttpResponseError:
    """What the service refused, as azure-core's error."""
    found = _CODE.search(text)
    code = found[1] or found[2] if found else None
    error = (ResourceNotFoundError if status == 404 else HttpResponseError)(code or str(status))
    error.status_code, error.reason = status, reason or code
    vars(error)["error_code"] = code  # where the SDK's own clients put it
    return error


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _shared_key(
    credential: AzureNamedKeyCredential, kind: Service, method: str, path: str, content_type: str
) -> dict[str, str]:
    """Signed with the account's key, in the short form that Azure calls Shared Key Lite."""
    name, key = credential.named_key
    date = _date(int(time.time()))
    told = f"{date}\n"
    if kind is Service.QUEUE:
        told = f"{method}\n\n{content_type}\n\nx-ms-date:{date}\nx-ms-version:{_VERSION}\n"
    text = f"{told}/{name}{path}"
    signature = hmac.digest(base64.b64decode(key), text.encode(), "sha256")
    return {"x-ms-date": date, "Authorization": f"SharedKeyLite {name}:{base64.b64encode(signature).decode()}"}
