"""Deletes entities in transactions, as far as nobody has written them since they were read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import writing
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import LostRace

TRANSACTION = 100  # entities, the service's limit

type Unit = Sequence[Write]  # what is deleted together or not at all


async def delete(table: TableClient, units: Sequence[Unit]) -> int:
    """Delete all in one transaction if possible; returns how many rows were deleted. If one was written or deleted
    since it was read, each unit is tried alone, and what has changed stays. Raises StorageError."""
    if not units:
        return 0
    writes = list(chain.from_iterable(units))
    try:
        if len(writes) <= TRANSACTION:
            return await _transact(table, writes)
    except LostRace:
        if len(units) == 1:
            return 0
    deleted = 0
    for unit in units:
        try:
            deleted += await _transact(table, unit)
        except LostRace:
            continue
    return deleted


async def _transact(table: TableClient, writes: Sequence[Write]) -> int:
    with writing():
        await table.transact(writes)
    return len(writes)
