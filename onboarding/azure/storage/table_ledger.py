"""The ledger on Azure Table Storage: for each machine its own row, one row per extension, and lines of history.

One pass over a machine writes one transaction, conditional on the etag of the machine's own row: of two workers with
the same machine, one gets LostRace. A line of history is created and never overwritten, so of two workers with the same
event, one gets LostRace, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from itertools import batched
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from azure.core.exceptions import HttpResponseError, ServiceResponseError

from onboarding.application.notifications import EventRef
from onboarding.application.ports import (
    MOST_ON_A_PAGE,
    MachineRows,
    Pruned,
    RowPage,
    RowVersions,
    RowWrite,
    ScheduledCheck,
    StoredMachine,
    StoredRow,
)
from onboarding.azure.storage.ledger.change_entities import change_write, is_change, read_changes
from onboarding.azure.storage.ledger.deletions import TRANSACTION
from onboarding.azure.storage.ledger.index_rows import (
    IndexedRows,
    IndexKeys,
    due_checks,
    index_writes,
    page_of_attention,
    page_of_open,
    rows_of_attention,
    write_index_rows,
)
from onboarding.azure.storage.ledger.ledger_keys import (
    CURRENT,
    UNPUBLISHED,
    UNPUBLISHED_BEFORE,
    history_keys,
    history_prefix,
    is_current,
    outbox_keys,
    partition_of,
    row_prefix,
    target_keys,
    target_of,
    vm_id,
    vm_of,
)
from onboarding.azure.storage.ledger.row_entities import (
    KIND_COLUMNS,
    SUMMARY_COLUMNS,
    count_activity,
    read_kind,
    read_row,
    read_summary,
    row_of,
)
from onboarding.azure.storage.ledger.totals_rows import read_totals, write_totals
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
from onboarding.azure.storage.table_retention import prune
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.change import CHANGE_COLUMNS, Change, HistoryLine
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MACHINE_COLUMNS, MachineRow
from onboarding.domain.reconcile.row import EVERYTHING, ROW_COLUMNS, Row, Selection
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from onboarding.domain.resource_id import VmId
from onboarding.logging import logger

_log = logger(__name__)

# A transaction takes 100 entities. One entry may be five: a row, two lines of history, a row of the outbox and an
# index row. The machine's own row and its index row are two. Lines of changes fill the rest.
_ENTRIES_AT_ONCE = 10
# Identifies one write of the machine's own row, to find out whether it was carried out if no answer came.
_WRITE_ID = "WriteId"
_KEYS = frozenset({"PartitionKey", "RowKey"})
_COLUMNS_OF_OURS = ROW_COLUMNS | MACHINE_COLUMNS | {_WRITE_ID}
# The partitions of subscriptions begin with a digit or a letter up to "f", and lie between these two keys.
_FIRST, _LAST = "-", "g"
_AFTER_ALL = "\uffff"  # the last character: no key that begins alike comes after it
_SUBSCRIPTION = "subscription"  # in the place at which a page begins, beside the service's continuation
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
            if new and await self._table.get(target_keys(vm, "")) is None:
                return known
            query = Query(row_prefix(vm), partition_of(vm))
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
        changes: Sequence[Change] = (),
    ) -> RowVersions:
        vm = vm_id(machine.resource_id)
        targets: dict[str, str] = {}
        batches: list[tuple[RowWrite, ...]] = list(batched(entries, _ENTRIES_AT_ONCE, strict=False)) or [()]
        left = [change_write(change) for change in changes]
        while batches or left:
            some = batches.pop(0) if batches else ()
            writes = [_own_write(vm, machine, version, rest)]
            for entry in some:
                writes += self._writes(entry, trigger, again=again)
            writes += index_writes(machine, [entry.row for entry in some])
            room = TRANSACTION - len(writes)
            writes, left = writes + left[:room], left[room:]
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
        change: Change | None = None,
    ) -> None:
        vm = vm_id(machine.resource_id)
        keys = target_keys(vm, extension)
        restored = {**before.rest, **to_wire(before.row.to_properties())} if before else {}
        target = Write({**restored, **keys}, version=at, delete=before is None)
        # The index row of the row as it was may have been deleted while the claim was there.
        index_rows = index_writes(machine, [before.row] if before else [])
        lines = [change_write(change, delete=True)] if change else []
        await self._transact(vm, [_own_write(vm, machine, version, rest), target, *index_rows, *lines])

    async def append(self, row: Row, trigger: EventRef) -> None:
        write = Write(_history(row, trigger, to_wire(row.to_properties())))
        with writing():
            await self._table.write(write)

    async def append_changes(self, changes: Sequence[Change]) -> None:
        with writing():
            for some in batched(changes, TRANSACTION, strict=False):
                await self._table.transact([change_write(change) for change in some])

    def _writes(self, entry: RowWrite, trigger: EventRef, *, again: bool) -> list[Write]:
        row = entry.row
        columns = to_wire(row.to_properties())
        keys = target_keys(vm_of(row), row.extension)
        writes = [Write({**entry.rest, **columns, **keys}, create=entry.version is None, version=entry.version)]
        for each in entry.replaces:
            writes.append(Write(target_keys(vm_of(row), each.row.extension), version=each.version, delete=True))
        if entry.history:
            writes.append(Write(_history(row, trigger, columns), create=not again))
        if entry.ended is not None:
            end = EventRef(f"{trigger.id}.ended", trigger.time, trigger.correlation_id)
            writes.append(Write(_history(entry.ended, end, to_wire(entry.ended.to_properties()))))
        if self._outbox and entry.history and row.outcome.final:
            writes.append(Write({**columns, **outbox_keys(row)}))
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
        query = Query(row_prefix(vm), partition_of(vm))
        rows = {str(each["RowKey"]): each async for each in self._table.query(query)}
        own = writes[0].entity
        if rows.get(own["RowKey"], {}).get(_WRITE_ID) != own[_WRITE_ID]:
            return None
        return [str(rows.get(write.entity["RowKey"], {}).get("odata.etag", "")) for write in writes]

    async def overdue(self, subscription: str, before: datetime) -> AsyncIterator[ScheduledCheck]:
        with reading():
            async for check in due_checks(self._table, subscription.lower(), before):
                yield check

    async def attention(self, subscription: str) -> AsyncIterator[Row]:
        with reading():
            async for row in rows_of_attention(self._table, subscription.lower()):
                yield row

    async def unpublished(self, subscription: str, before: datetime) -> AsyncIterator[Row]:
        finished = f"FinishedAt lt {literal(before)}"
        end = f"{UNPUBLISHED_BEFORE[:-1]}}}"  # "}" is the character after "|"
        with reading():
            async for found in self._entities(Query(UNPUBLISHED, subscription.lower(), finished, until=end)):
                if (row := read_row(found)) is not None:
                    yield row

    async def mark_published(self, row: Row) -> None:
        if self._outbox:
            with writing():
                for prefix in (UNPUBLISHED, UNPUBLISHED_BEFORE):
                    if await self._table.delete(outbox_keys(row, prefix)):
                        return

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        page = await self.page(selection)
        while True:
            for row in page.rows:
                yield row
            if not page.following:
                return
            page = await self.page(selection, page.following)

    async def page(self, selection: Selection = EVERYTHING, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        place = dict(parse_qsl(begin, strict_parsing=True)) if begin else {}
        subscription = place.get(_SUBSCRIPTION, "") if begin else await self._first_subscription(selection)
        if begin and (not subscription or selection.subscription.lower() not in ("", subscription)):
            raise ValueError(f"{begin!r} is not where a page of these rows ends")
        if not subscription:
            return RowPage((), "")
        rows: list[Row] = []
        following: Mapping[str, str] = {}
        read_entities = 0
        with reading():
            query, most = _select(selection, subscription), min(most, MOST_ON_A_PAGE)
            page = await self._table.page(query, (), place, most)
            read = (read_row(from_wire(found)) for found in page.entities if target_of(found))
            rows = [row for row in read if row is not None and selection.names(row.resource_group, row.vm_name)]
            following, read_entities = page.following, len(page.entities)
        if following:
            return RowPage(rows, urlencode({_SUBSCRIPTION: subscription, **following}), read_entities)
        after = "" if selection.subscription else await self.next_subscription(subscription)
        return RowPage(rows, urlencode({_SUBSCRIPTION: after}) if after else "", read_entities)

    async def attention_page(self, selection: Selection, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        group = selection.resource_group.lower()

        async def read(place: Mapping[str, str]) -> IndexedRows:
            names = f"{group}|" if group else ""
            return await page_of_attention(self._table, selection.subscription.lower(), names, place, most)

        return await _indexed_page(selection, begin, read)

    async def open_page(self, selection: Selection, begin: str = "", most: int = MOST_ON_A_PAGE) -> RowPage:
        async def read(place: Mapping[str, str]) -> IndexedRows:
            return await page_of_open(self._table, selection.subscription.lower(), place, most)

        return await _indexed_page(selection, begin, read)

    async def count(self, selection: Selection = EVERYTHING) -> Mapping[RowKind, int]:
        counts: Counter[RowKind] = Counter()
        unread: Counter[str] = Counter()
        subscription = await self._first_subscription(selection)
        while subscription:
            with reading():
                async for found in self._entities(_select(selection, subscription), KIND_COLUMNS):
                    if not target_of(found):
                        continue
                    if not selection.names(selection.resource_group, str(found.get("VmName", ""))):
                        continue
                    try:
                        counts[read_kind(found)] += 1
                    except (ValueError, LookupError):
                        unread[str(found.get("Outcome", ""))] += 1
            subscription = "" if selection.subscription else await self.next_subscription(subscription)
        if unread:
            _log.warning("Ignored: outcomes that this version does not know: %s", dict(unread))
        return counts

    async def summaries(
        self,
        subscription: str,
        *,
        index: bool = False,
        late: datetime | None = None,
        activity: Activity | None = None,
    ) -> AsyncIterator[tuple[str, RowSummary]]:
        partition, keys, index_rows = subscription.lower(), IndexKeys(), dict[str, None]()
        with reading():
            async for found in self._entities(Query(CURRENT, partition), SUMMARY_COLUMNS):
                key, due = str(found["RowKey"]), found.get("NextAttemptAt")
                due = due if isinstance(due, datetime) else None
                if is_current(key) and not target_of(found):
                    keys.of_machine(key, due)
                if not target_of(found) or (summary := read_summary(found)) is None:
                    continue
                if activity is not None:
                    count_activity(activity, found, summary.outcome)
                is_late = late is not None and due is not None and due < late and not summary.outcome.final
                if index or is_late:
                    index_rows |= dict.fromkeys(keys.of_target(key, summary.outcome, due))
                if len(index_rows) >= TRANSACTION:
                    await write_index_rows(self._table, partition, index_rows)
                    index_rows = {}
                yield str(found["ResourceId"]), summary
            await write_index_rows(self._table, partition, index_rows)
            if index:
                async for _ in rows_of_attention(self._table, partition):
                    pass  # reading them deletes those that lead nowhere

    async def totals(self, subscription: str, since: date) -> AsyncIterator[Totals]:
        with reading():
            async for totals in read_totals(self._table, subscription.lower(), since):
                yield totals

    async def write_totals(self, totals: Totals) -> None:
        await write_totals(self._table, totals)

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
        with reading():
            async for found in self._entities(Query(history_prefix(vm), partition_of(vm))):
                if not is_change(found) and (row := read_row(found)) is not None:
                    yield row

    async def changes(
        self, subscription: str, selection: Selection, since: datetime
    ) -> AsyncIterator[Change | HistoryLine]:
        with reading():
            async for line in read_changes(self._table, subscription.lower(), selection, since):
                yield line

    async def close(self) -> None:
        await self._table.close()

    async def _first_subscription(self, selection: Selection) -> str:
        return selection.subscription.lower() or await self.next_subscription("")

    async def _entities(self, query: Query, select: Sequence[str] = ()) -> AsyncIterator[Mapping[str, Any]]:
        async for found in self._table.query(query, select):
            yield from_wire(found)


def _select(selection: Selection, partition: str) -> Query:
    """The query for a selection in one partition. A VM's name narrows the key range only together with its resource
    group."""
    group, vm = selection.resource_group.lower(), selection.vm_name.lower()
    names = f"{group}|{vm}|" if group and vm else f"{group}|" if group else ""
    either = " or ".join(f"Outcome eq {literal(outcome.value)}" for outcome in selection.outcomes)
    begin = f"{CURRENT}{names}{selection.vm_prefix.lower()}" if group and not vm and selection.vm_prefix else ""
    until = f"{begin}{_AFTER_ALL}" if begin else ""
    return Query(f"{CURRENT}{names}", partition, f"({either})" if either else "", begin=begin, until=until)


async def _indexed_page(
    selection: Selection,
    begin: str,
    read: Callable[[Mapping[str, str]], Awaitable[IndexedRows]],
) -> RowPage:
    """A page of rows to which index rows of the selection's subscription lead. Raises ValueError if `begin` is no such
    place, and StorageError."""
    place = dict(parse_qsl(begin, strict_parsing=True)) if begin else {}
    if begin and not place:
        raise ValueError(f"{begin!r} is not where a page of these rows ends")
    page = IndexedRows([], {}, 0)
    with reading():
        page = await read(place)
    named = (row for row in page.rows if selection.names(row.resource_group, row.vm_name))
    wanted = [row for row in named if not selection.outcomes or row.outcome in selection.outcomes]
    return RowPage(wanted, urlencode(page.following), page.read)


def _known(vm: VmId, found: Sequence[Mapping[str, Any]]) -> MachineRows:
    """The current rows of one machine, from the entities of its key range."""
    machine: StoredMachine | None = None
    targets: dict[str, StoredRow] = {}
    unreadable: dict[str, str] = {}
    for wire in found:
        target, version = target_of(wire), str(wire["odata.etag"])
        rest = unknown_columns(wire, _COLUMNS_OF_OURS)
        try:
            plain = from_wire(wire)
            if wire["RowKey"] == row_prefix(vm):
                machine = StoredMachine(MachineRow.from_properties(plain), version, rest)
            elif target:
                row = row_of(plain)
                targets[row.extension] = StoredRow(row, version, rest)
        except (ValueError, TypeError, LookupError) as error:
            log = _log.bind(machine=str(vm), target=target)
            log.error("the row %s cannot be read and will be replaced: %r", wire["RowKey"], error)
            unreadable[target] = version
    return MachineRows(machine, targets, unreadable)


def _is_row(write: Write) -> bool:
    """Whether it writes the current row of a target."""
    return not write.delete and target_of(write.entity) != ""


def _reduced(write: Write) -> Write:
    """The write with our own columns only, and with texts that are short and ASCII, which the table does not refuse."""

    def shortened(name: str, value: Any) -> Any:
        if type(value) is not str or name in _KEYS or "@" in name or f"{name}@odata.type" in write.entity:
            return value
        return value[:_SAFE_LENGTH].encode("ascii", "replace").decode()

    ours = _COLUMNS_OF_OURS | CHANGE_COLUMNS
    kept = {name: shortened(name, value) for name, value in write.entity.items() if not is_unknown(name, ours)}
    return Write(kept, write.create, write.version, write.delete)


def _own_write(vm: VmId, machine: MachineRow, version: str | None, rest: Mapping[str, Any] | None) -> Write:
    """The write of the machine's own row, with its unknown columns and a new id of the write."""
    entity = {**(rest or {}), **target_keys(vm, ""), **to_wire(machine.to_properties()), _WRITE_ID: uuid4().hex}
    return Write(entity, create=version is None, version=version)


def _history(row: Row, trigger: EventRef, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The line of history: the row as this trigger wrote it."""
    own = to_wire({"EventId": trigger.id, "EventTime": trigger.time, "CorrelationId": trigger.correlation_id})
    return {**history_keys(row, trigger), **columns, **own}
