"""Extensions of the user's own, with nested settings and templates of the machine, on real parts: from an event to
`Installed`, on Linux and Windows. Another version and another secret reach them by the sweep of a host with both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from simulator import arm
from simulator.arm import Guest, Machine, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import SUBSCRIPTIONS, CloudOptions, Laptop
from tests.extension_examples import APP_SETTINGS, CERTIFICATE, ENTRIES, POLICIES

pytestmark = pytest.mark.asyncio(loop_scope="module")

JAMMY: dict[str, Any] = {
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


METRICS: dict[str, Any] = {
    "name": "metrics",
    "publisher": "Contoso.Metrics",
    "type": "MetricsLinux",
    "version": "1.9",
    "resourceName": "Metrics",
    "os": "linux",
    "protectedSettings": {"properties": {"token": {"type": "string"}}},
}
METRICS_POLICY = {"name": "metrics", "extension": "metrics", "protectedSettings": {"token": "{METRICS_TOKEN}"}}
FIRST, SECOND = "a first token of 2026", "a second token of 2026"
SWEPT = {"ONBOARDING_DIGEST_KEY": "0123456789abcdef" * 4, "SWEEP_PATIENCE": "1s", "SWEEP_SCHEDULE": "* * * * * *"}


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


async def test_a_new_version_and_a_new_secret_reach_what_we_installed(tmp_path: Path) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "metrics.yaml").write_text(yaml.safe_dump(METRICS_POLICY))
    write_entry(tmp_path, "1.9")
    options = arm.Options(subscriptions=tuple(SUBSCRIPTIONS), generic_handlers=("contoso.*",))
    async with (
        Laptop(CloudOptions(scale=3000, options=options)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
    ):
        host = await laptop.start_host(tmp_path, {**SWEPT, "METRICS_TOKEN": FIRST})
        machine = laptop.arm.create_vm(VmSpec(name="web", **JAMMY))
        await until(ledger, "1.9.0")
        await asyncio.to_thread(host.stop)
        write_entry(tmp_path, "1.10")
        await laptop.start_host(tmp_path, {**SWEPT, "METRICS_TOKEN": SECOND})
        row = await until(ledger, "1.10.0")
        (extension,) = machine.extensions.values()
        assert (extension.handler_version, extension.properties["typeHandlerVersion"]) == ("1.10.0", "1.10")
        assert extension.protected_settings == {"token": SECOND}
        assert '"from":{"version":"1.9"},"to":{"version":"1.10"}' in row["Update"]
        assert "UndoneAt" not in row
        stored = str(await ledger.everything())
        assert not [each for each in (FIRST, SECOND, SWEPT["ONBOARDING_DIGEST_KEY"]) if each in stored]


def write_entry(folder: Path, version: str) -> None:
    (folder / "extensions" / "metrics.yaml").write_text(yaml.safe_dump({**METRICS, "version": version}))


async def until(ledger: Ledger, version: str) -> dict[str, Any]:
    """The row, once it says that this version of the extension is installed."""
    deadline = time.monotonic() + 60
    while True:
        rows = [each for each in await ledger.everything() if each["RowKey"].startswith("vm|") and "Outcome" in each]
        found = [each for each in rows if Row(each).outcome == "Installed" and each["ExtensionVersion"] == version]
        if found:
            return dict(found[0])
        assert time.monotonic() < deadline, rows
        await asyncio.sleep(0.1)
