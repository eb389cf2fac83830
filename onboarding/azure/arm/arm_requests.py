"""The one client under everything that is asked of Azure Resource Manager (ARM): reads, writes, Resource Graph and run
commands.

What each request needs is here: api-version, timeouts, the deadline of its event, rate limiter, user agent, request id,
token, and the translation of every failure to an ArmError with its evidence. The SDK's retries are left out: they sleep
a whole Retry-After inside the invocation. If ARM closes the connection of a GET, aiohttp sends it again; a request that
changes something is never sent twice. One pipeline serves all subscriptions, and its token is sent to ARM's host only.
The evidence has ARM's own words, so nothing of it is logged here; the text of an ArmError is masked.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline import AsyncPipeline, PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy, ProxyPolicy, SansIOHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

from onboarding.application.ports import Clock
from onboarding.azure.arm.throttling import SubscriptionLimits
from onboarding.azure.http_connections import USER_AGENT, Connections, proxies_for, within_deadline
from onboarding.azure.identity import ArmTokens, BearerPolicy
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.steps.association_step import API_VERSION as ASSOCIATION_API_VERSION
from onboarding.domain.request_id import request_id
from onboarding.logging import bound_keys, logger

_log = logger(__name__)

VIRTUAL_MACHINES: Final = "Microsoft.Compute/virtualMachines"
IMAGES: Final = "Microsoft.Compute/images"
GALLERY_IMAGES: Final = "Microsoft.Compute/galleries/images"
SUBSCRIPTIONS: Final = "Microsoft.Resources/subscriptions"
RESOURCE_GRAPH: Final = "Microsoft.ResourceGraph/resources"
ASSOCIATIONS: Final = "Microsoft.Insights/dataCollectionRuleAssociations"

API_VERSIONS: Final[Mapping[str, str]] = {
    VIRTUAL_MACHINES: "2026-04-01",  # with extensions and run commands; the one of the SDK's own operations
    IMAGES: "2026-04-01",
    GALLERY_IMAGES: "2026-03-03",
    SUBSCRIPTIONS: "2022-12-01",  # with resource groups
    RESOURCE_GRAPH: "2021-03-01",
    ASSOCIATIONS: ASSOCIATION_API_VERSION,
}

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 15.0  # Event Grid waits 30 s for the whole invocation
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_REQUEST_ID = "x-ms-client-request-id"
_UNREADABLE = (ValueError, RecursionError, zlib.error)  # raised by decoding a body that is malformed


class ArmRequests:
    """Sends requests to ARM, for the adapters of this folder. Log Analytics takes such tokens, too: its adapter
    has one of these with that service's endpoint and scope."""

    def __init__(
        self,
        credential: AsyncTokenCredential,
        endpoint: str,
        scope: str,
        clock: Clock,
        *,
        connections: Connections | None = None,
        read_timeout_s: float = _READ_TIMEOUT_S,
    ) -> None:
        """`connections` may be shared with other clients; `read_timeout_s` is how many seconds an answer may take."""
        self.clock = clock
        self._endpoint = endpoint
        self._scope = scope
        self._tokens = ArmTokens(credential)
        self._connections = connections or Connections()
        self._read_timeout_s = read_timeout_s
        self._limits = SubscriptionLimits(clock)
        policies: list[AsyncHTTPPolicy[Any, Any] | SansIOHTTPPolicy[Any, Any]] = [
            *([ProxyPolicy(proxies)] if (proxies := proxies_for(endpoint)) else []),
            _RequestPolicy(self._limits, clock),
            BearerPolicy(self._tokens, endpoint, scope),
        ]
        self._pipeline: AsyncPipeline[Any, Any] = AsyncPipeline(self._connections, policies)
        self._client: Any = AsyncPipelineClient(endpoint, pipeline=self._pipeline)

    def url(self, resource_type: str, path: str, query: str = "") -> str:
        """The URL of a path that is percent-encoded, with the api-version of that type; `query` ends with `&`."""
        return f"{self._endpoint}{path}?{query}api-version={API_VERSIONS[resource_type]}"

    @asynccontextmanager
    async def sending(
        self, subscription: str, who: str = "", *, write: bool, to_install: bool = False, compute: bool = True
    ) -> AsyncIterator[None]:
        """Reserve one request with the subscription's rate limiter, and raise its failures, and those of reading its
        answer, as ArmError. `compute` says that it goes to Microsoft.Compute, which has limits of its own."""
        buckets = self._limits.admit(subscription, who, write=write, to_install=to_install, compute=compute)
        try:
            async with as_arm_errors():
                yield
        except ArmError as error:
            self._limits.refused(buckets, error.evidence)
            raise
        finally:
            buckets.ended()

    async def send(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        subscription: str | None = None,
        accepted: Collection[int] = (200,),
        read_timeout_s: float | None = None,
        etag: str = "",
    ) -> AsyncHttpResponse:
        """Send one request, inside `sending` or `as_arm_errors`. Raises azure-core's errors; also for a status that is
        not in `accepted`. The answer's counters are those of `subscription`; None: they are not counted. With `etag`,
        ARM refuses the request if the resource has another one by then."""
        content: dict[str, Any] = {} if body is None else {"headers": _JSON, "content": json.dumps(body).encode()}
        if etag:
            content["headers"] = {**_JSON, "If-Match": etag}
        options = self.options(subscription, read_timeout_s)
        async with within_deadline():
            response: AsyncHttpResponse = await self._client.send_request(
                HttpRequest(method, url, **content), **options
            )
        if response.status_code not in accepted:
            raise HttpResponseError(response=response)
        return response

    def options(self, subscription: str | None, read_timeout_s: float | None = None) -> dict[str, Any]:
        """What each request tells the pipeline; an operation of the SDK takes it as keyword arguments."""
        timeouts = {"connection_timeout": _CONNECT_TIMEOUT_S, "read_timeout": read_timeout_s or self._read_timeout_s}
        return {"subscription": subscription, **timeouts}

    def for_sdk(self) -> dict[str, Any]:
        """The keyword arguments with which a management client of the SDK sends its requests through this pipeline."""
        where = {"credential": self._tokens, "base_url": self._endpoint, "credential_scopes": [self._scope]}
        return {**where, "pipeline": self._pipeline, "policies": []}  # an empty list: it makes none of its own

    async def close(self) -> None:
        await self._connections.close()


class _RequestPolicy(AsyncHTTPPolicy[Any, Any]):
    """Sets the user agent and a request id, logs the request, and passes the answer's counters to the rate limiter. One
    policy does all of it: each of the SDK's own costs as much as this."""

    def __init__(self, limits: SubscriptionLimits, clock: Clock) -> None:
        super().__init__()
        self._limits = limits
        self._clock = clock

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        sent, options = request.http_request, request.context.options
        subscription = options.pop("subscription")
        sent.headers["User-Agent"] = USER_AGENT
        url = sent.url.partition("?")[0]  # not parsed: it may be a link of a list, and those can be malformed
        # The SDK's pollers give each poll the id of the request that began the operation.
        identity = options.pop("request_id", None) or client_request_id(sent.method, url)
        sent.headers[_REQUEST_ID] = identity
        began = self._clock()
        result = "no answer"
        try:
            response = await self.next.send(request)
            result = str(response.http_response.status_code)
        finally:
            took = round((self._clock() - began).total_seconds() * 1000)
            log = _log.bind(step=bound_keys().step or "read", ms=took, client_request_id=identity)
            log.debug("%s %s: %s", sent.method, url, result)
        if subscription is not None:
            self._limits.count(subscription, write=sent.method != "GET", headers=response.http_response.headers)
        return response


def client_request_id(method: str, url: str) -> str:
    """The id by which a person finds a request in Azure's logs: the one that the pass has given to its request, else
    one derived from the pass; a new one outside of any pass."""
    keys = bound_keys()
    if keys.client_request_id:
        return keys.client_request_id
    return request_id(keys.event_id, keys.machine, f"{method} {url}") if keys.event_id else str(uuid4())


def decoded(response: AsyncHttpResponse) -> object:
    """The JSON of an answer. Typed models are not used: they leave out properties that policy rules ask for."""
    body: object = json.loads(response.content)  # detects the encoding
    return body


@asynccontextmanager
async def as_arm_errors() -> AsyncIterator[None]:
    """Raises the SDK's errors as ArmError."""
    try:
        yield
    except HttpResponseError as error:
        raise ArmError(_evidence(error)) from None
    except (AzureError, TimeoutError) as error:
        raise ArmError(Evidence(code=type(error).__name__, message=str(error))) from None
    except _UNREADABLE:
        raise ArmError(Evidence(code="DecodeError", message="ARM's answer was not that of a resource")) from None


def _evidence(error: HttpResponseError) -> Evidence:
    response: Any = error.response  # its declared type leaves out what every transport's response has
    if response is None:
        return Evidence(code=type(error).__name__, message=str(error.message))
    try:
        body: object = response.json()
    except (AzureError, *_UNREADABLE):
        body = _text(response)
    return Evidence.from_body(response.status_code, body, dict(response.headers))


def _text(response: Any) -> str:
    try:
        text: str = response.text()
    except (AzureError, *_UNREADABLE):
        return ""
    return text
