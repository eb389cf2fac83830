"""Extensions of the user's own, with nested settings and templates of the machine, on real parts: from an event to
`Installed`, on Linux and Windows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml

from simulator.arm import Guest, Machine, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import CloudOptions, Laptop
from tests.extension_examples import APP_SETTINGS, CERTIFICATE, ENTRIES, POLICIES

pytestmark = pytest.mark.asyncio(loop_scope="module")

JAMMY = {
    "image": {
        "publisher": "Canonical",
        "offer": "0001-com-ubuntu-server-jammy",
        "sku": "22_04-lts",
        "version": "latest",
    },
    "guest": Guest(os_name="ubuntu", os_version="22.04", agent_delay=0),
}
SERVER = {
    "os_type": "Windows",
    "image": {
        "publisher": "MicrosoftWindowsServer",
        "offer": "WindowsServer",
        "sku": "2022-datacenter",
        "version": "latest",
    },
    "guest": Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1", agent_delay=0),
}


@dataclass(frozen=True)
class World:
    laptop: Laptop
    ledger: Ledger

    async def installed(self, name: str, wants: str, spec: dict[str, Any]) -> Machine:
        """Create a VM and wait until the extension that it wants is on it."""
        machine = self.laptop.arm.create_vm(VmSpec(name=name, tags={"wants": wants}, **spec))
        deadline = time.monotonic() + 20
        while True:
            rows = [row for row in await self.rows(machine) if row.outcome == "Installed"]
            if rows:
                return machine
            assert time.monotonic() < deadline, await self.rows(machine)
            await asyncio.sleep(0.05)

    async def rows(self, machine: Machine) -> list[Row]:
        prefix = f"vm|{machine.group}|{machine.name}|".lower()
        return [Row(each) for each in await self.ledger.everything() if each["RowKey"].startswith(prefix)]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    policies = tmp_path_factory.mktemp("policies")
    (policies / "extensions").mkdir()
    for entry in ENTRIES:
        (policies / "extensions" / f"{entry['name']}.yaml").write_text(yaml.safe_dump(entry))
    for policy in POLICIES:
        (policies / f"{policy['name']}.yaml").write_text(yaml.safe_dump(policy))
    async with Laptop(CloudOptions(scale=3000)) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        await laptop.start_host(policies, APP_SETTINGS)
        yield World(laptop, ledger)


@pytest.mark.parametrize(("system", "type_"), [(JAMMY, "KeyVaultForLinux"), (SERVER, "KeyVaultForWindows")])
async def test_nested_settings_reach_the_machine_and_are_confirmed(
    world: World, system: dict[str, Any], type_: str
) -> None:
    identity = {"identity": {"type": "SystemAssigned"}}
    machine = await world.installed(f"vault-{type_[-5:].lower()}", "certificates", system | identity)
    (extension,) = machine.extensions.values()
    assert (extension.type, extension.properties["enableAutomaticUpgrade"]) == (type_, True)
    # With the system-assigned identity alone, the default `authenticationSettings` is left out.
    assert extension.properties["settings"] == {
        "secretsManagementSettings": {
            "observedCertificates": [CERTIFICATE],
            "retries": 3,
            "pollingIntervalInS": "3600",
        }
    }


async def test_templates_of_the_machine_are_filled_in_public_and_protected_settings(world: World) -> None:
    machine = await world.installed("scripted", "script", JAMMY)
    (extension,) = machine.extensions.values()
    assert extension.properties["settings"] == {
        "fileUris": [f"https://files.example/{machine.location}/setup.sh"],
        "timestamp": 123456789,
    }
    assert extension.protected_settings == {
        "commandToExecute": f"sh setup.sh {machine.id} {APP_SETTINGS['SETUP_TOKEN']}",
        "storageAccount": {"name": "files", "key": APP_SETTINGS["STORAGE_KEY"]},
    }


async def test_an_agent_without_an_identity_is_sent_no_authentication(world: World) -> None:
    machine = await world.installed("monitored", "monitor", JAMMY)
    (extension,) = machine.extensions.values()
    assert extension.properties["settings"] == {
        "proxy": {"mode": "application", "address": "http://proxy.example:3128"}
    }
    assert extension.protected_settings["proxy"]["password"] == APP_SETTINGS["PROXY_PASSWORD"]


async def test_no_row_holds_a_value_of_protected_settings(world: World) -> None:
    await world.installed("masked", "script", JAMMY)
    await world.installed("masked-too", "monitor", JAMMY)
    stored = str(await world.ledger.everything())
    assert "masked-too" in stored
    assert not [name for name, value in APP_SETTINGS.items() if value in stored]
