"""Removals of extensions that take long, fail, or are repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.compute import models

from simulator.arm import Agent, ConcurrentWrites, ExtensionSpec, FaultRule, Guest, Machine, Power, Uninstall
from simulator.arm.http.faults import read_rule_file
from simulator.laptop import ROOT
from tests.simulator.conftest import OMS, MakeScene, Reply, Scene, oms_body


def _installed(scene: Scene, **spec: Any) -> Machine:
    return scene.add(extensions=(ExtensionSpec(name="OMS", version="1.3", **OMS),), **spec)


async def _delete(scene: Scene, machine: Machine) -> Reply:
    return await scene.call("DELETE", f"{machine.id}/extensions/OMS")


async def test_a_removal_takes_14_to_101_seconds_and_ends_with_an_event(scene: Scene) -> None:
    machine = _installed(scene)
    accepted = await _delete(scene, machine)
    assert accepted.status == 202
    await scene.clock.advance(13.9)
    assert (await scene.poll(accepted)).body["status"] == "InProgress"
    assert scene.events == []
    await scene.clock.advance(87.2)
    assert (await scene.poll(accepted)).body["status"] == "Succeeded"
    (event,) = scene.events
    assert event["eventType"] == "Microsoft.Resources.ResourceDeleteSuccess"
    assert event["data"]["operationName"] == "Microsoft.Compute/virtualMachines/extensions/delete"
    assert (await scene.call("GET", f"{machine.id}/extensions/OMS")).code == "ResourceNotFound"


async def test_a_stopped_vm_refuses_a_removal_like_a_write(scene: Scene) -> None:
    reply = await _delete(scene, _installed(scene, power=Power.DEALLOCATED))
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")
    assert "when the VM is not running" in reply.message


async def test_without_the_agent_it_fails_and_stays_deleting_and_only_a_removal_may_be_repeated(scene: Scene) -> None:
    machine = _installed(scene, guest=Guest(agent=Agent.SILENT))
    accepted = await _delete(scene, machine)
    again = await _delete(scene, machine)
    assert (again.status, again.headers["x-ms-request-id"]) == (202, accepted.headers["x-ms-request-id"])
    await scene.clock.advance(1_600)
    polled = (await scene.poll(accepted)).body
    assert (polled["status"], polled["error"]["code"]) == ("Failed", "VMAgentStatusCommunicationError")
    assert machine.extensions["oms"].provisioning_state == "Deleting"
    refused = await scene.call("PUT", f"{machine.id}/extensions/OMS", oms_body())
    assert (refused.status, refused.code) == (409, "OperationNotAllowed")
    assert refused.message == (
        "Operation 'PUT Extension' is not allowed on VM extension 'OMS' since it is marked for deletion. "
        "You can only retry the Delete operation (or wait for an ongoing one to complete)."
    )
    repeated = await _delete(scene, machine)
    assert repeated.status == 202
    assert repeated.headers["x-ms-request-id"] != accepted.headers["x-ms-request-id"]


async def test_it_waits_for_an_agent_that_reports_late(scene: Scene) -> None:
    machine = _installed(scene, guest=Guest(agent_delay=600.0))
    scene.arm.restart_vm(machine.id)
    await scene.clock.advance(100)
    accepted = await _delete(scene, machine)
    await scene.clock.advance(300)
    assert (await scene.poll(accepted)).body["status"] == "InProgress"
    await scene.clock.advance(500)
    assert (await scene.poll(accepted)).body["status"] == "Succeeded"


async def test_its_operation_can_end_with_an_error_and_the_extension_is_still_there(scene: Scene) -> None:
    machine = _installed(scene)
    error = {"code": "VMExtensionProvisioningError", "message": "disable exited with 1"}
    scene.arm.faults.add(FaultRule(kind="extension-delete", nth=(1,), ends_with=error))
    accepted = await _delete(scene, machine)
    await scene.clock.advance(200)
    assert (await scene.poll(accepted)).body["error"] == error
    assert machine.extensions["oms"].provisioning_state == "Failed"
    assert scene.events[0]["eventType"] == "Microsoft.Resources.ResourceDeleteFailure"
    assert (await scene.call("PUT", f"{machine.id}/extensions/OMS", oms_body())).status == 200


async def test_a_write_of_an_extension_can_end_with_an_error_too(scene: Scene) -> None:
    machine = scene.add()
    error = {"code": "InternalExecutionError", "message": "An internal execution error occurred."}
    scene.arm.faults.add(FaultRule(kind="extension-put", ends_with=error))
    accepted = await scene.put_oms(machine)
    await scene.clock.advance(1_000)
    assert (await scene.poll(accepted)).body["error"] == error
    assert machine.extensions["omsextension"].provisioning_state == "Failed"


async def test_while_it_is_under_way_a_get_says_deleting_and_afterwards_nothing_is_there(scene: Scene) -> None:
    machine = _installed(scene)
    await _delete(scene, machine)
    await scene.clock.advance(10)
    shown = await scene.call("GET", f"{machine.id}/extensions/OMS?$expand=instanceView")
    listed = (await scene.call("GET", machine.id)).body["resources"]
    assert shown.body["properties"]["provisioningState"] == "Deleting"
    assert [each["properties"]["provisioningState"] for each in listed] == ["Deleting"]
    await scene.clock.advance(100)
    gone = await scene.call("GET", f"{machine.id}/extensions/OMS")
    assert (gone.status, gone.code) == (404, "ResourceNotFound")
    assert "resources" not in (await scene.call("GET", machine.id)).body
    assert (await _delete(scene, machine)).status == 204


async def test_of_a_vm_that_is_gone_it_is_404(scene: Scene) -> None:
    machine = _installed(scene)
    scene.arm.delete_vm(machine.id)
    refused = await _delete(scene, machine)
    assert (refused.status, "marked for deletion" in refused.message) == (409, True)
    await scene.clock.advance(200)
    reply = await _delete(scene, machine)
    assert (reply.status, reply.code) == (404, "ParentResourceNotFound")


async def test_a_vm_that_stops_in_the_middle_keeps_it_until_the_operation_times_out(scene: Scene) -> None:
    machine = _installed(scene)
    accepted = await _delete(scene, machine)
    scene.arm.deallocate_vm(machine.id)
    await scene.clock.advance(1_000)
    assert (await scene.poll(accepted)).body["status"] == "InProgress"
    await scene.clock.advance(1_000)
    polled = (await scene.poll(accepted)).body
    assert (polled["status"], polled["error"]["code"]) == ("Failed", "VMAgentStatusCommunicationError")
    shown = await scene.call("GET", f"{machine.id}/extensions/OMS")
    assert shown.body["properties"]["provisioningState"] == "Deleting"
    assert scene.events[-1]["eventType"] == "Microsoft.Resources.ResourceDeleteFailure"
    assert "not running" in (await _delete(scene, machine)).message
    scene.arm.start_vm(machine.id)
    await scene.clock.advance(400)
    assert (await _delete(scene, machine)).status == 202
    await scene.clock.advance(400)
    assert machine.extensions == {}


async def test_a_vm_that_restarts_in_the_middle_goes_on_when_its_agent_reports(scene: Scene) -> None:
    machine = _installed(scene)
    accepted = await _delete(scene, machine)
    scene.arm.restart_vm(machine.id)
    await scene.clock.advance(600)
    assert (await scene.poll(accepted)).body["status"] == "Succeeded"


async def test_after_the_agent_was_purged_by_hand_it_fails_and_the_extension_stays(scene: Scene) -> None:
    machine = _installed(scene)
    scene.arm.purge_agent(machine.id, "OMS")
    accepted = await _delete(scene, machine)
    await scene.clock.advance(200)
    error = (await scene.poll(accepted)).body["error"]
    assert error["code"] == "VMExtensionProvisioningError"
    assert "Disable cannot be called before install" in error["message"]
    assert machine.extensions["oms"].provisioning_state == "Failed"
    scene.arm.clean_guest(machine.id)
    await _delete(scene, machine)
    await scene.clock.advance(200)
    assert machine.extensions == {}


async def test_a_handler_whose_version_is_lost_in_the_vm_is_deleting_until_a_person_helps(scene: Scene) -> None:
    machine = _installed(scene, uninstall=Uninstall.LOST)
    accepted = await _delete(scene, machine)
    await scene.clock.advance(60)
    view = (await scene.view(machine))["extensions"][0]["statuses"][0]
    assert view["code"] == "ProvisioningState/transitioning"
    assert view["message"].startswith("Failed to find installed version of ")
    await scene.clock.advance(5_500)
    assert (await scene.poll(accepted)).body["error"]["code"] == "VMExtensionProvisioningTimeout"
    assert machine.extensions["oms"].provisioning_state == "Deleting"
    assert "marked for deletion" in (await scene.put_oms(machine, "OMS")).message


async def test_an_incomplete_one_leaves_a_handler_that_the_agent_lists_and_the_next_install_hangs(scene: Scene) -> None:
    machine = _installed(scene, uninstall=Uninstall.INCOMPLETE)
    await _delete(scene, machine)
    await scene.clock.advance(200)
    assert (await scene.call("GET", f"{machine.id}/extensions/OMS")).status == 404
    body = (await scene.call("GET", f"{machine.id}?$expand=instanceView")).body
    (handler,) = body["properties"]["instanceView"]["vmAgent"]["extensionHandlers"]
    assert handler["type"] == "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"
    typed = models.VirtualMachine(body).instance_view
    assert typed.vm_agent.extension_handlers[0].status.display_status == "Transitioning"
    accepted = await scene.put_oms(machine, "OMS")
    await scene.clock.advance(1_000)
    assert (await scene.view(machine))["extensions"][0]["statuses"][0]["code"] == "ProvisioningState/transitioning"
    await scene.clock.advance(5_000)
    assert (await scene.poll(accepted)).body["error"]["code"] == "VMExtensionProvisioningTimeout"
    scene.arm.clean_guest(machine.id)
    again = await scene.put_oms(machine, "OMS")
    await scene.clock.advance(1_000)
    assert (await scene.poll(again)).body["status"] == "Succeeded"


async def test_how_it_goes_is_for_the_handlers_that_are_named(scene: Scene) -> None:
    machine = _installed(scene, uninstall=Uninstall.REFUSED, uninstall_of="*.AzureMonitorLinuxAgent")
    await _delete(scene, machine)
    await scene.clock.advance(200)
    assert machine.extensions == {}


@pytest.mark.parametrize("mode", [ConcurrentWrites.REFUSE, ConcurrentWrites.PREEMPT])
async def test_it_meets_another_write_like_an_install_does(make_scene: MakeScene, mode: ConcurrentWrites) -> None:
    scene: Scene = await make_scene(concurrent_writes=mode)
    machine = _installed(scene)
    script = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    other = await scene.call("PUT", f"{machine.id}/extensions/script", {"location": "westeurope", "properties": script})
    reply = await _delete(scene, machine)
    polled = (await scene.poll(other)).body
    if mode is ConcurrentWrites.REFUSE:
        assert (reply.status, reply.code, polled["status"]) == (409, "Conflict", "InProgress")
        return
    assert (reply.status, polled["error"]["code"]) == (202, "OperationPreempted")


async def test_a_lock_against_deletions_refuses_it_and_lets_writes_pass(scene: Scene) -> None:
    machine = _installed(scene)
    scene.arm.scopes.lock(machine.id.partition("/providers")[0], deletes_only=True)
    refused = await _delete(scene, machine)
    assert (refused.status, refused.code) == (409, "ScopeLocked")
    assert "cannot perform delete operation" in refused.message
    assert (await scene.put_oms(machine, "OMS")).status == 200


async def test_the_sample_faults_are_what_arm_says_and_a_repeated_removal_ends(scene: Scene) -> None:
    found = []
    for number, rule in enumerate(read_rule_file(ROOT / "samples" / "faults" / "removal.yaml")):
        machine = scene.add(f"web-{number}", extensions=(ExtensionSpec(name="OMS", version="1.3", **OMS),))
        scene.arm.faults.clear()
        scene.arm.faults.add(rule)
        async with scene.client() as client:
            extensions = client.virtual_machine_extensions
            try:
                poller = await extensions.begin_delete(machine.group, machine.name, "OMS", polling_interval=0.001)
                await _finish(scene, poller)
                found.append("removed")
            except HttpResponseError as error:
                found.append(str(error.error and error.error.code))
            await _finish(scene, await extensions.begin_delete(machine.group, machine.name, "OMS", polling_interval=0))
        assert machine.extensions == {}, rule
    assert found == [
        "OperationNotAllowed",
        "Conflict",
        "ScopeLocked",
        "AuthorizationFailed",
        "TooManyRequests",
        "GatewayTimeout",
        "removed",  # the connection was cut, and the client's HTTP library sent the request again
        "removed",
        "VMExtensionHandlerNonTransientError",
    ]


async def test_the_sdk_sees_a_removal_from_begin_to_end_and_its_failures(scene: Scene) -> None:
    machine = _installed(scene)
    where = (machine.group, machine.name)
    async with scene.client() as client:
        extensions = client.virtual_machine_extensions
        poller = await extensions.begin_delete(*where, "OMS", polling_interval=0.001)
        shown = await extensions.get(*where, "OMS", expand="instanceView")
        assert shown.provisioning_state == "Deleting"
        assert await _finish(scene, poller) is None
        with pytest.raises(ResourceNotFoundError):
            await extensions.get(*where, "OMS")
        absent = await extensions.begin_delete(*where, "OMS")
        await absent.result()
        assert absent.done()
        stopped = _installed(scene, name="web-2", power=Power.DEALLOCATED)
        with pytest.raises(ResourceExistsError, match="not running"):
            await extensions.begin_delete(stopped.group, stopped.name, "OMS", polling=False)
        purged = _installed(scene, name="web-3")
        scene.arm.purge_agent(purged.id, "OMS")
        failing = await extensions.begin_delete(purged.group, purged.name, "OMS", polling_interval=0.001)
        with pytest.raises(HttpResponseError) as caught:
            await _finish(scene, failing)
    assert caught.value.status_code == 200
    assert caught.value.error is not None
    assert caught.value.error.code == "VMExtensionProvisioningError"


async def _finish(scene: Scene, poller: Any) -> Any:
    task = asyncio.create_task(poller.result())
    while not task.done():
        await scene.clock.advance(60)
        await asyncio.sleep(0.001)
    return await task
