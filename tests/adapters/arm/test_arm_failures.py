"""Every failure of ARM is an ArmError with the evidence of the answer: status, code, text, headers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.identity import CredentialUnavailableError

from onboarding.azure.arm.arm_requests import ArmRequests
from onboarding.azure.http_connections import Connections
from onboarding.domain.failures.classification import classify
from onboarding.domain.resource_id import VmId
from simulator.arm import Cut, FaultRule, Power
from tests.adapters.arm.arm_calls import (
    EVERY_CALL,
    READ_AND_INSTALL,
    Call,
    add,
    install,
    list_all,
    read,
    refusal,
    subscriptions,
)
from tests.adapters.conftest import SCOPE, Azure
from tests.reference import parse_errors


@READ_AND_INSTALL
async def test_the_error_of_a_missing_machine_has_the_text_of_arm(azure: Azure, call: Call) -> None:
    vm = add(azure)

    evidence = await refusal(call, azure.requests, VmId(vm.subscription, vm.resource_group, "nobody"))

    assert evidence.http_status == 404
    assert evidence.code in ("ResourceNotFound", "ParentResourceNotFound")
    assert "nobody" in evidence.message
    assert evidence.headers["x-ms-failure-cause"] == "gateway"


async def test_the_error_of_a_conflict_has_the_inner_code(azure: Azure) -> None:
    vm = add(azure, power=Power.DEALLOCATED)

    evidence = await refusal(install, azure.requests, vm)

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
async def test_the_error_of_a_refusal_has_status_code_text_and_headers_after_one_request(
    azure: Azure, call: Call, fault: FaultRule
) -> None:
    vm = add(azure)
    azure.arm.faults.add(fault)

    evidence = await refusal(call, azure.requests, vm)

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

    evidence = await refusal(call, azure.requests, vm)

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
async def test_an_unexpected_answer_is_an_error_without_a_status(azure: Azure, call: Call, fault: FaultRule) -> None:
    vm = add(azure)
    azure.arm.faults.add(fault)

    evidence = await refusal(call, azure.requests, vm)

    assert evidence.http_status is None
    assert evidence.code in ("DecodeError", "IncompleteReadError")


@READ_AND_INSTALL
async def test_a_connection_that_breaks_is_an_error_without_a_status(azure: Azure, call: Call) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(cut=Cut.RESET))

    evidence = await refusal(call, azure.requests, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceRequestError")
    assert len(azure.arm.requests) <= 2  # aiohttp sends a GET again if there was no answer at all


async def test_a_request_that_may_have_been_carried_out_is_not_sent_again(azure: Azure) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(kind="extension-put", cut=Cut.RESET, after=True))

    evidence = await refusal(install, azure.requests, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceRequestError")
    assert len(azure.arm.attempts) == 1


@READ_AND_INSTALL
async def test_a_missing_answer_is_an_error_without_a_status(azure: Azure, call: Call) -> None:
    vm = add(azure)
    azure.arm.faults.add(FaultRule(delay=60))
    requests = ArmRequests(
        azure.credential,
        azure.endpoints.arm,
        SCOPE,
        azure.clock.now,
        connections=Connections(azure.tls),
        read_timeout_s=0.1,
    )

    evidence = await refusal(call, requests, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceResponseTimeoutError")
    await requests.close()
    await azure.clock.advance(60)


@dataclass(frozen=True)
class Elsewhere:
    """An endpoint that cannot be reached, and the code of that failure."""

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
    requests = ArmRequests(
        azure.credential, elsewhere.url or azure.endpoints.arm, SCOPE, azure.clock.now, connections=Connections(tls)
    )

    evidence = await refusal(call, requests, vm)

    assert (evidence.http_status, evidence.code) == (None, "ServiceRequestError")
    await requests.close()


async def test_the_advice_for_an_untrusted_certificate_names_tls_inspection(azure: Azure) -> None:
    requests = ArmRequests(
        azure.credential, azure.endpoints.arm, SCOPE, azure.clock.now, connections=Connections(tls=None)
    )

    classified = classify(await refusal(read, requests, add(azure)), parse_errors({}), azure.clock.now())

    assert (classified.kind, classified.cause) == ("transient", "platform-error")
    assert "TLS inspection" in classified.advice
    await requests.close()


def token_refused(status: int, message: str) -> HttpResponseError:
    error = HttpResponseError(message)
    error.status_code = status
    return error


NO_TOKEN = {
    "none is to be had": (ClientAuthenticationError("ManagedIdentityCredential authentication unavailable"), True),
    "nobody answers": (CredentialUnavailableError("no response from the IMDS endpoint"), True),
    "it is not ready": (token_refused(400, "not ready"), True),
    "it is throttled": (token_refused(429, "busy"), True),
    "it is upset": (token_refused(500, "upset"), True),
    "it is gone for now": (token_refused(410, "gone"), True),
    "it is away": (ServiceRequestError("Cannot connect to host 169.254.169.254:80"), True),
    "it hangs up": (ServiceRequestError("Server disconnected"), True),
    "the connection breaks": (ConnectionResetError("Connection reset by peer"), True),
    "Entra ID has a hiccup": (ClientAuthenticationError("AADSTS90033: A transient error has occurred."), True),
    "the file of the credential is not readable": (OSError("permission denied"), True),
    "its answer is no token": (ValueError("expires_on"), True),
    "a VM's endpoint is not ready": (
        CredentialUnavailableError("No identity has been assigned to this resource. Error: not ready"),
        True,
    ),
    "a VM has no identity": (
        CredentialUnavailableError("No identity has been assigned to this resource. Error: Identity not found"),
        False,
    ),
    "the identity is not the app's": (token_refused(400, "Unable to load the proper Managed Identity."), False),
    "there is no such identity": (
        token_refused(400, "No User Assigned or Delegated Managed Identity found for specified ClientId"),
        False,
    ),
    "its secret is wrong": (ClientAuthenticationError("AADSTS7000215: Invalid client secret provided."), False),
    "it is not in the tenant": (ClientAuthenticationError("AADSTS700016: Application 'x' was not found"), False),
    "it may not sign in": (ClientAuthenticationError("unauthorized_client: no"), False),
    "nobody is signed in": (
        ClientAuthenticationError("DefaultAzureCredential failed to retrieve a token. Please run 'az login'"),
        False,
    ),
}


@pytest.mark.parametrize(("failure", "passes"), NO_TOKEN.values(), ids=NO_TOKEN)
async def test_a_missing_token_opens_no_circuit_breaker(azure: Azure, failure: Exception, passes: bool) -> None:
    vm = add(azure)
    azure.credential.failure = failure

    evidence = await refusal(read, azure.requests, vm)

    classified = classify(evidence, parse_errors({}), azure.clock.now())
    if passes:
        assert (evidence.code, classified.kind, classified.cause) == ("TokenUnavailable", "transient", "platform-error")
    else:
        assert (evidence.code, classified.kind, classified.cause) == ("IdentityUnusable", "waiting", "not-authorized")
        assert "Assign the managed identity" in classified.advice
    assert not classified.scope_wide
    assert "VM Onboarding" not in classified.advice


@EVERY_CALL
async def test_a_missing_token_is_not_mistaken_for_an_answer_of_arm(azure: Azure, call: Call) -> None:
    vm = add(azure)
    azure.credential.failure = token_refused(429, "too many")

    evidence = await refusal(call, azure.requests, vm)

    assert (evidence.http_status, evidence.code) == (None, "TokenUnavailable")
    assert "too many" in evidence.message
    assert len(azure.arm.requests) == 0
    azure.credential.failure = None
    await read(azure.requests, vm)


async def test_the_error_of_a_refused_token_has_the_text_of_arm(azure: Azure) -> None:
    vm = add(azure)
    await azure.adapter.read_machine(vm)
    azure.arm.tokens.expire_all()

    evidence = await refusal(read, azure.requests, vm)

    assert (evidence.http_status, evidence.code) == (401, "ExpiredAuthenticationToken")
