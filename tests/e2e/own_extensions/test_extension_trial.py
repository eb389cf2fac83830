"""`onboard extension test` as a command, and the sample folder of own extensions under the functions host: a vendor's
agent with secrets on Linux, and an extension on Windows, from nothing to `Installed`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.arm import Guest, Machine, VmSpec
from simulator.demo.ledger import Ledger
from simulator.laptop import ROOT, CloudOptions, Laptop
from simulator.own_handlers import own_handlers

pytestmark = pytest.mark.timeout(120)  # each test starts a functions host, and some of them several commands

SAMPLE = ROOT / "samples" / "policies" / "own-extensions"
SECRETS = {"CROWDSTRIKE_CLIENT_ID": "sesame-of-the-client", "CROWDSTRIKE_CLIENT_SECRET": "sesame-of-the-secret"}
UBUNTU: dict[str, Any] = {
    "image": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"},
    "guest": Guest(os_name="ubuntu", os_version="24.04", agent_delay=0),
}
SERVER: dict[str, Any] = {
    "os_type": "Windows",
    "image": {
        "publisher": "MicrosoftWindowsServer",
        "offer": "WindowsServer",
        "sku": "2022-datacenter",
        "version": "latest",
    },
    "guest": Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1", agent_delay=0),
}


def tried(cwd: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    command = [sys.executable, "-m", "onboarding", "extension", "test", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def as_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode in (0, 1), done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_trial_shows_the_request_without_its_secrets_and_ends_as_installed(tmp_path: Path) -> None:
    given = ["--setting", "cloud=eu-1", "--setting", "client_secret=sesame-of-the-person"]
    done = tried(tmp_path, "falcon-sensor-linux", *given, ONBOARDING_POLICIES=str(SAMPLE))
    assert done.returncode == 0, done.stdout + done.stderr
    head, _, rest = done.stdout.partition("\n\n")
    assert head.splitlines() == [
        "falcon-sensor-linux on a simulated Linux VM, Canonical:0001-com-ubuntu-server-jammy:22_04-lts",
        "with the settings of the policy falcon-sensor-linux",
        "made up: CROWDSTRIKE_CLIENT_ID",
    ]
    assert '"settings": {\n      "cloud": "eu-1",\n      "tags": "azure"\n    }' in rest
    assert '"protectedSettings": {\n      "client_id": "***",\n      "client_secret": "***"\n    }' in rest
    assert "\n3 requests to Azure Resource Manager:\n" in rest
    assert "\nOutcome: Installed\n" in rest
    assert "sesame" not in done.stdout + done.stderr


def test_a_trial_of_a_file_needs_no_policy_folder_and_takes_a_machine_of_its_system(tmp_path: Path) -> None:
    file = shutil.copy(SAMPLE / "extensions" / "iaas-antimalware.yaml", tmp_path)
    scan = "ScheduledScanSettings={isEnabled: true, day: 7, time: 120, scanType: Quick}"
    given = ["--setting", "AntimalwareEnabled=true", "--setting", scan, "-o", "json"]
    answer = as_json(tried(tmp_path, Path(file).name, *given))
    assert answer["row"]["Outcome"] == "Installed"
    assert answer["row"]["Distribution"] == "windows"
    assert answer["sent"]["properties"]["settings"] == {
        "AntimalwareEnabled": True,
        "ScheduledScanSettings": {"isEnabled": True, "day": 7, "time": 120, "scanType": "Quick"},
    }
    sent = [(each["method"], each["status"]) for each in answer["requests"]]
    assert sent == [("GET", 200), ("PUT", 201), ("GET", 200)]


def test_a_trial_takes_identities_needed_extensions_and_support_tables_into_account(tmp_path: Path) -> None:
    (tmp_path / "policies/extensions").mkdir(parents=True)
    first = {"name": "first", "publisher": "Contoso", "type": "First", "version": "1.0", "resourceName": "First"}
    first["os"] = "linux"
    second: dict[str, Any] = {**first, "name": "second", "type": "Second", "resourceName": "Second"}
    second["needs"] = {"identity": "named", "extensions": ["first"]}
    second["settings"] = {"type": "object", "properties": {"identity": {"default": "{identity.id}"}}}
    second["supportTables"] = {"2026": {"date": "2026-01-01", "source": "s", "versions": {"debian": ["12"]}}}
    for entry in (first, second):
        (tmp_path / f"policies/extensions/{entry['name']}.yaml").write_text(yaml.safe_dump(entry))
    answer = as_json(tried(tmp_path, "second", "-o", "json"))
    assert (answer["row"]["Outcome"], answer["image"]) == ("Installed", "Debian:debian-12:12-gen2")
    assert answer["sent"]["properties"]["settings"]["identity"].endswith("/userAssignedIdentities/id-trial")


def test_a_trial_that_ends_otherwise_says_why(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"name": "odd", "publisher": "Contoso", "type": "Odd", "version": "1.0", "os": "linux"}
    entry["resourceName"] = "Odd"
    entry["supportTables"] = {"2026": {"date": "2026-01-01", "source": "s", "versions": {"opensuse": ["42"]}}}
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(entry))
    done = tried(tmp_path, "odd.yaml")
    assert done.returncode == 1
    assert "\nOutcome: Unsupported\n" in done.stdout
    assert "\n1 request to Azure Resource Manager:\n" in done.stdout


async def test_the_sample_folder_goes_from_nothing_to_installed_on_linux_and_windows() -> None:
    async with Laptop(CloudOptions(scale=3000)) as laptop, Ledger(laptop.azurite.connection_string) as ledger:
        host = await laptop.start_host(SAMPLE, SECRETS)
        machines = [
            laptop.arm.create_vm(VmSpec(name="linux", **UBUNTU)),
            laptop.arm.create_vm(VmSpec(name="windows", **SERVER)),
        ]
        await _installed(ledger, machines)
        (falcon,), (antimalware,) = ([*machine.extensions.values()] for machine in machines)
        assert set(falcon.protected_settings.values()) == set(SECRETS.values())
        assert antimalware.properties["settings"]["ScheduledScanSettings"]["scanType"] == "Quick"
        assert "sesame" not in str(await ledger.everything()) + host.output()


async def test_a_person_installs_and_reads_own_extensions_like_the_shipped_ones() -> None:
    async with Laptop(CloudOptions(scale=3000)) as laptop:
        laptop.arm.publish_handlers(partial(own_handlers, SAMPLE))
        linux, windows = (
            laptop.arm.add_vm(VmSpec(name="linux", **UBUNTU)),
            laptop.arm.add_vm(VmSpec(name="windows", **SERVER)),
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **laptop.host_environment(SAMPLE, SECRETS)}

        async def onboard(*arguments: str, code: int = 0) -> str:
            command = [sys.executable, "-m", "onboarding", *arguments]
            done = await asyncio.to_thread(
                subprocess.run, command, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == code, done.stdout + done.stderr
            assert "sesame" not in done.stdout + done.stderr
            return str(done.stdout)

        # 1: each VM is out of the scope of the other's extension.
        await onboard("install", linux.id, windows.id, "--interval", "0.1", "--timeout", "60", code=1)
        installed = [[each.type for each in machine.extensions.values()] for machine in (linux, windows)]
        assert installed == [["FalconSensorLinux"], ["IaaSAntimalware"]]
        for machine, name in ((linux, "falcon-sensor-linux"), (windows, "iaas-antimalware")):
            (found,) = json.loads(await onboard("extensions", machine.id, "-o", "json"))
            assert (found["entry"], found["state"]) == (name, "succeeded")
        assert "IaaSAntimalware" in await onboard("logs", windows.id)
        assert "'FalconSensorLinux'" in await onboard(
            "template", "--policy", "falcon-sensor-linux", "--format", "bicep"
        )
        urn = "MicrosoftWindowsServer:WindowsServer:2022-datacenter"
        assert "supported" in await onboard("check", "--extension", "iaas-antimalware", "--image", urn)
        assert "exit code 51" in await onboard("diagnose", "--extension", "iaas-antimalware", "Non-zero exit code: 51")
        assert "no table of exit codes" in await onboard("errors", "--extension", "iaas-antimalware")


async def _installed(ledger: Ledger, machines: list[Machine]) -> None:
    """Wait until each machine has its extension."""
    deadline = time.monotonic() + 60
    wanted = {machine.id.lower() for machine in machines}
    while {row.vm for row in await ledger.rows() if row.outcome == "Installed"} != wanted:
        assert time.monotonic() < deadline, await ledger.rows()
        await asyncio.sleep(0.05)
