"""ARM through the real SDK, over TLS, against the simulator: what is sent, how often, and how each failure is told."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from traceback import format_exception
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

from onboarding.azure.arm import ArmAdapter
from onboarding.core.errors import ArmError
from onboarding.core.evidence import Evidence
from onboarding.core.facts import read_facts
from onboarding.core.resource_id import VmId, parse_id
from simulator.arm import Cut, FaultRule, Power, VmSpec
from tests.adapters.conftest import SCOPE, SUBSCRIPTIONS, Azure

OMS = "OMSExtension"
KEY = "c2VjcmV0IHdvcmtzcGFjZSBrZXkgdGhhdCBub2JvZHkgbWF5IHNlZSwgNjQgYnl0ZXMgb2YgaXQuLi4uLi4uLi4uLg=="
BODY: dict[str, Any] = {
    "location": "westeurope",
    "properties": {
        "publisher": "Microsoft.EnterpriseCloud.Monitoring",
        "type": "OmsAgentForLinux",
        "typeHandlerVersion": "1.3",
        "autoUpgradeMinorVersion": True,
        "settings": {"workspaceId": "11111111-2222-4333-8444-555555555555", "own_Case-kept": {"a": [1, None, "x"]}},
        "protectedSettings": {"workspaceKey": KEY},
    },
}

type Call = Callable[[ArmAdapter, VmId], Awaitable[object]]


async def read(adapter: ArmAdapter, vm: VmId) -> object:
    return await adapter.read_machine(vm)


async def install(adapter: ArmAdapter, vm: VmId) -> object:
    await adapter.start_install(vm, OMS, BODY)
    return None


async def list_all(adapter: ArmAdapter, vm: VmId) -> object:
    return [body async for body in adapter.list_machines(vm.subscription)]


async def subscriptions(adapter: ArmAdapter, _: VmId) -> object:
    return await adapter.list_subscriptions()


CALLS: dict[str, Call] = {"read": read, "install": install, "list": list_all, "subscriptions": subscriptions}
EVERY_CALL = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
READ_AND_INSTALL = pytest.mark.parametrize("call", [read, install], ids=["read", "install"])


def add(azure: Azure, name: str = "web-01", **changes: Any) -> VmId:
    """A VM that has been there for long."""
    machine = azure.arm.add_vm(VmSpec(name=name, subscription=SUBSCRIPTIONS[0], **changes))
    vm = parse_id(machine.id)
    assert isinstance(vm, VmId)
    return vm


async def refusal(call: Call, adapter: ArmAdapter, vm: VmId) -> Evidence:
    """What the ArmError of a call knows."""
    with pytest.raises(ArmError) as raised:
        await call(adapter, vm)
    return raised.value.evidence


async def test_a_machine_is_read_as_arm_has_it_in_one_request(azure: Azure) -> None:
    vm = add(azure, tags={"env": "prod"}, zones=("1",))

    body = await azure.adapter.read_machine(vm)

    assert azure.arm.requests.kinds() == {"vm-get": 1}
    assert body["properties"]["vmId"] == azure.arm.machines[str(vm)].vm_id
    assert body["tags"] == {"env": "prod"}
    assert body["zones"] == ["1"]
    facts = read_facts(body)
    assert facts.id == vm
    assert facts.image.offer == "UbuntuServer"
    assert facts.power.value == "running"


async def test_an_install_is_one_request_that_waits_for_nothing(azure: Azure) -> None:
    vm = add(azure)

    await azure.adapter.start_install(vm, OMS, BODY)

    assert azure.arm.requests.kinds() == {"extension-put": 1}
    (extension,) = azure.arm.machines[str(vm)].extensions.values()
    assert extension.provisioning_state == "Creating"


async def test_the_body_of_an_install_arrives_as_it_was_given(azure: Azure) -> None:
    vm = add(azure)

    await azure.adapter.start_install(vm, OMS, BODY)

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
        body = await azure.adapter.read_machine(VmId(subscription.upper(), "rg-fleet", "WEB-01"))
        assert body["properties"]["vmId"] == machine.vm_id

    assert len(azure.credential.tokens) <= len(SUBSCRIPTIONS)


async def test_the_subscriptions_that_are_not_disabled_are_listed(azure: Azure) -> None:
    value = [{"subscriptionId": "a", "state": "Enabled"}, {"subscriptionId": "b", "state": "Disabled"}]
    azure.arm.faults.add(FaultRule(status=200, body={"value": [*value, {"subscriptionId": "c", "state": "Warned"}]}))

    assert await azure.adapter.list_subscriptions() == ("a", "c")


async def test_a_list_has_every_machine_of_every_page(azure: Azure) -> None:
    for number in range(120):
        add(azure, f"web-{number:03}")

    names = [body["name"] async for body in azure.adapter.list_machines(SUBSCRIPTIONS[0])]

    assert len(set(names)) == len(names) == 120
    assert azure.arm.requests.count(kind="vm-list") == 3
    assert [body async for body in azure.adapter.list_machines(SUBSCRIPTIONS[1])] == []


@READ_AND_INSTALL
async def test_a_machine_that_is_not_there_is_told_with_arm_s_words(azure: Azure, call: Call) -> None:
    vm = add(azure)

    evidence = await refusal(call, azure.adapter, VmId(vm.subscription, vm.resource_group, "nobody"))

    assert evidence.http_status == 404
    assert evidence.code in ("ResourceNotFound", "ParentResourceNotFound")
    assert "nobody" in evidence.message
    assert evidence.headers["x-ms-failure-cause"] == "gateway"


async def test_a_conflict_is_told_with_its_inner_code(azure: Azure) -> None:
    vm = add(azure, power=Power.DEALLOCATED)

    evidence = await refusal(install, azure.adapter, vm)

    assert (evidence.http_status, evidence.code) == (409, "OperationNotAllowed")
    assert evidence.inner_code == "CannotModifyExtensionsWhenVMNotRunning"
    assert "not running" in evidence.message


REFUSALS = [
    FaultRule(status=400, code="BadRequest", message="no", error={"target": "vm", "details": [{"code": "Inner"}]}),
    FaultRule(status=401, code="InvalidAuthenticationToken", message="expired"),
    FaultRule(status=403, code="AuthorizationFailed", message="The client '…' does not have authorization"),
    FaultRule(status=409, code="Conflict", message="a concurrent request", headers={"Retry-After": "5"}),
    FaultRule(status=429, code="TooManyRequests", message="slow down", headers={"Retry-After": "1200"}),
    FaultRule(status=500, code="InternalServerError", message="an error occurred"),
    FaultRule(status=503, code="ServerBusy", message="busy", headers={"Retry-After": "60"}),
]


@EVERY_CALL
@pytest.mark.parametrize("fault", REFUSALS, ids=[str(fault.status) for fault in REFUSALS])
async def test_a_refusal_is_told_once_with_status_code_words_and_headers(
    azure: Azure, call: Call, fault: FaultRule
) -> None:
    vm = add(azure)
    azure.arm.faults.add(fault)

    evidence = await refusal(call, azure.adapter, vm)

    assert (evidence.http_status, evidence.code, evidence.message) == (fault.status, fault.code, fault.message)
    assert [detail.code for detail in evidence.details] == [d["code"] for d in fault.error.get("details", [])]
    assert evidence.headers.get("retry-after") == fault.headers.get("Retry-After")
    assert len(azure.arm.requests) == 1


JSON = {"Content-Type": "application/json; charset=utf-8"}
ODD_REFUSALS = {
    "a proxy's page": FaultRule(
        status=502, body="<html><h1>Bad gateway</h1></html>", headers={"Content-Type": "text/html"}
    ),
    "plain text": FaultRule(status=404, body="no such thing", headers={"Content-Type": "text/plain"}),
    "no content type": FaultRule(status=500, body="upset"),
    "an unknown charset": FaultRule(
        status=500, body="{}", headers={"Content-Type": "application/json; charset=klingon"}
    ),
    "an empty body": FaultRule(status=503, body=""),
    "half of JSON": FaultRule(status=500, body='{"error": {"code": "Inter', headers=JSON),
    "a list": FaultRule(status=500, body="[1, 2]", headers=JSON),
    "a bottomless body": FaultRule(status=500, body='{"error":' + "[" * 20_000, headers=JSON),
    "a lone surrogate": FaultRule(status=500, body='{"error":{"code":"X","message":"\\ud800"}}', headers=JSON),
    "a redirect": FaultRule(status=302, body="", headers={"Location": "https://127.0.0.1:9/"}),
    "nothing to say": FaultRule(status=204, body=""),
}


@EVERY_CALL
@pytest.mark.parametrize("fault", ODD_REFUSALS.values(), ids=ODD_REFUSALS)
async def test_a_refusal_in_any_shape_keeps_its_status(azure: Azure, call: Call, fault: FaultRule) -> None:
    vm = add(azure)
    azure.arm.faults.add(fault)

    evidence = await refusal(call, azure.adapter, vm)

    assert evidence.http_status == fault.status
    assert len(azure.arm.requests) == 1


SPOILED = {
    "half of JSON": FaultRule(status=200, body='{"id": "/subscr', headers=JSON),
    "a list": FaultRule(status=200, body="[]", headers=JSON),
    "null": FaultRule(status=200, body="null", headers=JSON),
    "a text": FaultRule(status=200, body='"x"', headers=JSON),
    "an empty object": FaultRule(status=200, body="{}", headers=JSON),
    "something else": FaultRule(status=200, body='{"id": "/subscriptions/x", "value": "y"}', headers=JSON),
    "a page": FaultRule(status=200, body="<html>sign in</html>", headers={"Content-Type": "text/html"}),
    "a bottomless body": FaultRule(status=200, body="[" * 20_000, headers=JSON),
    "false gzip": FaultRule(status=200, body="{}", headers=JSON | {"Content-Encoding": "gzip"}),
    "half of the answer": FaultRule(cut=Cut.TRUNCATE),
}


@pytest.mark.parametrize("call", [read, list_all, subscriptions], ids=["read", "list", "subscriptions"])
@pytest.mark.parametrize("fault", SPOILED.values(), ids=SPOILED)
async def test_an_answer_that_is_not_what_was_asked_for_is_an_error_without_a_status(
    azure: Azure, call: Call, fault: FaultRule
) -> None:
    vm = add(azure)
    azure.arm.faults.add(fault)

    evidence = await refusal(call, azure.adapter, vm)

    assert evidence.http_status is None
    assert evidence.code in ("DecodeError", "IncompleteReadError")


@READ_AND_INSTALL
async def test_a_connection_that_breaks_is_an_error_without_a_status(azure: Azure, call: Call) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(cut=Cut.RESET))

    evidence = await refusal(call, azure.adapter, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceRequestError")
    assert len(azure.arm.requests) <= 2  # aiohttp asks once more where there was no answer at all


@READ_AND_INSTALL
async def test_an_answer_that_does_not_come_is_an_error_without_a_status(azure: Azure, call: Call) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(delay=60))
    adapter = ArmAdapter(azure.credential, azure.endpoints.arm, SCOPE, azure.clock.now, tls=azure.tls, patience=0.1)

    evidence = await refusal(call, adapter, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceResponseTimeoutError")
    await adapter.close()
    await azure.clock.advance(60)


@dataclass(frozen=True)
class Elsewhere:
    """An endpoint that is not ARM's, and how the failure to reach it is called."""

    url: str
    trusted: bool = True


ELSEWHERE = {
    "nobody listens": Elsewhere("https://127.0.0.1:9"),
    "no such host": Elsewhere("https://arm.invalid"),
    "an authority that is not trusted": Elsewhere("", trusted=False),
    "no TLS": Elsewhere("http://127.0.0.1:9"),
}


@EVERY_CALL
@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_an_arm_that_cannot_be_reached_is_an_error_without_a_status(
    azure: Azure, call: Call, elsewhere: Elsewhere
) -> None:
    vm = add(azure)
    tls = azure.tls if elsewhere.trusted else None
    adapter = ArmAdapter(azure.credential, elsewhere.url or azure.endpoints.arm, SCOPE, azure.clock.now, tls=tls)

    evidence = await refusal(call, adapter, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceRequestError")
    await adapter.close()


def token_refused(status: int, message: str) -> HttpResponseError:
    error = HttpResponseError(message)
    error.status_code = status
    return error


NO_TOKEN = {
    "none is to be had": ClientAuthenticationError("ManagedIdentityCredential authentication unavailable"),
    "the endpoint refuses": token_refused(400, "Unable to load the proper Managed Identity"),
    "the endpoint is throttled": token_refused(429, "too many"),
    "the endpoint is upset": token_refused(500, "upset"),
    "the endpoint is away": ServiceRequestError("connection refused"),
    "the file of the credential is": OSError("permission denied"),
    "its answer is no token": ValueError("expires_on"),
}


@EVERY_CALL
@pytest.mark.parametrize("failure", NO_TOKEN.values(), ids=NO_TOKEN)
async def test_a_token_that_is_not_to_be_had_is_not_taken_for_arm_s_answer(
    azure: Azure, call: Call, failure: Exception
) -> None:
    vm = add(azure)
    azure.credential.failure = failure

    evidence = await refusal(call, azure.adapter, vm)

    assert (evidence.http_status, evidence.code) == (None, "AuthenticationFailed")
    assert str(failure) in evidence.message
    assert len(azure.arm.requests) == 0
    azure.credential.failure = None
    await read(azure.adapter, vm)


async def test_a_token_that_arm_refuses_is_told_with_arm_s_words(azure: Azure) -> None:
    vm = add(azure)
    await azure.adapter.read_machine(vm)
    azure.arm.tokens.expire_all()

    evidence = await refusal(read, azure.adapter, vm)

    assert (evidence.http_status, evidence.code) == (401, "ExpiredAuthenticationToken")


@pytest.mark.parametrize(("call", "kind"), [(read, "vm-get"), (install, "extension-put")], ids=["read", "install"])
async def test_after_a_429_nothing_is_sent_until_the_wait_is_over(azure: Azure, call: Call, kind: str) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(nth=(1,), status=429, code="TooManyRequests", headers={"Retry-After": "600"}))
    await refusal(call, azure.adapter, vm)

    held_back = await refusal(call, azure.adapter, vm)
    assert (held_back.http_status, held_back.code) == (429, "HeldBack")
    assert float(held_back.headers["retry-after"]) == pytest.approx(600)
    assert azure.arm.requests.count(kind=kind) == 1

    await azure.clock.advance(601)
    await call(azure.adapter, vm)
    assert azure.arm.requests.count(kind=kind) == 2


async def test_reads_and_writes_and_subscriptions_are_held_back_apart(azure: Azure) -> None:
    vm = add(azure)
    other = azure.arm.add_vm(VmSpec(name="db-01", subscription=SUBSCRIPTIONS[1]))
    azure.arm.faults.add(FaultRule(kind="extension-put", status=429, headers={"Retry-After": "600"}, vm="web-*"))
    await refusal(install, azure.adapter, vm)

    await azure.adapter.read_machine(vm)
    await azure.adapter.start_install(VmId(SUBSCRIPTIONS[1], other.group, other.name), OMS, BODY)


async def test_nothing_that_is_raised_or_shown_holds_a_secret(azure: Azure, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    vm = add(azure)
    shown = [repr(azure.adapter), repr(vars(azure.adapter))]
    for fault in (
        FaultRule(status=500, code="X", message="y"),
        FaultRule(cut=Cut.RESET),
        FaultRule(status=400, body=""),
    ):
        azure.arm.faults.clear()
        azure.arm.faults.add(fault)
        for call in (read, install):
            with pytest.raises(ArmError) as raised:
                await call(azure.adapter, vm)
            error = raised.value
            shown += [*format_exception(error), repr(error), repr(error.evidence), error.evidence.text]
            shown += [json.dumps(dict(error.evidence.headers))]

    text = "\n".join([*shown, caplog.text])
    assert KEY not in text
    assert azure.credential.tokens
    assert not any(token in text for token in azure.credential.tokens)
    assert not re.search(r"Bearer [\w.-]{20}", text)
