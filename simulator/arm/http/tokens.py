"""Tokens: issued at the App Service endpoint of the managed identity and at Entra's sign-in, checked by ARM.

They are signed JWTs that clients can read. Only those that were issued here are accepted; they are kept in memory only,
and appear in no log, repr or error text.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from simulator.arm.entra.signing import signing_key
from simulator.arm.http.errors import ArmError
from simulator.arm.options import Options
from simulator.clock import Clock

_PATH = "/msi/token"
_API_VERSION = "2019-08-01"
_FUNCTION_APP = (
    "/subscriptions/00000000-0000-4000-8000-000000000001/resourcegroups/rg-onboarding/providers/Microsoft.Web/sites/"
    "onboarding"
)


@dataclass(frozen=True, slots=True)
class _Grant:
    principal: str
    audience: str
    tenant: str
    expires: datetime


@dataclass(frozen=True, slots=True)
class Token:
    value: str = field(repr=False)
    expires: datetime


class Tokens:
    def __init__(self, clock: Clock, options: Options) -> None:
        self._clock = clock
        self._options = options
        self._grants: dict[str, _Grant] = {}

    def issue(
        self,
        audience: str,
        principal: str = "",
        *,
        lifetime: float | None = None,
        tenant: str = "",
        application: str = "",
        resource: str = "",
    ) -> Token:
        """A token of that principal; `lifetime` in real seconds. `application` is its client id (unknown: its principal
        id again), `resource` the Azure resource that has the managed identity."""
        seconds = self._options.token_lifetime if lifetime is None else lifetime
        now = self._clock.now()
        expires = now + timedelta(seconds=seconds)
        owner, home = principal or self._options.principal_id, tenant or self._options.tenant_id
        issuer = f"https://sts.windows.net/{home}/"
        claims = {
            "aud": audience,
            "iss": issuer,
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": int(expires.timestamp()),
            "appid": application or owner,
            "appidacr": "2" if resource else "1",
            "idp": issuer,
            "idtyp": "app",
            "oid": owner,
            "sub": owner,
            "tid": home,
            "uti": secrets.token_urlsafe(16),
            "ver": "1.0",
            **({"xms_mirid": resource} if resource else {}),
        }
        value = signing_key().sign(claims)
        self._grants[value] = _Grant(owner, audience.rstrip("/"), home, expires)
        return Token(value, expires)

    def accepts(self, value: str, audience: str) -> bool:
        """Whether a token is valid for another service of the laptop, such as an Event Grid topic."""
        return bool(self.principal(value, audience))

    def principal(self, value: str, audience: str) -> str:
        """The principal of a token for that service; empty if the token is not valid there."""
        grant = self._grants.get(value)
        valid = grant is not None and grant.expires > self._clock.now() and grant.audience == audience.rstrip("/")
        return grant.principal if grant is not None and valid else ""

    def expire_all(self) -> None:
        """Expire all tokens issued so far."""
        ended = self._clock.now() - timedelta(seconds=1)
        for value, grant in self._grants.items():
            self._grants[value] = _Grant(grant.principal, grant.audience, grant.tenant, ended)

    def verify(self, authorization: str | None) -> str:
        """The principal of the header's token; raises ARM's 401 for a bad token."""
        if not authorization:
            reason = "Authentication failed. The 'Authorization' header is missing."
            raise self._refusal("AuthenticationFailed", reason, "missing 'Authorization' header")
        scheme, _, value = authorization.partition(" ")
        grant = self._grants.get(value.strip()) if scheme.lower() == "bearer" else None
        if grant is None:
            raise self._refusal("InvalidAuthenticationToken", "The access token is invalid.", "invalid access token")
        self._check(grant)
        return grant.principal

    def _check(self, grant: _Grant) -> None:
        now = self._clock.now()
        if grant.expires <= now:
            reason = (
                f"The access token expiry UTC time '{_american(grant.expires)}' is earlier than current UTC time "
                f"'{_american(now)}'."
            )
            raise self._refusal("ExpiredAuthenticationToken", reason, "the access token has expired")
        if grant.audience not in self._options.audiences:
            allowed = ",".join(f"'{audience}'" for audience in self._options.audiences)
            reason = (
                f"The access token has been obtained for wrong audience or resource '{grant.audience}'. It should "
                f"exactly match with one of the allowed audiences {allowed}."
            )
            raise self._refusal("InvalidAuthenticationTokenAudience", reason, "wrong audience")
        if grant.tenant != self._options.tenant_id:
            raise self._refusal("InvalidAuthenticationTokenTenant", self._wrong_tenant(grant.tenant), "wrong issuer")

    def _wrong_tenant(self, tenant: str) -> str:
        ours = self._options.tenant_id
        return (
            f"The access token is from the wrong issuer 'https://sts.windows.net/{tenant}/'. It must match the tenant "
            f"'https://sts.windows.net/{ours}/' associated with this subscription. Please use the authority (URL) "
            f"'https://login.windows.net/{ours}' to get the token. Note, if the subscription is transferred to another "
            "tenant there is no impact to the services, but information about new tenant could take time to propagate "
            "(up to an hour). If you just transferred your subscription and see this error message, please try back "
            "later."
        )

    def _refusal(self, code: str, message: str, reason: str) -> ArmError:
        challenge = (
            f'Bearer authorization_uri="https://login.windows.net/{self._options.tenant_id}", error="invalid_token", '
            f'error_description="The authentication failed because of {reason}."'
        )
        return ArmError(401, code, message, gateway=True, headers={"WWW-Authenticate": challenge})


class IdentityEndpoint:
    """The endpoint behind `IDENTITY_ENDPOINT`, with the secret in `IDENTITY_HEADER`."""

    def __init__(self, tokens: Tokens, options: Options) -> None:
        self.header = secrets.token_hex(16)
        self.path = _PATH
        self.issued = 0
        self.broken: int | None = None
        self.tenant = options.tenant_id
        self._tokens = tokens
        self._options = options

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get(_PATH, self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.Response:
        if self.broken is not None:
            return _refused(self.broken, "The managed identity service is not available.")
        if request.headers.get("X-IDENTITY-HEADER") != self.header:
            return _refused(401, "The X-IDENTITY-HEADER header is missing or wrong.")
        query = request.query
        resource, client = query.get("resource"), query.get("client_id", "")
        if query.get("api-version") != _API_VERSION or not resource:
            return _refused(400, f"Expected api-version={_API_VERSION} and a resource.")
        named = "mi_res_id" in query or "object_id" in query  # ids that the simulated identities do not have
        principal = self._options.identities.get(client) if client or named else self._options.principal_id
        if principal is None:
            return _refused(400, "Unable to load the proper Managed Identity.")
        self.issued += 1
        return web.json_response(self._grant(resource, principal, client))

    def _grant(self, resource: str, principal: str, client: str) -> dict[str, Any]:
        application = client or self._options.client_id
        token = self._tokens.issue(
            resource, principal, tenant=self.tenant, application=application, resource=_FUNCTION_APP
        )
        grant = {
            "access_token": token.value,
            "expires_on": str(int(token.expires.timestamp())),
            "resource": resource,
            "token_type": "Bearer",
        }
        return grant | ({"client_id": client} if client else {})


def _refused(status: int, message: str) -> web.Response:
    return web.json_response({"statusCode": status, "message": message, "correlationId": None}, status=status)


def _american(moment: datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"
