"""Long-running operations: the resource behind `Azure-AsyncOperation`.

Since 2025 the poll URL is signed and about 4,700 characters long; only the exact URL of the answer works.
A failed operation is an HTTP 200 whose body says Failed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.arm.events import Change
from simulator.clock import Clock

_API_VERSION = "2024-11-01"  # not the request's own, as in Azure
_CERTIFICATE = base64.urlsafe_b64encode(secrets.token_bytes(2_900)).decode().rstrip("=")


@dataclass(slots=True, eq=False)
class Operation:
    """One accepted write; `error` is set if it failed. `retry_after` (simulated seconds) is the Retry-After of polls;
    `result` is the operation's output, if it has one, such as that of a run command."""

    id: str
    change: Change
    region: str
    started: datetime
    query: str
    status: str = "InProgress"
    ended: datetime | None = None
    ended_at: float = 0.0
    error: Mapping[str, Any] | None = field(default=None, repr=False)
    retry_after: float | None = None
    result: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        return self.ended is None

    @property
    def url(self) -> str:
        """Path and query, to be used verbatim."""
        subscription = self.change.resource_id.split("/")[2]
        scope = f"/subscriptions/{subscription}/providers/Microsoft.Compute"
        return f"{scope}/locations/{self.region}/operations/{self.id}?{self.query}"

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"startTime": self.started.isoformat()}
        if self.ended is not None:
            body["endTime"] = self.ended.isoformat()
        body["status"] = self.status
        if self.error is not None:
            body["error"] = dict(self.error)
        if self.result is not None:
            body["properties"] = {"output": dict(self.result)}
        return {**body, "name": self.id}


class Operations:
    """All operations, found by their signed URL."""

    def __init__(self, clock: Clock, lifetime: float) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._operations: dict[str, Operation] = {}
        self._running: dict[str, Operation] = {}
        self._secret = secrets.token_bytes(32)

    def start(self, change: Change, region: str, *, retry_after: float | None = None) -> Operation:
        identity, started = str(uuid.uuid4()), self._clock.now()
        query = self._sign(identity, started)
        operation = Operation(identity, change, region, started, query, retry_after=retry_after)
        self._operations[identity] = self._running[identity] = operation
        return operation

    def finish(self, operation: Operation, error: Mapping[str, Any] | None = None, *, canceled: bool = False) -> None:
        operation.status = "Canceled" if canceled else "Failed" if error else "Succeeded"
        operation.error = error
        operation.ended = self._clock.now()
        operation.ended_at = self._clock.seconds()
        self._running.pop(operation.id, None)

    def under_way(self, resource: str) -> list[Operation]:
        """Operations still running on that resource or below it."""
        key = resource.lower()
        running = self._running.values()
        return [o for o in running if f"{o.change.resource_id.lower()}/".startswith(f"{key}/")]

    def named(self, identity: str) -> Operation | None:
        return self._operations.get(identity.lower())

    def find(self, identity: str, query: str) -> Operation | None:
        """The operation; None if it is unknown or too old. Raises ValueError if the URL was altered."""
        operation = self.named(identity)
        if operation is None or (not operation.running and self._clock.seconds() - operation.ended_at > self._lifetime):
            return None
        if not hmac.compare_digest(query.removesuffix("&monitor=true").encode(), operation.query.encode()):
            raise ValueError(identity)
        return operation

    def _sign(self, identity: str, started: datetime) -> str:
        ticks = f"{started.timestamp():.0f}0000000"
        digest = hmac.new(self._secret, f"{identity}{ticks}".encode(), hashlib.sha512).digest()
        signature = base64.urlsafe_b64encode(digest * 5).decode().rstrip("=")
        short = base64.urlsafe_b64encode(digest[:32]).decode().rstrip("=")
        partition = secrets.token_hex(4)
        return f"p={partition}&api-version={_API_VERSION}&t={ticks}&c={_CERTIFICATE}&s={signature}&h={short}"
