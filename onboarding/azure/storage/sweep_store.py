"""The sweep's state: one entity in the ledger's table, in a partition of its own."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from onboarding.application.ports import Pruning, StoredSweep, SweepState
from onboarding.azure.storage.table_entities import plain, reading, with_table, writing
from onboarding.domain.reconcile.sweep_requests import Mark

_KEYS = {"PartitionKey": "sweep", "RowKey": "state"}
_CHUNK = 65_536  # bytes, the maximum of a property; an entity holds sixteen of them


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
    chunks = range(0, len(state.unanswered), _CHUNK)
    columns = {
        "HeldUntil": state.held_until,
        "BusyUntil": state.busy_until,
        "ResumeAt": state.resume_at,
        "OverdueSent": state.overdue.moment if state.overdue else None,
        "OverdueSentKey": state.overdue.key if state.overdue else None,
        "PruneNextRound": state.pruning.next_round,
        "PruneSubscription": state.pruning.subscription,
        "PruneAfter": state.pruning.after,
        **{f"Unanswered{n}": state.unanswered[at : at + _CHUNK] for n, at in enumerate(chunks)},
    }
    return {name: value for name, value in columns.items() if value}


def _state(entity: Any) -> SweepState:
    """Read the entity. A column of an unexpected type, perhaps of another version, counts as absent."""
    chunks = [entity.get(f"Unanswered{n}") for n in range(16)]
    return SweepState(
        held_until=_time(entity, "HeldUntil"),
        busy_until=_time(entity, "BusyUntil"),
        resume_at=str(entity.get("ResumeAt", "")),
        overdue=_overdue(entity),
        unanswered=b"".join(chunk for chunk in chunks if isinstance(chunk, bytes)),
        pruning=Pruning(
            _time(entity, "PruneNextRound"), _text(entity, "PruneSubscription"), _text(entity, "PruneAfter")
        ),
    )


def _overdue(entity: Any) -> Mark | None:
    moment = _time(entity, "OverdueSent")
    return Mark(moment, str(entity.get("OverdueSentKey", ""))) if moment else None


def _text(entity: Any, name: str) -> str:
    value = entity.get(name)
    return value if isinstance(value, str) else ""


def _time(entity: Any, name: str) -> datetime | None:
    value = plain(entity.get(name))
    return value if isinstance(value, datetime) else None
