"""The adapter of Azure Resource Graph: all VMs with their extensions, and their associations, a thousand per request.

The answers are read as JSON: the models of `azure-mgmt-resourcegraph` take longer to create than everything else.

The index lags by minutes, so a result is a reason to reconcile and never a decision. A wait that is too long for the
quota is raised as an ArmError, and the next sweep continues.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from onboarding.application.ports import SUBSCRIPTIONS_AT_ONCE, FoundAssociation
from onboarding.azure.arm import graph_queries
from onboarding.azure.arm.arm_requests import RESOURCE_GRAPH, ArmRequests, as_arm_errors, decoded
from onboarding.azure.arm.throttling import TOO_MANY, GraphQuota, Sleep
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.json_access import mapping, text
from onboarding.domain.resource_id import VmId, parse_id

_PATH = "/providers/Microsoft.ResourceGraph/resources"
_PAGE = 1000  # rows; Resource Graph's maximum
# A page of a large tenant takes long. An event that needs the members of a management group has its deadline.
_READ_TIMEOUT_S = 60.0
_TRIES = 3


class _Page(Struct, frozen=True):
    rows: list[dict[str, Any]]
    following: str
    truncated: bool


class GraphAdapter:
    """Implements `ports.Inventory`."""

    def __init__(self, requests: ArmRequests, *, sleep: Sleep = asyncio.sleep) -> None:
        self._requests = requests
        self._quota = GraphQuota(requests.clock, sleep)

    async def machines(self, subscriptions: Sequence[str]) -> AsyncIterator[Mapping[str, Any]]:
        async for row in self._rows(graph_queries.MACHINES, subscriptions):
            yield _machine(row)

    async def associations(self, subscriptions: Sequence[str]) -> AsyncIterator[FoundAssociation]:
        async for row in self._rows(graph_queries.ASSOCIATIONS, subscriptions):
            machine, rule, endpoint = (text(row.get(name)).rstrip("/") for name in ("machine", "rule", "endpoint"))
            if isinstance(parse_id(machine), VmId):
                yield FoundAssociation(machine, rule, endpoint)

    async def members(self, groups: Iterable[str]) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        async for row in self._rows(graph_queries.members(groups), None):
            found.setdefault(row["managementGroup"], set()).add(row["subscriptionId"].lower())
        return {group: frozenset(inside) for group, inside in found.items()}

    async def _rows(self, query: str, subscriptions: Sequence[str] | None) -> AsyncIterator[dict[str, Any]]:
        """The rows of all pages; `subscriptions` None: of all subscriptions that the identity can see."""
        if subscriptions is not None and not 0 < len(subscriptions) <= SUBSCRIPTIONS_AT_ONCE:
            raise ValueError(f"{len(subscriptions)} subscriptions at once")
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
            await self._quota.admit()
            try:
                async with as_arm_errors():
                    return await self._request(question)
            except ArmError as error:
                if error.evidence.http_status != TOO_MANY:
                    raise
                self._quota.refused(error.evidence)
                if not left:
                    raise
        raise AssertionError("the last try raises or returns")

    async def _request(self, question: Mapping[str, Any]) -> _Page:
        """Request one page, and note the quota. Raises ValueError for an answer without rows."""
        url = self._requests.url(RESOURCE_GRAPH, _PATH)
        response = await self._requests.send("POST", url, question, read_timeout_s=_READ_TIMEOUT_S)
        self._quota.count(response.headers)
        answer = mapping(decoded(response))
        rows = answer.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("no rows")
        return _Page(rows, answer.get("$skipToken") or "", str(answer.get("resultTruncated")).lower() == "true")


def _machine(row: dict[str, Any]) -> Mapping[str, Any]:
    """A row in the shape of a GET."""
    resources = row.pop("extensions", None) or []
    body = {name: value for name, value in row.items() if value not in (None, "")}
    return {**body, "resources": resources}
