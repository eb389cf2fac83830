"""The machine's own row: its VmId, when ARM was last read, its scheduled check, and the one write that is in flight.

It is written in the same conditional transaction as the rows of the machine's targets, so only one of several workers
can claim a write, whichever host, event or person they serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from msgspec import Struct


class Claim(Struct, frozen=True, kw_only=True):
    """One write of the machine that is about to be sent, or was sent and has not ended."""

    target: str  # the extension that it is for
    step: str  # the step whose request it is, such as `extension`
    attempt: int  # of the target's row, from 1
    digest: str  # of the request: resource name, version, settings and force tag
    at: datetime  # when it was claimed (UTC)
    trigger: str  # the id of the event or check that claimed it
    sends: int = 1  # how often this attempt was sent: an unanswered one is sent again once


class MachineRow(Struct, frozen=True, kw_only=True):
    """The machine's own row."""

    resource_id: str
    vm_id: str = ""  # ARM's id of this very VM, which another VM of the same name does not have; empty if never read
    last_read_at: datetime | None = None  # the date of ARM's answer, by ARM's clock (UTC); None if never read
    next_attempt_at: datetime | None = None  # when its scheduled check is due (UTC); None if no row waits
    claim: Claim | None = None  # None if no write is in flight
    associations: str = ""  # what is known of its associations, as `steps.association_step` writes it; empty if nothing
    identities: str = ""  # those before our last request for one, until a read shows that all are still there
    refused_identities: str = ""  # those that ARM refused to add; both folded and separated by blanks

    def to_properties(self) -> dict[str, Any]:
        """The table's columns; empty ones are left out."""
        claim = self.claim
        columns = {
            "ResourceId": self.resource_id,
            "VmId": self.vm_id,
            "LastReadAt": self.last_read_at,
            "NextAttemptAt": self.next_attempt_at,
            "Associations": self.associations,
            "Identities": self.identities,
            "RefusedIdentities": self.refused_identities,
            "ClaimTarget": claim.target if claim else None,
            "ClaimStep": claim.step if claim else None,
            "ClaimAttempt": claim.attempt if claim else None,
            "ClaimDigest": claim.digest if claim else None,
            "ClaimedAt": claim.at if claim else None,
            "ClaimTrigger": claim.trigger if claim else None,
            "ClaimSends": claim.sends if claim else None,
        }
        return {name: value for name, value in columns.items() if value not in (None, "")}

    @classmethod
    def from_properties(cls, properties: Mapping[str, Any]) -> Self:
        """Read a stored row back; a claim that cannot be read counts as absent. Never raises."""
        read_at, due = properties.get("LastReadAt"), properties.get("NextAttemptAt")
        return cls(
            resource_id=str(properties.get("ResourceId", "")),
            vm_id=str(properties.get("VmId", "")),
            last_read_at=read_at if isinstance(read_at, datetime) else None,
            next_attempt_at=due if isinstance(due, datetime) else None,
            claim=_claim(properties),
            associations=_text(properties, "Associations"),
            identities=_text(properties, "Identities"),
            refused_identities=_text(properties, "RefusedIdentities"),
        )


MACHINE_COLUMNS = frozenset(
    [
        "ResourceId",
        "VmId",
        "LastReadAt",
        "NextAttemptAt",
        "Associations",
        "Identities",
        "RefusedIdentities",
        "ClaimTarget",
        "ClaimStep",
        "ClaimAttempt",
        "ClaimDigest",
        "ClaimedAt",
        "ClaimTrigger",
        "ClaimSends",
    ]
)


def _text(properties: Mapping[str, Any], column: str) -> str:
    value = properties.get(column)
    return value if isinstance(value, str) else ""


def _claim(properties: Mapping[str, Any]) -> Claim | None:
    at, attempt, sends = (properties.get(name) for name in ("ClaimedAt", "ClaimAttempt", "ClaimSends"))
    target = properties.get("ClaimTarget")
    if not isinstance(target, str) or not isinstance(at, datetime):
        return None
    return Claim(
        target=target,
        step=str(properties.get("ClaimStep", "")),
        attempt=attempt if isinstance(attempt, int) else 1,
        digest=str(properties.get("ClaimDigest", "")),
        at=at,
        trigger=str(properties.get("ClaimTrigger", "")),
        sends=sends if isinstance(sends, int) else 1,
    )
