"""`onboard policy explain --vm ID`: it reads the VM from the simulated Azure with the identity and settings of the
app."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.stores.pause_store import TablePauses
from onboarding.domain.limits.pause import Pause
from simulator.arm import ArmSimulator, Guest, Options, VmSpec
from simulator.azurite import Azurite
from simulator.clock import Clock
from tests.adapters.conftest import storage_of

SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
CENTOS = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}


@pytest.fixture
async def arm() -> AsyncIterator[tuple[ArmSimulator, dict[str, str]]]:
    simulator = ArmSimulator(Clock(scale=3000), options=Options(subscriptions=(SUBSCRIPTION,)))
    endpoints = await simulator.start()
    yield simulator, endpoints.environment()
    await simulator.stop()


async def explain(vm: str, environment: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onboarding", "policy", "explain", "--vm", vm, "--format", "json"),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_vm_is_explained_by_its_id(arm: tuple[ArmSimulator, dict[str, str]]) -> None:
    simulator, environment = arm
    spec = VmSpec(name="web01", image=CENTOS, guest=Guest(os_name="centos", os_version="7.9", agent_delay=0))
    simulator.add_vm(spec)
    code, out, err = await explain(spec.id, environment)
    assert (code, err) == (0, "")
    explanation = json.loads(out)
    (decision,) = explanation["decisions"]
    assert (explanation["name"], explanation["os"]["version"]) == ("web01", "7.9")
    assert (decision["policy"], decision["verdict"]) == ("linux-monitoring", "supported")
    assert dict(simulator.requests.kinds(vm=spec.id)) == {"vm-get": 1}


async def test_the_group_that_a_rule_asks_for_is_read_too(
    arm: tuple[ArmSimulator, dict[str, str]], tmp_path: Path
) -> None:
    simulator, environment = arm
    spec = VmSpec(name="web01", image=CENTOS, guest=Guest(os_name="centos", os_version="7.9", agent_delay=0))
    simulator.add_vm(spec)
    group = spec.id.partition("/providers/")[0]
    simulator.describe(group, tags={"env": "lab"})
    rule = 'rule: {value: "[resourceGroup().tags.env]", notEquals: lab}'
    (tmp_path / "p.yaml").write_text(f"name: p\nextension: oms-agent-linux\n{rule}\n", encoding="utf-8")
    environment = {**environment, "ONBOARDING_POLICIES": str(tmp_path)}
    _, out, err = await explain(spec.id, environment)
    assert (json.loads(out)["decisions"][0]["decision"], err) == ("OutOfScope", "")
    assert dict(simulator.requests.kinds()) == {"vm-get": 1, "group-get": 1}
    action = "Microsoft.Compute/virtualMachines/read"
    simulator.scopes.grant(simulator.options.principal_id, f"/subscriptions/{SUBSCRIPTION}", action)
    _, out, err = await explain(spec.id, environment)
    assert json.loads(out)["decisions"][0]["decision"] == "Undetermined"
    assert "this needs the right Microsoft.Resources/subscriptions/resourceGroups/read" in err


async def test_a_vm_that_azure_does_not_know_is_named(arm: tuple[ArmSimulator, dict[str, str]]) -> None:
    _, environment = arm
    gone = VmSpec(name="gone", image=CENTOS).id
    code, out, err = await explain(gone, environment)
    assert (code, out) == (2, "")
    assert f"'{gone}'" in err
    assert "404" in err
    assert "(--vm); explain it with `onboard diagnose`" in err


async def test_a_pause_that_covers_the_vm_is_named(arm: tuple[ArmSimulator, dict[str, str]]) -> None:
    simulator, environment = arm
    spec = VmSpec(name="web01", image=CENTOS, guest=Guest(os_name="centos", os_version="7.9", agent_delay=0))
    simulator.add_vm(spec)
    with Azurite() as azurite:
        environment = {**environment, "AzureWebJobsStorage": azurite.connection_string}
        async with onboarding_table(storage_of(azurite.connection_string), None) as table:
            for subscription in (SUBSCRIPTION, SUBSCRIPTION.replace("1", "2")):
                pause = Pause(reason="change freeze", since=datetime.now(UTC), subscription=subscription)
                await TablePauses(table).write(pause, None)
        code, out, err = await explain(spec.id, environment)
    assert (code, err) == (0, "")
    (paused,) = json.loads(out)["paused"]
    assert paused.startswith(f"subscription {SUBSCRIPTION} is paused since ")
    assert paused.endswith(": change freeze")

    code, out, err = await explain(spec.id, environment)
    assert code == 0, "storage is not needed to explain"
    assert "paused" not in json.loads(out)
    assert "whether it is paused could not be read" in err
