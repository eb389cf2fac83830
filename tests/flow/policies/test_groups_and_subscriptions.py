"""Rules that need the resource group or the subscription of a VM: these are read once an hour, and never guessed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.readers.container_reader import ContainerReader
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.policy.policy import PolicySet
from onboarding.domain.policy.rule import compile_rule
from onboarding.domain.reconcile.decision import OperatorRequest
from onboarding.domain.reconcile.row import Outcome, WaitingFor
from tests.flow.world import OMS, POLICY, SECOND, SUBSCRIPTION, WORKSPACE_ID, World, extension, vm_body
from tests.reference import parse_policy

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/app-rg"
WHOLE = f"/subscriptions/{SUBSCRIPTION}"
NOT_LAB = {"value": "[resourceGroup().tags.env]", "notEquals": "lab"}
NO_SANDBOX = {"value": "[subscription().displayName]", "notLike": "*sandbox*"}
POLICIES = PolicySet((parse_policy({**POLICY, "rule": NOT_LAB}, "p.yaml", compile_rule),))
LAB = "00000000-0000-4000-8000-000000000001"
FORBIDDEN = Evidence(http_status=403, code="AuthorizationFailed", message="does not have authorization")
TOO_MANY = Evidence(http_status=429, code="SubscriptionRequestsThrottled", headers={"retry-after": "17"})
BROKEN = Evidence(http_status=500, code="InternalServerError")
SILENT = Evidence(code="TimeoutError", message="no answer")
GROUP_GONE = Evidence(http_status=404, code="ResourceGroupNotFound", message="The group was not found.")


def world(rule: Mapping[str, Any] = NOT_LAB, **policy: Any) -> World:
    return World(policies=[{**POLICY, "rule": rule, **policy}])


def group(world: World, **properties: Any) -> None:
    body = {"id": GROUP, "name": "app-rg", "type": "Microsoft.Resources/resourceGroups", "location": "westeurope"}
    world.arm.scopes[GROUP] = {**body, **properties}


def subscription(world: World, name: str, **properties: Any) -> None:
    world.arm.scopes[WHOLE] = {"id": WHOLE, "subscriptionId": SUBSCRIPTION, "displayName": name, **properties}


@pytest.mark.parametrize(
    ("tags", "outcome"),
    [
        ({"env": "prod"}, Outcome.REQUESTED),
        ({"other": "x"}, Outcome.REQUESTED),  # the group was read, and has no such tag
        ({}, Outcome.REQUESTED),
        (None, Outcome.REQUESTED),
        ({"Env": "LAB"}, Outcome.OUT_OF_SCOPE),
    ],
)
async def test_the_tags_of_the_group_decide(tags: Any, outcome: Outcome) -> None:
    it = world()
    group(it, tags=tags)
    vm = it.add()
    await it.created(vm)
    assert it.row(vm).outcome is outcome
    assert it.arm.calls == ["GET", "SCOPE", *(["PUT"] if outcome is Outcome.REQUESTED else [])]


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (NO_SANDBOX, Outcome.OUT_OF_SCOPE),
        ({"not": {"value": "[subscription().tags.stage]", "equals": "prod"}}, Outcome.OUT_OF_SCOPE),
        ({"value": "[resourceGroup().location]", "notIn": ["westeurope"]}, Outcome.OUT_OF_SCOPE),
        ({"field": "location", "equals": "[resourceGroup().location]"}, Outcome.REQUESTED),
        ({"value": "[resourceGroup().managedBy]", "exists": False}, Outcome.REQUESTED),
        ({"allOf": [NO_SANDBOX, NOT_LAB]}, Outcome.OUT_OF_SCOPE),
        ({"not": {"anyOf": [NO_SANDBOX, NOT_LAB]}}, Outcome.REQUESTED),
    ],
)
async def test_only_the_scopes_that_the_rule_needs_are_read(rule: Any, outcome: Outcome) -> None:
    it = world(rule)
    group(it, tags={"env": "lab"})
    subscription(it, "A Sandbox of ours", tags={"stage": "prod"})
    vm = it.add()
    await it.created(vm)
    assert it.row(vm).outcome is outcome
    assert it.arm.calls.count("SCOPE") <= 2


async def test_no_scope_is_read_where_another_part_of_the_rule_decides() -> None:
    for rule in (
        {"anyOf": [NOT_LAB, {"field": "location", "equals": "westeurope"}]},
        {"allOf": [{"field": "location", "equals": "westeurope"}, {"value": "[resourceGroup().name]", "like": "app*"}]},
    ):
        it = world(rule)
        vm = it.add()
        await it.created(vm)
        assert (it.row(vm).outcome, it.arm.calls) == (Outcome.REQUESTED, ["GET", "PUT"])
    it = world({"allOf": [NOT_LAB, {"field": "location", "equals": "eastus"}]})
    await it.created(it.add())
    assert it.arm.calls == ["GET"]


async def test_a_group_is_read_once_an_hour_however_many_ask_at_once() -> None:
    it = world()
    group(it)
    await asyncio.gather(*(it.created(it.add(f"vm{number}")) for number in range(20)))
    assert it.arm.calls.count("SCOPE") == 1
    it.now += timedelta(minutes=59)
    await it.created(it.add("later"))
    assert it.arm.calls.count("SCOPE") == 1
    it.now += timedelta(minutes=2)
    group(it, tags={"env": "lab"})
    vm = it.add("much-later")
    await it.created(vm)
    assert (it.row(vm).outcome, it.arm.calls.count("SCOPE")) == (Outcome.OUT_OF_SCOPE, 2)


@pytest.mark.parametrize(
    ("error", "waiting_for"),
    [
        (TOO_MANY, WaitingFor.THROTTLING),
        (BROKEN, WaitingFor.PLATFORM),
        (SILENT, WaitingFor.PLATFORM),
        (GROUP_GONE, WaitingFor.PLATFORM),
    ],
)
async def test_a_transient_problem_is_waited_out(error: Evidence, waiting_for: WaitingFor) -> None:
    it = world()
    group(it)
    vm = it.add()
    it.arm.scope_errors = [error]
    await it.updated(vm)  # also where no event said that the VM is new
    row = it.row(vm)
    assert (row.outcome, row.waiting_for) == (Outcome.WAITING, waiting_for)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at > it.now
    assert "PUT" not in it.arm.calls
    await it.run_latest_check()
    assert it.row(vm).outcome is Outcome.REQUESTED


@pytest.mark.parametrize(
    ("rule", "right", "scope"),
    [
        (NOT_LAB, "Microsoft.Resources/subscriptions/resourceGroups/read", f"{WHOLE}/resourceGroups/app-rg"),
        (NO_SANDBOX, "Microsoft.Resources/subscriptions/read", WHOLE),
    ],
)
async def test_a_missing_right_leaves_it_undetermined_with_advice(rule: Any, right: str, scope: str) -> None:
    it = world(rule)
    it.arm.scope_errors = [FORBIDDEN] * 9
    first, second = it.add("vm1"), it.add("vm2")
    await it.created(first)
    await it.created(second)
    row = it.row(second)
    assert (row.outcome, row.error_code) == (Outcome.UNDETERMINED, "AuthorizationFailed")
    assert "the rule of policy linux-monitoring cannot be decided" in row.reason
    assert f"{right} is missing" in row.reason
    assert f"Give the identity the right {right} on {scope}" in row.advice
    assert it.arm.calls == ["GET", "SCOPE", "GET"]  # the next one sends no request for some minutes
    assert it.breakers.writes == 0  # no breaker opens: only a read of the group was refused
    it.arm.scope_errors.clear()
    group(it)
    subscription(it, "prod")
    it.now += timedelta(minutes=6)
    await it.updated(second)
    assert it.row(second).outcome is Outcome.REQUESTED


@pytest.mark.parametrize(
    "expression",
    ["policy().assignmentId", "policy().definitionId", "requestContext().identity.appid", "resourceGroup().nothing"],
)
@pytest.mark.parametrize("operator", ["notContains", "notEquals", "notLike", "equals"])
async def test_a_scope_that_cannot_be_read_leaves_the_vm_undetermined(expression: str, operator: str) -> None:
    it = world({"value": f"[{expression}]", operator: "lab"})
    group(it)
    vm = it.add()
    await it.created(vm)
    row = it.row(vm)
    assert row.outcome is Outcome.UNDETERMINED
    assert row.reason.endswith(f"{'.'.join(expression.split('.')[:2])} is not known")
    assert "PUT" not in it.arm.calls


async def test_a_later_policy_does_not_decide_in_place_of_an_undetermined_one() -> None:
    later = {**POLICY, "name": "z-everything", "rule": {"field": "location", "exists": True}}
    it = World(policies=[{**POLICY, "rule": {"value": "[policy().assignmentId]", "contains": "x"}}, later])
    vm = it.add()
    await it.created(vm)
    assert it.row(vm).outcome is Outcome.UNDETERMINED
    it = World(policies=[later, {**POLICY, "rule": NOT_LAB}])
    await it.created(it.add())
    assert it.arm.calls == ["GET", "PUT"]


async def test_one_extension_waits_for_the_group_and_the_other_does_not() -> None:
    it = World(policies=[{**POLICY, "rule": NOT_LAB}, {"name": "inventory", "extension": SECOND.name}])
    it.arm.scope_errors = [BROKEN]
    vm = it.add()
    await it.created(vm)
    assert it.row(vm, OMS).outcome is Outcome.WAITING
    assert it.row(vm, SECOND.name).outcome is Outcome.REQUESTED


async def test_a_vm_of_the_other_system_needs_no_group() -> None:
    it = world({"value": "[policy().assignmentId]", "notEquals": "x"})
    vm = it.add(os_type="Windows")
    await it.created(vm)
    assert it.row(vm).outcome is Outcome.OUT_OF_SCOPE


async def test_the_workspace_is_not_guessed() -> None:
    spaces = [
        {
            "name": "lab",
            "when": {"value": "[resourceGroup().tags.env]", "equals": "lab"},
            "settings": {"workspaceId": LAB},
        },
        {"name": "rest", "settings": {"workspaceId": WORKSPACE_ID}},
    ]
    it = world({"field": "location", "exists": True}, workspaces=spaces)
    it.arm.scope_errors = [FORBIDDEN]
    vm = it.add()
    await it.created(vm)
    assert it.row(vm).outcome is Outcome.UNDETERMINED
    assert "the choice of workspaces of policy linux-monitoring cannot be decided" in it.row(vm).reason
    it = world({"field": "location", "exists": True}, workspaces=spaces)
    group(it, tags={"env": "lab"})
    await it.created(it.add())
    assert it.arm.bodies[0]["properties"]["settings"]["workspaceId"] == LAB


async def test_an_extension_is_not_rewritten_on_a_guess() -> None:
    condition = {"value": "[resourceGroup().tags.env]", "equals": "prod"}
    for tags, calls in (({"env": "prod"}, ["GET", "SCOPE"]), (None, ["GET", "SCOPE", "PUT"])):
        it = world({"field": "location", "exists": True}, existenceCondition=condition)
        group(it, tags=tags)
        vm = it.add()
        it.arm.set_extension(vm, extension())
        await it.created(vm)
        assert it.arm.calls == calls
    it = world({"field": "location", "exists": True}, existenceCondition=condition)
    it.arm.scope_errors = [FORBIDDEN]
    vm = it.add()
    it.arm.set_extension(vm, extension())
    await it.created(vm)
    assert it.row(vm).outcome is Outcome.UNDETERMINED
    assert it.arm.calls == ["GET", "SCOPE"]


async def test_the_sweep_reads_a_group_once_and_reconciles_only_selected_vms() -> None:
    it = world()
    group(it, tags={"env": "lab"})
    vms = [it.add(f"vm{number}") for number in range(5)]
    assert (await it.sweep_and_reconcile()).missed == 0
    assert it.arm.calls == ["GRAPH", "SCOPE"]
    it.now += timedelta(hours=2)
    group(it, tags={"env": "prod"})
    assert (await it.sweep_and_reconcile()).missed == 5
    assert {it.row(vm).outcome for vm in vms} == {Outcome.REQUESTED}
    assert it.arm.calls.count("SCOPE") == 2  # one for each sweep; the reconciles of the same worker use it too


async def test_a_vm_that_the_sweep_cannot_decide_gets_a_row_and_no_second_reconcile() -> None:
    it = world({"value": "[policy().assignmentId]", "notEquals": "x"})
    vm = it.add()
    assert (await it.sweep_and_reconcile()).missed == 1
    assert it.row(vm).outcome is Outcome.UNDETERMINED
    it.now += timedelta(hours=2)
    assert (await it.sweep_and_reconcile()).requested == 0


async def test_a_sweep_that_may_not_read_the_group_drops_no_vm() -> None:
    it = world()
    it.arm.scope_errors = [BROKEN]  # one read of the worker, for the sweep and for the reconcile
    vm = it.add()
    assert (await it.sweep_and_reconcile()).missed == 1
    assert it.row(vm).outcome is Outcome.WAITING
    group(it)
    await it.run_latest_check()
    assert it.row(vm).outcome is Outcome.REQUESTED


async def test_a_sweep_of_a_large_group_that_cannot_be_read_asks_once() -> None:
    it = world()
    it.arm.scope_errors = [BROKEN] * 99
    for number in range(20):
        it.add(f"vm{number}")
    assert (await it.sweep.run()).missed == 20
    assert it.arm.calls == ["GRAPH", "SCOPE"]


async def test_a_request_for_one_policy_does_not_fail_for_the_needs_of_another() -> None:
    it = World(policies=[{**POLICY, "rule": NOT_LAB}, {"name": "inventory", "extension": SECOND.name}])
    it.arm.scope_errors = [FORBIDDEN] * 9
    vm = it.add()
    (preview,) = await it.requests.preview(vm, OperatorRequest(policy="inventory"))
    assert preview.context.assignment.policy.name == "inventory"
    await it.requests.handle(vm, OperatorRequest(policy="inventory"))
    assert it.row(vm, SECOND.name).outcome is Outcome.REQUESTED


async def test_a_person_without_the_right_replaces_no_row() -> None:
    it = world()
    vm = it.add()
    it.arm.scope_errors = [FORBIDDEN, FORBIDDEN]
    with pytest.raises(ArmError):
        await it.requests.handle(vm, OperatorRequest())
    with pytest.raises(ArmError):
        await it.requests.preview(vm, OperatorRequest())
    assert not it.ledger.rows


async def test_a_request_in_flight_ends_by_its_result() -> None:
    it = world()
    group(it)
    vm = it.add()
    await it.created(vm)
    it.now += timedelta(hours=2)
    it.arm.scope_errors = [FORBIDDEN] * 5
    await it.installed(vm)
    assert it.row(vm).outcome is Outcome.INSTALLED


async def test_all_who_wait_for_one_read_get_its_result() -> None:
    it = world()
    it.arm.scope_errors = [BROKEN]
    reader = ContainerReader(it.arm)
    asking = (reader.complete(read_facts(vm_body(f"vm{number}")), POLICIES, it.now) for number in range(10))
    for completed in await asyncio.gather(*asking):
        assert completed.failures["resourceGroup"].evidence is BROKEN
    assert it.arm.calls == ["SCOPE"]


async def test_the_cache_is_bounded() -> None:
    it = world()
    reader = ContainerReader(it.arm)

    async def read(number: int) -> None:
        scope = f"{WHOLE}/resourceGroups/g{number}"
        it.arm.scopes[scope.lower()] = {"id": scope}
        body = {**vm_body(), "id": f"{scope}/providers/Microsoft.Compute/virtualMachines/v"}
        await reader.complete(read_facts(body), POLICIES, it.now)

    for number in (*range(5001), 5000):
        await read(number)
    assert it.arm.calls.count("SCOPE") == 5001
    await read(0)
    assert it.arm.calls.count("SCOPE") == 5002
