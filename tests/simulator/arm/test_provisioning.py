"""Accepted extensions: time passes, the handler runs on the real system, and three layers report."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.arm import Agent, Ending, ExtensionSpec, Guest, HandlerRun, VmSpec, locked_package_manager
from tests.simulator.conftest import OMS, WORKSPACE, MakeScene, Reply, Scene

HANDLER = "Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux"


async def _after(scene: Scene, accepted: Reply, seconds: float) -> dict[str, object]:
    await scene.clock.advance(seconds)
    reply = await scene.poll(accepted)
    assert reply.status == 200
    body: dict[str, object] = reply.body
    return body


async def test_an_install_takes_tens_of_seconds_and_then_succeeds_everywhere(scene: Scene) -> None:
    machine = scene.add()
    accepted = await scene.put_oms(machine)
    running = await _after(scene, accepted, 30)
    assert running["status"] == "InProgress"
    assert "endTime" not in running
    view = (await scene.view(machine))["extensions"][0]
    assert view["statuses"][0]["code"] == "ProvisioningState/transitioning"
    assert (await _after(scene, accepted, 400))["status"] == "Succeeded"
    view = await scene.view(machine)
    assert view["extensions"][0]["statuses"][0]["code"] == "ProvisioningState/succeeded"
    assert view["vmAgent"]["extensionHandlers"][0]["type"] == HANDLER
    assert view["extensions"][0]["typeHandlerVersion"].startswith("1.3.")
    got = await scene.call("GET", f"{machine.id}/extensions/OMSEXTENSION")
    assert (got.body["name"], got.body["properties"]["provisioningState"]) == ("OMSExtension", "Succeeded")
    assert got.body["properties"]["typeHandlerVersion"] == "1.3"


async def test_an_unsupported_system_exits_51_at_install_and_the_poll_is_still_a_200(scene: Scene) -> None:
    machine = scene.add(guest=Guest(os_name="ubuntu", os_version="22.04"))
    body = await _after(scene, await scene.put_oms(machine), 400)
    error = body["error"]
    assert body["status"] == "Failed"
    assert isinstance(error, dict)
    assert error["code"] == "VMExtensionHandlerNonTransientError"
    assert "Install,failed,51,Unsupported operating system: ubuntu 22.04" in error["message"]
    status = (await scene.view(machine))["extensions"][0]["statuses"][0]
    assert (status["code"], status["level"]) == ("ProvisioningState/failed/51", "Error")
    assert machine.extensions["omsextension"].provisioning_state == "Failed"


async def test_the_instance_view_fails_while_the_operation_still_runs(scene: Scene) -> None:
    machine = scene.add(runs=(HandlerRun(exit_code=17, seconds=20),))
    accepted = await scene.put_oms(machine)
    running = await _after(scene, accepted, 21)
    assert running["status"] == "InProgress"
    assert (await scene.view(machine))["extensions"][0]["statuses"][0]["code"] == "ProvisioningState/failed/17"
    assert (await _after(scene, accepted, 30))["status"] == "Failed"


async def test_a_locked_package_manager_clears_after_two_tries(scene: Scene) -> None:
    machine = scene.add(runs=locked_package_manager(2))
    outcomes = []
    for _ in range(3):
        body = await _after(scene, await scene.put_oms(machine), 1_000)
        outcomes.append((body["status"], "currently locked" in str(body.get("error"))))
    assert outcomes == [("Failed", True), ("Failed", True), ("Succeeded", False)]


@pytest.mark.parametrize(
    ("run", "code", "words"),
    [
        (HandlerRun(exit_code=10, operation="Enable"), "VMExtensionProvisioningError", "multiple connections"),
        (HandlerRun(exit_code=20), "VMExtensionHandlerNonTransientError", "Non-zero exit code: 20"),
        (HandlerRun(exit_code=52), "VMExtensionHandlerNonTransientError", "insufficient memory"),
        (HandlerRun(exit_code=53, operation="Enable"), "VMExtensionProvisioningError", "incorrect workspace key"),
        (HandlerRun(exit_code=1, text="our own words"), "VMExtensionHandlerNonTransientError", "our own words"),
        (HandlerRun(ending=Ending.TIMEOUT), "VMExtensionHandlerNonTransientError", "Timeout(900): /var/lib/waagent/"),
        (HandlerRun(error={"code": "InternalOperationError", "message": "m"}), "InternalOperationError", "m"),
    ],
    ids=["10", "20", "52", "53", "text", "timeout", "platform"],
)
async def test_scripted_runs_have_the_handlers_texts(scene: Scene, run: HandlerRun, code: str, words: str) -> None:
    machine = scene.add(runs=(run,))
    body = await _after(scene, await scene.put_oms(machine), 2_000)
    error = body["error"]
    assert isinstance(error, dict)
    assert error["code"] == code
    assert words in error["message"]


async def test_transitioning_can_hide_a_terminal_failure(scene: Scene) -> None:
    machine = scene.add(runs=(HandlerRun(exit_code=51, ending=Ending.TRANSITIONING),))
    await _after(scene, await scene.put_oms(machine), 400)
    status = (await scene.view(machine))["extensions"][0]["statuses"][0]
    assert (status["code"], status["level"]) == ("ProvisioningState/transitioning", "Info")
    assert "Unsupported operating system" in status["message"]


async def test_an_agent_that_never_reports_fails_the_operation_after_25_minutes(scene: Scene) -> None:
    machine = scene.add(guest=Guest(agent=Agent.SILENT))
    accepted = await scene.put_oms(machine)
    assert (await _after(scene, accepted, 1_500))["status"] == "InProgress"
    body = await _after(scene, accepted, 60)
    assert "VMAgentStatusCommunicationError" in str(body["error"])


async def test_an_extension_that_never_reports_fails_after_90_minutes(scene: Scene) -> None:
    machine = scene.add(runs=(HandlerRun(ending=Ending.SILENT),))
    accepted = await scene.put_oms(machine)
    assert (await _after(scene, accepted, 5_300))["status"] == "InProgress"
    assert "VMExtensionProvisioningTimeout" in str((await _after(scene, accepted, 200))["error"])


async def test_a_late_agent_only_delays_the_install(scene: Scene) -> None:
    machine = scene.arm.create_vm(VmSpec(name="late", guest=Guest(agent_delay=600)))
    await scene.clock.advance(200)
    accepted = await scene.put_oms(machine)
    assert (await _after(scene, accepted, 300))["status"] == "InProgress"
    assert (await _after(scene, accepted, 600))["status"] == "Succeeded"


async def test_a_restart_in_the_middle_runs_the_handler_again(scene: Scene) -> None:
    machine = scene.add()
    accepted = await scene.put_oms(machine)
    await scene.clock.advance(10)
    scene.arm.restart_vm(machine.id)
    assert (await _after(scene, accepted, 1_500))["status"] == "Succeeded"
    assert machine.extensions["omsextension"].runs == 2


async def test_deleting_the_vm_preempts_its_install(scene: Scene) -> None:
    machine = scene.add()
    accepted = await scene.put_oms(machine)
    scene.arm.delete_vm(machine.id)
    assert "OperationPreempted" in str((await _after(scene, accepted, 500))["error"])
    assert scene.arm.machines.find(machine.id) is None


async def test_a_version_that_is_not_in_the_repository_fails_at_the_poll(scene: Scene) -> None:
    body = await _after(scene, await scene.put_oms(scene.add(), typeHandlerVersion="1.14"), 400)
    assert "ArtifactVersionNotFound" in str(body["error"])


async def test_without_the_pin_of_2017_the_newest_handler_knows_newer_systems(make_scene: MakeScene) -> None:
    scene: Scene = await make_scene(newest={})
    newer, older = (scene.add(f"u-{v}", guest=Guest(os_version=v)) for v in ("22.04", "12.04"))
    accepted = [await scene.put_oms(machine) for machine in (newer, older)]
    await scene.clock.advance(1_000)
    assert [(await scene.poll(reply)).body["status"] for reply in accepted] == ["Succeeded", "Failed"]


@pytest.mark.parametrize(
    ("properties", "guest", "status"),
    [
        ({"settings": {"workspaceId": "nonsense"}}, Guest(), "ProvisioningState/failed/11"),
        ({"protectedSettings": {}}, Guest(), "ProvisioningState/failed/11"),
        ({"protectedSettings": {"workspaceKey": "no base64"}}, Guest(), "ProvisioningState/failed/1"),
        ({"protectedSettings": {"workspaceKey": "b3RoZXI="}}, Guest(), "ProvisioningState/failed/53"),
        (
            {"settings": {"workspaceId": WORKSPACE, "stopOnMultipleConnections": True}},
            Guest(workspace="another"),
            "ProvisioningState/failed/10",
        ),
        (
            {"settings": {"workspaceId": WORKSPACE, "stopOnMultipleConnections": "true"}},
            Guest(workspace="another"),
            "ProvisioningState/succeeded",
        ),
    ],
    ids=["bad id", "no key", "key no base64", "wrong key", "connected elsewhere", "the string true counts for nothing"],
)
async def test_the_handler_checks_its_settings(
    make_scene: MakeScene, properties: dict[str, Any], guest: Guest, status: str
) -> None:
    scene: Scene = await make_scene(workspaces={WORKSPACE: "c2VjcmV0LXdvcmtzcGFjZS1rZXk="})
    machine = scene.add(guest=guest)
    await scene.put_oms(machine, **properties)
    await scene.clock.advance(1_000)
    assert machine.extensions["omsextension"].statuses[0]["code"] == status


async def test_a_preinstalled_extension_can_be_a_failed_one(scene: Scene) -> None:
    failed = ExtensionSpec(name="OMS", version="1.3", failed_with=HandlerRun(exit_code=51), **OMS)
    machine = scene.add(extensions=(failed,))
    assert machine.extensions["oms"].provisioning_state == "Failed"
    assert (await scene.view(machine))["extensions"][0]["statuses"][0]["code"] == "ProvisioningState/failed/51"


async def test_a_script_can_be_for_one_handler_only(scene: Scene) -> None:
    machine = scene.add(runs=(HandlerRun(exit_code=1),), runs_of="*.CustomScript")
    assert (await _after(scene, await scene.put_oms(machine), 1_000))["status"] == "Succeeded"
