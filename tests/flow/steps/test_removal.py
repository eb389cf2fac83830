"""A policy that removes an extension: one claimed request, followed until ARM shows the extension no more."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.notifications import VmWritten
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId
from tests.flow.world import OMS, POLICY, SECOND, SECOND_POLICY, START, ArmInMemory, World, extension

NAME = "OMSExtension"
RETIRE: dict[str, Any] = {"name": "retire-oms", "effect": "removeIfExists", "extension": OMS, "existing": "enforce"}


def world_of(*policies: dict[str, Any]) -> World:
    return World(policies=list(policies or (RETIRE,)))


def add(world: World, state: str = "Succeeded", **changes: Any) -> VmId:
    """A VM that has the extension."""
    vm = world.add(**changes)
    world.arm.set_extension(vm, extension(NAME, state))
    return vm


def state_of(world: World, vm: VmId) -> tuple[Outcome, WaitingFor | None]:
    row = world.row(vm)
    return row.outcome, row.waiting_for


async def remove(world: World, vm: VmId) -> None:
    """The whole removal, from the machine's event on."""
    await world.updated(vm)
    await world.removed(vm)


async def test_a_removal_takes_three_calls() -> None:
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
    await world.removed(vm)
    row = world.row(vm)
    assert (row.outcome, row.step, row.extension_name) == (Outcome.REMOVED, "removal", NAME)
    assert world.arm.calls == ["GET", "DELETE", "GET"]
    assert [each.outcome for each in world.published.rows] == [Outcome.REMOVED]
    own = world.ledger.machines[vm.key].row
    assert (own.claim, own.next_attempt_at) == (None, None)


async def test_each_step_of_a_removal_has_a_line_of_history() -> None:
    world = world_of()
    vm = add(world)
    await remove(world, vm)
    lines = [line async for line in world.ledger.history(vm)]
    assert [(line.outcome, line.step) for line in lines] == [
        (Outcome.REMOVED, "removal"),
        (Outcome.REQUESTED, "removal"),
    ]
    assert lines[1].client_request_id == world.arm.removal_ids[0] != ""


async def test_without_the_event_the_check_finds_that_it_is_gone() -> None:
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    world.arm.end_removal(vm, NAME)
    assert await world.run_next_check()
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.arm.calls == ["GET", "DELETE", "GET"]


@pytest.mark.parametrize("created", [True, False])
async def test_a_machine_without_the_extension_gets_no_row(created: bool) -> None:
    world = world_of()
    vm = world.add()
    await (world.created(vm) if created else world.updated(vm))
    assert world.ledger.rows == {}
    assert world.schedule_queue.checks == []
    assert world.arm.calls == ["GET"]


async def test_a_machine_that_the_policy_does_not_select_gets_no_row() -> None:
    world = world_of({**RETIRE, "rule": {"field": "location", "equals": "nowhere"}})
    vm = add(world)
    await world.created(vm)
    assert world.ledger.rows == {}


async def test_an_open_row_ends_when_somebody_else_removed_it() -> None:
    world = world_of()
    vm = add(world, power="deallocated")
    await world.updated(vm)
    assert state_of(world, vm) == (Outcome.WAITING, WaitingFor.VM_RUNNING)
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.row(vm).attempt == 0, "nothing was requested"
    assert "DELETE" not in world.arm.calls


async def test_a_stopped_machine_loses_it_when_it_runs() -> None:
    world = world_of()
    vm = add(world, power="deallocated")
    await world.updated(vm)
    world.arm.machines[vm.key]["properties"]["instanceView"]["statuses"][1]["code"] = "PowerState/running"
    world.arm.machines[vm.key]["properties"]["instanceView"]["vmAgent"] = {
        "statuses": [{"code": "ProvisioningState/succeeded", "displayStatus": "Ready"}]
    }
    await world.started(vm)
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)


async def test_a_refusal_since_the_machine_is_stopped_waits_for_its_start() -> None:
    world = world_of()
    vm = add(world)
    message = "Cannot modify extensions in the VM when the VM is not running."
    world.arm.removal_errors.append(Evidence(http_status=409, code="OperationNotAllowed", message=message))
    await world.updated(vm)
    assert state_of(world, vm) == (Outcome.WAITING, WaitingFor.VM_RUNNING)
    assert world.row(vm).attempt == 0
    assert world.ledger.machines[vm.key].row.claim is None


async def test_a_lock_is_named() -> None:
    world = world_of()
    vm = add(world)
    scope = f"/subscriptions/{vm.subscription}/resourceGroups/app-rg"
    message = (
        f"The scope '{vm}/extensions/{NAME}' cannot perform delete operation because following scope(s) are locked:"
        f" '{scope}'. Please remove the lock and try again."
    )
    world.arm.removal_errors.append(Evidence(http_status=409, code="ScopeLocked", message=message))
    await world.updated(vm)
    row = world.row(vm)
    assert (row.cause, row.step, row.waiting_for) == ("resource-locked", "removal", WaitingFor.SCOPE_BREAKER)
    assert "locked" in row.message
    (breaker,) = world.breakers.stored.values()
    assert breaker.breaker.extension == "removal", "installs in the scope go on"


async def test_a_breaker_of_removals_does_not_hold_installs() -> None:
    world = world_of(RETIRE, SECOND_POLICY)
    vm = add(world)
    world.arm.removal_errors.append(Evidence(http_status=403, code="AuthorizationFailed", message="no right"))
    await world.updated(vm)
    assert world.row(vm).cause == "not-authorized"
    assert world.row(vm, SECOND.name).waiting_for is WaitingFor.INSTALL, "another extension of the same pass"
    other = add(world, name="web02")
    await world.updated(other)
    assert world.row(other).waiting_for is WaitingFor.SCOPE_BREAKER
    assert world.arm.calls.count("DELETE") == 1


async def test_a_removal_that_did_nothing_is_tried_again_and_then_given_up() -> None:
    """ARM took the request, nothing is under way, and the extension is still there."""
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    for _ in range(30):
        world.arm.set_extension(vm, extension(NAME))
        if world.row(vm).outcome.final:
            break
        assert await world.run_next_check()
    row = world.row(vm)
    assert (row.outcome, row.cause, row.attempt) == (Outcome.FAILED, "removal-failed", 5)
    assert world.arm.calls.count("DELETE") == 5
    assert "/var/lib/waagent" in row.advice


async def test_a_handler_that_cannot_be_removed_is_a_failure_that_names_what_to_do() -> None:
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    text = "Failed to find installed version of Microsoft.EnterpriseCloud.Monitoring.OmsAgentForLinux to uninstall"
    world.arm.set_extension(vm, extension(NAME, "Failed"), text, "ProvisioningState/failed/1")
    world.now += timedelta(minutes=5)
    await world.extension_written(vm, succeeded=False)
    row = world.row(vm)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "removal-failed")
    calls = len(world.arm.calls)
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.FAILED
    assert world.arm.calls[calls:] == ["GET"], "another event does not ask for the same again"


@pytest.mark.parametrize("installs", [1, 4, 5])
async def test_a_failure_that_may_be_that_of_an_install_does_not_end_the_removals(installs: int) -> None:
    """Somebody installs it again before we see that it is gone, and each of these installs fails."""
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    for number in range(1, installs + 1):
        world.arm.end_removal(vm, NAME)
        unsupported = "The extension does not support mariner 2.0."
        world.arm.set_extension(vm, extension(NAME, "Failed"), unsupported, "ProvisioningState/failed/51")
        assert await world.run_next_check()
        assert world.arm.calls.count("DELETE") == min(number + 1, 5)
    if installs < 5:
        assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
        await world.removed(vm)
        assert world.row(vm).outcome is Outcome.REMOVED
    else:
        assert (world.row(vm).outcome, world.row(vm).error_code) == (Outcome.FAILED, "51")


async def test_a_removal_that_hangs_is_requested_again_after_its_limit() -> None:
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    for _ in range(40):
        if world.arm.calls.count("DELETE") > 1:
            break
        assert await world.run_next_check()
    assert world.now - START >= timedelta(hours=3)
    assert world.row(vm).attempt == 2


async def test_an_unanswered_request_counts_as_accepted() -> None:
    world = world_of()
    vm = add(world)
    world.arm.removal_errors.append(Evidence(code="ServiceResponseTimeoutError", message="no answer"))
    await world.updated(vm)
    assert state_of(world, vm) == (Outcome.WAITING, WaitingFor.CLAIM)
    await world.updated(vm)
    assert world.arm.calls.count("DELETE") == 1, "ARM may show the state before the request"
    world.arm.end_removal(vm, NAME)
    await world.run_next_check()
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.arm.calls.count("DELETE") == 1


async def test_arm_may_show_the_state_before_the_request_for_a_while() -> None:
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    world.arm.set_extension(vm, extension(NAME))
    world.now += timedelta(seconds=5)
    await world.updated(vm)
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
    assert world.arm.calls.count("DELETE") == 1


async def test_a_failed_extension_is_removed_too() -> None:
    world = world_of()
    vm = world.add()
    world.arm.set_extension(vm, extension(NAME, "Failed"), "exit 51", "ProvisioningState/failed/51")
    await remove(world, vm)
    assert world.row(vm).outcome is Outcome.REMOVED


async def test_an_operating_system_that_the_extension_does_not_support_is_no_obstacle() -> None:
    world = world_of()
    vm = add(world, image={"publisher": "Canonical", "offer": "UbuntuServer", "sku": "22.04-LTS", "version": "latest"})
    await remove(world, vm)
    assert world.row(vm).outcome is Outcome.REMOVED


@pytest.mark.parametrize("order", [(POLICY, RETIRE), (RETIRE, POLICY)])
async def test_the_removal_decides_over_an_install(order: tuple[dict[str, Any], ...]) -> None:
    world = world_of(*order)
    vm = world.add()
    await world.created(vm)
    assert world.ledger.rows == {}, "nothing to remove, and nothing is installed"
    world.arm.set_extension(vm, extension(NAME))
    await world.updated(vm)
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)


async def test_an_install_still_works_where_the_removal_does_not_select() -> None:
    world = world_of({**RETIRE, "rule": {"field": "name", "equals": "web02"}}, POLICY)
    vm = world.add()
    await world.created(vm)
    await world.finish_install(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_one_write_of_a_machine_at_a_time() -> None:
    """An install and a removal of two extensions, in the order of their policies."""
    world = world_of(SECOND_POLICY, RETIRE)
    vm = add(world)
    await world.updated(vm)
    assert world.row(vm, SECOND.name).waiting_for is WaitingFor.INSTALL
    assert state_of(world, vm) == (Outcome.WAITING, WaitingFor.OPERATION)
    await world.finish_install(vm, SECOND.name)
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.arm.conflicts == 0


async def test_what_we_installed_is_removed_when_a_removal_comes_to_decide() -> None:
    world = world_of(POLICY)
    vm = world.add()
    await world.created(vm)
    await world.finish_install(vm)
    later = world.with_policies([POLICY, RETIRE])
    await later.updated(vm)
    assert later.row(vm).outcome is Outcome.INSTALLED, "after a change of policies the sweep opens final rows"
    later.now += timedelta(hours=1)
    await later.sweep_and_reconcile()
    later.now += timedelta(hours=1)
    await later.sweep_and_reconcile()
    assert state_of(later, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
    assert later.row(vm).attempt == 1
    await later.removed(vm)
    assert later.row(vm).outcome is Outcome.REMOVED


async def test_an_install_in_flight_is_followed_before_it_is_removed() -> None:
    world = world_of(POLICY)
    vm = world.add()
    await world.created(vm)
    later = world.with_policies([POLICY, RETIRE])
    await later.updated(vm)
    assert later.row(vm).waiting_for is WaitingFor.INSTALL
    assert "DELETE" not in world.arm.calls
    await later.finish_install(vm)
    assert later.row(vm).outcome in (Outcome.INSTALLED, Outcome.REQUESTED)
    assert world.arm.conflicts == 0


@pytest.mark.parametrize("events", [1, 2])
async def test_a_removal_in_flight_is_followed_before_it_is_installed_again(events: int) -> None:
    world = world_of(RETIRE)
    vm = add(world)
    await world.updated(vm)
    later = world.with_policies([POLICY])
    for _ in range(events):
        await later.updated(vm)
        later.now += timedelta(seconds=20)
    assert later.row(vm).waiting_for is WaitingFor.REMOVAL
    await later.removed(vm)
    assert later.row(vm).waiting_for is WaitingFor.INSTALL
    await later.finish_install(vm)
    assert later.row(vm).outcome is Outcome.INSTALLED
    assert world.arm.conflicts == 0


async def test_a_removal_in_flight_ends_although_its_policy_is_gone() -> None:
    world = world_of(RETIRE)
    vm = add(world)
    await world.updated(vm)
    later = world.with_policies([SECOND_POLICY])
    later.arm.end_removal(vm, NAME)
    while not later.row(vm).outcome.final:
        assert await later.run_next_check()
    assert later.row(vm).outcome is Outcome.REMOVED


async def test_the_sweep_finds_what_has_to_go_and_what_came_back() -> None:
    world = world_of()
    vm = add(world)
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)
    await world.removed(vm)
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert world.row(vm).outcome is Outcome.REMOVED
    world.arm.set_extension(vm, extension(NAME))
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert state_of(world, vm) == (Outcome.REQUESTED, WaitingFor.REMOVAL)


@pytest.mark.parametrize("outcome", [Outcome.AUDITED, Outcome.FAILED])
async def test_the_sweep_finds_that_others_removed_what_we_did_not(outcome: Outcome) -> None:
    world = world_of({**RETIRE, "existing": "audit"})
    vm = add(world, created=START - timedelta(days=30) if outcome is Outcome.AUDITED else START)
    world.arm.removal_errors = [Evidence(400, "BadRequest", "no")]
    await world.updated(vm)
    assert world.row(vm).outcome is outcome
    world.arm.end_removal(vm, NAME)
    for reads in (1, 0):
        world.now += timedelta(hours=7)
        world.arm.calls.clear()
        await world.sweep_and_reconcile()
        assert world.row(vm).outcome is Outcome.REMOVED
        assert world.arm.calls.count("GET") == reads


async def test_a_machine_without_it_costs_the_sweep_no_read() -> None:
    world = world_of()
    world.add()
    gone = add(world, name="web02")
    await remove(world, gone)
    world.arm.calls.clear()
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert "GET" not in world.arm.calls


async def test_somebody_who_installs_it_again_and_again_ends_the_removals() -> None:
    """Three rounds cost three removals and no more."""
    world = world_of()
    vm = add(world)
    for round_ in range(3):
        await remove(world, vm)
        assert world.row(vm).outcome is Outcome.REMOVED, round_
        world.now += timedelta(hours=1)
        world.arm.set_extension(vm, extension(NAME))
    await world.extension_written(vm)
    row = world.row(vm)
    assert (row.outcome, row.error_code) == (Outcome.FAILED, "contested")
    assert "installed it again" in row.reason
    calls = len(world.arm.calls)
    for _ in range(3):
        world.now += timedelta(days=1)
        await world.updated(vm)
    assert world.arm.calls.count("DELETE") == 3
    assert world.arm.calls[calls:] == ["GET"] * 3
    await world.requests.handle(vm, OperatorRequest())
    assert world.arm.calls.count("DELETE") == 4, "a person's retry tries again"


async def test_after_a_week_it_is_no_war() -> None:
    world = world_of()
    vm = add(world)
    for _ in range(5):
        await remove(world, vm)
        world.now += timedelta(days=4)
        world.arm.set_extension(vm, extension(NAME))
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.arm.calls.count("DELETE") == 5


async def test_the_rollout_limit_counts_removals() -> None:
    world = world_of({**RETIRE, "brake": {"maxInstallsPerHour": 1}})
    first, second = add(world), add(world, name="web02")
    await world.updated(first)
    await world.updated(second)
    assert world.row(first).waiting_for is WaitingFor.REMOVAL
    assert world.row(second).waiting_for is WaitingFor.ROLLOUT_LIMIT


async def test_another_machine_of_the_same_name_starts_anew() -> None:
    world = world_of()
    vm = add(world)
    await world.updated(vm)
    body = deepcopy(world.arm.machines[vm.key])
    body["properties"]["vmId"] = "another"
    world.arm.machines[vm.key] = body
    world.arm.set_extension(vm, extension(NAME))
    await world.updated(vm)
    assert world.row(vm).vm_id == "another"
    assert world.row(vm).attempt == 1
    assert world.arm.calls.count("DELETE") == 2


async def test_the_row_of_an_earlier_machine_ends_although_the_new_one_has_nothing_to_remove() -> None:
    world = World(policies=[POLICY])
    vm = add(world)
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED
    later = world.with_policies([RETIRE])
    world.add(vm_id="another")
    for _ in range(2):
        later.now += timedelta(hours=7)
        later.arm.calls.clear()
        await later.sweep_and_reconcile()
    row = later.row(vm)
    assert (row.outcome, row.vm_id) == (Outcome.REMOVED, "another")
    assert "GET" not in later.arm.calls, "once"
    lines = [(line.outcome, line.vm_id) async for line in later.ledger.history(vm)]
    assert (Outcome.GONE, "id-of-web01") in lines


class Killed(BaseException):
    """The process died here."""


def die_if(dead: bool) -> None:
    if dead:
        raise Killed


class DyingArm(ArmInMemory):
    """The process dies at its first DELETE, before or after ARM has it."""

    def __init__(self, *, after: bool) -> None:
        super().__init__()
        self.after, self.dies = after, True

    async def send(self, vm: VmId, request: ArmRequest) -> bool:
        dies, self.dies = self.dies and request.method == "DELETE", False
        if dies and not self.after:
            raise Killed
        created = await super().send(vm, request)
        if dies:
            raise Killed
        return created


@pytest.mark.parametrize("after", [False, True], ids=["before ARM has the request", "after"])
@pytest.mark.parametrize("redelivered", [False, True])
async def test_a_death_at_the_request_leads_to_one_removal(after: bool, redelivered: bool) -> None:
    world = World(policies=[RETIRE], arm=DyingArm(after=after))
    vm = add(world)
    trigger = world.trigger()
    with pytest.raises(Killed):
        await world.dispatcher.handle(VmWritten(vm, trigger, created=False))
    assert state_of(world, vm) == (Outcome.WAITING, WaitingFor.CLAIM)
    if redelivered:
        await world.dispatcher.handle(VmWritten(vm, trigger, created=False))
        assert world.arm.calls.count("DELETE") == int(after), "the claim is not overtaken"
    for _ in range(3):
        if world.arm.calls.count("DELETE"):
            break
        assert await world.run_next_check()
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.arm.calls.count("DELETE") == 1
    assert [row.outcome for row in world.published.rows] == [Outcome.REMOVED]


async def test_a_death_before_the_record_leads_to_one_removal() -> None:
    """ARM accepted the request, and the worker died before it could say so."""
    world = world_of()
    vm = add(world)
    world.ledger.when_committing = lambda: die_if("DELETE" in world.arm.calls)
    with pytest.raises(Killed):
        await world.updated(vm)
    world.ledger.when_committing = lambda: None
    assert state_of(world, vm) == (Outcome.WAITING, WaitingFor.CLAIM)
    await world.removed(vm)
    assert world.row(vm).outcome is Outcome.REMOVED
    assert world.arm.calls == ["GET", "DELETE", "GET"]


async def test_a_war_over_a_machine_that_is_stopped_in_between_ends_too() -> None:
    world = world_of()
    vm = add(world)
    for _ in range(3):
        await remove(world, vm)
        world.now += timedelta(hours=1)
        body = world.arm.machines[vm.key]
        body["properties"]["instanceView"]["statuses"][1]["code"] = "PowerState/deallocated"
        world.arm.set_extension(vm, extension(NAME))
        await world.updated(vm)
        body["properties"]["instanceView"]["statuses"][1]["code"] = "PowerState/running"
    await world.started(vm)
    assert (world.row(vm).outcome, world.row(vm).error_code) == (Outcome.FAILED, "contested")
    assert world.arm.calls.count("DELETE") == 3
