"""Paused scopes in the ledger's table: one entity each, `pause|<resource group or *>|<extension>`."""

from __future__ import annotations

from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from onboarding.azure.entities import plain, reading, with_table, writing
from onboarding.core.pause import Pause
from onboarding.ports import StoredPause


class TablePauses:
    """Implements `ports.PauseStore`."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def read(self, subscription: str) -> tuple[StoredPause, ...]:
        query = "PartitionKey eq @partition and RowKey ge 'pause|' and RowKey lt 'pause}'"
        found: list[StoredPause] = []
        with reading():
            async for entity in self._table.query_entities(query, parameters={"partition": subscription}):
                properties = {name: plain(value) for name, value in entity.items()}
                pause = Pause.from_properties(subscription, properties)
                found.append(StoredPause(pause, str(entity.metadata["etag"])))
        return tuple(found)

    async def write(self, pause: Pause, version: str | None) -> None:
        entity = {**_keys(pause), **pause.to_properties()}
        with writing():
            if version is None:
                await with_table(self._table, lambda: self._table.create_entity(entity))
            else:
                await self._table.update_entity(
                    entity, mode=UpdateMode.REPLACE, etag=version, match_condition=MatchConditions.IfNotModified
                )

    async def delete(self, pause: Pause) -> None:
        with writing():
            await self._table.delete_entity(_keys(pause))


def _keys(pause: Pause) -> dict[str, Any]:
    return {
        "PartitionKey": pause.subscription,
        "RowKey": f"pause|{pause.resource_group}|{pause.extension}".lower(),
    }
