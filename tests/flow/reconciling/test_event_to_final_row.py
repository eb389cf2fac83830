"""What happens to an event, from its arrival to the final row."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.ports import ScheduledCheck
from onboarding.domain.errors import StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from tests.flow.world import BIONIC, POLICY, START, WORKSPACE_ID, WORKSPACE_KEY, World, extension, vm_id


@pytest.fixture
def world() -> World:
    return World()


async def test_a_new_vm_is_onboarded_with_two_calls_and_a_confirming_one(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    world.now += timedelta(seconds=100)
    await world.installed(vm)
    row = world.row(vm)
    assert (row.outcome, row.extension_name, row.attempt) == (Outcome.INSTALLED, "OMSExtension", 1)
    assert (row.distribution, row.os_version, row.verdict) == ("ubuntu", "16.04", "supported")
    assert (row.requested_at, row.finished_at, row.duration_ms) == (START, world.now, 100_000)
    assert world.arm.calls == ["GET", "PUT", "GET extension"]


async def test_the_request_is_the_documents_schema(world: World) -> None:
    await world.created(world.add())
    properties = world.arm.bodies[0]["properties"]
    assert world.arm.bodies[0]["location"] == "westeurope"
    assert properties["publisher"] == "Microsoft.EnterpriseCloud.Monitoring"
    assert properties["type"] == "OmsAgentForLinux"
    assert properties["typeHandlerVersion"] == "1.3"
    assert properties["settings"] == {"workspaceId": WORKSPACE_ID}
    assert properties["protectedSettings"] == {"workspaceKey": WORKSPACE_KEY}


async def test_the_check_is_scheduled_and_the_row_claimed_before_the_request_to_arm(world: World) -> None:
    vm = world.add()
    world.arm.install_errors = [Evidence(http_status=500, code="InternalServerError")]
    await world.created(vm)
    first_line = next(iter(world.ledger.log.values()))
    assert world.schedule_queue.checks[0] == ScheduledCheck(vm, START + timedelta(minutes=4))
    assert first_line.attempt == 1


@pytest.mark.parametrize(
    ("changes", "outcome", "says"),
    [
        ({"image": BIONIC}, Outcome.UNSUPPORTED, "18.04"),
        ({"os_type": "Windows"}, Outcome.OUT_OF_SCOPE, "Windows"),
        ({"tags": {"onboarding": "skip"}}, Outcome.OUT_OF_SCOPE, "tags"),
        (
            {"image": {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i"}},
            Outcome.UNDETERMINED,
            "",
        ),
        ({"os_profile": {"allowExtensionOperations": False}}, Outcome.FAILED, "allowExtensionOperations"),
    ],
)
async def test_a_vm_that_needs_nothing_takes_one_call(
    world: World, changes: dict[str, Any], outcome: Outcome, says: str
) -> None:
    vm = world.add(**changes)
    await world.created(vm)
    assert world.row(vm).outcome is outcome
    assert says in world.row(vm).reason
    # The definition of a custom image of unknown OS is read once for all of its VMs.
    assert [call for call in world.arm.calls if call != "IMAGE"] == ["GET"]
    assert not world.schedule_queue.checks


async def test_an_extension_under_another_name_is_recognised(world: World) -> None:
    vm = world.add()
    world.arm.set_extension(vm, extension("OmsAgentForLinux"))
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED
    assert world.row(vm).extension_name == "OmsAgentForLinux"
    assert world.arm.calls == ["GET"]


async def test_out_of_scope_is_recorded_for_created_vms_only(world: World) -> None:
    vm = world.add(os_type="Windows")
    await world.updated(vm)
    assert not world.ledger.rows


async def test_the_same_event_five_times_twice_at_once_is_one_install(world: World) -> None:
    vm = world.add()
    trigger = world.trigger()
    await asyncio.gather(world.created(vm, trigger), world.created(vm, trigger))
    for _ in range(3):
        await world.created(vm, trigger)
    assert world.arm.calls.count("PUT") == 1
    assert len(world.ledger.log) == 1
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_the_settling_event_may_overtake_our_own_record(world: World) -> None:
    vm = world.add()
    world.arm.after_put = lambda: world.installed(vm)
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert world.row(vm).requested_at == START
    lines = [row.outcome for row in world.ledger.log.values()]
    assert sorted(lines) == [Outcome.INSTALLED, Outcome.REQUESTED]


async def test_a_failed_install_is_read_and_explained(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    message = "[ExtensionOperationError] Non-zero exit code: 10, omsagent.py -enable\n[stdout]\nEnable,failed,10,"
    world.arm.set_extension(vm, extension(state="Failed"), message, "ProvisioningState/failed/10")
    await world.extension_written(vm, succeeded=False)
    row = world.row(vm)
    assert (row.outcome, row.error_code, row.cause) == (Outcome.FAILED, "10", "already-connected")
    assert "connected" in row.error_meaning
    assert "stopOnMultipleConnections" in row.advice
    assert world.arm.calls == ["GET", "PUT", "GET"]


async def test_a_wait_that_goes_on_keeps_its_cause(world: World) -> None:
    vm = world.add()
    throttled = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "60"})
    world.arm.install_errors = [throttled]
    await world.created(vm)
    before = world.row(vm)
    await world.updated(vm)  # the check is not due yet
    assert (before.cause, world.row(vm)) == ("throttled", before)


async def test_a_row_of_the_version_before_gets_its_cause_without_a_line_of_history(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension(state="Failed"), "exit code 51", "ProvisioningState/failed/51")
    await world.extension_written(vm, succeeded=False)
    row = world.row(vm)
    old = Row.from_properties({name: value for name, value in row.to_properties().items() if name != "Cause"})
    assert (row.cause, old.cause) == ("unsupported-os", "")
    assert row.differs(old)
    assert not row.belongs_in_history(old)


async def test_a_locked_package_manager_is_tried_again_later(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    locked = (
        "Non-zero exit code: 55, omsagent.py -install\ndpkg: error: dpkg status database is locked by another process"
    )
    world.arm.set_extension(vm, extension(state="Failed"), locked, "ProvisioningState/failed/55")
    await world.extension_written(vm, succeeded=False)
    row = world.row(vm)
    assert (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.PACKAGE_MANAGER)
    assert row.next_attempt_at == START + timedelta(minutes=5)
    await world.run_latest_check()
    assert world.arm.calls.count("PUT") == 2
    assert world.arm.bodies[1]["properties"]["forceUpdateTag"]
    assert world.row(vm).attempt == 2
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_stopped_vm_waits_for_its_start(world: World) -> None:
    vm = world.add(power="deallocated")
    await world.created(vm)
    assert world.row(vm).waiting_for is WaitingFor.VM_RUNNING
    world.add()
    await world.started(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_start_makes_no_call_where_no_row_waits(world: World) -> None:
    await world.started(world.add())
    assert world.arm.calls == []


async def test_an_agent_without_status_is_checked_at_growing_intervals(world: World) -> None:
    vm = world.add(agent="not_ready")
    await world.created(vm)
    breakers = []
    for _ in range(8):
        row = world.row(vm)
        assert row.next_attempt_at is not None
        breakers.append((row.next_attempt_at - world.now) / timedelta(minutes=1))
        await world.run_latest_check()
    assert breakers == [1, 2, 4, 8, 15, 30, 60, 60]
    assert "PUT" not in world.arm.calls


async def test_an_agent_without_status_is_given_up_after_two_days(world: World) -> None:
    vm = world.add(agent="absent")
    await world.created(vm)
    while not world.row(vm).outcome.final:
        await world.run_latest_check()
    row = world.row(vm)
    assert (row.outcome, row.error_code) == (Outcome.FAILED, "vm-agent-unreachable")
    assert timedelta(hours=48) <= world.now - START < timedelta(hours=50)


async def test_a_custom_image_waits_for_the_report_of_the_guest_agent(world: World) -> None:
    image = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0"}
    vm = world.add(image=image, agent="not_ready")
    await world.created(vm)
    assert world.row(vm).waiting_for is WaitingFor.AGENT_READY
    world.add(image=image, osName="centos", osVersion="7.9.2009")
    await world.run_latest_check()
    row = world.row(vm)
    assert (row.outcome, row.distribution, row.witness) == (Outcome.REQUESTED, "centos", "guest agent")


async def test_a_bad_setting_is_named_in_the_row(world: World) -> None:
    world = World(app_settings={"OMS_WORKSPACE_ID": "my-workspace", "OMS_WORKSPACE_KEY": WORKSPACE_KEY})
    vm = world.add()
    await world.created(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.FAILED
    assert "OMS_WORKSPACE_ID" in row.reason
    assert "my-workspace" not in repr(row)
    assert world.arm.calls == ["GET"]


async def test_an_audit_requests_nothing(world: World) -> None:
    world = World(policies=[{**POLICY, "effect": "auditIfNotExists"}])
    vm = world.add()
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.AUDITED
    assert world.arm.calls == ["GET"]


async def test_a_deleted_vm_is_gone_once_arm_says_so(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.deleted(vm)
    assert world.row(vm).outcome is Outcome.GONE
    assert world.arm.calls == ["GET", "PUT", "GET"]


async def test_an_old_deletion_is_not_that_of_the_new_vm(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.deletion_event(vm, after=-60)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_vm_made_again_under_the_same_name_is_onboarded_again(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.installed(vm)
    world.add(vm_id="another")
    world.now += timedelta(hours=1)
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    assert world.row(vm).vm_id == "another"
    assert world.row(vm).attempt == 1


async def test_an_update_of_an_onboarded_vm_writes_nothing(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    await world.installed(vm)
    writes = world.ledger.writes
    await world.updated(vm)
    assert world.ledger.writes == writes
    assert world.arm.calls == ["GET", "PUT", "GET extension", "GET"]


async def test_a_removed_extension_comes_back(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.installed(vm)
    world.add()
    await world.extension_deleted(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    assert world.arm.calls.count("PUT") == 2


async def test_throttling_is_waited_out_and_counts_no_attempt(world: World) -> None:
    vm = world.add()
    world.arm.install_errors = [Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "600"})]
    await world.created(vm)
    row = world.row(vm)
    assert (row.outcome, row.waiting_for, row.attempt) == (Outcome.WAITING, WaitingFor.THROTTLING, 0)
    assert row.next_attempt_at == START + timedelta(seconds=600)
    await world.run_latest_check()
    assert (world.row(vm).outcome, world.row(vm).attempt) == (Outcome.REQUESTED, 1)


async def test_a_vm_that_cannot_be_read_waits(world: World) -> None:
    vm = world.add()
    world.arm.read_errors = [Evidence(http_status=503, code="ServerBusy")]
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.WAITING
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_vm_that_is_gone_already_is_recorded(world: World) -> None:
    await world.created(vm_id("short-lived"))
    assert world.row(vm_id("short-lived")).outcome is Outcome.GONE


async def test_an_unreachable_table_causes_a_redelivery_of_the_event(world: World) -> None:
    vm = world.add()
    world.ledger.reachable = False
    with pytest.raises(StorageError):
        await world.created(vm)
    assert world.arm.calls == []


async def test_an_unreachable_queue_causes_a_redelivery_which_schedules_the_check(world: World) -> None:
    vm = world.add()
    trigger = world.trigger()
    world.schedule_queue.reachable = False
    with pytest.raises(StorageError):
        await world.created(vm, trigger)
    assert "PUT" not in world.arm.calls
    world.schedule_queue.reachable = True
    await world.created(vm, trigger)
    assert len(world.schedule_queue.checks) == 1
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_the_scheduled_check_replaces_a_lost_settling_event(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_the_sweep_replaces_a_lost_scheduled_check(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension())
    world.now += timedelta(hours=1)
    assert (await world.sweep_and_reconcile()).overdue == 1
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert (await world.sweep_and_reconcile()).overdue == 0


async def test_a_scheduled_check_makes_no_call_where_no_row_waits(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await world.installed(vm)
    calls = list(world.arm.calls)
    await world.run_latest_check()
    assert world.arm.calls == calls


async def test_final_outcomes_are_published_once(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    assert world.published.rows == []
    await world.installed(vm)
    await world.installed(vm)
    assert [row.outcome for row in world.published.rows] == [Outcome.INSTALLED]


async def test_an_extension_of_another_owner_makes_no_call(world: World) -> None:
    vm = world.add()
    await world.extension_written(vm, "CustomScript")
    assert world.arm.calls == []
    await world.created(vm)
    await world.installed(vm)
    calls = list(world.arm.calls)
    await world.extension_written(vm, "CustomScript")
    assert world.arm.calls == calls


async def test_the_end_of_another_extension_makes_no_call_while_our_request_is_in_flight(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    calls = list(world.arm.calls)
    await world.extension_written(vm, "CustomScript")
    assert world.arm.calls == calls
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_failed_vm_that_somebody_fixes_under_another_name_is_noticed(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    message = "Non-zero exit code: 20, omsagent.py -install"
    world.arm.set_extension(vm, extension(state="Failed"), message, "ProvisioningState/failed/20")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).outcome is Outcome.FAILED
    world.arm.set_extension(vm, extension("by-hand"))
    calls = list(world.arm.calls)
    await world.extension_written(vm, "by-hand")
    assert world.arm.calls == calls
    world.now += timedelta(hours=1)
    await world.sweep_and_reconcile()
    assert world.row(vm).outcome is Outcome.ALREADY_INSTALLED


async def test_an_incident_of_the_platform_is_waited_out(world: World) -> None:
    vm = world.add()
    world.arm.install_errors = [Evidence(http_status=500, code="InternalServerError")] * 12
    await world.created(vm)
    while world.arm.install_errors:
        assert world.row(vm).waiting_for is WaitingFor.PLATFORM
        await world.run_latest_check()
    await world.run_latest_check()
    assert world.now - START > timedelta(hours=3)
    assert world.row(vm).outcome is Outcome.REQUESTED
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_platform_that_never_recovers_is_given_up(world: World) -> None:
    vm = world.add()
    world.arm.install_errors = [Evidence(http_status=500, code="InternalServerError")] * 500
    await world.created(vm)
    while not world.row(vm).outcome.final:
        await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.FAILED
    assert timedelta(hours=6) <= world.now - START < timedelta(hours=8)
