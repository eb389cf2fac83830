"""HTTP functions: routes with parameters, methods, authorization levels, requests and responses.

Routes are ASP.NET templates; the constraints `int`, `long`, `bool`, `guid` and `alpha` are supported, others are
refused when the app is loaded. A route that matches with another method is 404, as in the real host. Unlike in the real
host, cookies and streamed bodies are not supported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from simulator.host.invoker import Invoker
from simulator.host.keys import Keys
from simulator.host.messages import RpcHttp, TypedData
from simulator.host.worker import Function

_CONSTRAINTS = {
    "int": r"-?\d+",
    "long": r"-?\d+",
    "bool": r"(?i:true|false)",
    "guid": r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "alpha": r"[A-Za-z]+",
}
_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)(?::(\w+))?(\?)?\}")


class BadRoute(ValueError):
    """A route template that cannot be served."""


@dataclass(frozen=True, slots=True)
class Route:
    function: Function
    template: str
    pattern: re.Pattern[str]
    methods: frozenset[str]
    level: str

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """The route's parameters if the request is for it."""
        if self.methods and method not in self.methods:
            return None
        found = self.pattern.fullmatch(path.strip("/"))
        return None if found is None else {name: value for name, value in found.groupdict().items() if value}


def route_of(function: Function) -> Route:
    """The route of an HTTP function; by default its name."""
    template = (function.resolved("route") or function.name).strip("/")
    methods = frozenset(str(method).upper() for method in function.trigger.get("methods") or ())
    level = str(function.trigger.get("authLevel") or "FUNCTION").lower()
    return Route(function, template, _pattern(template), methods, level)


class HttpFunctions:
    def __init__(self, routes: Sequence[Route], prefix: str, invoker: Invoker, keys: Keys) -> None:
        # Literal segments come before parameters, and a catch-all comes last.
        self._routes = sorted(routes, key=lambda route: (route.template.count("{*"), route.template.count("{")))
        self._prefix = f"/{prefix}/" if prefix else "/"
        self._invoker = invoker
        self._keys = keys

    async def handle(self, request: web.Request) -> web.Response:
        if not request.path.startswith(self._prefix):
            return web.Response(status=404)
        path = request.path.removeprefix(self._prefix)
        for route in self._routes:
            parameters = route.match(request.method, path)
            if parameters is not None:
                return await self._answer(request, route, parameters)
        return web.Response(status=404)

    async def _answer(self, request: web.Request, route: Route, parameters: dict[str, str]) -> web.Response:
        if not self._keys.allow(route.level, request):
            return web.Response(status=401)
        body = await request.read()
        http = RpcHttp(
            method=request.method,
            url=str(request.url),
            headers=dict(request.headers),
            params=parameters,
            query=dict(request.query),
            body=TypedData(bytes=body) if body else TypedData(),
        )
        result = await self._invoker.invoke(route.function, TypedData(http=http))
        return _response(result.value) if result.succeeded else web.Response(status=500)


def _response(value: Any) -> web.Response:
    """What the function returned: a response, a text, or nothing."""
    if value is None or value.http is None:
        text = value.string if value is not None else None
        return web.Response(status=200, text=text) if text else web.Response(status=204)
    http = value.http
    headers = {name: content for name, content in http.headers.items() if name.lower() != "content-length"}
    return web.Response(status=int(http.status_code), headers=headers, body=http.body.bytes if http.body else b"")


def _pattern(template: str) -> re.Pattern[str]:
    parts = [_segment(segment) for segment in template.split("/")]
    return re.compile("".join(parts).removeprefix("/"), re.IGNORECASE)


def _segment(segment: str) -> str:
    parameter = _PARAMETER.fullmatch(segment)
    if parameter is None:
        if "{" in segment:
            raise BadRoute(f"the route segment '{segment}' is not one parameter; this host takes '{{name}}' alone")
        return f"/{re.escape(segment)}"
    stars, name, constraint, optional = parameter.groups()
    if constraint and constraint not in _CONSTRAINTS:
        raise BadRoute(f"the route constraint '{constraint}' is not known here; use one of {', '.join(_CONSTRAINTS)}")
    value = ".*" if stars else _CONSTRAINTS[constraint] if constraint else "[^/]+"
    return f"(?:/(?P<{name}>{value}))?" if optional or stars else f"/(?P<{name}>{value})"
