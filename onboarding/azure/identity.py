"""The app's identity: one credential per process, for ARM, storage and Event Grid alike."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError

from onboarding.core.errors import ArmError
from onboarding.core.evidence import Evidence
from onboarding.settings import Cloud


def credential(cloud: Cloud, client_id: str, environment: Mapping[str, str]) -> AsyncTokenCredential:
    """The managed identity where the platform offers one; else whatever a developer is signed in with."""
    if "IDENTITY_ENDPOINT" in environment:
        from azure.identity.aio import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=client_id or None)
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(authority=cloud.authority, managed_identity_client_id=client_id or None)


class ArmTokens:
    """The credential as ARM's client uses it. That no token was to be had is an ArmError of its own: the token
    endpoint's answer, with its status and its Retry-After, must not pass for one of ARM."""

    def __init__(self, credential: AsyncTokenCredential) -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        try:
            return await self._credential.get_token(*scopes, **options)
        except (AzureError, OSError, ValueError) as error:
            raise ArmError(_no_token(error)) from None

    async def close(self) -> None:
        """Nothing: the credential belongs to whoever made it."""

    async def __aenter__(self) -> ArmTokens:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self.close()


def _no_token(error: Exception) -> Evidence:
    status = getattr(error, "status_code", None)
    told = f"{status} {error}" if status else str(error) or type(error).__name__
    return Evidence(code="AuthenticationFailed", message=f"no token: {told}")
