"""What sweeps store between runs, on Azurite: their state, the last seen policy versions, and the poison queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from copy import replace
from datetime import timedelta

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient

from onboarding.application.messages import encode
from onboarding.application.ports import Message, Pruning, ReconcileRequest, ScheduledCheck, SweepState
from onboarding.azure.storage.poison_queue import PoisonQueue
from onboarding.azure.storage.policy_version_store import TablePolicyStates
from onboarding.azure.storage.storage_clients import OnboardingTable, poison_queue
from onboarding.azure.storage.sweep_store import TableSweeps
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import LostRace
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.sweep_requests import MOST, Mark
from onboarding.settings import QUEUE, Storage
from simulator.azurite import Azurite
from tests.adapters.storage.rows import OMS, TIME, final, new_vm, trigger, write


async def test_the_largest_state_of_a_sweep_is_read_back(table: OnboardingTable) -> None:
    sweeps = TableSweeps(table)
    assert (await sweeps.read()).state == SweepState()
    unanswered = bytes(number % 251 for number in range(8 * MOST))
    state = SweepState(TIME, TIME + timedelta(hours=1), "subscription", Mark(TIME, "key|of"), unanswered)
    state = replace(state, pruning=Pruning(TIME, "subscription", "log|group|vm|"))
    version = await sweeps.write(state, None)
    assert (await sweeps.read()).state == state
    less = replace(state, held_until=None, unanswered=b"12345678", overdue=Mark(TIME))
    await sweeps.write(less, version)
    assert (await sweeps.read()).state == less
    with pytest.raises(LostRace):
        await sweeps.write(state, version)


async def test_columns_of_an_unexpected_type_count_as_absent(table: OnboardingTable) -> None:
    await table.create_table()
    entity = {"PartitionKey": "sweep", "RowKey": "state", "OverdueSent": "soon", "Unanswered0": 7, "HeldUntil": True}
    entity |= {"PruneNextRound": "soon", "PruneSubscription": 7, "PruneAfter": True}
    await table.upsert_entity(entity)
    assert (await TableSweeps(table).read()).state == SweepState()


async def test_policy_versions_are_read_back_for_any_policy_name(table: OnboardingTable) -> None:
    store = TablePolicyStates(table)
    assert await store.read_all() == {}
    states = [
        PolicyState("linux-monitoring", "0123456789abcdef"),
        PolicyState("50% of a/b #?", "b" * 16, TIME),
        PolicyState("50% of a-b #?", "c" * 16, TIME),
        PolicyState("long" * 400, "d" * 16),
    ]
    for state in states:
        await store.write(state)
    assert await store.read_all() == {state.policy: state for state in states}


async def test_unknown_columns_of_a_policy_are_kept(table: OnboardingTable) -> None:
    store = TablePolicyStates(table)
    await store.write(PolicyState("p", "a"))
    entity = await table.get_entity("policy", "policy|p")
    await table.upsert_entity({**entity, "FirstSeen": "kept"})
    await store.write(PolicyState("p", "b", TIME))
    assert (await table.get_entity("policy", "policy|p"))["FirstSeen"] == "kept"


async def test_a_row_summary_has_the_policy_and_its_hash(ledger: TableLedger) -> None:
    vm = new_vm()
    row = final(vm, policy="p", policy_hash="0123456789abcdef")
    await write(ledger, row, trigger(), None)
    found = {resource_id: summary async for resource_id, summary in ledger.summaries(vm.subscription)}
    assert (found[str(vm)].policy, found[str(vm)].policy_hash) == ("p", "0123456789abcdef")


@pytest.fixture
async def poisoned(azurite: Azurite) -> AsyncIterator[QueueClient]:
    async with QueueClient.from_connection_string(azurite.connection_string, f"{QUEUE}-poison") as client:
        with suppress(ResourceNotFoundError):
            await client.delete_queue()
        yield client
        with suppress(ResourceNotFoundError):
            await client.delete_queue()


@pytest.fixture
async def poison(storage: Storage) -> AsyncIterator[PoisonQueue]:
    adapter = poison_queue(storage, None)
    yield adapter
    await adapter.close()


async def test_settled_messages_leave_the_poison_queue_and_the_others_stay(
    poisoned: QueueClient, poison: PoisonQueue
) -> None:
    await poisoned.create_queue()
    checks: list[Message] = [ScheduledCheck(new_vm(), OMS, TIME) for _ in range(40)]
    for message in (*checks, ReconcileRequest(new_vm(), "missed", TIME)):
        await poisoned.send_message(encode(message))
    await poisoned.send_message("not a message")
    examined: list[Message] = []

    async def settled(message: Message) -> bool:
        examined.append(message)
        return message in checks[:35]

    assert await poison.remove(settled, 256) == 35
    assert len(examined) == 41
    assert (await poisoned.get_queue_properties()).approximate_message_count == 7


async def test_no_more_messages_than_the_limit_are_read(poisoned: QueueClient, poison: PoisonQueue) -> None:
    await poisoned.create_queue()
    for _ in range(5):
        await poisoned.send_message(encode(ScheduledCheck(new_vm(), OMS, TIME)))

    async def settled(_: Message) -> bool:
        return True

    assert await poison.remove(settled, 3) == 3
    assert (await poisoned.get_queue_properties()).approximate_message_count == 2


async def test_without_a_poison_queue_there_is_nothing_to_remove(poisoned: QueueClient, poison: PoisonQueue) -> None:
    async def settled(_: Message) -> bool:
        return True

    assert await poison.remove(settled, 256) == 0
