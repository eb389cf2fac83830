"""Reads the events that `onboard replay` sends: samples, captured requests, or the dead-letter blobs of Event Grid.

The input is one event, an array, or JSON Lines, in either schema. Every event is checked before the first is sent, and
an error names its line. A change of schema renames the keys around `data` and nothing else.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from onboarding.cli.images.check_input import read_items
from onboarding.cli.io import BadInput

# Keys that Event Grid adds to a dead letter; CloudEvents have them in lower case.
_DEAD_LETTER = frozenset(
    ("deadletterreason", "deliveryattempts", "lastdeliveryoutcome", "publishtime", "lastdeliveryattempttime")
)
_CLOUD_NAMES = {"topic": "source", "eventType": "type", "eventTime": "time"}
_GRID_NAMES = {cloud: grid for grid, cloud in _CLOUD_NAMES.items()}
_GRID_FIELDS = frozenset(("id", "subject", "data", *_CLOUD_NAMES))


class Schema(StrEnum):
    KEEP = "keep"
    EVENT_GRID = "eventgrid"
    CLOUD_EVENTS = "cloudevents"


class Event(Struct, frozen=True):
    """One event as it will be sent, and its line in the input."""

    value: Mapping[str, Any]
    line: int

    @property
    def is_cloud_event(self) -> bool:
        return "specversion" in self.value


def read_events(text: str, name: str, schema: Schema = Schema.KEEP) -> Iterator[Event]:
    """Every event of a text, in its order, in the given schema."""
    if not text.strip():
        raise BadInput(name, "the input is empty", "give an event, an array of events, or one event a line")
    for item in read_items(io.StringIO(text), name):
        raw = _checked(item.value, f"{name}:{item.line}")
        yield Event(in_schema(raw, schema), item.line)


def in_schema(event: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """The event in that schema, without the keys that dead-lettering added; `data` is the same in both schemas."""
    kept = {name: value for name, value in event.items() if name.lower() not in _DEAD_LETTER}
    if schema is Schema.CLOUD_EVENTS and "specversion" not in kept:
        named = {_CLOUD_NAMES.get(name, name): value for name, value in kept.items() if name in _GRID_FIELDS}
        return {"specversion": "1.0", **named}
    if schema is Schema.EVENT_GRID and "specversion" in kept:
        named = {_GRID_NAMES.get(name, name): value for name, value in kept.items()}
        named = {name: value for name, value in named.items() if name in _GRID_FIELDS}
        return {**named, "dataVersion": "2", "metadataVersion": "1"}
    return kept


def _checked(value: object, place: str) -> Mapping[str, Any]:
    fix = "give events in the Event Grid schema or as CloudEvents 1.0"
    if not isinstance(value, Mapping):
        raise BadInput(place, f"a {_kind(value)} is not an event", fix)
    if "specversion" not in value and "eventType" not in value:
        raise BadInput(place, "the object is not an event: it has neither 'eventType' nor 'specversion'", fix)
    return value


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    return {"list": "list", "NoneType": "null", "bool": "truth value"}.get(type(value).__name__, "number")
