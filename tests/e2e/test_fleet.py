"""Fleets without events, and extensions that somebody removes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from onboarding.domain.reconcile.row import Outcome
from onboarding.settings import Storage
from simulator.arm import ExtensionSpec
from simulator.azurite import Azurite
from tests.adapters.conftest import SUBSCRIPTIONS, storage_of
from tests.e2e.fleet import Fleet, open_fleet
from tests.flow.world import WORKSPACE_ID

OMS = ExtensionSpec(
    name="OMSExtension",
    publisher="Microsoft.EnterpriseCloud.Monitoring",
    type="OmsAgentForLinux",
    version="1.3",
    settings={"workspaceId": WORKSPACE_ID},
)


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with Azurite() as azurite:
        yield storage_of(azurite.connection_string)


@pytest.fixture
async def fleet(storage: Storage) -> AsyncIterator[Fleet]:
    async with open_fleet(storage) as fleet:
        yield fleet


async def test_one_sweep_brings_a_fleet_to_policy_and_a_second_one_does_nothing(fleet: Fleet) -> None:
    fleet.add(250)
    fleet.add(50, subscription=SUBSCRIPTIONS[1])
    fleet.add(20, "well", extensions=(OMS,))

    assert (await fleet.sweep_and_reconcile()).missed == 300
    assert await fleet.outcomes() == {Outcome.INSTALLED: 300}
    calls = fleet.calls()
    assert (calls["graph-query"], calls["extension-put"], calls["vm-list"]) == (1, 300, 0)

    report = await fleet.sweep_and_reconcile()
    assert (report.machines, report.requested, report.complete) == (320, 0, True)
    assert fleet.calls() == {"graph-query": 1, "subscription-list": 1}


async def test_the_reconciles_of_a_sweep_stay_within_arms_limits(fleet: Fleet) -> None:
    fleet.add(300)
    await fleet.sweep_and_reconcile()
    assert not [request for request in fleet.arm.requests if request.status == 429]


async def take_extensions_away(fleet: Fleet) -> None:
    """Remove the extensions of 100 VMs, long after these were onboarded."""
    machines = fleet.add(100)
    await fleet.sweep_and_reconcile()
    fleet.events.clear()
    fleet.calls()
    for machine in machines:
        fleet.arm.delete_extension_as_other_deployer(machine.id, "OMSExtension")
    await fleet.pass_time(600)


async def test_deleted_extensions_are_back_within_one_round_of_events(fleet: Fleet) -> None:
    await take_extensions_away(fleet)
    assert await fleet.deliver_events() == 100
    assert fleet.calls() == {"vm-get": 100, "extension-put": 100}
    await fleet.pass_time(3600)
    await fleet.deliver_events()
    assert await fleet.outcomes() == {Outcome.INSTALLED: 100}


async def test_without_events_deleted_extensions_are_back_within_one_sweep(fleet: Fleet) -> None:
    await take_extensions_away(fleet)
    assert (await fleet.sweep_and_reconcile()).drifted == 100
    assert fleet.calls()["extension-put"] == 100
    assert await fleet.outcomes() == {Outcome.INSTALLED: 100}


async def test_deleted_vms_are_closed_by_the_sweep(fleet: Fleet) -> None:
    machines = fleet.add(30)
    await fleet.sweep_and_reconcile()
    for machine in machines[:10]:
        fleet.arm.delete_vm(machine.id)
    await fleet.pass_time(600)
    assert (await fleet.sweep_and_reconcile()).gone == 10
    assert await fleet.outcomes() == {Outcome.INSTALLED: 20, Outcome.GONE: 10}
    await fleet.deliver(timedelta(hours=1))
    assert (await fleet.sweep_and_reconcile()).requested == 0
