"""The open circuit breakers, in the ledger's table: one entity each, with the row key
`pause|<resource group, * or =digest>|<extension>`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.application.ports import StoredBreaker
from onboarding.azure.storage.stores.documents import Documents
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query
from onboarding.domain.limits.circuit_breaker import BREAKER_COLUMNS, CircuitBreaker


class TableBreakerStore:
    """Implements `ports.BreakerStore`."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, BREAKER_COLUMNS, _breaker)

    async def read(self, subscription: str) -> tuple[StoredBreaker, ...]:
        found = await self._documents.find(Query("pause|", subscription))
        return tuple(StoredBreaker(each.value, each.version, each.rest) for each in found)

    async def write(
        self, breaker: CircuitBreaker, version: str | None, *, rest: Mapping[str, Any] | None = None
    ) -> None:
        await self._documents.write(breaker.subscription, _key(breaker), breaker.to_properties(), version, rest)

    async def delete(self, breaker: CircuitBreaker, version: str) -> None:
        await self._documents.delete(breaker.subscription, _key(breaker), version)


def _key(breaker: CircuitBreaker) -> str:
    return f"pause|{breaker.resource_group}|{breaker.extension}".lower()


def _breaker(columns: Mapping[str, Any]) -> CircuitBreaker:
    return CircuitBreaker.from_properties(columns["PartitionKey"], columns)
