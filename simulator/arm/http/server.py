"""The HTTP server of ARM. In ARM's order it authenticates, checks the version, the rights and the state of the scope,
applies the limits, and only then acts. Scripted faults apply, and every request is recorded.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from simulator.arm.events import Caller
from simulator.arm.http.errors import ArmError, subscription_not_found
from simulator.arm.http.exchange import Answer, Exchange, encoded, send_half
from simulator.arm.http.faults import Cut, Faults
from simulator.arm.http.journal import RecordedRequest, Requests
from simulator.arm.http.limits import Draw, Limits
from simulator.arm.http.metadata import cloud_metadata
from simulator.arm.http.routes import Routes
from simulator.arm.http.targets import Kind, Target, no_such_route, read_target
from simulator.arm.http.tokens import Tokens
from simulator.arm.http.validation import parse_body, parse_object
from simulator.arm.http.versions import check_version
from simulator.arm.platform import Platform
from simulator.arm.scopes import Scopes
from simulator.arm.templates.relaxed_json import read_relaxed_json

_SIGN_IN, _LOGS = web.AppKey("sign_in", str), web.AppKey("logs", str)
_GROUPS = {
    **dict.fromkeys((Kind.VM_GET, Kind.VM_INSTANCE_VIEW, Kind.EXTENSION_GET, Kind.EXTENSION_LIST), "LowCostGet"),
    **dict.fromkeys((Kind.IMAGE_GET, Kind.GALLERY_IMAGE_GET), "LowCostGet"),
    **dict.fromkeys((Kind.VM_LIST, Kind.VM_LIST_GROUP), "HighCostGet"),
    **dict.fromkeys((Kind.EXTENSION_PUT, Kind.EXTENSION_PATCH, Kind.EXTENSION_DELETE), "UpdateVM"),
    **dict.fromkeys((Kind.VM_PATCH, Kind.VM_START, Kind.VM_RESTART, Kind.VM_POWER_OFF), "UpdateVM"),
    Kind.VM_RUN_COMMAND: "UpdateVM",
    **dict.fromkeys((Kind.VM_DELETE, Kind.VM_DEALLOCATE), "DeleteVM"),
    Kind.VM_PUT: "PutVM",
    Kind.OPERATION_POLL: "GetOperation",
}


@dataclass(slots=True)
class _Work:
    """What is known of one request, for the record and for the common headers."""

    target: Target
    correlation: str
    principal: str = ""
    failure: Mapping[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Door:
    """Handles requests."""

    platform: Platform
    routes: Routes
    tokens: Tokens
    scopes: Scopes
    limits: Limits
    faults: Faults
    requests: Requests

    def application(self, sign_in: str, logs: str) -> web.Application:
        """The arguments are the addresses of the other endpoints, which the cloud's metadata names."""
        application = web.Application(client_max_size=4 * 1024 * 1024)
        application[_SIGN_IN], application[_LOGS] = sign_in, logs
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        target = read_target(request.method, request.path)
        correlation = request.headers.get("x-ms-correlation-request-id") or str(uuid.uuid4())
        work = _Work(target, correlation)
        fault = self.faults.pick(target, request.method)
        work.failure = fault.ends_with if fault else None
        if fault is not None:
            await self.platform.clock.sleep(fault.delay)
        if fault is not None and not fault.after and (fault.answers or fault.cut is Cut.RESET):
            answer = fault.answer()
        else:
            try:
                answer = await self._answer(request, work)
            except ConnectionResetError:  # the client died while sending, so there is no request
                return web.Response(status=500)
            if fault is not None and fault.after and fault.answers:
                answer = fault.answer()
        return await self._send(request, work, answer, fault.cut if fault else None)

    async def _answer(self, request: web.Request, work: _Work) -> Answer:
        try:
            if work.target.kind is Kind.CLOUD_METADATA:  # what a client must know before it has a token
                return self._metadata(request, work.target)
            exchange = await self._admit(request, work)
            return self.routes.answer(exchange)
        except ArmError as refusal:
            return Answer(refusal.status, refusal.body, refusal.headers)

    def _metadata(self, request: web.Request, target: Target) -> Answer:
        check_version(target.type, request.query.get("api-version"))
        origin = f"{request.scheme}://{request.host}"
        return Answer(200, cloud_metadata(self.platform.options, origin, request.app[_SIGN_IN], request.app[_LOGS]))

    async def _admit(self, request: web.Request, work: _Work) -> Exchange:
        target, version = work.target, request.query.get("api-version")
        work.principal = self.tokens.verify(request.headers.get("Authorization"))
        if target.kind is Kind.UNKNOWN:
            check_version(target.type, version or "2024-11-01")
            raise no_such_route(target, request.method, request.path, version or "")
        check_version(target.type, version)
        if target.subscription and not self.platform.machines.knows(target.subscription):
            raise subscription_not_found(target.subscription)
        body = await _read_body(request, target)
        self.scopes.check(target, request.method, work.principal, body)
        if target.kind is not Kind.GRAPH_QUERY:  # Resource Graph has its own quota
            work.headers = self.limits.take(self._draw(request, work))
        origin = f"{request.scheme}://{request.host}"
        url = f"{origin}{request.raw_path}"
        caller = Caller(
            work.principal,
            method=request.method,
            url=url,
            address=request.remote or "",
            correlation=work.correlation,
            failure=work.failure,
        )
        if_match = request.headers.get("If-Match", "")
        return Exchange(target, caller, request.query, request.rel_url.raw_query_string, origin, body, if_match)

    def _draw(self, request: web.Request, work: _Work) -> Draw:
        target = work.target
        machine = self.platform.machines.find(target.vm_id)
        arm = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(request.method, "writes")
        region = machine.location if machine else target.names.get("region", "")
        group = _GROUPS.get(target.kind, "")
        return Draw(target.subscription, work.principal, arm, region, group, self._about(target))

    def _about(self, target: Target) -> str:
        """The VM that a request is about; for a poll, the VM of its operation."""
        if target.kind is not Kind.OPERATION_POLL:
            return target.vm_id
        operation = self.platform.operations.named(target.names["operation"])
        return "" if operation is None else operation.change.resource_id.partition("/extensions/")[0]

    async def _send(self, request: web.Request, work: _Work, answer: Answer, cut: Cut | None) -> web.StreamResponse:
        reset = cut is Cut.RESET
        self._record(request, work, 0 if reset else answer.status)
        if reset and request.transport is not None:
            request.transport.abort()
            return web.Response(status=500)
        headers = _common_headers(work) | work.headers | dict(answer.headers)
        body = encoded(answer.body)
        if body and not isinstance(answer.body, str):
            headers.setdefault("Content-Type", "application/json; charset=utf-8")
        if cut is Cut.TRUNCATE:
            return await send_half(request, answer.status, headers, body)
        return web.Response(status=answer.status, headers=headers, body=body)

    def _record(self, request: web.Request, work: _Work, status: int) -> None:
        self.requests.add(
            RecordedRequest(
                self.platform.clock.now(),
                request.method,
                work.target.kind,
                self._about(work.target).lower(),
                request.path,
                status,
                work.principal,
                request.headers.get("User-Agent", ""),
                work.correlation,
                request.headers.get("x-ms-client-request-id", ""),
            )
        )


async def _read_body(request: web.Request, target: Target) -> dict[str, Any]:
    if target.kind in (Kind.VM_RUN_COMMAND, Kind.GRAPH_QUERY):
        return parse_object(await request.read())
    if target.kind in (Kind.DEPLOYMENT_PUT, Kind.DEPLOYMENT_VALIDATE):
        return read_relaxed_json(await request.read())
    return parse_body(await request.read()) if request.method in ("PUT", "PATCH") else {}


def _common_headers(work: _Work) -> dict[str, str]:
    return {
        "Cache-Control": "no-cache",
        "Pragma": "no-cache",
        "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
        "X-Content-Type-Options": "nosniff",
        "x-ms-request-id": str(uuid.uuid4()),
        "x-ms-correlation-request-id": work.correlation,
        "x-ms-routing-request-id": f"SIMULATOR:{uuid.uuid4()}",
    }
