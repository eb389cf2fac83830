"""The endpoint of the Event Grid extension: `POST /runtime/webhooks/eventgrid?functionName=NAME`.

The events of one request run concurrently, each as an invocation; if one fails, the request fails, and Event Grid
sends all of them again. The order of the checks is the extension's: function, then header, then body.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from simulator.host.invoker import Invoker
from simulator.host.logs import host_logger
from simulator.host.messages import TypedData
from simulator.host.worker import Function, Result

PATH = "/runtime/webhooks/eventgrid"


class EventGridWebhook:
    def __init__(self, functions: Mapping[str, Function], invoker: Invoker) -> None:
        self._functions = functions
        self._invoker = invoker

    async def handle(self, request: web.Request) -> web.Response:
        name = request.query.get("functionName", "")
        function = self._functions.get(name)
        if function is None:
            host_logger.info("cannot find function: '%s', available: %s", name, ", ".join(self._functions) or "none")
            return web.Response(status=404, text=f"cannot find function: '{name}'")
        match request.headers.get("aeg-event-type", "").lower():
            case "subscriptionvalidation":
                return _validated(await request.text())
            case "notification":
                return await self._notified(function, await request.text())
            case "unsubscribe":
                return web.Response(status=202)
            case _:
                return web.Response(status=400)

    async def _notified(self, function: Function, text: str) -> web.Response:
        events = _events(text)
        if events is None:
            return web.Response(status=500, text="The request content should be parseable into a JSON object or array.")
        results = await asyncio.gather(*(self.run(function, event) for event in events))
        failed = next((result for result in results if not result.succeeded), None)
        if failed is None:
            return web.Response(status=202)
        text = f"Exception while executing function: Functions.{function.name}\n{failed.message}"
        return web.Response(status=500, text=text)

    async def run(self, function: Function, event: Any) -> Result:
        """One event in the extension's form: indented JSON, and again in the metadata."""
        text = json.dumps(event, indent=2)
        return await self._invoker.invoke(function, TypedData(json=text), {"data": TypedData(json=text)})


def _events(text: str) -> list[Any] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if isinstance(content, dict):
        return [content]
    return content if isinstance(content, list) else None


def _validated(text: str) -> web.Response:
    """Answer the handshake; the data of a CloudEvent is JSON within JSON."""
    try:
        content = json.loads(text)
        data = content[0]["data"] if isinstance(content, list) else json.loads(content["data"])
        code = data["validationCode"]
    except (ValueError, LookupError, TypeError) as error:
        return web.Response(status=500, text=f"The validation request is malformed: {type(error).__name__}: {error}")
    return web.json_response({"validationResponse": code})
