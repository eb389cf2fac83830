"""Single entities of the ledger's table that all workers share: read with their etags, and written only if nobody has
written them since."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, reading, to_wire, writing
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import StorageError
from onboarding.logging import logger

_log = logger(__name__)


class Document[T](Struct, frozen=True):
    """One entity as it was read."""

    value: T
    version: str
    """Its etag."""


class Documents[T]:
    """The documents of one kind. Errors are those of the ports: StorageError, and LostRace for a conditional write."""

    def __init__(self, table: TableClient, parse: Callable[[Mapping[str, Any]], T]) -> None:
        """`parse` makes the value from the columns."""
        self._table = table
        self._parse = parse

    async def read(self, partition: str, key: str) -> Document[T] | None:
        """The document with these keys; None if it does not exist."""
        with reading():
            found = await self._table.get(_keys(partition, key))
        return None if found is None else self._document(found)

    async def find(self, query: Query) -> list[Document[T]]:
        """The documents that the query finds. One that cannot be read, perhaps of a newer version, is left out with a
        warning."""
        documents: list[Document[T]] = []
        with reading():
            async for found in self._table.query(query):
                try:
                    documents.append(self._document(found))
                except StorageError as error:
                    _log.warning("Ignored: %s", error)
        return documents

    async def write(self, partition: str, key: str, columns: Mapping[str, Any], version: str | None) -> str:
        """Create the document (`version` None), or replace the one with that etag; returns the new etag."""
        entity = {**to_wire(columns), **_keys(partition, key)}
        with writing():
            return await self._table.write(Write(entity, create=version is None, version=version))

    async def merge(self, partition: str, key: str, columns: Mapping[str, Any]) -> None:
        """Write these columns, whatever is there; the others stay."""
        with writing():
            await self._table.write(Write({**to_wire(columns), **_keys(partition, key)}, merge=True))

    async def delete(self, partition: str, key: str, version: str) -> None:
        """Delete the document with that etag; one that is not there any more is no error."""
        with writing():
            await self._table.delete(_keys(partition, key), version)

    def _document(self, wire: Mapping[str, Any]) -> Document[T]:
        try:
            return Document(self._parse(from_wire(wire)), str(wire["odata.etag"]))
        except (ValueError, TypeError, LookupError) as error:
            key = f"{wire.get('PartitionKey')} {wire.get('RowKey')}"
            raise StorageError(f"the row {key} cannot be read by this version: {error!r}") from None


def _keys(partition: str, key: str) -> dict[str, str]:
    return {"PartitionKey": partition, "RowKey": key}
