"""`python -m bench.arm FOLDER`: an ARM that costs next to nothing, so that it is not what the line's bench measures.

TLS, a token check, the bodies of the simulator (made once), a latency that can be set, and a record of what was asked
when. Managed identities and the record have a door of their own. Ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.workload import EQUIPPED, EXTENSION_NAME, GROUP, SUBSCRIPTION, WORKSPACE, vm_path
from simulator.arm import ArmSimulator, Guest, VmSpec
from simulator.arm.views import vm_body
from simulator.clock import ManualClock
from simulator.tls import make_certificates

_NAME = "vm-of-the-template"
_TOKEN = "token-of-the-bench"
_LEFT = (
    "Microsoft.Compute/{0}SubscriptionMaximum;{1},Microsoft.Compute/{0}Resource;11",
    "x-ms-ratelimit-remaining-resource",
)


class LeanArm:
    """`latency` is how long each answer takes, in seconds; `installing` how long an operation is under way."""

    def __init__(self, vm: bytes, equipped: bytes) -> None:
        self.latency = 0.0
        self.calls: Counter[str] = Counter()
        self.puts: dict[str, float] = {}
        self._vm = vm
        self._equipped = equipped

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """GET of a VM, PUT and GET of an extension, and the operation of a PUT, which has always ended."""
        arrived = time.monotonic()
        if request.headers.get("Authorization") != f"Bearer {_TOKEN}":
            return web.json_response({"error": {"code": "AuthenticationFailed", "message": "no token"}}, status=401)
        body = await request.read()
        if self.latency:
            await asyncio.sleep(self.latency)
        parts = request.path.split("/")
        if "operations" in parts:
            return self._answered("poll", b'{"status":"Succeeded"}', "GetOperation", 14_000)
        if request.method == "PUT":
            self.puts[parts[8]] = arrived
            host = request.headers["Host"]
            url = f"https://{host}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/x/operations/1"
            url += "?api-version=2026-04-01"
            return self._answered("put", body, "UpdateVM", 1_400, status=201, headers={"Azure-AsyncOperation": url})
        if "extensions" in parts:
            content = json.dumps({"name": EXTENSION_NAME, "properties": {"provisioningState": "Succeeded"}}).encode()
            return self._answered("get", content, "LowCostGet", 23_000)
        vm = self._equipped if parts[8].startswith(EQUIPPED) else self._vm
        return self._answered("get", vm.replace(_NAME.encode(), parts[8].encode()), "LowCostGet", 23_000)

    def _answered(
        self,
        kind: str,
        body: bytes,
        bucket: str,
        left: int,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> web.Response:
        self.calls[kind] += 1
        value, name = _LEFT
        known = {name: value.format(bucket, left), "x-ms-request-id": "bench", **(headers or {})}
        return web.Response(body=body, status=status, headers=known, content_type="application/json")

    async def tell(self, request: web.BaseRequest) -> web.Response:
        """The other door: a token, or the record (`?latency=` begins a new one)."""
        if request.path == "/token":
            grant = {"access_token": _TOKEN, "expires_on": str(int(time.time()) + 86_400), "token_type": "Bearer"}
            return web.json_response(grant | {"resource": request.query.get("resource", "")})
        record: dict[str, Any] = {"calls": dict(self.calls), "puts": self.puts}
        answer = web.json_response(record)
        if "latency" in request.query:
            self.latency = float(request.query["latency"])
            self.calls, self.puts = Counter(), {}
        return answer


async def templates() -> tuple[bytes, bytes]:
    """A VM that runs and has no extensions, and the same with the extension, in the simulator's own words."""
    clock = ManualClock()
    simulator = ArmSimulator(clock)
    image = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
    guest = Guest(os_name="centos", os_version="7.9", agent_delay=0)
    spec = VmSpec(name=_NAME, group=GROUP, subscription=SUBSCRIPTION, image=image, guest=guest)
    machine = simulator.add_vm(spec)
    await clock.advance(60)
    body = vm_body(machine, clock, expanded=True)
    extension = {
        "id": f"{body['id']}/extensions/{EXTENSION_NAME}",
        "name": EXTENSION_NAME,
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "location": body["location"],
        "properties": {
            "publisher": "Microsoft.EnterpriseCloud.Monitoring",
            "type": "OmsAgentForLinux",
            "typeHandlerVersion": "1.0",
            "autoUpgradeMinorVersion": True,
            "provisioningState": "Succeeded",
            "settings": {"workspaceId": WORKSPACE},
        },
    }
    return json.dumps(body).encode(), json.dumps({**body, "resources": [extension]}).encode()


async def _serve(folder: Path) -> None:
    arm = LeanArm(*await templates())
    loop = asyncio.get_running_loop()
    context = make_certificates(folder).server_context()
    doors = [
        await loop.create_server(web.Server(arm.answer, access_log=None), "127.0.0.1", 0, ssl=context),
        await loop.create_server(web.Server(arm.tell, access_log=None), "127.0.0.1", 0),
    ]
    ports = [door.sockets[0].getsockname()[1] for door in doors]
    print(f"ready {ports[0]} {ports[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    assert vm_path(_NAME).split("/")[8] == _NAME
    asyncio.run(_serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
