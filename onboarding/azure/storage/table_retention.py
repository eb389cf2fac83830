"""Deletes from one partition what is older than it is kept: history, totals, and the rows of machines that have been
`Gone`.

The key of a line of history holds its time, so a scan needs the keys alone: one request for 1,000 lines. A filter on
the server would send less, but its empty pages name no key at which the next run could go on. Rows are deleted in
transactions of up to 100. Current rows are deleted only with the etag that was read, all of one machine together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from itertools import batched
from typing import Any

from onboarding.application.ports import Pruned
from onboarding.azure.storage.ledger.deletions import TRANSACTION, Unit, delete
from onboarding.azure.storage.ledger.ledger_keys import CURRENT, END_OF_TIME_MS, HISTORY, TOTALS
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.row import Outcome

_KEYS = ("PartitionKey", "RowKey")
_STEP = 1000  # rows between two steps at the most; the service returns as many in one page


async def prune(table: TableClient, partition: str, before: datetime, after: str) -> AsyncIterator[Pruned]:
    """Implements `ports.Ledger.prune`. Raises azure-core's errors for reads, StorageError for writes."""
    if after < CURRENT:
        async for step in _prune_history(table, partition, before, after):
            yield step
        async for step in _prune_totals(table, partition, before):
            yield step
    async for step in _prune_gone(table, partition, before, after):
        yield step


async def _prune_history(table: TableClient, partition: str, before: datetime, after: str) -> AsyncIterator[Pruned]:
    oldest_kept = int(before.timestamp() * 1000)
    found: list[Unit] = []
    key, count = "", 0
    async for line in table.query(Query(HISTORY, partition, after=after), _KEYS):
        key, count = str(line["RowKey"]), count + 1
        if _written_at(key) < oldest_kept:
            found.append((Write({"PartitionKey": partition, "RowKey": key}, version="*", delete=True),))
        if len(found) == TRANSACTION or count == _STEP:
            yield Pruned(key, await delete(table, found))
            found, count = [], 0
    if found:
        yield Pruned(key, await delete(table, found))


async def _prune_totals(table: TableClient, partition: str, before: datetime) -> AsyncIterator[Pruned]:
    """Delete the totals of older days: one entity a day, so that they are few."""
    query = Query(TOTALS, partition, until=f"{TOTALS}{before.date()}")
    keys = [str(each["RowKey"]) async for each in table.query(query, _KEYS)]
    for some in batched(keys, TRANSACTION, strict=False):
        deletions = [(Write({"PartitionKey": partition, "RowKey": key}, version="*", delete=True),) for key in some]
        yield Pruned(some[-1], await delete(table, deletions))


async def _prune_gone(table: TableClient, partition: str, before: datetime, after: str) -> AsyncIterator[Pruned]:
    found: list[Unit] = []
    key, count = "", 0
    async for machine in _machines(table, Query(CURRENT, partition, after=after)):
        units: list[Unit] = []
        if _is_gone(machine, before):
            units = list(batched((_deletion(row) for row in machine), TRANSACTION, strict=False))
        if found and sum(map(len, found)) + sum(map(len, units)) > TRANSACTION:
            yield Pruned(key, await delete(table, found))
            found, count = [], 0
        found += units
        key, count = str(machine[-1]["RowKey"]), count + len(machine)
        if count >= _STEP:
            yield Pruned(key, await delete(table, found))
            found, count = [], 0
    if found:
        yield Pruned(key, await delete(table, found))


async def _machines(table: TableClient, query: Query) -> AsyncIterator[list[Mapping[str, Any]]]:
    """The current rows, machine by machine: the rows of one machine follow each other, its own row first."""
    rows: list[Mapping[str, Any]] = []
    async for row in table.query(query, (*_KEYS, "Outcome", "FinishedAt")):
        if rows and _machine_of(row) != _machine_of(rows[0]):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _machine_of(row: Mapping[str, Any]) -> list[str]:
    return str(row["RowKey"]).split("|")[:3]


def _is_gone(machine: Sequence[Mapping[str, Any]], before: datetime) -> bool:
    """Whether every target of the machine was `Gone` before that time. A row that this version does not know keeps the
    whole machine."""
    ended = []
    for row in machine:
        parts = str(row["RowKey"]).split("|")
        if len(parts) != 4:
            return False
        if parts[3]:
            at = from_wire(row).get("FinishedAt")
            ended.append(row.get("Outcome") == Outcome.GONE.value and isinstance(at, datetime) and at < before)
    return bool(ended) and all(ended)


def _deletion(row: Mapping[str, Any]) -> Write:
    """The deletion of a current row, if it is still as it was read. Raises ValueError without an etag."""
    if not row.get("odata.etag"):
        raise ValueError("not an entity of a table")
    return Write({name: row[name] for name in _KEYS}, version=str(row["odata.etag"]), delete=True)


def _written_at(key: str) -> int:
    """The time in the key of a line of history, in ms; for a key of another form, a time that is never too old."""
    parts = key.split("|")
    inverted = parts[4] if len(parts) > 4 else ""
    return END_OF_TIME_MS - int(inverted) if inverted.isascii() and inverted.isdigit() else END_OF_TIME_MS
