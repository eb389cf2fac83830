"""Reads rows, and summaries of rows, from entities of the table; a version that is newer may have written them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import replace
from datetime import datetime
from typing import Any

from onboarding.domain.policy_digest import joined
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.row import ENTRY_HASH, Outcome, Row
from onboarding.domain.reconcile.row_totals import Activity, RowKind
from onboarding.logging import logger

_log = logger(__name__)

SUMMARY_COLUMNS = (
    "PartitionKey",
    "RowKey",
    "ResourceId",
    "Extension",
    "Outcome",
    "VmId",
    "ExtensionName",
    "FinishedAt",
    "EventTime",
    "Policy",
    "PolicyHash",
    ENTRY_HASH,
    "ErrorCode",
    "Cause",
    "WaitingFor",
    "NextAttemptAt",
    "SentDigest",
    "Step",
    "ExtensionVersion",
    "Update",
    "ProtectedDigest",
    "EventId",
    "DurationMs",
)
KIND_COLUMNS = ("RowKey", "VmName", "Policy", "Extension", "Outcome", "ErrorCode", "Cause", "WaitingFor")


def row_of(columns: dict[str, Any]) -> Row:
    """The row with these columns. Raises ValueError, TypeError or LookupError for one that it cannot read."""
    row = Row.from_properties(columns)
    # A version that does not know the column of the cause leaves an old one behind when it clears the error.
    return row if row.error_code or not row.cause else replace(row, cause="")


def read_row(entity: Mapping[str, Any]) -> Row | None:
    """The row of an entity; None with a warning if it cannot be read, perhaps since a newer version wrote it."""
    try:
        return row_of(dict(entity))
    except (ValueError, TypeError, LookupError) as error:
        key = f"{entity['PartitionKey']} {entity['RowKey']}"
        _log.warning("Ignored: the row %s cannot be read by this version: %r", key, error)
        return None


def read_summary(entity: Mapping[str, Any]) -> RowSummary | None:
    """The summary of a row for the sweep; None if it cannot be read. Common texts are interned, to save memory."""
    try:
        return RowSummary(
            extension=sys.intern(str(entity["Extension"])),
            outcome=Outcome(entity["Outcome"]),
            vm_id=str(entity.get("VmId", "")),
            extension_name=sys.intern(str(entity.get("ExtensionName", ""))),
            since=entity.get("FinishedAt") or entity.get("EventTime"),
            policy=sys.intern(str(entity.get("Policy", ""))),
            policy_hash=sys.intern(joined(str(entity.get("PolicyHash", "")), str(entity.get(ENTRY_HASH, "")))),
            cause=_cause(entity),
            waiting_for=sys.intern(str(entity.get("WaitingFor", ""))),
            sent_digest=sys.intern(str(entity.get("SentDigest", ""))),
            step=sys.intern(str(entity.get("Step", ""))),
            extension_version=sys.intern(str(entity.get("ExtensionVersion", ""))),
            update=sys.intern(str(entity.get("Update", ""))),
            protected_digest=sys.intern(str(entity.get("ProtectedDigest", ""))),
        )
    except (ValueError, LookupError) as error:
        log = _log.bind(machine=str(entity.get("ResourceId", "")), target=str(entity.get("Extension", "")))
        log.warning("Ignored: the row cannot be read: %r", error)
        return None


def count_activity(activity: Activity, entity: Mapping[str, Any], outcome: Outcome) -> None:
    """Count a row; columns of another type than ours count as empty."""
    event_time, duration = entity.get("EventTime"), entity.get("DurationMs")
    time = event_time if isinstance(event_time, datetime) else None
    ms = duration if isinstance(duration, int) else None
    activity.add(outcome, str(entity.get("EventId", "")), time, ms)


def read_kind(entity: Mapping[str, Any]) -> RowKind:
    """What a row says, for counting. Raises ValueError for an outcome that this version does not know."""
    policy, extension, waiting_for = (str(entity.get(name, "")) for name in ("Policy", "Extension", "WaitingFor"))
    return RowKind(policy, extension, Outcome(entity["Outcome"]), _cause(entity), waiting_for)


def _cause(entity: Mapping[str, Any]) -> str:
    """The cause, as `row_of` reads it."""
    return sys.intern(str(entity.get("Cause", ""))) if entity.get("ErrorCode") else ""
