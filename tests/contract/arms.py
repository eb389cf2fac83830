"""The ARM port twice: in memory, as the flow tests use it, and as the adapter over the simulator."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from onboarding.application.ports import Inventory
from onboarding.azure.arm.arm_client import ArmAdapter
from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.arm.resource_graph import GraphAdapter
from onboarding.azure.http_connections import Connections
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.steps.association_step import association_request
from onboarding.domain.resource_id import VmId
from simulator.arm import ArmSimulator, ExtensionSpec, FaultRule, Options, VmSpec
from simulator.clock import ManualClock
from tests.adapters.conftest import SCOPE, SUBSCRIPTIONS, Credential
from tests.flow import world

OMS = "OMSExtension"
PUBLISHER, TYPE = "Microsoft.EnterpriseCloud.Monitoring", "OmsAgentForLinux"
BODY: dict[str, Any] = {
    "location": "westeurope",
    "properties": {
        "publisher": PUBLISHER,
        "type": TYPE,
        "typeHandlerVersion": "1.3",
        "autoUpgradeMinorVersion": True,
        "settings": {"workspaceId": "11111111-2222-4333-8444-555555555555"},
        "protectedSettings": {"workspaceKey": "c2VjcmV0"},
    },
}


class InMemory:
    def __init__(self) -> None:
        self.port = world.ArmInMemory()
        self.subscriptions = (world.SUBSCRIPTION, "99990000-0000-4000-8000-000000000002")
        self.port.subscriptions = self.subscriptions
        self.inventory: Inventory = world.InventoryInMemory(self.port)

    async def end_removal(self, vm: VmId) -> None:
        self.port.end_removal(vm, OMS)

    async def associate(self, vm: VmId, subject: str, *, endpoint: bool = False) -> None:
        await self.port.send(vm, association_request(vm, subject, endpoint=endpoint))

    def add(self, name: str = "web01", extension: str = "", *, tags: Mapping[str, str] | None = None) -> VmId:
        """A running Ubuntu 16.04 that has existed for long, with an extension of that name and with the settings
        {"a": 1}."""
        vm = world.vm_id(name)
        self.port.machines[vm.key] = world.vm_body(name, tags=dict(tags or {}))
        if extension:
            self.port.set_extension(vm, world.extension(extension, settings={"a": 1}))
        return vm

    def describe(self, scope: str, **members: Any) -> None:
        """A resource group or a subscription that can be read."""
        self.port.scopes[scope.lower()] = {"id": scope, **members}

    def refuse(self, call: str, status: int, code: str, headers: Mapping[str, str]) -> None:
        """Refuse the next read, list, install or check of access."""
        evidence = Evidence(http_status=status, code=code, message="no", headers=headers)
        errors = {
            "read": self.port.read_errors,
            "list": self.port.list_errors,
            "install": self.port.install_errors,
            "remove": self.port.removal_errors,
            "access": self.port.access_errors,
        }
        errors[call].append(evidence)


class OverSimulator:
    def __init__(self, arm: ArmSimulator, port: ArmAdapter, inventory: Inventory, clock: ManualClock) -> None:
        self.arm, self.port, self.inventory, self.clock = arm, port, inventory, clock
        self.subscriptions = SUBSCRIPTIONS

    async def end_removal(self, vm: VmId) -> None:
        await self.clock.advance(timedelta(minutes=3).total_seconds())

    async def associate(self, vm: VmId, subject: str, *, endpoint: bool = False) -> None:
        resources = self.arm.insights.resources
        (resources.add_endpoint if endpoint else resources.add_rule)(subject)
        await self.port.send(vm, association_request(vm, subject, endpoint=endpoint))

    def add(self, name: str = "web01", extension: str = "", *, tags: Mapping[str, str] | None = None) -> VmId:
        there = ExtensionSpec(name=extension, publisher=PUBLISHER, type=TYPE, version="1.3", settings={"a": 1})
        extensions = (there,) if extension else ()
        spec = VmSpec(name=name, subscription=SUBSCRIPTIONS[0], tags=dict(tags or {}), extensions=extensions)
        machine = self.arm.add_vm(spec)
        return VmId(SUBSCRIPTIONS[0], machine.group, name)

    def describe(self, scope: str, **members: Any) -> None:
        self.arm.describe(scope, **members)

    def refuse(self, call: str, status: int, code: str, headers: Mapping[str, str]) -> None:
        self.arm.faults.add(FaultRule(nth=(1,), status=status, code=code, message="no", headers=headers))


type ArmBackend = InMemory | OverSimulator


@asynccontextmanager
async def over_simulator() -> AsyncIterator[OverSimulator]:
    clock = ManualClock()  # starts at the present: the SDK compares a token's lifetime with the wall clock
    arm = ArmSimulator(clock, options=Options(subscriptions=SUBSCRIPTIONS))
    endpoints = await arm.start()
    tls = ssl.create_default_context(cafile=str(endpoints.ca_file))
    requests = ArmRequests(Credential(arm), endpoints.arm, SCOPE, clock.now, connections=Connections(tls))
    yield OverSimulator(arm, ArmAdapter(requests), GraphAdapter(requests, sleep=clock.advance), clock)
    await requests.close()
    await arm.stop()
