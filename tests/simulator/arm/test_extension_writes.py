"""The first answer to an extension write: accepted in the recorded form, or refused in ARM's own words."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import Agent, ConcurrentWrites, ExtensionSpec, Guest, Machine, Power
from tests.simulator.conftest import KEY, OMS, MakeScene, Scene, oms_body

AMA: dict[str, Any] = {"publisher": "Microsoft.Azure.Monitor", "type": "AzureMonitorLinuxAgent"}


async def test_a_new_extension_is_201_creating_with_an_operation_url_but_no_location_and_no_wait(scene: Scene) -> None:
    reply = await scene.put_oms(scene.add())
    assert (reply.status, reply.body["properties"]["provisioningState"]) == (201, "Creating")
    assert reply.headers["Azure-AsyncNotification"] == "Enabled"
    assert reply.headers["x-ms-request-id"] in reply.headers["Azure-AsyncOperation"]
    assert not {"Location", "Retry-After"} & set(reply.headers)


async def test_an_existing_extension_is_200_updating(scene: Scene) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.body["properties"]["provisioningState"]) == (200, "Updating")
    assert "Location" not in reply.headers


async def test_a_delete_is_202_without_body_with_both_headers_and_204_when_there_is_nothing(scene: Scene) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    reply = await scene.call("DELETE", f"{machine.id}/extensions/omsextension")
    assert (reply.status, reply.body) == (202, "")
    assert reply.headers["Location"] == reply.headers["Azure-AsyncOperation"] + "&monitor=true"
    monitored = await scene.call("GET", reply.headers["Location"])
    assert monitored.status == 202
    await scene.clock.advance(200)
    monitored = await scene.call("GET", reply.headers["Location"])
    assert (monitored.status, monitored.body) == (200, "")
    assert (await scene.call("DELETE", f"{machine.id}/extensions/omsextension")).status == 204


async def test_protected_settings_are_stored_and_never_returned(scene: Scene) -> None:
    machine = scene.add()
    seen = [await scene.put_oms(machine)]
    await scene.clock.advance(1_000)
    seen.append(await scene.call("GET", f"{machine.id}?$expand=instanceView"))
    seen.append(await scene.call("GET", f"{machine.id}/extensions/OMSExtension?$expand=instanceView"))
    seen.append(await scene.call("GET", f"{machine.id}/extensions"))
    extension = machine.extensions["omsextension"]
    assert extension.protected_settings == {"workspaceKey": KEY}
    representation = repr((seen, scene.events, list(scene.arm.requests), extension, machine))
    assert KEY not in representation
    assert "protectedSettings" not in representation


async def test_a_patch_changes_settings_but_not_the_publisher(scene: Scene) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    path = f"{machine.id}/extensions/OMSExtension"
    refused = await scene.call("PATCH", path, {"properties": {"publisher": "Somebody.Else"}})
    assert (refused.status, refused.code) == (409, "PropertyChangeNotAllowed")
    reply = await scene.call("PATCH", path, {"properties": {"forceUpdateTag": "2"}, "tags": {"a": "b"}})
    assert (reply.status, reply.body["properties"]["forceUpdateTag"], reply.body["tags"]) == (200, "2", {"a": "b"})


VM_REFUSALS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("deallocated", {"power": Power.DEALLOCATED}, 409, "OperationNotAllowed", "when the VM is not running"),
    ("stopped", {"power": Power.STOPPED}, 409, "OperationNotAllowed", "when the VM is not running"),
    ("switched off", {"allow_extension_operations": False}, 409, "OperationNotAllowed", "operations are disallowed"),
    ("no agent", {"guest": Guest(agent=Agent.ABSENT)}, 409, "OperationNotAllowed", "operations are disallowed"),
    ("generalized", {"generalized": True}, 409, "OperationNotAllowed", "is generalized"),
]


@pytest.mark.parametrize(("name", "spec", "status", "code", "words"), VM_REFUSALS, ids=[r[0] for r in VM_REFUSALS])
async def test_a_vm_that_accepts_no_extension_refuses_at_once(
    scene: Scene, name: str, spec: dict[str, Any], status: int, code: str, words: str
) -> None:
    reply = await scene.put_oms(scene.add(**spec))
    assert (reply.status, reply.code) == (status, code)
    assert words in reply.message


async def test_a_stopping_vm_refuses_and_names_its_target_state(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.deallocate_vm(machine.id)
    reply = await scene.put_oms(machine)
    assert "is changing power state of Virtual Machine web-1 to deallocated" in reply.message


async def test_a_vm_marked_for_deletion_refuses(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.delete_vm(machine.id)
    assert "marked for deletion" in (await scene.put_oms(machine)).message


async def test_an_extension_marked_for_deletion_refuses(scene: Scene) -> None:
    machine = scene.add(extensions=(ExtensionSpec(name="OMSExtension", version="1.3", **OMS),))
    await scene.call("DELETE", f"{machine.id}/extensions/OMSExtension")
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")
    assert "marked for deletion" in reply.message


async def test_one_handler_per_vm_across_names(scene: Scene) -> None:
    machine = scene.add(extensions=(ExtensionSpec(name="PolicyOMS", version="1.3", **OMS),))
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.code) == (400, "BadRequest")
    assert reply.message == (
        "Multiple VMExtensions per handler not supported for OS type 'Linux'. VMExtension 'PolicyOMS' with handler "
        "'Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux' already added or specified in input."
    )


async def test_a_name_that_belongs_to_another_publisher_is_kept(scene: Scene) -> None:
    machine = scene.add(extensions=(ExtensionSpec(name="OMSExtension", version="1.0", **AMA),))
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.code, reply.message) == (
        409,
        "PropertyChangeNotAllowed",
        "Changing property 'publisher' is not allowed.",
    )


async def test_other_version_settings_conflict_with_what_is_installed(scene: Scene) -> None:
    machine = scene.add(extensions=(ExtensionSpec(name="OMSExtension", version="1.3", **OMS),))
    reply = await scene.put_oms(machine, autoUpgradeMinorVersion=False)
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")
    assert "with typeHandler version '1.3' and autoUpgradeMinorVersion 'True'" in reply.message


async def test_a_higher_version_and_another_choice_of_automatic_upgrades_are_taken_and_shown(scene: Scene) -> None:
    there = ExtensionSpec(name="AMA", version="1.40", auto_upgrade=False, **AMA)
    machine = scene.add(guest=Guest(os_name="ubuntu", os_version="22.04", agent_delay=0), extensions=(there,))
    sent = {**AMA, "typeHandlerVersion": "1.42", "autoUpgradeMinorVersion": False, "enableAutomaticUpgrade": True}
    body = {"location": machine.location, "properties": sent}
    reply = await scene.call("PUT", f"{machine.id}/extensions/AMA", body)
    assert (reply.status, reply.body["properties"]["provisioningState"]) == (200, "Updating")
    await scene.clock.advance(1_000)
    reply = await scene.call("GET", f"{machine.id}/extensions/AMA?$expand=instanceView")
    properties = reply.body["properties"]
    assert (properties["typeHandlerVersion"], properties["enableAutomaticUpgrade"]) == ("1.42", True)
    assert properties["instanceView"]["typeHandlerVersion"] == "1.42.0"
    lower = {**body, "properties": {**sent, "typeHandlerVersion": "1.40"}}
    assert (await scene.call("PUT", f"{machine.id}/extensions/AMA", lower)).status == 409


async def test_an_unknown_handler_is_not_in_the_repository(scene: Scene) -> None:
    reply = await scene.put_oms(scene.add(), type="NoSuchAgent")
    assert (reply.status, reply.code) == (404, "ArtifactNotFound")


def _flat(body: dict[str, Any]) -> dict[str, Any]:
    return {"location": body["location"], **body["properties"]}


def _snake(body: dict[str, Any]) -> dict[str, Any]:
    properties = dict(body["properties"])
    properties["type_handler_version"] = properties.pop("typeHandlerVersion")
    return {"location": body["location"], "properties": properties}


BAD_BODIES: list[tuple[str, Any, int, str]] = [
    ("flat", _flat(oms_body()), 400, "InvalidRequestContent"),
    ("snake_case", _snake(oms_body()), 400, "BadRequest"),
    ("full version", oms_body(typeHandlerVersion="1.14.19"), 400, "InvalidParameter"),
    ("no publisher", oms_body(publisher=""), 400, "InvalidParameter"),
    ("no location", {"properties": oms_body()["properties"]}, 400, "LocationRequired"),
    ("other location", oms_body(location="eastus"), 409, "InvalidResourceLocation"),
    ("a list", [], 400, "InvalidRequestContent"),
    ("properties no object", {"location": "westeurope", "properties": "x"}, 400, "InvalidRequestContent"),
]


@pytest.mark.parametrize(("name", "body", "status", "code"), BAD_BODIES, ids=[b[0] for b in BAD_BODIES])
async def test_bodies_that_azure_refuses_are_refused(
    scene: Scene, name: str, body: Any, status: int, code: str
) -> None:
    machine = scene.add()
    reply = await scene.call("PUT", f"{machine.id}/extensions/OMSExtension", body)
    assert (reply.status, reply.code) == (status, code)
    assert not machine.extensions


async def test_read_only_properties_of_a_body_are_ignored(scene: Scene) -> None:
    reply = await scene.put_oms(scene.add(), provisioningState="Succeeded")
    assert reply.body["properties"]["provisioningState"] == "Creating"


async def test_a_body_that_is_not_json_is_refused(scene: Scene) -> None:
    reply = await scene.call("PUT", f"{scene.add().id}/extensions/X", text="{")
    assert (reply.status, reply.code) == (400, "InvalidRequestContent")


async def test_a_second_writer_is_refused_with_a_conflict(scene: Scene) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.code) == (409, "Conflict")
    assert "conflict with a concurrent request" in reply.message


async def test_a_second_extension_is_refused_while_the_first_is_under_way_and_the_collision_is_kept(
    scene: Scene,
) -> None:
    machine = scene.add()
    await scene.put_oms(machine)
    other = f"{machine.id}/extensions/AzureMonitorLinuxAgent"
    reply = await scene.call("PUT", other, oms_body(**AMA, typeHandlerVersion="1.36"))
    assert (reply.status, reply.code) == (409, "Conflict")
    (collision,) = scene.arm.collisions
    assert (collision.vm, collision.handler) == (machine.key, "Microsoft.Azure.Monitor.AzureMonitorLinuxAgent")
    assert collision.under_way == ("extensions/OMSExtension",)
    assert collision.principals == {collision.principal} == {scene.arm.options.principal_id}
    await scene.clock.advance(1_000)
    assert (await scene.call("PUT", other, oms_body(**AMA, typeHandlerVersion="1.36"))).status == 201
    assert len(scene.arm.collisions) == 1


async def test_a_collision_with_somebody_else_names_them(scene: Scene) -> None:
    machine = scene.add()
    script = ExtensionSpec(name="script", publisher="Microsoft.Azure.Extensions", type="CustomScript", version="2.1")
    scene.arm.put_extension_as_other_deployer(machine.id, script)
    assert (await scene.put_oms(machine)).status == 409
    (collision,) = scene.arm.collisions
    assert collision.under_way == ("extensions/script",)
    assert collision.principal not in collision.principals


async def test_a_preempted_extension_may_still_succeed(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(concurrent_writes=ConcurrentWrites.PREEMPT)
    machine = scene.add()
    first = await scene.put_oms(machine)
    script = ExtensionSpec(name="script", publisher="Microsoft.Azure.Extensions", type="CustomScript", version="2.1")
    second = scene.arm.put_extension_as_other_deployer(machine.id, script)
    polled = await scene.poll(first)
    assert (polled.status, polled.body["error"]["code"]) == (200, "OperationPreempted")
    assert polled.body["status"] in ("Failed", "Canceled")
    await scene.clock.advance(1_000)
    assert {e.provisioning_state for e in machine.extensions.values()} == {"Succeeded"}
    assert second.status == "Succeeded"


async def test_mixed_mode_does_both_by_the_seed(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(concurrent_writes=ConcurrentWrites.MIXED, limits=False)
    statuses = set()
    for number in range(12):
        machine: Machine = scene.add(f"web-{number}")
        await scene.put_oms(machine)
        statuses.add((await scene.put_oms(machine)).status)
    assert statuses == {200, 409}


async def test_an_extension_of_a_missing_vm_is_refused_for_its_parent(scene: Scene) -> None:
    ghost = scene.add().id.replace("web-1", "ghost")
    reply = await scene.call("PUT", f"{ghost}/extensions/X", oms_body())
    assert (reply.status, reply.code) == (404, "ParentResourceNotFound")
