"""Virtual machines: their lifecycle, their instance view, their lists, and the three spellings of their ids."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulator.arm import Agent, ExtensionSpec, Guest, Machine, Power, VmSpec
from tests.simulator.conftest import OMS, MakeScene, Scene

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000001/resourceGroups/rg-fleet"


async def test_a_vm_is_created_before_its_guest_runs_and_the_agent_reports_later(scene: Scene) -> None:
    machine = scene.arm.create_vm(VmSpec(name="new", guest=Guest(agent_delay=100)))
    assert machine.provisioning_state == "Creating"
    assert "vmAgent" not in await scene.view(machine)
    await _settle(scene, machine)
    view = await scene.view(machine)
    codes = [status["code"] for status in view["statuses"]]
    assert codes == [
        "ProvisioningState/succeeded",
        "ProvisioningState/succeeded/osProvisioningInProgress",
        "PowerState/running",
    ]
    agent = view["vmAgent"]
    assert (agent["vmAgentVersion"], agent["statuses"][0]["displayStatus"]) == ("Unknown", "Not Ready")
    assert "osName" not in view
    await scene.clock.advance(100)
    view = await scene.view(machine)
    assert (view["osName"], view["osVersion"]) == ("ubuntu", "16.04")
    assert view["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"
    assert [s["code"] for s in view["statuses"]] == ["ProvisioningState/succeeded", "PowerState/running"]


@pytest.mark.parametrize(
    ("guest", "agent", "said"),
    [
        ("ubuntu", Agent.REPORTS, "Linux"),
        ("Windows Server 2022 Datacenter", Agent.REPORTS, "Windows"),
        ("ubuntu", Agent.NAMELESS, None),
    ],
)
async def test_a_disk_that_does_not_say_the_system_says_it_once_the_agent_has_reported(
    scene: Scene, guest: str, agent: Agent, said: str | None
) -> None:
    spec = VmSpec(
        name="unsaid", image=None, os_type="", guest=Guest(os_name=guest, os_version="1", agent=agent, agent_delay=100)
    )
    machine = scene.arm.create_vm(spec)
    await _settle(scene, machine)
    before = (await scene.call("GET", machine.id)).body["properties"]
    assert "osType" not in before["storageProfile"]["osDisk"]
    assert "osProfile" not in before
    await scene.clock.advance(100)
    after = (await scene.call("GET", machine.id)).body["properties"]
    assert after["storageProfile"]["osDisk"].get("osType") == said


async def _settle(scene: Scene, machine: Machine) -> None:
    """Advance until the create operation has ended, and not a second longer."""
    while machine.provisioning_state == "Creating":
        await scene.clock.advance(1)


@pytest.mark.parametrize(
    ("agent", "power", "ready", "os_name"),
    [
        (Agent.REPORTS, Power.RUNNING, True, "ubuntu"),
        (Agent.NAMELESS, Power.RUNNING, True, None),
        (Agent.SILENT, Power.RUNNING, False, None),
        (Agent.ABSENT, Power.RUNNING, False, None),
        (Agent.REPORTS, Power.DEALLOCATED, None, None),
        (Agent.STALE, Power.DEALLOCATED, True, None),
        (Agent.REPORTS, Power.STOPPED, False, None),
    ],
)
async def test_vm_states_and_agents(
    scene: Scene, agent: Agent, power: Power, ready: bool | None, os_name: str | None
) -> None:
    view = await scene.view(scene.add(guest=Guest(agent=agent), power=power))
    seen = view.get("vmAgent", {}).get("statuses", [{}])[0].get("displayStatus")
    assert seen == {True: "Ready", False: "Not Ready", None: None}[ready]
    assert view.get("osName") == os_name
    assert f"PowerState/{power}" in [status["code"] for status in view["statuses"]]


async def test_start_and_deallocate_pass_through_their_states(scene: Scene) -> None:
    machine = scene.add(power=Power.DEALLOCATED)
    reply = await scene.call("POST", f"{machine.id}/start")
    assert (reply.status, reply.body) == (202, "")
    assert "Azure-AsyncOperation" in reply.headers
    assert "Location" in reply.headers
    assert str(machine.power) == "starting"
    await scene.clock.advance(300)
    assert str(machine.power) == "running"
    assert "osName" in await scene.view(machine)
    await scene.call("POST", f"{machine.id}/deallocate")
    assert str(machine.power) == "deallocating"
    await scene.clock.advance(300)
    assert "vmAgent" not in await scene.view(machine)


async def test_polls_of_vm_operations_have_a_retry_after_and_those_of_extensions_do_not(scene: Scene) -> None:
    machine = scene.add(power=Power.DEALLOCATED)
    started = await scene.call("POST", f"{machine.id}/start")
    assert 30 <= int((await scene.poll(started)).headers["Retry-After"]) <= 37
    await scene.clock.advance(300)
    assert "Retry-After" not in (await scene.poll(await scene.put_oms(machine))).headers


async def test_a_vm_without_image_has_no_os_profile_either(scene: Scene) -> None:
    body = (await scene.call("GET", scene.add(image=None).id)).body["properties"]
    assert "osProfile" not in body
    assert "imageReference" not in body["storageProfile"]
    assert body["storageProfile"]["osDisk"]["createOption"] == "Attach"


IMAGES: list[dict[str, str]] = [
    {"publisher": "canonical", "offer": "ubuntuserver", "sku": "16.04-LTS", "version": "latest"},
    {"id": f"{GROUP}/providers/Microsoft.Compute/images/golden"},
    {"id": f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0", "exactVersion": "1.0.0"},
    {"sharedGalleryImageId": "/SharedGalleries/0000-G/Images/i/Versions/1.0.0", "exactVersion": "1.0.0"},
    {"communityGalleryImageId": "/CommunityGalleries/g/Images/i/Versions/latest"},
]


@pytest.mark.parametrize("image", IMAGES, ids=["marketplace", "managed", "gallery", "shared", "community"])
async def test_every_form_of_image_reference_comes_back_as_it_was_given(scene: Scene, image: dict[str, str]) -> None:
    plan = {"publisher": "third", "product": "party", "name": "paid"}
    body = (await scene.call("GET", scene.add(image=image, plan=plan).id)).body
    assert body["properties"]["storageProfile"]["imageReference"] == image
    assert body["plan"] == plan


async def test_ids_have_three_spellings_and_are_found_in_any(scene: Scene) -> None:
    extension = ExtensionSpec(name="OMSExtension", version="1.3", **OMS)
    machine = scene.add("Web-1", group="Rg-Fleet", extensions=(extension,))
    single = await scene.call("GET", machine.id.upper())
    assert single.body["id"] == machine.id
    in_group = await scene.call("GET", machine.id.lower().rpartition("/")[0])
    assert in_group.body["value"][0]["id"] == machine.id
    whole = await scene.call(
        "GET", f"/subscriptions/{machine.subscription}/providers/microsoft.compute/virtualmachines"
    )
    assert whole.body["value"][0]["id"] == machine.id.replace("Rg-Fleet", "RG-FLEET")


async def test_lists_have_fewer_fields_than_a_single_get(scene: Scene) -> None:
    machine = scene.add(extensions=(ExtensionSpec(name="OMSExtension", version="1.3", **OMS),))
    item = (await scene.call("GET", machine.id.rpartition("/")[0])).body["value"][0]
    assert item["resources"] == [{"id": f"{machine.id}/extensions/OMSExtension"}]
    assert "instanceView" not in item["properties"]
    single = (await scene.call("GET", machine.id)).body["resources"][0]
    assert single["properties"]["publisher"] == OMS["publisher"]
    assert "instanceView" not in single["properties"]
    assert "resources" not in (await scene.call("GET", scene.add("bare").id)).body


async def test_pages_are_small_their_links_opaque_and_a_vm_may_vanish_between_them(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(page_size=2)
    machines = [scene.add(f"web-{number}") for number in range(5)]
    first = await scene.call("GET", machines[0].id.rpartition("/")[0])
    link = first.body["nextLink"]
    assert link.startswith(scene.endpoints.arm)
    assert not link.partition("skiptoken=")[2].isdecimal()
    scene.arm.delete_vm(machines[2].id)
    await scene.clock.advance(300)
    second = await scene.call("GET", link)
    assert [vm["name"] for vm in second.body["value"]] == ["web-3", "web-4"]
    assert "nextLink" not in second.body
    assert (await scene.call("GET", link + "x")).status == 400


async def test_status_only_lists_carry_instance_views(scene: Scene) -> None:
    machine = scene.add()
    path = f"/subscriptions/{machine.subscription}/providers/Microsoft.Compute/virtualMachines?statusOnly=true"
    item = (await scene.call("GET", path)).body["value"][0]
    assert item["properties"]["instanceView"]["vmAgent"]["statuses"][0]["displayStatus"] == "Ready"


async def test_a_vm_can_be_made_changed_and_deleted_by_http(scene: Scene) -> None:
    body = VmSpec(name="x").body()
    missing = await scene.call("PUT", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/byhand", body)
    assert (missing.status, missing.code) == (404, "ResourceGroupNotFound")
    assert (await scene.call("PUT", GROUP, {"location": "westeurope"})).status == 201
    path = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/byhand"
    created = await scene.call("PUT", path, body)
    assert (created.status, created.body["properties"]["provisioningState"]) == (201, "Creating")
    await scene.clock.advance(400)
    assert (await scene.poll(created)).body["status"] == "Succeeded"
    assert (await scene.view(scene.arm.machines[path]))["osName"] == "ubuntu"
    patched = await scene.call("PATCH", path, {"tags": {"onboarding": "skip"}})
    assert (patched.status, patched.body["tags"]) == (200, {"onboarding": "skip"})
    await scene.clock.advance(60)
    assert (await scene.call("DELETE", path)).status == 202
    assert (await scene.call("GET", path)).body["properties"]["provisioningState"] == "Deleting"
    await scene.clock.advance(300)
    gone = await scene.call("GET", path)
    assert (gone.status, gone.code, gone.headers["x-ms-failure-cause"]) == (404, "ResourceNotFound", "gateway")
    assert (await scene.call("DELETE", path)).status == 204


async def test_passwords_of_a_vm_body_are_not_returned(scene: Scene) -> None:
    scene.add()
    body = VmSpec(name="x").body()
    body["properties"]["osProfile"]["adminPassword"] = "hunter2-hunter2"
    created = await scene.call("PUT", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/byhand", body)
    assert "hunter2" not in str(created)


async def test_an_agentless_vm_that_allows_extensions_is_a_contradiction(scene: Scene) -> None:
    scene.add()
    body = VmSpec(name="x", provision_vm_agent=False).body()
    reply = await scene.call("PUT", f"{GROUP}/providers/Microsoft.Compute/virtualMachines/byhand", body)
    assert (reply.status, reply.body["error"]["target"]) == (400, "allowExtensionOperations")


async def test_a_failed_creation_fails_the_operation_and_the_vm(scene: Scene) -> None:
    error = {"code": "OSProvisioningTimedOut", "message": "OS Provisioning for VM 'x' did not finish"}
    machine = scene.arm.create_vm(VmSpec(name="x", creation_error=error))
    await scene.clock.advance(400)
    assert machine.provisioning_state == "Failed"
    assert scene.events[-1]["eventType"] == "Microsoft.Resources.ResourceWriteFailure"


async def test_a_name_cannot_be_given_twice(scene: Scene) -> None:
    scene.add()
    with pytest.raises(ValueError, match="is there already"):
        scene.add()


async def test_a_recreated_vm_has_another_vm_id(scene: Scene) -> None:
    first = scene.add()
    scene.arm.delete_vm(first.id)
    await scene.clock.advance(300)
    assert scene.add().vm_id != first.vm_id


async def test_images_and_gallery_definitions_can_be_read(scene: Scene) -> None:
    scene.add()
    definition = f"{GROUP}/providers/Microsoft.Compute/galleries/g/images/i"
    body: dict[str, Any] = {"name": "i", "properties": {"osType": "Linux", "identifier": {"publisher": "JavaSDKTeam"}}}
    scene.arm.add_image(definition, body)
    assert (await scene.call("GET", definition.upper(), version="2026-03-03")).body == body
    absent = await scene.call("GET", f"{GROUP}/providers/Microsoft.Compute/images/none")
    assert (absent.status, absent.code) == (404, "ResourceNotFound")


async def test_the_same_seed_gives_the_same_times(make_scene: MakeScene) -> None:
    scenes: list[Scene] = [await make_scene(), await make_scene()]
    for scene in scenes:
        scene.arm.create_vm(VmSpec(name="web-1"))
    for _ in range(200):
        await asyncio.gather(*(scene.clock.advance(1) for scene in scenes))
        states = {scene.arm.machines[VmSpec(name="web-1").id].provisioning_state for scene in scenes}
        assert len(states) == 1
