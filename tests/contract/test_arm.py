"""The ARM port, in memory and over the simulator: reads, what is missing, refusals, lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import replace
from datetime import UTC

import pytest

from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import Evidence
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.reconcile.steps.step import ArmRequest
from onboarding.domain.resource_id import VmId
from tests.contract.arms import BODY, OMS, PUBLISHER, TYPE, ArmBackend
from tests.flow.world import install_request


async def refusal(call: Awaitable[object]) -> Evidence:
    with pytest.raises(ArmError) as raised:
        await call
    return raised.value.evidence


async def listed(arm: ArmBackend, subscription: str) -> list[str]:
    return [str(body["name"]) async for body in arm.port.list_machines(subscription)]


def group_of(vm: VmId) -> str:
    return f"/subscriptions/{vm.subscription}/resourceGroups/{vm.resource_group}"


@pytest.mark.parametrize("name", ["web01", "Web.01_(x)"])
async def test_a_machine_is_read_by_any_spelling_of_its_id(arm: ArmBackend, name: str) -> None:
    vm = arm.add(name, tags={"env": "prod é"})

    for spelled in (vm, VmId(vm.subscription.upper(), vm.resource_group.upper(), vm.name.upper())):
        answer = await arm.port.read_machine(spelled)
        facts = read_facts(answer.body)
        assert facts.id == vm
        assert answer.body["tags"] == {"env": "prod é"}
        assert (facts.image.publisher, facts.image.offer) == ("Canonical", "UbuntuServer")
        assert (facts.power.value, facts.os_type) == ("running", "Linux")
        assert facts.vm_id
        assert answer.at is not None
        assert answer.at.tzinfo is UTC


async def test_a_missing_machine_is_a_404_that_names_it(arm: ArmBackend) -> None:
    vm = replace(arm.add(), name="nobody")

    for to_install in (False, True):
        evidence = await refusal(arm.port.read_machine(vm, to_install=to_install))
        assert (evidence.http_status, evidence.code) == (404, "ResourceNotFound")
        assert "'Microsoft.Compute/virtualMachines/nobody'" in evidence.message
        assert f"'{vm.resource_group}'" in evidence.message


async def test_an_extension_is_read_by_its_name_in_any_case(arm: ArmBackend) -> None:
    vm = arm.add(extension=OMS)

    for name in (OMS, OMS.upper()):
        body = (await arm.port.read_extension(vm, name)).body
        assert body["name"] == OMS
        properties = body["properties"]
        assert (properties["publisher"], properties["type"]) == (PUBLISHER, TYPE)
        assert (properties["provisioningState"], properties["settings"]) == ("Succeeded", {"a": 1})
        assert "protectedSettings" not in properties


async def test_a_machine_is_read_with_its_extensions(arm: ArmBackend) -> None:
    vm = arm.add(extension=OMS)

    facts = read_facts((await arm.port.read_machine(vm)).body)

    found = facts.find_extension(PUBLISHER, TYPE)
    assert found is not None
    assert (found.name, found.provisioning_state, dict(found.settings)) == (OMS, "Succeeded", {"a": 1})


async def test_a_missing_extension_is_a_404_of_the_extension(arm: ArmBackend) -> None:
    evidence = await refusal(arm.port.read_extension(arm.add(), "Nothing"))

    assert (evidence.http_status, evidence.code) == (404, "ResourceNotFound")


async def test_an_extension_of_a_missing_machine_is_a_404_of_the_machine(arm: ArmBackend) -> None:
    vm = replace(arm.add(), name="nobody")

    for call in (arm.port.read_extension, lambda vm, name: arm.port.send(vm, install_request(vm, name, BODY))):
        evidence = await refusal(call(vm, OMS))
        assert (evidence.http_status, evidence.code) == (404, "ParentResourceNotFound")
        assert "nobody" in evidence.message


async def test_an_install_is_under_way_when_it_was_accepted(arm: ArmBackend) -> None:
    vm = arm.add()

    await arm.port.send(vm, install_request(vm, OMS, BODY))

    found = read_facts((await arm.port.read_machine(vm)).body).find_extension(PUBLISHER, TYPE)
    assert found is not None
    assert (found.name, found.provisioning_state) == (OMS, "Creating")
    assert dict(found.settings) == BODY["properties"]["settings"]
    body = (await arm.port.read_extension(vm, OMS)).body
    assert body["properties"]["provisioningState"] == "Creating"
    assert "c2VjcmV0" not in str(body)


async def test_a_removal_is_under_way_until_a_read_finds_nothing(arm: ArmBackend) -> None:
    vm = arm.add(extension=OMS)

    assert not await arm.port.send(vm, removal_request(vm))

    found = read_facts((await arm.port.read_machine(vm)).body).find_extension(PUBLISHER, TYPE)
    assert found is not None
    assert (found.name, found.provisioning_state) == (OMS, "Deleting")
    await arm.end_removal(vm)
    assert read_facts((await arm.port.read_machine(vm)).body).find_extension(PUBLISHER, TYPE) is None
    assert (await refusal(arm.port.read_extension(vm, OMS))).code == "ResourceNotFound"
    await arm.port.send(vm, removal_request(vm))  # what is not there is no error


async def test_an_install_while_a_removal_is_under_way_is_a_conflict(arm: ArmBackend) -> None:
    vm = arm.add(extension=OMS)
    await arm.port.send(vm, removal_request(vm))
    other = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}

    body = {"location": "westeurope", "properties": {**other, "settings": {}}}
    evidence = await refusal(arm.port.send(vm, install_request(vm, "script", body)))

    assert evidence.http_status == 409


async def test_a_removal_on_a_missing_machine_is_a_404_of_the_machine(arm: ArmBackend) -> None:
    vm = replace(arm.add(), name="nobody")

    evidence = await refusal(arm.port.send(vm, removal_request(vm)))

    assert (evidence.http_status, evidence.code) == (404, "ParentResourceNotFound")


def removal_request(vm: VmId) -> ArmRequest:
    return ArmRequest("DELETE", f"{vm}/extensions/{OMS}")


async def test_a_second_write_of_a_machine_is_a_conflict(arm: ArmBackend) -> None:
    vm = arm.add()
    await arm.port.send(vm, install_request(vm, OMS, BODY))
    publisher, kind = "Microsoft.Azure.Extensions", "CustomScript"
    other = {"publisher": publisher, "type": kind, "typeHandlerVersion": "2.1", "settings": {}}

    body = {"location": "westeurope", "properties": other}
    evidence = await refusal(arm.port.send(vm, install_request(vm, "script", body)))

    assert evidence.http_status == 409
    assert read_facts((await arm.port.read_machine(vm)).body).find_extension(publisher, kind) is None


CALLS: dict[str, Callable[[ArmBackend, VmId], Awaitable[object]]] = {
    "read": lambda arm, vm: arm.port.read_machine(vm),
    "list": lambda arm, vm: listed(arm, vm.subscription),
    "install": lambda arm, vm: arm.port.send(vm, install_request(vm, OMS, BODY)),
    "remove": lambda arm, vm: arm.port.send(vm, removal_request(vm)),
    "access": lambda arm, vm: arm.port.check_access(vm.subscription),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "code", "headers"),
    [
        (429, "TooManyRequests", {"retry-after": "1200"}),
        (409, "Conflict", {}),
        (403, "AuthorizationFailed", {}),
        (503, "ServerBusy", {"retry-after": "60"}),
    ],
    ids=["429", "409", "403", "503"],
)
async def test_a_refusal_has_status_code_text_and_when_to_come_back(
    arm: ArmBackend, call: str, status: int, code: str, headers: dict[str, str]
) -> None:
    vm = arm.add()
    arm.refuse(call, status, code, headers)

    evidence = await refusal(CALLS[call](arm, vm))

    assert (evidence.http_status, evidence.code, evidence.message) == (status, code, "no")
    assert evidence.headers.get("retry-after") == headers.get("retry-after")


async def test_a_list_has_every_machine_of_the_subscription_without_instance_view(arm: ArmBackend) -> None:
    vms = [arm.add(f"web-{number:03}", OMS if number == 7 else "") for number in range(120)]
    subscription = vms[0].subscription

    bodies = [body async for body in arm.port.list_machines(subscription)]

    assert sorted(str(body["name"]) for body in bodies) == [vm.name for vm in vms]
    assert not any("instanceView" in body["properties"] for body in bodies)
    resources = {str(body["name"]): body.get("resources") or [] for body in bodies}
    (resource,) = resources.pop(vms[7].name)
    assert set(resource) == {"id"}
    assert str(resource["id"]).lower().endswith(f"/extensions/{OMS}".lower())
    assert not any(resources.values())
    assert await listed(arm, arm.subscriptions[1]) == []


async def test_the_subscriptions_are_listed_and_can_be_read(arm: ArmBackend) -> None:
    assert await arm.port.list_subscriptions() == arm.subscriptions
    for subscription in arm.subscriptions:
        await arm.port.check_access(subscription)


async def test_a_group_is_read_by_any_spelling_of_its_id(arm: ArmBackend) -> None:
    group = group_of(arm.add())
    arm.describe(group, tags={"env": "lab"})

    for spelled in (group, group.upper().replace("/SUBSCRIPTIONS/", "/subscriptions/")):
        body = await arm.port.read_scope(spelled)
        assert (str(body["id"]).lower(), body["tags"]) == (group.lower(), {"env": "lab"})

    evidence = await refusal(arm.port.read_scope(f"{group}-not-there"))
    assert (evidence.http_status, evidence.code) == (404, "ResourceGroupNotFound")


async def test_a_missing_image_is_a_404(arm: ArmBackend) -> None:
    evidence = await refusal(arm.port.read_image(f"{group_of(arm.add())}/providers/Microsoft.Compute/images/none"))

    assert (evidence.http_status, evidence.code) == (404, "ResourceNotFound")
