"""Assembles the host: the app's functions with their endpoints and listeners, from start to stop.

A function that cannot be served, such as a timer with a bad schedule, is reported and left out; the others run,
as in the real host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import web

from simulator.host import eventgrid_webhook
from simulator.host.admin import Administration
from simulator.host.configuration import HostOptions
from simulator.host.eventgrid_webhook import EventGridWebhook
from simulator.host.http_routes import HttpFunctions, Route, route_of
from simulator.host.invoker import Invoker
from simulator.host.keys import Keys
from simulator.host.logs import host_logger
from simulator.host.queue_listener import NoConnection, QueueListener
from simulator.host.timer_listener import TimerListener
from simulator.host.worker import Function, UnresolvedSetting, Worker

_MAX_BODY = 100 * 1024 * 1024  # the real host's limit


class Listener(Protocol):
    async def listen(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(slots=True)
class _Served:
    """The app's functions after loading."""

    webhooks: dict[str, Function] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    listeners: list[Listener] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)


class CannotListen(Exception):
    """The address or port is not available."""


class Host:
    """Start, then stop; `url` is known after the start. `drain`: the seconds that running functions get to end."""

    def __init__(self, worker: Worker, options: HostOptions, keys: Keys, drain: float) -> None:
        self._options = options
        self._keys = keys
        self._drain = drain
        self._invoker = Invoker(worker, options.function_timeout)
        self._served = self._serve(worker)
        self._runner = web.AppRunner(self._web(worker), access_log=None, shutdown_timeout=drain)
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    @property
    def errors(self) -> Mapping[str, str]:
        """The functions that cannot be served, with the reasons."""
        return self._served.errors

    async def start(self, address: str, port: int) -> None:
        """Start to serve; raises CannotListen if the port is taken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, address, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise CannotListen(f"cannot listen on {address}:{port}: {error.strerror}") from None
        self.url = f"http://{address}:{self._runner.addresses[0][1]}"
        self._tasks = [asyncio.create_task(listener.listen()) for listener in self._served.listeners]

    async def run_until(self, stop: asyncio.Event) -> None:
        """Serve until asked to stop; an error in a listener ends the host."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait([stopping, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for task in done - {stopping}:
            task.result()

    async def stop(self) -> None:
        """Accept nothing new, let running functions end, and settle their messages."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()
        cut = await self._invoker.drain(self._drain)
        if cut:
            host_logger.warning("%d invocations were cut off after %.0f s", cut, self._drain)
        await asyncio.gather(*(listener.close() for listener in self._served.listeners))

    def _serve(self, worker: Worker) -> _Served:
        served = _Served()
        for function in worker.functions.values():
            try:
                self._open(function, served)
            except (NoConnection, UnresolvedSetting, ValueError) as error:  # a bad schedule or route is a ValueError
                host_logger.error("The '%s' function is in error: %s", function.name, error)
                served.errors[function.name] = str(error)
        return served

    def _open(self, function: Function, served: _Served) -> None:
        unsupported = function.unsupported()
        if unsupported:
            raise ValueError(f"this host has no '{unsupported}' binding")
        match function.trigger_type:
            case "eventGridTrigger":
                served.webhooks[function.name] = function
            case "queueTrigger":
                served.listeners.append(QueueListener(function, self._options.queues, self._invoker))
            case "timerTrigger":
                served.listeners.append(TimerListener(function, self._invoker))
            case _:
                served.routes.append(route_of(function))

    def _web(self, worker: Worker) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY)
        webhook = EventGridWebhook(self._served.webhooks, self._invoker)
        http = HttpFunctions(self._served.routes, self._options.route_prefix, self._invoker, self._keys)

        async def guarded_webhook(request: web.Request) -> web.Response:
            return await webhook.handle(request) if self._keys.allow("system", request) else web.Response(status=401)

        app.router.add_post(eventgrid_webhook.PATH, guarded_webhook)
        Administration(worker.functions, self._served.errors, self._invoker, self._keys).add_routes(app)
        app.router.add_route("*", "/{path:.*}", http.handle)
        return app
