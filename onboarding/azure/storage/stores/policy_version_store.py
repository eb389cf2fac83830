"""The last seen version of each policy, in the ledger's table: one entity each, in a partition of their own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onboarding.azure.storage.stores.documents import Documents, key_of
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query
from onboarding.domain.policy.policy_version import PolicyState

_PARTITION = "policy"
_COLUMNS = frozenset({"Policy", "Hash", "Since"})


class TablePolicyStates:
    """Implements `ports.PolicyStore`. Columns that this version of the product does not know are kept."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, _COLUMNS, _state)

    async def read_all(self) -> Mapping[str, PolicyState]:
        found = await self._documents.find(Query("", _PARTITION))
        return {each.value.policy: each.value for each in found}

    async def write(self, state: PolicyState) -> None:
        columns = {"Policy": state.policy, "Hash": state.digest, "Since": state.since}
        await self._documents.merge(_PARTITION, f"policy|{key_of(state.policy)}", columns)


def _state(columns: Mapping[str, Any]) -> PolicyState:
    since = columns.get("Since")
    return PolicyState(
        str(columns.get("Policy", "")), str(columns.get("Hash", "")), since if isinstance(since, datetime) else None
    )
