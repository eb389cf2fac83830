"""Runs a shell or PowerShell script in a VM with a run command, for a person who waits for its output.

This is the only code that polls. Functions never use it: an event has no time for a run command. The operation, its
polling and its models are the SDK's; each of its requests goes through the pipeline of all other requests to ARM.
"""

from __future__ import annotations

import asyncio

from onboarding.azure.arm.arm_requests import API_VERSIONS, VIRTUAL_MACHINES, ArmRequests
from onboarding.concurrency import limit
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.resource_id import VmId

_PATIENCE_S = 600.0  # printing the end of a file takes seconds; Azure itself would go on for 90 minutes
_COMMANDS = {OsType.LINUX: "RunShellScript", OsType.WINDOWS: "RunPowerShellScript"}
# On Windows, the result has the script's error output as a status of its own.
_STDERR = "componentstatus/stderr/"


class RunCommands:
    """Implements `ports.Shell`."""

    def __init__(self, requests: ArmRequests, *, poll_interval_s: float = 2.0, patience_s: float = _PATIENCE_S) -> None:
        """`poll_interval_s` is how many seconds lie between two polls, `patience_s` how long the end is waited for."""
        self._requests = requests
        self._poll_interval_s = poll_interval_s
        self._patience_s = patience_s

    async def run(self, vm: VmId, script: str, os_type: OsType = OsType.LINUX) -> str:
        async with self._requests.sending(vm.subscription, write=True):
            seconds = limit(self._patience_s, keep_reserve=True)
            try:
                async with asyncio.timeout(seconds):
                    return await self._output(vm, script, os_type)
            except TimeoutError:
                raise TimeoutError(f"the run command did not end within {seconds:g} s") from None

    async def _output(self, vm: VmId, script: str, os_type: OsType) -> str:
        # Imported here: commands that only read the VM have this adapter too, and need no models of the SDK.
        from azure.mgmt.compute.aio import ComputeManagementClient
        from azure.mgmt.compute.models import InstanceViewStatus, RunCommandInput, RunCommandResult

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
        # The SDK checks no answer: a body of another shape becomes a value of that shape.
        statuses = (result.value or []) if isinstance(result, RunCommandResult) else None
        if not isinstance(statuses, list) or not all(isinstance(status, InstanceViewStatus) for status in statuses):
            raise ValueError("not the result of a run command")
        texts = (s for s in statuses if not (s.code or "").lower().startswith(_STDERR))
        return "\n".join(status.message or "" for status in texts)
