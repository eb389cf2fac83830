"""The totals of a subscription: one entity a day, with the counts as JSON in as many columns as that takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from onboarding.azure.storage.ledger.ledger_keys import TOTALS
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import from_wire, to_wire, writing
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from onboarding.logging import logger

_log = logger(__name__)

_CHUNK = 30_000  # characters; a column holds 32,768
_MOST_CHUNKS = 12  # an entity holds 1 MiB, and a character takes two bytes
_OUTCOMES = frozenset(outcome.value for outcome in Outcome)


async def read_totals(table: TableClient, partition: str, since: date) -> AsyncIterator[Totals]:
    """The totals of a subscription from that day on, the oldest first. Raises azure-core's errors."""
    query = Query(TOTALS, partition, after=f"{TOTALS}{since - timedelta(days=1)}")
    async for entity in table.query(query):
        try:
            totals = _totals(partition, from_wire(entity))
        except (ValueError, TypeError, LookupError) as error:  # perhaps written by a newer version
            _log.warning("Ignored: the totals %s of %s cannot be read: %r", entity["RowKey"], partition, error)
        else:
            yield totals


async def write_totals(table: TableClient, totals: Totals) -> None:
    """Write the totals over earlier ones of their day. Counts that do not fit are left out: whoever asks then counts
    the rows. Raises StorageError."""
    counts = totals.counts or {}
    text = json.dumps(list(_groups(counts)), separators=(",", ":"))
    chunks = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    if len(chunks) > _MOST_CHUNKS:
        _log.warning("the totals of %s have too many kinds of rows to be kept: %d", totals.subscription, len(counts))
        chunks = []
    columns: dict[str, Any] = {"At": totals.at, "IndexedAt": totals.indexed_at, "Rows": sum(counts.values())}
    columns |= _activity_columns(totals.activity)
    columns |= {f"Counts{number}": chunk for number, chunk in enumerate(chunks)}
    keys = {"PartitionKey": totals.subscription.lower(), "RowKey": f"{TOTALS}{totals.day}"}
    write = Write({**keys, **to_wire({name: value for name, value in columns.items() if value is not None})})
    with writing():
        await table.write(write)


def _groups(counts: Mapping[RowKind, int]) -> Iterator[dict[str, Any]]:
    for kind, rows in sorted(counts.items()):
        named = {
            "policy": kind.policy,
            "extension": kind.extension,
            "outcome": kind.outcome.value,
            "cause": kind.cause,
            "waitingFor": kind.waiting_for,
        }
        yield {**{name: value for name, value in named.items() if value}, "rows": rows}


def _totals(partition: str, entity: Mapping[str, Any]) -> Totals:
    at, indexed_at = entity["At"], entity.get("IndexedAt")
    if not isinstance(at, datetime):
        raise ValueError(f"At is {at!r}")
    indexed = indexed_at if isinstance(indexed_at, datetime) else None
    return Totals(partition, at, _counts(entity), indexed, _activity(entity))


def _activity_columns(activity: Activity | None) -> dict[str, Any]:
    if activity is None:
        return {}
    return {
        "LastEventAt": activity.last_event,
        "OpenedBy": json.dumps(dict(sorted(activity.opened.items()))),
        "Durations": json.dumps({str(number): rows for number, rows in sorted(activity.durations.items())}),
    }


def _activity(entity: Mapping[str, Any]) -> Activity | None:
    """None if a version wrote the entity that does not know these columns."""
    if "OpenedBy" not in entity:
        return None
    last = entity.get("LastEventAt")
    durations = {int(number): int(rows) for number, rows in json.loads(entity.get("Durations", "{}")).items()}
    return Activity(
        last if isinstance(last, datetime) else None, Counter(json.loads(entity["OpenedBy"])), Counter(durations)
    )


def _counts(entity: Mapping[str, Any]) -> Mapping[RowKind, int] | None:
    """The counts; None if they did not fit. Outcomes that this version does not know are left out."""
    chunks = [entity[f"Counts{number}"] for number in range(_MOST_CHUNKS) if f"Counts{number}" in entity]
    if not chunks:
        return None
    return {
        RowKind(
            group.get("policy", ""),
            group.get("extension", ""),
            Outcome(group["outcome"]),
            group.get("cause", ""),
            group.get("waitingFor", ""),
        ): int(group["rows"])
        for group in json.loads("".join(chunks))
        if group["outcome"] in _OUTCOMES
    }
