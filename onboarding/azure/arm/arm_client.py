"""The client of Azure Resource Manager (ARM): reads VMs and starts installs.

Each call sends at most one HTTP request: no polling (an install takes minutes), no retries of the SDK (they sleep a
whole Retry-After inside the invocation), and no request while the subscription's rate limiter is closed. If ARM closes
the connection of a GET, aiohttp sends it again; a PUT is never sent twice. Every failure is raised as an ArmError with
its evidence. One pipeline serves all subscriptions, and its token is sent to ARM's host only.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy, ProxyPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest

from onboarding.application.ports import ArmAnswer, Clock
from onboarding.azure.http_connections import USER_AGENT, Connections, proxies_for, within_deadline
from onboarding.azure.identity import ArmTokens, BearerPolicy
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.limits.rate_limiter import HELD_BACK, RateLimiter, one_resource_is_busy
from onboarding.domain.request_id import request_id
from onboarding.domain.resource_id import ExtensionId, VmId, parse_id
from onboarding.logging import bound_keys, logger

_log = logger(__name__)

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 15.0  # Event Grid waits 30 s for the whole invocation
_COMPUTE_VERSION = "2026-04-01"  # the one of the SDK's own operations
_GALLERIES_VERSION = "2026-03-03"
_SUBSCRIPTIONS_VERSION = "2022-12-01"
_ACCEPTED = (200, 201, 202)
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_TOO_MANY = (429, 503)
_IMAGE = re.compile(r"/subscriptions/(?P<subscription>[^/]+)(?:/(?!\.\.?(?:/|$))[^/]+)+", re.IGNORECASE)
_UNREADABLE = (ValueError, RecursionError, zlib.error)  # raised by decoding a body that is malformed


class ArmAdapter:
    """Implements `ports.Arm`."""

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
        self._endpoint = endpoint
        self._clock = clock
        self._connections = connections or Connections()
        self._timeouts: dict[str, Any] = {"connection_timeout": _CONNECT_TIMEOUT_S, "read_timeout": read_timeout_s}
        self._limiter = RateLimiter()
        policies = [
            *([ProxyPolicy(proxies)] if (proxies := proxies_for(endpoint)) else []),
            _RateLimitPolicy(self._limiter, clock),
            BearerPolicy(ArmTokens(credential), endpoint, scope),
        ]
        self._client: Any = AsyncPipelineClient(endpoint, policies=policies, transport=self._connections)

    async def read_machine(self, vm: VmId, *, to_install: bool = False) -> ArmAnswer:
        async with self._sending(vm.subscription, vm.key, write=False, to_install=to_install):
            url = f"{self._endpoint}{_quoted(vm)}?$expand=instanceView&api-version={_COMPUTE_VERSION}"
            body, at = await self._read(vm.subscription, url)
            return ArmAnswer(_machine(body), at)

    async def read_extension(self, vm: VmId, name: str) -> ArmAnswer:
        async with self._sending(vm.subscription, vm.key, write=False):
            path = f"{_quoted(vm)}/extensions/{quote(name, safe='')}"
            url = f"{self._endpoint}{path}?$expand=instanceView&api-version={_COMPUTE_VERSION}"
            body, at = await self._read(vm.subscription, url)
            return ArmAnswer(_extension(body), at)

    async def read_image(self, image_id: str) -> Mapping[str, Any]:
        version = _GALLERIES_VERSION if "/galleries/" in image_id.lower() else _COMPUTE_VERSION
        image = _IMAGE.fullmatch(image_id)
        if image is None:
            raise ArmError(Evidence(code="InvalidImageId", message="the image's id is not that of a resource"))
        async with self._sending(image["subscription"], write=False):
            url = f"{self._endpoint}{quote(image_id, safe='/()')}?api-version={version}"
            body = await self._get(image["subscription"], url)
            return body if isinstance(body, Mapping) else {}

    async def read_scope(self, scope: str) -> Mapping[str, Any]:
        async with self._sending(_subscription_of(scope), write=False):
            url = f"{self._endpoint}{quote(scope, safe='/()')}?api-version={_SUBSCRIPTIONS_VERSION}"
            return _scope(await self._get(_subscription_of(scope), url))

    async def start_install(self, vm: VmId, name: str, body: Mapping[str, Any]) -> None:
        async with self._sending(vm.subscription, vm.key, write=True):
            url = f"{self._endpoint}{_quoted(vm)}/extensions/{quote(name, safe='')}?api-version={_COMPUTE_VERSION}"
            request = HttpRequest("PUT", url, headers=_JSON, content=json.dumps(body).encode())
            await self._request(vm.subscription, request, _ACCEPTED)

    async def list_machines(self, subscription: str) -> AsyncIterator[Mapping[str, Any]]:
        path = f"/subscriptions/{subscription}/providers/Microsoft.Compute/virtualMachines"
        url = f"{self._endpoint}{path}?api-version={_COMPUTE_VERSION}"
        while url:
            bodies, url = await self._page(subscription, url)
            for body in bodies:
                yield body

    async def list_subscriptions(self) -> tuple[str, ...]:
        found, _ = await self._page("", f"{self._endpoint}/subscriptions?api-version={_SUBSCRIPTIONS_VERSION}")
        return tuple(str(item.get("subscriptionId", "")) for item in found if item.get("state") != "Disabled")

    async def check_access(self, subscription: str) -> None:
        async with self._sending(subscription, write=False):
            path = f"/subscriptions/{quote(subscription, safe='')}"
            await self._get(subscription, f"{self._endpoint}{path}?api-version={_SUBSCRIPTIONS_VERSION}")

    async def _page(self, subscription: str, url: str) -> tuple[list[Mapping[str, Any]], str]:
        """One page of a list and the link to the next."""
        async with self._sending(subscription, write=False):
            return _items(await self._get(subscription, url))

    async def _get(self, subscription: str, url: str) -> object:
        return (await self._read(subscription, url))[0]

    async def _read(self, subscription: str, url: str) -> tuple[object, datetime | None]:
        """The decoded JSON, and the time of the answer by ARM's clock (UTC). Typed models are not used: they leave out
        properties that policy rules ask for."""
        response = await self._request(subscription, HttpRequest("GET", url), (200,))
        body: object = json.loads(response.content)  # detects the encoding
        return body, _date(response.headers.get("Date", ""))

    async def _request(self, subscription: str, request: HttpRequest, good: Collection[int]) -> AsyncHttpResponse:
        """Send one request. The SDK's operations are not used: they make models, and pollers that are not needed."""
        async with within_deadline():
            response: AsyncHttpResponse = await self._client.send_request(
                request, subscription=subscription, **self._timeouts
            )
        if response.status_code not in good:
            raise HttpResponseError(response=response)
        return response

    async def close(self) -> None:
        await self._connections.close()

    @asynccontextmanager
    async def _sending(
        self, subscription: str, who: str = "", *, write: bool, to_install: bool = False
    ) -> AsyncIterator[None]:
        """Reserve one request with the subscription's rate limiter, and raise the request's failures as ArmError."""
        wait = self._limiter.ask(subscription, who, self._clock(), write=write, to_install=to_install)
        if wait:
            raise ArmError(held_back(math.ceil(wait.total_seconds())))  # the queue hides messages for whole seconds
        buckets = self._limiter.of(subscription, write=write)
        try:
            async with as_arm_errors():
                yield
        except ArmError as error:
            if error.evidence.http_status in _TOO_MANY and not one_resource_is_busy(error.evidence):
                buckets.close(self._clock(), read_retry_after(error.evidence, self._clock()))
            raise
        finally:
            buckets.ended()


class _RateLimitPolicy(AsyncHTTPPolicy[Any, Any]):
    """Sets the user agent and a request id, by which a person finds the request in Azure's logs, and passes the
    answer's counters to the rate limiter. One policy does all three: each of the SDK's own costs as much as this."""

    def __init__(self, limiter: RateLimiter, clock: Clock) -> None:
        super().__init__()
        self._limiter = limiter
        self._clock = clock

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        sent, subscription = request.http_request, request.context.options.pop("subscription")
        sent.headers["User-Agent"] = USER_AGENT
        url = sent.url.partition("?")[0]  # not parsed: it may be a link of a list, and those can be malformed
        sent.headers["x-ms-client-request-id"] = identity = _request_id(sent.method, url)
        began = self._clock()
        result = "no answer"
        try:
            response = await self.next.send(request)
            result = str(response.http_response.status_code)
        finally:
            took = round((self._clock() - began).total_seconds() * 1000)
            log = _log.bind(step=bound_keys().step or "read", ms=took, client_request_id=identity)
            log.debug("%s %s: %s", sent.method, url, result)
        headers = response.http_response.headers
        self._limiter.count(subscription, write=sent.method != "GET", headers=headers, now=self._clock())
        return response


def _request_id(method: str, url: str) -> str:
    """The id that the pass has given to its request, else one derived from the pass; a new one outside of any pass."""
    keys = bound_keys()
    if keys.client_request_id:
        return keys.client_request_id
    return request_id(keys.event_id, keys.machine, f"{method} {url}") if keys.event_id else str(uuid4())


def held_back(seconds: float) -> Evidence:
    """The evidence for a request that the rate limiter did not let through: ARM would have answered 429."""
    message = "held back: ARM asked this subscription's callers to slow down"
    return Evidence(http_status=429, code=HELD_BACK, message=message, headers={"retry-after": f"{seconds:.3f}"})


def _quoted(vm: VmId) -> str:
    return quote(str(vm), safe="/()")


def _machine(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping) or not isinstance(parse_id(str(body.get("id"))), VmId):
        raise ValueError("not a virtual machine")
    return body


def _subscription_of(scope: str) -> str:
    return scope.split("/")[2]


def _scope(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping) or not str(body.get("id")).lower().startswith("/subscriptions/"):
        raise ValueError("neither a subscription nor a resource group")
    return body


def _extension(body: object) -> Mapping[str, Any]:
    if not isinstance(body, Mapping) or not isinstance(parse_id(str(body.get("id"))), ExtensionId):
        raise ValueError("not an extension of a virtual machine")
    return body


def _date(text: str) -> datetime | None:
    """The time of a Date header; None for one that cannot be read."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def _items(page: object) -> tuple[list[Mapping[str, Any]], str]:
    items = page.get("value") if isinstance(page, Mapping) else None
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ValueError("not a list of resources")
    link = page.get("nextLink") if isinstance(page, Mapping) else None
    return items, link if isinstance(link, str) else ""


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
