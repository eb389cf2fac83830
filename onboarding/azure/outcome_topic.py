"""Publishes outcome events: each final outcome as a CloudEvent on the user's Event Grid topic."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from azure.core.credentials import AzureKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.core.messaging import CloudEvent

from onboarding.azure.http_connections import within_deadline
from onboarding.domain.reconcile.row import Row
from onboarding.logging import logger

_log = logger(__name__)

EVENT_TYPE = "VmOnboarding.OutcomeRecorded"


class TopicPublisher:
    """Implements `ports.OutcomePublisher`. The event's id is derived from the row, so duplicates have the same id."""

    def __init__(self, endpoint: str, credential: AzureKeyCredential | AsyncTokenCredential) -> None:
        # Imported here: most apps have no topic, and should not load this at every cold start.
        from azure.eventgrid.aio import EventGridPublisherClient

        # No retries: the SDK would sleep a whole Retry-After in the trigger, and the sweep publishes again later.
        self._client = EventGridPublisherClient(
            endpoint, credential, retry_total=0, connection_timeout=5, read_timeout=5
        )

    async def publish(self, row: Row) -> bool:
        try:
            async with within_deadline():
                await self._client.send(outcome_event(row))
        except (AzureError, TimeoutError) as error:
            _log.about(row).error("the outcome event could not be published: %s", type(error).__name__)
            return False
        return True

    async def close(self) -> None:
        await self._client.close()


class NullPublisher:
    """Publishes nothing: for an app without a topic."""

    async def publish(self, row: Row) -> bool:
        return False

    async def close(self) -> None:
        return


def outcome_event(row: Row) -> CloudEvent[dict[str, Any]]:
    """The row as a CloudEvent: the VM as subject, the row's columns as data."""
    times = {"NextAttemptAt", "WaitingSince", "EventTime", "RequestedAt", "FinishedAt"}
    data = {k: v.isoformat() if k in times else v for k, v in row.to_properties().items()}
    state = f"{row.resource_id}/{row.extension}/{row.outcome}/{data.get('FinishedAt', '')}".lower()
    identity = str(uuid5(NAMESPACE_URL, state))
    return CloudEvent(source="/vm-onboarding", type=EVENT_TYPE, subject=row.resource_id, data=data, id=identity)
