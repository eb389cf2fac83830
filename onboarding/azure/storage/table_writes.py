"""Writes entities: a single one, or up to 100 of one partition in a transaction.

The SDK builds and parses a transaction with `email.message`, which takes longer than the rest of an event. Raises
azure-core's errors, and ValueError for an answer that is not that of a table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from onboarding.azure.storage.storage_requests import StorageRequests, raise_for_status, refusal
from onboarding.azure.storage.table_entities import entity_path

_PART = re.compile(r"^HTTP/1\.1 (\d{3}) ?([^\r\n]*)", re.MULTILINE)
_ETAG = re.compile(r"^ETag: *(.+?)\r?$", re.MULTILINE | re.IGNORECASE)
_JSON = "application/json;odata=minimalmetadata"
_ENTITY = {
    "Content-Type": "application/json",
    "Accept": _JSON,
    "Prefer": "return-no-content",
    "DataServiceVersion": "3.0",
}
# Constant boundaries are safe: no line of the content can begin with one, since JSON writes line ends as \\r and \\n.
_BATCH, _CHANGESET = "batch_onboarding", "changeset_onboarding"
_TRANSACTION = {"Content-Type": f"multipart/mixed; boundary={_BATCH}", "Accept": _JSON, "DataServiceVersion": "3.0"}
_ENTITY_LINES = "".join(f"{name}: {value}\r\n" for name, value in _ENTITY.items())


class Write(Struct, frozen=True):
    """One write of an entity. Without `create`, `version` and `delete`, it replaces whatever is there."""

    entity: Mapping[str, Any]
    """The entity as JSON for the service (`table_entities.to_wire`)."""
    create: bool = False
    """Whether the write fails if the entity exists."""
    version: str | None = None
    """The etag that the entity must have, or the write fails; None: any."""
    delete: bool = False
    """Whether the entity is deleted instead of written."""


async def write_one(requests: StorageRequests, table: str, write: Write) -> str:
    """Carry out one write; returns the new etag. It costs the service less than half of a transaction of two."""
    method, path = _target(table, write)
    headers = dict(_ENTITY, **({"If-Match": write.version} if write.version else {}))
    response = await requests.send(method, f"/{path}", headers=headers, content=json.dumps(write.entity).encode())
    if version := response.headers.get("ETag"):
        return str(version)
    raise ValueError("the answer is not that to a write")


async def delete_one(requests: StorageRequests, table: str, keys: Mapping[str, Any]) -> bool:
    """Delete an entity, whatever it holds now; returns whether there was one."""
    headers = {**_ENTITY, "If-Match": "*"}
    path = f"/{table}{entity_path(keys)}"
    answer = await requests.send_unchecked("DELETE", path, headers=headers, repeatable=True)
    return answer.status != 404 and raise_for_status(answer) is answer


async def transact(requests: StorageRequests, table: str, writes: Sequence[Write]) -> list[str]:
    """Carry out the writes in one transaction; returns the new etag of each, empty for a deleted entity."""
    parts = "".join(f"--{_CHANGESET}\r\n{_part(requests.url, table, write)}\r\n" for write in writes)
    text = (
        f"--{_BATCH}\r\nContent-Type: multipart/mixed; boundary={_CHANGESET}\r\n\r\n"
        f"{parts}--{_CHANGESET}--\r\n--{_BATCH}--\r\n"
    )
    response = await requests.send("POST", "/$batch", headers=_TRANSACTION, content=text.encode())
    versions = _versions(response.content.decode(errors="replace"), len(writes))
    if any(not version and not write.delete for version, write in zip(versions, writes, strict=True)):
        raise ValueError("the answer is not that to a transaction")
    return versions


def _target(table: str, write: Write) -> tuple[str, str]:
    if write.delete:
        return "DELETE", table + entity_path(write.entity)
    return ("POST", table) if write.create else ("PUT", table + entity_path(write.entity))


def _part(url: str, table: str, write: Write) -> str:
    method, path = _target(table, write)
    condition = f"If-Match: {write.version}\r\n" if write.version else ""
    content = "" if write.delete else json.dumps(write.entity)
    return (
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"{method} {url}/{path} HTTP/1.1\r\n{_ENTITY_LINES}{condition}\r\n{content}"
    )


def _versions(text: str, count: int) -> list[str]:
    parts = list(_PART.finditer(text))
    ends = [part.start() for part in parts[1:]] + [len(text)]
    found: list[str] = []
    for part, end in zip(parts, ends, strict=True):
        answer = text[part.end() : end]
        if not part[1].startswith("2"):
            raise refusal(int(part[1]), answer, part[2])
        etag = _ETAG.search(answer)
        found.append(etag[1] if etag else "")
    if len(found) != count:
        raise ValueError("the answer is not that to a transaction")
    return found
