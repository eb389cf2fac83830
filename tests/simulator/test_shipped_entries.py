"""Every extension that ships, on real parts: from a VM with nothing to `Installed`, by a policy that gives what the
entry asks for. A new entry is tried by itself; what it needs beside its file is its handler in `handlers.yaml`."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
import yaml
from azure.mgmt.compute import models

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry
from onboarding.domain.catalog.setting_schema import SettingSchema
from onboarding.domain.catalog.support_table import Verdict, judge
from onboarding.domain.image.os_release import OsRelease, OsSource
from onboarding.domain.machine.machine_facts import OsType
from onboarding.loading.policy_folder import load_catalogue
from simulator.arm import Guest, Machine, Options, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import SUBSCRIPTIONS, CloudOptions, Laptop
from tests.simulator.sdk_models import unknown_keys

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

CATALOGUE = load_catalogue()
WAITS = {"install-request": {"every": ["4s"]}, "operation": {"every": ["1s"]}, "platform": {"every": ["1s"]}}
# Simulated seconds, of which a minute takes a second: long enough that no event comes before our own row.
DURATIONS = {what: (seconds,) * 3 for what, seconds in {"vm-create": 6.0, "vm-identity": 60.0, "install": 60.0}.items()}
# What the agent of the machine reports, and the release of it.
SYSTEMS: tuple[tuple[OsRelease, str], ...] = tuple(
    (OsRelease(distribution, version, "x86_64", os_type, OsSource.AGENT, "a test", product=product), name)
    for distribution, version, os_type, product, name in (
        ("ubuntu", "22.04", OsType.LINUX, "", "ubuntu"),
        ("ubuntu", "20.04", OsType.LINUX, "", "ubuntu"),
        ("ubuntu", "16.04", OsType.LINUX, "", "ubuntu"),
        ("windows", "10.0.20348", OsType.WINDOWS, "Server 2022", "Windows Server 2022 Datacenter"),
        ("windows", "10.0.26100", OsType.WINDOWS, "Server 2025", "Windows Server 2025 Datacenter"),
    )
)
SECRET = base64.b64encode(b"a secret of the test, long enough to be one").decode()
APP_SETTINGS = {"SECRET_OF_THE_TEST": SECRET}


def system_of(entry: CatalogueEntry) -> dict[str, Any]:
    """A machine with a system that the entry supports."""
    for release, name in SYSTEMS:
        if judge(release, entry.support_table("")).verdict is Verdict.SUPPORTED:
            guest = Guest(os_name=name, os_version=str(release.version), agent_delay=0)
            return {"os_type": str(entry.os_type), "image": None, "guest": guest}
    raise AssertionError(f"{entry.name} supports none of the systems of this test")


def required_of(schema: SettingSchema, value: str = "") -> Any:
    """The least value that the schema takes."""
    if schema.kind == "object":
        properties = schema.properties or {}
        return {name: required_of(properties[name], value) for name in schema.required}
    if schema.kind == "array":
        return [required_of(schema.items, value)] if schema.items else []
    if schema.enum:
        return schema.enum[0]
    by_format = {"guid": "11111111-2222-4333-8444-555555555555", "uri": "https://vault.example/secrets/web"}
    return value or by_format.get(schema.format or "", "text")


def policy_of(entry: CatalogueEntry) -> dict[str, Any]:
    wanting = [each.name for each in CATALOGUE.values() if each is entry or entry.name in each.needs.extensions]
    return {
        "name": entry.name,
        "extension": entry.name,
        "rule": {"field": "tags['wants']", "in": wanting},
        "identity": {"add": "system"},
        "settings": required_of(entry.settings),
        "protectedSettings": required_of(entry.protected_settings, "{SECRET_OF_THE_TEST}"),
        "waits": WAITS,
    }


@dataclass(frozen=True)
class World:
    ledger: Ledger
    machines: Mapping[str, Machine]  # by the name of the extension that each wants

    async def row(self, machine: Machine, extension: str) -> Row:
        """Wait for the extension's final row."""
        key = f"vm|{machine.group}|{machine.name}|{extension}".lower()
        deadline = time.monotonic() + 90
        while True:
            found = [Row(each) for each in await self.ledger.everything() if each["RowKey"] == key]
            if found and found[0].final:
                return found[0]
            assert time.monotonic() < deadline, [row.as_json() for row in found]
            await asyncio.sleep(0.2)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("policies")
    for entry in CATALOGUE.values():
        (folder / f"{entry.name}.yaml").write_text(yaml.safe_dump(policy_of(entry)))
    options = Options(subscriptions=tuple(SUBSCRIPTIONS), durations=DURATIONS)
    async with (
        Laptop(CloudOptions(scale=60, options=options)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
    ):
        await laptop.start_host(folder, APP_SETTINGS)
        machines = {
            entry.name: laptop.arm.create_vm(VmSpec(name=entry.name, tags={"wants": entry.name}, **system_of(entry)))
            for entry in CATALOGUE.values()
        }
        yield World(ledger, machines)


@pytest.mark.parametrize("name", list(CATALOGUE))
async def test_a_shipped_entry_comes_from_nothing_to_installed(world: World, name: str) -> None:
    entry, machine = CATALOGUE[name], world.machines[name]
    row = await world.row(machine, name)
    assert row.outcome == "Installed", row.as_json()
    installed = {(each.publisher, each.type): each for each in machine.extensions.values()}
    wanted = [entry, *(CATALOGUE[each] for each in entry.needs.extensions)]
    assert set(installed) == {(each.publisher, each.type) for each in wanted}
    extension = installed[entry.publisher, entry.type]
    sent = dict(extension.properties)
    assert (extension.name, sent["typeHandlerVersion"]) == (entry.resource_name, entry.version)
    assert sent.get("enableAutomaticUpgrade") == entry.enable_automatic_upgrade
    assert entry.problems(sent["settings"], extension.protected_settings) == ()
    body = {"location": machine.location, "properties": {**sent, "protectedSettings": {"any": "secret"}}}
    assert list(unknown_keys(models.VirtualMachineExtension(body))) == []
    secrets = required_of(entry.protected_settings, SECRET)
    assert extension.protected_settings == secrets


async def test_no_row_holds_a_secret_of_any_of_them(world: World) -> None:
    for name, machine in world.machines.items():
        await world.row(machine, name)
    assert SECRET not in str(await world.ledger.everything())
