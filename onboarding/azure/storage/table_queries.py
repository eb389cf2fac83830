"""Reads entities of the table: one by its keys, or many by an OData filter, page by page.

Raises azure-core's errors, and ValueError for an answer that is not that of a table.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from onboarding.azure.storage.storage_requests import StorageRequests, raise_for_status
from onboarding.azure.storage.table_entities import entity_path, from_wire

_HEADERS = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
_CONTINUED = ("NextPartitionKey", "NextRowKey")


class Query(Struct, frozen=True):
    """A query for the entities of one range of row keys."""

    prefix: str
    """What the row keys begin with; it must end in "|"."""
    partition: str = ""
    """The partition key; empty: all partitions."""
    condition: str = ""
    """A further condition in OData; empty: none."""
    after: str = ""
    """The row key after which the range begins; empty, or a key before the range: it begins at its start."""

    @property
    def text(self) -> str:
        """The query as an OData filter."""
        partition = f"PartitionKey eq {literal(self.partition)}" if self.partition else ""
        begin = f"gt {literal(self.after)}" if self.after > self.prefix else f"ge {literal(self.prefix)}"
        # "}" is the character after "|", so every key in between begins with the prefix.
        keys = f"RowKey {begin} and RowKey lt {literal(f'{self.prefix[:-1]}}}')}"
        return " and ".join(filter(None, (partition, keys, self.condition)))


def literal(value: str | datetime) -> str:
    """A value as an OData literal."""
    if isinstance(value, datetime):
        return f"datetime'{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
    return "'{}'".format(value.replace("'", "''"))


async def entity(requests: StorageRequests, table: str, keys: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The entity with these keys as the service's JSON, with its etag in `odata.etag`; None if it does not exist."""
    answer = await requests.send_unchecked("GET", f"/{table}{entity_path(keys)}", headers=_HEADERS)
    if answer.status == 404:  # true of each new VM, so no error is made: it costs time and garbage collection
        return None
    found = json.loads(raise_for_status(answer).content)
    if not isinstance(found, dict):
        raise ValueError("not an entity of a table")
    return found


async def entities(
    requests: StorageRequests, table: str, query: Query, select: Sequence[str] = ()
) -> AsyncIterator[Mapping[str, Any]]:
    """The entities that the query finds; each has its etag in `odata.etag`."""
    async for found in wire_entities(requests, table, query, select):
        yield from_wire(found)


async def wire_entities(
    requests: StorageRequests, table: str, query: Query, select: Sequence[str] = ()
) -> AsyncIterator[Mapping[str, Any]]:
    """The entities that the query finds, as the service's JSON. An empty page need not be the last."""
    base_query = f"$filter={quote(query.text, safe='')}" + (f"&$select={','.join(select)}" if select else "")
    async for found in _all_pages(requests, table, base_query):
        yield found


async def next_partition(requests: StorageRequests, table: str, after: str, end: str) -> str:
    """The first partition key after `after` and before `end` that has entities; empty: no partition follows."""
    between = f"PartitionKey gt {literal(after)} and PartitionKey lt {literal(end)}"
    query = f"$filter={quote(between, safe='')}&$top=1&$select=PartitionKey"
    async for found in _all_pages(requests, table, query):
        return str(found["PartitionKey"])
    return ""


async def _all_pages(requests: StorageRequests, table: str, base_query: str) -> AsyncIterator[Mapping[str, Any]]:
    following: dict[str, str] = {}
    while True:
        continued = "".join(f"&{name}={quote(value, safe='')}" for name, value in following.items())
        response = await requests.send("GET", f"/{table}()", base_query + continued, headers=_HEADERS)
        for found in _entities_of(json.loads(response.content)):
            yield found
        continuation = {name: response.headers.get(f"x-ms-continuation-{name}") for name in _CONTINUED}
        following = {name: value for name, value in continuation.items() if value}
        if not following:
            return


def _entities_of(page: object) -> list[dict[str, Any]]:
    found = page.get("value") if isinstance(page, Mapping) else None
    if not isinstance(found, list):
        raise ValueError("not a page of a table")
    return found
