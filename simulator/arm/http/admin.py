"""What only the simulator knows, for people and tests: over plain HTTP, on a port of its own, and not as part of ARM.

`GET /machines`: of each VM whether its agent's data flows, why not, and which applications lost their token.
`GET /actions`: the operations that each principal needed, and whether they were granted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from simulator.arm.compute.machines import Machine
from simulator.arm.identity.applications import Breakage
from simulator.arm.insights.data_flow import DataFlow
from simulator.arm.platform import Platform
from simulator.arm.scopes import Scopes


class AdminEndpoint:
    def __init__(self, platform: Platform, scopes: Scopes, data_flow: Callable[[Machine], DataFlow]) -> None:
        self._platform = platform
        self._scopes = scopes
        self._data_flow = data_flow

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/machines", self._machines)
        application.router.add_get("/actions", self._actions)
        return application

    async def _machines(self, request: web.Request) -> web.Response:
        return web.json_response([self._described(machine) for machine in self._platform.machines])

    async def _actions(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(needed) for needed in self._scopes.needed])

    def _described(self, machine: Machine) -> dict[str, Any]:
        flow = self._data_flow(machine)
        return {
            "id": machine.id,
            "dataFlows": flow.flows,
            "reason": flow.reason,
            "breakages": [asdict(each) for each in _of(machine, self._platform.breakages)],
        }


def _of(machine: Machine, breakages: Sequence[Breakage]) -> list[Breakage]:
    return [each for each in breakages if each.vm == machine.key]
