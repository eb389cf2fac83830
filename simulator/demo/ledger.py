"""The storage table, read as any other program would: with the storage SDK and without the product's code. Unknown
keys and outcomes are ignored."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables import EntityProperty
from azure.data.tables.aio import TableClient

TABLE = "onboarding"
FINAL = frozenset(
    {
        "Installed",
        "AlreadyInstalled",
        "InModel",
        "Removed",
        "Unsupported",
        "Undetermined",
        "OutOfScope",
        "Audited",
        "Failed",
        "Gone",
    }
)
OPEN = frozenset({"Requested", "Waiting"})

_CURRENT = "RowKey ge 'vm|' and RowKey lt 'vm}'"
_TOTALS = "RowKey ge 'totals|' and RowKey lt 'totals}'"


@dataclass(frozen=True, slots=True)
class Row:
    """The current state of one VM and one extension, as the table holds it."""

    columns: Mapping[str, Any]

    @property
    def vm(self) -> str:
        """The VM's id in lower case."""
        return self.text("ResourceId").lower()

    @property
    def extension(self) -> str:
        """The catalogue's name of the extension."""
        return self.text("Extension")

    @property
    def outcome(self) -> str:
        return self.text("Outcome")

    @property
    def final(self) -> bool:
        return self.outcome in FINAL

    @property
    def image(self) -> str:
        offered = [self.text(f"Image{part}") for part in ("Publisher", "Offer", "Sku")]
        return ":".join(offered) if any(offered) else self.text("ImageId").rpartition("/")[2]

    @property
    def system(self) -> str:
        return f"{self.text('Distribution')} {self.text('OsVersion')}".strip()

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """What became of each step; empty if the policy asks for the extension alone."""
        steps: list[Mapping[str, Any]] = json.loads(self.text("Steps") or "[]")
        return steps

    @property
    def seconds_to_put(self) -> float | None:
        """From the VM's creation, the time of its event, to our request."""
        return self._since_event("RequestedAt")

    @property
    def seconds_to_end(self) -> float | None:
        return self._since_event("FinishedAt")

    @property
    def next_attempt_at(self) -> datetime | None:
        return self.columns.get("NextAttemptAt")

    def text(self, column: str) -> str:
        return str(self.columns.get(column, ""))

    def as_json(self) -> dict[str, Any]:
        """Every column, with times as text."""
        return {name: v.isoformat() if isinstance(v, datetime) else v for name, v in self.columns.items()}

    def _since_event(self, column: str) -> float | None:
        began, then = self.columns.get("EventTime"), self.columns.get(column)
        return (then - began).total_seconds() if began and then else None


class Ledger:
    """Reads the table; use with `async with`."""

    def __init__(self, connection_string: str) -> None:
        self._table = TableClient.from_connection_string(connection_string, TABLE)

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._table.close()

    async def current(self) -> dict[str, Row]:
        """The current row of each VM, by id, if there is only one policy."""
        return {row.vm: row for row in await self.rows()}

    async def of(self, extensions: Mapping[str, str]) -> dict[str, Row]:
        """The current row of each VM for its extension, given by the VM's id; rows of unknown VMs too."""
        return {row.vm: row for row in await self.rows() if row.extension == extensions.get(row.vm, row.extension)}

    async def by_target(self) -> dict[str, Row]:
        """The current row of each VM and extension, by both."""
        return {f"{row.vm} {row.extension}": row for row in await self.rows()}

    async def rows(self) -> list[Row]:
        """The current row of each VM and extension."""
        return current_rows(await self._read(_CURRENT))

    async def totals(self) -> dict[str, int]:
        """The rows by outcome, as the sweep counted them last in each subscription."""
        newest = {str(each["PartitionKey"]): each for each in await self._read(_TOTALS)}  # ordered by key, so by day
        counted: Counter[str] = Counter()
        for entity in newest.values():
            chunks = sorted((name for name in entity if name.startswith("Counts")), key=lambda name: int(name[6:]))
            for kind in json.loads("".join(entity[name] for name in chunks)):
                counted[kind["outcome"]] += kind["rows"]
        return dict(counted)

    async def everything(self) -> list[Mapping[str, Any]]:
        """Every entity, history too."""
        return await self._read("")

    async def _read(self, query: str) -> list[Mapping[str, Any]]:
        try:
            return [_plain(entity) async for entity in self._table.query_entities(query)]
        except ResourceNotFoundError:
            return []  # nothing was written yet


def current_rows(entities: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The current rows among entities."""
    return [Row(entity) for entity in entities if is_row(entity)]


def is_row(entity: Mapping[str, Any]) -> bool:
    """Whether an entity is a current row with a known key, `vm|<group>|<name>|<extension>`, and a known outcome."""
    prefix, *rest = _parts(entity)
    return prefix == "vm" and len(rest) == 3 and bool(rest[2]) and entity.get("Outcome") in FINAL | OPEN


def is_machine(entity: Mapping[str, Any]) -> bool:
    """Whether an entity is a VM's own row, `vm|<group>|<name>|`."""
    prefix, *rest = _parts(entity)
    return prefix == "vm" and rest[2:] == [""]


def _parts(entity: Mapping[str, Any]) -> list[str]:
    return str(entity.get("RowKey", "")).split("|")


def _plain(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The entity without the wrapper in which the SDK returns 64-bit numbers."""
    return {name: v.value if isinstance(v, EntityProperty) else v for name, v in entity.items()}
