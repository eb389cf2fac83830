"""Resource Graph: answers the product's queries by evaluating them over an index of all resources.

The index is a copy that may be as old as `Options.index_lag`. Resources that the caller may not read are left out
without an error, as in Azure. The quota is 15 queries in 5 seconds for each caller; every answer has it in its
headers.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from simulator.arm.actions import NeededAction, reading
from simulator.arm.compute.machines import Machine
from simulator.arm.http import views
from simulator.arm.http.errors import ArmError
from simulator.arm.insights.associations import Associations
from simulator.arm.kusto import Refused, Row, Rows, Tables, evaluate
from simulator.arm.platform import Platform
from simulator.arm.scopes import Scopes

_QUERIES, _WINDOW = 15, 5.0
_MOST_ROWS = 1000
_RESOURCES = (
    *("id", "name", "type", "tenantId", "kind", "location", "resourceGroup", "subscriptionId", "managedBy", "sku"),
    *("plan", "properties", "tags", "identity", "zones", "extendedLocation"),
)


@dataclass(slots=True)
class _Session:
    """The rest of an answer that is read page by page."""

    rows: Rows
    at: int


@dataclass(slots=True)
class _Quota:
    began: float
    used: int = 0


class Graph:
    def __init__(self, platform: Platform, scopes: Scopes, associations: Associations) -> None:
        self._platform = platform
        self._scopes = scopes
        self._associations = associations
        self._sessions: dict[str, _Session] = {}
        self._quotas: dict[str, _Quota] = {}
        self._index: dict[str, Rows] = {}
        self._indexed_at: float | None = None

    def answer(self, body: Mapping[str, Any], principal: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The body and the headers of the answer. Raises ArmError."""
        headers = self._take_quota(principal)
        options = body.get("options") or {}
        top = min(int(options.get("$top") or 100), _MOST_ROWS)
        token = options.get("$skipToken")
        session = _Session(self._evaluate(body, principal), 0) if token is None else self._sessions.get(token)
        if session is None:
            raise _bad_request("InvalidSkipToken", "The skip token is invalid or has expired.")  # invented words
        page = session.rows[session.at : session.at + top]
        following = session.at + len(page)
        answer: dict[str, Any] = {
            "totalRecords": len(session.rows),
            "count": len(page),
            "data": page,
            "facets": [],
            "resultTruncated": "false",
        }
        if following < len(session.rows):
            answer["$skipToken"] = secrets.token_urlsafe(24)
            self._sessions[answer["$skipToken"]] = _Session(session.rows, following)
        return answer, headers

    def _evaluate(self, body: Mapping[str, Any], principal: str) -> Rows:
        requested = body.get("subscriptions")
        known = set(self._platform.machines.subscriptions)
        visible = known if requested is None else known & {str(each).lower() for each in requested}
        if not visible:
            message = "There must be at least one subscription that is eligible to contain resources."
            raise _bad_request("NoValidSubscriptionsInQueryRequest", message)
        tables: Tables = {
            "resources": (_RESOURCES, lambda: self._indexed("resources", visible, principal)),
            "insightsresources": (_RESOURCES, lambda: self._indexed("insightsresources", visible, principal)),
            "resourcecontainers": (_RESOURCES, lambda: [self._subscription(each) for each in sorted(visible)]),
        }
        query = str(body.get("query", ""))
        try:
            return evaluate(query, tables)
        except Refused as refused:
            raise _invalid_query(query, refused) from None

    def _indexed(self, table: str, subscriptions: set[str], principal: str) -> Rows:
        """The table's rows that the principal may read. A type that it may not read is left out without an error, so
        the right to read it counts as needed."""
        now = self._platform.clock.seconds()
        if self._indexed_at is None or now - self._indexed_at >= self._platform.options.index_lag:
            self._index = {
                "resources": [row for machine in self._machines() for row in self._rows(machine)],
                "insightsresources": [self._row(each.machine, each.body()) for each in self._associations.all()],
            }
            self._indexed_at = now
        found = [row for row in self._index[table] if row["subscriptionId"] in subscriptions]
        readable = [row for row in found if self._scopes.may_read(principal, row["id"], row["type"])]
        self._record_reads(principal, found)
        return readable

    def _record_reads(self, principal: str, rows: Rows) -> None:
        for type_, subscription in sorted({(str(row["type"]), str(row["subscriptionId"])) for row in rows}):
            action, scope = reading(type_), f"/subscriptions/{subscription}"
            granted = self._scopes.allows(principal, action, scope)
            self._scopes.needed.add(NeededAction(principal, "POST", action, scope, granted))

    def _machines(self) -> Iterable[Machine]:
        return self._platform.machines

    def _rows(self, machine: Machine) -> Iterable[Row]:
        vm = views.vm_body(machine, self._platform.clock)
        vm.pop("resources", None)
        power = {"code": f"PowerState/{machine.power}", "displayStatus": f"VM {machine.power}", "level": "Info"}
        vm["properties"]["extended"] = {"instanceView": {"powerState": power}}
        yield self._row(machine, vm)
        for extension in machine.extensions.values():
            yield self._row(machine, views.extension_body(machine, extension))

    def _row(self, machine: Machine, body: Mapping[str, Any]) -> Row:
        return {
            **dict.fromkeys(_RESOURCES),
            **{column: body[column] for column in _RESOURCES if column in body},
            "type": str(body["type"]).lower(),
            "tenantId": self._platform.options.tenant_id,
            "resourceGroup": machine.group.lower(),
            "subscriptionId": machine.subscription.lower(),
        }

    def _subscription(self, subscription: str) -> Row:
        chain = self._platform.options.management_groups.get(subscription, ())
        ancestors = [{"name": name, "displayName": name} for name in chain]
        return {
            **dict.fromkeys(_RESOURCES),
            "id": f"/subscriptions/{subscription}",
            "name": "Simulated subscription",
            "type": "microsoft.resources/subscriptions",
            "tenantId": self._platform.options.tenant_id,
            "subscriptionId": subscription,
            "properties": {"state": "Enabled", "managementGroupAncestorsChain": ancestors},
        }

    def _take_quota(self, principal: str) -> dict[str, str]:
        now = self._platform.clock.seconds()
        quota = self._quotas.setdefault(principal, _Quota(now))
        if now - quota.began >= _WINDOW:
            quota.began, quota.used = now, 0
        wait = max(1, math.ceil(self._platform.clock.real(quota.began + _WINDOW - now)))
        headers = {"x-ms-user-quota-resets-after": f"00:00:{wait:02}"}
        if self._platform.options.limits and quota.used >= _QUERIES:
            message = (
                "Client application has been throttled and should not attempt to repeat the request until an amount of"
                " time has elapsed. Please see https://aka.ms/resourcegraph-throttling for help."
            )
            refusal = {"x-ms-user-quota-remaining": "0", "Retry-After": str(wait), **headers}
            details = [{"code": "RateLimiting", "message": message}]
            raise ArmError(429, "RateLimiting", _SUPPORT, headers=refusal, details=details)
        quota.used += 1
        return {"x-ms-user-quota-remaining": str(max(0, _QUERIES - quota.used)), **headers}


_SUPPORT = (
    "Please provide below info when asking for support: timestamp = 2026-11-20T10:00:00.0000000Z,"
    " correlationId = 00000000-0000-0000-0000-000000000000."
)


def _bad_request(code: str, message: str, *more: Mapping[str, Any]) -> ArmError:
    return ArmError(400, "BadRequest", _SUPPORT, details=[{"code": code, "message": message}, *more])


def _invalid_query(query: str, refused: Refused) -> ArmError:
    line = query.count("\n", 0, refused.position) + 1
    column = refused.position - (query.rfind("\n", 0, refused.position) + 1)
    place = {"line": line, "characterPositionInLine": column, "token": refused.token, "expectedToken": str(refused)}
    message = (
        "Query is invalid. Please refer to the documentation for the Azure Resource Graph service and fix the error"
        " before retrying."
    )
    return _bad_request("InvalidQuery", message, {"code": "ParserFailure", "message": "ParserFailure", **place})
