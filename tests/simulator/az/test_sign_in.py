"""Sign-in: what clients read in a token, and Entra's words where it is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientSecretCredential
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from simulator.arm import Options
from tests.simulator.conftest import AUDIENCE, Scene

TENANT = Options().tenant_id


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = json.loads(decoded(token.split(".")[1]))
    return claims


async def get(scene: Scene, path: str) -> Any:
    async with scene.session.get(f"{scene.endpoints.sign_in}/{path}") as response:
        return response.status, await response.json()


async def sign_in(scene: Scene, tenant: str = TENANT, **form: str) -> tuple[int, Any]:
    data = {"grant_type": "client_credentials", "scope": f"{AUDIENCE}/.default", **form}
    url = f"{scene.endpoints.sign_in}/{tenant}/oauth2/v2.0/token"
    async with scene.session.post(url, data=data) as response:
        return response.status, await response.json()


async def test_the_sdk_signs_in_with_a_secret(scene: Scene) -> None:
    principal = scene.arm.directory.add("pipeline")
    credential = ClientSecretCredential(
        TENANT,
        principal.client_id,
        principal.secret,
        authority=scene.endpoints.sign_in,
        disable_instance_discovery=True,
        connection_verify=str(scene.endpoints.ca_file),
    )
    token = (await asyncio.to_thread(credential.get_token, f"{AUDIENCE}/.default")).token
    credential.close()
    claims = claims_of(token)
    expected = {"tid": TENANT, "oid": principal.principal_id, "appid": principal.client_id, "aud": AUDIENCE}
    assert {name: claims[name] for name in expected} == expected
    assert claims["exp"] - claims["iat"] == Options().token_lifetime
    listed = await scene.call("GET", "/subscriptions", headers={"Authorization": f"Bearer {token}"})
    assert listed.status == 200


async def test_the_managed_identitys_token_names_its_resource(scene: Scene) -> None:
    query = {"api-version": "2019-08-01", "resource": AUDIENCE}
    header = {"X-IDENTITY-HEADER": scene.endpoints.identity_header}
    async with scene.session.get(scene.endpoints.identity, params=query, headers=header) as response:
        claims = claims_of((await response.json())["access_token"])
    assert (claims["tid"], claims["oid"]) == (TENANT, Options().principal_id)
    assert claims["appid"] == Options().client_id
    assert "/providers/Microsoft.Web/sites/" in claims["xms_mirid"]


async def test_a_published_key_verifies_each_token(scene: Scene) -> None:
    _, configuration = await get(scene, f"{TENANT}/v2.0/.well-known/openid-configuration")
    assert configuration["token_endpoint"].startswith(scene.endpoints.sign_in)
    _, keys = await get(scene, configuration["jwks_uri"].removeprefix(f"{scene.endpoints.sign_in}/"))
    header, claims, signature = scene.arm.tokens.issue(AUDIENCE).value.split(".")
    (key,) = [key for key in keys["keys"] if key["kid"] == json.loads(decoded(header))["kid"]]
    modulus, exponent = (int.from_bytes(decoded(key[name])) for name in ("n", "e"))
    public = RSAPublicNumbers(exponent, modulus).public_key()
    public.verify(decoded(signature), f"{header}.{claims}".encode(), PKCS1v15(), hashes.SHA256())


async def test_a_token_that_was_made_elsewhere_is_refused(scene: Scene) -> None:
    header, _, signature = scene.arm.tokens.issue(AUDIENCE).value.split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"oid": Options().principal_id}).encode()).decode().rstrip("=")
    reply = await scene.call(
        "GET", "/subscriptions", headers={"Authorization": f"Bearer {header}.{forged}.{signature}"}
    )
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")


@pytest.mark.parametrize(
    ("form", "status", "error", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_id": "0000"}, 400, "unauthorized_client", 700016),
        ({"scope": AUDIENCE}, 400, "invalid_scope", 1002012),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
        ({"tenant": "another"}, 400, "invalid_tenant", 90002),
    ],
)
async def test_a_refusal_has_entras_shape_and_code(
    scene: Scene, form: dict[str, str], status: int, error: str, code: int
) -> None:
    principal = scene.arm.directory.add("pipeline")
    given = {"client_id": principal.client_id, "client_secret": principal.secret, **form}
    answered, body = await sign_in(scene, **given)
    assert (answered, body["error"], body["error_codes"]) == (status, error, [code])
    assert body["error_description"].startswith(f"AADSTS{code}: ")
    assert principal.secret not in str(body)


async def test_an_unknown_tenant_has_no_configuration(scene: Scene) -> None:
    status, body = await get(scene, "nobody/v2.0/.well-known/openid-configuration")
    assert (status, body["error"]) == (400, "invalid_tenant")


async def test_the_sdk_shows_the_refusal(scene: Scene) -> None:
    credential = ClientSecretCredential(
        TENANT,
        scene.arm.directory.add("pipeline").client_id,
        "wrong",
        authority=scene.endpoints.sign_in,
        disable_instance_discovery=True,
        connection_verify=str(scene.endpoints.ca_file),
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS7000215"):
        await asyncio.to_thread(credential.get_token, f"{AUDIENCE}/.default")
    credential.close()


def test_a_secret_is_in_no_repr(scene: Scene) -> None:
    principal = scene.arm.directory.add("pipeline")
    assert principal.secret not in repr(principal)


async def test_the_clouds_metadata_needs_no_token_and_names_where_to_sign_in(scene: Scene) -> None:
    reply = await scene.call("GET", "/metadata/endpoints", version="2022-09-01", headers={"Authorization": ""})
    assert reply.status == 200
    assert reply.body["resourceManager"] == scene.endpoints.arm
    assert reply.body["authentication"]["loginEndpoint"] == scene.endpoints.sign_in
    assert reply.body["authentication"]["audiences"][0] == AUDIENCE
    refused = await scene.call("GET", "/metadata/endpoints", version="1999-01-01")
    assert (refused.status, refused.code) == (400, "NoRegisteredProviderFound")
