"""An event is a hint, ARM is the truth: events that are forged, early, late, misdated or out of order do no harm, and a
VM that cannot be read gets a row with a scheduled check."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.notifications import (
    EventRef,
    ExtensionWritten,
    Notification,
    PolicyStateChanged,
    VmWritten,
    parse,
)
from onboarding.application.ports import ReconcileRequest, ScheduledCheck
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import ExtensionId, VmId
from tests.flow.commands.test_operator_requests import REQUEST
from tests.flow.world import CATALOGUE, OMS, POLICY, SHAPES, START, World, extension, vm_body, vm_id

ELSEWHERE = "/subscriptions/99999999-0000-0000-0000-000000000000"
FORBIDDEN = Evidence(
    http_status=403,
    code="AuthorizationFailed",
    message="The client 'a' with object id 'b' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/read' over scope '/subscriptions/s' or the scope is invalid.",
)


@pytest.fixture(params=SHAPES.values(), ids=tuple(SHAPES))
def world(request: pytest.FixtureRequest) -> World:
    return World(policies=request.param)


async def to_the_end(world: World, vm: VmId) -> None:
    for _ in range(30):
        if all(world.row(vm, each).outcome.final for each in world.extensions):
            return
        await world.advance(vm)
    raise AssertionError([world.row(vm, each) for each in world.extensions])


async def test_an_early_or_forged_success_changes_nothing(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    before = world.row(vm)
    await world.extension_written(vm)  # ARM says Creating
    assert world.row(vm) == before
    assert ScheduledCheck(vm, before.next_attempt_at or START) in world.schedule_queue.checks
    assert world.published.rows == []
    await to_the_end(world, vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_success_event_of_a_failed_extension_is_a_failure() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    message = "[ExtensionOperationError] Non-zero exit code: 10, omsagent.py -enable\n[stdout]\nEnable,failed,10,"
    world.arm.set_extension(vm, extension(state="Failed"), message, "ProvisioningState/failed/10")
    await world.extension_written(vm, succeeded=True)
    assert (world.row(vm).outcome, world.row(vm).error_code) == (Outcome.FAILED, "10")


async def test_the_row_has_the_version_that_runs() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    assert world.row(vm).extension_version == "1.3"
    world.arm.set_extension(vm, extension())
    view = {
        "name": "OMSExtension",
        "typeHandlerVersion": "1.19.0",
        "statuses": [{"code": "ProvisioningState/succeeded"}],
    }
    world.arm.machines[vm.key]["properties"]["instanceView"]["extensions"] = [view]
    await world.extension_written(vm)
    assert (world.row(vm).outcome, world.row(vm).extension_version) == (Outcome.INSTALLED, "1.19.0")
    assert world.arm.calls == ["GET", "PUT", "GET extension"]


async def test_settings_other_than_those_we_sent_are_drift() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    changed = {"workspaceId": world.app_settings["OMS_WORKSPACE_ID"], "proxy": "somebody's"}
    world.arm.set_extension(vm, extension(settings=changed))
    await world.extension_written(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    assert world.arm.calls == ["GET", "PUT", "GET extension", "GET", "PUT"]
    assert "not those that we sent" in world.row(vm).reason


async def test_the_check_stays_where_a_confirmation_fails() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    before = world.row(vm)
    world.arm.read_errors = [Evidence(http_status=429, code="TooManyRequests")]
    await world.extension_written(vm)
    assert world.row(vm) == before
    world.arm.set_extension(vm, extension())
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_forged_deletion_changes_nothing_and_is_checked_once_more(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    before = [world.row(vm, each) for each in world.extensions]
    world.now += timedelta(minutes=1)
    await world.deletion_event(vm)
    assert [world.row(vm, each) for each in world.extensions] == before
    (message,) = world.schedule_queue.reconcile_requests
    assert message.due == world.now + timedelta(minutes=5)
    world.now = message.due
    await world.dispatcher.handle_message(message)
    assert [world.row(vm, each) for each in world.extensions] == before
    assert len(world.schedule_queue.reconcile_requests) == 1, "a check of a forged deletion leads to no other"


async def test_a_deletion_in_progress_is_recorded_at_its_check(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    world.arm.machines[vm.key]["properties"]["provisioningState"] = "Deleting"
    await world.deletion_event(vm)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.INSTALLED}
    message = world.schedule_queue.reconcile_requests.pop()
    world.arm.machines.clear()
    world.now = message.due
    await world.dispatcher.handle_message(message)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.GONE}


async def test_nothing_is_installed_on_a_vm_that_is_being_deleted(world: World) -> None:
    vm = world.add()
    world.arm.machines[vm.key]["properties"]["provisioningState"] = "Deleting"
    await world.created(vm)
    assert {world.row(vm, each).waiting_for for each in world.extensions} == {WaitingFor.OPERATION}
    world.arm.machines.clear()
    await world.advance(vm)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.GONE}
    assert "PUT" not in world.arm.calls


async def test_a_deletion_that_may_not_be_read_is_recorded_a_day_later_and_opens_no_breaker(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    world.arm.read_errors = [FORBIDDEN] * 2
    await world.deleted(vm)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.INSTALLED}
    assert not world.breakers.stored
    message = world.schedule_queue.reconcile_requests.pop()
    assert message.due == world.now + timedelta(days=1)
    world.now = message.due
    await world.dispatcher.handle_message(message)
    rows = [world.row(vm, each) for each in world.extensions]
    assert {row.outcome for row in rows} == {Outcome.GONE}
    assert all("unconfirmed" in row.reason for row in rows)
    assert not world.breakers.stored


@pytest.mark.parametrize("shown", [True, False])
async def test_a_vm_that_the_list_leaves_out_and_that_may_not_be_read_is_gone_where_its_subscription_is_shown(
    world: World, shown: bool
) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    world.arm.read_errors = [FORBIDDEN]
    if not shown:
        world.arm.access_errors = [FORBIDDEN]
    await world.dispatcher.handle_message(ReconcileRequest(vm, "gone", world.now))
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.GONE if shown else Outcome.INSTALLED}
    assert not world.breakers.stored
    assert [message.reason for message in world.schedule_queue.reconcile_requests] == (
        [] if shown else ["deletion-unconfirmed"]
    )


async def test_a_deletion_whose_read_fails_for_now_is_read_again(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    world.arm.read_errors = [Evidence(http_status=503, code="ServerBusy")]
    await world.deleted(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    await world.dispatcher.handle_message(world.schedule_queue.reconcile_requests.pop())
    assert world.row(vm).outcome is Outcome.GONE


async def test_the_check_of_a_deletion_that_is_known_by_then_opens_nothing_where_it_cannot_read(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    world.arm.machines[vm.key]["properties"]["provisioningState"] = "Deleting"
    await world.deletion_event(vm)
    message = world.schedule_queue.reconcile_requests.pop()
    await world.deleted(vm)
    ended = [world.row(vm, each) for each in world.extensions]
    assert {row.outcome for row in ended} == {Outcome.GONE}
    world.now = message.due
    world.arm.read_errors = [Evidence(http_status=429, code="TooManyRequests")]
    await world.dispatcher.handle_message(message)
    assert [world.row(vm, each) for each in world.extensions] == ended


async def test_another_vm_under_the_name_ends_the_old_rows_and_starts_empty_ones(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    world.add(vm_id="another")
    world.now += timedelta(hours=1)
    await world.created(vm)
    rows = [world.row(vm, each) for each in world.extensions]
    assert {row.vm_id for row in rows} == {"another"}
    assert all(row.attempt <= 1 and not row.undone_at for row in rows)
    ended = [row for row in world.ledger.log.values() if row.outcome is Outcome.GONE]
    assert {row.vm_id for row in ended} == {"id-of-web01"}
    assert len(ended) == len(world.extensions)
    assert world.ledger.machines[vm.key].row.vm_id == "another"


async def test_the_late_deletion_of_the_first_vm_does_not_end_the_second(world: World) -> None:
    """The row of the second VM has no VmId yet, because its read failed."""
    vm = world.add()
    world.arm.read_errors = [Evidence(http_status=503, code="ServerBusy")]
    await world.created(vm)
    world.add(vm_id="second")
    await world.deletion_event(vm, after=-30)
    assert world.row(vm).outcome is not Outcome.GONE
    await to_the_end(world, vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_an_event_from_before_the_last_read_costs_no_call(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    await to_the_end(world, vm)
    calls = list(world.arm.calls)
    old = EventRef("late", world.now - timedelta(seconds=11))
    await world.created(vm, old)
    world.now += timedelta(days=1)
    await world.created(vm, EventRef("later still", old.time))
    assert world.arm.calls == calls
    await world.created(vm, EventRef("young", world.now - timedelta(seconds=9)))
    assert world.arm.calls == [*calls, "GET"]


@pytest.mark.parametrize(
    "outside", [{"scope": "/subscriptions/99999999-0000-0000-0000-000000000000"}, {"effect": "disabled"}]
)
async def test_a_vm_that_no_policy_reaches_is_not_read(outside: dict[str, Any]) -> None:
    world = World(policies=[{**POLICY, **outside}])
    vm = world.add()
    await world.created(vm)
    await world.updated(vm)
    await world.deleted(vm)
    await world.extension_written(vm)
    await world.dispatcher.handle_message(ReconcileRequest(vm, "missed", world.now))
    assert (world.arm.calls, world.ledger.rows, world.ledger.machines) == ([], {}, {})


REASONS: dict[str, Callable[[World, VmId], Awaitable[None]]] = {
    "a creation": lambda world, vm: world.created(vm),
    "an update": lambda world, vm: world.updated(vm),
    "a finding of Azure Policy": lambda world, vm: world.dispatcher.handle(
        PolicyStateChanged(vm, EventRef("found", world.now), compliant=False, definition_id="d")
    ),
    "the sweep": lambda world, vm: world.dispatcher.handle_message(ReconcileRequest(vm, "missed", world.now)),
}
PASSING = {
    "throttled": Evidence(http_status=429, code="TooManyRequests"),
    "held back": Evidence(http_status=429, code="HeldBack", headers={"retry-after": "3"}),
    "an error of the server": Evidence(http_status=500, code="InternalServerError"),
    "a busy server": Evidence(http_status=503, code="ServerBusy"),
    "a page of a proxy": Evidence.from_body(502, "<html>bad gateway</html>"),
    "no answer": Evidence(code="ServiceResponseTimeoutError"),
}


@pytest.mark.parametrize("error", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
async def test_a_read_that_fails_for_a_reason_that_passes_leaves_a_row_and_its_check(
    world: World, reason: Callable[[World, VmId], Awaitable[None]], error: Evidence
) -> None:
    vm = world.add()
    world.arm.read_errors = [error]
    await reason(world, vm)
    for each in world.extensions:
        row = world.row(vm, each)
        assert row.outcome is Outcome.WAITING
        assert row.next_attempt_at is not None
        assert ScheduledCheck(vm, row.next_attempt_at) in world.schedule_queue.checks
    await to_the_end(world, vm)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.INSTALLED}


async def test_an_unknown_vm_that_is_gone_gets_no_row() -> None:
    world = World()
    await world.updated(vm_id("never"))
    assert world.ledger.rows == {}


@pytest.mark.parametrize(
    ("later", "says"),
    [
        ([], "no policy names oms-agent-linux any more"),
        ([{**POLICY, "effect": "disabled"}], "policy linux-monitoring is disabled"),
        ([{**POLICY, "scope": ELSEWHERE}], "outside the scope"),
    ],
    ids=["removed", "disabled", "moved elsewhere"],
)
@pytest.mark.parametrize("vm_state", [{"power": "deallocated"}, {"agent": "not_ready"}])
async def test_a_row_whose_policy_is_removed_ends_without_a_call(
    later: list[dict[str, Any]], says: str, vm_state: dict[str, Any]
) -> None:
    world = World()
    vm = world.add(**vm_state)
    await world.created(vm)
    after = world.with_policies(later)
    calls = list(world.arm.calls)
    await after.run_latest_check()
    assert after.row(vm).outcome is Outcome.OUT_OF_SCOPE
    assert says in after.row(vm).reason
    assert world.arm.calls == calls
    assert [row.outcome for row in world.published.rows] == [Outcome.OUT_OF_SCOPE]


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("Succeeded", Outcome.INSTALLED), ("Failed", Outcome.OUT_OF_SCOPE), (None, Outcome.OUT_OF_SCOPE)],
)
async def test_a_request_ends_by_its_result_even_if_no_policy_wants_it_any_more(
    state: str | None, outcome: Outcome
) -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    after = world.with_policies([])
    await after.run_latest_check()
    assert after.row(vm).outcome is Outcome.REQUESTED, "the handler is at work"
    if state is None:
        world.arm.machines[vm.key]["resources"] = []
    else:
        world.arm.set_extension(vm, extension(state=state))
    await after.run_latest_check()
    assert after.row(vm).outcome is outcome


async def test_a_request_in_flight_ends_where_its_policy_no_longer_selects_the_vm() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    world.arm.machines[vm.key]["tags"] = {"onboarding": "skip"}
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


def extension_event(world: World, vm: VmId, verb: str, principal: object) -> Notification:
    """What Event Grid delivers of an extension that such a principal wrote or deleted."""
    name = f"Microsoft.Compute/virtualMachines/extensions/{verb}"
    raw = {
        "id": f"{verb}-{world.now:%d%H%M}",
        "subject": f"{vm}/extensions/OMSExtension",
        "eventType": f"Microsoft.Resources.Resource{verb.title()}Success",
        "eventTime": (world.now + timedelta(seconds=1)).isoformat(),
        "data": {
            "operationName": name,
            "authorization": {"action": name, "evidence": {"principalType": principal, "principalId": "0bject-1d"}},
            "claims": {"name": "Jane Doe"},
        },
    }
    return parse(json.dumps(raw), world.now)


CALLERS = [
    ("User", ", most recently by a person, before 2026"),
    ("ServicePrincipal", ", most recently by an application, such as a pipeline or Azure Policy, before 2026"),
    ("Group", ", most recently before 2026"),
    (None, ", most recently before 2026"),
    (["User"], ", most recently before 2026"),
]


@pytest.mark.parametrize(("principal", "says"), CALLERS, ids=str)
async def test_a_conflict_of_owners_names_the_kind_of_the_other_one_and_no_person(principal: object, says: str) -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    for _ in range(3):
        await world.installed(vm)
        world.now += timedelta(days=1)
        world.arm.machines[vm.key]["resources"] = []
        await world.dispatcher.handle(extension_event(world, vm, "delete", principal))
    row = world.row(vm)
    assert row.cause == "contested"
    assert says in row.reason
    assert not re.search("Jane|0bject", repr(row))


@pytest.mark.parametrize(("principal", "says"), CALLERS, ids=str)
async def test_so_does_a_conflict_about_what_is_removed(principal: object, says: str) -> None:
    world = World(policies=[{"name": "retire", "effect": "removeIfExists", "extension": OMS, "existing": "enforce"}])
    vm = world.add()
    for _ in range(4):
        world.arm.set_extension(vm, extension())
        await world.dispatcher.handle(extension_event(world, vm, "write", principal))
        if OMS not in await world.requests.rows(vm):
            await world.updated(vm)
        if world.row(vm).outcome is not Outcome.FAILED:
            await world.removed(vm)
        world.now += timedelta(days=1)
    assert says in world.row(vm).reason
    assert "installed it again" in world.row(vm).reason


async def test_a_conflict_of_owners_ends_after_the_third_undoing_within_a_week() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    outcomes = []
    for _ in range(4):
        if world.row(vm).outcome is Outcome.REQUESTED:
            await world.installed(vm)
        world.now += timedelta(days=1)
        world.arm.machines[vm.key]["resources"] = []
        await world.extension_deleted(vm)
        outcomes.append((world.row(vm).outcome, world.row(vm).error_code))
    assert outcomes == [(Outcome.REQUESTED, "")] * 2 + [(Outcome.FAILED, "contested")] * 2
    assert world.arm.calls.count("PUT") == 3
    await world.updated(vm)
    assert world.row(vm).error_code == "contested"
    changed = world.with_policies([{**POLICY, "settleDelay": "1m"}])
    await changed.dispatcher.handle_message(ReconcileRequest(vm, "changed", world.now))
    assert changed.row(vm).outcome is Outcome.REQUESTED


async def test_undoings_that_are_far_apart_are_not_a_conflict_of_owners() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    for _ in range(6):
        await world.installed(vm)
        world.now += timedelta(days=4)
        world.arm.machines[vm.key]["resources"] = []
        await world.extension_deleted(vm)
        assert world.row(vm).outcome is Outcome.REQUESTED


async def test_hosts_with_two_versions_of_a_policy_do_not_fight() -> None:
    old = World()
    vm = old.add()
    await old.created(vm)
    await old.installed(vm)
    new = old.with_policies([{**POLICY, "settings": {"workspaceId": "{OMS_WORKSPACE_ID}", "proxy": "http://p:1"}}])
    rows, calls = old.row(vm), old.arm.calls.count("PUT")
    for _ in range(5):
        old.now = new.now = old.now + timedelta(minutes=1)
        await new.updated(vm)
        await old.updated(vm)
    assert old.row(vm) == rows
    assert old.arm.calls.count("PUT") == calls


async def test_a_wait_without_news_writes_no_history_and_a_stopped_vm_is_checked_seldom(world: World) -> None:
    vm = world.add(power="deallocated")
    await world.created(vm)
    lines, began = len(world.ledger.log), world.now
    moments = []
    while world.now < began + timedelta(days=365):
        await world.run_latest_check()
        moments.append(world.now - began)
    assert moments[:3] == [timedelta(hours=1), timedelta(hours=7), timedelta(hours=31)]
    assert len(world.ledger.log) == lines
    assert world.arm.calls.count("GET") <= 380
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.WAITING}
    world.add()
    await world.started(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_what_a_person_may_not_do_changes_nothing() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    await world.installed(vm)
    world.arm.machines[vm.key]["resources"] = []
    before, known = world.row(vm), await world.ledger.read(vm)
    for errors in (world.arm.read_errors, world.arm.install_errors):
        errors.append(FORBIDDEN)
        with pytest.raises(ArmError):
            await world.requests.handle(vm, REQUEST)
        assert world.row(vm) == before
        assert not world.breakers.stored
    after = await world.ledger.read(vm)
    assert after.machine is not None
    assert known.machine is not None
    assert after.machine.row.claim is None
    assert [row.outcome for row in world.published.rows] == [Outcome.INSTALLED]


async def test_what_a_person_may_not_do_leaves_no_row_of_a_vm_that_had_none() -> None:
    world = World()
    vm = world.add()
    world.arm.install_errors.append(FORBIDDEN)
    with pytest.raises(ArmError):
        await world.requests.handle(vm, REQUEST)
    assert world.ledger.rows == {}
    assert not world.breakers.stored


async def test_reading_one_extension_does_not_make_machine_events_old() -> None:
    tagged = {**SHAPES["two policies"][1], "rule": {"field": "tags['inventory']", "equals": "yes"}}
    world = World(policies=[POLICY, tagged])
    vm = world.add()
    await world.created(vm)
    assert world.row(vm, tagged["extension"]).outcome is Outcome.OUT_OF_SCOPE
    world.now += timedelta(minutes=2)
    world.arm.machines[vm.key]["tags"] = {"inventory": "yes"}
    late = world.trigger()
    world.now += timedelta(seconds=15)
    await world.installed(vm)
    await world.dispatcher.handle(VmWritten(vm, late, created=False))
    assert world.row(vm, tagged["extension"]).outcome is Outcome.REQUESTED


async def test_reading_for_one_policy_does_not_make_events_old() -> None:
    world = World(policies=SHAPES["two policies"])
    vm, late = world.add(), world.trigger()
    world.now += timedelta(seconds=30)
    await world.requests.handle(vm, OperatorRequest(policy=POLICY["name"]))
    await world.created(vm, late)
    assert world.row(vm, "inventory-agent").waiting_for is WaitingFor.OPERATION


async def test_reading_for_the_event_of_one_extension_does_not_make_that_of_another_old() -> None:
    """Two extensions failed permanently; somebody repairs both, and the event of the first arrives late."""
    world = World(policies=SHAPES["two policies"])
    vm = world.add()
    await world.created(vm)
    await world.finish_install(vm, OMS, "Failed")
    await world.finish_install(vm, "inventory-agent", "Failed")
    world.now += timedelta(minutes=2)
    for name in world.extensions:
        entry = CATALOGUE[name]
        handler = {"publisher": entry.publisher, "type": entry.type, "typeHandlerVersion": entry.version}
        world.arm.set_extension(vm, extension(entry.resource_name, **handler))
    late = world.trigger()
    world.now += timedelta(seconds=15)
    await world.extension_written(vm)
    await world.dispatcher.handle(ExtensionWritten(ExtensionId(vm, "InventoryAgent"), late, succeeded=True))
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.INSTALLED}


BROKEN = "extensions/oms.yaml: line 3: mapping values are not allowed here; write it as YAML or JSON"


def _broken(world: World, policies: list[dict[str, Any]]) -> World:
    """A host in the same world whose catalogue lacks the extension, because its file cannot be used."""
    after = world.with_policies(policies)
    return World(
        policies=policies,
        unusable={POLICY["extension"]: BROKEN},
        **{name: getattr(after, name) for name in ("now", "arm", "ledger", "schedule_queue", "published")},
    )


async def test_a_row_whose_extension_file_is_broken_waits_until_it_is_fixed() -> None:
    world = World()
    vm = world.add(agent="not_ready")
    await world.created(vm)
    calls = list(world.arm.calls)
    broken = _broken(world, [])
    for _ in range(3):
        await broken.run_latest_check()
        row = broken.row(vm)
        assert (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.CONFIGURATION)
        assert row.reason == BROKEN
    assert world.arm.calls == calls
    assert world.published.rows == []
    world.arm.machines[vm.key] = vm_body()
    world.now = broken.now
    mended = world.with_policies([POLICY])
    await mended.run_latest_check()
    assert mended.row(vm).outcome is Outcome.REQUESTED


async def test_the_broken_file_of_another_extension_stops_nothing() -> None:
    world = World(policies=SHAPES["two policies"])
    vm = world.add(agent="not_ready")
    await world.created(vm)
    broken = _broken(world, [SHAPES["two policies"][1]])
    world.arm.machines[vm.key] = vm_body()
    await broken.run_latest_check()
    assert broken.row(vm).waiting_for is WaitingFor.CONFIGURATION
    assert broken.row(vm, SHAPES["two policies"][1]["extension"]).outcome is Outcome.REQUESTED


async def test_a_request_in_flight_ends_by_its_result_even_if_its_file_is_broken() -> None:
    world = World()
    vm = world.add()
    await world.created(vm)
    broken = _broken(world, [])
    await broken.installed(vm)
    await broken.run_latest_check()
    assert broken.row(vm).outcome is Outcome.INSTALLED
