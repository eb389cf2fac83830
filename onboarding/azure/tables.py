"""The ledger on Azure Table Storage: one entity for the current state, one for each line of history.

Both are written in one transaction. The current row carries the ETag that was read, a line of history is created
and not overwritten, so that of two workers with the same event, or with the same row, one loses.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from onboarding.azure.entities import reading, to_wire, with_table, writing
from onboarding.azure.queries import Query, entities, entity, literal
from onboarding.azure.storage import OnboardingTable
from onboarding.azure.writes import Write, transact, write_one
from onboarding.core.errors import StorageError
from onboarding.core.outcome import Outcome, Row
from onboarding.core.resource_id import VmId, parse_id
from onboarding.core.selection import EVERYTHING, Selection
from onboarding.core.survey import Standing
from onboarding.events import Trigger
from onboarding.ports import Stored

_log = logging.getLogger(__name__)

_END_OF_TIME_MS = 9_999_999_999_999


class TableLedger:
    """Implements `ports.Ledger` and `ports.LedgerReader`. Makes the table when it is missing. With `outbox`, final
    outcomes are to be told to somebody, and each leaves a note until it was."""

    def __init__(self, table: OnboardingTable, *, outbox: bool = False) -> None:
        self._table = table
        self._outbox = outbox

    async def read(self, vm: VmId, only: Collection[str] = ()) -> Mapping[str, Stored]:
        rows: dict[str, Stored] = {}
        with reading():
            async for found in self._named(vm, *only) if len(only) == 1 else self._all(vm):
                if not only or found["Extension"] in only:
                    rows[found["Extension"]] = Stored(_row(found), str(found["odata.etag"]))
        return rows

    async def _named(self, vm: VmId, extension: str) -> AsyncIterator[Mapping[str, Any]]:
        """By its whole key, which the service finds sooner than any filter."""
        keys = {"PartitionKey": vm.subscription.lower(), "RowKey": f"{_row_prefix(vm)}|{extension.lower()}"}
        if found := await entity(self._table.requests, self._table.table_name, keys):
            yield found

    def _all(self, vm: VmId) -> AsyncIterator[Mapping[str, Any]]:
        return self._entities(Query(f"{_row_prefix(vm)}|", vm.subscription.lower()))

    async def write(self, row: Row, trigger: Trigger, version: str | None, *, again: bool = False) -> str:
        told = to_wire(row.to_properties())
        writes = [
            Write({**_keys(row), **told}, create=version is None, version=version),
            Write(_history(row, trigger, told), create=not again),
        ]
        if self._outbox and row.outcome.final:
            writes.append(Write({**_note_keys(row), **told}))
        with writing():
            versions = await with_table(
                self._table, lambda: transact(self._table.requests, self._table.table_name, writes)
            )
        return versions[0]

    async def claim(self, row: Row, version: str | None) -> str:
        told = to_wire(row.to_properties())
        return await self._write(Write({**_keys(row), **told}, create=version is None, version=version))

    async def append(self, row: Row, trigger: Trigger) -> None:
        await self._write(Write(_history(row, trigger, to_wire(row.to_properties()))))

    async def _write(self, write: Write) -> str:
        with writing():
            return await with_table(self._table, lambda: write_one(self._table.requests, self._table.table_name, write))

    async def overdue(self, before: datetime) -> AsyncIterator[Row]:
        query = Query("vm|", condition=f"NextAttemptAt lt {literal(before)}")
        async for row in self._rows(query):
            yield row

    async def untold(self, before: datetime) -> AsyncIterator[Row]:
        query = Query("untold|", condition=f"FinishedAt lt {literal(before)}")
        async for row in self._rows(query):
            yield row

    async def told(self, row: Row) -> None:
        if self._outbox:
            with writing():
                await self._table.delete_entity(_note_keys(row))

    async def current(self, selection: Selection = EVERYTHING) -> AsyncIterator[Row]:
        async for row in self._rows(_select(selection)):
            if selection.vm_name.lower() in ("", row.vm_name.lower()):
                yield row

    async def totals(self, selection: Selection = EVERYTHING) -> Mapping[Outcome, int]:
        counts: Counter[str] = Counter()
        with reading():
            async for found in self._entities(_select(selection), ("Outcome", "VmName")):
                if selection.vm_name.lower() in ("", str(found.get("VmName", "")).lower()):
                    counts[str(found.get("Outcome"))] += 1
        if unread := {outcome: count for outcome, count in counts.items() if outcome not in _OUTCOMES}:
            _log.warning("left out: outcomes that this version does not know: %s", unread)
        return {outcome: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}

    async def standings(self, subscription: str) -> AsyncIterator[tuple[str, Standing]]:
        query = Query("vm|", subscription.lower())
        with reading():
            async for found in self._entities(query, _STANDING):
                if (standing := _standing(found)) is not None:
                    yield str(found["ResourceId"]), standing

    async def history(self, vm: VmId) -> AsyncIterator[Row]:
        prefix = f"log|{vm.resource_group}|{vm.name}|".lower()
        async for row in self._rows(Query(prefix, vm.subscription.lower())):
            yield row

    async def close(self) -> None:
        await self._table.close()

    async def _rows(self, query: Query) -> AsyncIterator[Row]:
        """Rows for a list: one that cannot be read, perhaps a newer version's, must not hide the others."""
        with reading():
            async for found in self._entities(query):
                try:
                    row = _row(found)
                except StorageError as error:
                    _log.warning("left out: %s", error)
                else:
                    yield row

    def _entities(self, query: Query, select: Sequence[str] = ()) -> AsyncIterator[Mapping[str, Any]]:
        return entities(self._table.requests, self._table.table_name, query, select)


_OUTCOMES = frozenset(outcome.value for outcome in Outcome)
_STANDING = (
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
)


def _select(selection: Selection) -> Query:
    """The outcomes, and as much of the names as a row key begins with: a VM's name counts once its group is known."""
    group, vm = selection.resource_group.lower(), selection.vm_name.lower()
    names = f"{group}|{vm}|" if group and vm else f"{group}|" if group else ""
    either = " or ".join(f"Outcome eq {literal(outcome.value)}" for outcome in selection.outcomes)
    return Query(f"vm|{names}", selection.subscription.lower(), f"({either})" if either else "")


def _keys(row: Row) -> dict[str, str]:
    vm = _vm(row)
    return {"PartitionKey": vm.subscription.lower(), "RowKey": f"{_row_prefix(vm)}|{row.extension.lower()}"}


def _note_keys(row: Row) -> dict[str, str]:
    """The note that an outcome is still to be told; the same outcome written twice is one note."""
    vm = _vm(row)
    moment = f"{row.finished_at:%Y%m%dt%H%M%S%f}" if row.finished_at else ""
    key = f"untold|{vm.resource_group}|{vm.name}|{row.extension}|{moment}".lower()
    return {"PartitionKey": vm.subscription.lower(), "RowKey": key}


def _row_prefix(vm: VmId) -> str:
    return f"vm|{vm.resource_group}|{vm.name}".lower()


def _history(row: Row, trigger: Trigger, told: Mapping[str, Any]) -> dict[str, Any]:
    """The line of history: what is told of the row as this trigger left it, newest first within a VM."""
    vm = _vm(row)
    inverted = max(0, _END_OF_TIME_MS - int(trigger.time.timestamp() * 1000))
    key = f"log|{vm.resource_group}|{vm.name}|{row.extension}|{inverted:013d}|{trigger.id}".lower()
    own = to_wire({"EventId": trigger.id, "EventTime": trigger.time, "CorrelationId": trigger.correlation_id})
    return {"PartitionKey": vm.subscription.lower(), "RowKey": key, **told, **own}


def _vm(row: Row) -> VmId:
    vm = parse_id(row.resource_id)
    if not isinstance(vm, VmId):
        raise ValueError(f"{row.resource_id!r} is not the id of a VM")
    return vm


def _row(entity: Mapping[str, Any]) -> Row:
    try:
        return Row.from_properties(dict(entity))
    except (ValueError, TypeError, LookupError) as error:
        key = f"{entity['PartitionKey']} {entity['RowKey']}"
        raise StorageError(f"the row {key} is none that this version can read: {error!r}") from None


def _standing(entity: Mapping[str, Any]) -> Standing | None:
    """What the sweep needs of a row, sharing the texts that most rows have in common; None if it cannot be read."""
    try:
        return Standing(
            extension=sys.intern(str(entity["Extension"])),
            outcome=Outcome(entity["Outcome"]),
            vm_id=str(entity.get("VmId", "")),
            extension_name=sys.intern(str(entity.get("ExtensionName", ""))),
            since=entity.get("FinishedAt") or entity.get("EventTime"),
            policy=sys.intern(str(entity.get("Policy", ""))),
            policy_hash=sys.intern(str(entity.get("PolicyHash", ""))),
        )
    except (ValueError, LookupError) as error:
        _log.warning("left out: the row %s cannot be read: %r", entity.get("ResourceId"), error)
        return None
