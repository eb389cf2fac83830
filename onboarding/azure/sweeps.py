"""The sweep's one entity in the ledger's table, in a partition of its own: who sweeps, and where to go on."""

from __future__ import annotations

from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from onboarding.azure.entities import plain, reading, with_table, writing
from onboarding.ports import StoredSweep, SweepState

_KEYS = {"PartitionKey": "sweep", "RowKey": "state"}


class TableSweeps:
    """Implements `ports.SweepStore`."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def read(self) -> StoredSweep:
        stored = StoredSweep(SweepState(), None)
        with reading():
            entity = await self._table.get_entity(_KEYS["PartitionKey"], _KEYS["RowKey"])
            stored = StoredSweep(_state(entity), str(entity.metadata["etag"]))
        return stored

    async def write(self, state: SweepState, version: str | None) -> str:
        entity = {**_KEYS, **_properties(state)}
        with writing():
            if version is None:
                written = await with_table(self._table, lambda: self._table.create_entity(entity))
            else:
                written = await self._table.update_entity(
                    entity, mode=UpdateMode.REPLACE, etag=version, match_condition=MatchConditions.IfNotModified
                )
        return str(written["etag"])


def _properties(state: SweepState) -> dict[str, Any]:
    told = {"HeldUntil": state.held_until, "BusyUntil": state.busy_until, "ResumeAt": state.resume_at}
    return {name: value for name, value in told.items() if value}


def _state(entity: Any) -> SweepState:
    return SweepState(
        held_until=plain(entity.get("HeldUntil")),
        busy_until=plain(entity.get("BusyUntil")),
        resume_at=str(entity.get("ResumeAt", "")),
    )
