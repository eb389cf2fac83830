"""The ledger on Azure Table Storage: for each machine its own row, one row per extension, and lines of history.

One pass over a machine writes one transaction, conditional on the etag of the machine's own row: of two workers with
the same machine, one gets LostRace. A line of history is created and never overwritten, so of two workers with the same
event, one gets LostRace, too.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import replace
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import uuid4

from azure.core.exceptions import HttpResponseError, ServiceResponseError

from onboarding.application.notifications import EventRef
from onboarding.application.ports import MachineRows, Pruned, RowVersions, RowWrite, StoredMachine, StoredRow
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import (
    from_wire,
    is_unknown,
    reading,
    to_wire,
    unknown_columns,
    writing,
)
from onboarding.azure.storage.table_queries import Query, literal
from onboarding.azure.storage.table_retention import END_OF_TIME_MS, prune
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import StorageError
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MACHINE_COLUMNS, MachineRow
from onboarding.domain.reconcile.row import EVERYTHING, ROW_COLUMNS, Outcome, Row, Selection, WaitingFor
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.logging import logger

_log = logger(__name__)

# A transaction takes 100 entities. One entry may be four: a row, two lines of history and a row of the outbox.
_ENTRIES_AT_ONCE = 10
# Identifies one write of the machine's own row, to find out whether it was carried out if no answer came.
_WRITE_ID = "WriteId"
_KEYS = frozenset({"PartitionKey", "RowKey"})
_COLUMNS_OF_OURS = ROW_COLUMNS | MACHINE_COLUMNS | {_WRITE_ID}
# The partitions of subscriptions begin with a digit or a letter up to "f", and lie between these two keys.
_FIRST, _LAST = "-", "g"
_REFUSED_FOR_GOOD = (400, 413)
_SAFE_LENGTH = 256  # characters that are kept of a text after the table refused it


class TableLedger:
    """Implements `ports.Ledger` and `ports.LedgerReader`. Creates the table if it does not exist. With `outbox`, each
    final outcome gets a row in the outbox, until it is marked as published."""

    def __init__(self, table: TableClient, *, outbox: bool = False) -> None:
        self._table = table
        self._outbox = outbox

    async def read(self, vm: VmId, *, new: bool = False) -> MachineRows:
        known = MachineRows()
        with reading():
            # A read by the whole key is faster than a query with a filter.
            if new and await self._table.get(_machine_keys(vm)) is None:
                return known
            query = Query(f"{_row_prefix(vm)}|", vm.subscription.lower())
            known = _known(vm, [each async for each in self._table.query(query)])
        return known

    async def commit(
        self,
        machine: MachineRow,
        version: str | None,
        entries: Sequence[RowWrite],
        trigger: EventRef,
        *,
        again: bool = False,
        rest: Mapping[str, Any] | None = None,
    ) -> RowVersions:
        vm = _vm_id(machine.resource_id)
        targets: dict[str, str] = {}
        for some in list(batched(entries, _ENTRIES_AT_ONCE, strict=False)) or [()]:
            writes = [_own_write(vm, machine, version, rest)]
            for entry in some:
                writes += self._writes(entry, trigger, again=again)
            versions = await self._transact(vm, writes)
            version = versions[0]
            rows = (each for write, each in zip(writes, versions, strict=True) if _is_row(write))
            targets |= {entry.row.extension: each for entry, each in zip(some, rows, strict=True)}
        return RowVersions(version or "", targets)

    async def undo(
        self,
        machine: MachineRow,
        version: str,
        extension: str,
        before: StoredRow | None,
        at: str,
        *,
        rest: Mapping[str, Any] | None = None,
    ) -> None:
        vm = _vm_id(machine.resource_id)
        keys = _target_keys(vm, extension)
        restored = {**before.rest, **to_wire(before.row.to_properties())} if before else {}
        target = Write({**restored, **keys}, version=at, delete=before is None)
        await self._transact(vm, [_own_write(vm, machine, version, rest), target])

    async def append(self, row: Row, trigger: EventRef) -> None:
        write = Write(_history(row, trigger, to_wire(row.to_properties())))
        with writing():
            await self._table.write(write)

    def _writes(self, entry: RowWrite, trigger: EventRef, *, again: bool) -> list[Write]:
        row = entry.row
        columns = to_wire(row.to_properties())
        keys = _target_keys(_vm(row), row.extension)
        writes = [Write({**entry.rest, **columns, **keys}, create=entry.version is None, version=entry.version)]
        for each in entry.replaces:
            writes.append(Write(_target_keys(_vm(row), each.row.extension), version=each.version, delete=True))
        if entry.history:
            writes.append(Write(_history(row, trigger, columns), create=not again))
        if entry.ended is not None:
            end = EventRef(f"{trigger.id}.ended", trigger.time, trigger.correlation_id)
            writes.append(Write(_history(entry.ended, end, to_wire(entry.ended.to_properties()))))
        if self._outbox and entry.history and row.outcome.final:
            writes.append(Write({**columns, **_outbox_keys(row)}))
        return writes

    async def _transact(self, vm: VmId, writes: Sequence[Write]) -> list[str]:
        """Carry out all writes or none; returns the new etags. If the table refuses the content, the content is reduced
        and written again: the same content would always be refused."""
        with writing():
            try:
                return await self._send(vm, writes)
            except HttpResponseError as error:
                if error.status_code not in _REFUSED_FOR_GOOD:
                    raise
                log = _log.bind(machine=str(vm))
                log.error("the table refused a row (%s %s); writing it reduced", error.status_code, error.reason)
            return await self._send(vm, [_reduced(write) for write in writes])

    async def _send(self, vm: VmId, writes: Sequence[Write]) -> list[str]:
        try:
            return await self._table.transact(writes)
        except ServiceResponseError:
            # The transaction was sent and no answer came, so it may have been carried out.
            if (versions := await self._versions_if_written(vm, writes)) is not None:
                return versions
            return await self._table.transact(writes)

    async def _versions_if_written(self, vm: VmId, writes: Sequence[Write]) -> list[str] | None:
        """The etags that these writes made; None if they were not carried out."""
        query = Query(f"{_row_prefix(vm)}|", vm.subscription.lower())
        rows = {str(each["RowKey"]): each async for each in self._table.query(query)}
        own = writes[0].entity
        if rows.get(own["RowKey"], {}).get(_WRITE_ID) != own[_WRITE_ID]:
            return None
        return [str(rows.get(write.entity["RowKey"], {}).get("odata.etag", "")) for write in writes]

    async def overdue(self, before: datetime) -> AsyncIterator[Row]:
        query = Query("vm|", condition=f"NextAttemptAt lt {literal(before)}")
        async for row in self._rows(query):
            yield row

    async def unpublished(self, before: datetime) -> AsyncIterator[Row]:
        query = Query("untold|", condition=f"FinishedAt lt {literal(before)}")
        async for row in self._rows(query):
            yield row

    async def mark_published(self, row: Row) -> None:
        if self._outbox:
            with writing():
                await self._table.delete(_outbox_keys(row))

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        async for row in self._rows(_select(selection)):
            if selection.vm_name.lower() in ("", row.vm_name.lower()):
                yield row

    async def totals(self, selection: Selection = EVERYTHING) -> Mapping[Outcome, int]:
        counts: Counter[str] = Counter()
        with reading():
            async for found in self._entities(_select(selection), ("Outcome", "VmName")):
                if "Outcome" in found and selection.vm_name.lower() in ("", str(found.get("VmName", "")).lower()):
                    counts[str(found["Outcome"])] += 1
        if unread := {outcome: count for outcome, count in counts.items() if outcome not in _OUTCOMES}:
            _log.warning("Ignored: outcomes that this version does not know: %s", unread)
        return {outcome: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}

    async def summaries(self, subscription: str) -> AsyncIterator[tuple[str, RowSummary]]:
        query = Query("vm|", subscription.lower())
        with reading():
            async for found in self._entities(query, _SUMMARY_COLUMNS):
                if _target_of(found) and (summary := _summary(found)) is not None:
                    yield str(found["ResourceId"]), summary

    async def next_subscription(self, after: str) -> str:
        found = ""
        with reading():
            found = await self._table.next_partition(after or _FIRST, _LAST)
        return found

    async def prune(self, subscription: str, before: datetime, after: str = "") -> AsyncIterator[Pruned]:
        with reading():
            async for step in prune(self._table, subscription, before, after):
                yield step

    async def history(self, vm: VmId) -> AsyncIterator[Row]:
        prefix = f"log|{vm.resource_group}|{vm.name}|".lower()
        async for row in self._rows(Query(prefix, vm.subscription.lower())):
            yield row

    async def close(self) -> None:
        await self._table.close()

    async def _rows(self, query: Query) -> AsyncIterator[Row]:
        """Rows for a list. A row that cannot be read, perhaps of a newer version, is left out with a warning."""
        with reading():
            async for found in self._entities(query):
                if _is_machine_row(found):
                    continue
                try:
                    row = _row(found)
                except StorageError as error:
                    _log.warning("Ignored: %s", error)
                else:
                    yield row

    async def _entities(self, query: Query, select: Sequence[str] = ()) -> AsyncIterator[Mapping[str, Any]]:
        async for found in self._table.query(query, select):
            yield from_wire(found)


_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_SUMMARY_COLUMNS = (
    "PartitionKey",
    "RowKey",
    "ResourceId",
    "Extension",
    "Outcome",
    "VmId",
    "ExtensionName",
    "FinishedAt",
    "EventTime",
    "Policy",
    "PolicyHash",
    "WaitingFor",
    "SentDigest",
)


def _select(selection: Selection) -> Query:
    """The query for a selection. A VM's name narrows the key range only together with its resource group."""
    group, vm = selection.resource_group.lower(), selection.vm_name.lower()
    names = f"{group}|{vm}|" if group and vm else f"{group}|" if group else ""
    either = " or ".join(f"Outcome eq {literal(outcome.value)}" for outcome in selection.outcomes)
    return Query(f"vm|{names}", selection.subscription.lower(), f"({either})" if either else "")


def _known(vm: VmId, found: Sequence[Mapping[str, Any]]) -> MachineRows:
    """The current rows of one machine, from the entities of its key range."""
    machine: StoredMachine | None = None
    targets: dict[str, StoredRow] = {}
    unreadable: dict[str, str] = {}
    for wire in found:
        target, version = _target_of(wire), str(wire["odata.etag"])
        rest = unknown_columns(wire, _COLUMNS_OF_OURS)
        try:
            plain = from_wire(wire)
            if wire["RowKey"] == f"{_row_prefix(vm)}|":
                machine = StoredMachine(MachineRow.from_properties(plain), version, rest)
            elif target:
                row = _read_row(plain)
                targets[row.extension] = StoredRow(row, version, rest)
        except (ValueError, TypeError, LookupError) as error:
            log = _log.bind(machine=str(vm), target=target)
            log.error("the row %s cannot be read and will be replaced: %r", wire["RowKey"], error)
            unreadable[target] = version
    return MachineRows(machine, targets, unreadable)


def _target_of(entity: Mapping[str, Any]) -> str:
    """The extension in the key of a current row, lower case; empty for any other row."""
    parts = str(entity.get("RowKey", "")).split("|")
    return parts[3] if len(parts) == 4 and parts[0] == "vm" else ""


def _is_row(write: Write) -> bool:
    """Whether it writes the current row of a target."""
    return not write.delete and _target_of(write.entity) != ""


def _is_machine_row(entity: Mapping[str, Any]) -> bool:
    key = str(entity.get("RowKey", ""))
    return key.startswith("vm|") and key.endswith("|")


def _reduced(write: Write) -> Write:
    """The write with our own columns only, and with texts that are short and ASCII, which the table does not refuse."""

    def shortened(name: str, value: Any) -> Any:
        if type(value) is not str or name in _KEYS or "@" in name or f"{name}@odata.type" in write.entity:
            return value
        return value[:_SAFE_LENGTH].encode("ascii", "replace").decode()

    kept = {
        name: shortened(name, value) for name, value in write.entity.items() if not is_unknown(name, _COLUMNS_OF_OURS)
    }
    return Write(kept, write.create, write.version, write.delete)


def _own_write(vm: VmId, machine: MachineRow, version: str | None, rest: Mapping[str, Any] | None) -> Write:
    """The write of the machine's own row, with its unknown columns and a new id of the write."""
    entity = {**(rest or {}), **_machine_keys(vm), **to_wire(machine.to_properties()), _WRITE_ID: uuid4().hex}
    return Write(entity, create=version is None, version=version)


def _target_keys(vm: VmId, extension: str) -> dict[str, str]:
    return {"PartitionKey": vm.subscription.lower(), "RowKey": f"{_row_prefix(vm)}|{extension.lower()}"}


def _machine_keys(vm: VmId) -> dict[str, str]:
    return {"PartitionKey": vm.subscription.lower(), "RowKey": f"{_row_prefix(vm)}|"}


def _outbox_keys(row: Row) -> dict[str, str]:
    """The keys of an unpublished outcome in the outbox; the same outcome written twice has the same keys."""
    vm = _vm(row)
    moment = f"{row.finished_at:%Y%m%dt%H%M%S%f}" if row.finished_at else ""
    key = f"untold|{vm.resource_group}|{vm.name}|{row.extension}|{moment}".lower()
    return {"PartitionKey": vm.subscription.lower(), "RowKey": key}


def _row_prefix(vm: VmId) -> str:
    return f"vm|{vm.resource_group}|{vm.name}".lower()


def _history(row: Row, trigger: EventRef, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The line of history: the row as this trigger wrote it. The keys sort the newest first within an extension."""
    vm = _vm(row)
    inverted = max(0, END_OF_TIME_MS - int(trigger.time.timestamp() * 1000))
    key = f"log|{vm.resource_group}|{vm.name}|{row.extension}|{inverted:013d}|{trigger.id}".lower()
    own = to_wire({"EventId": trigger.id, "EventTime": trigger.time, "CorrelationId": trigger.correlation_id})
    return {"PartitionKey": vm.subscription.lower(), "RowKey": key, **columns, **own}


def _vm(row: Row) -> VmId:
    return _vm_id(row.resource_id)


def _vm_id(resource_id: str) -> VmId:
    vm = parse_id(resource_id)
    if not isinstance(vm, VmId):
        raise ValueError(f"{resource_id!r} is not the id of a VM")
    return vm


def _read_row(columns: dict[str, Any]) -> Row:
    row = Row.from_properties(columns)
    # A version that does not know the column of the cause leaves an old one behind when it clears the error.
    return row if row.error_code or not row.cause else replace(row, cause="")


def _row(entity: Mapping[str, Any]) -> Row:
    try:
        return _read_row(dict(entity))
    except (ValueError, TypeError, LookupError) as error:
        key = f"{entity['PartitionKey']} {entity['RowKey']}"
        raise StorageError(f"the row {key} cannot be read by this version: {error!r}") from None


def _summary(entity: Mapping[str, Any]) -> RowSummary | None:
    """The summary of a row for the sweep; None if it cannot be read. Common texts are interned, to save memory."""
    waiting_for = str(entity.get("WaitingFor", ""))
    try:
        return RowSummary(
            extension=sys.intern(str(entity["Extension"])),
            outcome=Outcome(entity["Outcome"]),
            vm_id=str(entity.get("VmId", "")),
            extension_name=sys.intern(str(entity.get("ExtensionName", ""))),
            since=entity.get("FinishedAt") or entity.get("EventTime"),
            policy=sys.intern(str(entity.get("Policy", ""))),
            policy_hash=sys.intern(str(entity.get("PolicyHash", ""))),
            waiting_for=WaitingFor(waiting_for) if waiting_for in WaitingFor else None,
            sent_digest=sys.intern(str(entity.get("SentDigest", ""))),
        )
    except (ValueError, LookupError) as error:
        log = _log.bind(machine=str(entity.get("ResourceId", "")), target=str(entity.get("Extension", "")))
        log.warning("Ignored: the row cannot be read: %r", error)
        return None
