"""Writes of a VM's identity: what a PATCH changes, how it ends, and in which words it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceModifiedError
from azure.mgmt.compute import models

from simulator.arm import Agent, ExtensionSpec, FaultRule, Guest, Machine, Power, Role
from simulator.arm.http.faults import read_rule_file
from simulator.laptop import ROOT
from tests.simulator.conftest import AUDIENCE, OMS, Reply, Scene

GROUP = "/subscriptions/00000000-0000-4000-8000-000000000002/resourceGroups/rg-identities"
FIRST, SECOND, THIRD = (
    f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}" for name in ("one", "two", "three")
)
BOTH = "SystemAssigned, UserAssigned"


def users(*ids: str) -> dict[str, Any]:
    return {"type": "UserAssigned", "userAssignedIdentities": {each: {} for each in ids}}


async def patch(scene: Scene, machine: Machine, identity: Any, **headers: str) -> Reply:
    return await scene.call("PATCH", machine.id, {"identity": identity}, headers=headers)


async def write(scene: Scene, machine: Machine, identity: Any) -> Reply:
    """Write it and wait for the end of the operation."""
    reply = await patch(scene, machine, identity)
    assert reply.status == 200, reply
    await scene.clock.advance(60)
    return reply


async def read(scene: Scene, machine: Machine) -> tuple[str, set[str]]:
    """The type, and the user-assigned ids in lower case."""
    identity = (await scene.call("GET", machine.id)).body.get("identity", {})
    return identity.get("type", "absent"), {each.lower() for each in identity.get("userAssignedIdentities", {})}


def add_all(scene: Scene) -> None:
    for resource_id in (FIRST, SECOND, THIRD):
        scene.arm.identities.add(resource_id)


WRITES: list[tuple[str, Any, Any, tuple[str, set[str]]]] = [
    ("nothing, then system", None, {"type": "SystemAssigned"}, ("SystemAssigned", set())),
    ("nothing, then one id", None, users(FIRST), ("UserAssigned", {FIRST})),
    ("ids are merged", users(FIRST), users(SECOND), ("UserAssigned", {FIRST, SECOND})),
    ("an id in another case is the same", users(FIRST), users(FIRST.upper()), ("UserAssigned", {FIRST})),
    ("system drops all ids", users(FIRST, SECOND), {"type": "SystemAssigned"}, ("SystemAssigned", set())),
    ("ids alone drop system", {"type": "SystemAssigned"}, users(FIRST), ("UserAssigned", {FIRST})),
    ("both, with a space", {"type": "SystemAssigned"}, users(FIRST) | {"type": BOTH}, (BOTH, {FIRST})),
    (
        "both, without",
        {"type": "SystemAssigned"},
        users(FIRST) | {"type": "SystemAssigned,UserAssigned"},
        (BOTH, {FIRST}),
    ),
    (
        "null removes one",
        users(FIRST, SECOND),
        {"type": "UserAssigned", "userAssignedIdentities": {SECOND: None}},
        ("UserAssigned", {FIRST}),
    ),
    ("none removes all", users(FIRST), {"type": "None"}, ("None", set())),
]


@pytest.mark.parametrize(("before", "change", "after"), [w[1:] for w in WRITES], ids=[w[0] for w in WRITES])
async def test_type_is_absolute_and_ids_are_merged(
    scene: Scene, before: Any, change: Any, after: tuple[str, set[str]]
) -> None:
    add_all(scene)
    machine = scene.add(identity=before)
    await write(scene, machine, change)
    assert await read(scene, machine) == (after[0], {each.lower() for each in after[1]})


async def test_a_patch_is_200_updating_with_an_operation_url_but_no_location_and_ends_with_an_event(
    scene: Scene,
) -> None:
    add_all(scene)
    machine = scene.add()
    assert "identity" not in (await scene.call("GET", machine.id)).body
    reply = await patch(scene, machine, users(FIRST))
    assert (reply.status, reply.body["properties"]["provisioningState"]) == (200, "Updating")
    assert "Azure-AsyncOperation" in reply.headers
    assert "Location" not in reply.headers
    await scene.clock.advance(2.9)
    assert (await scene.poll(reply)).body["status"] == "InProgress"
    assert scene.events == []
    await scene.clock.advance(6.2)
    assert (await scene.poll(reply)).body["status"] == "Succeeded"
    (event,) = scene.events
    assert event["data"]["operationName"] == "Microsoft.Compute/virtualMachines/write"
    assert event["eventType"] == "Microsoft.Resources.ResourceWriteSuccess"
    body = (await scene.call("GET", machine.id)).body
    assert body["properties"]["provisioningState"] == "Succeeded"
    (shown,) = body["identity"]["userAssignedIdentities"].values()
    assert set(shown) == {"principalId", "clientId"}


async def test_a_patch_that_changes_nothing_ends_in_a_tenth_of_a_second(scene: Scene) -> None:
    machine = scene.add(identity=users(FIRST))
    reply = await patch(scene, machine, users(FIRST))
    await scene.clock.advance(0.11)
    assert (await scene.poll(reply)).body["status"] == "Succeeded"


async def test_keys_come_back_in_other_case_and_may_be_empty_at_first(scene: Scene) -> None:
    ids = [f"{FIRST}-{number}" for number in range(20)]
    for each in ids:
        scene.arm.identities.add(each)
    machine = scene.add()
    reply = await patch(scene, machine, users(*ids))
    shown = reply.body["identity"]["userAssignedIdentities"]
    assert {"/resourcegroups/" in each for each in shown} == {True, False}
    assert {bool(value) for value in shown.values()} == {True, False}
    assert {each.lower() for each in shown} == {each.lower() for each in ids}


async def test_a_system_identity_has_a_principal_of_its_own_and_a_new_one_after_it_was_removed(scene: Scene) -> None:
    machine, other = scene.add(identity={"type": "SystemAssigned"}), scene.add("web-2")
    first = (await scene.call("GET", machine.id)).body["identity"]
    assert set(first) == {"type", "principalId", "tenantId"}
    await write(scene, machine, {"type": "None"})
    await write(scene, machine, {"type": "SystemAssigned"})
    await write(scene, other, {"type": "SystemAssigned"})
    bodies = [(await scene.call("GET", each.id)).body["identity"] for each in (machine, other)]
    assert len({first["principalId"], *(each["principalId"] for each in bodies)}) == 3
    assert {each["tenantId"] for each in bodies} == {scene.arm.options.tenant_id}


async def test_the_etag_changes_with_each_write_and_a_stale_one_is_412(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add()
    etag = (await scene.call("GET", machine.id)).body["etag"]
    accepted = await patch(scene, machine, users(FIRST), **{"If-Match": etag})
    assert accepted.status == 200
    assert accepted.body["etag"] != etag
    await scene.clock.advance(20)
    stale = await patch(scene, machine, users(SECOND), **{"If-Match": etag})
    assert (stale.status, stale.code) == (412, "PreconditionFailed")
    assert (
        stale.message
        == f"Etag provided in if-match header {etag} does not match etag {accepted.body['etag']} of resource."
    )
    assert await read(scene, machine) == ("UserAssigned", {FIRST.lower()})
    assert (await patch(scene, machine, users(SECOND), **{"If-Match": "*"})).status == 200


async def test_older_api_versions_have_no_etag(scene: Scene) -> None:
    machine = scene.add()
    bodies = [(await scene.call("GET", machine.id, version=v)).body for v in ("2022-11-01", "2023-09-01")]
    assert ["etag" in body for body in bodies] == [False, True]


async def test_one_write_of_a_vm_at_a_time_both_ways(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add()
    await patch(scene, machine, users(FIRST))
    extension = await scene.put_oms(machine)
    assert (extension.status, extension.code) == (409, "Conflict")
    again = await patch(scene, machine, users(SECOND))
    assert (again.status, again.code) == (409, "Conflict")
    await scene.clock.advance(20)
    assert (await scene.put_oms(machine)).status == 201
    during = await patch(scene, machine, users(SECOND))
    assert (during.status, during.code) == (409, "Conflict")
    await scene.clock.advance(1_000)
    assert await read(scene, machine) == ("UserAssigned", {FIRST.lower()})


async def test_a_stopped_vm_takes_an_identity(scene: Scene) -> None:
    machine = scene.add(power=Power.DEALLOCATED)
    await write(scene, machine, {"type": "SystemAssigned"})
    assert (await read(scene, machine))[0] == "SystemAssigned"


async def test_an_id_that_does_not_exist_is_named_in_azures_words(scene: Scene) -> None:
    machine = scene.add()
    reply = await patch(scene, machine, users(FIRST))
    assert (reply.status, reply.code) == (400, "FailedIdentityOperation")
    assert reply.message.startswith(f"Identity operation for resource '{machine.id}' failed with error")
    assert f'"message":"Resource \'{FIRST}\' was not found."' in reply.message
    assert await read(scene, machine) == ("absent", set())


async def test_a_stale_id_of_somebody_else_rejects_the_whole_write_until_it_is_removed(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(identity=users(SECOND))
    scene.arm.identities.delete(SECOND)
    for change in (users(FIRST), users(FIRST) | {"type": BOTH}):
        reply = await patch(scene, machine, change)
        assert (reply.status, reply.code) == (400, "FailedIdentityOperation")
        assert f"Resource '{SECOND}' was not found." in reply.message
    scene.arm.identities.add(SECOND)  # another identity under the old id does not help
    assert (await patch(scene, machine, users(FIRST))).code == "FailedIdentityOperation"
    await write(scene, machine, {"type": "UserAssigned", "userAssignedIdentities": {SECOND.upper(): None, FIRST: {}}})
    assert await read(scene, machine) == ("UserAssigned", {FIRST.lower()})


INVALID: list[tuple[str, Any, str, str]] = [
    ("ids beside system", users(FIRST) | {"type": "SystemAssigned"}, "InvalidParameter", "should not be provided"),
    (
        "an id twice",
        {"type": "UserAssigned", "userAssignedIdentities": {FIRST: {}, FIRST.upper(): {}}},
        "InvalidParameter",
        "cannot be duplicated in the provided identityIds list",
    ),
    ("no ids", {"type": "UserAssigned"}, "MissingIdentityIds", "must not be null or empty"),
    ("no type", {"userAssignedIdentities": {FIRST: {}}}, "InvalidParameter", "identity.type"),
]


@pytest.mark.parametrize(("change", "code", "words"), [i[1:] for i in INVALID], ids=[i[0] for i in INVALID])
async def test_identities_that_make_no_sense_are_400(scene: Scene, change: Any, code: str, words: str) -> None:
    add_all(scene)
    machine = scene.add()
    reply = await patch(scene, machine, change)
    assert (reply.status, reply.code) == (400, code)
    assert words in reply.message
    assert await read(scene, machine) == ("absent", set())


async def test_the_right_to_assign_is_needed_on_the_identity_itself(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add()
    scene.arm.scopes.assign("writer", "/", Role(("Microsoft.Compute/virtualMachines/*",)))
    header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, 'writer').value}"}
    reply = await patch(scene, machine, users(FIRST, SECOND), **header)
    assert (reply.status, reply.code) == (403, "LinkedAuthorizationFailed")
    assert f"on scope '{machine.id}'; however, it does not have permission to perform action" in reply.message
    assert f"on the linked scope(s) '{FIRST},{SECOND}' or the linked scope(s) are invalid." in reply.message
    scene.arm.scopes.assign("writer", FIRST, Role(("Microsoft.ManagedIdentity/*/assign/action",)))
    assert f"'{SECOND}'" in (await patch(scene, machine, users(FIRST, SECOND), **header)).message
    assert (await patch(scene, machine, users(FIRST), **header)).status == 200
    await scene.clock.advance(20)
    assert (await patch(scene, machine, {"type": "SystemAssigned"}, **header)).status == 200


async def test_an_operation_can_end_with_an_error_and_then_nothing_has_changed(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(identity=users(SECOND), tags={"a": "b"})
    error = {"code": "InternalExecutionError", "message": "An internal execution error occurred."}
    scene.arm.faults.add(FaultRule(kind="vm-patch", nth=(1,), ends_with=error))
    change = {"identity": users(FIRST), "tags": {"c": "d"}}
    reply = await scene.call("PATCH", machine.id, change)
    assert reply.status == 200
    await scene.clock.advance(60)
    polled = await scene.poll(reply)
    assert (polled.body["status"], polled.body["error"]) == ("Failed", error)
    body = (await scene.call("GET", machine.id)).body
    assert (body["tags"], body["properties"]["provisioningState"]) == ({"a": "b"}, "Failed")
    assert await read(scene, machine) == ("UserAssigned", {SECOND.lower()})
    assert scene.events[0]["eventType"] == "Microsoft.Resources.ResourceWriteFailure"
    assert scene.arm.faults.injected == {"operation InternalExecutionError": 1}
    await write(scene, machine, users(FIRST))
    assert await read(scene, machine) == ("UserAssigned", {FIRST.lower(), SECOND.lower()})


async def test_the_sample_faults_of_identities_are_what_arm_says(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add()
    rules = list(read_rule_file(ROOT / "samples" / "faults" / "identity.yaml"))
    replies = []
    for rule in rules:
        scene.arm.faults.clear()
        scene.arm.faults.add(rule)
        replies.append(await patch(scene, machine, users(FIRST)))
        await scene.clock.advance(60)
    found = [(each.status, "" if each.status == 200 else each.code) for each in replies]
    assert found == [
        (403, "LinkedAuthorizationFailed"),
        (400, "FailedIdentityOperation"),
        (400, "FailedIdentityOperation"),
        (400, "InvalidParameter"),
        (412, "PreconditionFailed"),
        (200, ""),
    ]
    assert "Status: 'Conflict'" in replies[1].message
    assert await read(scene, machine) == ("absent", set())


async def test_a_put_needs_the_same_rights_and_keeps_an_identity_that_it_does_not_name(scene: Scene) -> None:
    machine = scene.add(identity=users(FIRST))
    bare = {"location": machine.location, "tags": {"a": "b"}}
    assert (await scene.call("PUT", machine.id, bare)).status == 200
    await scene.clock.advance(60)
    assert await read(scene, machine) == ("UserAssigned", {FIRST.lower()})
    refused = await scene.call("PUT", machine.id, {"location": machine.location, "identity": users(SECOND)})
    assert refused.code == "FailedIdentityOperation"


async def test_an_identity_can_be_read_until_it_is_deleted(scene: Scene) -> None:
    identity = scene.arm.identities.add(FIRST)
    body = (await scene.call("GET", FIRST, version="2023-01-31")).body
    assert body["properties"] == {
        "tenantId": scene.arm.options.tenant_id,
        "principalId": identity.principal_id,
        "clientId": identity.client_id,
    }
    scene.arm.identities.delete(FIRST)
    gone = await scene.call("GET", FIRST, version="2023-01-31")
    assert (gone.status, gone.code) == (404, "ResourceNotFound")
    other = await scene.call("GET", FIRST.replace("rg-identities", "rg-none"), version="2023-01-31")
    assert (other.status, other.code) == (404, "ResourceGroupNotFound")


async def test_the_sdk_updates_an_identity_under_an_etag(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add()
    where = (machine.group, machine.name)
    wanted = models.VirtualMachineUpdate(
        identity=models.VirtualMachineIdentity(
            type=models.ResourceIdentityType.SYSTEM_ASSIGNED_USER_ASSIGNED,
            user_assigned_identities={FIRST: models.UserAssignedIdentitiesValue()},
        )
    )
    async with scene.client() as client:
        seen = await client.virtual_machines.get(*where)
        condition: dict[str, Any] = {"etag": seen.etag, "match_condition": MatchConditions.IfNotModified}
        poller = await client.virtual_machines.begin_update(*where, wanted, polling_interval=0.001, **condition)
        updated = await _finish(scene, poller)
        with pytest.raises(ResourceModifiedError):
            await client.virtual_machines.begin_update(*where, wanted, polling=False, **condition)
        tags = models.VirtualMachineUpdate(tags={"a": "b"})
        tagged = await _finish(scene, await client.virtual_machines.begin_update(*where, tags, polling_interval=0.001))
        bad = models.VirtualMachineUpdate(
            identity=models.VirtualMachineIdentity(
                type="UserAssigned", user_assigned_identities={f"{FIRST}-x": models.UserAssignedIdentitiesValue()}
            )
        )
        with pytest.raises(HttpResponseError) as caught:
            await client.virtual_machines.begin_update(*where, bad, polling=False)
    assert updated.identity.type == BOTH
    assert updated.identity.principal_id
    assert [value.client_id for value in updated.identity.user_assigned_identities.values()]
    assert (tagged.tags, tagged.identity.type) == ({"a": "b"}, BOTH)
    assert caught.value.error is not None
    assert (caught.value.status_code, caught.value.error.code) == (400, "FailedIdentityOperation")


async def _finish(scene: Scene, poller: Any) -> Any:
    task = asyncio.create_task(poller.result())
    while not task.done():
        await scene.clock.advance(60)
        await asyncio.sleep(0.001)
    return await task


async def test_every_key_of_identities_is_a_field_of_the_sdks_model(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(identity=users(FIRST) | {"type": BOTH})
    answers = [await scene.call("GET", machine.id), await patch(scene, machine, users(SECOND) | {"type": BOTH})]
    for answer in answers:
        assert list(_unknown_keys(answer.body)) == []


def _unknown_keys(body: dict[str, Any]) -> Iterator[str]:
    model = models.VirtualMachine(body)
    assert model.identity is not None
    parts: list[Any] = [model, model.identity, *(model.identity.user_assigned_identities or {}).values()]
    for part in parts:
        known = {field._rest_name for field in part._attr_to_rest_field.values()}
        yield from (key for key in part if key not in known)


async def test_another_deployer_writes_identities_and_raises_arms_refusals(scene: Scene) -> None:
    add_all(scene)
    machine = scene.add(extensions=(ExtensionSpec(name="OMS", version="1.3", **OMS),), guest=Guest(agent=Agent.REPORTS))
    operation = scene.arm.patch_identity_as_other_deployer(machine.id, users(FIRST))
    await scene.clock.advance(60)
    assert operation.status == "Succeeded"
    assert await read(scene, machine) == ("UserAssigned", {FIRST.lower()})
    assert scene.arm.requests.count(kind="vm-patch") == 0
