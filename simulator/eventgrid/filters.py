"""The filters of an Azure event subscription, as far as this project uses them.

Strings are compared without case unless the subscription says otherwise. The values of one filter are alternatives, and
all filters must match; an event without the key of an advanced filter does not match.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.eventgrid.schema import Event


@dataclass(frozen=True, slots=True)
class StringIn:
    """The advanced filter `StringIn`: the value at `key`, such as `data.operationName`, is one of `values`."""

    key: str
    values: tuple[str, ...]

    def matches(self, event: Event) -> bool:
        found = _value_at(event, self.key)
        return isinstance(found, str) and found.lower() in {value.lower() for value in self.values}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A subscription's filter; an empty one matches every event."""

    included_event_types: tuple[str, ...] = ()
    subject_begins_with: str = ""
    subject_ends_with: str = ""
    is_subject_case_sensitive: bool = False
    advanced: tuple[StringIn, ...] = ()

    def matches(self, event: Event) -> bool:
        return (
            self._type_matches(event) and self._subject_matches(event) and all(f.matches(event) for f in self.advanced)
        )

    def _type_matches(self, event: Event) -> bool:
        wanted = {kind.lower() for kind in self.included_event_types}
        return not wanted or str(event.get("eventType", "")).lower() in wanted

    def _subject_matches(self, event: Event) -> bool:
        fold = str if self.is_subject_case_sensitive else str.lower
        subject = fold(str(event.get("subject", "")))
        return subject.startswith(fold(self.subject_begins_with)) and subject.endswith(fold(self.subject_ends_with))


def _value_at(event: Event, key: str) -> Any:
    found: Any = event
    for part in key.split("."):
        found = _member(found, part) if isinstance(found, Mapping) else None
    return found


def _member(mapping: Mapping[str, Any], name: str) -> Any:
    """The value under a name; Azure accepts the name in any case (`Data.OperationName`)."""
    return next((value for key, value in mapping.items() if key.lower() == name.lower()), None)
