"""The calls to ARM, for the tests that make each of them fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.arm.run_commands import RunCommands
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.resource_id import VmId, parse_id
from simulator.arm import VmSpec
from tests.adapters.conftest import SUBSCRIPTIONS, Azure
from tests.flow.world import install_request

OMS = "OMSExtension"
KEY = "c2VjcmV0IHdvcmtzcGFjZSBrZXkgdGhhdCBub2JvZHkgbWF5IHNlZSwgNjQgYnl0ZXMgb2YgaXQuLi4uLi4uLi4uLg=="
BODY: dict[str, Any] = {
    "location": "westeurope",
    "properties": {
        "publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "type": "OmsAgentForLinux",
        "typeHandlerVersion": "1.3",
        "autoUpgradeMinorVersion": True,
        "settings": {"workspaceId": "11111111-2222-4333-8444-555555555555", "own_Case-kept": {"a": [1, None, "x"]}},
        "protectedSettings": {"workspaceKey": KEY},
    },
}

type Call = Callable[[ArmRequests, VmId], Awaitable[object]]


async def read(requests: ArmRequests, vm: VmId) -> object:
    return await ArmAdapter(requests).read_machine(vm)


async def install(requests: ArmRequests, vm: VmId) -> object:
    await ArmAdapter(requests).send(vm, install_request(vm, OMS, BODY))
    return None


async def list_all(requests: ArmRequests, vm: VmId) -> object:
    return [body async for body in ArmAdapter(requests).list_machines(vm.subscription)]


async def subscriptions(requests: ArmRequests, _: VmId) -> object:
    return await ArmAdapter(requests).list_subscriptions()


async def access(requests: ArmRequests, vm: VmId) -> object:
    await ArmAdapter(requests).check_access(vm.subscription)
    return None


async def scope(requests: ArmRequests, vm: VmId) -> object:
    return await ArmAdapter(requests).read_scope(f"/subscriptions/{vm.subscription}/resourceGroups/{vm.resource_group}")


async def run_script(requests: ArmRequests, vm: VmId) -> object:
    return await RunCommands(requests, poll_interval_s=0).run(vm, "uname -a")


CALLS: dict[str, Call] = {
    "run": run_script,
    "scope": scope,
    "read": read,
    "install": install,
    "list": list_all,
    "subscriptions": subscriptions,
    "access": access,
}
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
READ_AND_INSTALL = pytest.mark.parametrize("call", [read, install], ids=["read", "install"])


def add(azure: Azure, name: str = "web-01", **changes: Any) -> VmId:
    """A VM that was created long ago."""
    machine = azure.arm.add_vm(VmSpec(name=name, subscription=SUBSCRIPTIONS[0], **changes))
    vm = parse_id(machine.id)
    assert isinstance(vm, VmId)
    return vm


async def refusal(call: Call, requests: ArmRequests, vm: VmId) -> Evidence:
    """The evidence in the ArmError of a call."""
    with pytest.raises(ArmError) as raised:
        await call(requests, vm)
    return raised.value.evidence
