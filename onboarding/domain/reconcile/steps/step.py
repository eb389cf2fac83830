"""What the steps have in common: the request that one sends, and what the row says of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from onboarding.domain.resource_id import name_in


class StepKind(StrEnum):
    """The kinds of step, in the order in which they are done."""

    IDENTITY = "identity"
    ASSOCIATION = "association"
    EXTENSION = "extension"
    REMOVAL = "removal"  # of the extension; the only step of its policy


class StepState(StrEnum):
    """How far a step is."""

    DONE = "done"
    REQUESTED = "requested"  # ARM accepted the request, which has not ended
    WAITING = "waiting"
    REFUSED = "refused"  # for good: a person has to act
    BLOCKED = "blocked"  # by the refusal of a step before it
    WANTED = "wanted"  # an audit found that it would be done


class ArmRequest(Struct, frozen=True):
    """One write to ARM, as a step describes it."""

    method: str
    path: str
    """The id of the resource."""
    body: Mapping[str, Any] = field(default_factory=dict)
    etag: str = ""
    """The etag that the resource must still have (`If-Match`); empty: any."""


class StepResult(Struct, frozen=True, omit_defaults=True):
    """What one step came to, as the row keeps it."""

    step: StepKind
    state: StepState
    subject: str = ""
    """The id or the name of the resource."""
    ours: bool = False
    """Whether a request of ours did it."""
    at: datetime | None = None
    """When that request was sent (UTC), of an association; so a row shows that one was removed and written again."""
    code: str = ""
    """The error code, if it was refused or waits after a refusal."""
    cause: str = ""
    meaning: str = ""
    advice: str = ""
    until: datetime | None = None
    """When it is tried again, if it waits (UTC)."""

    def __str__(self) -> str:
        name = name_in(self.subject)
        why = f" ({self.meaning})" if self.meaning else ""
        return f"{self.step}{f' {name}' if name else ''}: {self.state}{why}"


def to_column(steps: Sequence[StepResult]) -> str:
    """The steps as the row's column `Steps` has them; empty for none."""
    return msgspec.json.encode(steps).decode() if steps else ""


def from_column(text: str) -> tuple[StepResult, ...]:
    """The steps of the column; none if it cannot be read, perhaps because a newer version wrote it."""
    if not text:
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[StepResult, ...])
    except msgspec.DecodeError:  # also a ValidationError
        return ()
