"""The client of one table: it reads, queries and writes entities as the service's JSON (`table_entities.py`).

It raises azure-core's errors, and ValueError for an answer that is not that of a table. Writes create the table if it
does not exist.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

from azure.core.exceptions import HttpResponseError

from onboarding.azure.storage.storage_requests import StorageRequests, error_code, raise_for_status
from onboarding.azure.storage.table_entities import NO_ENTITY, entity_path
from onboarding.azure.storage.table_queries import Query, literal
from onboarding.azure.storage.table_writes import TRANSACTION_HEADERS, WRITE_HEADERS, Write, transaction, versions_of

_READ_HEADERS = {"Accept": "application/json;odata=minimalmetadata", "DataServiceVersion": "3.0"}
_CONTINUED = ("NextPartitionKey", "NextRowKey")


class TableClient:
    """Sends requests about one table of the account."""

    def __init__(self, requests: StorageRequests, name: str) -> None:
        self.requests = requests
        self.name = name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.requests.close()

    async def get(self, keys: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The entity with these keys, with its etag in `odata.etag`; None if it does not exist."""
        answer = await self.requests.send_unchecked("GET", f"/{self.name}{entity_path(keys)}", headers=_READ_HEADERS)
        if answer.status == 404:  # true of each new VM, so no error is made: it costs time and garbage collection
            return None
        found = json.loads(raise_for_status(answer).content)
        if not isinstance(found, dict):
            raise ValueError("not an entity of a table")
        return found

    async def query(self, query: Query, select: Sequence[str] = ()) -> AsyncIterator[Mapping[str, Any]]:
        """The entities that the query finds; each has its etag in `odata.etag`. Raises ResourceNotFoundError if the
        table does not exist."""
        base_query = f"$filter={quote(query.text, safe='')}" + (f"&$select={','.join(select)}" if select else "")
        async for found in self._all_pages(base_query):
            yield found

    async def next_partition(self, after: str, end: str) -> str:
        """The first partition key after `after` and before `end` that has entities; empty: no partition follows."""
        between = f"PartitionKey gt {literal(after)} and PartitionKey lt {literal(end)}"
        async for found in self._all_pages(f"$filter={quote(between, safe='')}&$top=1&$select=PartitionKey"):
            return str(found["PartitionKey"])
        return ""

    async def write(self, write: Write) -> str:
        """Carry out one write; returns the new etag. It costs the service less than half of a transaction of two."""
        method, path = write.target(self.name)
        headers = dict(WRITE_HEADERS, **({"If-Match": write.version} if write.version else {}))
        answer = await self._or_create_table(
            lambda: self.requests.send(method, f"/{path}", headers=headers, content=write.content.encode())
        )
        if version := answer.headers.get("ETag"):
            return str(version)
        raise ValueError("the answer is not that to a write")

    async def transact(self, writes: Sequence[Write]) -> list[str]:
        """Carry out the writes in one transaction; returns the new etag of each, empty for a deleted entity."""
        content = transaction(self.requests.url, self.name, writes)

        async def send() -> list[str]:
            answer = await self.requests.send("POST", "/$batch", headers=TRANSACTION_HEADERS, content=content)
            return versions_of(answer.content.decode(errors="replace"), writes)

        return await self._or_create_table(send)

    async def delete(self, keys: Mapping[str, str], version: str = "*") -> None:
        """Delete an entity, if it has that etag (`*`: any). An entity that is not there any more is no error, so the
        request is repeated if its result is unknown."""
        headers = {**_READ_HEADERS, "If-Match": version}
        path = f"/{self.name}{entity_path(keys)}"
        answer = await self.requests.send_unchecked("DELETE", path, headers=headers, repeatable=True)
        if answer.status != 404:
            raise_for_status(answer)

    async def create(self) -> None:
        """Create the table, unless it exists."""
        content = json.dumps({"TableName": self.name}).encode()
        answer = await self.requests.send_unchecked("POST", "/Tables", headers=WRITE_HEADERS, content=content)
        if error_code(answer) != "TableAlreadyExists":
            raise_for_status(answer)

    async def _or_create_table[T](self, write: Callable[[], Awaitable[T]]) -> T:
        """Write; if the table does not exist, create it and write again."""
        try:
            return await write()
        except HttpResponseError as error:
            if error.status_code != 404 or getattr(error, "error_code", None) == NO_ENTITY:
                raise
        await self.create()
        return await write()

    async def _all_pages(self, base_query: str) -> AsyncIterator[Mapping[str, Any]]:
        """The entities of all pages. An empty page need not be the last."""
        following: dict[str, str] = {}
        while True:
            continued = "".join(f"&{name}={quote(value, safe='')}" for name, value in following.items())
            answer = await self.requests.send("GET", f"/{self.name}()", base_query + continued, headers=_READ_HEADERS)
            for found in _entities_of(json.loads(answer.content)):
                yield found
            continuation = {name: answer.headers.get(f"x-ms-continuation-{name}") for name in _CONTINUED}
            following = {name: value for name, value in continuation.items() if value}
            if not following:
                return


def _entities_of(page: object) -> list[dict[str, Any]]:
    found = page.get("value") if isinstance(page, Mapping) else None
    if not isinstance(found, list):
        raise ValueError("not a page of a table")
    return found
