"""The Azure Monitor Agent by one policy: identity, association and extension as steps of one row."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.reconcile.row import Outcome, Row, WaitingFor
from onboarding.domain.reconcile.steps.step import StepKind, StepState, from_column
from onboarding.domain.resource_id import VmId
from tests.flow.world import BIONIC, CATALOGUE, SECOND, World
from tests.flow.world import extension as resource

AMA = "azure-monitor-agent-linux"
NAME = "AzureMonitorLinuxAgent"
_IDS = "/subscriptions/s/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
OURS, FOREIGN, OTHER = f"{_IDS}/id-ama", f"{_IDS}/id-app", f"{_IDS}/id-backup"
_INSIGHTS = "/subscriptions/s/resourceGroups/monitor/providers/Microsoft.Insights"
RULE, SECOND_RULE = f"{_INSIGHTS}/dataCollectionRules/linux", f"{_INSIGHTS}/dataCollectionRules/security"
ENDPOINT = f"{_INSIGHTS}/dataCollectionEndpoints/weu"
POLICY: dict[str, Any] = {
    "name": "azure-monitor",
    "extension": AMA,
    "identity": {"use": "any", "add": "{AMA_IDENTITY_ID}"},
    "dataCollectionRules": ["{DATA_COLLECTION_RULE_ID}"],
    "dataCollectionEndpoint": "{DATA_COLLECTION_ENDPOINT_ID}",
}
SETTINGS = {"DATA_COLLECTION_RULE_ID": RULE}
SYSTEM = {"type": "SystemAssigned", "principalId": "99999999-0000-4000-8000-000000000001"}


def _users(*ids: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {each: {"clientId": f"of {each}"} for each in ids}}


def world_of(policy: dict[str, Any] | None = None, **settings: str) -> World:
    return World(policies=[{**POLICY, **(policy or {})}], app_settings={**SETTINGS, **settings})


def add(world: World, identity: dict[str, Any] | None = None, *, age: timedelta = timedelta(), **changes: Any) -> VmId:
    """A machine of that age that both agents support."""
    vm = world.add(image=BIONIC, **changes)
    body = world.arm.machines[vm.key]
    body["properties"]["timeCreated"] = (world.now - age).isoformat()
    if identity is not None:
        body["identity"] = deepcopy(identity)
    return vm


def row_of(world: World, vm: VmId) -> Row:
    return world.row(vm, AMA)


def states_of(world: World, vm: VmId) -> dict[str, str]:
    found: dict[str, str] = {}
    for step in from_column(row_of(world, vm).steps):
        name = step.subject.rpartition("/")[2] if step.step is StepKind.ASSOCIATION else ""
        found[f"{step.step}{f' {name}' if name else ''}"] = step.state
    return found


async def patched(world: World, vm: VmId) -> None:
    """The change of identities ends, and Event Grid delivers the machine's event."""
    world.arm.end_patch(vm)
    world.now += timedelta(seconds=6)
    await world.updated(vm)


ENFORCE = {"existing": "enforce"}
DONE = {"identity": "done", "association linux": "done", "extension": "done"}


@pytest.mark.parametrize("identity", [SYSTEM, _users(FOREIGN)])
async def test_a_machine_with_a_fitting_identity_takes_four_calls(identity: dict[str, Any]) -> None:
    world = world_of()
    vm = add(world, identity)
    await world.created(vm)
    assert (row_of(world, vm).outcome, row_of(world, vm).waiting_for) == (Outcome.REQUESTED, WaitingFor.INSTALL)
    await world.finish_install(vm, AMA)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert states_of(world, vm) == DONE
    assert world.arm.calls == ["GET", "PUT association", "PUT", "GET extension"]
    assert world.arm.bodies[0]["properties"]["settings"] == {}, "the agent knows its identity"


async def test_a_machine_without_an_identity_takes_six_calls() -> None:
    world = world_of()
    vm = add(world)
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for, row.step) == (Outcome.REQUESTED, WaitingFor.IDENTITY, "identity")
    assert states_of(world, vm) == {"identity": "requested", "association linux": "done", "extension": "waiting"}
    assert world.arm.patches == [{"identity": {"type": "SystemAssigned"}}]
    await patched(world, vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for, row.step, row.attempt) == (Outcome.REQUESTED, WaitingFor.INSTALL, "", 1)
    await world.finish_install(vm, AMA)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert states_of(world, vm) == DONE
    assert world.arm.calls == ["GET", "PUT association", "PATCH", "GET", "PUT", "GET extension"]


async def test_a_machine_with_everything_is_read_and_its_associations_are_listed() -> None:
    world = world_of()
    vm = add(world, SYSTEM, age=timedelta(days=30))
    equip(world, vm)
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.ALREADY_INSTALLED
    assert states_of(world, vm) == DONE
    assert world.arm.calls == ["GET", "LIST associations"]


def equip(world: World, vm: VmId, *rules: str) -> None:
    entry = CATALOGUE[AMA]
    world.arm.set_extension(vm, resource(NAME, publisher=entry.publisher, type=entry.type, settings={}))
    for number, rule in enumerate(rules or (RULE,)):
        name = f"portal-{number}"
        world.arm.associations.setdefault(vm.key, {})[name] = {
            "name": name,
            "properties": {"dataCollectionRuleId": rule.upper()},
        }


async def test_what_others_installed_is_completed_and_counts_as_ours() -> None:
    world = world_of(ENFORCE)
    vm = add(world, SYSTEM, age=timedelta(days=30))
    equip(world, vm, SECOND_RULE)
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert world.arm.calls == ["GET", "LIST associations", "PUT association"]
    rules = [each["properties"]["dataCollectionRuleId"] for each in world.arm.associations[vm.key].values()]
    assert sorted(rules) == sorted([SECOND_RULE.upper(), RULE]), "other people's association is left alone"


async def test_the_agent_is_given_the_identity_that_is_on_the_machine_where_it_could_not_know() -> None:
    world = world_of(AMA_IDENTITY_ID=OURS)
    vm = add(world, _users(FOREIGN, OTHER))
    await world.created(vm)
    assert world.arm.patches == []
    managed = world.arm.bodies[0]["properties"]["settings"]["authentication"]["managedIdentity"]
    assert managed == {"identifier-name": "mi_res_id", "identifier-value": FOREIGN}


async def test_an_identity_beside_another_is_added_only_where_the_policy_says_so() -> None:
    need = {"use": "added", "add": "{AMA_IDENTITY_ID}"}
    world = world_of({"identity": need}, AMA_IDENTITY_ID=OURS)
    vm = add(world, _users(FOREIGN))
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.cause, row.step) == (Outcome.FAILED, "identity-conflict", "identity")
    assert "besideOthers" in row.advice
    assert (world.arm.patches, world.arm.bodies) == ([], [])
    assert states_of(world, vm) == {"identity": "refused", "association linux": "done", "extension": "blocked"}

    world = world_of({"identity": {**need, "besideOthers": True}}, AMA_IDENTITY_ID=OURS)
    vm = add(world, _users(FOREIGN))
    await world.created(vm)
    assert world.arm.patches == [{"identity": {"type": "UserAssigned", "userAssignedIdentities": {OURS: {}}}}]
    await patched(world, vm)
    managed = world.arm.bodies[0]["properties"]["settings"]["authentication"]["managedIdentity"]
    assert managed["identifier-value"] == OURS
    assert set(world.arm.machines[vm.key]["identity"]["userAssignedIdentities"]) == {FOREIGN, OURS}


async def test_a_stopped_machine_gets_identity_and_association_and_the_extension_waits() -> None:
    world = world_of()
    vm = add(world, power="deallocated")
    await world.created(vm)
    assert world.arm.calls == ["GET", "PUT association", "PATCH"]
    await patched(world, vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for) == (Outcome.WAITING, WaitingFor.VM_RUNNING)
    assert states_of(world, vm) == {"identity": "done", "association linux": "done", "extension": "waiting"}
    world.arm.machines[vm.key]["properties"]["instanceView"]["statuses"][1]["code"] = "PowerState/running"
    await world.started(vm)
    assert world.arm.calls == ["GET", "PUT association", "PATCH", "GET", "GET", "PUT"]


async def test_a_refused_association_never_holds_the_extension_back() -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    refusal = Evidence(http_status=400, code="InvalidAssociation", message=f"'{RULE}' is of another tenant")
    world.arm.association_errors = [refusal]
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for) == (Outcome.REQUESTED, WaitingFor.INSTALL)
    assert states_of(world, vm) == {"identity": "done", "association linux": "refused", "extension": "requested"}
    await world.finish_install(vm, AMA)
    row = row_of(world, vm)
    assert (row.outcome, row.step, row.error_code) == (Outcome.FAILED, "association", "InvalidAssociation")
    assert "linux" in row.reason
    assert states_of(world, vm) == {"identity": "done", "association linux": "refused", "extension": "done"}
    assert world.arm.calls == ["GET", "PUT association", "PUT", "GET extension", "GET"], "it is not asked again"


async def test_a_refused_write_keeps_what_the_associations_came_to() -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    world.arm.install_errors = [Evidence(http_status=400, code="InvalidParameter", message="no")]
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.step) == (Outcome.FAILED, "")
    assert states_of(world, vm) == {"identity": "done", "association linux": "done", "extension": "refused"}

    world = world_of()
    vm = add(world)
    world.arm.patch_errors = [Evidence(http_status=400, code="InvalidParameter", message="no")]
    slow = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "90"})
    world.arm.association_errors = [slow]
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for, row.step) == (Outcome.WAITING, WaitingFor.THROTTLING, "association")
    assert states_of(world, vm) == {"identity": "refused", "association linux": "waiting", "extension": "blocked"}


async def test_a_person_has_only_the_refused_step_done_again() -> None:
    world = world_of()
    vm = add(world, SYSTEM)
    world.arm.association_errors = [Evidence(http_status=400, code="InvalidAssociation", message="no")]
    await world.created(vm)
    await world.finish_install(vm, AMA)
    world.arm.calls.clear()
    await world.updated(vm)
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert [call for call in world.arm.calls if call.startswith("PUT")] == ["PUT association"]
    assert states_of(world, vm) == DONE


async def test_a_throttled_association_waits_and_is_done_by_the_check() -> None:
    world = world_of(ENFORCE)
    vm = add(world, SYSTEM, age=timedelta(days=2))
    equip(world, vm, SECOND_RULE)
    slow = Evidence(http_status=429, code="TooManyRequests", headers={"retry-after": "90"})
    world.arm.association_errors = [slow]
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for, row.step) == (Outcome.WAITING, WaitingFor.THROTTLING, "association")
    assert row.next_attempt_at is not None
    assert row.next_attempt_at >= world.now + timedelta(seconds=90)
    world.now = row.next_attempt_at
    await world.dispatcher.check(world.schedule_queue.checks[-1])
    assert row_of(world, vm).outcome is Outcome.INSTALLED
    assert states_of(world, vm) == DONE


async def test_an_endpoint_of_somebody_else_is_never_replaced() -> None:
    world = world_of(ENFORCE, DATA_COLLECTION_ENDPOINT_ID=ENDPOINT)
    vm = add(world, SYSTEM, age=timedelta(days=2))
    equip(world, vm)
    other = {"name": "configurationAccessEndpoint", "properties": {"dataCollectionEndpointId": f"{ENDPOINT}-other"}}
    world.arm.associations[vm.key]["configurationaccessendpoint"] = other
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.cause, row.step) == (Outcome.FAILED, "endpoint-conflict", "association")
    assert world.arm.calls == ["GET", "LIST associations"]


async def test_a_right_that_is_missing_for_identities_stops_the_scope_and_not_the_associations() -> None:
    world = world_of(AMA_IDENTITY_ID=OURS)
    action = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
    message = (
        "The client 'c' with object id 'o' has permission to perform action 'Microsoft.Compute/virtualMachines/write'"
        f" on scope 's'; however, it does not have permission to perform action '{action}' on the linked scope(s)"
        f" '{OURS}' or the linked scope(s) are invalid."
    )
    world.arm.patch_errors = [Evidence(http_status=403, code="LinkedAuthorizationFailed", message=message)]
    first, second = add(world, name="web01"), add(world, name="web02")
    await world.created(first)
    row = row_of(world, first)
    assert (row.outcome, row.waiting_for, row.step) == (Outcome.WAITING, WaitingFor.SCOPE_BREAKER, "identity")
    assert row.cause == "not-authorized"
    assert action in row.error_meaning
    await world.created(second)
    assert row_of(world, second).waiting_for is WaitingFor.SCOPE_BREAKER
    assert world.arm.calls.count("PATCH") == 1, "the identity is what is refused, on every machine"
    assert world.arm.calls.count("PUT association") == 2
    third = add(world, SYSTEM, name="web03")
    await world.created(third)
    assert row_of(world, third).waiting_for is WaitingFor.INSTALL, "a machine with an identity is onboarded"


async def test_a_machine_that_changed_since_it_was_read_is_read_again() -> None:
    world = world_of()
    vm = add(world)
    world.arm.patch_errors = [Evidence(http_status=412, code="PreconditionFailed", message="Etag does not match.")]
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.waiting_for, row.step) == (Outcome.WAITING, WaitingFor.OPERATION, "identity")
    assert row.next_attempt_at is not None
    world.now = row.next_attempt_at
    await world.dispatcher.check(world.schedule_queue.checks[-1])
    assert row_of(world, vm).waiting_for is WaitingFor.IDENTITY
    assert world.arm.calls == ["GET", "PUT association", "PATCH", "GET", "PATCH"]


async def test_a_patch_that_nobody_answered_is_read_before_another_is_sent() -> None:
    world = world_of()
    vm = add(world)
    world.arm.patch_errors = [Evidence(code="ServiceResponseError", message="the connection was closed")]
    await world.created(vm)
    assert row_of(world, vm).waiting_for is WaitingFor.CLAIM
    await world.updated(vm)
    assert world.arm.calls.count("PATCH") == 1, "ARM may still show the state before the request"
    world.arm.machines[vm.key]["identity"] = SYSTEM
    await patched(world, vm)
    assert row_of(world, vm).waiting_for is WaitingFor.INSTALL
    assert world.arm.calls.count("PATCH") == 1


async def test_an_identity_that_our_request_lost_stops_all_writes_of_identities() -> None:
    world = world_of({"identity": {"use": "added", "add": OURS, "besideOthers": True}})
    vm = add(world, _users(FOREIGN))
    await world.created(vm)
    del world.arm.machines[vm.key]["identity"]["userAssignedIdentities"][FOREIGN]
    await patched(world, vm)
    row = row_of(world, vm)
    assert (row.outcome, row.cause) == (Outcome.FAILED, "identity-lost")
    assert FOREIGN.lower() in row.reason
    assert world.arm.calls.count("PATCH") == 1
    assert world.arm.bodies == []


async def test_two_policies_share_one_patch_and_one_write_is_in_flight() -> None:
    second = {"name": "second", "extension": SECOND.name, "identity": {"use": "any", "add": "system"}}
    world = World(policies=[POLICY, second], app_settings={**SETTINGS, "AMA_IDENTITY_ID": OURS})
    vm = add(world)
    await world.created(vm)
    assert world.arm.patches == [{"identity": {"type": "UserAssigned", "userAssignedIdentities": {OURS: {}}}}]
    await patched(world, vm)
    await world.finish_install(vm, AMA)
    await world.finish_install(vm, SECOND.name)
    assert {world.row(vm, each).outcome for each in world.extensions} == {Outcome.INSTALLED}
    assert world.arm.conflicts == 0


async def test_an_audit_says_what_would_be_done_and_writes_nothing() -> None:
    world = world_of({"effect": "auditIfNotExists"})
    vm = add(world, age=timedelta(days=2))
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.AUDITED
    assert states_of(world, vm) == {"identity": "wanted", "association linux": "wanted", "extension": "wanted"}
    assert row_of(world, vm).reason == (
        f"policy azure-monitor only audits: would add the system-assigned identity, associate linux, install {NAME}"
    )
    assert world.arm.calls == ["GET", "LIST associations"]


@pytest.mark.parametrize(
    ("identity", "missing", "says"),
    [
        (None, (), f"would add the system-assigned identity, associate linux, install {NAME}; `onboard enforce"),
        (SYSTEM, (), f"would associate linux, install {NAME}; "),
        (SYSTEM, ("extension",), "would associate linux; "),
        (None, ("extension", "association"), "would add the system-assigned identity; "),
    ],
)
async def test_the_row_of_an_older_machine_says_each_step_that_would_be_done(
    identity: dict[str, Any] | None, missing: tuple[str, ...], says: str
) -> None:
    world = world_of()
    vm = add(world, identity, age=timedelta(days=30))
    if "extension" in missing:
        equip(world, vm)
    if "association" not in missing:
        world.arm.associations.pop(vm.key, None)
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.AUDITED
    assert f": {says}" in row_of(world, vm).reason


async def test_the_row_of_an_older_machine_says_which_steps_would_fail_and_why() -> None:
    world = world_of({"identity": {"use": "added", "add": OURS}})
    vm = add(world, _users(FOREIGN), age=timedelta(days=30))
    await world.created(vm)
    row = row_of(world, vm)
    assert row.outcome is Outcome.AUDITED
    assert "would associate linux; would fail (identity: it has the identity id-app, and" in row.reason
    assert states_of(world, vm) == {"identity": "refused", "association linux": "wanted", "extension": "blocked"}
    enforced = World([{**world.policies[0], **ENFORCE}], world.app_settings, arm=world.arm)
    await enforced.created(vm)
    assert states_of(enforced, vm) == {"identity": "refused", "association linux": "done", "extension": "blocked"}


async def test_the_row_of_an_older_machine_with_another_endpoint_says_that_ours_would_fail() -> None:
    world = world_of(DATA_COLLECTION_ENDPOINT_ID=ENDPOINT)
    vm = add(world, SYSTEM, age=timedelta(days=30))
    equip(world, vm)
    name = "configurationaccessendpoint"
    other = {"name": name, "properties": {"dataCollectionEndpointId": f"{ENDPOINT}-other"}}
    world.arm.associations[vm.key][name] = other
    await world.created(vm)
    row = row_of(world, vm)
    assert (row.outcome, row.cause) == (Outcome.AUDITED, "existing-machine")
    assert "would fail (association: The machine is associated with another data collection endpoint" in row.reason


async def test_an_audit_gives_no_identity_to_a_machine_that_has_the_agent() -> None:
    world = world_of({"effect": "auditIfNotExists"})
    vm = add(world, age=timedelta(days=2))
    equip(world, vm)
    await world.created(vm)
    assert world.arm.calls == ["GET", "LIST associations"]
    assert row_of(world, vm).outcome is Outcome.AUDITED
    assert row_of(world, vm).step == "identity"
    assert states_of(world, vm) == {**DONE, "identity": "wanted"}


async def test_a_machine_whose_os_is_not_known_yet_gets_no_identity() -> None:
    world = world_of()
    vm = add(world, agent="not_ready")
    own = {"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/i"}
    world.arm.machines[vm.key]["properties"]["storageProfile"]["imageReference"] = own
    await world.created(vm)
    assert world.arm.calls == ["GET", "IMAGE"]
    assert row_of(world, vm).waiting_for is WaitingFor.AGENT_READY


async def test_a_rule_that_is_not_set_is_named_and_nothing_is_written() -> None:
    world = World(policies=[POLICY], app_settings={})
    vm = add(world)
    await world.created(vm)
    row = row_of(world, vm)
    assert row.outcome is Outcome.FAILED
    assert "app setting DATA_COLLECTION_RULE_ID is not set" in row.reason
    assert world.arm.calls == ["GET"]


async def test_an_unsupported_machine_gets_nothing() -> None:
    world = world_of()
    vm = world.add(image={"publisher": "Canonical", "offer": "UbuntuServer", "sku": "14.04-LTS", "version": "latest"})
    await world.created(vm)
    assert row_of(world, vm).outcome is Outcome.UNSUPPORTED
    assert world.arm.calls == ["GET"]


async def test_a_policy_with_the_extension_alone_has_no_steps() -> None:
    world = World(policies=[{"name": "plain", "extension": AMA}])
    vm = add(world)
    await world.created(vm)
    await world.finish_install(vm, AMA)
    row = row_of(world, vm)
    assert (row.outcome, row.steps, row.step) == (Outcome.INSTALLED, "", "")
    assert world.arm.calls == ["GET", "PUT", "GET extension"]


async def test_a_second_event_of_an_equipped_machine_asks_for_nothing_but_the_machine() -> None:
    world = world_of()
    vm = add(world, SYSTEM, age=timedelta(days=30))
    equip(world, vm)
    await world.created(vm)
    world.now += timedelta(hours=1)
    await world.updated(vm)
    assert world.arm.calls == ["GET", "LIST associations", "GET"]
    world.now += timedelta(hours=24)
    await world.updated(vm)
    assert world.arm.calls[-2:] == ["GET", "LIST associations"], "what is held is a day old"
    assert StepState.DONE in set(states_of(world, vm).values())
