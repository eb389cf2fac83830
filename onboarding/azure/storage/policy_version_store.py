"""The last seen version of each policy, in the ledger's table: one entity each, in a partition of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from onboarding.azure.storage.table_entities import plain, reading, typed, with_table, writing
from onboarding.domain.policy.policy_version import PolicyState

_PARTITION = "policy"
_NOT_IN_KEYS = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME = 200


class TablePolicyStates:
    """Implements `ports.PolicyStore`. Columns that this version of the product does not know are kept."""

    def __init__(self, table: TableClient) -> None:
        self._table = table

    async def read_all(self) -> Mapping[str, PolicyState]:
        found: dict[str, PolicyState] = {}
        with reading():
            query = "PartitionKey eq @partition"
            async for entity in self._table.query_entities(query, parameters={"partition": _PARTITION}):
                state = _state(entity)
                found[state.policy] = state
        return found

    async def write(self, state: PolicyState) -> None:
        columns: dict[str, Any] = {"Policy": state.policy, "Hash": state.digest}
        if state.since is not None:
            columns["Since"] = state.since
        if state.first_seen:
            columns["FirstSeen"] = json.dumps({digest: at.isoformat() for digest, at in state.first_seen.items()})
        entity = {"PartitionKey": _PARTITION, "RowKey": f"policy|{_key(state.policy)}", **typed(columns)}
        with writing():
            await with_table(self._table, lambda: self._table.upsert_entity(entity, mode=UpdateMode.MERGE))


def _key(policy: str) -> str:
    """The name in characters that a key may have; a changed name gets a hash, so that two names stay different."""
    key = _NOT_IN_KEYS.sub("-", policy.lower())[:_LONGEST_NAME]
    return key if key == policy else f"{key}-{sha256(policy.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _state(entity: Mapping[str, Any]) -> PolicyState:
    since = plain(entity.get("Since"))
    policy, digest = str(entity.get("Policy", "")), str(entity.get("Hash", ""))
    return PolicyState(policy, digest, since if isinstance(since, datetime) else None, _first_seen(entity))


def _first_seen(entity: Mapping[str, Any]) -> Mapping[str, datetime]:
    """The times; one that cannot be read counts as absent."""
    try:
        read = json.loads(str(entity.get("FirstSeen", "{}")))
        return {str(digest): datetime.fromisoformat(at) for digest, at in read.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
