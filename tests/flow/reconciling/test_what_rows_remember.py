"""What a row remembers over a wait and a failed read: that the extension is ours, or that it is to stay away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import OMS, POLICY, World, extension

NAME = "OMSExtension"
THEIRS = {"workspaceId": "6f680a37-00c6-41c7-a93f-1437e3462574", "proxy": "somebody's"}
THROTTLED = Evidence(http_status=429, code="TooManyRequests", message="slow down")
FORBIDDEN = Evidence(403, "AuthorizationFailed", "does not have authorization to perform action")
REMOVAL = OperatorRequest(extension=OMS, removal=True)
CHANGED: dict[str, Any] = {**POLICY, "settleDelay": "1m"}


async def installed(world: World) -> VmId:
    vm = world.add()
    await world.created(vm)
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    return vm


async def removed(world: World) -> VmId:
    """A machine from which a person has removed what the policy wants."""
    vm = await installed(world)
    await world.requests.handle(vm, REMOVAL)
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    return vm


async def throttled(world: World, vm: VmId) -> None:
    """The machine's event comes, and it cannot be read."""
    world.arm.read_errors = [THROTTLED]
    await world.updated(vm)
    assert world.row(vm).waiting_for is WaitingFor.THROTTLING


def stopped(world: World, vm: VmId, *, over: bool) -> None:
    statuses = world.arm.machines[vm.key]["properties"]["instanceView"]["statuses"]
    statuses[1] = {"code": "PowerState/running" if over else "PowerState/deallocated"}


def silent(world: World, vm: VmId, *, over: bool) -> None:
    view = world.arm.machines[vm.key]["properties"]["instanceView"]
    ready = {"statuses": [{"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}]}
    view["vmAgent"] = ready if over else {"statuses": []}


def written(world: World, vm: VmId, *, over: bool) -> None:
    world.arm.machines[vm.key]["properties"]["provisioningState"] = "Succeeded" if over else "Updating"


def unreadable(world: World, vm: VmId, *, over: bool) -> None:
    world.arm.read_errors = [] if over else [THROTTLED]


WAITS: dict[str, Callable[..., None]] = {
    "vm-running": stopped,
    "agent-ready": silent,
    "operation": written,
    "throttling": unreadable,
}


@pytest.mark.parametrize("drift", ["overwritten", "removed"])
@pytest.mark.parametrize("kind", WAITS)
async def test_drift_whose_repair_has_to_wait_is_repaired(kind: str, drift: str) -> None:
    world = World()
    vm = await installed(world)
    if drift == "overwritten":
        world.arm.set_extension(vm, extension(settings=THEIRS))
    else:
        world.arm.end_removal(vm, NAME)
    WAITS[kind](world, vm, over=False)
    for _ in range(2):
        await world.updated(vm)
        assert world.row(vm).waiting_for == kind
        world.now += timedelta(minutes=1)
        if kind == "throttling":
            world.arm.read_errors = [THROTTLED]
    WAITS[kind](world, vm, over=True)
    world.now += timedelta(minutes=10)
    await world.updated(vm)
    row = world.row(vm)
    assert (row.outcome, row.attempt) == (Outcome.REQUESTED, 1)
    assert len(row.undone_at.split()) == 1, "what somebody undid is counted once"
    await world.installed(vm)
    assert (world.row(vm).outcome, world.row(vm).was) == (Outcome.INSTALLED, "")


async def test_drift_whose_repair_waits_for_a_circuit_breaker_is_repaired() -> None:
    world = World()
    vm = await installed(world)
    world.arm.install_errors = [FORBIDDEN]
    await world.created(world.add("web02"))
    world.arm.set_extension(vm, extension(settings=THEIRS))
    await world.updated(vm)
    assert world.row(vm).waiting_for is WaitingFor.SCOPE_BREAKER
    world.breakers.stored.clear()
    world.now += timedelta(hours=1)
    await world.updated(vm)
    row = world.row(vm)
    assert (row.outcome, row.attempt, len(row.undone_at.split())) == (Outcome.REQUESTED, 1, 1)


async def test_an_owner_who_puts_it_right_meanwhile_leaves_it_ours() -> None:
    world = World()
    vm = await installed(world)
    before = world.arm.machines[vm.key]["resources"][0]
    world.arm.set_extension(vm, extension(settings=THEIRS))
    stopped(world, vm, over=False)
    await world.updated(vm)
    world.arm.set_extension(vm, before)
    stopped(world, vm, over=True)
    await world.started(vm)
    row = world.row(vm)
    assert (row.outcome, row.undone_at, world.arm.calls.count("PUT")) == (Outcome.INSTALLED, "", 1)


async def test_what_a_person_removed_stays_away_although_a_read_fails() -> None:
    world = World()
    vm = await removed(world)
    for _ in range(2):
        await throttled(world, vm)
        world.now += timedelta(minutes=10)
    await world.run_latest_check()
    row = world.row(vm)
    assert (row.outcome, row.step, row.was, row.attempt) == (Outcome.REMOVED, "removal", "", 1)
    assert world.arm.calls.count("PUT") == 1


async def test_another_version_of_the_policy_installs_it_again_although_a_read_fails() -> None:
    world = World()
    vm = await removed(world)
    later = world.with_policies([CHANGED])
    await throttled(later, vm)
    later.now += timedelta(minutes=10)
    await later.updated(vm)
    assert later.row(vm).waiting_for is WaitingFor.INSTALL


async def test_a_removal_whose_read_fails_is_followed_to_its_end() -> None:
    world = World()
    vm = await installed(world)
    await world.requests.handle(vm, REMOVAL)
    world.arm.read_errors = [THROTTLED]
    await world.run_latest_check()
    assert world.row(vm).waiting_for is WaitingFor.THROTTLING
    await world.removed(vm)
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REMOVED, 1)


@pytest.mark.parametrize(
    ("request_", "sent"), [(REMOVAL, "DELETE"), (OperatorRequest(removal=False), "GET")], ids=["removal", "install"]
)
async def test_what_a_person_wants_is_done_once_the_machine_can_be_read(request_: OperatorRequest, sent: str) -> None:
    world = World()
    vm = await installed(world)
    for each in (REMOVAL, request_):
        world.arm.read_errors = [THROTTLED]
        await world.requests.handle(vm, each)
        assert world.row(vm).waiting_for is WaitingFor.THROTTLING
    await world.run_latest_check()
    assert world.arm.calls[-1] == sent


async def test_a_war_does_not_go_on_since_a_read_fails() -> None:
    world = World()
    vm = await installed(world)
    for _ in range(3):
        world.now += timedelta(minutes=5)
        world.arm.end_removal(vm, NAME)
        await world.extension_deleted(vm)
        if world.row(vm).outcome is Outcome.REQUESTED:
            await world.installed(vm)
    contested = world.row(vm)
    assert (contested.outcome, contested.cause) == (Outcome.FAILED, "contested")
    await throttled(world, vm)
    await world.run_latest_check()
    row = world.row(vm)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "contested")
    assert world.arm.calls.count("PUT") == 3
    await world.requests.handle(vm, OperatorRequest(extension=OMS))
    assert world.row(vm).outcome is Outcome.REQUESTED, "a person decides"


REFUSALS = {
    "held back": Evidence(http_status=429, code="HeldBack", headers={"retry-after": "3"}),
    "throttled": THROTTLED,
    "somebody else's write": Evidence(409, "Conflict", "another operation is in progress"),
    "a busy server": Evidence(503, "ServerBusy", "busy"),
    "no answer": Evidence(code="ServiceRequestError"),
}


refused = pytest.mark.parametrize("error", [pytest.param(error, id=name) for name, error in REFUSALS.items()])
several_times = pytest.mark.parametrize("refusals", [1, 2, 3])
unread_before = pytest.mark.parametrize("unread", [0, 1, 2])


async def answer_what_was_undone(world: World, vm: VmId, unread: int) -> None:
    """The machine cannot be read `unread` times; then it is read, and ten scheduled checks follow, each at its time,
    until ARM has the request."""
    for _ in range(unread):
        await throttled(world, vm)
    await world.updated(vm)
    for _ in range(10):
        if world.row(vm).outcome is Outcome.REQUESTED:
            return
        await world.run_latest_check()


@refused
@several_times
@unread_before
async def test_what_somebody_undid_once_counts_once_however_often_the_repair_is_refused(
    error: Evidence, refusals: int, unread: int
) -> None:
    world = World()
    vm = await installed(world)
    world.arm.set_extension(vm, extension(settings=THEIRS))
    world.arm.install_errors = [error] * refusals
    await answer_what_was_undone(world, vm, unread)
    row = world.row(vm)
    assert len(row.undone_at.split()) == 1
    assert (row.outcome, row.waiting_for) == (Outcome.REQUESTED, WaitingFor.INSTALL)
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


@refused
@several_times
@unread_before
async def test_what_somebody_installed_again_once_counts_once_however_often_its_removal_is_refused(
    error: Evidence, refusals: int, unread: int
) -> None:
    retire = {"name": "retire-oms", "effect": "removeIfExists", "extension": OMS, "existing": "enforce"}
    world = World(policies=[retire])
    vm = world.add()
    world.arm.set_extension(vm, extension())
    await world.updated(vm)
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    world.arm.set_extension(vm, extension())
    world.arm.removal_errors = [error] * refusals
    await answer_what_was_undone(world, vm, unread)
    row = world.row(vm)
    assert len(row.undone_at.split()) == 1
    assert (row.outcome, row.waiting_for) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
