"""The pauses that people begin, in the ledger's table: one entity each, in a partition of their own, so that one small
query reads all of them. The row key is `stop|<subscription>|<policy>`; a part is empty if the pause covers all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onboarding.application.ports import StoredPause
from onboarding.azure.storage.stores.documents import Documents, key_of
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_queries import Query
from onboarding.domain.limits.pause import PAUSE_COLUMNS, Pause

_PARTITION = "stop"


class TablePauses:
    """Implements `ports.PauseStore`."""

    def __init__(self, table: TableClient) -> None:
        self._documents = Documents(table, PAUSE_COLUMNS, Pause.from_properties)

    async def read_all(self) -> tuple[StoredPause, ...]:
        found = await self._documents.find(Query("stop|", _PARTITION))
        return tuple(StoredPause(each.value, each.version, each.key, each.rest) for each in found)

    async def write(self, pause: Pause, version: str | None, *, rest: Mapping[str, Any] | None = None) -> None:
        await self._documents.write(_PARTITION, _key(pause), pause.to_properties(), version, rest)

    async def delete(self, stored: StoredPause) -> None:
        await self._documents.delete(_PARTITION, stored.key, stored.version)


def _key(pause: Pause) -> str:
    return f"stop|{key_of(pause.subscription)}|{key_of(pause.policy)}"
