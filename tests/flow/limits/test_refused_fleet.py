"""A fleet in a scope that refuses everything: its messages in a week, and what follows when the scope is fixed."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import POLICY, SECOND_POLICY, THIRD_POLICY, World

FORBIDDEN = Evidence(
    http_status=403,
    code="AuthorizationFailed",
    message="The client 'a' with object id 'b' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/extensions/write' over scope '/subscriptions/s' or the scope is invalid.",
)
ALL_POLICIES = [POLICY, SECOND_POLICY, THIRD_POLICY]
DAYS = 7


class _Always(list[Any]):
    """An error that does not end."""

    def __bool__(self) -> bool:
        return True

    def pop(self, *_: Any) -> Evidence:
        return FORBIDDEN


def refusing(at: str, policies: int) -> World:
    world = World(policies=ALL_POLICIES[:policies])
    if at == "read":
        world.arm.read_errors = _Always()
    else:
        world.arm.install_errors = _Always()
    return world


async def fleet_of(world: World, size: int) -> list[VmId]:
    fleet = [world.add(f"web-{number:04}") for number in range(size)]
    for vm in fleet:
        await world.created(vm)
    return fleet


async def finish_installs(world: World, fleet: list[VmId]) -> None:
    """Let every install end, until none is in flight."""
    while requested := [
        (vm, each) for vm in fleet for each in world.extensions if world.row(vm, each).outcome is Outcome.REQUESTED
    ]:
        for vm, each in requested:
            await world.finish_install(vm, each)


def waits(world: World, fleet: list[VmId]) -> set[WaitingFor | None]:
    return {world.row(vm, each).waiting_for for vm in fleet for each in world.extensions}


@pytest.mark.parametrize("policies", [1, 2, 3])
@pytest.mark.parametrize("at", ["read", "request"])
async def test_a_week_costs_one_check_a_day_for_each_vm_and_a_probe_now_and_then(at: str, policies: int) -> None:
    size = 200
    world = refusing(at, policies)
    fleet = await fleet_of(world, size)
    calls = Counter(world.arm.calls)
    end, messages = world.now + timedelta(days=DAYS), 0
    while await world.run_next_check(until=end - timedelta(seconds=1)):
        messages += 1
    allowed = DAYS * size + 100
    assert messages <= allowed
    assert len(world.schedule_queue.sent) <= allowed
    assert waits(world, fleet) == {WaitingFor.SCOPE_BREAKER}
    probes = Counter(world.arm.calls) - calls
    assert probes["GET"] <= 60, "a check of any other VM costs no call"
    assert probes["PUT"] <= 60 * policies
    while await world.run_next_check():
        pass
    assert {world.row(vm, each).outcome for vm in fleet for each in world.extensions} == {Outcome.FAILED}
    assert world.now <= end + timedelta(minutes=1), "the cap is not exceeded"


@pytest.mark.parametrize("policies", [1, 2])
async def test_the_checks_of_a_fleet_are_spread_over_the_day(policies: int) -> None:
    world = refusing("request", policies)
    began = world.now
    fleet = await fleet_of(world, 1000)
    moments = Counter(
        (row.next_attempt_at - began) // timedelta(hours=1)
        for vm in fleet[1:]
        for each in world.extensions
        if (row := world.row(vm, each)).next_attempt_at
    )
    assert set(moments) == set(range(24, 48))
    assert max(moments.values()) <= 2 * policies * 1000 / 24


@pytest.mark.parametrize("policies", [1, 2])
async def test_the_vm_that_proved_it_probes_alone_and_the_sweep_finds_the_others_after_the_fix(policies: int) -> None:
    world = refusing("request", policies)
    fleet = await fleet_of(world, 5)
    for _ in range(12):
        await world.run_next_check()
    assert {world.breakers.stored[key].breaker.prober for key in world.breakers.stored} == {fleet[0].key}
    assert world.arm.calls.count("GET") == 5 + 6, "each probe has the check of its claim and its own"
    report = await world.sweep.run()
    assert (report.resumed, report.requested) == (0, 0), "the breaker is open"

    world.arm.install_errors = []
    fixed = world.now
    while world.breakers.stored:
        await world.run_next_check()
        await finish_installs(world, fleet)
    assert waits(world, fleet[1:]) == {WaitingFor.SCOPE_BREAKER}
    await world.sweep_and_reconcile()
    await finish_installs(world, fleet)
    while waits(world, fleet) != {None}:  # the second extension, when the check of the first one's claim comes
        await world.run_next_check()
        await finish_installs(world, fleet)
    assert world.now < fixed + timedelta(hours=5)
    assert {world.row(vm, each).outcome for vm in fleet for each in world.extensions} == {Outcome.INSTALLED}
    assert world.arm.conflicts == 0


async def test_a_vm_behind_another_breaker_is_left_alone_by_the_sweep() -> None:
    """The breaker of one extension has closed, that of the other is open."""
    world = refusing("request", 2)
    fleet = await fleet_of(world, 3)
    closed = next(key for key in world.breakers.stored if POLICY["extension"] in key)
    del world.breakers.stored[closed]
    world.now += timedelta(minutes=11)
    report = await world.sweep.run()
    assert report.resumed == 3
    world.schedule_queue.reconcile_requests.clear()
    assert (await world.sweep.run()).resumed == 0, "it was requested"
    for vm in fleet:
        assert world.row(vm, SECOND_POLICY["extension"]).waiting_for is WaitingFor.SCOPE_BREAKER


async def test_a_resumed_vm_is_no_reason_to_try_what_failed_again() -> None:
    world = World(policies=ALL_POLICIES[:2])
    refusal = Evidence(http_status=400, code="InvalidParameter", message="typeHandlerVersion is invalid.")
    world.arm.install_errors = [refusal, FORBIDDEN]
    vm = world.add()
    await world.created(vm)
    rows = {world.row(vm, each).outcome: each for each in world.extensions}
    assert set(rows) == {Outcome.FAILED, Outcome.WAITING}
    failed = world.row(vm, rows[Outcome.FAILED])
    world.breakers.stored.clear()
    world.now += timedelta(minutes=11)
    await world.sweep_and_reconcile()
    assert world.row(vm, rows[Outcome.WAITING]).outcome is Outcome.REQUESTED
    assert world.row(vm, rows[Outcome.FAILED]) == failed
