"""Index rows on a real table: two versions on one table, and what readers do with index rows that lead nowhere."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.core.credentials import AzureNamedKeyCredential

from onboarding.application.ports import RowWrite, ScheduledCheck
from onboarding.azure.http_connections import Connections
from onboarding.azure.storage.storage_requests import Answer, Service, StorageRequests
from onboarding.azure.storage.table_client import TableClient
from onboarding.azure.storage.table_entities import to_wire
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.azure.storage.table_queries import Query
from onboarding.azure.storage.table_writes import Write
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Row
from onboarding.domain.resource_id import VmId, parse_id
from simulator.azurite import ACCOUNT, KEY
from tests.adapters.storage.rows import OMS, TIME, final, listed, new_vm, row_of, rows, trigger, write

HOUR, LATER = timedelta(hours=1), TIME + timedelta(days=400)


class OtherWrites(StorageRequests):
    """Runs `meanwhile` once before the next transaction is sent; with `refusal`, none reaches the service."""

    def __init__(self, url: str) -> None:
        super().__init__(Service.TABLE, url, AzureNamedKeyCredential(ACCOUNT, KEY), Connections())
        self.meanwhile: Callable[[], Awaitable[Any]] | None = None
        self.refusal: Answer | None = None
        self.transactions: list[str] = []

    async def send_unchecked(self, method: str, path: str, query: str = "", **more: Any) -> Answer:
        if path == "/$batch":
            if self.refusal is not None:
                return self.refusal
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                await meanwhile()
            self.transactions.append(more["content"].decode())
        return await super().send_unchecked(method, path, query, **more)


@pytest.fixture
async def others(table: TableClient) -> AsyncIterator[OtherWrites]:
    requests = OtherWrites(table.requests.url)
    table.requests = requests
    yield requests
    await requests.close()


async def write_as_before(table: TableClient, row: Row, *, publish: bool = False) -> None:
    """Write a current row as the version without index rows does; an unpublished outcome under its older key."""
    vm = parse_id(row.resource_id)
    assert isinstance(vm, VmId)
    place, columns = f"{vm.resource_group}|{vm.name}|{row.extension}".lower(), to_wire(row.to_properties())
    keys = [f"vm|{place}"]
    if publish:
        keys.append(f"untold|{place}|{row.finished_at:%Y%m%dt%H%M%S%f}")
    for key in keys:
        await table.write(Write({**columns, "PartitionKey": vm.subscription.lower(), "RowKey": key}))


async def keys_in(table: TableClient, vm: VmId, *kinds: str) -> list[str]:
    found = table.query(Query("", vm.subscription), ["RowKey"])
    return sorted([key async for each in found if (key := str(each["RowKey"])).startswith(kinds)])


def check_of(row: Row) -> ScheduledCheck:
    vm = parse_id(row.resource_id)
    assert isinstance(vm, VmId)
    assert row.next_attempt_at is not None
    return ScheduledCheck(vm, row.next_attempt_at)


def keys_of(vm: VmId) -> dict[str, str]:
    """The keys of the VM's row of the one extension."""
    return {"PartitionKey": vm.subscription, "RowKey": f"vm|{vm.resource_group}|{vm.name}|{OMS}".lower()}


async def test_rows_of_a_version_without_index_rows_are_found_once_the_sweep_has_read_them(
    ledger: TableLedger, table: TableClient
) -> None:
    vm = new_vm()
    second = replace(vm, name="web-02")
    await write_as_before(table, row_of(vm))
    await write_as_before(table, final(second, Outcome.FAILED))
    assert await listed(ledger.overdue(vm.subscription, LATER)) == []
    assert await listed(ledger.attention(vm.subscription)) == []

    assert len([each async for each in ledger.summaries(vm.subscription, index=True)]) == 2

    assert [each.vm.name async for each in ledger.overdue(vm.subscription, LATER)] == [vm.name]
    assert [row.vm_name async for row in ledger.attention(vm.subscription)] == [second.name]


async def test_a_late_check_of_the_version_before_gets_its_index_row_in_each_run(
    ledger: TableLedger, table: TableClient
) -> None:
    """Each run of the sweep reads the rows, and renews all index rows only twice a day."""
    vm, later = new_vm(), new_vm()
    late, waits = row_of(vm, next_attempt_at=TIME), row_of(later, next_attempt_at=TIME + HOUR)
    ended = final(vm, extension="other", next_attempt_at=TIME)
    for row in (late, waits, ended):
        await write_as_before(table, row)
    for each in (vm, later):
        assert [_ async for _ in ledger.summaries(each.subscription, late=TIME + HOUR)]
    assert await listed(ledger.overdue(vm.subscription, LATER)) == [check_of(late)]
    assert await listed(ledger.overdue(later.subscription, LATER)) == []


@pytest.mark.parametrize("change", ["waits on", "ends", "is deleted"])
async def test_an_index_row_that_leads_nowhere_is_deleted_by_its_reader(
    ledger: TableLedger, table: TableClient, change: str
) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm), trigger(), None)
    if change == "waits on":
        await write(ledger, row_of(vm, next_attempt_at=TIME + 2 * HOUR), trigger("event-2"), version)
    elif change == "ends":
        await write(ledger, final(vm), trigger("event-2"), version)
    else:
        await table.delete(keys_of(vm))
    assert len(await keys_in(table, vm, "due|")) == (2 if change == "waits on" else 1)

    assert await listed(ledger.overdue(vm.subscription, TIME + 1.5 * HOUR)) == []

    left = [f"due|20261120t1114|vm|shop-prod|web-01|{OMS}"] if change == "waits on" else []
    assert await keys_in(table, vm, "due|") == left


async def test_a_wait_that_begins_anew_within_its_minute_keeps_its_index_row(
    ledger: TableLedger, table: TableClient
) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm), trigger(), None)
    again = row_of(vm, next_attempt_at=TIME + HOUR + timedelta(seconds=40))
    await write(ledger, again, trigger("event-2"), version)
    assert len(await keys_in(table, vm, "due|")) == 1
    assert await listed(ledger.overdue(vm.subscription, TIME + HOUR + timedelta(seconds=40))) == []
    assert await listed(ledger.overdue(vm.subscription, TIME + 2 * HOUR)) == [check_of(again)]


async def test_an_index_row_that_was_written_meanwhile_is_not_deleted(ledger: TableLedger, others: OtherWrites) -> None:
    """The reader finds a final row; before it deletes, another worker opens the row again, for the same minute."""
    vm = new_vm()
    second = replace(vm, name="web-02")
    for each in (vm, second):
        version = await write(ledger, row_of(each), trigger(), None)
        await write(ledger, final(each), trigger("event-2"), version)
    stored = (await rows(ledger, vm))[OMS]
    others.meanwhile = lambda: write(ledger, row_of(vm), trigger("event-3"), stored.version)

    assert await listed(ledger.overdue(vm.subscription, LATER)) == []

    assert [each.vm.name async for each in ledger.overdue(vm.subscription, LATER)] == [vm.name]


async def test_whoever_may_only_read_finds_the_rows_all_the_same(ledger: TableLedger, others: OtherWrites) -> None:
    vm = new_vm()
    second = replace(vm, name="web-02")
    version = await write(ledger, final(vm, Outcome.FAILED), trigger(), None)
    await write(ledger, final(vm), trigger("event-2"), version)
    await write(ledger, final(second, Outcome.FAILED), trigger(), None)
    others.refusal = Answer(403, "Forbidden", {}, b"")

    assert [row.vm_name async for row in ledger.attention(vm.subscription)] == [second.name]


async def test_index_rows_of_a_newer_version_are_left_alone(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    newer = ["due|20261120t0914|arc|g|n|t", "due|soon", "attention|vmss|g|n|t", "attention|vm|g|n|t|more", "due|x|y|"]
    for key in newer:
        await table.write(Write({"PartitionKey": vm.subscription, "RowKey": key}))

    assert len(await listed(ledger.overdue(vm.subscription, LATER))) == 1
    assert await listed(ledger.attention(vm.subscription)) == []
    assert set(newer) <= set(await keys_in(table, vm, "due|", "attention|"))


async def test_a_row_that_this_version_cannot_read_keeps_its_index_row(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    await table.write(Write({**keys_of(vm), "Outcome": "Postponed"}, merge=True))
    assert await listed(ledger.overdue(vm.subscription, LATER)) == []
    assert len(await keys_in(table, vm, "due|")) == 1


async def test_outcomes_that_the_version_before_left_unpublished_are_published_and_removed(
    table: TableClient,
) -> None:
    ledger, vm = TableLedger(table, outbox=True), new_vm()
    second = replace(vm, name="web-02")
    await write_as_before(table, final(vm), publish=True)
    await write(ledger, final(second), trigger(), None)

    found = await listed(ledger.unpublished(vm.subscription, LATER))
    assert {row.vm_name for row in found} == {vm.name, second.name}
    for row in found:
        await ledger.mark_published(row)

    assert await keys_in(table, vm, "unpublished|", "untold|") == []
    assert await listed(ledger.unpublished(vm.subscription, LATER)) == []


async def test_a_pass_over_a_machine_is_one_transaction_without_a_key_twice_or_a_deletion(
    ledger: TableLedger, others: OtherWrites, table: TableClient
) -> None:
    await table.create()
    vm = new_vm()
    entries = [RowWrite(row_of(vm, extension=f"e{number}")) for number in range(5)]
    entries += [RowWrite(final(vm, Outcome.FAILED, extension=f"f{number}")) for number in range(5)]
    machine = MachineRow(resource_id=str(vm), next_attempt_at=TIME + HOUR)

    await TableLedger(table, outbox=True).commit(machine, None, entries, trigger())

    (sent,) = others.transactions
    targets = [line.split()[1] for line in sent.splitlines() if line.startswith(("PUT ", "DELETE "))]
    written = await keys_in(table, vm, "")
    assert len(written) == 2 + 10 * 2 + 5 * 2, "the own row and its index row; row and history; what failed and is new"
    assert await keys_in(table, vm, "due|") == ["due|20261120t1014|vm|shop-prod|web-01|"]
    assert len(set(targets)) == len(targets)
    assert "DELETE" not in sent


async def test_the_sweep_writes_one_index_row_for_a_machine_that_waits_and_none_for_one_that_does_not(
    ledger: TableLedger, table: TableClient
) -> None:
    """As a version without index rows left them: the first machine's check covers its rows, the second's is left from
    a wait that has ended, the third's is later than its row's."""
    first, hour = new_vm(), TIME + HOUR
    second, third = replace(first, name="web-02"), replace(first, name="web-03")
    for vm in (first, second, third):
        own = MachineRow(resource_id=str(vm), next_attempt_at=hour)
        keys = {**keys_of(vm), "RowKey": keys_of(vm)["RowKey"].removesuffix(OMS)}
        await table.write(Write({**keys, **to_wire(own.to_properties())}))
    await write_as_before(table, row_of(first, next_attempt_at=hour))
    await write_as_before(table, row_of(first, next_attempt_at=hour + HOUR, extension="another"))
    await write_as_before(table, final(second))
    await write_as_before(table, row_of(third, next_attempt_at=TIME))

    assert len([each async for each in ledger.summaries(first.subscription, index=True)]) == 4

    assert await keys_in(table, first, "due|") == [
        f"due|20261120t0914|vm|shop-prod|web-03|{OMS}",
        "due|20261120t1014|vm|shop-prod|web-01|",
        "due|20261120t1014|vm|shop-prod|web-03|",
    ]
    found = await listed(ledger.overdue(first.subscription, LATER))
    assert [(each.vm.name.lower(), each.due) for each in found] == [
        ("web-03", TIME),
        ("web-01", hour),
        ("web-03", hour),
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_two_versions_wrote_every_open_row_is_found_in_the_end(table: TableClient, seed: int) -> None:
    """A history at random: both versions write rows, readers delete what they find to be stale, rows are deleted. The
    version before leaves the machine's own row and the check that it names as they are."""
    draw, ledger, base = random.Random(seed), TableLedger(table, outbox=True), new_vm()
    expected: dict[str, Row] = {}
    checks: dict[str, ScheduledCheck | None] = {}

    def named() -> set[ScheduledCheck]:
        """What the machines' own rows name, and the moments of open rows."""
        waiting = {check_of(row) for row in expected.values() if not row.outcome.final}
        return waiting | {check for check in checks.values() if check}

    for number in range(60):
        vm = replace(base, name=f"vm-{draw.randrange(6)}")
        row = _some_row(draw, vm)
        step = draw.choice(("new", "new", "before", "before", "read", "delete"))
        if step == "new":
            stored = (await rows(ledger, vm)).get(OMS)
            check = draw.choice((row.next_attempt_at, None, row.next_attempt_at and row.next_attempt_at + HOUR))
            await write(ledger, row, trigger(f"event-{number}"), stored.version if stored else None, check=check)
            expected[vm.name], checks[vm.name] = row, ScheduledCheck(vm, check) if check else None
        elif step == "before":
            await write_as_before(table, row)
            expected[vm.name] = row
        elif step == "read":
            found = await listed(ledger.overdue(base.subscription, TIME + draw.randrange(9) * HOUR))
            assert set(found) <= named(), "never what is not due"
            await listed(ledger.attention(base.subscription))
        elif vm.name in expected:
            await table.delete(keys_of(vm))
            del expected[vm.name]

    assert len([each async for each in ledger.summaries(base.subscription, index=True)]) == len(expected)

    found = await listed(ledger.overdue(base.subscription, LATER))
    assert set(found) <= named()
    assert {check for check in checks.values() if check} <= set(found)
    for row in expected.values():
        if not row.outcome.final:
            own = check_of(row)
            assert any(each.vm == own.vm and each.due <= own.due for each in found), "every open row"
    moments = [each.due.replace(second=0, microsecond=0) for each in found]
    assert moments == sorted(moments), "the earliest minute first"
    wanting = {name for name, row in expected.items() if row.outcome.needs_person}
    assert {each.vm_name async for each in ledger.attention(base.subscription)} == wanting
    assert len(await keys_in(table, base, "due|")) == len(found), "nothing that leads nowhere is left"
    assert len(await keys_in(table, base, "attention|")) == len(wanting)


def _some_row(draw: random.Random, vm: VmId) -> Row:
    if draw.random() < 0.6:
        outcome = draw.choice((Outcome.WAITING, Outcome.REQUESTED))
        return row_of(vm, outcome=outcome, next_attempt_at=TIME + draw.randrange(8) * HOUR)
    return final(vm, draw.choice([each for each in Outcome if each.final]))


async def test_many_index_rows_are_written_and_cleaned_in_transactions(
    ledger: TableLedger, others: OtherWrites, table: TableClient
) -> None:
    base = new_vm()
    await table.create()
    for number in range(130):
        await write_as_before(table, row_of(replace(base, name=f"vm-{number:03}")))
    assert len([each async for each in ledger.summaries(base.subscription, index=True)]) == 130
    assert len(others.transactions) == 2
    for number in range(130):
        await write_as_before(table, final(replace(base, name=f"vm-{number:03}")))
    others.transactions.clear()
    assert await listed(ledger.overdue(base.subscription, LATER)) == []
    assert len(others.transactions) == 5
    assert await keys_in(table, base, "due|") == []
