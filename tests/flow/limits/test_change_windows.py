"""Change windows: what is on a machine is changed in its window alone; what is not there is installed at once."""

from __future__ import annotations

from collections import Counter
from copy import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decide import decide
from onboarding.domain.reconcile.decision import Act, OperatorRequest, Wait
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.steps.test_azure_monitor import ENFORCE, SYSTEM, add, patched, row_of, world_of
from tests.flow.world import OMS, POLICY, SECOND, SECOND_POLICY, START, World, extension, vm_id
from tests.unit.reconcile.contexts import WRONG_KEY, context, row
from tests.unit.reconcile.contexts import extension as failed_extension

WINDOW = {"days": ["sat", "sun"], "from": "02:00", "to": "06:00", "zone": "Europe/Berlin"}
OPENS, CLOSES = datetime(2026, 11, 21, 1, tzinfo=UTC), datetime(2026, 11, 21, 5, tzinfo=UTC)
WITH_WINDOW = {**POLICY, "changeWindow": WINDOW}
WITH_TAG = {**WITH_WINDOW, "changeWindowTag": "Maintenance"}
THEIRS = {"workspaceId": "6f680a37-00c6-41c7-a93f-1437e3462574", "proxy": "somebody's"}
LOCKED = "Non-zero exit code: 55, omsagent.py -install\ndpkg: error: dpkg status database is locked by another process"


async def install(world: World, name: str = "web01", **changes: Any) -> VmId:
    vm = world.add(name, **changes)
    await world.created(vm)
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    return vm


async def overwritten(world: World, name: str = "web01", **changes: Any) -> VmId:
    """A machine whose extension we installed and somebody else gave other settings."""
    vm = await install(world, name, **changes)
    world.arm.set_extension(vm, extension(settings=THEIRS))
    await world.updated(vm)
    return vm


async def test_an_update_waits_for_the_window_and_is_sent_in_it() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    row = world.row(vm)
    assert (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.CHANGE_WINDOW)
    assert row.reason == (
        "changes wait for the change window of policy linux-monitoring (sat,sun 02:00-06:00 Europe/Berlin), "
        "which opens at 2026-11-21 01:00 UTC"
    )
    assert row.next_attempt_at is not None
    assert OPENS <= row.next_attempt_at < OPENS + timedelta(minutes=30)
    assert world.arm.calls.count("PUT") == 1
    await world.run_latest_check()
    assert OPENS <= world.now < CLOSES
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 2)
    assert "not those that we sent" in world.row(vm).reason
    await world.installed(vm)
    row = world.row(vm)
    assert (row.outcome, row.attempt, len(row.undone_at.split()), row.was) == (Outcome.INSTALLED, 1, 1, "")


async def test_without_a_window_an_update_is_sent_at_once() -> None:
    world = World()
    vm = await overwritten(world)
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 2)


async def test_in_the_window_an_update_is_sent_at_once() -> None:
    world = World(policies=[WITH_WINDOW], now=OPENS)
    vm = await overwritten(world, created=OPENS)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_first_install_and_its_further_attempts_do_not_wait() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = world.add()
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    world.arm.set_extension(vm, extension(state="Failed"), LOCKED, "ProvisioningState/failed/55")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).waiting_for is WaitingFor.PACKAGE_MANAGER
    await world.run_latest_check()
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 2)
    assert world.now < OPENS


async def test_what_somebody_else_installed_over_our_first_install_is_changed_in_the_window() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension(settings=THEIRS))
    await world.updated(vm)
    row = world.row(vm)
    assert (row.waiting_for, row.was, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, "Installed", 1)
    await world.run_latest_check()
    assert world.arm.calls.count("PUT") == 2


async def test_a_person_repeats_a_first_install_that_failed_at_once() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = world.add()
    await world.created(vm)
    words = "Install failed with exit code 62"
    world.arm.set_extension(vm, extension(state="Failed"), words, "ProvisioningState/failed/0")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).outcome is Outcome.FAILED
    await world.requests.handle(vm, OperatorRequest())
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_an_extension_that_somebody_removed_is_installed_again_at_once() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await install(world)
    world.arm.machines[vm.key]["resources"] = []
    await world.extension_deleted(vm)
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 2)


async def test_further_attempts_of_an_update_wait_for_the_next_window() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    await world.run_latest_check()
    world.now = CLOSES - timedelta(minutes=1)
    world.arm.set_extension(vm, extension(state="Failed"), LOCKED, "ProvisioningState/failed/55")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).waiting_for is WaitingFor.PACKAGE_MANAGER
    await world.run_latest_check()
    row = world.row(vm)
    assert (row.waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 2)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at >= OPENS + timedelta(days=1)
    await world.run_latest_check()
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 3)


async def test_a_failed_extension_of_somebody_elses_is_repaired_in_the_window() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = world.add()
    world.arm.set_extension(vm, extension(state="Failed"), LOCKED, "ProvisioningState/failed/55")
    await world.created(vm)
    while world.row(vm).waiting_for is WaitingFor.PACKAGE_MANAGER:
        await world.run_latest_check()
    assert (world.row(vm).waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 0)
    row = world.row(vm)
    await world.updated(vm)
    assert world.row(vm) == row
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_what_does_not_meet_the_condition_is_updated_in_the_window() -> None:
    strict = {"field": "Microsoft.Compute/virtualMachines/extensions/autoUpgradeMinorVersion", "equals": True}
    world = World(policies=[{**WITH_WINDOW, "existenceCondition": strict}])
    vm = world.add()
    world.arm.set_extension(vm, extension(autoUpgradeMinorVersion=False))
    await world.created(vm)
    assert (world.row(vm).waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 0)
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_move_to_another_workspace_waits_for_the_window() -> None:
    world = World(policies=[{**WITH_WINDOW, "reconnect": True}])
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": "00000000-aaaa-bbbb-cccc-000000000000"}))
    await world.created(vm)
    assert (world.row(vm).waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 0)
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_person_waits_for_the_window_too() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    await world.requests.handle(vm, OperatorRequest())
    assert (world.row(vm).waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 1)


async def test_an_owner_who_puts_it_right_while_the_row_waits_ends_the_wait() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    world.arm.set_extension(vm, extension(settings={"workspaceId": THEIRS["workspaceId"]}))
    await world.updated(vm)
    row = world.row(vm)
    assert (row.outcome, row.was, world.arm.calls.count("PUT")) == (Outcome.INSTALLED, "", 1)


async def test_a_missed_window_is_followed_by_the_next() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    world.now = CLOSES  # the host was down meanwhile
    await world.run_latest_check()
    row = world.row(vm)
    assert (row.waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 1)
    assert row.next_attempt_at is not None
    assert timedelta() <= row.next_attempt_at - OPENS - timedelta(days=1) < timedelta(minutes=30)


async def test_the_same_undoing_again_and_again_ends_although_each_repair_waits() -> None:
    world = World(policies=[{**WITH_WINDOW, "changeWindow": {"from": "02:00", "to": "03:00"}}])
    vm = await install(world)
    for _ in range(3):
        world.arm.set_extension(vm, extension(settings=THEIRS))
        await world.updated(vm)
        if world.row(vm).outcome is Outcome.FAILED:
            break
        assert world.row(vm).waiting_for is WaitingFor.CHANGE_WINDOW
        await world.run_latest_check()
        await world.installed(vm, settings={"workspaceId": THEIRS["workspaceId"]})
        world.now += timedelta(hours=2)
    assert (world.row(vm).outcome, world.row(vm).error_code) == (Outcome.FAILED, "contested")
    assert world.arm.calls.count("PUT") == 3


async def test_events_neither_move_the_check_nor_add_one() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    row, checks = world.row(vm), len(world.schedule_queue.checks)
    for _ in range(5):
        world.now += timedelta(hours=1)
        await world.updated(vm)
    assert world.row(vm) == row
    assert len(world.schedule_queue.checks) == checks


async def test_one_check_of_a_machine_serves_all_its_extensions() -> None:
    strict = {"field": "Microsoft.Compute/virtualMachines/extensions/autoUpgradeMinorVersion", "equals": True}
    second = {**SECOND_POLICY, "changeWindow": WINDOW, "existenceCondition": strict}
    world = World(policies=[{**WITH_WINDOW, "existenceCondition": strict}, second])
    vm = world.add()
    world.arm.set_extension(vm, extension(autoUpgradeMinorVersion=False))
    handler: dict[str, Any] = {"publisher": SECOND.publisher, "type": SECOND.type, "autoUpgradeMinorVersion": False}
    world.arm.set_extension(vm, extension(SECOND.resource_name, **handler))
    await world.created(vm)
    rows = [world.row(vm, name) for name in (OMS, SECOND.name)]
    assert {row.waiting_for for row in rows} == {WaitingFor.CHANGE_WINDOW}
    assert rows[0].next_attempt_at == rows[1].next_attempt_at
    assert len(world.schedule_queue.checks) == 1


async def test_the_checks_of_a_fleet_are_spread() -> None:
    world = World(policies=[WITH_WINDOW])
    for number in range(60):
        await overwritten(world, f"vm{number}")
    turns = [world.row(vm_id(f"vm{number}")).next_attempt_at for number in range(60)]
    assert all(turn and OPENS <= turn < OPENS + timedelta(minutes=30) for turn in turns)
    assert max(Counter(turn.replace(second=0) for turn in turns if turn).values()) <= 12


async def test_a_machine_has_a_window_of_its_own_in_its_tag() -> None:
    world = World(policies=[WITH_TAG])
    vm = await overwritten(world, tags={"maintenance": "fri 22:00-24:00"})
    row = world.row(vm)
    assert (
        "the change window of the tag Maintenance (fri 22:00-24:00 UTC), which opens at 2026-11-20 22:00" in row.reason
    )
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_machine_without_the_tag_has_the_window_of_the_policy() -> None:
    world = World(policies=[WITH_TAG])
    assert "of policy linux-monitoring" in world.row(await overwritten(world)).reason
    without = {key: value for key, value in WITH_TAG.items() if key != "changeWindow"}
    free = World(policies=[without])
    assert free.row(await overwritten(free)).outcome is Outcome.REQUESTED


@pytest.mark.parametrize("now", [START, OPENS])
async def test_a_tag_that_cannot_be_read_holds_every_change_and_the_row_shows_it(now: datetime) -> None:
    world = World(policies=[WITH_TAG], now=now)
    tags = {"maintenance": "weekends password=hunter2secret" + "x" * 200}
    vm = await overwritten(world, tags=tags, created=now)
    row = world.row(vm)
    assert (row.waiting_for, world.arm.calls.count("PUT")) == (WaitingFor.CHANGE_WINDOW, 1)
    assert "the tag Maintenance of the VM: 'weekends password=***' is not a change window" in row.reason
    assert "a window is written as in sat,sun 02:00-06:00 Europe/Berlin" in row.reason
    assert row.next_attempt_at == now + timedelta(days=1)
    world.arm.machines[vm.key]["tags"] = {"maintenance": "daily 00:00-24:00"}
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_an_update_that_the_rollout_limit_holds_back_is_not_forgotten() -> None:
    world = World(policies=[{**POLICY, "brake": {"maxInstallsPerHour": 1}}])
    vm = await overwritten(world)
    assert world.row(vm).waiting_for is WaitingFor.ROLLOUT_LIMIT
    await world.run_latest_check()
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 2)


async def test_an_update_that_waits_is_not_forgotten_when_a_read_fails() -> None:
    world = World(policies=[WITH_WINDOW])
    vm = await overwritten(world)
    world.arm.read_errors = [Evidence(http_status=429, code="TooManyRequests")]
    await world.run_latest_check()
    assert world.row(vm).waiting_for is WaitingFor.THROTTLING
    await world.run_latest_check()
    assert (world.row(vm).outcome, world.arm.calls.count("PUT")) == (Outcome.REQUESTED, 2)


@pytest.mark.parametrize("words", [LOCKED, WRONG_KEY])
def test_what_the_window_held_back_is_sent_when_it_opens_whatever_it_waited_for_before(words: str) -> None:
    held = row(waiting_for=WaitingFor.CHANGE_WINDOW, waiting_since=START, next_attempt_at=OPENS, attempt=1)
    held = replace(held, was="Installed", extension_name="OMSExtension")
    policy = {"changeWindow": WINDOW}
    broken = [failed_extension("Failed", message=words)]
    assert isinstance(decide(context(last=held, now=OPENS, policy=policy, extensions=broken)), Act)
    waiting = decide(context(last=held, now=START + timedelta(hours=1), policy=policy, extensions=broken))
    assert isinstance(waiting, Wait)
    assert waiting.waiting_for is WaitingFor.CHANGE_WINDOW


async def test_a_wait_for_the_window_never_ends_by_itself() -> None:
    world = World(policies=[{**WITH_TAG, "waits": {"change-window": {"giveUpAfter": "1h"}}}])
    vm = await overwritten(world, tags={"maintenance": "never"})
    for _ in range(10):
        await world.run_latest_check()
    assert world.row(vm).waiting_for is WaitingFor.CHANGE_WINDOW
    assert world.now == START + timedelta(days=10)


async def test_a_new_machine_gets_its_identity_at_once() -> None:
    world = world_of({"changeWindow": WINDOW})
    vm = add(world)
    await world.created(vm)
    assert "PATCH" in world.arm.calls
    await patched(world, vm)
    assert row_of(world, vm).outcome is Outcome.REQUESTED


@pytest.mark.parametrize("age", [timedelta(hours=2), timedelta(days=400)])
async def test_an_older_machine_gets_an_identity_in_the_window_alone(age: timedelta) -> None:
    world = world_of({"changeWindow": WINDOW, **ENFORCE})
    vm = add(world, age=age)
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.waiting_for, row.step) == (WaitingFor.CHANGE_WINDOW, "identity")
    assert "PATCH" not in world.arm.calls
    await world.run_latest_check()
    assert "PATCH" in world.arm.calls
    await patched(world, vm)
    assert row_of(world, vm).outcome is Outcome.REQUESTED


async def test_an_older_machine_with_an_identity_gets_the_extension_at_once() -> None:
    world = world_of({"changeWindow": WINDOW, **ENFORCE})
    vm = add(world, SYSTEM, age=timedelta(days=400))
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.REQUESTED
