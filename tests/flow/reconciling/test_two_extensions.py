"""Two extensions on one VM: one write is in flight at a time, and the events of one do not hide the other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.notifications import EventRef, PolicyStateChanged, VmWritten
from onboarding.application.ports import ReconcileRequest, RowVersions, ScheduledCheck
from onboarding.domain.errors import ArmError, StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import CATALOGUE, SHAPES, LedgerInMemory, World
from tests.flow.world import extension as resource

TWO = SHAPES["two policies"]
FIRST, SECOND = (policy["extension"] for policy in TWO)


@pytest.fixture
def world() -> World:
    return World(policies=TWO)


def outcomes_of(world: World, vm: VmId) -> dict[str, tuple[Outcome, WaitingFor | None]]:
    return {each: (world.row(vm, each).outcome, world.row(vm, each).waiting_for) for each in world.extensions}


async def to_the_end(world: World, vm: VmId) -> None:
    for _ in range(30):
        if all(world.row(vm, each).outcome.final for each in world.extensions):
            return
        await world.advance(vm)
    raise AssertionError(outcomes_of(world, vm))


async def test_two_extensions_are_requested_one_after_the_other_with_five_calls(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    assert outcomes_of(world, vm) == {
        FIRST: (Outcome.REQUESTED, WaitingFor.INSTALL),
        SECOND: (Outcome.WAITING, WaitingFor.OPERATION),
    }
    assert FIRST in world.row(vm, SECOND).reason
    await world.finish_install(vm, FIRST)
    assert outcomes_of(world, vm) == {FIRST: (Outcome.INSTALLED, None), SECOND: (Outcome.REQUESTED, WaitingFor.INSTALL)}
    await world.finish_install(vm, SECOND)
    assert world.row(vm, SECOND).outcome is Outcome.INSTALLED
    assert world.arm.calls == ["GET", "PUT", "GET", "PUT", "GET extension"]
    assert world.arm.conflicts == 0


async def test_the_machine_row_holds_the_claim_until_the_request_ends(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    claim = world.ledger.machines[vm.key].row.claim
    assert claim is not None
    assert (claim.target, claim.attempt, claim.step, claim.sends) == (FIRST, 1, "extension", 1)
    await world.finish_install(vm, FIRST)
    second = world.ledger.machines[vm.key].row.claim
    assert second is not None
    assert second.target == SECOND
    assert second.digest != claim.digest
    await world.finish_install(vm, SECOND)
    assert world.ledger.machines[vm.key].row.claim is None


@pytest.mark.parametrize("state", ["Failed", "Succeeded"])
async def test_any_end_of_the_first_extension_starts_the_second(world: World, state: str) -> None:
    vm = world.add()
    await world.created(vm)
    await world.finish_install(vm, FIRST, state)
    assert world.row(vm, SECOND).outcome is Outcome.REQUESTED


async def test_the_scheduled_check_continues_both_where_the_event_of_the_first_is_lost(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    (check,) = world.schedule_queue.checks
    moments = {world.row(vm, each).next_attempt_at for each in (FIRST, SECOND)}
    assert moments == {check.due}, "both rows share one check"
    world.arm.set_extension(vm, _succeeded(FIRST))
    world.now = check.due
    for _ in range(2):
        await world.dispatcher.check(check)
    assert outcomes_of(world, vm) == {FIRST: (Outcome.INSTALLED, None), SECOND: (Outcome.REQUESTED, WaitingFor.INSTALL)}
    assert world.arm.calls == ["GET", "PUT", "GET", "PUT"]


@pytest.mark.parametrize("at", ["claim", "record"])
async def test_a_redelivery_continues_with_the_extension_that_was_not_reached(at: str) -> None:
    """Storage fails in the middle of a delivery: the event is delivered again, and no extension is left out."""
    ledger = _Failing(at)
    world = World(policies=TWO, ledger=ledger)
    vm, trigger = world.add(), world.trigger()
    ledger.failures = 1
    try:
        await world.created(vm, trigger)
    except StorageError:
        await world.created(vm, trigger)
    await to_the_end(world, vm)
    assert outcomes_of(world, vm) == {FIRST: (Outcome.INSTALLED, None), SECOND: (Outcome.INSTALLED, None)}
    assert world.arm.calls.count("PUT") == 2


async def test_a_redelivered_event_reaches_the_extension_that_the_first_delivery_did_not(
    world: World,
) -> None:
    """The rows as an earlier version left them: this event made a row for the first extension, and none for the
    second."""
    vm, trigger = world.add(), world.trigger()
    await world.created(vm, trigger)
    del world.ledger.rows[(vm.key, SECOND)]
    await world.created(vm, trigger)
    assert outcomes_of(world, vm) == {
        FIRST: (Outcome.REQUESTED, WaitingFor.INSTALL),
        SECOND: (Outcome.WAITING, WaitingFor.OPERATION),
    }
    assert world.arm.calls.count("PUT") == 1


async def test_concurrent_hosts_events_and_people_have_one_write_in_flight(world: World) -> None:
    vm = world.add()
    other = World(
        policies=TWO, arm=world.arm, ledger=world.ledger, schedule_queue=world.schedule_queue, breakers=world.breakers
    )
    finding = PolicyStateChanged(vm, EventRef("finding", world.now), compliant=False, definition_id="d")
    await asyncio.gather(
        world.created(vm, EventRef("one", world.now)),
        other.created(vm, EventRef("another", world.now)),
        other.dispatcher.handle(VmWritten(vm, EventRef("update", world.now), created=False)),
        world.dispatcher.handle(finding),
        other.dispatcher.handle_message(ReconcileRequest(vm, "missed", world.now)),
    )
    assert sum(row.in_flight for row in (world.row(vm, FIRST), world.row(vm, SECOND))) == 1
    assert world.arm.calls.count("PUT") == 1
    await to_the_end(world, vm)
    assert world.arm.conflicts == 0
    assert world.arm.calls.count("PUT") == 2


async def test_a_check_whose_worker_died_after_the_claim_is_scheduled_again_at_redelivery(world: World) -> None:
    vm = world.add(power="deallocated")
    await world.created(vm)
    world.add()
    check = world.schedule_queue.checks[-1]
    world.now = check.due
    world.schedule_queue.reachable = False  # the claim is written, its check is not scheduled
    with pytest.raises(StorageError):
        await world.dispatcher.check(check)
    assert world.row(vm, FIRST).waiting_for is WaitingFor.CLAIM
    world.schedule_queue.reachable = True
    await world.dispatcher.check(check)
    for each in (FIRST, SECOND):
        row = world.row(vm, each)
        assert row.next_attempt_at is not None
        assert ScheduledCheck(vm, row.next_attempt_at) in world.schedule_queue.checks
    await to_the_end(world, vm)
    assert world.arm.calls.count("PUT") == 2


async def test_a_sweep_message_whose_worker_died_after_the_claim_schedules_its_check_too(world: World) -> None:
    vm = world.add()
    message = ReconcileRequest(vm, "missed", world.now)
    world.schedule_queue.reachable = False
    with pytest.raises(StorageError):
        await world.dispatcher.handle_message(message)
    world.schedule_queue.reachable = True
    await world.dispatcher.handle_message(message)
    await to_the_end(world, vm)
    assert outcomes_of(world, vm) == {FIRST: (Outcome.INSTALLED, None), SECOND: (Outcome.INSTALLED, None)}


async def test_an_unanswered_request_is_sent_again_once_and_counts_once(world: World) -> None:
    vm = world.add()
    world.arm.install_errors = [Evidence(code="ServiceResponseTimeoutError")] * 3
    await world.created(vm)
    attempts = []
    for _ in range(3):
        row = world.row(vm, FIRST)
        claim = world.ledger.machines[vm.key].row.claim
        assert row.waiting_for is WaitingFor.CLAIM
        assert claim is not None
        attempts.append((row.attempt, claim.sends))
        assert world.row(vm, SECOND).waiting_for is WaitingFor.OPERATION
        await world.advance(vm)
    assert attempts == [(1, 1), (1, 2), (2, 1)]
    assert world.now - world.row(vm, FIRST).event_time >= timedelta(minutes=12)  # type: ignore[operator]
    await to_the_end(world, vm)
    assert world.arm.conflicts == 0


async def test_an_unanswered_request_that_arm_took_is_not_sent_again(world: World) -> None:
    vm = world.add()

    async def cut() -> None:
        raise ArmError(Evidence(code="ServiceResponseError"))

    world.arm.after_put = cut
    await world.created(vm)
    world.arm.after_put = None
    assert world.row(vm, FIRST).waiting_for is WaitingFor.CLAIM
    await world.advance(vm)
    assert outcomes_of(world, vm)[FIRST] == (Outcome.REQUESTED, WaitingFor.INSTALL)
    assert world.arm.calls.count("PUT") == 1


async def test_a_permanent_failure_of_one_is_not_retried_for_the_other(world: World) -> None:
    """Neither events nor scheduled checks of the other extension retry it, nor a VM that cannot be read."""
    vm = world.add()
    refusal = Evidence(http_status=400, code="InvalidParameter", message="typeHandlerVersion is invalid.")
    world.arm.install_errors = [refusal]
    await world.created(vm)
    assert outcomes_of(world, vm) == {FIRST: (Outcome.FAILED, None), SECOND: (Outcome.REQUESTED, WaitingFor.INSTALL)}
    assert world.arm.calls == ["GET", "PUT", "PUT"], "nothing is under way, so the second has its turn at once"
    failed = world.row(vm, FIRST)
    check = world.schedule_queue.checks[-1]
    assert check.due == world.row(vm, SECOND).next_attempt_at
    world.now = check.due
    world.arm.read_errors = [Evidence(http_status=503, code="ServerBusy")]
    await world.dispatcher.check(check)
    assert world.row(vm, FIRST) == failed
    await to_the_end(world, vm)
    assert world.row(vm, FIRST) == failed
    assert world.row(vm, SECOND).outcome is Outcome.INSTALLED
    assert world.arm.calls.count("PUT") == 2


async def test_another_owners_write_of_the_vm_is_waited_for(world: World) -> None:
    vm = world.add()
    world.arm.machines[vm.key]["properties"]["provisioningState"] = "Updating"
    await world.created(vm)
    assert set(outcomes_of(world, vm).values()) == {(Outcome.WAITING, WaitingFor.OPERATION)}
    assert world.arm.calls == ["GET"]
    world.arm.machines[vm.key]["properties"]["provisioningState"] = "Succeeded"
    await to_the_end(world, vm)
    assert world.arm.calls.count("PUT") == 2


async def test_the_second_waits_while_arm_works_on_a_first_whose_handler_has_failed_already(world: World) -> None:
    """The handler's status comes seconds before ARM ends the operation, and until then ARM refuses another write."""
    vm = world.add()
    await world.created(vm)
    entry = CATALOGUE[FIRST]
    failing = resource(entry.resource_name, "Creating", publisher=entry.publisher, type=entry.type)
    world.arm.set_extension(vm, failing, "the package could not be installed", "ProvisioningState/failed/52")
    await world.updated(vm)
    assert outcomes_of(world, vm)[SECOND] == (Outcome.WAITING, WaitingFor.OPERATION)
    assert world.arm.calls.count("PUT") == 1
    assert world.arm.conflicts == 0
    await world.finish_install(vm, FIRST, "Failed")
    assert outcomes_of(world, vm)[SECOND] == (Outcome.REQUESTED, WaitingFor.INSTALL)


def _succeeded(extension: str) -> dict[str, Any]:
    entry = CATALOGUE[extension]
    return resource(entry.resource_name, publisher=entry.publisher, type=entry.type)


class _Failing(LedgerInMemory):
    """Fails when a reconcile writes its claim, or its result."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self._at = at
        self.failures = 0

    async def commit(self, machine: Any, version: Any, entries: Any, trigger: Any, **options: Any) -> RowVersions:
        claims = any(not entry.history for entry in entries)
        if self.failures and claims == (self._at == "claim"):
            self.failures -= 1
            raise StorageError("the table could not be reached")
        return await super().commit(machine, version, entries, trigger, **options)
