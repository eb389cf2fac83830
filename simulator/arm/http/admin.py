"""What only the simulator knows, for people and tests: over plain HTTP, on a port of its own, and not as part of ARM.

`GET /machines`: of each VM which agents send, whether the new agent's data flows, why not, and which applications lost
their token. `GET /gaps`: each time in which no agent of a running VM sent, and whose write began it.
`GET /actions`: the operations that each principal needed, and whether they were granted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from simulator.arm.compute.machines import Machine
from simulator.arm.identity.applications import Breakage
from simulator.arm.insights.insights import Insights
from simulator.arm.platform import Platform
from simulator.arm.scopes import Scopes


class AdminEndpoint:
    def __init__(self, platform: Platform, scopes: Scopes, insights: Insights) -> None:
        self._platform = platform
        self._scopes = scopes
        self._insights = insights

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/machines", self._machines)
        application.router.add_get("/gaps", self._gaps)
        application.router.add_get("/actions", self._actions)
        return application

    async def _machines(self, request: web.Request) -> web.Response:
        return web.json_response([self._described(machine) for machine in self._platform.machines])

    async def _gaps(self, request: web.Request) -> web.Response:
        gaps = [asdict(gap) for gap in self._insights.sending.gaps]
        return web.Response(text=json.dumps(gaps, default=str), content_type="application/json")

    async def _actions(self, request: web.Request) -> web.Response:
        return web.json_response([asdict(needed) for needed in self._scopes.needed])

    def _described(self, machine: Machine) -> dict[str, Any]:
        flow = self._insights.data_flow(machine)
        return {
            "id": machine.id,
            "dataFlows": flow.flows,
            "reason": flow.reason,
            "sending": sorted(self._insights.senders(machine)),
            "breakages": [asdict(each) for each in _of(machine, self._platform.breakages)],
        }


def _of(machine: Machine, breakages: Sequence[Breakage]) -> list[Breakage]:
    return [each for each in breakages if each.vm == machine.key]
