"""The last seen version of each policy, in the ledger's table: one entity each, in a partition of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from onboarding.azure.storage.stores.documents import Documents
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query
from onboarding.domain.policy.policy_version import PolicyState

_PARTITION = "policy"
_NOT_IN_KEYS = re.compile(r"[/\\#?%\x00-\x1f\x7f-\x9f]")
_LONGEST_NAME = 200


class TablePolicyStates:
    """Implements `ports.PolicyStore`. Columns that this version of the product does not know are kept."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, _state)

    async def read_all(self) -> Mapping[str, PolicyState]:
        found = await self._documents.find(Query("", _PARTITION))
        return {each.value.policy: each.value for each in found}

    async def write(self, state: PolicyState) -> None:
        columns = {"Policy": state.policy, "Hash": state.digest, "Since": state.since}
        await self._documents.merge(_PARTITION, f"policy|{_key(state.policy)}", columns)


def _key(policy: str) -> str:
    """The name in characters that a key may have; a changed name gets a hash, so that two names stay different."""
    key = _NOT_IN_KEYS.sub("-", policy.lower())[:_LONGEST_NAME]
    return key if key == policy else f"{key}-{sha256(policy.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _state(columns: Mapping[str, Any]) -> PolicyState:
    since = columns.get("Since")
    return PolicyState(
        str(columns.get("Policy", "")), str(columns.get("Hash", "")), since if isinstance(since, datetime) else None
    )
