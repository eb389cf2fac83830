"""The text of the messages on the deferrals queue: JSON with `vm` (ARM id), `due` (ISO 8601, UTC) and either
`extension`, for a look at a row, or `reason`, for a visit that no event asked for. Never a secret."""

from __future__ import annotations

import json
from datetime import datetime

from onboarding.application.ports import Message, ReconcileRequest, ScheduledCheck
from onboarding.domain.resource_id import VmId, parse_id

_NEWER = "newer-message"


def encode(message: Message) -> str:
    about = {"extension": message.extension} if isinstance(message, ScheduledCheck) else {"reason": message.reason}
    return json.dumps({"vm": str(message.vm), **about, "due": message.due.isoformat()})


def decode(text: str) -> Message | None:
    """Read a message back.

    A newer version may say more than this one understands: a VM that it names is read again, and None is a message
    about a resource of another kind. Raises ValueError for what is not a message of this queue."""
    try:
        raw = json.loads(text)
        resource, due = raw["vm"], datetime.fromisoformat(raw["due"])
        vm = parse_id(resource)
        kind, about = (
            (ScheduledCheck, raw["extension"]) if "extension" in raw else (ReconcileRequest, raw.get("reason", _NEWER))
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("this is not a message of the deferrals queue") from None
    if not isinstance(about, str) or due.tzinfo is None:
        raise ValueError("this is not a message of the deferrals queue")
    if isinstance(vm, VmId):
        return kind(vm, about, due)
    if isinstance(resource, str) and resource.lower().startswith("/subscriptions/"):
        return None
    raise ValueError("this is not a message of the deferrals queue")
