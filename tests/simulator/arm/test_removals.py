"""Removals of extensions that take long, fail, or are repeated."""

from __future__ import annotations

from typing import Any

from simulator.arm import Agent, ExtensionSpec, FaultRule, Guest, Machine, Power
from tests.simulator.conftest import OMS, Reply, Scene, oms_body


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
