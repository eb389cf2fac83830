"""Run commands: printed logs of the handlers, and refusals."""

from __future__ import annotations

import pytest
from azure.mgmt.compute.models import RunCommandInput

from simulator.arm import ExtensionSpec, Guest, HandlerRun, Machine, Power
from tests.simulator.conftest import KEY, OMS, WORKSPACE, Scene

LOGS = "tail -v -n 40 /opt/microsoft/omsagent/bin/stdout /var/log/azure/*/extension.log"


def failed(scene: Scene, code: int) -> Machine:
    """A VM on which the handler failed long ago."""
    broken = ExtensionSpec(
        name="OMSExtension",
        **OMS,
        version="1.3",
        settings={"workspaceId": WORKSPACE},
        protected_settings={"workspaceKey": KEY},
        failed_with=HandlerRun(exit_code=code),
    )
    return scene.add(extensions=(broken,))


async def output(scene: Scene, machine: Machine, script: str) -> str:
    accepted = await scene.call("POST", f"{machine.id}/runCommand", {"commandId": "RunShellScript", "script": [script]})
    assert (accepted.status, accepted.body) == (202, "")
    await scene.clock.advance(60)
    assert (await scene.poll(accepted)).body["status"] == "Succeeded"
    final = await scene.call("GET", accepted.headers["Location"])
    return str(final.body["value"][0]["message"])


async def test_a_script_that_prints_logs_gets_the_handlers_log(scene: Scene) -> None:
    text = await output(scene, failed(scene, 51), LOGS)
    assert text.startswith("Enable succeeded: \n[stdout]\n==> /opt/microsoft/omsagent/bin/stdout <==")
    assert "==> /var/log/azure/Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux/extension.log <==" in text
    assert "Install,failed,51,Unsupported operating system: ubuntu 16.04" in text
    assert text.endswith("\n[stderr]\n")


async def test_only_the_requested_lines_are_printed(scene: Scene) -> None:
    text = await output(scene, failed(scene, 51), "tail -v -n 1 /opt/microsoft/omsagent/bin/stdout")
    assert "Extracting" not in text


async def test_the_output_is_cut_to_its_last_4_096_bytes(scene: Scene) -> None:
    machine = failed(scene, 51)
    machine.extensions["omsextension"].statuses[0]["message"] = "\n".join(f"line {n}" for n in range(2_000))
    text = await output(scene, machine, "tail -v -n 2000 /opt/microsoft/omsagent/bin/stdout")
    assert len(text.partition("[stdout]\n")[2].partition("\n[stderr]")[0]) <= 4_096
    assert "line 1999" in text


async def test_a_vm_without_handlers_and_any_other_script_print_nothing(scene: Scene) -> None:
    assert "[stdout]\n\n[stderr]" in await output(scene, scene.add("empty"), LOGS)
    assert "[stdout]\n\n[stderr]" in await output(scene, failed(scene, 51), "uname -a")


async def test_powershell_prints_logs_on_windows_and_its_errors_separately(scene: Scene) -> None:
    broken = ExtensionSpec(
        name="script",
        publisher="Microsoft.Compute",
        type="CustomScriptExtension",
        version="1.10",
        failed_with=HandlerRun(exit_code=3),
    )
    guest = Guest(os_name="Windows Server 2022 Datacenter", os_version="10.0.20348.1")
    machine = scene.add(os_type="Windows", guest=guest, extensions=(broken,))
    files = "'c:\\windowsazure\\Logs\\Plugins\\*\\*\\*.log'"
    script = f"Get-ChildItem -Path {files} | ForEach-Object {{ Get-Content -LiteralPath $_ -Tail 50 }}"
    body = {"commandId": "RunPowerShellScript", "script": [script]}
    accepted = await scene.call("POST", f"{machine.id}/runCommand", body)
    await scene.clock.advance(60)
    printed, complained = (await scene.call("GET", accepted.headers["Location"])).body["value"]
    assert printed["code"] == "ComponentStatus/StdOut/succeeded"
    assert printed["message"].startswith(
        "==> C:\\WindowsAzure\\Logs\\Plugins\\Microsoft.Compute.CustomScriptExtension\\1.10"
    )
    assert "cwd is C:\\Packages\\Plugins\\" in printed["message"]
    assert (complained["code"], complained["message"]) == ("ComponentStatus/StdErr/succeeded", "")


@pytest.mark.parametrize(("os_type", "command"), [("Windows", "RunShellScript"), ("Linux", "RunPowerShellScript")])
async def test_the_shell_of_the_other_system_is_refused(scene: Scene, os_type: str, command: str) -> None:
    machine = scene.add(os_type=os_type)
    reply = await scene.call("POST", f"{machine.id}/runCommand", {"commandId": command, "script": ["x"]})
    assert (reply.status, reply.code) == (400, "InvalidParameter")


async def test_the_real_sdk_gets_the_result(scene: Scene) -> None:
    machine = failed(scene, 62)
    async with scene.client() as client:
        poller = await client.virtual_machines.begin_run_command(
            machine.group, machine.name, RunCommandInput(command_id="RunShellScript", script=[LOGS]), polling_interval=0
        )
        await scene.clock.advance(60)
        result = await poller.result()
    assert ["exit code 62" in str(status.message) for status in result.value or []] == [True]


@pytest.mark.parametrize("power", [Power.STOPPED, Power.DEALLOCATED])
async def test_a_vm_that_does_not_run_is_refused(scene: Scene, power: Power) -> None:
    machine = scene.add(power=power)
    reply = await scene.call("POST", f"{machine.id}/runCommand", {"commandId": "RunShellScript", "script": ["x"]})
    assert (reply.status, reply.code) == (409, "OperationNotAllowed")


async def test_only_one_runs_at_a_time(scene: Scene) -> None:
    machine = scene.add()
    body = {"commandId": "RunShellScript", "script": ["x"]}
    assert (await scene.call("POST", f"{machine.id}/runCommand", body)).status == 202
    assert (await scene.call("POST", f"{machine.id}/runCommand", body)).code == "Conflict"


async def test_running_commands_needs_its_own_right(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.scopes.grant(scene.arm.options.principal_id, "/", "Microsoft.Compute/virtualMachines/read")
    reply = await scene.call("POST", f"{machine.id}/runCommand", {"commandId": "RunShellScript", "script": ["x"]})
    assert reply.code == "AuthorizationFailed"
    assert "Microsoft.Compute/virtualMachines/runCommand/action" in reply.message
