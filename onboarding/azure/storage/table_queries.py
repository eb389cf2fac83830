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
MOST_AT_ONCE = 1000
"""Entities that the service returns in one page at the most."""


class Query(Struct, frozen=True):
    """A query for the entities of one range of row keys in one partition: the service reads no others."""

    prefix: str
    """What the row keys begin with; it must end in "|"."""
    partition: str
    """The partition key."""
    condition: str = ""
    """A further condition in OData; empty: none."""
    after: str = ""
    """The row key after which the range begins; empty, or a key before the range: it begins at its start."""
    until: str = ""
    """The row key before which the range ends; empty: after the last key with the prefix."""

    @property
    def text(self) -> str:
        """The query as an OData filter."""
        partition = f"PartitionKey eq {literal(self.partition)}"
        begin = f"gt {literal(self.after)}" if self.after > self.prefix else f"ge {literal(self.prefix)}"
        # "}" is the character after "|", so every key in between begins with the prefix.
        end = self.until or f"{self.prefix[:-1]}}}"
        keys = f"RowKey {begin} and RowKey lt {literal(end)}"
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


class Page(Struct, frozen=True):
    """What the service returns at once."""

    entities: Sequence[Mapping[str, Any]]
    """The entities as the service's JSON. An empty page need not be the last."""
    following: Mapping[str, str]
    """The service's continuation; empty: this is the last page."""


async def entities(
    requests: StorageRequests, table: str, query: Query, select: Sequence[str] = ()
) -> AsyncIterator[Mapping[str, Any]]:
    """The entities that the query finds; each has its etag in `odata.etag`."""
    async for found in wire_entities(requests, table, query, select):
        yield from_wire(found)


async def wire_entities(
    requests: StorageRequests, table: str, query: Query, select: Sequence[str] = ()
) -> AsyncIterator[Mapping[str, Any]]:
    """The entities that the query finds, as the service's JSON."""
    following: Mapping[str, str] = {}
    while True:
        page = await read_page(requests, table, query, select, following)
        for found in page.entities:
            yield found
        if not (following := page.following):
            return


async def read_page(
    requests: StorageRequests,
    table: str,
    query: Query,
    select: Sequence[str] = (),
    following: Mapping[str, str] | None = None,
    most: int = MOST_AT_ONCE,
) -> Page:
    """One page of the entities that the query finds: the first, or the one that follows another."""
    text = f"$filter={quote(query.text, safe='')}" + (f"&$select={','.join(select)}" if select else "")
    return await _page(requests, table, f"{text}&$top={most}" if most < MOST_AT_ONCE else text, following or {})


async def next_partition(requests: StorageRequests, table: str, after: str, end: str) -> str:
    """The first partition key after `after` and before `end` that has entities; empty: no partition follows."""
    between = f"PartitionKey gt {literal(after)} and PartitionKey lt {literal(end)}"
    query = f"$filter={quote(between, safe='')}&$top=1&$select=PartitionKey"
    following: Mapping[str, str] = {}
    while True:
        page = await _page(requests, table, query, following)
        for found in page.entities:
            return str(found["PartitionKey"])
        if not (following := page.following):
            return ""


async def _page(requests: StorageRequests, table: str, query: str, following: Mapping[str, str]) -> Page:
    continued = "".join(f"&{name}={quote(following[name], safe='')}" for name in _CONTINUED if name in following)
    response = await requests.send("GET", f"/{table}()", query + continued, headers=_HEADERS)
    continuation = {name: response.headers.get(f"x-ms-continuation-{name}") for name in _CONTINUED}
    return Page(
        _entities_of(json.loads(response.content)), {name: value for name, value in continuation.items() if value}
    )


def _entities_of(page: object) -> list[dict[str, Any]]:
    found = page.get("value") if isinstance(page, Mapping) else None
    if not isinstance(found, list):
        raise ValueError("not a page of a table")
    return found
