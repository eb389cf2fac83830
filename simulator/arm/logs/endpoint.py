"""The query API of Log Analytics, as `azure-monitor-query` speaks to it: `POST /v1/workspaces/{id}/query` over TLS.

Scripted faults apply to it (kind `logs-query`), and every request is recorded beside those to ARM.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from simulator.arm.actions import NeededAction
from simulator.arm.http.errors import ArmError
from simulator.arm.http.exchange import Answer, encoded, send_half
from simulator.arm.http.faults import Cut, Faults
from simulator.arm.http.journal import RecordedRequest, Requests
from simulator.arm.http.targets import Kind, Target
from simulator.arm.http.tokens import Tokens
from simulator.arm.http.validation import parse_object
from simulator.arm.insights.workspaces import Workspace, Workspaces
from simulator.arm.logs import refusals
from simulator.arm.logs.heartbeats import Heartbeats
from simulator.arm.logs.question import Question, read_question
from simulator.arm.platform import Platform
from simulator.arm.scopes import Scopes

TABLE = "Heartbeat"
_MOST, _WINDOW = 200, 30.0  # requests of one principal in so many seconds
_COLUMNS = ({"name": "Machine", "type": "string"}, {"name": "Category", "type": "string"})
_TIME = {"name": "TimeGenerated", "type": "datetime"}


@dataclass(frozen=True, slots=True)
class LogsEndpoint:
    platform: Platform
    tokens: Tokens
    scopes: Scopes
    faults: Faults
    requests: Requests
    workspaces: Workspaces
    heartbeats: Heartbeats
    recent: dict[str, deque[float]] = field(default_factory=dict)
    """When each principal sent its last requests, in seconds of the clock."""

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.pick(Target(Kind.LOGS_QUERY, "", "", {}), request.method)
        principal = ""
        if fault is not None:
            await self.platform.clock.sleep(fault.delay)
        if fault is not None and (fault.answers or fault.cut is Cut.RESET):
            answer = fault.answer()
        else:
            try:
                principal = self._principal(request)
                answer = Answer(200, await self._answered(request, principal))
            except ArmError as refusal:
                answer = Answer(refusal.status, refusal.body, refusal.headers)
        cut = fault.cut if fault else None
        self._record(request, principal, 0 if cut is Cut.RESET else answer.status)
        if cut is Cut.RESET and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        headers = {"Content-Type": "application/json; charset=utf-8", **answer.headers}
        if cut is Cut.TRUNCATE:
            return await send_half(request, answer.status, headers, encoded(answer.body))
        return web.Response(status=answer.status, headers=headers, body=encoded(answer.body))

    def _principal(self, request: web.Request) -> str:
        header = request.headers.get("Authorization", "")
        if not header:
            raise refusals.missing_token()
        principal = self.tokens.principal(header.removeprefix("Bearer "), self.platform.options.logs_audience)
        if not principal:
            raise refusals.invalid_token()
        return principal

    async def _answered(self, request: web.Request, principal: str) -> dict[str, Any]:
        workspace = self._workspace(request)
        self._throttle(principal)
        self._check_role(principal, workspace, "query/read", refusals.insufficient_access())
        question = _question(parse_object(await request.read()))
        self._check_role(principal, workspace, f"query/{TABLE}/read", refusals.unknown_table(TABLE))
        found = self.heartbeats.newest(workspace.guid, question.since)
        rows = [
            [machine, category, f"{at:%Y-%m-%dT%H:%M:%S.%f}0Z"]
            for (machine, category), at in found.items()
            if question.machines is None or machine in question.machines
        ]
        return {"tables": [{"name": "PrimaryResult", "columns": [*_COLUMNS, _TIME], "rows": rows}]}

    def _workspace(self, request: web.Request) -> Workspace:
        parts = request.path.strip("/").split("/")
        if (
            request.method != "POST"
            or len(parts) != 4
            or (parts[0], parts[1], parts[3]) != ("v1", "workspaces", "query")
        ):
            raise refusals.path_not_found()
        workspace = self.workspaces.find(parts[2])
        if workspace is None:
            raise refusals.path_not_found()
        return workspace

    def _throttle(self, principal: str) -> None:
        if not self.platform.options.limits:
            return
        now, recent = self.platform.clock.seconds(), self.recent.setdefault(principal, deque(maxlen=_MOST))
        if len(recent) == _MOST and now - recent[0] < _WINDOW:
            wait = self.platform.clock.real(_WINDOW - (now - recent[0]))
            raise refusals.too_many(max(1, math.ceil(wait)))
        recent.append(now)

    def _check_role(self, principal: str, workspace: Workspace, action: str, refusal: ArmError) -> None:
        whole = f"Microsoft.OperationalInsights/workspaces/{action}"
        granted = self.scopes.allows(principal, whole, workspace.id)
        self.scopes.needed.add(NeededAction(principal, "POST", whole, workspace.id, granted))
        if not granted:
            raise refusal

    def _record(self, request: web.Request, principal: str, status: int) -> None:
        headers, now = request.headers, self.platform.clock.now()
        agent, named = headers.get("User-Agent", ""), headers.get("x-ms-client-request-id", "")
        self.requests.add(
            RecordedRequest(now, request.method, Kind.LOGS_QUERY, "", request.path, status, principal, agent, "", named)
        )


def _question(body: dict[str, Any]) -> Question:
    if body.get("timespan") is not None or body.get("workspaces"):
        raise refusals.syntax_error()
    try:
        return read_question(str(body.get("query", "")))
    except ValueError:
        raise refusals.syntax_error() from None
