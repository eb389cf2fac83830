"""Runs a shell or PowerShell script in a VM with a run command, for a person who waits for its output.

This is the only code that polls. Functions never use it: an event has no time for a run command. The operation, its
polling and its models are the SDK's; each of its requests goes through the pipeline of all other requests to ARM.
"""

from __future__ import annotations

from onboarding.azure.arm.arm_requests import API_VERSIONS, VIRTUAL_MACHINES, ArmRequests
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.resource_id import VmId

_COMMANDS = {OsType.LINUX: "RunShellScript", OsType.WINDOWS: "RunPowerShellScript"}
# On Windows, the result has the script's error output as a status of its own.
_STDERR = "componentstatus/stderr/"


class RunCommands:
    """Implements `ports.Shell`."""

    def __init__(self, requests: ArmRequests, *, poll_interval_s: float = 2.0) -> None:
        """`poll_interval_s` is how many seconds lie between two polls."""
        self._requests = requests
        self._poll_interval_s = poll_interval_s

    async def run(self, vm: VmId, script: str, os_type: OsType = OsType.LINUX) -> str:
        async with self._requests.sending(vm.subscription, write=True):
            return await self._output(vm, script, os_type)

    async def _output(self, vm: VmId, script: str, os_type: OsType) -> str:
        # Imported here: commands that only read the VM have this adapter too, and need no models of the SDK.
        from azure.mgmt.compute.aio import ComputeManagementClient
        from azure.mgmt.compute.models import RunCommandInput

        client = ComputeManagementClient(subscription_id=vm.subscription, **self._requests.for_sdk())
        poller = await client.virtual_machines.begin_run_command(
            vm.resource_group,
            vm.name,
            RunCommandInput(command_id=_COMMANDS[os_type], script=[script]),
            api_version=API_VERSIONS[VIRTUAL_MACHINES],
            polling_interval=self._poll_interval_s,
            **self._requests.options(vm.subscription),
        )
        result = await poller.result()
        texts = (s for s in result.value or () if not (s.code or "").lower().startswith(_STDERR))
        return "\n".join(status.message or "" for status in texts)
