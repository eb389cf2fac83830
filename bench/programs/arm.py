"""`python -m bench.programs.arm FOLDER`: an ARM that takes almost no time, so that the bench measures the product.

It has TLS, a token check, the roles that ship with the app, the bodies of the simulator (made once), Resource Graph's
pages of a fleet, a latency that can be set, and a record of its requests. The managed identity and the record have
their own port. The process ends when its standard input does.
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

from bench.programs.fleet import PAGE, page_of
from bench.workload import (
    AGENT_NAME,
    EQUIPPED,
    EXTENSION_NAME,
    FITTING,
    GROUP,
    SUBSCRIPTION,
    VM_ID,
    WORKSPACE,
    subscription_of,
    vm_path,
)
from simulator.arm import ArmError, ArmSimulator, Guest, Kind, Role, VmSpec
from simulator.arm.actions import ACTIONS, NeededActions
from simulator.arm.http.targets import read_target
from simulator.arm.http.views import vm_body
from simulator.clock import ManualClock
from simulator.roles import assign_shipped_roles
from simulator.tls import make_certificates

TEMPLATE_NAME = "vm-of-the-template"
_TOKEN = "token-of-the-bench"
_LEFT = (
    "Microsoft.Compute/{0}SubscriptionMaximum;{1},Microsoft.Compute/{0}Resource;11",
    "x-ms-ratelimit-remaining-resource",
)


# The burst measures ARM's own limits; here no request may have to wait for them.
_OUT_OF_REACH = {f"x-ms-ratelimit-remaining-subscription-{kind}": "100000" for kind in ("reads", "writes")}


class MinimalArm:
    """`latency` is the time of each answer, in seconds; `fleet` the number of VMs in Resource Graph, in so many
    `subscriptions`."""

    def __init__(self, vm: bytes, equipped: bytes, with_identity: bytes) -> None:
        self.latency = 0.0
        self.fleet = 0
        self.subscriptions = 1
        self.calls: Counter[str] = Counter()
        self.puts: dict[str, float] = {}
        self._vm = vm
        self._equipped = equipped
        self._with_identity = with_identity
        self._patched: set[str] = set()
        roles = ArmSimulator(ManualClock())
        assign_shipped_roles(roles, map(subscription_of, range(99)))
        self._scopes, self._principal = roles.scopes, roles.options.principal_id
        # The script waits for its operations; the product has no right to.
        self._scopes.assign(self._principal, f"/subscriptions/{SUBSCRIPTION}", Role((ACTIONS[Kind.OPERATION_POLL],)))
        self._allowed: set[tuple[object, ...]] = set()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """GET of a VM, PUT and GET of an extension, and the operation of a PUT, which has always succeeded; PATCH of an
        identity, which is there at once, and PUT of an association."""
        arrived = time.monotonic()
        if request.headers.get("Authorization") != f"Bearer {_TOKEN}":
            return web.json_response({"error": {"code": "AuthenticationFailed", "message": "no token"}}, status=401)
        body = await request.read()
        if self.latency:
            await asyncio.sleep(self.latency)
        parts = request.path.split("/")
        if refused := self._refusal(request, parts, body):
            return refused
        if request.path.endswith("/Microsoft.ResourceGraph/resources"):
            return self._graph(json.loads(body))
        if request.path == "/subscriptions":
            ids = map(subscription_of, range(self.subscriptions))
            listed = json.dumps({"value": [{"subscriptionId": each, "state": "Enabled"} for each in ids]}).encode()
            return self._answered("subscriptions", listed, "LowCostGet", 100_000)
        if "operations" in parts:
            return self._answered("poll", b'{"status":"Succeeded"}', "GetOperation", 100_000)
        if "dataCollectionRuleAssociations" in parts:
            return self._answered("association", body, "UpdateVM", 100_000, status=201)
        if request.method == "PATCH":
            self._patched.add(parts[8])
            return self._answered("patch", self._body_of(parts[8]), "UpdateVM", 100_000)
        if request.method == "PUT":
            self.puts[parts[8]] = arrived
            host = request.headers["Host"]
            url = f"https://{host}/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/x/operations/1"
            url += "?api-version=2026-04-01"
            return self._answered("put", body, "UpdateVM", 100_000, status=201, headers={"Azure-AsyncOperation": url})
        if "extensions" in parts:
            content = json.dumps(_installed(request.path)).encode()
            return self._answered("get", content, "LowCostGet", 100_000)
        return self._answered("get", self._body_of(parts[8]), "LowCostGet", 100_000)

    def _refusal(self, request: web.BaseRequest, parts: list[str], body: bytes) -> web.Response | None:
        """ARM's refusal of what the roles do not allow. It is looked up once for each method and type: the lookup takes
        longer than the answer."""
        shape = (request.method, len(parts), *parts[6:8], *parts[9::2])
        if shape in self._allowed:
            return None
        try:
            target = read_target(request.method, request.path)
            self._scopes.check(target, request.method, self._principal, json.loads(body or b"{}"))
        except ArmError as error:
            return web.json_response(error.body, status=error.status)
        self._allowed.add(shape)
        return None

    def _body_of(self, name: str) -> bytes:
        has_identity = name.startswith(FITTING) or name in self._patched
        vm = self._with_identity if has_identity else self._equipped if name.startswith(EQUIPPED) else self._vm
        return vm.replace(TEMPLATE_NAME.encode(), name.encode())

    def _graph(self, query: dict[str, Any]) -> web.Response:
        """A page of the fleet, from the position in the token."""
        first = int(query["options"].get("$skipToken") or 0)
        last = min(first + PAGE, self.fleet)
        following = b',"$skipToken":"%d"' % last if last < self.fleet else b""
        template = b'{"totalRecords":%d,"count":%d,"resultTruncated":"false","facets":[]%b,"data":%b}'
        templates = _as_row(self._vm), _as_row(self._equipped)
        rows = page_of(*templates, TEMPLATE_NAME.encode(), first, last, self.subscriptions)
        quota = {"x-ms-user-quota-remaining": "14", "x-ms-user-quota-resets-after": "00:00:05"}
        content = template % (self.fleet, last - first, following, rows)
        return self._answered("graph", content, "LowCostGet", 100_000, headers=quota)

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
        known = {name: value.format(bucket, left), **_OUT_OF_REACH, "x-ms-request-id": "bench", **(headers or {})}
        return web.Response(body=body, status=status, headers=known, content_type="application/json")

    async def control(self, request: web.BaseRequest) -> web.Response:
        """The control port: a token, or the record (`?latency=&fleet=` begins a new one)."""
        if request.path == "/token":
            grant = {"access_token": _TOKEN, "expires_on": str(int(time.time()) + 86_400), "token_type": "Bearer"}
            return web.json_response(grant | {"resource": request.query.get("resource", "")})
        record: dict[str, Any] = {"calls": dict(self.calls), "puts": self.puts}
        record["operations"] = sorted(self._scopes.needed.of(self._principal))
        answer = web.json_response(record)
        if "latency" in request.query:
            self.latency = float(request.query["latency"])
            self.fleet = int(request.query.get("fleet", "0"))
            self.subscriptions = int(request.query.get("subscriptions", "1"))
            self.calls, self.puts, self._patched = Counter(), {}, set()
            self._scopes.needed, self._allowed = NeededActions(), set()
        return answer


def _installed(path: str) -> dict[str, Any]:
    """The extension as the product requested it, after its handler has succeeded."""
    agent = path.endswith(AGENT_NAME)
    properties = {
        "publisher": "Microsoft.Azure.Monitor" if agent else "Microsoft.EnterpriseCloud.Monitoring",
        "type": AGENT_NAME if agent else "OmsAgentForLinux",
        "typeHandlerVersion": "1.36" if agent else "1.3",
        "provisioningState": "Succeeded",
        "settings": {} if agent else {"workspaceId": WORKSPACE},
    }
    return {"id": path, "name": AGENT_NAME if agent else EXTENSION_NAME, "properties": properties}


def _as_row(body: bytes) -> bytes:
    """A VM as in the result of the product's query: extensions and power state at other places, created long ago."""
    vm = json.loads(body)
    properties = {**vm["properties"], "timeCreated": "2026-01-01T00:00:00Z"}
    view = properties.pop("instanceView")
    properties["extended"] = {"instanceView": {"powerState": view["statuses"][-1]}}
    kept = {name: value for name, value in vm.items() if name != "resources"}
    return json.dumps({**kept, "properties": properties, "extensions": vm.get("resources") or []}).encode()


async def templates() -> tuple[bytes, bytes, bytes]:
    """The simulator's bodies of a running VM without extensions, of the same with the extension, and of the same
    with an identity instead."""
    clock = ManualClock()
    simulator = ArmSimulator(clock)
    image = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
    guest = Guest(os_name="centos", os_version="7.9", agent_delay=0)
    spec = VmSpec(name=TEMPLATE_NAME, group=GROUP, subscription=SUBSCRIPTION, image=image, guest=guest)
    machine = simulator.add_vm(spec)
    await clock.advance(60)
    body = vm_body(machine, clock, expanded=True)
    body["properties"]["vmId"] = VM_ID
    extension = {
        "id": f"{body['id']}/extensions/{EXTENSION_NAME}",
        "name": EXTENSION_NAME,
        "type": "Microsoft.Compute/virtualMachines/extensions",
        "location": body["location"],
        "properties": {
            "publisher": "Microsoft.EnterpriseCloud.Monitoring",
            "type": "OmsAgentForLinux",
            "typeHandlerVersion": "1.3",
            "autoUpgradeMinorVersion": True,
            "provisioningState": "Succeeded",
            "settings": {"workspaceId": WORKSPACE},
        },
    }
    identity = {"type": "SystemAssigned", "principalId": VM_ID, "tenantId": SUBSCRIPTION}
    variants: tuple[dict[str, Any], ...] = ({}, {"resources": [extension]}, {"identity": identity})
    bare, equipped, with_identity = (json.dumps({**body, **more}).encode() for more in variants)
    return bare, equipped, with_identity


async def _serve(folder: Path) -> None:
    arm = MinimalArm(*await templates())
    loop = asyncio.get_running_loop()
    context = make_certificates(folder).server_context()
    servers = [
        await loop.create_server(web.Server(arm.answer, access_log=None), "127.0.0.1", 0, ssl=context),
        await loop.create_server(web.Server(arm.control, access_log=None), "127.0.0.1", 0),
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    print(f"ready {ports[0]} {ports[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    assert vm_path(TEMPLATE_NAME).split("/")[8] == TEMPLATE_NAME
    asyncio.run(_serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
