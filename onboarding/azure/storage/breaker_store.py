"""The open circuit breakers, in the ledger's table: one entity each, with the row key
`pause|<resource group, * or =digest>|<extension>`."""

from __future__ import annotations

from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode

from onboarding.application.ports import StoredBreaker
from onboarding.azure.storage.storage_clients import OnboardingTable
from onboarding.azure.storage.table_entities import reading, with_table, writing
from onboarding.azure.storage.table_queries import Query, entities
from onboarding.domain.limits.circuit_breaker import CircuitBreaker
from onboarding.logging import logger

_log = logger(__name__)


class TableBreakerStore:
    """Implements `ports.BreakerStore`."""

    def __init__(self, table: OnboardingTable) -> None:
        self._table = table

    async def read(self, subscription: str) -> tuple[StoredBreaker, ...]:
        found: list[StoredBreaker] = []
        with reading():
            async for entity in entities(self._table.requests, self._table.table_name, Query("pause|", subscription)):
                try:
                    breaker = CircuitBreaker.from_properties(subscription, entity)
                except (ValueError, TypeError, LookupError) as error:  # perhaps written by a newer version
                    _log.warning("Ignored: the circuit breaker %s cannot be read: %r", entity.get("RowKey"), error)
                    continue
                found.append(StoredBreaker(breaker, str(entity["odata.etag"])))
        return tuple(found)

    async def write(self, breaker: CircuitBreaker, version: str | None) -> None:
        entity = {**_keys(breaker), **breaker.to_properties()}
        with writing():
            if version is None:
                await with_table(self._table, lambda: self._table.create_entity(entity))
            else:
                await self._table.update_entity(
                    entity, mode=UpdateMode.REPLACE, etag=version, match_condition=MatchConditions.IfNotModified
                )

    async def delete(self, breaker: CircuitBreaker, version: str) -> None:
        with writing():
            await self._table.delete_entity(_keys(breaker), etag=version, match_condition=MatchConditions.IfNotModified)


def _keys(breaker: CircuitBreaker) -> dict[str, Any]:
    return {
        "PartitionKey": breaker.subscription,
        "RowKey": f"pause|{breaker.resource_group}|{breaker.extension}".lower(),
    }
