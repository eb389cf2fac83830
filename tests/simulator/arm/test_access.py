"""Access: tokens, api-versions, paths, roles, policies, locks, registration."""

from __future__ import annotations

import re

import pytest

from simulator.arm import Machine
from tests.simulator.conftest import AUDIENCE, OMS, Scene, oms_body

SUBSCRIPTION = "/subscriptions/00000000-0000-4000-8000-000000000001"


async def test_a_missing_token_is_401_with_a_challenge(scene: Scene) -> None:
    machine = scene.add()
    reply = await scene.call("GET", machine.id, headers={"Authorization": ""})
    assert (reply.status, reply.code) == (401, "AuthenticationFailed")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer authorization_uri=")


async def test_an_unknown_token_is_401_and_not_repeated(scene: Scene) -> None:
    reply = await scene.call("GET", scene.add().id, headers={"Authorization": "Bearer made-up-token"})
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
    assert "made-up" not in str(reply)


async def test_an_expired_token_in_the_middle_of_a_poll_is_401_in_azures_words(scene: Scene) -> None:
    accepted = await scene.put_oms(scene.add())
    token = scene.arm.tokens.issue(AUDIENCE, lifetime=60).value
    header = {"Authorization": f"Bearer {token}"}
    assert (await scene.call("GET", accepted.headers["Azure-AsyncOperation"], headers=header)).status == 200
    await scene.clock.advance(61)
    reply = await scene.call("GET", accepted.headers["Azure-AsyncOperation"], headers=header)
    assert (reply.status, reply.code) == (401, "ExpiredAuthenticationToken")
    moment = r"\d+/\d+/\d{4} \d+:\d\d:\d\d [AP]M"
    pattern = rf"The access token expiry UTC time '{moment}' is earlier than current UTC time '{moment}'\."
    assert re.fullmatch(pattern, reply.message)


async def test_wrong_tenant_and_wrong_audience_have_different_errors(scene: Scene) -> None:
    machine = scene.add()
    for token, code in (
        (scene.arm.tokens.issue(AUDIENCE, tenant="somewhere-else"), "InvalidAuthenticationTokenTenant"),
        (scene.arm.tokens.issue("https://vault.azure.net"), "InvalidAuthenticationTokenAudience"),
    ):
        reply = await scene.call("GET", machine.id, headers={"Authorization": f"Bearer {token.value}"})
        assert (reply.status, reply.code) == (401, code)


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [
        ("", 400, "MissingApiVersionParameter"),
        ("2026-04-31", 400, "NoRegisteredProviderFound"),
        ("newest", 400, "InvalidApiVersionParameter"),
        ("2026-03-03", 400, "NoRegisteredProviderFound"),
    ],
    ids=["missing", "unknown", "malformed", "of galleries"],
)
async def test_the_api_version_is_checked_by_type(scene: Scene, version: str, status: int, code: str) -> None:
    reply = await scene.call("GET", scene.add().id, version=version)
    assert (reply.status, reply.code) == (status, code)


@pytest.mark.parametrize("version", ["2017-12-01", "2024-11-01", "2026-04-01"])
async def test_older_and_newer_api_versions_are_served(scene: Scene, version: str) -> None:
    assert (await scene.call("GET", scene.add().id, version=version)).status == 200


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{SUBSCRIPTION}/providers/Microsoft.Compute/starships", 404, "InvalidResourceType"),
        (f"{SUBSCRIPTION}/providers/Contoso.Space/starships", 404, "InvalidResourceNamespace"),
        (f"{SUBSCRIPTION}/providers/Microsoft.Network/starships", 404, "InvalidResourceType"),
        (f"{SUBSCRIPTION}/resourceGroups/none", 404, "ResourceGroupNotFound"),
        (
            f"{SUBSCRIPTION}/resourceGroups/none/providers/Microsoft.Compute/virtualMachines/x",
            404,
            "ResourceGroupNotFound",
        ),
        (
            f"{SUBSCRIPTION}/resourceGroups/rg-fleet/providers/Microsoft.Compute/virtualMachines/x",
            404,
            "ResourceNotFound",
        ),
        ("/subscriptions/99/resourceGroups/x", 404, "SubscriptionNotFound"),
        ("/elsewhere", 404, "NotFound"),
    ],
)
async def test_unknown_paths_are_refused(scene: Scene, path: str, status: int, code: str) -> None:
    scene.add()
    reply = await scene.call("GET", path)
    assert (reply.status, reply.code) == (status, code)


async def test_a_method_that_a_resource_does_not_have_is_refused(scene: Scene) -> None:
    reply = await scene.call("POST", scene.add().id)
    assert (reply.status, reply.code) == (405, "MethodNotAllowed")


async def test_a_narrow_principal_gets_403_even_for_a_group_that_does_not_exist(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.scopes.grant("narrow", machine.id, "Microsoft.Compute/virtualMachines/read")
    header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, 'narrow').value}"}
    assert (await scene.call("GET", machine.id, headers=header)).status == 200
    misspelt = await scene.call("GET", machine.id.replace("rg-fleet", "rg-float"), headers=header)
    assert (misspelt.status, misspelt.code) == (403, "AuthorizationFailed")
    refused = await scene.call("PUT", f"{machine.id}/extensions/X", oms_body(), headers=header)
    assert "to perform action 'Microsoft.Compute/virtualMachines/extensions/write' over scope" in refused.message
    assert refused.headers["x-ms-failure-cause"] == "gateway"


async def test_a_group_and_a_subscription_show_the_properties_that_were_set(scene: Scene) -> None:
    machine = scene.add()
    group = machine.id.partition("/providers/")[0]
    body = (await scene.call("GET", group)).body
    assert (body["name"], body["location"], "tags" in body) == ("rg-fleet", machine.location, False)
    scene.arm.describe(group, tags={"env": "lab"}, managedBy="/x")
    body = (await scene.call("GET", group.upper().replace("/SUBSCRIPTIONS", "/subscriptions"))).body
    assert (body["tags"], body["managedBy"]) == ({"env": "lab"}, "/x")
    assert (await scene.call("PUT", group, {"location": machine.location, "tags": {"env": "prod"}})).status == 200
    body = (await scene.call("GET", group)).body
    assert (body["tags"], "managedBy" in body) == ({"env": "prod"}, False)
    assert "tags" not in (await scene.call("GET", SUBSCRIPTION)).body
    scene.arm.describe(SUBSCRIPTION, displayName="Sandbox", tags={"a": "b"})
    body = (await scene.call("GET", SUBSCRIPTION)).body
    assert (body["displayName"], body["tags"]) == ("Sandbox", {"a": "b"})


async def test_a_deny_policy_refuses_exactly_that_handler(scene: Scene) -> None:
    machine = scene.add()
    scene.arm.scopes.deny_handler(SUBSCRIPTION, f"{OMS['publisher']}.{OMS['type']}")
    reply = await scene.put_oms(machine)
    assert (reply.status, reply.code, reply.body["error"]["target"]) == (
        403,
        "RequestDisallowedByPolicy",
        "OMSExtension",
    )
    assert reply.body["error"]["additionalInfo"][0]["type"] == "PolicyViolation"
    other = {"publisher": "Microsoft.Azure.Extensions", "type": "CustomScript", "typeHandlerVersion": "2.1"}
    assert (await scene.put_oms(machine, **other)).status == 201


async def test_states_of_the_scope_refuse_writes_but_not_reads(scene: Scene) -> None:
    machine: Machine = scene.add()
    scopes, subscription = scene.arm.scopes, machine.subscription
    for state, entry, code in (
        (scopes.locks, machine.id.lower().partition("/providers")[0], "ScopeLocked"),
        (scopes.unregistered, subscription, "MissingSubscriptionRegistration"),
        (scopes.disabled, subscription, "ReadOnlyDisabledSubscription"),
        (scopes.going, machine.id.lower().partition("/providers")[0], "ResourceGroupBeingDeleted"),
    ):
        state.add(entry)
        reply = await scene.put_oms(machine)
        assert (reply.status, reply.code) == (409, code)
        assert (await scene.call("GET", machine.id)).status == 200
        state.discard(entry)
    assert (await scene.put_oms(machine)).status == 201


async def test_after_registering_the_provider_the_subscription_accepts_writes(scene: Scene) -> None:
    provider = f"{SUBSCRIPTION}/providers/Microsoft.Compute"
    scene.arm.scopes.unregistered.add(SUBSCRIPTION.rpartition("/")[2])
    before = await scene.call("GET", provider, version="2016-02-01")
    await scene.call("POST", f"{provider}/register", version="2016-02-01")
    after = await scene.call("GET", provider, version="2016-02-01")
    assert [r.body["registrationState"] for r in (before, after)] == ["NotRegistered", "Registered"]


async def test_the_identity_endpoint_speaks_the_app_service_protocol(scene: Scene) -> None:
    endpoints = scene.endpoints
    query = {"api-version": "2019-08-01", "resource": AUDIENCE}
    good = {"X-IDENTITY-HEADER": endpoints.identity_header}
    async with scene.session.get(endpoints.identity, params=query, headers=good) as response:
        grant = await response.json()
    assert set(grant) == {"access_token", "expires_on", "resource", "token_type"}
    assert isinstance(grant["expires_on"], str)
    assert scene.arm.tokens.accepts(grant["access_token"], AUDIENCE)
    for params, headers, status in (
        (query, {}, 401),
        ({"resource": AUDIENCE}, good, 400),
        (query | {"client_id": "nobody"}, good, 400),
        (query | {"mi_res_id": "/nobody"}, good, 400),
    ):
        async with scene.session.get(endpoints.identity, params=params, headers=headers) as response:
            assert response.status == status
    scene.arm.break_identity(500)
    async with scene.session.get(endpoints.identity, params=query, headers=good) as response:
        assert response.status == 500


async def test_tokens_and_secrets_are_in_no_repr(scene: Scene) -> None:
    token = scene.arm.tokens.issue(AUDIENCE)
    await scene.call("GET", scene.add().id, headers={"Authorization": f"Bearer {token.value}"})
    representation = repr((token, scene.endpoints, list(scene.arm.requests), scene.arm.options))
    assert token.value not in representation
    assert scene.endpoints.identity_header not in representation


async def test_a_token_of_another_tenant_comes_from_the_identity_endpoint_when_it_moved(scene: Scene) -> None:
    async def code() -> tuple[int, str]:
        query = {"api-version": "2019-08-01", "resource": AUDIENCE}
        headers = {"X-IDENTITY-HEADER": scene.endpoints.identity_header}
        async with scene.session.get(scene.endpoints.identity, params=query, headers=headers) as response:
            token = (await response.json())["access_token"]
        reply = await scene.call(
            "GET", SUBSCRIPTION, version="2022-12-01", headers={"Authorization": f"Bearer {token}"}
        )
        return reply.status, "" if reply.status == 200 else reply.code

    scene.arm.move_identity("11111111-0000-4000-8000-000000000000")
    assert await code() == (401, "InvalidAuthenticationTokenTenant")
    scene.arm.move_identity(None)
    assert await code() == (200, "")


async def test_a_subscription_is_listed_for_any_role_in_it_and_read_for_a_right_on_itself(scene: Scene) -> None:
    machine = scene.add()
    grants = {
        "narrow": (machine.id, "Microsoft.Compute/virtualMachines/read"),
        "reader": (SUBSCRIPTION, "*/read"),
        "stranger": ("/subscriptions/99", "*"),
    }
    found = {}
    for principal, (scope, action) in grants.items():
        scene.arm.scopes.grant(principal, scope, action)
        header = {"Authorization": f"Bearer {scene.arm.tokens.issue(AUDIENCE, principal).value}"}
        listed = await scene.call("GET", "/subscriptions", version="2022-12-01", headers=header)
        read = await scene.call("GET", SUBSCRIPTION, version="2022-12-01", headers=header)
        found[principal] = (len(listed.body["value"]), read.status)
    assert found == {"narrow": (1, 403), "reader": (1, 200), "stranger": (0, 403)}
