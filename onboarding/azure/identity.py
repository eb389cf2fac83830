"""The app's identity: one credential per process, for ARM, storage and Event Grid alike."""

from __future__ import annotations

from collections.abc import Mapping

from azure.core.credentials_async import AsyncTokenCredential

from onboarding.settings import Cloud


def credential(cloud: Cloud, client_id: str, environment: Mapping[str, str]) -> AsyncTokenCredential:
    """The managed identity where the platform offers one; else whatever a developer is signed in with."""
    if "IDENTITY_ENDPOINT" in environment:
        from azure.identity.aio import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=client_id or None)
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(authority=cloud.authority, managed_identity_client_id=client_id or None)
