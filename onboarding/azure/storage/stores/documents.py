"""Single entities of the ledger's table that all workers share: read with their etags, and written only if nobody has
written them since."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct

from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, reading, to_wire, unknown_columns, writing
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import StorageError
from onboarding.logging import logger

_log = logger(__name__)

_NOT_IN_KEYS = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME = 200


class Document[T](Struct, frozen=True):
    """One entity as it was read."""

    value: T
    key: str
    """Its row key."""
    version: str
    """Its etag."""
    rest: Mapping[str, Any]
    """The columns that this version of the product does not know, as the service's JSON."""


class Documents[T]:
    """The documents of one kind. Errors are those of the ports: StorageError, and LostRace for a conditional write."""

    def __init__(self, table: TableClient, columns: Collection[str], parse: Callable[[Mapping[str, Any]], T]) -> None:
        """`columns` are all that this version of the product writes; `parse` makes the value from them."""
        self._table = table
        self._columns = columns
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

    async def write(
        self,
        partition: str,
        key: str,
        columns: Mapping[str, Any],
        version: str | None,
        rest: Mapping[str, Any] | None,
    ) -> str:
        """Create the document (`version` None), or replace the one with that etag, and keep the columns `rest`;
        returns the new etag."""
        entity = {**(rest or {}), **to_wire(columns), **_keys(partition, key)}
        with writing():
            return await self._table.write(Write(entity, create=version is None, version=version))

    async def delete(self, partition: str, key: str, version: str) -> None:
        """Delete the document with that etag; one that is not there any more is no error."""
        with writing():
            await self._table.delete(_keys(partition, key), version)

    def _document(self, wire: Mapping[str, Any]) -> Document[T]:
        try:
            value, rest = self._parse(from_wire(wire)), unknown_columns(wire, self._columns)
            return Document(value, str(wire["RowKey"]), str(wire["odata.etag"]), rest)
        except (ValueError, TypeError, LookupError) as error:
            key = f"{wire.get('PartitionKey')} {wire.get('RowKey')}"
            raise StorageError(f"the row {key} cannot be read by this version: {error!r}") from None


def key_of(name: str) -> str:
    """The name in characters that a key may have; a changed name gets a hash, so that two names stay different."""
    key = folded(name)[:_LONGEST_NAME]
    return key if key == name else hashed(name)


def hashed(name: str) -> str:
    """The name in characters that a key may have, with a hash."""
    return f"{folded(name)[:_LONGEST_NAME]}-{sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def folded(name: str) -> str:
    """The name in characters that a key may have. Names that differ only in others become the same."""
    return _NOT_IN_KEYS.sub("-", name.lower())


def _keys(partition: str, key: str) -> dict[str, str]:
    return {"PartitionKey": partition, "RowKey": key}
