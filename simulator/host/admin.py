"""The host's admin endpoints: its state, its functions, and running one of them by hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from aiohttp import web

from simulator.host.invoker import Invoker
from simulator.host.keys import Keys
from simulator.host.messages import RpcHttp, TypedData
from simulator.host.worker import Function

_TIMER = {"IsPastDue": False, "Schedule": {"AdjustForDST": True}, "ScheduleStatus": {}}


class Administration:
    """`errors` has the functions that could not be served, with the reasons."""

    def __init__(
        self, functions: Mapping[str, Function], errors: Mapping[str, str], invoker: Invoker, keys: Keys
    ) -> None:
        self._functions = functions
        self._errors = errors
        self._invoker = invoker
        self._keys = keys
        self._started = time.monotonic()
        self._runs: set[asyncio.Task[object]] = set()

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/admin/host/status", self._status)
        app.router.add_get("/admin/functions", self._list)
        app.router.add_post("/admin/functions/{name}", self._run)

    async def _status(self, request: web.Request) -> web.Response:
        if not self._keys.allow("admin", request):
            return web.Response(status=401)
        uptime = int((time.monotonic() - self._started) * 1000)
        errors = [f"The '{name}' function is in error: {reason}" for name, reason in self._errors.items()]
        return web.json_response(
            {"id": "simulator", "state": "Running", "version": "4", "processUptime": uptime, "errors": errors}
        )

    async def _list(self, request: web.Request) -> web.Response:
        if not self._keys.allow("admin", request):
            return web.Response(status=401)
        listed = [
            {"name": name, "language": "python", "config": {"bindings": [*function.bindings]}}
            for name, function in self._functions.items()
        ]
        return web.json_response(listed)

    async def _run(self, request: web.Request) -> web.Response:
        """Start a run and answer at once, as the real host does; the outcome is in the log."""
        if not self._keys.allow("admin", request):
            return web.Response(status=401)
        function = self._functions.get(request.match_info["name"])
        if function is None:
            return web.Response(status=404)
        given = _input(await request.text())
        if given is None:
            return web.Response(status=400, text='The body must be a JSON object: {"input": "…"}')
        task = asyncio.create_task(self._invoker.invoke(function, _data(function, given), _metadata(function, given)))
        self._runs.add(task)
        task.add_done_callback(self._runs.discard)
        return web.Response(status=202)


def _input(text: str) -> str | None:
    try:
        body = json.loads(text) if text.strip() else {}
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    given = body.get("input") or ""
    return given if isinstance(given, str) else json.dumps(given)


def _data(function: Function, given: str) -> TypedData:
    match function.trigger_type:
        case "timerTrigger":
            return TypedData(json=json.dumps(_TIMER))
        case "eventGridTrigger":
            return TypedData(json=given)
        case "httpTrigger":
            body = TypedData(bytes=given.encode()) if given else TypedData()
            return TypedData(http=RpcHttp(method="POST", url="", headers={}, params={}, query={}, body=body))
        case _:
            return TypedData(string=given)


def _metadata(function: Function, given: str) -> dict[str, TypedData]:
    if function.trigger_type == "queueTrigger":
        return {
            "QueueTrigger": TypedData(string=given),
            "DequeueCount": TypedData(json="1"),
            "Id": TypedData(json='""'),
        }
    return {}
