"""Entra's sign-in of applications: OpenID configuration, the public keys, and tokens for client id and secret.

The refusals have Entra's shape and codes (AADSTS…), which clients show to people.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web

from simulator.arm.entra.directory import Directory, ServicePrincipal
from simulator.arm.entra.signing import signing_key
from simulator.arm.http.tokens import Tokens
from simulator.arm.options import Options

_DEFAULT = "/.default"


class SignIn:
    """The endpoint that the cloud's metadata names as `loginEndpoint`."""

    def __init__(self, tokens: Tokens, directory: Directory, options: Options) -> None:
        self._tokens = tokens
        self._directory = directory
        self._options = options

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self._configuration)
        application.router.add_get("/{tenant}/discovery/v2.0/keys", self._keys)
        application.router.add_post("/{tenant}/oauth2/v2.0/token", self._token)
        return application

    async def _configuration(self, request: web.Request) -> web.Response:
        tenant = request.match_info["tenant"]
        if tenant.lower() != self._options.tenant_id:
            return self._no_tenant(tenant)
        root = f"{request.scheme}://{request.host}/{tenant}"
        return web.json_response(
            {
                "issuer": f"{root}/v2.0",
                "authorization_endpoint": f"{root}/oauth2/v2.0/authorize",
                "token_endpoint": f"{root}/oauth2/v2.0/token",
                "jwks_uri": f"{root}/discovery/v2.0/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "response_types_supported": ["token"],
                "scopes_supported": ["openid"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _keys(self, request: web.Request) -> web.Response:
        return web.json_response({"keys": [signing_key().public()]})

    async def _token(self, request: web.Request) -> web.Response:
        tenant, form = request.match_info["tenant"], await request.post()
        given = {name: value for name, value in form.items() if isinstance(value, str)}
        if tenant.lower() != self._options.tenant_id:
            return self._no_tenant(tenant)
        if given.get("grant_type") != "client_credentials":
            return _refused("unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        scope = given.get("scope", "")
        if not scope.endswith(_DEFAULT):
            text = (
                f"The provided value for scope {scope} is not valid. Client credential flows must have a scope value "
            )
            return _refused("invalid_scope", 1002012, f"{text}with /.default suffixed to the resource identifier.")
        principal = self._directory.find(given.get("client_id", ""))
        if principal is None:
            text = f"Application with identifier '{given.get('client_id')}' was not found in the directory '{tenant}'."
            return _refused("unauthorized_client", 700016, text)
        if not hmac.compare_digest(given.get("client_secret", "").encode(), principal.secret.encode()):
            text = f"Invalid client secret provided for app '{principal.client_id}'."
            return _refused("invalid_client", 7000215, text, status=401)
        return web.json_response(self._grant(principal, scope.removesuffix(_DEFAULT)))

    def _grant(self, principal: ServicePrincipal, resource: str) -> Mapping[str, object]:
        token = self._tokens.issue(resource, principal.principal_id, application=principal.client_id)
        seconds = int(self._options.token_lifetime)
        return {
            "token_type": "Bearer",
            "expires_in": seconds,
            "ext_expires_in": seconds,
            "access_token": token.value,
        }

    @staticmethod
    def _no_tenant(tenant: str) -> web.Response:
        text = (
            f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        )
        return _refused("invalid_tenant", 90002, f"{text}correct cloud.")


def _refused(error: str, code: int, text: str, *, status: int = 400) -> web.Response:
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    described = f"AADSTS{code}: {text} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {moment}"
    body = {
        "error": error,
        "error_description": described,
        "error_codes": [code],
        "timestamp": moment,
        "trace_id": trace,
        "correlation_id": correlation,
    }
    return web.json_response(body, status=status)
