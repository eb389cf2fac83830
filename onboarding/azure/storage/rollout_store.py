"""The counts of the rollout limits, in the ledger's table: one entity for each policy that has such a limit."""

from __future__ import annotations

import re
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from onboarding.application.ports import StoredRollout
from onboarding.azure.storage.table_entities import plain, reading, typed, with_table, writing
from onboarding.domain.limits.rollout_limit import RolloutState

_PARTITION = "brake"
_NOT_IN_KEYS = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")


class TableRolloutStore:
    """Implements `ports.RolloutStore`."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def read(self, policy: str) -> StoredRollout | None:
        stored = None
        with reading():
            entity = await self._table.get_entity(_PARTITION, _key(policy))
            stored = StoredRollout(_state(entity), str(entity.metadata["etag"]))
        return stored

    async def write(self, state: RolloutState, version: str | None) -> str:
        entity = {"PartitionKey": _PARTITION, "RowKey": _key(state.policy), **typed(state.to_properties())}
        with writing():
            if version is None:
                written = await with_table(self._table, lambda: self._table.create_entity(entity))
            else:
                written = await self._table.update_entity(
                    entity, mode=UpdateMode.REPLACE, etag=version, match_condition=MatchConditions.IfNotModified
                )
            return str(written["etag"])

    async def read_all(self) -> tuple[RolloutState, ...]:
        found: list[RolloutState] = []
        with reading():
            query = "PartitionKey eq @partition"
            async for entity in self._table.query_entities(query, parameters={"partition": _PARTITION}):
                found.append(_state(entity))
        return tuple(found)


def _key(policy: str) -> str:
    return _NOT_IN_KEYS.sub("-", policy.lower())


def _state(entity: Any) -> RolloutState:
    return RolloutState.from_properties({name: plain(value) for name, value in entity.items()})
