"""A whole scope in trouble: a fleet waits at the price of a few probes, and once the trouble is mended all of it is
onboarded, each VM by one request."""

from __future__ import annotations

from datetime import timedelta

import pytest

from onboarding.core.evidence import Evidence
from onboarding.core.outcome import Outcome, WaitingFor
from onboarding.core.resource_id import VmId
from onboarding.ports import Look
from tests.flow.world import World

VMS = 30
TROUBLE = {
    "a missing role": Evidence(
        http_status=403,
        code="AuthorizationFailed",
        message="The client 'a' with object id 'b' does not have authorization to perform action "
        "'Microsoft.Compute/virtualMachines/extensions/write' over scope '/subscriptions/s' or the scope is invalid.",
    ),
    "a lock": Evidence(
        http_status=409,
        code="ScopeLocked",
        message="The scope '/subscriptions/s/resourceGroups/app-rg' cannot perform write operation because following "
        "scope(s) are locked: '/subscriptions/s/resourceGroups/app-rg'. Please remove the lock and try again.",
    ),
    "a provider that is not registered": Evidence(
        http_status=409,
        code="MissingSubscriptionRegistration",
        message="The subscription is not registered to use namespace 'Microsoft.Compute'.",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
async def test_a_fleet_waits_for_its_scope_and_goes_on_when_it_is_mended(trouble: Evidence) -> None:
    world = World()
    world.arm.install_errors = [trouble] * 1000
    fleet = [world.add(f"web-{number:02}") for number in range(VMS)]
    for vm in fleet:
        await world.created(vm)
    assert {world.row(vm).waiting_for for vm in fleet} == {WaitingFor.SCOPE_PAUSED}
    assert world.arm.calls.count("PUT") == 1

    await pass_time(world, fleet, timedelta(hours=6))
    refused = world.arm.calls.count("PUT")
    assert refused < 20
    assert {world.row(vm).outcome for vm in fleet} == {Outcome.WAITING}

    world.arm.install_errors.clear()
    await pass_time(world, fleet, timedelta(hours=3))
    assert {world.row(vm).outcome for vm in fleet} == {Outcome.REQUESTED}
    assert world.arm.calls.count("PUT") == refused + VMS
    assert not world.pauses.stored


async def pass_time(world: World, fleet: list[VmId], span: timedelta) -> None:
    """Every look comes at its time, as long as somebody waits for his scope."""
    end = world.now + span
    while looks := [
        Look(vm, row.extension, row.next_attempt_at)
        for vm in fleet
        if (row := world.row(vm)).waiting_for is WaitingFor.SCOPE_PAUSED and row.next_attempt_at
    ]:
        look = min(looks, key=lambda each: each.due)
        if look.due > end:
            break
        assert look in world.deferrals.looks
        world.now = max(world.now, look.due)
        await world.line.look(look)
    world.now = end
