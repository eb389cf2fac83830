"""The text of the messages on the deferrals queue: JSON with `vm` (ARM id), `due` (ISO 8601, UTC) and either
`extension`, for a look at a row, or `reason`, for a visit that no event asked for. Never a secret."""

from __future__ import annotations

import json
from datetime import datetime

from onboarding.core.resource_id import VmId, parse_id
from onboarding.ports import Look, Message, Revisit


def encode(message: Message) -> str:
    about = {"extension": message.extension} if isinstance(message, Look) else {"reason": message.reason}
    return json.dumps({"vm": str(message.vm), **about, "due": message.due.isoformat()})


def decode(text: str) -> Message:
    """Read a message back. Raises ValueError for one that is none of ours."""
    try:
        raw = json.loads(text)
        vm, due = parse_id(raw["vm"]), datetime.fromisoformat(raw["due"])
        kind, about = (Look, raw["extension"]) if "extension" in raw else (Revisit, raw["reason"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("a message of the deferrals queue is none of ours") from None
    if not isinstance(vm, VmId) or not isinstance(about, str) or due.tzinfo is None:
        raise ValueError("a message of the deferrals queue is none of ours")
    return kind(vm, about, due)
