"""The ARM adapter over TLS against the simulator: which requests are sent, how often, and when none is sent."""

from __future__ import annotations

import json
import re
from traceback import format_exception
from uuid import UUID

import pytest

from onboarding.domain.errors import ArmError
from onboarding.domain.image.os_identification import read_definition
from onboarding.domain.machine.machine_facts import read_facts
from onboarding.domain.machine.resource_containers import GROUP, RIGHTS, SUBSCRIPTION, read_properties
from onboarding.domain.resource_id import VmId
from onboarding.logging import bound
from simulator.arm import Cut, FaultRule, VmSpec
from tests.adapters.arm.arm_calls import BODY, KEY, OMS, Call, add, install, read, refusal, run_script
from tests.adapters.conftest import SUBSCRIPTIONS, Azure
from tests.flow.world import install_request


async def test_a_machine_is_read_as_arm_has_it_in_one_request(azure: Azure) -> None:
    vm = add(azure, tags={"env": "prod"}, zones=("1",))

    body = (await azure.adapter.read_machine(vm)).body

    assert azure.arm.requests.kinds() == {"vm-get": 1}
    assert body["properties"]["vmId"] == azure.arm.machines[str(vm)].vm_id
    assert body["tags"] == {"env": "prod"}
    assert body["zones"] == ["1"]
    facts = read_facts(body)
    assert facts.id == vm
    assert facts.image.offer == "UbuntuServer"
    assert facts.power.value == "running"


@pytest.mark.parametrize("path", ["galleries/gold/images/base", "images/golden"])
async def test_the_definition_of_a_custom_image_is_read_in_one_request(azure: Azure, path: str) -> None:
    image = f"/subscriptions/{SUBSCRIPTIONS[0]}/resourceGroups/rg-fleet/providers/Microsoft.Compute/{path}"
    azure.arm.add_image(image, {"properties": {"osType": "Linux", "architecture": "Arm64"}})
    add(azure)

    body = await azure.adapter.read_image(image)

    assert read_definition(body).architecture == "arm64"
    with pytest.raises(ArmError) as caught:
        await azure.adapter.read_image(f"{image}-not-there")
    assert caught.value.evidence.http_status == 404


async def test_a_group_and_a_subscription_are_read_in_one_request_each(azure: Azure) -> None:
    vm = add(azure)
    subscription = f"/subscriptions/{vm.subscription}"
    group = f"{subscription}/resourceGroups/{vm.resource_group}"
    azure.arm.describe(group.upper(), tags={"env": "lab"})
    azure.arm.describe(subscription, displayName="A sandbox")

    bodies = [await azure.adapter.read_scope(scope) for scope in (group, subscription)]

    assert [read_properties(what, body)["tags"] for what, body in zip((GROUP, SUBSCRIPTION), bodies, strict=True)] == [
        {"env": "lab"},
        {},
    ]
    assert (bodies[0]["location"], bodies[1]["displayName"]) == ("westeurope", "A sandbox")
    assert azure.arm.requests.kinds() == {"group-get": 1, "subscription-get": 1}
    with pytest.raises(ArmError) as caught:
        await azure.adapter.read_scope(f"{group}-not-there")
    assert caught.value.evidence.code == "ResourceGroupNotFound"


async def test_the_error_of_a_group_that_may_not_be_read_names_the_missing_right(azure: Azure) -> None:
    vm = add(azure)
    subscription = f"/subscriptions/{vm.subscription}"
    azure.arm.scopes.grant(azure.arm.options.principal_id, subscription, "Microsoft.Compute/virtualMachines/*")
    for what, scope in ((GROUP, f"{subscription}/resourceGroups/{vm.resource_group}"), (SUBSCRIPTION, subscription)):
        with pytest.raises(ArmError) as caught:
            await azure.adapter.read_scope(scope)
        assert caught.value.evidence.http_status == 403
        assert f"to perform action '{RIGHTS[what]}' over scope" in caught.value.evidence.message
        azure.arm.scopes.grant(azure.arm.options.principal_id, subscription, RIGHTS[what])
        assert str((await azure.adapter.read_scope(scope))["id"]).lower() == scope.lower()


async def test_requests_of_one_event_have_the_same_ids_when_the_event_is_delivered_again(azure: Azure) -> None:
    vm = add(azure)

    async def read_all(event: str) -> list[str]:
        azure.arm.requests.clear()
        with bound(machine=str(vm), event_id=event):
            await azure.adapter.read_machine(vm)
            await azure.adapter.read_scope(f"/subscriptions/{vm.subscription}")
        return [request.client_request_id for request in azure.arm.requests]

    first, again, other = [await read_all(event) for event in ("one", "one", "other")]

    assert first == again
    assert len({*first, *other}) == 4
    assert all(str(UUID(each)) == each for each in (*first, *other))
    without_event = [await azure.adapter.read_machine(vm) for _ in range(2)]
    assert len({request.client_request_id for request in azure.arm.requests}) == len(other) + len(without_event)


async def test_a_request_has_the_id_that_was_given_to_it_and_its_line_too(
    azure: Azure, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "onboarding")
    vm = add(azure)
    azure.arm.faults.add(FaultRule(cut=Cut.RESET, nth=(1,)))

    with bound(machine=str(vm), step="extension", client_request_id="mine"):
        with pytest.raises(ArmError):
            await azure.adapter.send(vm, install_request(vm, OMS, BODY))
        await azure.adapter.send(vm, install_request(vm, OMS, BODY))

    assert [request.client_request_id for request in azure.arm.requests] == ["mine", "mine"]
    url = f"{azure.endpoints.arm}{vm}/extensions/{OMS}"
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("arm_requests")]
    assert lines == [f"{vm.name}: PUT {url}: {result} [request mine]" for result in ("no answer", "201")]


async def test_an_install_is_one_request_without_polling(azure: Azure) -> None:
    vm = add(azure)

    await azure.adapter.send(vm, install_request(vm, OMS, BODY))

    assert azure.arm.requests.kinds() == {"extension-put": 1}
    (extension,) = azure.arm.machines[str(vm)].extensions.values()
    assert extension.provisioning_state == "Creating"


async def test_the_body_of_an_install_arrives_as_it_was_given(azure: Azure) -> None:
    vm = add(azure)

    await azure.adapter.send(vm, install_request(vm, OMS, BODY))

    (extension,) = azure.arm.machines[str(vm)].extensions.values()
    sent = BODY["properties"]
    assert (extension.publisher, extension.type) == (sent["publisher"], sent["type"])
    assert extension.properties["settings"] == sent["settings"]
    assert extension.properties["autoUpgradeMinorVersion"] is True
    assert extension.protected_settings == sent["protectedSettings"]
    assert extension.location == BODY["location"]


async def test_all_subscriptions_share_one_adapter(azure: Azure) -> None:
    for subscription in SUBSCRIPTIONS:
        machine = azure.arm.add_vm(VmSpec(name="web-01", subscription=subscription))
        body = (await azure.adapter.read_machine(VmId(subscription.upper(), "rg-fleet", "WEB-01"))).body
        assert body["properties"]["vmId"] == machine.vm_id

    assert len(azure.credential.tokens) <= len(SUBSCRIPTIONS)


async def test_the_subscriptions_that_are_not_disabled_are_listed(azure: Azure) -> None:
    value = [{"subscriptionId": "a", "state": "Enabled"}, {"subscriptionId": "b", "state": "Disabled"}]
    azure.arm.faults.add(FaultRule(status=200, body={"value": [*value, {"subscriptionId": "c", "state": "Warned"}]}))

    assert await azure.adapter.list_subscriptions() == ("a", "c")


async def test_a_subscription_is_read_in_one_request(azure: Azure) -> None:
    await azure.adapter.check_access(SUBSCRIPTIONS[0])
    assert azure.arm.requests.kinds() == {"subscription-get": 1}
    with pytest.raises(ArmError) as caught:
        await azure.adapter.check_access("99")
    assert caught.value.evidence.http_status == 404


async def test_a_list_has_every_machine_of_every_page(azure: Azure) -> None:
    for number in range(120):
        add(azure, f"web-{number:03}")

    names = [body["name"] async for body in azure.adapter.list_machines(SUBSCRIPTIONS[0])]

    assert len(set(names)) == len(names) == 120
    assert azure.arm.requests.count(kind="vm-list") == 3
    assert [body async for body in azure.adapter.list_machines(SUBSCRIPTIONS[1])] == []


@pytest.mark.parametrize(("call", "kind"), [(read, "vm-get"), (install, "extension-put")], ids=["read", "install"])
async def test_after_a_429_nothing_is_sent_until_the_wait_is_over(azure: Azure, call: Call, kind: str) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(nth=(1,), status=429, code="TooManyRequests", headers={"Retry-After": "600"}))
    await refusal(call, azure.requests, vm)

    held_back = await refusal(call, azure.requests, vm)
    assert (held_back.http_status, held_back.code) == (429, "HeldBack")
    assert float(held_back.headers["retry-after"]) == pytest.approx(600)
    assert azure.arm.requests.count(kind=kind) == 1

    await azure.clock.advance(601)
    await call(azure.requests, vm)
    assert azure.arm.requests.count(kind=kind) == 2


async def test_throttling_of_one_vm_does_not_hold_back_others(azure: Azure) -> None:
    vm, other = add(azure), add(azure, "db-01")
    counters = "Microsoft.Compute/UpdateVMSubscriptionMaximum;1400,Microsoft.Compute/UpdateVMResource;0"
    headers = {"x-ms-ratelimit-remaining-resource": counters}
    azure.arm.faults.add(FaultRule(kind="extension-put", status=429, headers=headers, vm="web-*"))
    assert (await refusal(install, azure.requests, vm)).http_status == 429

    await install(azure.requests, other)


async def test_reads_writes_and_subscriptions_are_throttled_separately(azure: Azure) -> None:
    vm = add(azure)
    other = azure.arm.add_vm(VmSpec(name="db-01", subscription=SUBSCRIPTIONS[1]))
    azure.arm.faults.add(FaultRule(kind="extension-put", status=429, headers={"Retry-After": "600"}, vm="web-*"))
    await refusal(install, azure.requests, vm)

    await azure.adapter.read_machine(vm)
    second = VmId(SUBSCRIPTIONS[1], other.group, other.name)
    await azure.adapter.send(second, install_request(second, OMS, BODY))


async def test_a_vm_is_not_read_to_install_while_nothing_can_be_written(azure: Azure) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(kind="extension-put", nth=(1,), status=429, headers={"Retry-After": "600"}))
    await refusal(install, azure.requests, vm)

    with pytest.raises(ArmError) as raised:
        await azure.adapter.read_machine(vm, to_install=True)
    assert (raised.value.evidence.code, raised.value.evidence.headers["retry-after"]) == ("HeldBack", "600.000")
    assert azure.arm.requests.count(kind="vm-get") == 0

    await azure.clock.advance(600)
    await azure.adapter.read_machine(vm, to_install=True)
    await install(azure.requests, vm)


async def test_errors_and_logs_hold_no_secret(azure: Azure, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    vm = add(azure)
    shown = [repr(part) for each in (azure.adapter, azure.requests) for part in (each, vars(each))]
    for fault in (
        FaultRule(status=500, code="X", message="y"),
        FaultRule(cut=Cut.RESET),
        FaultRule(status=400, body=""),
    ):
        azure.arm.faults.clear()
        azure.arm.faults.add(fault)
        for call in (read, install, run_script):
            with pytest.raises(ArmError) as raised:
                await call(azure.requests, vm)
            error = raised.value
            shown += [*format_exception(error), repr(error), repr(error.evidence), error.evidence.text]
            shown += [json.dumps(dict(error.evidence.headers))]

    text = "\n".join([*shown, caplog.text])
    assert KEY not in text
    assert azure.credential.tokens
    assert not any(token in text for token in azure.credential.tokens)
    assert not re.search(r"Bearer [\w.-]{20}", text)
