"""Operator requests: which rows they open again, what they override, and what they do not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.errors import ArmError
from onboarding.domain.reconcile.decision import Act, OperatorRequest
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.world import BIONIC, OMS, POLICY, WORKSPACE_ID, World, extension, vm_id

ELSEWHERE = "00000000-aaaa-bbbb-cccc-000000000000"
CUSTOM = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i"}
REQUEST = OperatorRequest()
WRONG_WORDS = "Install failed with exit code 62"


@pytest.fixture
def world() -> World:
    return World()


def fail(world: World, vm: VmId, words: str = WRONG_WORDS, **properties: Any) -> None:
    broken = extension(state="Failed", **properties)
    world.arm.set_extension(
        vm, broken, words, "ProvisioningState/failed/10" if "multiple" in words else "ProvisioningState/failed/0"
    )


async def test_a_request_is_the_same_two_calls_and_the_same_row(world: World) -> None:
    by_event, by_hand = world.add("event"), world.add("hand")
    await world.created(by_event)
    world.arm.calls.clear()
    rows = await world.requests.handle(by_hand, REQUEST)
    assert world.arm.calls == ["GET", "PUT"]
    different = {"ResourceId", "VmName", "VmId", "EventId", "CorrelationId", "ClientRequestId", "TakenUp"}
    rows_written = [
        {k: v for k, v in row.to_properties().items() if k not in different} for row in (rows[OMS], world.row(by_event))
    ]
    assert rows_written[0] == rows_written[1]
    assert world.arm.bodies[0] == world.arm.bodies[1]


async def test_a_request_and_an_event_at_the_same_time_are_one_install(world: World) -> None:
    vm = world.add()
    await asyncio.gather(world.created(vm), world.requests.handle(vm, REQUEST), world.requests.handle(vm, REQUEST))
    assert world.arm.calls.count("PUT") == 1
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED


async def test_a_failed_row_opens_again(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    fail(world, vm)
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).outcome is Outcome.FAILED
    await world.updated(vm)
    assert world.arm.calls.count("PUT") == 1
    rows = await world.requests.handle(vm, REQUEST)
    assert rows[OMS].outcome is Outcome.REQUESTED
    assert rows[OMS].attempt == 1
    assert "an operator requests it again after: Missing tar program" in rows[OMS].reason
    assert world.arm.bodies[-1]["properties"]["forceUpdateTag"]


async def test_two_people_and_one_failed_row_are_one_install(world: World) -> None:
    vm = world.add()
    fail(world, vm)
    await world.created(vm)
    await asyncio.gather(*(world.requests.handle(vm, REQUEST) for _ in range(4)))
    assert world.arm.calls.count("PUT") == 1


async def test_a_claim_that_is_held_is_not_overtaken(world: World) -> None:
    vm = world.add()
    fail(world, vm)
    await world.requests.handle(vm, REQUEST)
    fail(world, vm)  # ARM does not show the write yet
    world.now += timedelta(seconds=1)
    await world.requests.handle(vm, REQUEST)
    assert world.arm.calls.count("PUT") == 1


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"image": BIONIC}, Outcome.UNSUPPORTED),
        ({"os_type": "Windows"}, Outcome.OUT_OF_SCOPE),
        ({"tags": {"onboarding": "skip"}}, Outcome.OUT_OF_SCOPE),
        ({"os_profile": {"allowExtensionOperations": False}}, Outcome.FAILED),
    ],
)
async def test_force_overrides_nothing_that_is_known(world: World, changes: dict[str, Any], outcome: Outcome) -> None:
    vm = world.add(**changes)
    rows = await world.requests.handle(vm, OperatorRequest(force=True))
    assert rows[OMS].outcome is outcome
    assert rows[OMS].reason
    assert world.arm.calls == ["GET"]


async def test_force_does_not_turn_an_audit_into_an_install() -> None:
    world = World(policies=[{**POLICY, "effect": "auditIfNotExists"}])
    rows = await world.requests.handle(world.add(), OperatorRequest(force=True))
    assert rows[OMS].outcome is Outcome.AUDITED
    assert world.arm.calls == ["GET"]


async def test_force_installs_where_the_os_is_unknown(world: World) -> None:
    vm = world.add(image=CUSTOM)
    assert (await world.requests.handle(vm, REQUEST))[OMS].outcome is Outcome.UNDETERMINED
    world.now += timedelta(seconds=1)
    rows = await world.requests.handle(vm, OperatorRequest(force=True))
    assert rows[OMS].outcome is Outcome.REQUESTED
    assert rows[OMS].verdict == "unknown"
    # The result is recorded like that of any other install, without a word of the person.
    fail(world, vm)
    await world.extension_written(vm, succeeded=False)
    row = world.row(vm)
    assert (row.outcome, row.error_code) == (Outcome.FAILED, "62")


async def test_a_vm_that_is_not_there_leaves_no_row(world: World) -> None:
    with pytest.raises(ArmError, match="404"):
        await world.requests.handle(vm_id("web0l"), REQUEST)
    assert not world.ledger.rows


async def test_a_preview_writes_nothing_and_requests_nothing(world: World) -> None:
    vm = world.add()
    (preview,) = await world.requests.preview(vm, REQUEST)
    assert isinstance(preview.decision, Act)
    assert world.arm.calls == ["GET"]
    assert not world.ledger.log
    assert not world.schedule_queue.checks


async def test_following_a_vm_finds_its_end_without_events(world: World) -> None:
    vm = world.add()
    await world.requests.handle(vm, REQUEST)
    await world.requests.follow(vm)
    written = world.ledger.writes
    world.now += timedelta(seconds=10)
    assert (await world.requests.follow(vm))[OMS].outcome is Outcome.REQUESTED
    assert world.ledger.writes == written
    world.arm.set_extension(vm, extension())
    world.now += timedelta(seconds=10)
    assert (await world.requests.follow(vm))[OMS].outcome is Outcome.INSTALLED
    calls = len(world.arm.calls)
    await world.requests.follow(vm)
    assert len(world.arm.calls) == calls


async def test_a_request_probes_an_open_breaker(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    fail(world, vm, "Enable failed with exit code 53 Installation failed due to incorrect workspace key.")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).waiting_for is WaitingFor.SCOPE_BREAKER
    world.now += timedelta(minutes=1)
    rows = await world.requests.handle(vm, REQUEST)
    assert rows[OMS].outcome is Outcome.REQUESTED


async def test_a_policy_that_is_named_decides_alone_or_not_at_all() -> None:
    second = {**POLICY, "name": "second"}
    world = World(policies=[POLICY, second])
    vm = world.add()
    assert not await world.requests.handle(vm, OperatorRequest(policy="second"))
    rows = await world.requests.handle(vm, OperatorRequest(policy="linux-monitoring"))
    assert rows[OMS].policy == "linux-monitoring"


async def test_a_vm_on_another_workspace_is_shown_with_advice_and_cost(world: World) -> None:
    vm = world.add()
    world.arm.set_extension(vm, extension(settings={"workspaceId": ELSEWHERE}))
    await world.created(vm)
    row = world.row(vm)
    assert row.outcome is Outcome.ALREADY_INSTALLED
    assert row.error_code == "already-connected"
    assert row.error_meaning == "VM is already connected to an OMS workspace"
    assert "billed once for each workspace" in row.advice
    assert "--reconnect" in row.advice
    assert ELSEWHERE in row.reason
    await world.updated(vm)
    assert world.arm.calls.count("PUT") == 0


@pytest.mark.parametrize("by_policy", [True, False])
async def test_a_vm_is_moved_if_policy_or_a_person_wants_it(by_policy: bool) -> None:
    world = World(policies=[{**POLICY, "reconnect": by_policy}])
    vm = world.add()
    world.arm.set_extension(vm, extension("OmsAgentForLinux", settings={"workspaceId": ELSEWHERE}))
    if by_policy:
        await world.created(vm)
    else:
        await world.requests.handle(vm, OperatorRequest(reconnect=True))
    row = world.row(vm)
    assert (row.outcome, row.extension_name) == (Outcome.REQUESTED, "OmsAgentForLinux")
    assert f"moves the VM to this destination: its workspaceId is {ELSEWHERE}" in row.reason
    assert world.arm.bodies[0]["properties"]["settings"] == {
        "workspaceId": WORKSPACE_ID,
        "stopOnMultipleConnections": False,
    }
    here = extension("OmsAgentForLinux", settings={"workspaceId": WORKSPACE_ID, "stopOnMultipleConnections": False})
    world.arm.set_extension(vm, here)
    await world.extension_written(vm, "OmsAgentForLinux")
    assert (world.row(vm).outcome, world.row(vm).advice) == (Outcome.INSTALLED, "")
    await world.updated(vm)
    assert world.arm.calls.count("PUT") == 1


@pytest.mark.parametrize("reconnect", [True, False])
async def test_exit_code_10_gets_advice_or_a_reconnect(reconnect: bool) -> None:
    world = World(policies=[{**POLICY, "reconnect": reconnect}])
    vm = world.add()
    settings = {"workspaceId": WORKSPACE_ID, "stopOnMultipleConnections": True}
    fail(world, vm, "Enable failed due to multiple connections: This machine is already connected", settings=settings)
    await world.created(vm)
    row = world.row(vm)
    if reconnect:
        assert row.outcome is Outcome.REQUESTED
        settings["stopOnMultipleConnections"] = False
        fail(world, vm, "Enable failed due to multiple connections: still", settings=settings)
        await world.extension_written(vm, succeeded=False)
        assert world.row(vm).outcome is Outcome.FAILED
        assert world.arm.calls.count("PUT") == 1
    else:
        assert (row.outcome, row.error_code) == (Outcome.FAILED, "10")
        assert "--reconnect" in row.advice
        assert "billed once for each" in row.advice
