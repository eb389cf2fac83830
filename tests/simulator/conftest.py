"""A running simulator with a manual clock, and two kinds of clients: the real SDK and raw HTTP."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from azure.core.credentials import AccessToken
from azure.mgmt.compute.aio import ComputeManagementClient
from yarl import URL

from simulator.arm import ArmSimulator, Endpoints, Machine, Options, VmSpec
from simulator.clock import ManualClock

AUDIENCE = "https://management.azure.com"
OMS: dict[str, Any] = {"publisher": "Microsoft.EnterpriseCloud.Monitoring", "type": "OmsAgentForLinux"}
WORKSPACE = "11111111-2222-4333-8444-555555555555"
KEY = "c2VjcmV0LXdvcmtzcGFjZS1rZXk="


def oms_body(*, location: str = "westeurope", **properties: Any) -> dict[str, Any]:
    """The PUT body of the OMS extension in the REST API's form."""
    usual = {
        **OMS,
        "typeHandlerVersion": "1.3",
        "autoUpgradeMinorVersion": True,
        "settings": {"workspaceId": WORKSPACE},
        "protectedSettings": {"workspaceKey": KEY},
    }
    return {"location": location, "properties": usual | properties}


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str:
        return str(self.body["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.body["error"]["message"])


class Credential:
    """Requests a token from the simulator, like the managed identity."""

    def __init__(self, arm: ArmSimulator) -> None:
        self._arm = arm

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        token = self._arm.tokens.issue(scopes[0].removesuffix("/.default"))
        return AccessToken(token.value, int(token.expires.timestamp()))

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Credential:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@dataclass(slots=True)
class Scene:
    arm: ArmSimulator
    clock: ManualClock
    endpoints: Endpoints
    session: aiohttp.ClientSession
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str = "web-1", **spec: Any) -> Machine:
        """Add a VM that has existed for long."""
        return self.arm.add_vm(VmSpec(name=name, **spec))

    async def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        """Send a raw request with a valid token; `path` may be absolute. Options: version, headers, text."""
        version = options.get("version", "2024-11-01")
        url = path if path.startswith("https:") else self.endpoints.arm + path
        if version and "api-version" not in url:
            url += ("&" if "?" in url else "?") + f"api-version={version}"
        headers = {"Authorization": f"Bearer {self.arm.tokens.issue(AUDIENCE).value}"} | options.get("headers", {})
        data = options.get("text") or (None if body is None else json.dumps(body))
        async with self.session.request(method, URL(url, encoded=True), data=data, headers=headers) as response:
            text = await response.text()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Reply(response.status, json.loads(text) if is_json and text else text, response.headers)

    async def put_oms(self, machine: Machine, name: str = "OMSExtension", **properties: Any) -> Reply:
        return await self.call("PUT", f"{machine.id}/extensions/{name}", oms_body(**properties))

    async def poll(self, accepted: Reply) -> Reply:
        return await self.call("GET", accepted.headers["Azure-AsyncOperation"])

    async def view(self, machine: Machine) -> dict[str, Any]:
        reply = await self.call("GET", f"{machine.id}?$expand=instanceView")
        view: dict[str, Any] = reply.body["properties"]["instanceView"]
        return view

    def client(self, subscription: str = VmSpec(name="x").subscription) -> ComputeManagementClient:
        """The real SDK, unchanged; only the endpoint and the authority it trusts are ours."""
        return ComputeManagementClient(
            Credential(self.arm),
            subscription,
            base_url=self.endpoints.arm,
            credential_scopes=[f"{AUDIENCE}/.default"],
            connection_verify=str(self.endpoints.ca_file),
            retry_total=0,
        )


MakeScene = Callable[..., Any]


@pytest.fixture
async def make_scene() -> AsyncIterator[MakeScene]:
    async with AsyncExitStack() as stack:

        async def make(**options: Any) -> Scene:
            return await stack.enter_async_context(_scene(Options(**options)))

        yield make


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with _scene(Options()) as scene:
        yield scene


@asynccontextmanager
async def _scene(options: Options) -> AsyncIterator[Scene]:
    clock = ManualClock()
    events: list[dict[str, Any]] = []
    arm = ArmSimulator(clock, seed=1, publish=events.append, options=options)
    endpoints = await arm.start()
    context = ssl.create_default_context(cafile=str(endpoints.ca_file))
    connector = aiohttp.TCPConnector(ssl=context)
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Scene(arm, clock, endpoints, session, events)
    finally:
        await arm.stop()
