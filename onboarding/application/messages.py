"""The text of the messages on the schedule queue: JSON with `vm` (ARM id), `due` (ISO 8601, UTC), and either `check` (a
scheduled check of the machine) or `reason` (a reconcile request). A message never holds a secret.

In the version before, a scheduled check named the `extension` of one row. It takes a message with `check` for a
reconcile request, so that both versions can work on one queue."""

from __future__ import annotations

import json
from datetime import datetime

from onboarding.application.ports import Message, ReconcileRequest, ScheduledCheck
from onboarding.domain.resource_id import VmId, parse_id

_NEWER = "newer-message"


def encode(message: Message) -> str:
    about = {"check": "machine"} if isinstance(message, ScheduledCheck) else {"reason": message.reason}
    return json.dumps({"vm": str(message.vm), **about, "due": message.due.isoformat()})


def decode(text: str) -> Message | None:
    """Read a message of this version or a newer one.

    A message without a known key that names a VM is a reconcile request. A message about another kind of resource is
    None. Raises ValueError for what is not a message of this queue."""
    try:
        raw = json.loads(text)
        resource, due = raw["vm"], datetime.fromisoformat(raw["due"])
        vm = parse_id(resource)
        kind = next((name for name in ("check", "extension") if name in raw), "reason")
        about = raw.get(kind, _NEWER)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("this is not a message of the schedule queue") from None
    if not isinstance(about, str) or due.tzinfo is None:
        raise ValueError("this is not a message of the schedule queue")
    if isinstance(vm, VmId):
        return ReconcileRequest(vm, about, due) if kind == "reason" else ScheduledCheck(vm, due)
    if isinstance(resource, str) and resource.lower().startswith("/subscriptions/"):
        return None
    raise ValueError("this is not a message of the schedule queue")
