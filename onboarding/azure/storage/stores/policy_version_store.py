"""The last seen version of each policy, in the ledger's table: one entity each, in a partition of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from onboarding.application.ports import StoredPolicy
from onboarding.azure.storage.stores.documents import Documents, key_of
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.policy_digest import joined, parts

_PARTITION = "policy"
_COLUMNS = frozenset({"Policy", "Hash", "EntryHash", "Since", "FirstSeen"})


class TablePolicyStates:
    """Implements `ports.PolicyStore`. Columns that this version of the product does not know are kept."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, _COLUMNS, _state)

    async def read_all(self) -> Mapping[str, StoredPolicy]:
        found = await self._documents.find(Query("", _PARTITION))
        return {each.value.policy: StoredPolicy(each.value, each.version, each.rest) for each in found}

    async def write(self, state: PolicyState, version: str | None, *, rest: Mapping[str, Any] | None = None) -> None:
        of_file, of_entries = parts(state.digest)
        columns: dict[str, Any] = {"Policy": state.policy, "Hash": of_file}
        if of_entries:
            columns["EntryHash"] = of_entries
        if state.since is not None:
            columns["Since"] = state.since
        if state.first_seen:
            columns["FirstSeen"] = json.dumps({digest: at.isoformat() for digest, at in state.first_seen.items()})
        await self._documents.write(_PARTITION, f"policy|{key_of(state.policy)}", columns, version, rest)


def _state(columns: Mapping[str, Any]) -> PolicyState:
    since = columns.get("Since")
    policy = str(columns.get("Policy", ""))
    digest = joined(str(columns.get("Hash", "")), str(columns.get("EntryHash", "")))
    return PolicyState(policy, digest, since if isinstance(since, datetime) else None, _first_seen(columns))


def _first_seen(columns: Mapping[str, Any]) -> Mapping[str, datetime]:
    """The times; one that cannot be read counts as absent."""
    try:
        read = json.loads(str(columns.get("FirstSeen", "{}")))
        return {str(digest): datetime.fromisoformat(at) for digest, at in read.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
