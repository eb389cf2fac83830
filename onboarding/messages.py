"""The text of a timed message: JSON with `vm` (ARM id), `extension` and `due` (ISO 8601, UTC). Never a secret."""

from __future__ import annotations

import json
from datetime import datetime

from onboarding.core.resource_id import VmId, parse_id
from onboarding.ports import Look


def encode_look(look: Look) -> str:
    return json.dumps({"vm": str(look.vm), "extension": look.extension, "due": look.due.isoformat()})


def decode_look(text: str) -> Look:
    """Read a message back. Raises ValueError for one that is none of ours."""
    try:
        raw = json.loads(text)
        vm, extension, due = parse_id(raw["vm"]), raw["extension"], datetime.fromisoformat(raw["due"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("a message of the deferrals queue is no look") from None
    if not isinstance(vm, VmId) or not isinstance(extension, str) or due.tzinfo is None:
        raise ValueError("a message of the deferrals queue is no look")
    return Look(vm, extension, due)
