"""The client of Azure Resource Graph: all VMs with their extensions, a thousand per request.

It uses azure-core's pipeline: the models of `azure-mgmt-resourcegraph` take longer to create than everything else.

The index lags by minutes, so a result is a reason to reconcile and never a decision. The quota is counted in seconds:
a short wait is slept through, a longer one is raised as an ArmError, and the next sweep continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from azure.core import AsyncPipelineClient
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy, ProxyPolicy, RequestIdPolicy, UserAgentPolicy
from azure.core.rest import HttpRequest
from msgspec import Struct

from onboarding.application.ports import SUBSCRIPTIONS_AT_ONCE, Clock
from onboarding.azure.arm import graph_queries
from onboarding.azure.arm.arm_client import as_arm_errors, held_back
from onboarding.azure.http_connections import Connections, proxies_for, within_deadline
from onboarding.azure.identity import ArmTokens, BearerPolicy
from onboarding.concurrency import remaining
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.failures.retry_after import read_retry_after
from onboarding.domain.json_access import mapping

_RESOURCES = "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01"
_PAGE = 1000  # rows; Resource Graph's maximum
# Seconds. A page of a large tenant takes long. An event that needs the members of a management group has its deadline.
_TIMEOUTS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 60}
_MAX_WAIT = timedelta(seconds=6)  # the quota's window is 5 s
_WINDOW = timedelta(seconds=5)
_TRIES = 3
_REMAINING, _RESETS_AFTER = "x-ms-user-quota-remaining", "x-ms-user-quota-resets-after"

type Sleep = Callable[[float], Awaitable[None]]


class _Page(Struct, frozen=True):
    rows: list[dict[str, Any]]
    following: str
    truncated: bool


class GraphAdapter:
    """Implements `ports.Inventory`."""

    def __init__(
        self,
        credential: AsyncTokenCredential,
        endpoint: str,
        scope: str,
        clock: Clock,
        *,
        connections: Connections | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`connections` may be shared with other clients."""
        self._endpoint = endpoint
        self._clock = clock
        self._connections = connections or Connections()
        self._sleep = sleep
        self._not_before: datetime | None = None
        policies = [
            RequestIdPolicy(),
            HeadersPolicy(),
            UserAgentPolicy("vm-onboarding"),
            *([ProxyPolicy(proxies)] if (proxies := proxies_for(endpoint)) else []),
            BearerPolicy(ArmTokens(credential), endpoint, scope),
        ]
        self._client: Any = AsyncPipelineClient(endpoint, policies=policies, transport=self._connections)

    async def machines(self, subscriptions: Sequence[str]) -> AsyncIterator[Mapping[str, Any]]:
        if not 0 < len(subscriptions) <= SUBSCRIPTIONS_AT_ONCE:
            raise ValueError(f"{len(subscriptions)} subscriptions at once")
        async for row in self._rows(graph_queries.MACHINES, subscriptions):
            yield _machine(row)

    async def members(self, groups: Iterable[str]) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        async for row in self._rows(graph_queries.members(groups), None):
            found.setdefault(row["managementGroup"], set()).add(row["subscriptionId"].lower())
        return {group: frozenset(inside) for group, inside in found.items()}

    async def close(self) -> None:
        await self._connections.close()

    async def _rows(self, query: str, subscriptions: Sequence[str] | None) -> AsyncIterator[dict[str, Any]]:
        """The rows of all pages; `subscriptions` None: of all subscriptions that the identity can see."""
        options: dict[str, Any] = {"$top": _PAGE, "resultFormat": "objectArray"}
        scope = {} if subscriptions is None else {"subscriptions": list(subscriptions)}
        question = {"query": query, "options": options, **scope}
        page = await self._page(question)
        for row in page.rows:
            yield row
        while page.following:
            options["$skipToken"] = page.following
            page = await self._page(question)
            for row in page.rows:
                yield row
        if page.truncated:
            raise ArmError(Evidence(code="ResultTruncated", message="Resource Graph left rows out"))

    async def _page(self, question: Mapping[str, Any]) -> _Page:
        for left in reversed(range(_TRIES)):
            await self._wait()
            try:
                async with as_arm_errors():
                    return await self._request(question)
            except ArmError as error:
                if error.evidence.http_status != 429:
                    raise
                self._record_refusal(error.evidence)
                if not left:
                    raise
        raise AssertionError("the last try raises or returns")

    async def _wait(self) -> None:
        now = self._clock()
        wait = self._not_before - now if self._not_before else timedelta()
        if wait > _MAX_WAIT or wait.total_seconds() > remaining(keep_reserve=True):
            raise ArmError(held_back(wait.total_seconds()))
        if wait > timedelta():
            await self._sleep(wait.total_seconds())
        self._not_before = None

    async def _request(self, question: Mapping[str, Any]) -> _Page:
        """Request one page, and note the quota. Raises ValueError for an answer without rows."""
        request = HttpRequest("POST", f"{self._endpoint}{_RESOURCES}", json=question)
        async with within_deadline():
            response = await self._client.send_request(request, **_TIMEOUTS)
        if response.status_code != 200:
            raise HttpResponseError(response=response)
        if response.headers.get(_REMAINING, "").strip() == "0":
            self._not_before = self._clock() + _duration(response.headers.get(_RESETS_AFTER, ""))
        answer = mapping(response.json())
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("no rows")
        return _Page(rows, answer.get("$skipToken") or "", str(answer.get("resultTruncated")).lower() == "true")

    def _record_refusal(self, evidence: Evidence) -> None:
        scope = read_retry_after(evidence, self._clock())
        resets = _duration(evidence.headers.get(_RESETS_AFTER, ""))
        self._not_before = self._clock() + (timedelta(seconds=scope) if scope else resets)


def _machine(row: dict[str, Any]) -> Mapping[str, Any]:
    """A row in the shape of a GET."""
    resources = row.pop("extensions", None) or []
    body = {name: value for name, value in row.items() if value not in (None, "")}
    return {**body, "resources": resources}


def _duration(text: str) -> timedelta:
    """Parse a duration such as `00:00:05`; any other text counts as the usual window."""
    try:
        hours, minutes, seconds = (int(part) for part in text.split(":"))
    except ValueError:
        return _WINDOW
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)
