"""Problems of a whole scope: one proof opens the breaker, its VMs wait without calls to ARM, a successful probe closes
it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.limits.circuit_breakers import CircuitBreakers
from onboarding.application.ports import MachineRows, StoredBreaker
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.flow.steps.test_azure_monitor import AMA, RULE, add
from tests.flow.steps.test_azure_monitor import POLICY as MONITOR
from tests.flow.world import (
    OMS,
    POLICY,
    SECOND_POLICY,
    SHAPES,
    SUBSCRIPTION,
    BreakersInMemory,
    LedgerInMemory,
    World,
    extension,
    vm_body,
    vm_id,
)

SECOND = SECOND_POLICY["extension"]

NOT_AUTHORIZED = Evidence(
    http_status=403,
    code="AuthorizationFailed",
    message="The client 'a' with object id 'b' does not have authorization to perform action "
    "'Microsoft.Compute/virtualMachines/extensions/write' over scope '/subscriptions/s' or the scope is invalid.",
)
WRONG_KEY = "Enable failed with exit code 53 InvalidWorkspaceKey: the workspace key was refused (403)"


@pytest.fixture
def world() -> World:
    return World()


async def open_breaker(world: World) -> VmId:
    vm = world.add("first")
    world.arm.install_errors = [NOT_AUTHORIZED]
    await world.created(vm)
    return vm


async def test_the_first_proof_opens_the_breaker_and_names_the_fix(world: World) -> None:
    vm = await open_breaker(world)
    (stored,) = world.breakers.stored.values()
    assert (stored.breaker.resource_group, stored.breaker.cause) == ("app-rg", "not-authorized")
    assert "VM Onboarding Machines" in stored.breaker.advice
    row = world.row(vm)
    assert (row.outcome, row.waiting_for, row.attempt) == (Outcome.WAITING, WaitingFor.SCOPE_BREAKER, 0)


async def test_the_other_vms_wait_and_ask_for_nothing(world: World) -> None:
    await open_breaker(world)
    for name in ("second", "third"):
        await world.created(world.add(name))
        assert world.row(world.add(name)).waiting_for is WaitingFor.SCOPE_BREAKER
    assert world.arm.calls.count("PUT") == 1


async def test_many_new_vms_at_once_read_the_breakers_once(world: World) -> None:
    await asyncio.gather(*(world.created(world.add(f"web{number}")) for number in range(8)))
    assert world.arm.calls.count("PUT") == 8
    assert world.breakers.reads == 2, "those of the subscription, and those of every subscription"


async def test_the_breakers_are_read_concurrently_with_the_row_of_a_new_vm() -> None:
    both = asyncio.Barrier(3)  # the row, the breakers of the subscription, those of every subscription

    class BlockingBreakers(BreakersInMemory):
        async def read(self, subscription: str) -> tuple[StoredBreaker, ...]:
            await both.wait()
            return await super().read(subscription)

    class BlockingLedger(LedgerInMemory):
        async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
            await both.wait()
            return await super().read(vm, new=new)

    world = World(ledger=BlockingLedger(), breakers=BlockingBreakers())
    async with asyncio.timeout(5):
        await world.created(world.add())
    assert world.arm.calls == ["GET", "PUT"]


async def test_a_vm_that_needs_nothing_is_not_held_up(world: World) -> None:
    await open_breaker(world)
    vm = world.add("windows", os_type="Windows")
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.OUT_OF_SCOPE


async def test_a_scheduled_check_behind_an_open_breaker_makes_no_call(world: World) -> None:
    await open_breaker(world)
    vm = world.add("second")
    await world.created(vm)
    calls = list(world.arm.calls)
    check = world.schedule_queue.checks[-1]
    (key,) = world.breakers.stored
    world.now = check.due
    stored = world.breakers.stored[key]
    world.breakers.stored[key] = type(stored)(stored.breaker.probed(vm_id("first"), world.now), "v9")
    await world.dispatcher.check(check)
    assert world.arm.calls == calls
    assert world.row(vm).waiting_for is WaitingFor.SCOPE_BREAKER
    assert world.row(vm).next_attempt_at == world.now + timedelta(days=1)


async def test_a_probe_that_arm_accepts_closes_the_breaker(world: World) -> None:
    vm = await open_breaker(world)
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED
    assert not world.breakers.stored
    other = world.add("second")
    await world.created(other)
    assert world.row(other).outcome is Outcome.REQUESTED


async def test_a_probe_that_is_refused_leaves_the_breaker_open(world: World) -> None:
    vm = await open_breaker(world)
    world.arm.install_errors = [NOT_AUTHORIZED]
    await world.run_latest_check()
    (stored,) = world.breakers.stored.values()
    assert stored.breaker.probes == 1
    assert world.row(vm).waiting_for is WaitingFor.SCOPE_BREAKER
    assert world.arm.calls.count("PUT") == 2


async def test_only_one_vm_probes_at_a_time(world: World) -> None:
    await open_breaker(world)
    for name in ("second", "third", "fourth"):
        await world.created(world.add(name))
    world.arm.install_errors = [NOT_AUTHORIZED] * 9
    world.now += timedelta(minutes=10)
    for check in list(world.schedule_queue.checks):
        await world.dispatcher.check(check)
    assert world.arm.calls.count("PUT") == 2


async def test_refused_reads_open_the_breaker_too(world: World) -> None:
    vm = world.add()
    world.arm.read_errors = [NOT_AUTHORIZED]
    await world.created(vm)
    assert world.row(vm).waiting_for is WaitingFor.SCOPE_BREAKER
    assert world.breakers.stored
    await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_wrong_key_is_proved_by_the_handler_and_probed_by_a_new_request(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    world.arm.set_extension(vm, extension(state="Failed"), WRONG_KEY, "ProvisioningState/failed/53")
    await world.extension_written(vm, succeeded=False)
    assert world.row(vm).waiting_for is WaitingFor.SCOPE_BREAKER
    (stored,) = world.breakers.stored.values()
    assert stored.breaker.resource_group.startswith("="), "the settings are at fault, not the place"
    await world.run_latest_check()
    assert world.arm.calls.count("PUT") == 2
    assert world.breakers.stored, "an accepted request does not prove a key"
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert not world.breakers.stored


async def test_a_scope_that_nobody_fixes_is_given_up_after_a_week(world: World) -> None:
    vm = await open_breaker(world)
    world.arm.install_errors = [NOT_AUTHORIZED] * 5000
    while not world.row(vm).outcome.final:
        await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.FAILED
    assert world.row(vm).error_code in ("AuthorizationFailed", "not-authorized")


async def test_a_wrong_key_that_nobody_fixes_is_given_up(world: World) -> None:
    vm = world.add()
    await world.created(vm)
    while not world.row(vm).outcome.final:
        world.arm.set_extension(vm, extension(state="Failed"), WRONG_KEY, "ProvisioningState/failed/53")
        await world.run_latest_check()
    assert world.row(vm).outcome is Outcome.FAILED
    assert world.arm.calls.count("PUT") == 50


async def test_refused_settings_do_not_stop_vms_with_other_settings() -> None:
    """Two workspaces for one extension: a wrong one stops only its own VMs."""
    bad = {"workspaceId": "00000000-0000-4000-8000-000000000bad"}
    world = World(
        policies=[
            {**POLICY, "name": "bad", "rule": {"field": "tags['site']", "equals": "bad"}, "settings": bad},
            {**POLICY, "name": "good"},
        ]
    )
    wrong = world.add("wrong", tags={"site": "bad"})
    await world.created(wrong)
    world.arm.set_extension(wrong, extension(state="Failed"), WRONG_KEY, "ProvisioningState/failed/53")
    await world.extension_written(wrong, succeeded=False)
    assert world.row(wrong).waiting_for is WaitingFor.SCOPE_BREAKER
    right, alike = world.add("right"), world.add("alike", tags={"site": "bad"})
    await world.created(right)
    await world.created(alike)
    assert world.row(right).outcome is Outcome.REQUESTED
    assert world.row(alike).waiting_for is WaitingFor.SCOPE_BREAKER
    world.now += timedelta(minutes=2)
    await world.installed(right)
    assert world.row(right).outcome is Outcome.INSTALLED
    assert len(world.breakers.stored) == 1


def linked_refusal(resource: str) -> Evidence:
    return Evidence(
        http_status=403,
        code="LinkedAuthorizationFailed",
        message="The client 'a' with object id 'b' has permission to perform action 'Microsoft.Compute/virtualMachines/"
        f"extensions/write' on scope '{vm_id()}/extensions/InventoryAgent'; however, it does not have permission to "
        f"perform action(s) 'Microsoft.KeyVault/vaults/read' on the linked scope(s) '{resource}' (respectively) or the "
        "linked scope(s) are invalid.",
    )


def in_subscription(world: World, subscription: str, name: str, **changes: Any) -> VmId:
    vm = VmId(subscription, "app-rg", name)
    world.arm.machines[vm.key] = {**vm_body(name, **changes), "id": str(vm)}
    return vm


VAULT = (
    "/subscriptions/00000000-0000-4000-8000-0000000000cc/resourceGroups/Keys/providers/Microsoft.KeyVault/vaults/fleet"
)
OTHER_SUBSCRIPTION = "00000000-0000-4000-8000-0000000000dd"


def of_two_vaults() -> World:
    """A policy that gives machines with the tag site=other another vault, whose name begins with that of the first."""
    base = {**SECOND_POLICY, "rule": POLICY["rule"]}
    other = {**base, "name": "elsewhere", "rule": {"field": "tags['site']", "equals": "other"}}
    return World(policies=[{**other, "settings": {"vaultId": f"{VAULT}-2"}}, {**base, "settings": {"vaultId": VAULT}}])


@pytest.mark.parametrize(
    "refusal",
    [
        linked_refusal(VAULT),
        linked_refusal(f"{vm_id()}/x,{VAULT.upper()}"),
        Evidence(
            http_status=403,
            code="LinkedAuthorizationFailed",
            message=f"The client has permission to perform action 'x' on scope '{vm_id()}', however the current tenant "
            "'t' is not authorized to access linked subscription '00000000-0000-4000-8000-0000000000cc'.",
        ),
    ],
    ids=["named", "among others", "its subscription"],
)
async def test_a_refused_linked_resource_stops_all_vms_that_use_it_in_every_subscription(refusal: Evidence) -> None:
    world = of_two_vaults()
    first, far = world.add("first"), in_subscription(world, OTHER_SUBSCRIPTION, "far")
    world.arm.install_errors = [refusal]
    await world.created(first)
    await world.created(far)
    assert [world.row(vm, SECOND).waiting_for for vm in (first, far)] == [WaitingFor.SCOPE_BREAKER] * 2
    assert world.arm.calls.count("PUT") == 1
    assert "in every subscription" in world.row(far, SECOND).reason

    await world.run_latest_check()  # one of them probes, and the role was granted
    assert not world.breakers.stored
    assert world.arm.calls.count("PUT") == 2


async def test_vms_that_use_another_resource_are_not_stopped() -> None:
    world = of_two_vaults()
    world.arm.install_errors = [linked_refusal(VAULT)]
    await world.created(world.add("first"))
    elsewhere = world.add("elsewhere", tags={"site": "other"})
    await world.created(elsewhere)
    assert world.row(elsewhere, SECOND).outcome is Outcome.REQUESTED


@pytest.mark.parametrize(
    "resource", [f"{VAULT}-2", f"{VAULT}/secrets/x", f"{vm_id()}/identities/x", OTHER_SUBSCRIPTION]
)
async def test_a_refused_link_of_the_machine_itself_stops_only_its_resource_group(resource: str) -> None:
    """The refusal names a resource that is not in our settings, so it does not concern other VMs."""
    world = of_two_vaults()
    world.arm.install_errors = [linked_refusal(resource)]
    await world.created(world.add("first"))
    far = in_subscription(world, OTHER_SUBSCRIPTION, "far")
    await world.created(far)
    assert world.row(far, SECOND).outcome is Outcome.REQUESTED
    (stored,) = world.breakers.stored.values()
    assert (stored.breaker.subscription, stored.breaker.resource_group) == (SUBSCRIPTION, "app-rg")


async def test_the_success_of_an_older_request_does_not_close_the_breaker(world: World) -> None:
    under_way = world.add("under-way")
    await world.created(under_way)
    world.now += timedelta(minutes=1)
    await open_breaker(world)
    world.now += timedelta(minutes=1)
    await world.installed(under_way)
    assert world.row(under_way).outcome is Outcome.INSTALLED
    assert len(world.breakers.stored) == 1
    await world.created(world.add("second"))
    assert world.arm.calls.count("PUT") == 2


async def test_a_problem_that_returns_is_not_ended_by_an_older_request(world: World) -> None:
    vm = await open_breaker(world)
    await world.run_latest_check()  # the probe: ARM accepts its request, and the breaker closes
    assert not world.breakers.stored
    world.now += timedelta(minutes=1)
    world.arm.install_errors = [NOT_AUTHORIZED]
    await world.created(world.add("other"))
    assert len(world.breakers.stored) == 1
    await world.installed(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert len(world.breakers.stored) == 1


async def test_the_memory_of_subscriptions_is_bounded(world: World) -> None:
    vms = [VmId(f"00000000-0000-4000-8000-{number:012}", "app-rg", "web") for number in range(2000)]
    store = CircuitBreakers(world.breakers)
    for vm in vms:
        assert await store.find_open(vm, OMS, "", world.now) is None
    kept = [value for value in vars(store).values() if isinstance(value, dict)]
    assert max(map(len, kept)) <= 1024


@pytest.mark.parametrize("at", ["read", "request"])
async def test_a_week_behind_an_open_breaker_writes_little_history_with_two_policies_too(at: str) -> None:
    world = World(policies=SHAPES["two policies"])
    vm = world.add()
    (world.arm.read_errors if at == "read" else world.arm.install_errors).extend([NOT_AUTHORIZED] * 9000)
    began = world.now
    await world.created(vm)
    while not all(world.row(vm, each).outcome.final for each in world.extensions):
        await world.advance(vm)
    assert world.now - began < timedelta(days=7, hours=2)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.FAILED}
    assert len(world.ledger.log) <= 8
    assert len(world.arm.calls) <= 2 * 24 * 7 * 2 + 20, (
        "a probe an hour for each of both, which is a read and a request"
    )


RETIRE = {"name": "retire-oms", "effect": "removeIfExists", "extension": OMS, "existing": "enforce"}


@pytest.mark.parametrize(("step", "extension_name"), [("removal", OMS), ("identity", AMA)])
async def test_the_sweep_requests_a_step_again_only_after_its_breaker_has_closed(
    step: str, extension_name: str
) -> None:
    world = World([RETIRE if step == "removal" else MONITOR], app_settings={"DATA_COLLECTION_RULE_ID": RULE})
    refusals = world.arm.removal_errors if step == "removal" else world.arm.patch_errors
    refusals.append(NOT_AUTHORIZED)
    for name in ("web01", "web02"):
        vm = add(world, name=name)
        world.arm.set_extension(vm, extension())
        await world.created(vm)
        row = world.row(vm, extension_name)
        assert (row.waiting_for, row.step) == (WaitingFor.SCOPE_BREAKER, step)
    world.now += timedelta(minutes=30)
    await world.sweep.run()
    assert world.schedule_queue.reconcile_requests == []
    world.breakers.stored.clear()
    world.now += timedelta(hours=1)
    await world.sweep.run()
    assert len(world.schedule_queue.reconcile_requests) == 2
