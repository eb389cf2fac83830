"""Azure Policy as trigger: a finding makes us reconcile a VM, for the policies that name the definition of the
finding."""

from __future__ import annotations

from copy import replace
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.notifications import PolicyStateChanged
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from tests.flow.world import POLICY, World

DEFINITION = "/providers/microsoft.authorization/policydefinitions/053d3325-282c-4e5c-b944-24faffd30d77"
OTHER = "/providers/microsoft.authorization/policydefinitions/00000000-0000-0000-0000-000000000000"
ASSIGNMENT = "/subscriptions/s/providers/microsoft.authorization/policyassignments/oms-linux"
MAPPED = {**POLICY, "name": "mapped", "azurePolicy": [DEFINITION.replace("microsoft.auth", "Microsoft.Auth")]}


def finding(world: World, vm: VmId, after: float = 0, **changes: Any) -> PolicyStateChanged:
    found = PolicyStateChanged(vm, world.trigger(after), compliant=False, definition_id=DEFINITION)
    return replace(found, **changes)


async def test_a_finding_onboards_a_vm_that_no_event_announced() -> None:
    world = World()
    vm = world.add()
    await world.dispatcher.handle(finding(world, vm))
    assert world.row(vm).outcome is Outcome.REQUESTED
    await world.dispatcher.handle(finding(world, world.add("web02"), compliant=True))
    assert world.arm.calls == ["GET", "PUT"]


@pytest.mark.parametrize(
    ("mapped", "ids", "calls"),
    [
        ([DEFINITION], {}, ["GET", "PUT"]),
        ([ASSIGNMENT], {"assignment_id": ASSIGNMENT}, ["GET", "PUT"]),
        ([OTHER, ASSIGNMENT], {"definition_id": OTHER}, ["GET", "PUT"]),
        ([DEFINITION], {"definition_id": OTHER}, []),
        ([ASSIGNMENT], {}, []),
    ],
)
async def test_with_a_map_only_its_definitions_trigger_a_reconcile(
    mapped: list[str], ids: dict[str, Any], calls: list[str]
) -> None:
    world = World(policies=[{**POLICY, "azurePolicy": mapped}])
    await world.dispatcher.handle(finding(world, world.add(), **ids))
    assert world.arm.calls == calls


async def test_a_policy_of_another_definition_does_nothing_even_where_it_would_decide() -> None:
    world = World(policies=[POLICY, MAPPED])
    vm = world.add()
    await world.dispatcher.handle(finding(world, vm))
    assert world.arm.calls == ["GET"]
    assert not world.ledger.rows


async def test_the_policy_of_the_definition_decides_where_earlier_ones_do_not_select_the_vm() -> None:
    world = World(policies=[{**POLICY, "name": "a", "rule": {"field": "location", "equals": "eastus"}}, MAPPED])
    vm = world.add()
    await world.dispatcher.handle(finding(world, vm))
    assert world.row(vm).policy == "mapped"


async def test_a_finding_older_than_our_last_write_is_ignored() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    world.now += timedelta(minutes=2)
    await world.installed(vm)
    world.arm.machines[vm.key]["resources"] = []
    await world.dispatcher.handle(finding(world, vm, after=-60))
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert world.arm.calls == ["GET", "PUT", "GET extension"]
    await world.dispatcher.handle(finding(world, vm, after=60))
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_the_same_finding_twice_is_one_install_and_one_scheduled_check() -> None:
    world = World()
    vm = world.add()
    found = finding(world, vm, after=60)
    await world.dispatcher.handle(found)
    await world.dispatcher.handle(found)
    assert world.arm.calls == ["GET", "PUT"]
    assert len(world.schedule_queue.checks) == 1
