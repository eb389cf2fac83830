"""The two schemas of events, and the parts of a request: body, headers, dead letter.

Events are published in the Event Grid schema, as Azure Resource Manager raises them; a CloudEvent is the same
event under other names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

type Event = Mapping[str, Any]

_CLOUD_NAMES = {"topic": "source", "eventType": "type", "eventTime": "time"}
_EVENT_GRID_ONLY = ("dataVersion", "metadataVersion")


class EventSchema(StrEnum):
    EVENT_GRID = "EventGridSchema"
    CLOUD_EVENTS = "CloudEventSchemaV1_0"


class EventKind(StrEnum):
    """The kind of a request to an endpoint: the header `aeg-event-type`."""

    NOTIFICATION = "Notification"
    VALIDATION = "SubscriptionValidation"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What Event Grid adds to an event that it has given up."""

    reason: str
    attempts: int
    outcome: str
    published: datetime
    last_attempt: datetime


def to_cloud_event(event: Event) -> dict[str, Any]:
    """The event in CloudEvents 1.0: other names, no versions, the same data."""
    renamed = {_CLOUD_NAMES.get(name, name): value for name, value in event.items() if name not in _EVENT_GRID_ONLY}
    return {**renamed, "specversion": "1.0"}


def body(events: Sequence[Event], schema: EventSchema, batched: bool = False) -> bytes:
    """An array, even of one, in the Event Grid schema; one object in CloudEvents unless the subscription batches."""
    if schema is EventSchema.EVENT_GRID:
        return json.dumps([*events]).encode()
    shaped = [to_cloud_event(event) for event in events]
    return json.dumps(shaped if batched else shaped[0]).encode()


def headers(
    kind: EventKind, subscription: str, schema: EventSchema, event: Event, delivery_count: int, batched: bool = False
) -> dict[str, str]:
    """The headers that Azure sends; `aeg-delivery-count` is the number of deliveries before this one."""
    common = {
        "Content-Type": content_type(schema, batched),
        "aeg-event-type": kind.value,
        "aeg-subscription-name": subscription.upper(),
        "aeg-delivery-count": str(delivery_count),
    }
    if schema is EventSchema.CLOUD_EVENTS:
        return common
    versions = {"aeg-data-version": "dataVersion", "aeg-metadata-version": "metadataVersion"}
    return {**common, **{header: str(event.get(name, "")) for header, name in versions.items()}}


def content_type(schema: EventSchema, batched: bool = False) -> str:
    if schema is EventSchema.EVENT_GRID:
        return "application/json; charset=utf-8"
    return f"application/cloudevents{'-batch' if batched else ''}+json; charset=utf-8"


def dead_letter(event: Event, schema: EventSchema, letter: DeadLetter) -> dict[str, Any]:
    """The event as Azure writes it to the dead-letter container; the added names are lower case in CloudEvents."""
    added = {
        "deadLetterReason": letter.reason,
        "deliveryAttempts": letter.attempts,
        "lastDeliveryOutcome": letter.outcome,
        "publishTime": timestamp(letter.published),
        "lastDeliveryAttemptTime": timestamp(letter.last_attempt),
    }
    if schema is EventSchema.EVENT_GRID:
        return {**event, **added}
    return {**to_cloud_event(event), **{name.lower(): value for name, value in added.items()}}


def timestamp(moment: datetime) -> str:
    """A time as Azure prints it: UTC, seven digits of a second, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
