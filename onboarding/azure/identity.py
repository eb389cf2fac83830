"""The app's identity: one credential per process for ARM, storage and Event Grid, and its tokens.

Concurrent events share one request for a token. A token is sent only to the host that it is for.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, ServiceRequestError
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
from yarl import URL

from onboarding.concurrency import SingleFlight, limit
from onboarding.domain.errors import ArmError
from onboarding.domain.failures.evidence import IDENTITY_UNUSABLE, TOKEN_UNAVAILABLE, Evidence
from onboarding.domain.lazy_pattern import Pattern
from onboarding.settings import Cloud

_TIMEOUT_S = 10.0  # for one token, with all retries: an event has 25 s and needs at most two tokens
_DEVELOPER_TIMEOUT_S = 25.0  # a developer's credential tries several logins in turn, and starts `az`
# No retry after an answer, since the SDK would sleep in between. The machine's row waits instead.
_OPTIONS: dict[str, Any] = {"connection_timeout": 5, "read_timeout": 8, "retry_total": 1, "retry_status": 0}
_RENEW_BEFORE_S = 300.0  # a token with less time left is renewed
_MIN_USABLE_S = 30.0  # a token with less time left is not used while a new one is requested

_TRANSIENT = Pattern(
    r"AADSTS(?:90012|90024|90033|90055|50196)\b|temporar|timed? ?out|too many requests|\b(?:429|50[0234])\b",
    re.IGNORECASE,
)
# The errors of Microsoft Entra ID and of the managed identity's endpoint that no retry can change: the identity does
# not exist or may not sign in.
_FINAL = Pattern(
    r"\b(?:invalid_client|unauthorized_client|invalid_grant|interaction_required|consent_required)\b"
    r"|AADSTS(?:50\d{3,4}|53\d{3,4}|65\d{3}|70\d{3,5}|90002)\b"
    r"|identity not found|unable to load the proper managed identity|no identity has been assigned"
    r"|no (?:msi|(?:user[- ]assigned (?:or delegated )?)?managed identity)\b.{0,20}\b(?:found|assigned)"
    r"|managed identity configuration not found"
    r"|DefaultAzureCredential failed to retrieve a token",
    re.IGNORECASE,
)
STORAGE_SCOPE = "https://storage.azure.com/.default"  # in every cloud
_WRAPPED = Pattern(r"no identity has been assigned to this resource\. Error: ", re.IGNORECASE)


def credential(cloud: Cloud, client_id: str, environment: Mapping[str, str]) -> AsyncTokenCredential:
    """The managed identity if the platform has one; else the developer's login."""
    if "IDENTITY_ENDPOINT" in environment:
        from azure.identity.aio import ManagedIdentityCredential

        return Tokens(ManagedIdentityCredential(client_id=client_id or None, **_OPTIONS))
    from azure.identity.aio import DefaultAzureCredential

    chain = DefaultAzureCredential(authority=cloud.authority, managed_identity_client_id=client_id or None, **_OPTIONS)
    return Tokens(chain, timeout_s=_DEVELOPER_TIMEOUT_S)


async def object_id(credential: AsyncTokenCredential, scope: str = STORAGE_SCOPE) -> str:
    """The object id of whoever the credential signs in, as its token for a scope says; empty if there is no token, or
    if it does not say it. Nothing else of the token is read."""
    try:
        content = (await credential.get_token(scope)).token.split(".")[1]
        found = json.loads(urlsafe_b64decode(content + "=" * (-len(content) % 4)))["oid"]
    except (AzureError, ValueError, LookupError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


class NoToken(ClientAuthenticationError):
    """The credential gave no token; the text is its error. The request that needed the token was not sent."""


class Tokens:
    """A credential with a cache of tokens. Implements `AsyncTokenCredential`.

    Concurrent callers share one request for a token, or use the old token while it is valid. A caller that stops
    waiting does not cancel the request for the others."""

    def __init__(
        self,
        credential: AsyncTokenCredential,
        *,
        timeout_s: float = _TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`timeout_s` is how many seconds the credential may take; `clock` returns the seconds since 1970."""
        self._credential = credential
        self._timeout_s = timeout_s
        self._clock = clock
        self._known: dict[tuple[str, ...], AccessToken] = {}
        self._renewals: SingleFlight[tuple[tuple[str, ...], str | None], AccessToken] = SingleFlight()

    @classmethod
    def of(cls, credential: AsyncTokenCredential) -> Tokens:
        """The credential with a cache; a credential that has one is returned as it is."""
        return credential if isinstance(credential, Tokens) else cls(credential)

    async def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> AccessToken:
        """A cached token that is still valid, or a new one; with `claims`, always a new one. Raises NoToken."""
        known = self._usable(scopes) if claims is None else None
        key = (scopes, claims)
        if known is not None and (key in self._renewals or known.expires_on - self._clock() > _RENEW_BEFORE_S):
            return known
        try:
            async with asyncio.timeout(limit(None)):
                return await self._renewals.run(key, partial(self._renew, scopes, claims, options))
        except (AzureError, OSError, ValueError) as error:
            if known is not None:
                return known
            raise NoToken(_error_text(error)) from None

    def forget(self, token: AccessToken) -> None:
        """Remove a token from the cache, since a service refused it."""
        self._known = {scopes: known for scopes, known in self._known.items() if known.token != token.token}

    async def close(self) -> None:
        self._renewals.close()
        await self._credential.close()

    async def __aenter__(self) -> Tokens:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()

    def _usable(self, scopes: tuple[str, ...]) -> AccessToken | None:
        known = self._known.get(scopes)
        return known if known is not None and known.expires_on - self._clock() > _MIN_USABLE_S else None

    async def _renew(self, scopes: tuple[str, ...], claims: str | None, options: Mapping[str, Any]) -> AccessToken:
        more: dict[str, Any] = {"claims": claims} if claims is not None else {}
        try:
            async with asyncio.timeout(self._timeout_s) as timeout:
                self._known[scopes] = token = await self._credential.get_token(*scopes, **more, **options)
            return token
        except TimeoutError:
            if not timeout.expired():
                raise
            raise TimeoutError(f"the credential did not answer within {self._timeout_s:g} s (timed out)") from None


class ArmTokens:
    """The credential for ARM's clients. If there is no token, it raises an ArmError with a code of its own: the status
    and the Retry-After of the token endpoint must not be mistaken for ARM's."""

    def __init__(self, credential: AsyncTokenCredential) -> None:
        self._tokens = Tokens.of(credential)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        try:
            async with asyncio.timeout(limit(None, keep_reserve=True)):
                return await self._tokens.get_token(*scopes, **options)
        except (NoToken, TimeoutError) as error:
            raise ArmError(_no_token(error)) from None

    def forget(self, token: AccessToken) -> None:
        self._tokens.forget(token)

    async def close(self) -> None:
        """Does nothing: the credential is closed by its owner."""

    async def __aenter__(self) -> ArmTokens:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()


class BearerPolicy(AsyncBearerTokenCredentialPolicy[Any, Any]):
    """Sends the token to the endpoint's own host only, whatever link an answer has, and gets a new token after a claims
    challenge. The SDK's own policy would renew the token once for each waiting event, one after the other.
    """

    def __init__(self, tokens: ArmTokens, endpoint: str, scope: str) -> None:
        super().__init__(tokens, scope)
        self._tokens = tokens
        self._origin = URL(endpoint).origin()
        self._scope = scope

    async def on_request(self, request: PipelineRequest[Any]) -> None:
        self._check_host(request.http_request.url)
        await self.authorize_request(request, self._scope)

    async def authorize_request(self, request: PipelineRequest[Any], *scopes: str, **options: Any) -> None:
        token = await self._tokens.get_token(*scopes, **options)
        request.context["token"] = token
        request.http_request.headers["Authorization"] = f"Bearer {token.token}"

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        if response.http_response.status_code == 401:
            self._tokens.forget(request.context["token"])

    def _check_host(self, url: str) -> None:
        """Raises ArmError for a link to another host. yarl parses the URL here and for aiohttp, so both agree."""
        if self._origin.scheme != "https":
            raise ServiceRequestError("a token is sent over https only")
        try:
            target = URL(url)
            same_host = target.origin() == self._origin and target.user is None
        except ValueError:
            same_host = False
        if not same_host:
            raise ArmError(Evidence(code="InvalidLink", message=f"the link leads away from {self._origin}"))


def _error_text(error: Exception) -> str:
    status = getattr(error, "status_code", None)
    return f"{status} {error}" if status else str(error) or type(error).__name__


def _no_token(error: Exception) -> Evidence:
    """The evidence for a missing token: unusable for good if the identity's authority says so, else unavailable now."""
    text = _error_text(error)
    # On a VM, the SDK puts this text before every refusal of the endpoint, whatever the refusal says.
    said = text[wrapped.end() :] if (wrapped := _WRAPPED.search(text)) else text
    final = _FINAL.search(said) and not _TRANSIENT.search(said)
    return Evidence(code=IDENTITY_UNUSABLE if final else TOKEN_UNAVAILABLE, message=f"no token: {text}")
