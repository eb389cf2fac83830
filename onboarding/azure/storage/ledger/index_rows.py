"""Index rows: entities whose keys alone lead to the rows that are due, or that need a person.

They are hints. Each is written in the transaction of its row, over whatever is there, and never deleted with it. So a
reader compares each with its row and deletes what leads nowhere, if nobody has written it since. A row that a version
without index rows wrote gets its own from the sweep.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from itertools import batched
from typing import Any

from onboarding.azure.storage.ledger.deletions import TRANSACTION, delete
from onboarding.azure.storage.ledger.ledger_keys import (
    ATTENTION,
    DUE,
    bucket,
    index_key,
    indexed_key,
    target_keys,
    vm_of,
)
from onboarding.azure.storage.ledger.row_entities import read_row
from onboarding.azure.storage.storage_clients import OnboardingTable
from onboarding.azure.storage.table_entities import from_wire, writing
from onboarding.azure.storage.table_queries import Query, entity, wire_entities
from onboarding.azure.storage.table_writes import Write, transact
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.row import Row
from onboarding.logging import logger

_log = logger(__name__)

_AT_ONCE = 32  # rows that are read concurrently


def index_writes(row: Row) -> list[Write]:
    """The write of the index row that leads to a row; empty: none does."""
    keys = target_keys(vm_of(row), row.extension)
    key = index_key(keys["RowKey"], row.outcome, row.next_attempt_at)
    return [Write({**keys, "RowKey": key})] if key else []


async def due_rows(table: OnboardingTable, partition: str, before: datetime) -> AsyncIterator[Row]:
    """The open rows whose check was due before that time, the earliest minute first. Raises azure-core's errors."""
    query = Query(DUE, partition, until=f"{DUE}{bucket(before)}}}")  # "}" is the character after "|"
    async for row in _indexed_rows(table, query):
        if row.next_attempt_at is not None and row.next_attempt_at < before:
            yield row


async def rows_of_attention(table: OnboardingTable, partition: str) -> AsyncIterator[Row]:
    """The final rows that need a person. Raises azure-core's errors."""
    async for row in _indexed_rows(table, Query(ATTENTION, partition)):
        yield row


async def write_index_rows(table: OnboardingTable, partition: str, keys: Iterable[str]) -> None:
    """Write index rows of one partition. Raises StorageError."""
    for some in batched(dict.fromkeys(keys), TRANSACTION, strict=False):
        writes = [Write({"PartitionKey": partition, "RowKey": key}) for key in some]
        with writing():
            await transact(table.requests, table.table_name, writes)


async def _indexed_rows(table: OnboardingTable, query: Query) -> AsyncIterator[Row]:
    found: list[dict[str, Any]] = []
    async for index_row in wire_entities(table.requests, table.table_name, query, ("PartitionKey", "RowKey")):
        if indexed_key(index_row["RowKey"]):
            found.append(dict(index_row))
        if len(found) == _AT_ONCE:
            for row in await _rows_of(table, found):
                yield row
            found = []
    for row in await _rows_of(table, found):
        yield row


async def _rows_of(table: OnboardingTable, index_rows: list[dict[str, Any]]) -> list[Row]:
    """The rows to which the index rows lead; those that lead nowhere are deleted. Each row is read after its index row,
    so that what was written in between counts."""
    stored = await asyncio.gather(*(_stored(table, each) for each in index_rows))
    rows, stale = [], []
    for index_row, columns in zip(index_rows, stored, strict=True):
        row = read_row(columns) if columns is not None else None
        key = index_row["RowKey"]
        if row is not None and key == index_key(indexed_key(key), row.outcome, row.next_attempt_at):
            rows.append(row)
        elif row is not None or columns is None:
            stale.append((Write(index_row, version=index_row["odata.etag"], delete=True),))
    try:
        await delete(table, stale)
    except StorageError as error:  # a person may read only; the next reader finds them again
        _log.debug("%d index rows lead nowhere and could not be deleted: %s", len(stale), error)
    return rows


async def _stored(table: OnboardingTable, index_row: dict[str, Any]) -> dict[str, Any] | None:
    keys = {"PartitionKey": index_row["PartitionKey"], "RowKey": indexed_key(index_row["RowKey"])}
    found = await entity(table.requests, table.table_name, keys)
    return None if found is None else from_wire(found)
