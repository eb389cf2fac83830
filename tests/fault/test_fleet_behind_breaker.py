"""A problem of a whole scope, with one policy and with two: the fleet waits and costs only a few probes. After the fix
every VM is onboarded, by one request for each extension: the sweep finds those whose checks are a day away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import SHAPES, World

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


@pytest.mark.parametrize("policies", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("problem", TROUBLE.values(), ids=TROUBLE)
async def test_a_fleet_waits_for_its_scope_and_continues_after_the_fix(
    problem: Evidence, policies: list[dict[str, Any]]
) -> None:
    world = World(policies=policies)
    extensions = world.extensions
    world.arm.install_errors = [problem] * 1000
    fleet = [world.add(f"web-{number:02}") for number in range(VMS)]
    for vm in fleet:
        await world.created(vm)
    assert {world.row(vm, each).waiting_for for vm in fleet for each in extensions} == {WaitingFor.SCOPE_BREAKER}
    assert world.arm.calls.count("PUT") <= len(extensions)

    await pass_time(world, fleet, timedelta(hours=6))
    refused = world.arm.calls.count("PUT")
    assert refused < 20 * len(extensions)
    assert {world.row(vm, each).outcome for vm in fleet for each in extensions} == {Outcome.WAITING}

    world.arm.install_errors.clear()
    await pass_time(world, fleet, timedelta(hours=5))
    assert {world.row(vm, each).outcome for vm in fleet for each in extensions} == {Outcome.INSTALLED}
    assert world.arm.conflicts == 0
    assert world.arm.calls.count("PUT") == refused + VMS * len(extensions)
    assert not world.breakers.stored


async def pass_time(world: World, fleet: list[VmId], span: timedelta) -> None:
    """Run every scheduled check when it is due, and a sweep every half hour; requests in flight end before that."""
    end, next_sweep = world.now + span, world.now
    while world.now < end:
        rows = {(vm, each): world.row(vm, each) for vm in fleet for each in world.extensions}
        if requested := [key for key, row in rows.items() if row.outcome is Outcome.REQUESTED]:
            for key in requested:
                await world.finish_install(*key)
        elif not await world.run_next_check(until=next_sweep):
            world.now = next_sweep
            await world.sweep_and_reconcile()
            next_sweep += timedelta(minutes=30)
