"""A user's catalogue entry for Windows on real parts: from an event to its outcome, and `onboard logs`."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from simulator.arm import Guest, HandlerRun, Machine, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.laptop import ROOT, CloudOptions, Laptop
from tests.windows_entry import ENTRY, POLICY

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER_2019 = Guest(os_name="Windows Server 2019 Datacenter", os_version="10.0.17763.1217", agent_delay=0)
SERVER_2008 = Guest(os_name="Windows Server 2008 R2 Datacenter", os_version="6.1.7601", agent_delay=0)
XENIAL = Guest(os_name="ubuntu", os_version="16.04", agent_delay=0)


def _marketplace(sku: str) -> dict[str, str]:
    return {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": sku, "version": "latest"}


@dataclass(frozen=True)
class World:
    laptop: Laptop
    ledger: Ledger
    environment: dict[str, str]

    def create(self, name: str, **spec: Any) -> Machine:
        usual: dict[str, Any] = {"os_type": "Windows", "image": _marketplace("2019-datacenter-gensecond")}
        return self.laptop.arm.create_vm(VmSpec(name=name, **(usual | {"guest": SERVER_2019} | spec)))

    async def ended(self, machine: Machine) -> Row:
        """Wait for the final row of the VM."""
        deadline = time.monotonic() + 20
        while True:
            row = (await self.ledger.current()).get(machine.id.lower())
            if row is not None and row.final:
                return row
            assert time.monotonic() < deadline, row
            await asyncio.sleep(0.05)

    async def logs(self, machine: Machine, policies: Path | None = None) -> tuple[int, str, str]:
        """The logs of the entry; with a folder of policies those of the extensions that they use."""
        chosen = () if policies else ("--extension", ENTRY["name"])
        environment = self.environment | ({"ONBOARDING_POLICIES": str(policies)} if policies else {})
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "onboarding", "logs", machine.id, *chosen),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env=environment,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    policies = tmp_path_factory.mktemp("policies")
    (policies / "extensions").mkdir()
    (policies / "extensions" / "windows.yaml").write_text(yaml.safe_dump(ENTRY))
    (policies / "windows.yaml").write_text(yaml.safe_dump(POLICY))
    async with Laptop(CloudOptions(scale=3000)) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        await laptop.start_host(policies)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        yield World(laptop, ledger, {**kept, **laptop.host_environment(policies, {})})


async def test_a_release_that_the_table_names_is_installed_in_three_calls(world: World) -> None:
    machine = world.create("listed")
    row = await world.ended(machine)
    assert (row.outcome, row.system, row.text("Verdict")) == ("Installed", "windows Server 2019", "supported")
    (extension,) = machine.extensions.values()
    assert extension.type == "MicrosoftMonitoringAgent"
    await world.laptop.grid.idle()
    assert dict(world.laptop.arm.requests.kinds(vm=machine.id)) == {"vm-get": 1, "extension-put": 1, "extension-get": 1}


async def test_an_older_release_is_unsupported_and_costs_one_call(world: World) -> None:
    machine = world.create("old", image=_marketplace("2008-R2-SP1"), guest=SERVER_2008)
    row = await world.ended(machine)
    assert (row.outcome, row.system) == ("Unsupported", "windows Server 2008 R2")
    assert "no row for Windows Server 2008 R2" in row.text("Reason")
    assert dict(world.laptop.arm.requests.kinds(vm=machine.id)) == {"vm-get": 1}


async def test_the_guest_agent_tells_a_release_that_the_image_name_does_not(world: World) -> None:
    newer = Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1", agent_delay=0)
    row = await world.ended(world.create("unnamed", image=None, guest=newer))
    assert (row.outcome, row.text("Witness")) == ("Installed", "guest agent")


async def test_an_unknown_os_is_undetermined(world: World) -> None:
    mute = Guest(os_name="Windows", os_version="10.0.17763", agent_delay=0)
    row = await world.ended(world.create("mute", image=None, guest=mute))
    assert (row.outcome, row.system) == ("Undetermined", "windows 10.0.17763")


async def test_a_linux_vm_is_out_of_its_scope(world: World) -> None:
    row = await world.ended(world.laptop.arm.create_vm(VmSpec(name="linux", guest=XENIAL)))
    assert row.outcome == "OutOfScope"
    assert row.text("Reason") == "a Linux VM; Monitoring agent for Windows is for Windows"


async def test_the_handlers_log_is_read_by_powershell_masked_and_explained(world: World) -> None:
    machine = world.create("logged", runs=(HandlerRun(exit_code=62),))
    assert (await world.ended(machine)).outcome == "Failed"
    code, out, err = await world.logs(machine)
    assert code == 0, err
    handler = f"{ENTRY['publisher']}.{ENTRY['type']}"
    assert f"==> C:\\WindowsAzure\\Logs\\Plugins\\{handler}\\" in out
    assert "means exit code 62: The installer was not found" in out


async def test_the_vms_system_decides_whose_logs_are_read(world: World, tmp_path: Path) -> None:
    (tmp_path / "extensions").mkdir()
    (tmp_path / "extensions" / "windows.yaml").write_text(yaml.safe_dump(ENTRY))
    for name in ("oms-agent-linux", ENTRY["name"]):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nextension: {name}\n")
    windows = world.create("either", runs=(HandlerRun(exit_code=62),))
    assert (await world.ended(windows)).outcome == "Failed"
    code, out, err = await world.logs(windows, tmp_path)
    assert code == 0, err
    assert "means exit code 62: The installer was not found" in out
    code, out, err = await world.logs(world.laptop.arm.add_vm(VmSpec(name="or", guest=XENIAL)), tmp_path)
    assert (code, err) == (1, "")
    assert "has none of /opt/microsoft/omsagent/bin/stdout" in out


async def test_the_log_of_a_linux_vm_is_refused_with_the_reason(world: World) -> None:
    machine = world.laptop.arm.add_vm(VmSpec(name="other", guest=XENIAL))
    code, _, err = await world.logs(machine)
    assert code == 2
    assert "monitoring-agent-windows is for Windows, so the VM must be one" in err
