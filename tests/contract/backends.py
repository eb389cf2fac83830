"""The storage ports twice: in memory, as the flow tests use them, and as adapters on Azurite.

Each backend can also do what no port does: change the stored rows as a newer version of the product or a person would,
and read what is on the queues.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from copy import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from xml.sax.saxutils import unescape

from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.data.tables.aio import TableClient as SdkTableClient
from azure.storage.queue.aio import QueueClient as SdkQueueClient

from onboarding.application.messages import decode, encode
from onboarding.application.ports import (
    Ledger,
    LedgerReader,
    Message,
    StoredMachine,
)
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage import storage_clients
from onboarding.azure.storage.queue_client import QueueClient
from onboarding.azure.storage.schedule_queue import StorageScheduleQueue
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.storage_requests import Answer, Service, StorageRequests
from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
from onboarding.azure.storage.stores.pause_store import TablePauses
from onboarding.azure.storage.stores.policy_version_store import TablePolicyStates
from onboarding.azure.storage.stores.rollout_store import TableRolloutStore
from onboarding.azure.storage.stores.sweep_store import TableSweeps
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.resource_id import VmId
from onboarding.settings import QUEUE, TABLE, Storage
from simulator.azurite import ACCOUNT, KEY, Azurite
from tests.adapters.conftest import storage_of
from tests.flow.world import (
    BreakersInMemory,
    LedgerInMemory,
    PausesInMemory,
    PoisonInMemory,
    PolicyStatesInMemory,
    RolloutsInMemory,
    ScheduleQueueInMemory,
    SweepsInMemory,
)


class LedgerOfAll(Ledger, LedgerReader, Protocol):
    """The ledger with its lists for people."""


class InMemory:
    def __init__(self) -> None:
        self.ledger = LedgerInMemory()
        self.breakers = BreakersInMemory()
        self.rollouts = RolloutsInMemory()
        self.pauses = PausesInMemory()
        self.sweeps = SweepsInMemory()
        self.policy_states = PolicyStatesInMemory()
        self.schedule_queue = ScheduleQueueInMemory()
        self.poison = PoisonInMemory(self.schedule_queue)

    async def add_columns(self, vm: VmId, extension: str, columns: Mapping[str, Any]) -> None:
        """Add columns to a current row, as a newer version does; without `extension`, to the machine's own row."""
        ledger, place = self.ledger, (vm.key, extension.lower())
        ledger.writes += 1
        if extension:
            target = ledger.rows[place]
            ledger.rows[place] = replace(target, version=f"v{ledger.writes}", rest={**target.rest, **columns})
        else:
            own: StoredMachine = ledger.machines[vm.key]
            ledger.machines[vm.key] = replace(own, version=f"v{ledger.writes}", rest={**own.rest, **columns})

    async def widen(self, columns: Mapping[str, Any]) -> None:
        """Add columns to every breaker and count, and to the sweep's state, as a newer version does."""
        breakers, rollouts, sweeps = self.breakers, self.rollouts, self.sweeps
        for place, breaker in breakers.stored.items():
            breakers.writes += 1
            breakers.stored[place] = replace(breaker, version=f"v{breakers.writes}", rest={**breaker.rest, **columns})
        for policy, count in rollouts.stored.items():
            rollouts.trips += 1
            rollouts.stored[policy] = replace(count, version=f"v{rollouts.trips}", rest={**count.rest, **columns})
        sweeps.writes += 1
        sweeps.stored = replace(sweeps.stored, version=f"v{sweeps.writes}", rest={**sweeps.stored.rest, **columns})

    async def spoil(self, vm: VmId, extension: str) -> None:
        """Give a current row an outcome that this version does not know."""
        self.ledger.writes += 1
        del self.ledger.rows[(vm.key, extension.lower())]
        self.ledger.unreadable[(vm.key, extension.lower())] = f"v{self.ledger.writes}"

    async def remove(self, vm: VmId, extension: str) -> None:
        """Delete a current row; without `extension`, the machine's own row."""
        if extension:
            del self.ledger.rows[(vm.key, extension.lower())]
        else:
            del self.ledger.machines[vm.key]

    async def scheduled(self) -> list[tuple[Message, timedelta]]:
        """Every message that was put on the schedule queue, and for how long the queue hides it from then on."""
        return list(self.schedule_queue.sent)

    async def on_the_queue(self) -> list[Message]:
        """The messages that the schedule queue hands out now."""
        return [message for message, hidden in self.schedule_queue.sent if not hidden]

    async def fail(self, *messages: Message | str) -> None:
        """Put messages, or texts that are none, on the poison queue, as the host does after the last try."""
        self.poison.messages += messages

    async def failed(self) -> int:
        """How many messages are on the poison queue, hidden ones too."""
        return len(self.poison.messages)


class KeepingAnswers(StorageRequests):
    """Keeps what the service answers to each message: it says for how long it hides one only to the sender."""

    def __init__(self, queue: SdkQueueClient) -> None:
        super().__init__(Service.QUEUE, queue.url, AzureNamedKeyCredential(ACCOUNT, KEY), Connections())
        self.answers: list[tuple[str, str]] = []

    async def send(self, method: str, path: str, query: str = "", **more: Any) -> Answer:
        answer = await super().send(method, path, query, **more)
        if method == "POST":
            self.answers.append((more["content"].decode(), answer.content.decode()))
        return answer


class OnAzurite:
    """`table`, `queue` and `poison_queue` are the SDK's own clients, as another program uses them; `table_client` and
    `queue_client` are ours."""

    def __init__(
        self, storage: Storage, table: SdkTableClient, queue: SdkQueueClient, poison_queue: SdkQueueClient
    ) -> None:
        self.table, self.queue, self.poison_queue = table, queue, poison_queue
        self.table_client = onboarding_table(storage, None)
        self.ledger = TableLedger(self.table_client, outbox=True)
        self.breakers = TableBreakerStore(self.table_client)
        self.rollouts = TableRolloutStore(self.table_client)
        self.pauses = TablePauses(self.table_client)
        self.sweeps = TableSweeps(self.table_client)
        self.policy_states = TablePolicyStates(self.table_client)
        self._requests = KeepingAnswers(queue)
        self.queue_client = QueueClient(self._requests)
        self.schedule_queue = StorageScheduleQueue(self.queue_client)
        self.poison = storage_clients.poison_queue(storage, None)

    async def add_columns(self, vm: VmId, extension: str, columns: Mapping[str, Any]) -> None:
        await self.table.update_entity({**keys_of(vm, extension), **columns})

    async def widen(self, columns: Mapping[str, Any]) -> None:
        async for entity in self.table.list_entities():
            keys = {name: entity[name] for name in ("PartitionKey", "RowKey")}
            await self.table.update_entity({**keys, **columns})

    async def spoil(self, vm: VmId, extension: str) -> None:
        await self.table.update_entity({**keys_of(vm, extension), "Outcome": "Postponed"})

    async def remove(self, vm: VmId, extension: str) -> None:
        await self.table.delete_entity(keys_of(vm, extension))

    async def scheduled(self) -> list[tuple[Message, timedelta]]:
        found = []
        for sent, answer in self._requests.answers:
            message = decode(unescape(_element("MessageText", sent)))
            assert message is not None
            shown, inserted = (
                parsedate_to_datetime(_element(name, answer)) for name in ("TimeNextVisible", "InsertionTime")
            )
            found.append((message, shown - inserted))
        return found

    async def on_the_queue(self) -> list[Message]:
        with suppress(ResourceNotFoundError):
            found = [decode(message.content) for message in await self.queue.peek_messages(max_messages=32)]
            return [message for message in found if message is not None]
        return []

    async def fail(self, *messages: Message | str) -> None:
        with suppress(ResourceExistsError):
            await self.poison_queue.create_queue()
        for message in messages:
            await self.poison_queue.send_message(message if isinstance(message, str) else encode(message))

    async def failed(self) -> int:
        return (await self.poison_queue.get_queue_properties()).approximate_message_count or 0

    async def close(self) -> None:
        await self.table_client.close()
        await self.schedule_queue.close()
        await self.poison.close()


type Backend = InMemory | OnAzurite


@asynccontextmanager
async def on_azurite(azurite: Azurite) -> AsyncIterator[OnAzurite]:
    """The adapters on empty storage: neither the table nor a queue exists yet."""
    connection = azurite.connection_string
    storage = storage_of(connection)
    async with (
        SdkTableClient.from_connection_string(connection, TABLE) as table,
        SdkQueueClient.from_connection_string(connection, QUEUE) as queue,
        SdkQueueClient.from_connection_string(connection, f"{QUEUE}-poison") as poison_queue,
    ):
        await table.delete_table()
        for each in (queue, poison_queue):
            with suppress(ResourceNotFoundError):
                await each.delete_queue()
        backend = OnAzurite(storage, table, queue, poison_queue)
        yield backend
        await backend.close()


def keys_of(vm: VmId, extension: str) -> dict[str, str]:
    """The keys of a current row; without `extension`, of the machine's own row."""
    key = f"vm|{vm.resource_group}|{vm.name}|{extension}".lower()
    return {"PartitionKey": vm.subscription.lower(), "RowKey": key}


def _element(name: str, text: str) -> str:
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    assert found is not None, text
    return found[1]
