"""A removal that asks for the other agent's heartbeat: what counts, what it waits for, and how few queries it takes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from onboarding.application.sweep.sweep_queue import SweepReport
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.steps.test_azure_monitor import AMA, RULE, SYSTEM, add
from tests.flow.steps.test_only_after import (
    BEATING,
    CATEGORY,
    DAY,
    ENFORCED,
    NAME,
    SETTINGS,
    WORKSPACE,
    onboarded,
    run_checks,
    world_of,
)
from tests.flow.world import OMS, START, HeartbeatsInMemory, World, extension

DENIED = Evidence(http_status=403, code="InsufficientAccessError", message="no")
MINUTE = timedelta(minutes=1)


def unheard(world: World, vm: VmId) -> bool:
    row = world.row(vm)
    return (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.HEARTBEAT)


def heartbeats_of(world: World) -> HeartbeatsInMemory:
    assert isinstance(world.heartbeats, HeartbeatsInMemory)
    return world.heartbeats


def beat(world: World, vm: VmId, category: str = CATEGORY) -> None:
    """The agent's heartbeat of three minutes ago."""
    heartbeats_of(world).found[WORKSPACE, vm.key, category] = world.now - 3 * MINUTE


async def fleet(world: World, number: int) -> list[VmId]:
    """Machines with both agents, whose time is over; none of them has sent a heartbeat."""
    vms = []
    for each in range(number):
        vm = add(world, SYSTEM, name=f"web{each:03}", age=timedelta(days=30))
        world.arm.set_extension(vm, extension(NAME))
        await world.updated(vm)
        await world.finish_install(vm, AMA)
        vms.append(vm)
    await run_checks(world, DAY + MINUTE)
    assert all(unheard(world, vm) for vm in vms)
    return vms


async def sweep(world: World) -> SweepReport:
    """Sweep, and handle its messages concurrently, each when it is due."""
    report = await world.sweep.run()
    messages = list(world.schedule_queue.reconcile_requests)
    world.schedule_queue.reconcile_requests.clear()
    await asyncio.gather(*(world.dispatcher.handle_message(message) for message in messages))
    return report


async def test_a_heartbeat_that_is_new_enough_lets_the_old_agent_go() -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    assert isinstance(world.heartbeats, HeartbeatsInMemory)
    world.heartbeats.found[WORKSPACE, vm.key, CATEGORY] = START + DAY - timedelta(minutes=5)
    await run_checks(world, DAY + timedelta(minutes=1))
    assert world.arm.calls.count("DELETE") == 1
    assert world.heartbeats.queries == [WORKSPACE], "one query, right before the removal"


@pytest.mark.parametrize("beat", [None, -timedelta(hours=1), timedelta(hours=1)], ids=["none", "earlier", "late"])
async def test_without_a_heartbeat_the_old_agent_stays(beat: timedelta | None) -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    assert isinstance(world.heartbeats, HeartbeatsInMemory)
    if beat is not None:
        world.heartbeats.found[WORKSPACE, vm.key, CATEGORY] = START + beat
    await run_checks(world, DAY + timedelta(hours=2))
    assert "DELETE" not in world.arm.calls
    assert unheard(world, vm)
    assert "heartbeat" in world.row(vm).reason
    assert world.row(vm, AMA).outcome is Outcome.INSTALLED


async def test_a_heartbeat_that_cannot_be_read_is_waited_for() -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    assert isinstance(world.heartbeats, HeartbeatsInMemory)
    world.heartbeats.found[WORKSPACE, vm.key, CATEGORY] = START + DAY + timedelta(minutes=50)
    world.heartbeats.errors.append(Evidence(http_status=403, code="InsufficientAccessError", message="no"))
    await run_checks(world, DAY + timedelta(minutes=1))
    assert unheard(world, vm)
    assert "could not be read" in world.row(vm).reason
    await run_checks(world, timedelta(hours=1))
    assert world.arm.calls.count("DELETE") == 1


async def test_a_process_that_cannot_read_heartbeats_says_so() -> None:
    world = World(policies=[ENFORCED, BEATING], app_settings=dict(SETTINGS), heartbeats=None)
    vm = await onboarded(world)
    await run_checks(world, DAY + timedelta(minutes=1))
    assert unheard(world, vm)
    assert "no access to Log Analytics" in world.row(vm).reason


async def test_the_old_agents_heartbeat_proves_nothing() -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    assert isinstance(world.heartbeats, HeartbeatsInMemory)
    world.heartbeats.found[WORKSPACE, vm.key, "Direct Agent"] = START + DAY
    await run_checks(world, DAY + timedelta(minutes=1))
    assert "DELETE" not in world.arm.calls
    assert unheard(world, vm)


async def test_one_query_of_the_sweep_finds_every_machine_whose_proof_has_come() -> None:
    world = world_of(BEATING)
    vms = await fleet(world, 30)
    world.now += timedelta(minutes=10)
    heartbeats_of(world).questions.clear()
    world.arm.calls.clear()
    for vm in vms[:25]:
        beat(world, vm)
    beat(world, vms[25], "Direct Agent")
    report = await sweep(world)
    assert (report.heartbeat, report.requested) == (25, 25)
    assert heartbeats_of(world).questions == [()], "the answer of the sweep serves the reconciliations"
    assert world.arm.calls.count("DELETE") == 25
    assert all(unheard(world, vm) for vm in vms[25:])
    assert (await sweep(world)).requested == 0


async def test_a_fleet_whose_time_ends_at_once_takes_few_queries() -> None:
    world = world_of(BEATING)
    vms = await fleet(world, 60)
    questions = heartbeats_of(world).questions
    assert len(questions) == 11, "ten machines alone, then the whole workspace"
    assert questions.count(()) == 1
    questions.clear()
    for vm in vms:
        beat(world, vm)
    await run_checks(world, timedelta(hours=1))
    assert world.arm.calls.count("DELETE") == 0, "these heartbeats are too old by now"
    assert len(questions) <= 11


async def test_machines_that_ask_at_once_share_the_query_of_the_workspace() -> None:
    world = world_of(BEATING)
    vms = await fleet(world, 40)
    world.now += timedelta(hours=1)
    heartbeats_of(world).questions.clear()
    for vm in vms:
        beat(world, vm)
    await asyncio.gather(*(world.updated(vm) for vm in vms))
    assert world.arm.calls.count("DELETE") == 40
    assert len(heartbeats_of(world).questions) <= 11
    assert heartbeats_of(world).questions.count(()) == 1


async def test_a_refused_workspace_is_not_read_again_for_each_machine() -> None:
    world = world_of(BEATING)
    vms = await fleet(world, 40)
    world.now += timedelta(hours=1)
    heartbeats_of(world).questions.clear()
    heartbeats_of(world).errors += [DENIED] * 40
    for vm in vms:
        await world.updated(vm)
    assert len(heartbeats_of(world).questions) == 11
    assert {world.row(vm).cause for vm in vms} == {"workspace-unreadable"}
    assert {world.row(vm).error_code for vm in vms} == {"InsufficientAccessError"}
    assert all("LOG_ANALYTICS_WORKSPACE_ID" in world.row(vm).advice for vm in vms)
    heartbeats_of(world).errors.clear()
    for vm in vms:
        beat(world, vm)
    world.now += timedelta(seconds=31)
    for vm in vms:
        await world.updated(vm)
    assert len(heartbeats_of(world).questions) == 12, "soon after, the whole workspace is read again"
    assert world.arm.calls.count("DELETE") == 40


@pytest.mark.parametrize(
    ("status", "code", "cause"),
    [
        (403, "InsufficientAccessError", "workspace-unreadable"),
        (404, "PathNotFoundError", "workspace-unreadable"),
        (429, "ThrottledError", "throttled"),
        (504, "GatewayTimeout", "platform-error"),
    ],
)
async def test_the_row_says_why_the_workspace_could_not_be_read_and_the_clock_goes_on(
    status: int, code: str, cause: str
) -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    since = world.row(vm, AMA).satisfied_since
    heartbeats_of(world).errors.append(Evidence(http_status=status, code=code, message="no"))
    await run_checks(world, DAY + MINUTE)
    assert unheard(world, vm)
    assert (world.row(vm).error_code, world.row(vm).cause) == (code, cause)
    assert world.row(vm, AMA).satisfied_since == since
    world.now += timedelta(minutes=20)
    beat(world, vm)
    assert (await sweep(world)).heartbeat == 1
    assert world.arm.calls.count("DELETE") == 1


async def test_the_sweep_names_a_workspace_that_it_cannot_read_once() -> None:
    world = world_of(BEATING)
    await fleet(world, 3)
    world.now += timedelta(minutes=20)
    heartbeats_of(world).errors.append(DENIED)
    report = await sweep(world)
    assert report.requested == 0
    assert report.unread == [f"the heartbeats in workspace {WORKSPACE} (403 InsufficientAccessError)"]


async def test_the_sweep_asks_no_workspace_for_which_nothing_waits() -> None:
    world = world_of(BEATING)
    vm = await onboarded(world)
    world.now += timedelta(hours=1)
    await sweep(world)
    assert heartbeats_of(world).questions == []
    assert world.row(vm).waiting_for is WaitingFor.ONLY_AFTER


async def test_a_heartbeat_from_before_the_other_policy_was_satisfied_does_not_count_at_the_claim() -> None:
    """The sweep knows the heartbeat's age alone; the pass knows since when the other policy is satisfied."""
    retire = {**BEATING, "onlyAfter": {**BEATING["onlyAfter"], "for": "1m"}}
    world = World(policies=[ENFORCED, retire], app_settings={**SETTINGS, "DATA_COLLECTION_RULE_ID": RULE})
    vm = await onboarded(world)
    heartbeats_of(world).found[WORKSPACE, vm.key, CATEGORY] = world.now - MINUTE
    await run_checks(world, 12 * MINUTE)
    assert unheard(world, vm)
    await sweep(world)
    assert "DELETE" not in world.arm.calls
    assert unheard(world, vm)


@pytest.mark.parametrize("proof", ["arm", "heartbeat"])
async def test_the_calls_of_a_removal_that_comes_after_another_policy(proof: str) -> None:
    """One read decides, one list and one query prove, one request removes, one read confirms."""
    world = world_of(BEATING if proof == "heartbeat" else None)
    vm = await onboarded(world)
    await run_checks(world, DAY - MINUTE)
    world.arm.calls.clear()
    heartbeats_of(world).questions.clear()
    beat(world, vm)
    await run_checks(world, 2 * MINUTE)
    await world.removed(vm)
    assert world.arm.calls == ["GET", "LIST associations", "DELETE", "GET"]
    assert heartbeats_of(world).questions == ([(vm.key,)] if proof == "heartbeat" else [])
    assert world.row(vm, OMS).outcome is Outcome.REMOVED
