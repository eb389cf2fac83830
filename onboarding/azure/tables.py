"""The ledger on Azure Table Storage: one entity for the current state, one for each line of history.

Both are written in one transaction. The current row carries the ETag that was read, a line of history is created
and not overwritten, so that of two workers with the same event, or with the same row, one loses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from onboarding.azure.entities import as_storage_errors, plain, with_table
from onboarding.core.outcome import Row
from onboarding.core.resource_id import VmId, parse_id
from onboarding.events import Trigger
from onboarding.ports import Stored

_END_OF_TIME_MS = 9_999_999_999_999


class TableLedger:
    """Implements `ports.Ledger`. Makes the table when it is missing."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def read(self, vm: VmId) -> Mapping[str, Stored]:
        prefix = _row_prefix(vm)
        # "}" follows "|": everything between the two begins with the prefix.
        query = "PartitionKey eq @partition and RowKey ge @first and RowKey lt @last"
        parameters = {"partition": vm.subscription.lower(), "first": f"{prefix}|", "last": f"{prefix}}}"}
        rows: dict[str, Stored] = {}
        async with as_storage_errors("read"):
            async for entity in self._table.query_entities(query, parameters=parameters):
                rows[entity["Extension"]] = Stored(_row(entity), str(entity.metadata["etag"]))
        return rows

    async def write(self, row: Row, trigger: Trigger, version: str | None, *, again: bool = False) -> str:
        properties = row.to_properties()
        current = {**_keys(row), **properties}
        history = _history(row, trigger)
        written: Any = (
            ("create", current)
            if version is None
            else ("update", current, {"mode": UpdateMode.REPLACE, "etag": version, "match_condition": _SAME})
        )
        logged: Any = ("upsert", history, {"mode": UpdateMode.REPLACE}) if again else ("create", history)
        async with as_storage_errors("write"):
            results = await with_table(self._table, lambda: self._table.submit_transaction([written, logged]))
        return str(results[0]["etag"])

    async def append(self, row: Row, trigger: Trigger) -> None:
        async with as_storage_errors("write"):
            history = _history(row, trigger)
            await with_table(self._table, lambda: self._table.upsert_entity(history, mode=UpdateMode.REPLACE))

    async def overdue(self, before: datetime) -> AsyncIterator[Row]:
        query = "RowKey ge 'vm|' and RowKey lt 'vm}' and NextAttemptAt lt @before"
        async with as_storage_errors("read"):
            async for entity in self._table.query_entities(query, parameters={"before": before}):
                yield _row(entity)

    async def current(self) -> AsyncIterator[Row]:
        """Every current row, by subscription, group, VM and extension. Raises StorageError."""
        async with as_storage_errors("read"):
            async for entity in self._table.query_entities("RowKey ge 'vm|' and RowKey lt 'vm}'"):
                yield _row(entity)

    async def close(self) -> None:
        await self._table.close()


_SAME = MatchConditions.IfNotModified


def _keys(row: Row) -> dict[str, str]:
    vm = _vm(row)
    return {"PartitionKey": vm.subscription.lower(), "RowKey": f"{_row_prefix(vm)}|{row.extension.lower()}"}


def _row_prefix(vm: VmId) -> str:
    return f"vm|{vm.resource_group}|{vm.name}".lower()


def _history(row: Row, trigger: Trigger) -> dict[str, Any]:
    """The line of history: the row as this trigger left it, newest first within a VM."""
    vm = _vm(row)
    inverted = max(0, _END_OF_TIME_MS - int(trigger.time.timestamp() * 1000))
    key = f"log|{vm.resource_group}|{vm.name}|{row.extension}|{inverted:013d}|{trigger.id}".lower()
    told = {"EventId": trigger.id, "EventTime": trigger.time, "CorrelationId": trigger.correlation_id}
    return {"PartitionKey": vm.subscription.lower(), "RowKey": key, **row.to_properties(), **told}


def _vm(row: Row) -> VmId:
    vm = parse_id(row.resource_id)
    if not isinstance(vm, VmId):
        raise ValueError(f"{row.resource_id!r} is not the id of a VM")
    return vm


def _row(entity: Mapping[str, Any]) -> Row:
    return Row.from_properties({name: plain(value) for name, value in entity.items()})
