"""The counts of the rollout limits, in the ledger's table: one entity for each policy that has such a limit.

An earlier version folded the policy's name into the key, so that `a/b` and `a-b` had one row. Such a row counts for the
policy that it names, and stays under its key, where workers of that version find it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.application.ports import StoredRollout
from onboarding.azure.storage.stores.documents import Document, Documents, folded, hashed, key_of
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query, literal
from onboarding.domain.limits.rollout_limit import ROLLOUT_COLUMNS, RolloutState

_PARTITION = "brake"


class TableRolloutStore:
    """Implements `ports.RolloutStore`."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, ROLLOUT_COLUMNS, RolloutState.from_properties)
        self._keys: dict[str, str] = {}  # by policy, as it was read last

    async def read(self, policy: str) -> StoredRollout | None:
        found = await self._candidates(policy)
        mine = [each for each in found if each.value.policy == policy]
        taken = {each.key for each in found} - {each.key for each in mine}
        if not mine:
            self._keys[policy] = key_of(policy) if key_of(policy) not in taken else hashed(policy)
            return None
        stored = max(mine, key=_precedence)
        self._keys[policy] = stored.key
        return StoredRollout(stored.value, stored.version, stored.rest)

    async def write(self, state: RolloutState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> str:
        key = self._keys.get(state.policy) or key_of(state.policy)
        return await self._documents.write(_PARTITION, key, state.to_properties(), version, rest)

    async def read_all(self) -> tuple[RolloutState, ...]:
        found = sorted(await self._documents.find(Query("", _PARTITION)), key=_precedence)
        return tuple({each.value.policy: each.value for each in found}.values())

    async def _candidates(self, policy: str) -> list[Document[RolloutState]]:
        """The rows that may be the policy's, in one request if no other policy has the row of its key."""
        keys = {key_of(policy), folded(policy), hashed(policy)}
        if key_of(policy) == folded(policy):
            found = await self._documents.read(_PARTITION, key_of(policy))
            if found is None or found.value.policy == policy:
                return [found] if found else []
        either = " or ".join(f"RowKey eq {literal(key)}" for key in sorted(keys))
        return await self._documents.find(Query("", _PARTITION, f"({either})"))


def _precedence(document: Document[RolloutState]) -> bool:
    """Of two rows of one policy, the one under the key that this version gives."""
    return document.key != folded(document.value.policy)
