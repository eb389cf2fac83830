"""Events that come by a storage queue, because Event Grid cannot reach an app without a public address.

A queue trigger gives a message that fails five tries, which end within minutes. Event Grid itself gives an event a day.
So a message that fails is put back here, on Event Grid's schedule, and after a day it is stored with the undeliverable
events, as Event Grid would. A message that is put back is JSON with `event`, `tries` (how often it failed) and `since`
(ISO 8601, UTC).

What is put back or stored has no `claims`: they are personal data.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from msgspec import Struct

from onboarding.domain.masking import cut, mask
from onboarding.logging import logger

_log = logger(__name__)

SCHEDULE = tuple(
    timedelta(seconds=seconds) for seconds in (10, 30, 60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
)
"""Event Grid's: how long it waits after the first failure, the second, and so on; after the last, the last again."""
TIME_TO_LIVE = timedelta(days=1)
MOST_TRIES = 30
_FOLDER = "EVENTS-QUEUE"  # Event Grid's own files lie in folders with the names of event subscriptions


class EventStore(Protocol):
    """Where an event is kept that could not be handled."""

    async def put_back(self, text: str, hidden: timedelta) -> None:
        """Send the message to the queue again, not to be seen for so long. Raises StorageError."""

    async def store(self, path: str, content: bytes) -> None:
        """Store a file with the undeliverable events; a file of that path is replaced. Raises StorageError."""


class _Queued(Struct, frozen=True):
    event: Mapping[str, Any]
    tries: int
    since: datetime


class QueuedEvents:
    """Handles the messages of the queue. `handle` takes the JSON of one event, and raises if it should come again."""

    def __init__(
        self,
        handle: Callable[[str], Awaitable[None]],
        store: Callable[[], EventStore],
        clock: Callable[[], datetime],
    ) -> None:
        self._handle = handle
        self._store = store
        self._clock = clock

    async def take(self, text: str) -> None:
        """Handle one message: an event in either schema, as base64 or not, or what was put back before.

        It returns once the event is handled, put back, or stored with the undeliverable ones. It raises StorageError
        only if none of these was possible, so that the host keeps the message."""
        queued = _decode(text, self._clock())
        if queued is None:
            _log.error("a message of the events' queue is no event, and is stored with the undeliverable ones")
            await self._give_up({"message": mask(cut(text))}, "NotAnEvent", "Unreadable", 0, self._clock())
            return
        try:
            await self._handle(json.dumps(queued.event))
        except Exception as error:  # noqa: BLE001 - Event Grid brings an event again after any error, so this does too
            reason = f"{type(error).__name__}: {mask(cut(str(error)))}"
            await self._later(queued, reason)

    async def _later(self, queued: _Queued, reason: str) -> None:
        now, tries = self._clock(), queued.tries + 1
        left = queued.since + TIME_TO_LIVE - now
        event = _without_claims(queued.event)
        if left <= timedelta() or tries >= MOST_TRIES:
            _log.error("an event failed for a day, and is stored with the undeliverable ones: %s", reason)
            await self._give_up(event, "TimeToLiveExceeded", reason, tries, queued.since)
            return
        delay = min(SCHEDULE[min(tries, len(SCHEDULE)) - 1], left)
        _log.warning("an event failed, and is tried again in %s: %s", delay, reason)
        kept = {"event": event, "tries": tries, "since": queued.since.isoformat()}
        await self._store().put_back(json.dumps(kept), delay)

    async def _give_up(self, event: Mapping[str, Any], reason: str, outcome: str, tries: int, since: datetime) -> None:
        """Store the event as Event Grid writes its own undeliverable ones, an array of one."""
        now = self._clock()
        added = {
            "deadLetterReason": reason,
            "deliveryAttempts": tries,
            "lastDeliveryOutcome": outcome,
            "publishTime": since.isoformat(),
            "lastDeliveryAttemptTime": now.isoformat(),
        }
        if "specversion" in event:
            added = {name.lower(): value for name, value in added.items()}
        content = json.dumps([{**event, **added}]).encode()
        identity = hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()[:32]
        at = f"{since.year}/{since.month}/{since.day}/{since.hour}"  # the same each time it is tried, as the name is
        await self._store().store(f"{_FOLDER}/{at}/{identity}.json", content)


def _decode(text: str, now: datetime) -> _Queued | None:
    """The event with how often it failed; None: the text is neither an event nor what was put back."""
    raw = _json(text)
    if raw is None:
        try:
            raw = _json(base64.b64decode(text, validate=True).decode())
        except (binascii.Error, ValueError):
            return None
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if not isinstance(raw, Mapping):
        return None
    if "specversion" in raw or "eventType" in raw:
        return _Queued(raw, 0, now)
    try:
        event, tries, since = raw["event"], raw["tries"], datetime.fromisoformat(raw["since"])
    except (KeyError, TypeError, ValueError):
        return None
    known = isinstance(event, Mapping) and isinstance(tries, int) and since.tzinfo is not None
    return _Queued(event, max(0, tries), min(since.astimezone(UTC), now)) if known else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _without_claims(event: Mapping[str, Any]) -> Mapping[str, Any]:
    data = event.get("data")
    if not isinstance(data, Mapping) or "claims" not in data:
        return event
    return {**event, "data": {name: value for name, value in data.items() if name != "claims"}}
