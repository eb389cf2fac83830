"""Runs a shell or PowerShell script in a VM with a run command, for a person who waits for its output.

This is the only code that polls. Functions never use it: an event has no time for a run command.
"""

from __future__ import annotations

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.policies import HeadersPolicy, ProxyPolicy, RequestIdPolicy, UserAgentPolicy
from azure.mgmt.compute.aio import ComputeManagementClient
from azure.mgmt.compute.models import RunCommandInput

from onboarding.azure.arm.arm_client import as_arm_errors
from onboarding.azure.http_connections import Connections, proxies_for
from onboarding.azure.identity import ArmTokens, BearerPolicy
from onboarding.domain.machine.machine_facts import OsType
from onboarding.domain.resource_id import VmId

_READ_TIMEOUT_S = 15.0
_COMMANDS = {OsType.LINUX: "RunShellScript", OsType.WINDOWS: "RunPowerShellScript"}
# On Windows, the result has the script's error output as a status of its own.
_STDERR = "componentstatus/stderr/"


class RunCommands:
    """Implements `ports.Shell`."""

    def __init__(
        self,
        credential: AsyncTokenCredential,
        endpoint: str,
        scope: str,
        connections: Connections,
        *,
        poll_interval_s: float = 2.0,
    ) -> None:
        """`poll_interval_s` is how many seconds lie between two polls."""
        self._credential = ArmTokens(credential)
        self._endpoint = endpoint
        self._scope = scope
        self._connections = connections
        self._poll_interval_s = poll_interval_s

    async def run(self, vm: VmId, script: str, os_type: OsType = OsType.LINUX) -> str:
        async with as_arm_errors(), self._client(vm.subscription) as client:
            poller = await client.virtual_machines.begin_run_command(
                vm.resource_group,
                vm.name,
                RunCommandInput(command_id=_COMMANDS[os_type], script=[script]),
                polling_interval=self._poll_interval_s,
                read_timeout=_READ_TIMEOUT_S,
            )
            result = await poller.result()
        texts = (s for s in result.value or () if not (s.code or "").lower().startswith(_STDERR))
        return "\n".join(status.message or "" for status in texts)

    def _client(self, subscription: str) -> ComputeManagementClient:
        proxies = proxies_for(self._endpoint)
        return ComputeManagementClient(
            self._credential,
            subscription,
            base_url=self._endpoint,
            credential_scopes=[self._scope],
            policies=[
                RequestIdPolicy(),
                HeadersPolicy(),
                UserAgentPolicy("vm-onboarding"),
                *([ProxyPolicy(proxies)] if proxies else []),
                BearerPolicy(self._credential, self._endpoint, self._scope),
            ],
            transport=self._connections,
        )
