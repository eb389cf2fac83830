"""No read of the product goes through the whole table: each names one entity, or a range of keys in one partition.

All reads of all ports go through the real client and a proxy that records them; the seek of the next subscription is
the one exception. `tests/e2e/test_commands_without_scans.py` does the same for the commands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from copy import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables.aio import TableClient as SdkTableClient

from onboarding.application import ports
from onboarding.application.ports import RowWrite
from onboarding.azure.storage.storage_check import check_storage
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.stores.breaker_store import TableBreakerStore
from onboarding.azure.storage.stores.pause_store import TablePauses
from onboarding.azure.storage.stores.policy_version_store import TablePolicyStates
from onboarding.azure.storage.stores.rollout_store import TableRolloutStore
from onboarding.azure.storage.stores.sweep_store import TableSweeps
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId
from onboarding.settings import TABLE
from simulator.azurite import Azurite, connection_string
from tests.adapters.conftest import delete_table, storage_of
from tests.adapters.storage.recorded_queries import RecordedQueries, is_scan, recorded_queries
from tests.adapters.storage.rows import TIME, final, new_vm, row_of, trigger, write

LATER = TIME + timedelta(days=1)
VM = new_vm()
PARTITION = VM.subscription

type Read = Callable[[TableClient], Any]
READS: dict[str, list[Read]] = {
    "Ledger.read": [lambda t: TableLedger(t).read(VM), lambda t: TableLedger(t).read(VM, new=True)],
    "Ledger.overdue": [lambda t: TableLedger(t).overdue(PARTITION, LATER)],
    "Ledger.unpublished": [lambda t: TableLedger(t).unpublished(PARTITION, LATER)],
    "Ledger.mark_published": [lambda t: TableLedger(t, outbox=True).mark_published(final(VM))],
    "Ledger.summaries": [
        lambda t: TableLedger(t).summaries(PARTITION),
        lambda t: TableLedger(t).summaries(PARTITION, index=True),
    ],
    "Ledger.prune": [lambda t: TableLedger(t).prune(PARTITION, LATER), lambda t: TableLedger(t).prune(PARTITION, TIME)],
    "LedgerReader.attention": [lambda t: TableLedger(t).attention(PARTITION)],
    "LedgerReader.history": [lambda t: TableLedger(t).history(VM)],
    "LedgerReader.next_subscription": [lambda t: TableLedger(t).next_subscription("")],
    "LedgerReader.totals": [lambda t: TableLedger(t).totals(PARTITION, TIME.date())],
    "BreakerStore.read": [lambda t: TableBreakerStore(t).read(PARTITION)],
    "SweepStore.read": [lambda t: TableSweeps(t).read()],
    "RolloutStore.read": [lambda t: TableRolloutStore(t).read("p")],
    "RolloutStore.read_all": [lambda t: TableRolloutStore(t).read_all()],
    "PauseStore.read_all": [lambda t: TablePauses(t).read_all()],
    "PolicyStore.read_all": [lambda t: TablePolicyStates(t).read_all()],
}
SELECTIONS = (
    Selection(),
    Selection(outcomes=(Outcome.FAILED, Outcome.INSTALLED)),
    Selection(vm_name="web-01"),
    Selection(resource_group="shop-prod"),
    Selection(resource_group="shop-prod", vm_name="web-01"),
    Selection(subscription=PARTITION, vm_name="web-01"),
    Selection(resource_group="shop-prod", vm_prefix="web"),
    Selection(vm_prefix="web"),
)


def _of_one(selection: Selection) -> Selection:
    return replace(selection, subscription=PARTITION)


def _reads_of(selection: Selection) -> dict[str, Read]:
    return {
        "LedgerReader.current": lambda t: TableLedger(t).current(selection),
        "LedgerReader.page": lambda t: TableLedger(t).page(selection, most=1),
        "LedgerReader.changes": lambda t: TableLedger(t).changes(PARTITION, selection, TIME),
        "LedgerReader.count": lambda t: TableLedger(t).count(selection),
        "LedgerReader.attention_page": lambda t: TableLedger(t).attention_page(_of_one(selection), most=1),
        "LedgerReader.open_page": lambda t: TableLedger(t).open_page(_of_one(selection), most=1),
    }


for each in SELECTIONS:
    for name, read in _reads_of(each).items():
        READS.setdefault(name, []).append(read)

WRITES = {
    "Ledger": {"commit", "undo", "append", "append_changes", "write_totals"},
    "BreakerStore": {"write", "delete"},
    "SweepStore": {"write"},
    "RolloutStore": {"write"},
    "PauseStore": {"write", "delete"},
    "PolicyStore": {"write"},
}
STORES = ("Ledger", "LedgerReader", "BreakerStore", "SweepStore", "RolloutStore", "PauseStore", "PolicyStore")


@pytest.fixture
def recorded(azurite: Azurite) -> Iterator[RecordedQueries]:
    with recorded_queries(azurite.endpoints["table"].removesuffix("/devstoreaccount1")) as recording:
        yield recording


@pytest.fixture
async def table(azurite: Azurite, recorded: RecordedQueries) -> AsyncIterator[TableClient]:
    """The product's client behind the proxy; the table holds something of each kind."""
    endpoints = {**azurite.endpoints, "table": recorded.endpoint}
    async with onboarding_table(storage_of(connection_string(endpoints)), None) as client:
        await delete_table(azurite.connection_string)
        await fill(client)
        recorded.reads.clear()
        yield client


async def fill(table: TableClient) -> None:
    ledger = TableLedger(table, outbox=True)
    second = VmId(PARTITION, VM.resource_group, "web-02")
    entries = [RowWrite(final(VM, Outcome.FAILED)), RowWrite(row_of(VM, extension="another"))]
    await ledger.commit(MachineRow(resource_id=str(VM)), None, entries, trigger())
    await write(ledger, row_of(second), trigger(), None)
    await write(ledger, final(new_vm()), trigger(), None)
    await TablePolicyStates(table).write(PolicyState("p", "digest"), None)


async def carry_out(read: Read, table: TableClient) -> None:
    begun = read(table)
    if isinstance(begun, Awaitable):
        await begun
    else:
        async for _ in begun:
            pass


@pytest.mark.parametrize(
    "read", [pytest.param(read, id=f"{name}-{n}") for name, reads in READS.items() for n, read in enumerate(reads)]
)
async def test_no_read_of_a_port_is_a_scan(table: TableClient, recorded: RecordedQueries, read: Read) -> None:
    await carry_out(read, table)
    assert recorded.scans == []
    assert recorded.reads or read in READS["Ledger.mark_published"]


async def test_the_check_of_storage_scans_nothing(
    table: TableClient, recorded: RecordedQueries, azurite: Azurite
) -> None:
    await check_storage(storage_of(azurite.connection_string), table.requests)
    assert (len(recorded.reads), recorded.scans) == (1, [])


async def test_a_scan_would_be_found(recorded: RecordedQueries, table: TableClient, azurite: Azurite) -> None:
    behind = connection_string({**azurite.endpoints, "table": recorded.endpoint})
    async with SdkTableClient.from_connection_string(behind, TABLE) as sdk_table:
        for query in ("", "RowKey ge 'vm|' and RowKey lt 'vm}'", f"PartitionKey eq '{PARTITION}'"):
            assert [each async for each in sdk_table.query_entities(query)]
    assert len(recorded.scans) == 3


@pytest.mark.parametrize(
    ("query", "scan"),
    [
        ("", True),
        ("$filter=PartitionKey eq 'a' and RowKey ge 'vm|' and RowKey lt 'vm}'", False),
        ("$filter=PartitionKey eq 'a' and RowKey gt 'vm|' and RowKey lt 'vm}' and (Outcome eq 'Failed')", False),
        ("$filter=PartitionKey eq 'a' and Outcome eq 'Failed'", True),
        ("$filter=PartitionKey eq 'a' and RowKey ge ''", True),
        ("$filter=PartitionKey eq 'policy' and RowKey ge ''", False),
        ("$filter=PartitionKey gt '-' and PartitionKey lt 'g'&$top=1", False),
        ("$filter=PartitionKey gt '-' and PartitionKey lt 'g'", True),
        ("$filter=RowKey ge 'vm|' and RowKey lt 'vm}'", True),
    ],
)
def test_what_a_scan_is(query: str, scan: bool) -> None:
    assert is_scan("/devstoreaccount1/onboarding()", query) is scan
    assert not is_scan("/devstoreaccount1/onboarding(PartitionKey='a',RowKey='b')", "")


def test_every_method_of_the_stores_is_here() -> None:
    for store in STORES:
        methods = {name for name in vars(getattr(ports, store)) if not name.startswith("_")}
        read = {name.partition(".")[2] for name in READS}
        assert methods - WRITES.get(store, set()) <= read, store
