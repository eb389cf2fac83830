"""The requests that write entities: a single one, or up to 100 of one partition in a transaction.

The SDK builds and parses a transaction with `email.message`, which takes longer than the rest of an event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from onboarding.azure.storage.storage_requests import refusal
from onboarding.azure.storage.table_entities import entity_path

_PART = re.compile(r"^HTTP/1\.1 (\d{3}) ?([^\r\n]*)", re.MULTILINE)
_ETAG = re.compile(r"^ETag: *(.+?)\r?$", re.MULTILINE | re.IGNORECASE)
_JSON = "application/json;odata=minimalmetadata"
WRITE_HEADERS = {
    "Content-Type": "application/json",
    "Accept": _JSON,
    "Prefer": "return-no-content",
    "DataServiceVersion": "3.0",
}
# Constant boundaries are safe: no line of the content can begin with one, since JSON writes line ends as \\r and \\n.
_BATCH, _CHANGESET = "batch_onboarding", "changeset_onboarding"
TRANSACTION_HEADERS = {
    "Content-Type": f"multipart/mixed; boundary={_BATCH}",
    "Accept": _JSON,
    "DataServiceVersion": "3.0",
}
_ENTITY_LINES = "".join(f"{name}: {value}\r\n" for name, value in WRITE_HEADERS.items())


class Write(Struct, frozen=True):
    """One write of an entity. Without `create`, `version`, `merge` and `delete`, it replaces whatever is there."""

    entity: Mapping[str, Any]
    """The entity as JSON for the service (`table_entities.to_wire`)."""
    create: bool = False
    """Whether the write fails if the entity exists."""
    version: str | None = None
    """The etag that the entity must have, or the write fails; None: any."""
    delete: bool = False
    """Whether the entity is deleted instead of written."""
    merge: bool = False
    """Whether the columns that the write does not name stay as they are."""

    def target(self, table: str) -> tuple[str, str]:
        """Method and path of the request, without a slash at its beginning."""
        if self.create:
            return "POST", table
        method = "DELETE" if self.delete else "PATCH" if self.merge else "PUT"
        return method, table + entity_path(self.entity)

    @property
    def content(self) -> str:
        return "" if self.delete else json.dumps(self.entity)


def transaction(url: str, table: str, writes: Sequence[Write]) -> bytes:
    """The content of one transaction, for the service at `url`."""
    parts = "".join(f"--{_CHANGESET}\r\n{_part(url, table, write)}\r\n" for write in writes)
    text = (
        f"--{_BATCH}\r\nContent-Type: multipart/mixed; boundary={_CHANGESET}\r\n\r\n"
        f"{parts}--{_CHANGESET}--\r\n--{_BATCH}--\r\n"
    )
    return text.encode()


def versions_of(text: str, writes: Sequence[Write]) -> list[str]:
    """The etags in the answer to a transaction, empty for a deleted entity. Raises the refusal of one of the writes as
    azure-core's error, and ValueError for an answer that is not that of a table."""
    parts = list(_PART.finditer(text))
    ends = [part.start() for part in parts[1:]] + [len(text)]
    found: list[str] = []
    for part, end in zip(parts, ends, strict=True):
        answer = text[part.end() : end]
        if not part[1].startswith("2"):
            raise refusal(int(part[1]), answer, part[2])
        etag = _ETAG.search(answer)
        found.append(etag[1] if etag else "")
    if len(found) != len(writes) or any(
        not version and not write.delete for version, write in zip(found, writes, strict=True)
    ):
        raise ValueError("the answer is not that to a transaction")
    return found


def _part(url: str, table: str, write: Write) -> str:
    method, path = write.target(table)
    condition = f"If-Match: {write.version}\r\n" if write.version else ""
    return (
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"{method} {url}/{path} HTTP/1.1\r\n{_ENTITY_LINES}{condition}\r\n{write.content}"
    )
