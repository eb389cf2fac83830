"""A person and the function app on the same VMs, on real parts. The person sends the requests that the Azure CLI sends;
`tests/az` lets the CLI itself do the same."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from simulator.demo.ledger import Ledger
from simulator.laptop import ROOT, SUBSCRIPTIONS, CloudOptions, Laptop
from tests.e2e.writers.two_writers import GROUP, SCENARIOS, TwoWriters, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

_VERSION = {"api-version": "2024-11-01"}
_PUBLISHER, _TYPE = "Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux"


@dataclass(frozen=True)
class Requests:
    """A person whose hands are plain requests, those of `az vm`."""

    laptop: Laptop
    session: aiohttp.ClientSession

    async def install(self, vm: str, workspace: str, key: str) -> bool:
        """`az vm extension set`: it updates the extension of that handler under whatever name it has."""
        _, machine = await self._send("GET", vm, **{"$expand": "instanceView"})
        found = [e["name"] for e in machine.get("resources", ()) if e["properties"]["type"] == _TYPE]
        properties = {
            "autoUpgradeMinorVersion": True,
            "publisher": _PUBLISHER,
            "type": _TYPE,
            "typeHandlerVersion": "1.3",
            "settings": {"workspaceId": workspace},
            "protectedSettings": {"workspaceKey": key},
        }
        body = {"location": machine["location"], "properties": properties}
        status, _ = await self._send("PUT", f"{vm}/extensions/{(found or [_TYPE])[0]}", body)
        return status in (200, 201)

    async def uninstall(self, vm: str) -> None:
        _, listed = await self._send("GET", f"{vm}/extensions")
        (name,) = (extension["name"] for extension in listed["value"])
        await self._taken("DELETE", f"{vm}/extensions/{name}")

    async def tag(self, vm: str) -> None:
        _, machine = await self._send("GET", vm)
        machine["properties"]["storageProfile"].pop("imageReference")
        await self._taken("PUT", vm, machine | {"tags": {"team": "a"}})

    async def stop(self, vm: str) -> None:
        await self._taken("POST", f"{vm}/deallocate")
        await self._until(vm, "PowerState/deallocated")

    async def start(self, vm: str) -> None:
        await self._taken("POST", f"{vm}/start")

    async def delete(self, vm: str) -> None:
        await self._taken("DELETE", vm)

    async def _until(self, vm: str, code: str) -> None:
        async def reached() -> bool | None:
            _, view = await self._send("GET", f"{vm}/instanceView")
            return any(status["code"] == code for status in view["statuses"]) or None

        await eventually(reached)

    async def _taken(self, method: str, path: str, body: Any = None) -> None:
        status, answer = await self._send(method, path, body)
        assert status in (200, 201, 202), answer

    async def _send(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        scope = f"/subscriptions/{next(iter(SUBSCRIPTIONS))}/resourceGroups/{GROUP}/providers/Microsoft.Compute"
        url = f"{self.laptop.endpoints.arm}{scope}/virtualMachines/{path}"
        token = self.laptop.arm.tokens.issue("https://management.azure.com", self.laptop.operator.principal_id)
        headers = {"Authorization": f"Bearer {token.value}"}
        async with self.session.request(method, url, params=_VERSION | query, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world() -> AsyncIterator[TwoWriters]:
    async with Laptop(CloudOptions(scale=1000)) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        await laptop.start_host(ROOT / "policies")
        context = ssl.create_default_context(cafile=str(laptop.endpoints.ca_file))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield TwoWriters(laptop, ledger, Requests(laptop, session), slow=1.5)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_the_row_ends_true(world: TwoWriters, scenario: Callable[[TwoWriters], Awaitable[None]]) -> None:
    await scenario(world)
