"""The sweep's state: one entity in the ledger's table, in a partition of its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onboarding.application.ports import Pruning, StoredSweep, SweepState
from onboarding.azure.storage.stores.documents import Documents
from onboarding.azure.storage.table_client import TableClient
from onboarding.domain.reconcile.sweep_requests import Mark

_PARTITION, _KEY = "sweep", "state"
_CHUNK = 65_536  # bytes, the maximum of a property; an entity holds sixteen of them
_CHUNKS = [f"Unanswered{number}" for number in range(16)]
_COLUMNS = frozenset(
    [
        "HeldUntil",
        "BusyUntil",
        "ResumeAt",
        "OverdueSent",
        "OverdueSentKey",
        "PruneNextRound",
        "PruneSubscription",
        "PruneAfter",
        *_CHUNKS,
    ]
)


class TableSweeps:
    """Implements `ports.SweepStore`."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, _COLUMNS, _state)

    async def read(self) -> StoredSweep:
        found = await self._documents.read(_PARTITION, _KEY)
        return StoredSweep(found.value, found.version, found.rest) if found else StoredSweep(SweepState(), None)

    async def write(self, state: SweepState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> str:
        return await self._documents.write(_PARTITION, _KEY, _properties(state), version, rest)


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


def _state(entity: Mapping[str, Any]) -> SweepState:
    """Read the entity. A column of an unexpected type, perhaps of another version, counts as absent."""
    chunks = [entity.get(name) for name in _CHUNKS]
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


def _overdue(entity: Mapping[str, Any]) -> Mark | None:
    moment = _time(entity, "OverdueSent")
    return Mark(moment, str(entity.get("OverdueSentKey", ""))) if moment else None


def _text(entity: Mapping[str, Any], name: str) -> str:
    value = entity.get(name)
    return value if isinstance(value, str) else ""


def _time(entity: Mapping[str, Any], name: str) -> datetime | None:
    value = entity.get(name)
    return value if isinstance(value, datetime) else None
