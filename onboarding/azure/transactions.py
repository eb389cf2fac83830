"""Entity group transactions as they go over the wire: up to 100 writes to one partition, all of them or none.

The SDK writes and reads the same text by way of `email.message`, which takes longer than the rest of an event.
Reading never raises anything but ValueError for an answer that is none, and the service's own refusal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from onboarding.azure.entities import to_wire
from onboarding.azure.storage_requests import StorageRequests, refusal

_PART = re.compile(r"^HTTP/1\.1 (\d{3}) ?([^\r\n]*)", re.MULTILINE)
_ETAG = re.compile(r"^ETag: *(.+?)\r?$", re.MULTILINE | re.IGNORECASE)
_JSON = "application/json;odata=minimalmetadata"


@dataclass(frozen=True, slots=True)
class Write:
    """One write. `create` fails where the entity exists, `version` where it is another; else it is put in any case."""

    entity: Mapping[str, Any]
    create: bool = False
    version: str | None = None


async def transact(requests: StorageRequests, table: str, writes: Sequence[Write]) -> list[str]:
    """Carry out the writes; the new version of each. Raises azure-core's errors, and ValueError for nonsense."""
    batch, changeset = f"batch_{uuid4()}", f"changeset_{uuid4()}"
    parts = "".join(f"--{changeset}\r\n{_part(f'{requests.url}/{table}', write)}\r\n" for write in writes)
    text = (
        f"--{batch}\r\nContent-Type: multipart/mixed; boundary={changeset}\r\n\r\n"
        f"{parts}--{changeset}--\r\n--{batch}--\r\n"
    )
    headers = {"Content-Type": f"multipart/mixed; boundary={batch}", "Accept": _JSON, "DataServiceVersion": "3.0"}
    response = await requests.send("POST", "/$batch", headers=headers, content=text.encode())
    return _versions(response.content.decode(errors="replace"), len(writes))


def entity_path(entity: Mapping[str, Any]) -> str:
    """The keys as they stand behind a table's name in a URL."""
    partition, row = (quote(entity[name].replace("'", "''"), safe="") for name in ("PartitionKey", "RowKey"))
    return f"(PartitionKey='{partition}',RowKey='{row}')"


def _part(url: str, write: Write) -> str:
    method, target = ("POST", url) if write.create else ("PUT", url + entity_path(write.entity))
    condition = f"If-Match: {write.version}\r\n" if write.version else ""
    return (
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"{method} {target} HTTP/1.1\r\nContent-Type: application/json\r\nAccept: {_JSON}\r\n{condition}"
        f"Prefer: return-no-content\r\nDataServiceVersion: 3.0\r\n\r\n{json.dumps(to_wire(write.entity))}"
    )


def _versions(text: str, count: int) -> list[str]:
    parts = list(_PART.finditer(text))
    ends = [part.start() for part in parts[1:]] + [len(text)]
    found: list[str] = []
    for part, end in zip(parts, ends, strict=True):
        told = text[part.end() : end]
        if not part[1].startswith("2"):
            raise refusal(int(part[1]), told, part[2])
        if etag := _ETAG.search(told):
            found.append(etag[1])
    if len(found) != count:
        raise ValueError("the answer is none to a transaction")
    return found
