"""The counts of the rollout limits, in the ledger's table: one entity for each policy that has such a limit."""

from __future__ import annotations

import re

from onboarding.application.ports import StoredRollout
from onboarding.azure.storage.stores.documents import Documents
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query
from onboarding.domain.limits.rollout_limit import RolloutState

_PARTITION = "brake"
_NOT_IN_KEYS = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")


class TableRolloutStore:
    """Implements `ports.RolloutStore`."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, RolloutState.from_properties)

    async def read(self, policy: str) -> StoredRollout | None:
        found = await self._documents.read(_PARTITION, _key(policy))
        return StoredRollout(found.value, found.version) if found else None

    async def write(self, state: RolloutState, version: str | None) -> str:
        return await self._documents.write(_PARTITION, _key(state.policy), state.to_properties(), version)

    async def read_all(self) -> tuple[RolloutState, ...]:
        return tuple(each.value for each in await self._documents.find(Query("", _PARTITION)))


def _key(policy: str) -> str:
    return _NOT_IN_KEYS.sub("-", policy.lower())
