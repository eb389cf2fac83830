"""Requests to the storage account without the SDK's clients around them, for the few that every event makes.

Those clients spend three to ten times what the request takes (docs/performance.md). Same pipeline, same credentials,
same tries; what the service refuses leaves as azure-core's HttpResponseError, with the service's own `error_code`.
"""

from __future__ import annotations

import base64
import hmac
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import Enum, auto
from typing import Any
from urllib.parse import urlsplit

from azure.core import AsyncPipelineClient
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncBearerTokenCredentialPolicy,
    AsyncHTTPPolicy,
    AsyncRetryPolicy,
    AzureSasCredentialPolicy,
    ProxyPolicy,
)
from azure.core.rest import HttpRequest

from onboarding.azure.connections import USER_AGENT, Connections, proxies_for

type Credential = AzureNamedKeyCredential | AzureSasCredential | AsyncTokenCredential | None

_SCOPE = "https://storage.azure.com/.default"  # in every cloud
_VERSION = "2019-02-02"
_CODE = re.compile(r'"code"\s*:\s*"(\w+)"|<Code>(\w+)</Code>')


class Service(Enum):
    TABLE = auto()
    QUEUE = auto()


class StorageRequests:
    """One service of the account."""

    def __init__(self, kind: Service, url: str, credential: Credential, connections: Connections, **tries: Any) -> None:
        """`url` has the SAS in its query, if that is the credential; `tries` are azure-core's retry options and the
        two timeouts."""
        parts = urlsplit(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
        self._sas = parts.query
        self._timeouts = {name: tries.pop(name) for name in ("connection_timeout", "read_timeout") if name in tries}
        proxies = proxies_for(url)
        policies = [
            *([ProxyPolicy(proxies)] if proxies else []),
            AsyncRetryPolicy(**tries),
            *_authentication(credential, kind),
        ]
        self._client: AsyncPipelineClient[HttpRequest, Any] = AsyncPipelineClient(
            self.url, policies=policies, transport=connections
        )

    async def send(
        self, method: str, path: str, query: str = "", *, headers: dict[str, str], content: bytes | None = None
    ) -> Any:
        """The answer to one request; `path` and `query` are quoted already. Raises what azure-core does."""
        asked = "&".join(filter(None, (query, self._sas)))
        url = f"{self.url}{path}?{asked}" if asked else f"{self.url}{path}"
        sent = {**headers, "User-Agent": USER_AGENT, "x-ms-version": _VERSION}
        response = await self._client.send_request(
            HttpRequest(method, url, headers=sent, content=content), **self._timeouts
        )
        if response.status_code >= 300:
            raise refusal(response.status_code, response.text(), response.reason)
        return response

    async def close(self) -> None:
        await self._client.close()


def refusal(status: int, text: str, reason: str | None = None) -> HttpResponseError:
    """What the service refused, as azure-core's error."""
    found = _CODE.search(text)
    code = found[1] or found[2] if found else None
    error = (ResourceNotFoundError if status == 404 else HttpResponseError)(code or str(status))
    error.status_code, error.reason = status, reason or code
    vars(error)["error_code"] = code  # where the SDK's own clients put it
    return error


def _authentication(credential: Credential, kind: Service) -> list[Any]:
    if isinstance(credential, AzureNamedKeyCredential):
        return [_SharedKey(credential, kind)]
    if isinstance(credential, AzureSasCredential):
        return [AzureSasCredentialPolicy(credential)]
    return [AsyncBearerTokenCredentialPolicy(credential, _SCOPE)] if credential is not None else []


class _SharedKey(AsyncHTTPPolicy[HttpRequest, Any]):
    """Signs with the account's key, in the short form that Azure calls Shared Key Lite."""

    def __init__(self, credential: AzureNamedKeyCredential, kind: Service) -> None:
        super().__init__()
        self._credential = credential
        self._kind = kind

    async def send(self, request: PipelineRequest[HttpRequest]) -> PipelineResponse[HttpRequest, Any]:
        self._sign(request.http_request)
        return await self.next.send(request)

    def _sign(self, sent: HttpRequest) -> None:
        name, key = self._credential.named_key
        date = sent.headers["x-ms-date"] = format_datetime(datetime.now(UTC), usegmt=True)
        told = f"{date}\n"
        if self._kind is Service.QUEUE:
            own = f"x-ms-date:{date}\nx-ms-version:{sent.headers['x-ms-version']}"
            told = f"{sent.method}\n\n{sent.headers['Content-Type']}\n\n{own}\n"
        text = f"{told}/{name}{urlsplit(sent.url).path}"
        signature = hmac.digest(base64.b64decode(key), text.encode(), "sha256")
        sent.headers["Authorization"] = f"SharedKeyLite {name}:{base64.b64encode(signature).decode()}"
