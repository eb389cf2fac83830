"""Deleting what is older than it is kept, on a real table service: what goes, what stays, and how many requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential

from onboarding.application.ports import Pruned, RowWrite
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.storage_requests import Answer, Service, StorageRequests
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import to_wire
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome
from onboarding.domain.resource_id import VmId
from simulator.azurite import ACCOUNT, KEY
from tests.adapters.storage.rows import OMS, TIME, create, final, new_vm, row_of, rows, trigger, write

OLD = TIME + timedelta(hours=1)  # what happened before this is deleted
YOUNG = TIME + timedelta(days=1)


class CountedRequests(StorageRequests):
    """Counts the requests by method, and keeps the filters of the queries. `meanwhile` is called once, right before the
    next transaction; with `refusal`, no transaction reaches the service."""

    def __init__(self, table: TableClient, connections: Connections) -> None:
        super().__init__(Service.TABLE, table.requests.url, AzureNamedKeyCredential(ACCOUNT, KEY), connections)
        self.counts = Counter[str]()
        self.filters: list[str] = []
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None
        self.refusal: Answer | None = None

    async def send_unchecked(self, method: str, path: str, query: str = "", **more: Any) -> Answer:
        self.counts[method] += 1
        if method == "GET":
            self.filters.append(query)
        elif self.refusal is not None:
            return self.refusal
        elif self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return await super().send_unchecked(method, path, query, **more)


@pytest.fixture
async def counted(table: TableClient) -> AsyncIterator[CountedRequests]:
    connections = Connections()
    requests = CountedRequests(table, connections)
    table.requests = requests
    yield requests
    await requests.close()


async def keys_in(table: TableClient, partition: str) -> list[str]:
    return sorted([str(each["RowKey"]) async for each in table.query(Query("", partition), ["RowKey"])])


async def all_steps(ledger: TableLedger, vm: VmId, after: str = "") -> list[Pruned]:
    return [step async for step in ledger.prune(vm.subscription.lower(), OLD, after)]


def in_group(vm: VmId, name: str) -> VmId:
    return VmId(vm.subscription, vm.resource_group, name)


async def test_old_history_goes_and_the_current_row_stays(ledger: TableLedger) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm), trigger("old"), None)
    await write(ledger, row_of(vm, attempt=1), trigger("young", YOUNG), version)
    assert sum(step.rows for step in await all_steps(ledger, vm)) == 1
    assert [line.event_id async for line in ledger.history(vm)] == ["young"]
    assert (await rows(ledger, vm))[OMS].row.attempt == 1


async def test_all_rows_of_a_machine_that_is_gone_go_together(ledger: TableLedger, table: TableClient) -> None:
    vm, other = new_vm(), new_vm()
    ended = [RowWrite(final(vm, Outcome.GONE, extension=each)) for each in (OMS, "another")]
    await ledger.commit(MachineRow(resource_id=str(vm)), None, ended, trigger())
    await create(ledger, final(other, Outcome.GONE), trigger())
    assert sum(step.rows for step in await all_steps(ledger, vm)) == 5
    assert await keys_in(table, vm.subscription) == []
    assert len(await keys_in(table, other.subscription)) == 3, "another subscription"


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.FAILED},
        {"outcome": Outcome.GONE, "finished_at": YOUNG},
        {"outcome": Outcome.GONE, "finished_at": None},
    ],
)
async def test_a_machine_stays_whole_while_one_of_its_targets_does(
    ledger: TableLedger, changes: dict[str, Any]
) -> None:
    vm = new_vm()
    entries = [RowWrite(final(vm, Outcome.GONE)), RowWrite(final(vm, **changes | {"extension": "another"}))]
    await ledger.commit(MachineRow(resource_id=str(vm)), None, entries, trigger())
    await all_steps(ledger, vm)
    known = await ledger.read(vm)
    assert (known.machine is not None, set(known.targets)) == (True, {OMS, "another"})


async def test_rows_of_other_versions_are_left_alone(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await create(ledger, final(vm, Outcome.GONE), trigger("young", YOUNG))
    partition = vm.subscription
    strange: list[dict[str, Any]] = [
        {"RowKey": "vm|shop-prod|web-01|oms-agent-linux|step", "Outcome": "Gone", "FinishedAt": TIME},
        {"RowKey": "log|shop-prod|web-01|oms-agent-linux|soon|event"},
        {"RowKey": "log|short"},
        {"RowKey": "due|202611|shop-prod|web-01|oms-agent-linux", "FinishedAt": TIME},
        {"RowKey": "vm|shop-prod|web-02|oms-agent-linux", "Outcome": "Retired", "FinishedAt": TIME},
        {"RowKey": "vm|shop-prod|web-03|oms-agent-linux", "Outcome": "Gone", "FinishedAt": "long ago"},
    ]
    for each in strange:
        await table.write(Write(to_wire({"PartitionKey": partition, **each})))
    before = await keys_in(table, partition)
    assert sum(step.rows for step in await all_steps(ledger, vm)) == 0
    assert await keys_in(table, partition) == before


async def test_a_row_that_was_opened_again_meanwhile_stays_with_its_machine(
    ledger: TableLedger, counted: CountedRequests
) -> None:
    vm = new_vm()
    machines = [in_group(vm, f"web-{number}") for number in range(3)]
    for each in machines:
        await create(ledger, final(each, Outcome.GONE), trigger("young", YOUNG))
    stored = (await rows(ledger, machines[1]))[OMS]

    counted.meanwhile = lambda: write(ledger, row_of(machines[1]), trigger("again"), stored.version)
    assert sum(step.rows for step in await all_steps(ledger, vm)) == 4
    assert [(await ledger.read(each)).machine is not None for each in machines] == [False, True, False]
    assert (await rows(ledger, machines[1]))[OMS].row.outcome is Outcome.WAITING


async def test_a_worker_that_read_the_rows_before_they_were_deleted_has_lost_the_race(ledger: TableLedger) -> None:
    vm = new_vm()
    await create(ledger, final(vm, Outcome.GONE), trigger())
    known = await ledger.read(vm)
    await all_steps(ledger, vm)
    assert known.machine is not None
    entry = RowWrite(row_of(vm), known.targets[OMS].version)
    with pytest.raises(LostRace):
        await ledger.commit(known.machine.row, known.machine.version, [entry], trigger("again"))
    await write(ledger, row_of(vm), trigger("again"), None)


async def test_lines_that_another_sweep_deletes_at_the_same_time_are_no_failure(
    ledger: TableLedger, table: TableClient, counted: CountedRequests
) -> None:
    vm = new_vm()
    await write_lines(table, vm, machines=1, lines=6)

    *_, oldest = await keys_in(table, vm.subscription)
    counted.meanwhile = lambda: table.delete({"PartitionKey": vm.subscription, "RowKey": oldest})
    assert sum(step.rows for step in await all_steps(ledger, vm)) == 2
    assert len(await keys_in(table, vm.subscription)) == 3


async def test_thousands_of_rows_cost_one_read_a_thousand_and_one_write_a_hundred(
    ledger: TableLedger, table: TableClient, counted: CountedRequests
) -> None:
    vm = new_vm()
    await write_lines(table, vm, machines=150, lines=20)
    gone = [in_group(vm, f"gone-{number:03}") for number in range(120)]
    await write_rows(table, [final(each, Outcome.GONE) for each in gone])
    await write_rows(table, [final(in_group(vm, f"here-{number:03}")) for number in range(130)])
    counted.counts.clear()
    counted.filters.clear()

    steps = await all_steps(ledger, vm)

    assert sum(step.rows for step in steps) == 150 * 10 + 120 * 2
    assert counted.counts == {"GET": 3 + 1, "POST": 15 + 3}
    assert all(step.rows <= 100 for step in steps)
    assert all(each.startswith(f"$filter=PartitionKey%20eq%20%27{vm.subscription}") for each in counted.filters)
    assert len(await keys_in(table, vm.subscription)) == 150 * 10 + 130 * 2
    counted.counts.clear()
    assert sum(step.rows for step in await all_steps(ledger, vm)) == 0
    assert counted.counts == {"GET": 2 + 1}


async def test_a_run_goes_on_where_the_last_one_stopped(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write_lines(table, vm, machines=30, lines=20)
    gone = [in_group(vm, f"gone-{number:03}") for number in range(120)]
    await write_rows(table, [final(each, Outcome.GONE) for each in gone])
    places, deleted = [""], 0
    while True:
        steps = ledger.prune(vm.subscription, OLD, places[-1])
        step = await anext(steps, None)
        if step is None:
            break
        places.append(step.after)
        deleted += step.rows
    assert places == sorted(set(places)), "each run begins further on"
    assert deleted == 30 * 10 + 120 * 2
    assert len(await keys_in(table, vm.subscription)) == 30 * 10


async def test_the_subscriptions_follow_each_other_and_nothing_else_counts_as_one(
    ledger: TableLedger, table: TableClient
) -> None:
    assert await ledger.next_subscription("") == "", "the table does not exist yet"
    vms = sorted((new_vm() for _ in range(5)), key=lambda vm: vm.subscription)
    for vm in vms:
        await create(ledger, row_of(vm), trigger())
    for partition in ("*", "policy", "sweep"):
        await table.write(Write({"PartitionKey": partition, "RowKey": "state"}))
    found = [await ledger.next_subscription("")]
    while found[-1]:
        found.append(await ledger.next_subscription(found[-1]))
    assert found == [*(vm.subscription for vm in vms), ""]


async def test_a_table_that_cannot_be_written_is_a_storage_error(
    ledger: TableLedger, table: TableClient, counted: CountedRequests
) -> None:
    vm = new_vm()
    await write_lines(table, vm, machines=1, lines=6)

    counted.refusal = Answer(403, "Forbidden", {}, b"")
    with pytest.raises(StorageError, match="403"):
        await all_steps(ledger, vm)


async def write_lines(table: TableClient, vm: VmId, *, machines: int, lines: int) -> None:
    """Write lines of history, the first half of each machine's too old."""
    found = []
    for number in range(machines):
        for line in range(lines):
            time = TIME if line < lines // 2 else YOUNG
            inverted = 9_999_999_999_999 - int((time + timedelta(seconds=line)).timestamp() * 1000)
            key = f"log|shop-prod|web-{number:03}|{OMS}|{inverted:013d}|event-{line}"
            found.append({"PartitionKey": vm.subscription, "RowKey": key, "Reason": "a line"})
    await _write(table, found)


async def write_rows(table: TableClient, found: list[Any]) -> None:
    """Write the current rows with the own rows of their machines, without history."""
    entities: list[Mapping[str, Any]] = []
    for row in found:
        keys = {"PartitionKey": row.resource_id.split("/")[2]}
        prefix = f"vm|{row.resource_group}|{row.vm_name}|".lower()
        finished = {
            "FinishedAt": row.finished_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "FinishedAt@odata.type": "Edm.DateTime",
        }
        entities.append({**keys, "RowKey": prefix, "ResourceId": row.resource_id})
        entities.append({**keys, "RowKey": prefix + row.extension, "Outcome": row.outcome.value, **finished})
    await _write(table, entities)


async def _write(table: TableClient, found: list[Any]) -> None:
    for at in range(0, len(found), 100):
        await table.transact([Write(each) for each in found[at : at + 100]])
