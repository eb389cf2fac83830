"""The real SDK against the simulator: typed reads, long-running writes, errors; its models know every field."""

from __future__ import annotations

import asyncio
import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.compute import models

from simulator.arm import (
    Agent,
    ArmSimulator,
    ExtensionSpec,
    Guest,
    HandlerRun,
    Machine,
    Options,
    Power,
    VmSpec,
)
from simulator.clock import Clock
from tests.shared_samples import needs_samples, read_lines
from tests.simulator.conftest import KEY, OMS, WORKSPACE, MakeScene, Scene
from tests.simulator.sdk_models import unknown_keys

ROOT = Path(__file__).resolve().parents[3]


def _oms_model() -> models.VirtualMachineExtension:
    return models.VirtualMachineExtension(
        location="westeurope",
        properties=models.VirtualMachineExtensionProperties(
            **OMS,
            type_handler_version="1.3",
            auto_upgrade_minor_version=True,
            settings={"workspaceId": WORKSPACE},
            protected_settings={"workspaceKey": KEY},
        ),
    )


async def _finish(scene: Scene, poller: Any) -> Any:
    """Wait for a poller while simulated time passes."""
    task = asyncio.create_task(poller.result())
    while not task.done():
        await scene.clock.advance(60)
        await asyncio.sleep(0.001)
    return await task


async def test_an_install_from_begin_to_result(scene: Scene) -> None:
    machine = scene.add()
    async with scene.client() as client:
        poller = await client.virtual_machine_extensions.begin_create_or_update(
            machine.group, machine.name, "OMSExtension", _oms_model(), polling_interval=0.001
        )
        extension = await _finish(scene, poller)
        vm = await client.virtual_machines.get(machine.group, machine.name, expand="instanceView")
    assert extension.provisioning_state == "Succeeded"
    assert vm.instance_view.os_name == "ubuntu"
    assert vm.instance_view.extensions[0].statuses[0].code == "ProvisioningState/succeeded"


async def test_exactly_two_calls_for_a_read_and_a_write_that_nobody_waits_for(scene: Scene) -> None:
    machine = scene.add()
    async with scene.client() as client:
        await client.virtual_machines.get(machine.group, machine.name, expand="instanceView")
        await client.virtual_machine_extensions.begin_create_or_update(
            machine.group, machine.name, "OMSExtension", _oms_model(), polling=False
        )
    assert scene.arm.requests.kinds(vm=machine.id.upper()) == {"vm-get": 1, "extension-put": 1}
    (get, put) = scene.arm.requests.select(vm=machine.name, principal=scene.arm.options.principal_id)
    assert (get.status, put.status) == (200, 201)
    assert "azsdk-python" in put.user_agent


async def test_a_failed_operation_is_an_error_with_status_200(scene: Scene) -> None:
    machine = scene.add(runs=(HandlerRun(exit_code=51),))
    async with scene.client() as client:
        poller = await client.virtual_machine_extensions.begin_create_or_update(
            machine.group, machine.name, "OMSExtension", _oms_model(), polling_interval=0.001
        )
        with pytest.raises(HttpResponseError) as caught:
            await _finish(scene, poller)
    assert (caught.value.status_code, caught.value.error and caught.value.error.code) == (
        200,
        "VMExtensionHandlerNonTransientError",
    )


async def test_refusals_raise_the_same_exceptions_as_in_azure(scene: Scene) -> None:
    machine = scene.add(power=Power.DEALLOCATED)
    async with scene.client() as client:
        with pytest.raises(ResourceExistsError, match="not running"):
            await client.virtual_machine_extensions.begin_create_or_update(
                machine.group, machine.name, "OMSExtension", _oms_model(), polling=False
            )
        with pytest.raises(ResourceNotFoundError):
            await client.virtual_machine_extensions.get(machine.group, machine.name, "OMSExtension")
        with pytest.raises(ResourceNotFoundError):
            await client.virtual_machines.get(machine.group, "ghost")


async def test_pollers_of_deletes_and_power_actions_end(scene: Scene) -> None:
    machine = scene.add(extensions=(ExtensionSpec(name="OMSExtension", version="1.3", **OMS),))
    where = (machine.group, machine.name)
    async with scene.client() as client:
        extensions, machines = client.virtual_machine_extensions, client.virtual_machines
        await _finish(scene, await extensions.begin_delete(*where, "OMSExtension", polling_interval=0.001))
        assert machine.extensions == {}
        poller = await machines.begin_deallocate(*where, polling_interval=0.001)
        await scene.clock.advance(200)
        await poller.result()
        assert machine.power is Power.DEALLOCATED


async def test_lists_follow_their_links(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(page_size=3)
    names = {scene.add(f"web-{number}").name for number in range(8)}
    async with scene.client() as client:
        assert {vm.name async for vm in client.virtual_machines.list_all()} == names
        assert {vm.name async for vm in client.virtual_machines.list("RG-FLEET")} == names
    assert scene.arm.requests.count(kind="vm-list") == 3


FLEET: list[dict[str, Any]] = [
    {},
    {"power": Power.DEALLOCATED, "guest": Guest(agent=Agent.STALE)},
    {"image": None, "tags": {"a": "b"}, "zones": ("1",)},
    {"os_type": "Windows", "guest": Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1")},
    {"plan": {"publisher": "p", "product": "o", "name": "n"}, "identity": {"type": "SystemAssigned"}},
    {"extensions": (ExtensionSpec(name="OMS", version="1.3", failed_with=HandlerRun(exit_code=51), **OMS),)},
    {
        "managed_by": "/x",
        "scale_set": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/v",
    },
]


@pytest.mark.parametrize("spec", FLEET)
async def test_every_key_of_our_vm_bodies_is_a_field_of_the_sdks_model(scene: Scene, spec: dict[str, Any]) -> None:
    machine: Machine = scene.add(**spec)
    body = (await scene.call("GET", f"{machine.id}?$expand=instanceView")).body
    assert list(unknown_keys(models.VirtualMachine(body))) == []


async def test_every_key_of_our_extension_bodies_is_a_field_of_the_sdks_model(scene: Scene) -> None:
    machine = scene.add()
    created = await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    got = await scene.call("GET", f"{machine.id}/extensions/OMSExtension?$expand=instanceView")
    for body in (created.body, got.body):
        assert list(unknown_keys(models.VirtualMachineExtension(body))) == []


@needs_samples
@pytest.mark.parametrize("sample", read_lines("vm_models.jsonl"), ids=lambda sample: str(sample["case"]))
async def test_recorded_bodies_come_back_as_they_were_recorded(make_scene: MakeScene, sample: dict[str, Any]) -> None:
    """A recorded VM, put in by HTTP: what its PUT can say comes back unchanged, under the recorded id."""
    recorded = copy.deepcopy(sample["body"])
    scene: Scene = await make_scene(subscriptions=(recorded["id"].split("/")[2],))
    group, path = recorded["id"].partition("/providers")[0], recorded["id"]
    await scene.call("PUT", group, {"location": recorded["location"]})
    await scene.call("PUT", path, {k: v for k, v in recorded.items() if k != "resources"})
    await scene.clock.advance(400)
    body = (await scene.call("GET", path)).body
    own = {"vmId", "timeCreated", "instanceView", "provisioningState"}
    for side in (recorded, body):
        side["properties"] = {k: v for k, v in side["properties"].items() if k not in own}
        side.pop("resources", None)
        side.pop("etag", None)
        identity = side.get("identity", {})
        side |= {"identity": {"type": identity["type"]}} if identity else {}  # whose ids the recording left out
    assert body == recorded


@needs_samples
@pytest.mark.parametrize("sample", read_lines("vm_models.jsonl"), ids=lambda sample: str(sample["case"]))
async def test_values_have_the_types_of_recorded_ones(scene: Scene, sample: dict[str, Any]) -> None:
    """Every place of a recorded body that we fill too is filled with the same kind of value."""
    machine = scene.add(extensions=(ExtensionSpec(name="OMS", version="1.3", **OMS),))
    ours = (await scene.call("GET", f"{machine.id}?$expand=instanceView")).body
    assert list(_differences(sample["body"], ours, "")) == []


def _differences(recorded: Any, ours: Any, path: str) -> Iterator[str]:
    if type(recorded) is not type(ours):
        yield f"{path}: recorded {type(recorded).__name__}, ours {type(ours).__name__}"
    elif isinstance(recorded, dict):
        for key in recorded.keys() & ours.keys():
            yield from _differences(recorded[key], ours[key], f"{path}/{key}")
    elif isinstance(recorded, list) and recorded and ours:
        yield from _differences(recorded[0], ours[0], f"{path}[0]")


async def test_environment_variables_alone_lead_the_product_to_the_simulator(tmp_path: Path) -> None:
    """The real managed-identity credential in its own process needs only environment variables."""
    arm = ArmSimulator(Clock(), options=Options(identities={"client-7": "principal-7"}))
    machine = arm.add_vm(VmSpec(name="web-1"))
    endpoints = await arm.start(tmp_path)
    try:
        environment = {**os.environ, **endpoints.environment(), "SUBSCRIPTION": machine.subscription}
        run = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", _PROGRAM],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        await arm.stop()
    assert (run.returncode, run.stdout.split(), run.stderr) == (0, ["web-1", "westeurope"], "")
    assert [request.principal for request in arm.requests] == ["principal-7"]


_PROGRAM = """
import asyncio, os
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.compute.aio import ComputeManagementClient

async def main():
    async with (
        ManagedIdentityCredential(client_id="client-7") as credential,
        ComputeManagementClient(
            credential,
            os.environ["SUBSCRIPTION"],
            base_url=os.environ["ARM_ENDPOINT"],
            credential_scopes=["https://management.azure.com/.default"],
        ) as client,
    ):
        vm = await client.virtual_machines.get("rg-fleet", "web-1")
        print(vm.name, vm.location)

asyncio.run(main())
"""
