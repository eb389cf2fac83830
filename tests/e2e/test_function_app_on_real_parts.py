"""The function app on real parts: Azurite, the simulated ARM and Event Grid, and the real worker library.

The clock of the simulated cloud runs so fast that the event of an install races with our record of the request.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from simulator.arm import PERSON, FaultRule, Guest, Kind, VmSpec
from simulator.demo.ledger import Ledger, Row
from simulator.host_process import FunctionsHost
from simulator.laptop import FUNCTION, ROOT, SUBSCRIPTIONS, CloudOptions, Laptop, webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUBSCRIPTION = next(iter(SUBSCRIPTIONS))
LISTED = {"publisher": "OpenLogic", "offer": "CentOS", "sku": "7_9-gen2", "version": "7.9.2021020401"}
UNLISTED = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server-gen1", "version": "latest"}
CENTOS = Guest(os_name="centos", os_version="7.9", agent_delay=0)
NOBLE = Guest(os_name="ubuntu", os_version="24.04", agent_delay=0)


@dataclass(frozen=True)
class World:
    laptop: Laptop
    host: FunctionsHost
    ledger: Ledger
    session: aiohttp.ClientSession
    storage: Path

    async def row(self, spec: VmSpec, outcome: str) -> Row:
        """Wait for a row of the VM with that outcome."""

        async def check() -> Row | None:
            row = (await self.ledger.current()).get(spec.id.lower())
            return row if row is not None and row.outcome == outcome else None

        return await eventually(check)

    async def history(self, spec: VmSpec) -> list[Mapping[str, Any]]:
        """The history of the VM without the lines of its changes, oldest entry first."""
        prefix = f"log|{spec.group}|{spec.name}|".lower()
        lines = [entity for entity in await self.ledger.everything() if entity["RowKey"].startswith(prefix)]
        return sorted((line for line in lines if "Outcome" in line), key=lambda line: line["EventTime"])

    def calls(self, spec: VmSpec) -> dict[str, int]:
        return dict(self.laptop.arm.requests.kinds(vm=spec.id))

    async def post(self, event: dict[str, Any]) -> int:
        headers = {"aeg-event-type": "Notification", "Content-Type": "application/json"}
        async with self.session.post(webhook(self.host.url), data=json.dumps([event]), headers=headers) as response:
            return response.status


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    storage = tmp_path_factory.mktemp("azurite")
    async with (
        Laptop(CloudOptions(scale=3000, storage=storage)) as laptop,
        Ledger(laptop.azurite.connection_string) as ledger,
        aiohttp.ClientSession() as session,
    ):
        host = await laptop.start_host(ROOT / "policies")
        yield World(laptop, host, ledger, session, storage)


async def test_an_install_at_first_sight_takes_two_calls_and_one_that_confirms_it(world: World) -> None:
    spec = VmSpec(name="two-calls", image=LISTED, guest=CENTOS)
    world.laptop.arm.create_vm(spec)
    row = await world.row(spec, "Installed")
    await world.laptop.grid.idle()
    assert world.calls(spec) == {"vm-get": 1, "extension-put": 1, "extension-get": 1}
    assert (row.system, row.text("Verdict"), row.text("Attempt")) == ("centos 7.9", "supported", "1")


async def test_the_request_is_the_documents_own(world: World) -> None:
    spec = VmSpec(name="body", image=LISTED, guest=CENTOS)
    machine = world.laptop.arm.create_vm(spec)
    await world.row(spec, "Installed")
    (extension,) = machine.extensions.values()
    workspace = world.laptop.workspace
    assert (extension.publisher, extension.type) == ("Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux")
    assert extension.properties["settings"] == {"workspaceId": workspace.id}
    assert extension.protected_settings == {"workspaceKey": workspace.key}


async def test_a_vm_that_needs_nothing_takes_one_call(world: World) -> None:
    spec = VmSpec(name="one-call", image=UNLISTED, guest=NOBLE)
    world.laptop.arm.create_vm(spec)
    row = await world.row(spec, "Unsupported")
    await world.laptop.grid.idle()
    assert world.calls(spec) == {"vm-get": 1}
    assert row.seconds_to_put is None


async def test_an_event_about_another_resource_takes_no_call(world: World) -> None:
    spec = VmSpec(name="no-call", image=LISTED, guest=CENTOS)
    world.laptop.arm.add_vm(spec)
    event = creation(spec)
    event["data"]["operationName"] = "Microsoft.Resources/tags/write"
    assert await world.post(event) == 202
    assert world.calls(spec) == {}
    assert spec.id.lower() not in await world.ledger.current()


async def test_one_event_five_times_is_one_install_and_a_true_history(world: World) -> None:
    spec = VmSpec(name="five-times", image=LISTED, guest=CENTOS)
    world.laptop.arm.add_vm(spec)
    event = creation(spec)
    assert set(await asyncio.gather(world.post(event), world.post(event))) == {202}
    for _ in range(3):
        assert await world.post(event) == 202
    await world.row(spec, "Installed")
    await world.laptop.grid.idle()
    assert world.calls(spec)["extension-put"] == 1
    assert world.calls(spec)["vm-get"] <= 2  # the two concurrent deliveries both read the VM; one of them won
    rows = [vm for vm in await world.ledger.current() if vm == spec.id.lower()]
    assert len(rows) == 1
    first, last = await world.history(spec)
    assert (first["EventId"], first["Outcome"], last["Outcome"]) == (event["id"], "Requested", "Installed")


@pytest.mark.parametrize(
    ("name", "after", "calls"),
    [
        ("overtaken", 1, {"vm-get": 2, "extension-put": 1, "extension-get": 2}),  # the extension does not exist yet
        ("of-an-earlier-write", -5, {"vm-get": 1, "extension-put": 1, "extension-get": 1}),
    ],
)
async def test_the_event_of_an_install_may_come_before_our_record_of_the_request(
    world: World, name: str, after: float, calls: dict[str, int]
) -> None:
    """ARM answers the PUT late, and the event of the end of an install arrives before. An event that is older than our
    request cannot be about it, and costs no call."""
    spec = VmSpec(name=name, image=LISTED, guest=CENTOS)
    world.laptop.arm.add_vm(spec)
    world.laptop.arm.faults.add(FaultRule(vm=spec.name, kind=Kind.EXTENSION_PUT, delay=3000))
    work = asyncio.create_task(world.post(creation(spec)))
    claim = await world.row(spec, "Waiting")
    assert claim.text("WaitingFor") == "install-request"
    sent = installation(spec) | {"eventTime": utc(time.time() + after)}
    assert await world.post(sent) == 202
    await world.row(spec, "Installed")
    assert await work == 202
    await eventually(lambda: extension_written(world, spec))
    await world.laptop.grid.idle()
    assert (await world.row(spec, "Installed")).final
    assert world.calls(spec) == calls
    assert [line["Outcome"] for line in await world.history(spec)] == ["Requested", "Installed"]


async def test_the_outcome_is_published_to_the_topic(world: World) -> None:
    spec = VmSpec(name="announced", image=LISTED, guest=CENTOS)
    world.laptop.arm.create_vm(spec)
    await world.row(spec, "Installed")

    async def published() -> list[Any]:
        return [event for event in world.laptop.topic.events if event["subject"] == spec.id]

    (event,) = await eventually(published)
    assert event["data"]["Outcome"] == "Installed"
    assert event["specversion"] == "1.0"


async def test_no_secret_and_nobodys_name_is_anywhere(world: World) -> None:
    """Azurite stores table and queue in files here, so that the search includes hidden messages."""
    spec = VmSpec(name="searched", image=LISTED, guest=CENTOS)
    world.laptop.arm.create_vm(spec)
    await world.row(spec, "Installed")

    async def written() -> str:
        text = stored(world.storage)
        return text if spec.name in text and '"vm": "' in text else ""

    texts = {
        "storage": await eventually(written),
        "log": world.host.output(),
        "topic": json.dumps(world.laptop.topic.events),
    }
    secrets = [world.laptop.workspace.key, world.laptop.topic_key, world.laptop.endpoints.identity_header]
    found = [place for place, text in texts.items() for secret in (*secrets, *PERSON.values()) if secret in text]
    assert found == []


async def test_no_run_of_a_function_failed(world: World) -> None:
    assert f"Functions.{FUNCTION}' (Succeeded" in world.host.output()
    assert "(Failed, " not in world.host.output()


def creation(spec: VmSpec) -> dict[str, Any]:
    """The event of the creation of a VM."""
    return {
        "id": f"event-of-{spec.name}",
        "topic": f"/subscriptions/{SUBSCRIPTION}",
        "subject": spec.id,
        "eventType": "Microsoft.Resources.ResourceWriteSuccess",
        "eventTime": utc(time.time() - 2),
        "data": {"operationName": "Microsoft.Compute/virtualMachines/write", "resourceUri": spec.id, "claims": PERSON},
        "dataVersion": "2",
        "metadataVersion": "1",
    }


def installation(spec: VmSpec) -> dict[str, Any]:
    """The event of the end of an install of our extension."""
    event = creation(spec)
    extension = f"{spec.id}/extensions/OMSExtension"
    operation = "Microsoft.Compute/virtualMachines/extensions/write"
    event |= {"id": f"end-of-{spec.name}", "subject": extension, "eventTime": utc(time.time())}
    event["data"] |= {"operationName": operation, "resourceUri": extension}
    return event


async def extension_written(world: World, spec: VmSpec) -> bool:
    """Whether ARM has finished the install, and so has raised its event."""
    extensions = world.laptop.arm.machines[spec.id].extensions.values()
    return [extension.provisioning_state for extension in extensions] == ["Succeeded"]


def utc(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def stored(folder: Path) -> str:
    return "\n".join(file.read_text("utf-8", errors="replace") for file in folder.rglob("*") if file.is_file())


async def eventually[T](check: Callable[[], Awaitable[T | None]], within: float = 20.0) -> T:
    """Wait for the first true value."""
    deadline = time.monotonic() + within
    while True:
        if found := await check():
            return found
        assert time.monotonic() < deadline, f"not in {within:.0f} s"
        await asyncio.sleep(0.05)


async def onboard(world: World, *arguments: str) -> tuple[int, str]:
    """Run a command of a person as a process of its own; returns the exit code and all that it says."""
    laptop = world.laptop
    environment = {
        **os.environ,
        **laptop.connections(),
        "NO_PROXY": "localhost,127.0.0.1",
        "ONBOARDING_POLICIES": str(ROOT / "policies"),
        "OMS_WORKSPACE_ID": laptop.workspace.id,
        "OMS_WORKSPACE_KEY": laptop.workspace.key,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "onboarding", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
        env=environment,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_older_machines_are_taken_up_by_a_person_and_onboarded_by_the_function_app(world: World) -> None:
    specs = [VmSpec(name=f"older-{number}", group="rg-older", image=LISTED, guest=CENTOS) for number in range(3)]
    for spec in specs:
        world.laptop.arm.add_vm(spec).created -= timedelta(days=30)
    policy = "linux-monitoring"
    selected = (policy, "--subscription", SUBSCRIPTION, "-g", "rg-older")
    assert (await onboard(world, "sweep", "--policy", policy, "--subscription", SUBSCRIPTION))[0] == 0
    for spec in specs:
        await world.row(spec, "Audited")
    code, said = await onboard(world, "enforce", *selected, "--dry-run")
    assert code == 0, said
    assert "3 VMs would be taken up\n       3 would install OmsAgentForLinux" in said
    assert {spec.name for spec in specs if world.calls(spec) == {"vm-get": 1}} == {spec.name for spec in specs}
    assert (await onboard(world, "enforce", *selected))[0] == 2, "nobody can be asked"
    code, said = await onboard(world, "enforce", *selected, "--yes")
    assert code == 0, said
    assert "3 VMs taken up\n       3 would install OmsAgentForLinux" in said
    for spec in specs:
        row = await world.row(spec, "Installed")
        assert row.text("TakenUp").endswith(" person")
        assert world.calls(spec)["extension-put"] == 1
    code, said = await onboard(world, "enforce", *selected, "--yes")
    assert (code, said) == (0, f"policy {policy} has no older machines to take up\n")
