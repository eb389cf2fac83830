"""Sends the requests to the storage account, without the SDK's clients.

The SDK's clients and azure-core's pipeline take several times as long as the request itself (docs/performance.md).
Failures are raised as azure-core's errors, the same as the SDKs raise: `ServiceRequestError` or
`ClientAuthenticationError` if the request was certainly not sent, `ServiceResponseError` if it may have been carried
out, `HttpResponseError` if the service refused it.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import math
import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from enum import Enum, auto
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from msgspec import Struct
from yarl import URL

from onboarding.azure.http_connections import DEADLINE_PASSED, USER_AGENT, Connections, proxies_for
from onboarding.azure.identity import STORAGE_SCOPE, Tokens
from onboarding.concurrency import limit, remaining

type Credential = AzureNamedKeyCredential | AzureSasCredential | AsyncTokenCredential | None

_VERSION = "2019-02-02"
_CODE = re.compile(r'"code"\s*:\s*"(\w+)"|<Code>(\w+)</Code>')
_COMMON = {"User-Agent": USER_AGENT, "x-ms-version": _VERSION, "Accept-Encoding": "identity"}
# Seconds before the second and third try. Storage answers in milliseconds: three quick tries survive a short failure
# and fit into Event Grid's 30 s. No retry after an answer: if storage refuses, Event Grid delivers the event again.
_DELAYS_S = (0.0, 0.4)
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 8  # the table service works on a query for up to five seconds before it returns a part
_TIMEOUT = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
# There was no connection to the service, so the request was not sent.
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL)


class Service(Enum):
    TABLE = auto()
    QUEUE = auto()
    BLOB = auto()


class Answer(Struct, frozen=True):
    """The service's answer to one request."""

    status: int
    reason: str
    """The reason phrase of the status line; it may be empty."""
    headers: Mapping[str, str]
    """The headers; names are compared without case."""
    content: bytes


class StorageRequests:
    """Sends requests to one service of the account."""

    def __init__(self, kind: Service, url: str, credential: Credential, connections: Connections) -> None:
        """`url` may have a SAS in its query, which then is the credential."""
        parts = urlsplit(url)
        self._path = parts.path.rstrip("/")
        self.url = f"{parts.scheme}://{parts.netloc}{self._path}"
        self.kind = kind
        self._sas = credential.signature.lstrip("?") if isinstance(credential, AzureSasCredential) else parts.query
        self._key = credential if isinstance(credential, AzureNamedKeyCredential) else None
        self._tokens: Tokens | None = None
        if credential is not None and not isinstance(credential, AzureNamedKeyCredential | AzureSasCredential):
            self._tokens = Tokens.of(credential)
        self._connections = connections
        self._proxy = (proxies_for(url) or {}).get(parts.scheme)

    async def send(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Send one request, and return its answer; `path` and `query` are quoted already. Raises azure-core's errors.

        `repeatable` says that the request may be carried out twice, so that it is sent again if the result of the first
        is unknown. None: reads and unconditional writes are repeatable. A conditional write is not: the second would
        find the etag of the first, and take it for another worker's write."""
        answer = await self.send_unchecked(method, path, query, headers=headers, content=content, repeatable=repeatable)
        return raise_for_status(answer)

    async def send_unchecked(
        self,
        method: str,
        path: str,
        query: str = "",
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """As `send`, but a refusal is returned instead of raised."""
        full_query = "&".join(filter(None, (query, self._sas)))
        token = await self._token()
        sent = {**_COMMON, **headers, **self._authorization(method, path + _signed(query), headers, token)}
        target = URL(f"{self.url}{path}?{full_query}" if full_query else f"{self.url}{path}", encoded=True)
        if self.kind is Service.BLOB and self._key is not None:
            sent |= _blob_key(self._key, method, self._path + path, query, headers, len(content or b""))
        if repeatable is None:
            repeatable = method == "GET" or (method in ("PUT", "PATCH") and headers.get("If-Match", "*") == "*")
        answer = await self._retry(method, target, sent, content, repeatable=repeatable)
        if answer.status == 401 and token is not None and self._tokens is not None:
            self._tokens.forget(token)
        return answer

    async def close(self) -> None:
        await self._connections.close()

    async def _retry(
        self, method: str, url: URL, headers: dict[str, str], content: bytes | None, *, repeatable: bool
    ) -> Answer:
        unknown: ServiceResponseError | None = None
        for delay in (*_DELAYS_S, math.inf):
            failure: AzureError
            try:
                return await self._once(method, url, headers, content)
            except ServiceRequestError as error:
                failure = unknown or error  # an earlier try may have been carried out
            except ServiceResponseError as error:
                failure = unknown = error
            if (unknown and not repeatable) or delay >= remaining():
                raise failure
            await asyncio.sleep(delay)
        raise AssertionError("the last try raises or returns")

    async def _once(self, method: str, url: URL, headers: dict[str, str], content: bytes | None) -> Answer:
        left = limit(None)
        if left is not None and not left:
            raise ServiceRequestTimeoutError(DEADLINE_PASSED)
        session = await self._connections.opened()
        try:
            request: Any = session.request(
                method,
                url,
                headers=headers,
                data=content,
                timeout=_timeout(left),
                proxy=self._proxy,
                allow_redirects=False,
            )
            async with request as response:
                return Answer(response.status, response.reason or "", response.headers, await response.read())
        except aiohttp.ConnectionTimeoutError as error:
            raise ServiceRequestTimeoutError(type(error).__name__) from None
        except _NOT_SENT as error:
            raise ServiceRequestError(type(error).__name__) from None
        except TimeoutError as error:
            raise ServiceResponseTimeoutError(type(error).__name__) from None
        except aiohttp.ClientError as error:
            raise ServiceResponseError(type(error).__name__) from None

    async def _token(self) -> AccessToken | None:
        if self._tokens is None:
            return None
        if not self.url.startswith("https:"):
            raise ServiceRequestError("a token is sent over https only")
        return await self._tokens.get_token(STORAGE_SCOPE)

    def _authorization(
        self, method: str, path: str, headers: Mapping[str, str], token: AccessToken | None
    ) -> dict[str, str]:
        if token is not None:
            return {"Authorization": f"Bearer {token.token}"}
        if self._key is None:
            return {}
        content_type = headers.get("Content-Type", "")
        return _shared_key(self._key, self.kind, method, self._path + path, content_type)


def _timeout(left: float | None) -> aiohttp.ClientTimeout:
    """The timeouts of one try, within the time that the event has left (None: no deadline)."""
    if left is None:
        return _TIMEOUT
    connect, read = min(CONNECT_TIMEOUT_S, left), min(READ_TIMEOUT_S, left)
    return aiohttp.ClientTimeout(total=left, sock_connect=connect, sock_read=read)


def raise_for_status(answer: Answer) -> Answer:
    """Return the answer; raise it as an error if it is a refusal."""
    if answer.status >= 300:
        raise refusal(answer.status, answer.content.decode(errors="replace"), answer.reason)
    return answer


def refusal(status: int, text: str, reason: str | None = None) -> HttpResponseError:
    """A refusal of the service as azure-core's error."""
    code = _code(text)
    error = (ResourceNotFoundError if status == 404 else HttpResponseError)(code or str(status))
    error.status_code, error.reason = status, reason or code
    vars(error)["error_code"] = code  # where the SDK's own clients put it
    return error


def error_code(answer: Answer) -> str | None:
    """The code of a refusal; None: the answer names none."""
    return _code(answer.content.decode(errors="replace")) if answer.status >= 300 else None


def _code(text: str) -> str | None:
    found = _CODE.search(text)
    return found[1] or found[2] if found else None


def _signed(query: str) -> str:
    """The part of a query that is signed with the account's key: what is asked about the resource itself."""
    return f"?{query}" if query.startswith("comp=") else ""


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def _shared_key(
    credential: AzureNamedKeyCredential, kind: Service, method: str, path: str, content_type: str
) -> dict[str, str]:
    """The headers that sign a request with the account's key, in the scheme that Azure calls Shared Key Lite."""
    name, key = credential.named_key
    date = _date(int(time.time()))
    string_to_sign = f"{date}\n"
    if kind is Service.QUEUE:
        string_to_sign = f"{method}\n\n{content_type}\n\nx-ms-date:{date}\nx-ms-version:{_VERSION}\n"
    text = f"{string_to_sign}/{name}{path}"
    signature = hmac.digest(base64.b64decode(key), text.encode(), "sha256")
    return {"x-ms-date": date, "Authorization": f"SharedKeyLite {name}:{base64.b64encode(signature).decode()}"}


def _blob_key(
    credential: AzureNamedKeyCredential, method: str, path: str, query: str, headers: Mapping[str, str], size: int
) -> dict[str, str]:
    """The headers that sign a request with the account's key, in the scheme that Azure calls Shared Key. The emulator's
    blob service knows no other."""
    name, key = credential.named_key
    date = _date(int(time.time()))
    own = {**{each: value for each, value in headers.items() if each.startswith("x-ms-")}, "x-ms-date": date}
    own["x-ms-version"] = _VERSION
    lines = [method, "", "", str(size or ""), "", headers.get("Content-Type", ""), *[""] * 6]
    lines += [f"{each}:{own[each]}" for each in sorted(own)]
    lines += [f"/{name}{path}", *(each.replace("=", ":", 1) for each in sorted(filter(None, query.split("&"))))]
    signature = hmac.digest(base64.b64decode(key), "\n".join(lines).encode(), "sha256")
    return {"x-ms-date": date, "Authorization": f"SharedKey {name}:{base64.b64encode(signature).decode()}"}
