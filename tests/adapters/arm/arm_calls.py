"""The calls of the ARM adapter, for the tests that make each of them fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.resource_id import VmId, parse_id
from simulator.arm import VmSpec
from tests.adapters.conftest import SUBSCRIPTIONS, Azure

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

type Call = Callable[[ArmAdapter, VmId], Awaitable[object]]


async def read(adapter: ArmAdapter, vm: VmId) -> object:
    return await adapter.read_machine(vm)


async def install(adapter: ArmAdapter, vm: VmId) -> object:
    await adapter.start_install(vm, OMS, BODY)
    return None


async def list_all(adapter: ArmAdapter, vm: VmId) -> object:
    return [body async for body in adapter.list_machines(vm.subscription)]


async def subscriptions(adapter: ArmAdapter, _: VmId) -> object:
    return await adapter.list_subscriptions()


async def access(adapter: ArmAdapter, vm: VmId) -> object:
    await adapter.check_access(vm.subscription)
    return None


async def scope(adapter: ArmAdapter, vm: VmId) -> object:
    return await adapter.read_scope(f"/subscriptions/{vm.subscription}/resourceGroups/{vm.resource_group}")


CALLS: dict[str, Call] = {
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


async def refusal(call: Call, adapter: ArmAdapter, vm: VmId) -> Evidence:
    """The evidence in the ArmError of a call."""
    with pytest.raises(ArmError) as raised:
        await call(adapter, vm)
    return raised.value.evidence
