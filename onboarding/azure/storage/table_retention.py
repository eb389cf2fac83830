"""Deletes from one partition what is older than it is kept: history, and the rows of machines that have been `Gone`.

The key of a line of history holds its time, so a scan needs the keys alone: one request for 1,000 lines. A filter on
the server would send less, but its empty pages name no key at which the next run could go on. Rows are deleted in
transactions of up to 100. Current rows are deleted only with the etag that was read, all of one machine together.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from itertools import batched, chain
from typing import Any

from onboarding.application.ports import Pruned
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, writing
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import LostRace
from onboarding.domain.reconcile.row import Outcome

END_OF_TIME_MS = 9_999_999_999_999
"""The key of a line of history holds the time until then, so that the newest comes first."""

_HISTORY, _CURRENT = "log|", "vm|"
_KEYS = ("PartitionKey", "RowKey")
_TRANSACTION = 100  # entities, the service's limit
_STEP = 1000  # rows between two steps at the most; the service returns as many in one page

type _Unit = Sequence[Write]  # what is deleted together or not at all


async def prune(table: TableClient, partition: str, before: datetime, after: str) -> AsyncIterator[Pruned]:
    """Implements `ports.Ledger.prune`. Raises azure-core's errors for reads, StorageError for writes."""
    if after < _CURRENT:
        async for step in _prune_history(table, partition, before, after):
            yield step
    async for step in _prune_gone(table, partition, before, after):
        yield step


async def _prune_history(table: TableClient, partition: str, before: datetime, after: str) -> AsyncIterator[Pruned]:
    oldest_kept = int(before.timestamp() * 1000)
    found: list[_Unit] = []
    key, count = "", 0
    async for line in table.query(Query(_HISTORY, partition, after=after), _KEYS):
        key, count = str(line["RowKey"]), count + 1
        if _written_at(key) < oldest_kept:
            found.append((Write({"PartitionKey": partition, "RowKey": key}, version="*", delete=True),))
        if len(found) == _TRANSACTION or count == _STEP:
            yield Pruned(key, await _delete(table, found))
            found, count = [], 0
    if found:
        yield Pruned(key, await _delete(table, found))


async def _prune_gone(table: TableClient, partition: str, before: datetime, after: str) -> AsyncIterator[Pruned]:
    found: list[_Unit] = []
    key, count = "", 0
    async for machine in _machines(table, Query(_CURRENT, partition, after=after)):
        units: list[_Unit] = []
        if _is_gone(machine, before):
            units = list(batched((_deletion(row) for row in machine), _TRANSACTION, strict=False))
        if found and sum(map(len, found)) + sum(map(len, units)) > _TRANSACTION:
            yield Pruned(key, await _delete(table, found))
            found, count = [], 0
        found += units
        key, count = str(machine[-1]["RowKey"]), count + len(machine)
        if count >= _STEP:
            yield Pruned(key, await _delete(table, found))
            found, count = [], 0
    if found:
        yield Pruned(key, await _delete(table, found))


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


async def _delete(table: TableClient, units: Sequence[_Unit]) -> int:
    """Delete all in one transaction if possible; returns how many rows were deleted. If one was written or deleted
    since it was read, each unit is tried alone, and what has changed stays."""
    if not units:
        return 0
    writes = list(chain.from_iterable(units))
    try:
        if len(writes) <= _TRANSACTION:
            return await _transact(table, writes)
    except LostRace:
        if len(units) == 1:
            return 0
    deleted = 0
    for unit in units:
        try:
            deleted += await _transact(table, unit)
        except LostRace:
            continue
    return deleted


async def _transact(table: TableClient, writes: Sequence[Write]) -> int:
    with writing():
        await table.transact(writes)
    return len(writes)
