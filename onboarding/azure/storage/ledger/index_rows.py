"""Index rows: entities whose keys alone lead to the checks that are due, and to the rows that need a person.

A machine has one scheduled check, which its own row names, so the index row of what is due leads to that row. A version
of the product that does not know the machine's check may leave a row that waits for an earlier moment: such a row gets
an index row of its own.

Index rows are hints. Each is written in the transaction of its row, over whatever is there, and never deleted with it.
So a reader compares each with its row and deletes what leads nowhere, if nobody has written it since. What a version
without index rows wrote gets its own from the sweep.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from itertools import batched
from typing import Any

from msgspec import Struct

from onboarding.application.ports import ScheduledCheck
from onboarding.azure.storage.ledger.deletions import TRANSACTION, delete
from onboarding.azure.storage.ledger.ledger_keys import (
    ATTENTION,
    CURRENT,
    DUE,
    bucket,
    due_key,
    index_key,
    indexed_key,
    machine_key,
    target_in,
    target_keys,
    vm_id,
)
from onboarding.azure.storage.ledger.row_entities import read_row
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, writing
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.logging import logger

_log = logger(__name__)

_AT_ONCE = 32  # rows that are read concurrently


def index_writes(machine: MachineRow, rows: Iterable[Row]) -> list[Write]:
    """The writes of the index rows that lead to a machine's own row and to these rows of its targets."""
    vm = vm_id(machine.resource_id)
    own = target_keys(vm, "")
    check = machine.next_attempt_at
    keys = [due_key(own["RowKey"], check)] if check else []
    for row in rows:
        keys.append(_key_beside(check, target_keys(vm, row.extension)["RowKey"], row.outcome, row.next_attempt_at))
    return [Write({**own, "RowKey": key}) for key in keys if key]


class IndexKeys:
    """The keys of the index rows that lead to the current rows of one partition, as these are read in their order: the
    machine's own row comes before those of its targets."""

    def __init__(self) -> None:
        self._machine = ""
        self._check: datetime | None = None

    def of_machine(self, row_key: str, next_attempt_at: datetime | None) -> None:
        """The own row of the machine whose targets follow."""
        self._machine, self._check = row_key, next_attempt_at

    def of_target(self, row_key: str, outcome: Outcome, next_attempt_at: datetime | None) -> Iterable[str]:
        """The keys for a target's row: that of the machine's check, if the row is open, and that of the row itself."""
        check = self._check if self._machine == machine_key(row_key) else None
        if check and not outcome.final:
            yield due_key(machine_key(row_key), check)
        if key := _key_beside(check, row_key, outcome, next_attempt_at):
            yield key


def _key_beside(check: datetime | None, row_key: str, outcome: Outcome, next_attempt_at: datetime | None) -> str:
    """The key of a target's index row; empty if it needs none, since the machine's check is no later than its own."""
    covered = check and next_attempt_at and not outcome.final and check <= next_attempt_at
    return "" if covered else index_key(row_key, outcome, next_attempt_at)


async def due_checks(table: TableClient, partition: str, before: datetime) -> AsyncIterator[ScheduledCheck]:
    """The checks that were due before that time, the earliest minute first. Raises azure-core's errors."""
    query = Query(DUE, partition, until=f"{DUE}{bucket(before)}}}")  # "}" is the character after "|"
    async for found in _indexed(table, query):
        if found.due is not None and found.due < before:
            yield ScheduledCheck(vm_id(found.resource_id), found.due)


async def rows_of_attention(table: TableClient, partition: str) -> AsyncIterator[Row]:
    """The final rows that need a person. Raises azure-core's errors."""
    async for found in _indexed(table, Query(ATTENTION, partition)):
        if found.row is not None:
            yield found.row


class IndexedRows(Struct, frozen=True):
    """The rows to which one page of index rows leads."""

    rows: list[Row]
    following: Mapping[str, str]  # where the next page begins; empty: this is the last
    read: int  # index rows


async def page_of_attention(
    table: TableClient, partition: str, names: str, following: Mapping[str, str], most: int
) -> IndexedRows:
    """The rows that need a person to which one page of index rows leads. The keys of the rows begin with `names`, which
    ends in "|" or is empty. Raises azure-core's errors."""
    query = Query(f"{ATTENTION}{CURRENT}{names}" if names else ATTENTION, partition)
    page = await table.page(query, ("PartitionKey", "RowKey"), following, most)
    index_rows = [dict(each) for each in page.entities if indexed_key(each["RowKey"])]
    found: list[Row] = []
    for some in batched(index_rows, _AT_ONCE, strict=False):
        found += [each.row for each in await _rows_of(table, list(some)) if each.row is not None]
    return IndexedRows(found, page.following, len(page.entities))


async def page_of_open(table: TableClient, partition: str, following: Mapping[str, str], most: int) -> IndexedRows:
    """As `page_of_attention`, of the rows that are not final, of all machines. An index row that leads to another
    moment than the machine's check is left out: another one leads to the machine."""
    page = await table.page(Query(DUE, partition), ("PartitionKey", "RowKey"), following, most)
    keys = dict.fromkeys(
        (machine_key(indexed_key(each["RowKey"])), str(each["RowKey"]).split("|")[1])
        for each in page.entities
        if indexed_key(each["RowKey"])
    )
    found: list[Row] = []
    seen: set[str] = set()
    for some in batched(keys, _AT_ONCE, strict=False):
        machines = await asyncio.gather(*(_rows_of_machine(table, partition, key) for key, _ in some))
        for (key, moment), (due, rows) in zip(some, machines, strict=True):
            if key not in seen and due and bucket(due) == moment:
                seen.add(key)
                found += rows
    return IndexedRows(found, page.following, len(page.entities))


async def _rows_of_machine(table: TableClient, partition: str, key: str) -> tuple[datetime | None, list[Row]]:
    """When the machine's next check is due, and its open rows; `key` is that of its own row."""
    check: datetime | None = None
    rows: list[Row] = []
    async for wire in table.query(Query(key, partition)):
        found = from_wire(wire)
        if found["RowKey"] == key:
            check = MachineRow.from_properties(found).next_attempt_at
        elif target_in(str(found["RowKey"])) and (row := read_row(found)) is not None and not row.outcome.final:
            rows.append(row)
    moments = [each for each in (check, *(row.next_attempt_at for row in rows)) if each is not None]
    return min(moments, default=None), rows


async def write_index_rows(table: TableClient, partition: str, keys: Iterable[str]) -> None:
    """Write index rows of one partition. Raises StorageError."""
    for some in batched(dict.fromkeys(keys), TRANSACTION, strict=False):
        with writing():
            await table.transact([Write({"PartitionKey": partition, "RowKey": key}) for key in some])


class _Indexed(Struct, frozen=True):
    """A current row to which an index row may lead."""

    resource_id: str
    index_key: str  # of the index row that leads to it as it is now; empty: none does
    due: datetime | None
    row: Row | None = None  # None: it is a machine's own row


async def _indexed(table: TableClient, query: Query) -> AsyncIterator[_Indexed]:
    found: list[dict[str, Any]] = []
    async for index_row in table.query(query, ("PartitionKey", "RowKey")):
        if indexed_key(index_row["RowKey"]):
            found.append(dict(index_row))
        if len(found) == _AT_ONCE:
            for each in await _rows_of(table, found):
                yield each
            found = []
    for each in await _rows_of(table, found):
        yield each


async def _rows_of(table: TableClient, index_rows: list[dict[str, Any]]) -> list[_Indexed]:
    """The rows to which the index rows lead; those that lead nowhere are deleted. Each row is read after its index row,
    so that what was written in between counts."""
    stored = await asyncio.gather(*(_stored(table, each) for each in index_rows))
    found, stale = [], []
    for index_row, columns in zip(index_rows, stored, strict=True):
        row = _read(indexed_key(index_row["RowKey"]), columns) if columns is not None else None
        if row is not None and row.index_key == index_row["RowKey"]:
            found.append(row)
        elif row is not None or columns is None:
            stale.append((Write(index_row, version=index_row["odata.etag"], delete=True),))
    try:
        await delete(table, stale)
    except StorageError as error:  # a person may read only; the next reader finds them again
        _log.debug("%d index rows lead nowhere and could not be deleted: %s", len(stale), error)
    return found


def _read(key: str, columns: dict[str, Any]) -> _Indexed | None:
    """The row with that key; None if it cannot be read."""
    if target_in(key):
        row = read_row(columns)
        if row is None:
            return None
        now = index_key(key, row.outcome, row.next_attempt_at)
        return _Indexed(row.resource_id, now, row.next_attempt_at, row)
    machine = MachineRow.from_properties(columns)
    due = machine.next_attempt_at
    return _Indexed(machine.resource_id, due_key(key, due) if due else "", due)


async def _stored(table: TableClient, index_row: Mapping[str, Any]) -> dict[str, Any] | None:
    keys = {"PartitionKey": index_row["PartitionKey"], "RowKey": indexed_key(index_row["RowKey"])}
    found = await table.get(keys)
    return None if found is None else from_wire(found)
