"""Machines that are older than their policy: they are only audited, until the policy or a person says otherwise."""

from __future__ import annotations

import asyncio
from collections import Counter
from copy import replace
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.errors import StorageError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.row_totals import RowKind
from onboarding.domain.resource_id import VmId
from tests.flow.steps import test_azure_monitor as azure_monitor
from tests.flow.world import (
    BIONIC,
    OMS,
    POLICY,
    SECOND,
    SECOND_POLICY,
    START,
    SUBSCRIPTION,
    XENIAL,
    LedgerInMemory,
    World,
    extension,
)
from tests.reference import parse_policy

OLD = START - timedelta(days=400)
HOUR = timedelta(hours=1)
ENFORCE = {**POLICY, "existing": "enforce"}
EXISTING = "existing-machine"
WRITES = ("PUT", "PATCH", "PUT association")


@pytest.fixture
def world() -> World:
    return World()


def add(world: World, name: str = "web01", **changes: Any) -> VmId:
    return world.add(name, created=OLD, **changes)


def writes(world: World) -> list[str]:
    return [call for call in world.arm.calls if call in WRITES]


def outcome(world: World, vm: VmId, extension: str = OMS) -> tuple[Outcome, str, str]:
    row = world.row(vm, extension)
    return row.outcome, row.cause, row.taken_up


AUDITED = (Outcome.AUDITED, EXISTING, "no")


async def count(world: World) -> dict[RowKind, int]:
    return dict(await world.ledger.count())


async def swept(world: World, hours: int = 12) -> None:
    """The sweep runs every hour, and everything that it asks for is done."""
    for _ in range(hours):
        await world.sweep_and_reconcile()
        for key, machine in world.arm.machines.items():
            if any(each["properties"]["provisioningState"] == "Creating" for each in machine.get("resources", [])):
                vm = next(vm for vm in world_vms(world) if vm.key == key)
                await world.installed(vm)
        world.now += HOUR


def world_vms(world: World) -> list[VmId]:
    return [VmId(SUBSCRIPTION, "app-rg", body["name"]) for body in world.arm.machines.values()]


async def test_the_first_start_writes_nothing_to_a_thousand_machines_and_counts_what_enforcing_then_does() -> None:
    world = World()
    images = [XENIAL, XENIAL, BIONIC, {"publisher": "contoso", "offer": "own", "sku": "1"}]
    for number in range(1000):
        vm = add(world, f"vm-{number}", image=images[number % 4])
        if number % 10 == 0:
            world.arm.set_extension(vm, extension())
    await swept(world, 3)
    assert writes(world) == []
    audited = await count(world)
    assert audited[RowKind(POLICY["name"], OMS, Outcome.AUDITED, EXISTING, "")] == 450
    host = world.with_policies([ENFORCE])
    await swept(host, 4)
    enforced = await count(host)
    installed = enforced.pop(RowKind(POLICY["name"], OMS, Outcome.INSTALLED, "", ""))
    assert installed == audited.pop(RowKind(POLICY["name"], OMS, Outcome.AUDITED, EXISTING, "")) == len(writes(world))
    assert enforced == audited


async def test_an_event_of_an_existing_machine_costs_a_read_and_says_what_would_be_done(world: World) -> None:
    vm = add(world)
    await world.updated(vm)
    assert world.arm.calls == ["GET"]
    assert outcome(world, vm) == AUDITED
    assert "would install OmsAgentForLinux;" in world.row(vm).reason
    await world.sweep_and_reconcile()
    assert world.arm.calls == ["GET", "GRAPH"]


@pytest.mark.parametrize(
    ("older", "outcome"), [(HOUR, Outcome.REQUESTED), (HOUR + timedelta(seconds=1), Outcome.AUDITED)]
)
async def test_a_machine_may_be_an_hour_older_than_the_policy(world: World, older: timedelta, outcome: Outcome) -> None:
    vm = world.add(created=START - older)
    await world.sweep.run()  # the policy is first seen now
    world.now += timedelta(days=3)
    await world.updated(vm)
    assert world.row(vm).outcome is outcome


async def test_a_machine_of_an_unknown_age_counts_as_existing(world: World) -> None:
    vm = world.add()
    del world.arm.machines[vm.key]["properties"]["timeCreated"]
    await world.created(vm)
    assert outcome(world, vm) == AUDITED


async def test_a_new_machine_is_new_for_ever_although_no_sweep_ran(world: World) -> None:
    """Its first event has the time stored, so the check that finds it running days later decides by that time."""
    vm = world.add(power="deallocated", created=START)
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.WAITING
    world.now += timedelta(days=4)
    world.add(created=START)
    await world.started(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_new_machine_that_could_not_be_read_for_hours_is_still_new(world: World) -> None:
    vm = world.add(created=START)
    world.arm.read_errors = [Evidence(http_status=503, code="ServiceUnavailable", headers={"retry-after": "86400"})]
    await world.created(vm)
    assert world.row(vm).outcome is Outcome.WAITING
    while world.row(vm).outcome is Outcome.WAITING:
        assert await world.run_next_check()
    assert world.now > START + 5 * HOUR
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_a_persons_command_does_not_say_when_a_policy_was_first_seen(world: World) -> None:
    """Its policy files may be others than those of the function app."""
    vm = add(world, power="deallocated")
    await world.updated(vm)
    world.policy_states.stored.clear()
    person = world.with_policies([POLICY, SECOND_POLICY])
    await person.requests.handle(vm, OperatorRequest(policy=POLICY["name"]))
    await person.requests.follow(vm)
    assert outcome(person, vm, SECOND.name) == AUDITED
    assert world.policy_states.stored == {}


async def test_an_existing_machine_that_is_satisfied_is_already_installed_and_its_drift_is_only_audited(
    world: World,
) -> None:
    vm = add(world)
    world.arm.set_extension(vm, extension())
    await world.updated(vm)
    assert outcome(world, vm) == (Outcome.ALREADY_INSTALLED, "", "no")
    world.arm.machines[vm.key]["resources"] = []
    await world.extension_deleted(vm)
    assert outcome(world, vm) == AUDITED
    assert writes(world) == []


async def test_what_others_install_on_an_audited_machine_is_found_by_the_sweep(world: World) -> None:
    vm = add(world)
    await world.updated(vm)
    world.arm.set_extension(vm, extension("ByHand"))
    world.now += HOUR
    await world.sweep_and_reconcile()
    assert outcome(world, vm) == (Outcome.ALREADY_INSTALLED, "", "no")
    world.now += HOUR
    assert (await world.sweep_and_reconcile()).requested == 0


async def test_a_person_takes_a_machine_up_and_its_drift_is_repaired(world: World) -> None:
    vm, other = add(world), add(world, "other")
    await world.updated(vm)
    await world.updated(other)
    await world.requests.handle(vm, OperatorRequest())
    mark = f"{START.isoformat()} person"
    assert outcome(world, vm) == (Outcome.REQUESTED, "", mark)
    await world.installed(vm)
    for _ in range(2):
        world.arm.machines[vm.key]["resources"] = []
        await world.extension_deleted(vm)
        assert outcome(world, vm) == (Outcome.REQUESTED, "", mark)
        await world.installed(vm)
        world.now += timedelta(days=8)
    assert outcome(world, vm) == (Outcome.INSTALLED, "", mark)
    assert outcome(world, other) == AUDITED


async def test_a_person_who_takes_up_a_satisfied_machine_has_it_kept(world: World) -> None:
    vm = add(world)
    world.arm.set_extension(vm, extension())
    await world.updated(vm)
    await world.requests.handle(vm, OperatorRequest())
    assert world.row(vm).taken_up == f"{START.isoformat()} person"
    world.arm.machines[vm.key]["resources"] = []
    await world.extension_deleted(vm)
    assert world.row(vm).outcome is Outcome.REQUESTED


async def test_what_a_person_asks_for_one_policy_takes_up_nothing_of_another() -> None:
    world = World([POLICY, SECOND_POLICY])
    vm = add(world)
    await world.updated(vm)
    await world.requests.handle(vm, OperatorRequest(policy=POLICY["name"]))
    await world.installed(vm)
    await world.updated(vm)
    assert world.row(vm).outcome is Outcome.INSTALLED
    assert outcome(world, vm, SECOND.name) == AUDITED


async def test_following_a_machine_takes_nothing_up(world: World) -> None:
    vm = add(world)
    await world.updated(vm)
    await world.requests.follow(vm)
    (previewed,) = await world.requests.preview(vm, OperatorRequest())
    assert type(previewed.decision).__name__ == "Act"
    assert outcome(world, vm) == AUDITED


async def test_another_machine_of_the_same_name_starts_without_being_taken_up(world: World) -> None:
    vm = add(world)
    await world.requests.handle(vm, OperatorRequest())
    await world.installed(vm)
    add(world, vm_id="another")
    await world.updated(vm)
    assert outcome(world, vm) == AUDITED


@pytest.mark.parametrize("before", [Outcome.INSTALLED, Outcome.FAILED, Outcome.UNSUPPORTED, Outcome.OUT_OF_SCOPE])
async def test_rows_of_the_version_before_count_as_taken_up_except_those_out_of_scope(
    world: World, before: Outcome
) -> None:
    vm = add(world)
    await world.updated(vm)
    stored = world.ledger.rows[(vm.key, OMS)]
    row = replace(stored.row, outcome=before, taken_up="", policy_hash="", error_code="", cause="")
    world.ledger.rows[(vm.key, OMS)] = replace(stored, row=row)
    await world.updated(vm)
    if before is Outcome.OUT_OF_SCOPE:
        assert outcome(world, vm) == AUDITED
    else:
        assert outcome(world, vm) == (Outcome.REQUESTED, "", f"{START.isoformat()} version-before")


async def test_a_wider_scope_touches_no_older_machine(world: World) -> None:
    narrow = {**POLICY, "rule": {"field": "name", "equals": "new-1"}}
    world = World([narrow])
    first = world.add("new-1", created=START)
    await world.created(first)
    await world.installed(first)
    left_out = world.add("new-2", created=START)
    await world.created(left_out)
    assert world.row(left_out).outcome is Outcome.OUT_OF_SCOPE
    wide = world.with_policies([POLICY])
    wide.now = START + timedelta(days=1)
    await swept(wide, 3)
    assert world.row(first).outcome is Outcome.INSTALLED
    assert outcome(wide, left_out) == AUDITED
    new = wide.add("new-3", created=wide.now)
    await wide.created(new)
    assert wide.row(new).outcome is Outcome.REQUESTED
    assert world.arm.calls.count("PUT") == 2


async def test_a_policy_that_only_audited_touches_no_machine_once_it_installs() -> None:
    audits = World([{**POLICY, "effect": "auditIfNotExists"}])
    vm = add(audits)
    await audits.updated(vm)
    installs = audits.with_policies([POLICY])
    installs.now += timedelta(days=1)
    await swept(installs, 3)
    assert outcome(installs, vm) == AUDITED
    assert writes(installs) == []


async def test_two_hosts_agree_on_when_a_policy_was_first_seen(world: World) -> None:
    """Neither has seen a sweep. Whoever writes second takes over the time of the first."""
    host = world.with_policies([POLICY])
    host.now = START + timedelta(minutes=5)
    vms = [add(world, "one"), add(world, "two")]
    await asyncio.gather(world.updated(vms[0]), host.updated(vms[1]))
    (state,) = world.policy_states.stored.values()
    (seen,) = state.first_seen.values()
    assert seen in (world.now, host.now)
    assert all(f"first seen {seen:%Y-%m-%d %H:%M}" in world.row(vm).reason for vm in vms)
    world.now += HOUR
    await world.sweep.run()
    assert world.policy_states.stored[POLICY["name"]].first_seen == state.first_seen


async def test_a_sweep_that_runs_at_the_same_time_does_not_move_it(world: World) -> None:
    sweeping = world.with_policies([POLICY])
    sweeping.now = START + timedelta(minutes=5)
    vm = add(world)
    await asyncio.gather(world.updated(vm), sweeping.sweep.run())
    (state,) = world.policy_states.stored.values()
    assert f"first seen {state.first_seen[_selection()]:%Y-%m-%d %H:%M}" in world.row(vm).reason


def _selection() -> str:
    return parse_policy(POLICY, "p.yaml", compile_rule).selection_digest


async def test_the_time_costs_one_read_and_one_write_for_each_process_and_nothing_where_it_is_not_needed() -> None:
    world = World()
    for number in range(3):
        await world.created(world.add(f"new-{number}", created=START))
        await world.updated(add(world, f"old-{number}"))
        assert world.policy_states.trips == 2, "the policy is read and written once"
    host = world.with_policies([POLICY])
    for number in range(3):
        await host.updated(add(host, f"more-{number}"))
        assert world.policy_states.trips == 3, "another process reads it once"
    enforcing = world.with_policies([ENFORCE])
    await enforcing.updated(add(enforcing, "enforced"))
    assert enforcing.row(VmId(SUBSCRIPTION, "app-rg", "enforced")).outcome is Outcome.REQUESTED
    assert world.policy_states.trips == 3, "a policy that enforces asks for nothing"


class CountedLedger(LedgerInMemory):
    """Counts what a pass waits for: breakers are read beside the rows, and the check is scheduled beside a write."""

    trips = 0

    async def read(self, *args: Any, **options: Any) -> Any:
        self.trips += 1
        return await super().read(*args, **options)

    async def commit(self, *args: Any, **options: Any) -> Any:
        self.trips += 1
        return await super().commit(*args, **options)


async def test_a_new_machine_takes_two_trips_to_storage_before_the_request_and_one_after_it() -> None:
    """The first one of a process takes two more after the request, by which the policies are known."""
    ledger = CountedLedger()
    world = World(ledger=ledger)
    at_put: list[int] = []

    async def note() -> None:
        at_put.append(ledger.trips + world.policy_states.trips)

    world.arm.after_put = note
    for number in range(3):
        before = ledger.trips + world.policy_states.trips
        await world.created(world.add(f"new-{number}", created=START))
        assert at_put[-1] - before == 2
        assert ledger.trips + world.policy_states.trips - before == (3 if number else 5)


async def test_a_table_that_does_not_answer_keeps_an_old_machine_waiting_and_no_new_one() -> None:
    class Unreadable(type(World().policy_states)):  # type: ignore[misc]
        async def read_all(self) -> Any:
            raise StorageError("the table could not be reached")

    world = World(policy_states=Unreadable())
    with pytest.raises(StorageError):
        await world.updated(add(world, "old"))
    assert writes(world) == []
    new = world.add("new", created=START)
    await world.created(new)
    assert world.row(new).outcome is Outcome.REQUESTED


async def test_a_host_adds_its_time_to_the_row_of_the_version_before_and_leaves_the_hash_to_the_sweep(
    world: World,
) -> None:
    before = PolicyState(POLICY["name"], "another", START - HOUR)
    world.policy_states.stored = {before.policy: before}
    await world.updated(add(world))
    assert world.policy_states.stored == {before.policy: replace(before, first_seen={_selection(): START})}


async def test_an_identity_that_an_existing_machine_is_not_to_get_is_in_no_request_of_another_policy() -> None:
    spares = {**azure_monitor.POLICY, "identity": {"use": "added", "add": azure_monitor.OURS}}
    enforces = {"name": "second", "extension": SECOND.name, "existing": "enforce", "identity": {"add": "system"}}
    world = World([spares, enforces], app_settings=azure_monitor.SETTINGS)
    vm = azure_monitor.add(world, age=timedelta(days=30))
    await world.created(vm)
    assert world.arm.patches == [{"identity": {"type": "SystemAssigned"}}]
    assert (azure_monitor.row_of(world, vm).outcome, world.row(vm, SECOND.name).outcome) == (
        Outcome.AUDITED,
        Outcome.REQUESTED,
    )


@pytest.mark.parametrize("equipped", ["nothing", "agent", "agent and identity", "everything"])
async def test_no_step_of_an_existing_machine_is_done(equipped: str) -> None:
    world = azure_monitor.world_of()
    identity = azure_monitor.SYSTEM if "identity" in equipped or equipped == "everything" else None
    vm = azure_monitor.add(world, identity, age=timedelta(days=30))
    if equipped != "nothing":
        rules = () if equipped == "everything" else (azure_monitor.SECOND_RULE,)
        azure_monitor.equip(world, vm, *rules)
    await world.created(vm)
    row = azure_monitor.row_of(world, vm)
    assert world.arm.calls == ["GET", "LIST associations"]
    if equipped == "everything":
        assert row.outcome is Outcome.ALREADY_INSTALLED
        return
    assert (row.outcome, row.cause, row.taken_up) == AUDITED
    missing = {"identity": identity is None, "association linux": True, "extension": equipped == "nothing"}
    states = {step: "wanted" if wanted else "done" for step, wanted in missing.items()}
    assert azure_monitor.states_of(world, vm) == states
    world.now += HOUR
    for _ in range(2):
        await world.sweep_and_reconcile()
        world.now += HOUR
    assert writes(world) == []
    assert Counter(world.arm.calls)["GET"] == 1, "the sweep finds nothing new"
