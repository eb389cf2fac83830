"""The lines of history of changes: how they are written, and how they are read with the lines of rows beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from onboarding.azure.storage.ledger.ledger_keys import HISTORY, change_keys
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, to_wire
from onboarding.azure.storage.table_queries import Query, literal
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.change import CHANGE_COLUMNS, Change, HistoryLine
from onboarding.domain.reconcile.row import Outcome, Selection, WaitingFor
from onboarding.logging import logger

_log = logger(__name__)

_SENT_AT = "SentAt"  # which no line of a row has
_OF_LINES = ("Outcome", "WaitingFor", "Steps")
_SELECT = ("PartitionKey", "RowKey", *sorted(CHANGE_COLUMNS), *_OF_LINES)
# A line that tells what a change came to has the time of its event, which Event Grid may deliver a day later.
_LATE = timedelta(days=1)


def change_write(change: Change, *, delete: bool = False) -> Write:
    """The write of a change's line. It replaces the line that was written before."""
    return Write(
        {**to_wire(change.to_properties()), **change_keys(change)}, version="*" if delete else None, delete=delete
    )


def is_change(entity: Mapping[str, Any]) -> bool:
    """Whether a line of history is that of a change."""
    return entity.get(_SENT_AT) is not None


async def read_changes(
    table: TableClient, partition: str, selection: Selection, since: datetime
) -> AsyncIterator[Change | HistoryLine]:
    """Implements `ports.LedgerReader.changes`. The service filters by time, and sends the named columns only."""
    group, vm = selection.resource_group.lower(), selection.vm_name.lower()
    names = f"{group}|{vm}|" if group and vm else f"{group}|" if group else ""
    recent = f"({_SENT_AT} ge {literal(since)} or EventTime ge {literal(since - _LATE)})"
    async for wire in table.query(Query(f"{HISTORY}{names}", partition, recent), _SELECT):
        try:
            line = _read(from_wire(wire))
        except (ValueError, TypeError, LookupError) as error:
            key = f"{wire['PartitionKey']} {wire['RowKey']}"
            _log.warning("Ignored: the line of history %s cannot be read by this version: %r", key, error)
            continue
        if not isinstance(line, Change) or line.sent_at >= since:
            yield line


def _read(entity: dict[str, Any]) -> Change | HistoryLine:
    if is_change(entity):
        return Change.from_properties(entity)
    waiting_for = entity.get("WaitingFor")
    return HistoryLine(
        resource_id=str(entity["ResourceId"]),
        extension=str(entity["Extension"]),
        outcome=Outcome(entity["Outcome"]),
        waiting_for=WaitingFor(waiting_for) if waiting_for else None,
        error_code=entity.get("ErrorCode") or "",
        client_request_id=entity.get("ClientRequestId") or "",
        steps=entity.get("Steps") or "",
        event_time=entity["EventTime"],
    )
