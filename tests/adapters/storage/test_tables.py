"""The ledger on a real table service: the behaviour that the port defines, and races of two workers for one row."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import replace
from datetime import UTC, timedelta
from traceback import format_exception
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableClient

from onboarding.application.ports import MachineRows, RowWrite
from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import VmId, parse_id
from onboarding.settings import Storage
from tests.adapters.conftest import storage_of
from tests.adapters.storage.rows import OMS, TIME, claim, final, listed, new_vm, row_of, rows, trigger, write

NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:9/a;"


def full_row(vm: VmId) -> Row:
    """A row with something in every column."""
    given: dict[str, Any] = {"resource_id": str(vm), "vm_name": vm.name, "resource_group": vm.resource_group}
    base = row_of(vm, duration_ms=1, attempt=3)
    for number, name in enumerate(Row.__struct_fields__):
        if "_at" in name or "_time" in name or "_since" in name:
            given[name] = TIME + timedelta(minutes=number, microseconds=number)
        elif getattr(base, name) == "":
            given[name] = f"{name} é 😀 'quoted' \"twice\" <&> %2F"
    return replace(base, **given)


async def test_every_column_of_a_row_is_read_back_as_it_was_written(ledger: TableLedger) -> None:
    vm = new_vm()
    row = full_row(vm)
    assert all(getattr(row, name) not in (None, "") for name in Row.__struct_fields__)

    version = await write(ledger, row, trigger(), None)

    stored = (await rows(ledger, vm))[OMS]
    assert stored.row == row
    assert stored.version == version
    assert stored.row.event_time is not None
    assert stored.row.event_time.microsecond != 0
    assert stored.row.event_time.tzinfo is UTC


async def test_for_a_new_vm_only_its_own_row_is_read(ledger: TableLedger, table: TableClient) -> None:
    vm, other = new_vm(), new_vm()
    assert await ledger.read(vm, new=True) == MachineRows()
    for extension in (OMS, "another", "a third"):
        await write(ledger, replace(row_of(vm), extension=extension), trigger(), None)
    await write(ledger, row_of(other), trigger(), None)

    everything = await ledger.read(vm, new=True)

    assert set(everything.targets) == {OMS, "another", "a third"}
    assert everything.machine is not None
    assert everything == await ledger.read(vm)
    await table.delete_entity(vm.subscription, "vm|shop-prod|web-01|")
    assert await ledger.read(vm, new=True) == MachineRows()
    assert set((await ledger.read(vm)).targets) == {OMS, "another", "a third"}, "rows that an older version wrote"


@pytest.mark.parametrize(
    "text",
    [
        "x" * 8192,
        "é" * 8192,
        "😀" * 4096,
        "a\r\nb\rc\td",
        "\x00\x1b[31m\uffff",
        "\ud800",
        "--batch\r\n\r\nHTTP/1.1 404",
    ],
    ids=["8 KiB", "8 Ki of two bytes", "emoji", "line ends", "control characters", "lone surrogate", "looks like HTTP"],
)
async def test_any_text_of_a_handler_can_be_written(ledger: TableLedger, text: str) -> None:
    vm = new_vm()
    row = row_of(vm, message=text)

    await write(ledger, row, trigger(), None)

    assert (await rows(ledger, vm))[OMS].row == row


@pytest.mark.parametrize("column", [name for name, kind in Row.__annotations__.items() if kind == "str"])
async def test_a_text_of_any_length_is_cut_and_written(ledger: TableLedger, column: str) -> None:
    """The guest agent or a person can write texts of any length: here one of 40,000 characters."""
    if column in ("resource_id", "vm_name", "resource_group", "extension"):
        return  # these are part of the row's key; their length is checked when they are read
    vm = new_vm()

    failed = {"error_code": "51"} if column == "cause" else {}  # there is no cause without an error
    long: dict[str, Any] = {**failed, column: "x" * 40_000}
    await write(ledger, replace(final(vm), **long), trigger(), None)

    stored = getattr((await rows(ledger, vm))[OMS].row, column)
    assert 0 < len(stored) <= 8192
    assert stored.startswith("xxx")


async def test_a_cause_without_an_error_is_not_read(ledger: TableLedger) -> None:
    """A version that does not know the column clears the error alone, and keeps the column as it was."""
    vm = new_vm()
    await write(ledger, replace(final(vm), cause="throttled"), trigger(), None)
    assert (await rows(ledger, vm))[OMS].row.cause == ""


async def test_a_duration_of_a_year_can_be_written(ledger: TableLedger) -> None:
    vm = new_vm()
    row = final(vm, duration_ms=365 * 24 * 3600 * 1000)

    await write(ledger, row, trigger(), None)

    assert (await rows(ledger, vm))[OMS].row == row
    assert [line.duration_ms async for line in ledger.history(vm)] == [row.duration_ms]


async def test_a_missing_table_is_empty_and_created_by_the_first_write(ledger: TableLedger) -> None:
    vm = new_vm()
    assert await rows(ledger, vm) == {}
    assert await listed(ledger.current()) == []
    assert await listed(ledger.overdue(TIME)) == []
    assert await listed(ledger.history(vm)) == []

    await write(ledger, row_of(vm), trigger(), None)

    assert len(await rows(ledger, vm)) == 1


async def test_a_line_of_history_creates_a_missing_table(ledger: TableLedger) -> None:
    vm = new_vm()

    await ledger.append(row_of(vm), trigger())

    assert await rows(ledger, vm) == {}
    assert len(await listed(ledger.history(vm))) == 1


async def test_concurrent_workers_create_a_missing_table_once(ledger: TableLedger) -> None:
    vms = [new_vm() for _ in range(4)]
    claimed = new_vm()

    await asyncio.gather(
        *(write(ledger, row_of(vm), trigger(), None) for vm in vms), claim(ledger, row_of(claimed), None)
    )

    assert len(await listed(ledger.current())) == 5


async def test_a_second_claim_of_a_new_row_is_lost(ledger: TableLedger) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm, reason="first"), trigger("event-1"), None)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm, reason="second"), trigger("event-2"), None)

    assert (await rows(ledger, vm))[OMS].row.reason == "first"
    assert len(await listed(ledger.history(vm))) == 1


async def test_a_claim_is_a_row_without_history_and_the_next_write_follows_it(ledger: TableLedger) -> None:
    vm = new_vm()

    version = await claim(ledger, full_row(vm), None)

    assert (await rows(ledger, vm))[OMS].row == full_row(vm)
    assert await listed(ledger.history(vm)) == []
    after = await write(ledger, row_of(vm, reason="asked"), trigger(), version)
    assert (await rows(ledger, vm))[OMS].version == after
    assert [line.reason async for line in ledger.history(vm)] == ["asked"]


async def test_of_two_claims_of_a_new_row_one_is_lost(ledger: TableLedger) -> None:
    vm = new_vm()
    claims = [claim(ledger, row_of(vm, reason=reason), None) for reason in ("this", "that")]

    ended = await asyncio.gather(*claims, return_exceptions=True)

    assert [type(each) for each in ended].count(LostRace) == 1
    assert len(await rows(ledger, vm)) == 1


async def test_a_claim_over_an_old_version_is_lost(ledger: TableLedger) -> None:
    vm = new_vm()
    old = await claim(ledger, row_of(vm), None)
    newer = await claim(ledger, row_of(vm, reason="newer"), old)

    with pytest.raises(LostRace):
        await claim(ledger, row_of(vm, reason="stale"), old)

    assert (await rows(ledger, vm))[OMS].row.reason == "newer"
    assert (await rows(ledger, vm))[OMS].version == newer


async def test_a_write_over_an_old_version_is_lost(ledger: TableLedger) -> None:
    vm = new_vm()
    old = await write(ledger, row_of(vm), trigger("event-1"), None)
    await write(ledger, row_of(vm, reason="newer"), trigger("event-2"), old)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm, reason="stale"), trigger("event-3"), old)

    assert (await rows(ledger, vm))[OMS].row.reason == "newer"
    assert len(await listed(ledger.history(vm))) == 2


async def test_an_event_with_a_line_of_history_loses_the_race_and_changes_nothing(ledger: TableLedger) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm, reason="as it was"), trigger(), None)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm, reason="redelivered"), trigger(), version)

    assert (await rows(ledger, vm))[OMS].version == version
    assert (await rows(ledger, vm))[OMS].row.reason == "as it was"


async def test_the_same_event_may_write_again_with_again(ledger: TableLedger) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm, reason="claimed"), trigger(), None)

    await write(ledger, row_of(vm, reason="requested"), trigger(), version, again=True)

    assert (await rows(ledger, vm))[OMS].row.reason == "requested"
    assert [line.reason async for line in ledger.history(vm)] == ["requested"]


@pytest.mark.parametrize("new", [True, False], ids=["a new row", "a row that is there"])
async def test_of_many_writers_of_one_row_exactly_one_wins(ledger: TableLedger, new: bool) -> None:
    vm = new_vm()
    version = None if new else await write(ledger, row_of(vm), trigger("before"), None)
    writes = [write(ledger, row_of(vm, reason=f"{n}"), trigger(f"event-{n}"), version) for n in range(6)]

    results = await asyncio.gather(*writes, return_exceptions=True)

    lost = [result for result in results if isinstance(result, LostRace)]
    winners = [f"{n}" for n, result in enumerate(results) if isinstance(result, str)]
    assert len(lost) == 5
    assert [(await rows(ledger, vm))[OMS].row.reason] == winners
    assert len(await listed(ledger.history(vm))) == (1 if new else 2)


async def test_of_many_deliveries_of_one_event_exactly_one_wins(ledger: TableLedger) -> None:
    vm = new_vm()
    writes = [write(ledger, row_of(vm), trigger(), None) for _ in range(4)]

    results = await asyncio.gather(*writes, return_exceptions=True)

    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, LostRace) for result in results) == 3


async def test_a_deleted_row_is_not_written_again(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm), trigger("event-1"), None)
    async for entity in table.query_entities("RowKey ge 'vm|' and RowKey lt 'vm}'"):
        await table.delete_entity(entity)

    with pytest.raises(StorageError):
        await write(ledger, row_of(vm), trigger("event-2"), version)


async def test_the_extensions_of_a_vm_are_rows_of_their_own(ledger: TableLedger) -> None:
    vm = new_vm()
    for extension in (OMS, "azure-monitor-agent-linux"):
        await write(ledger, row_of(vm, extension=extension), trigger(), None)

    assert set(await rows(ledger, vm)) == {OMS, "azure-monitor-agent-linux"}


@pytest.mark.parametrize("name", ["web-01", "WEB-01", "web.01_(new)", "wéb-漢", "a", "x" * 64])
async def test_a_vm_is_found_by_any_spelling_of_its_id(ledger: TableLedger, table: TableClient, name: str) -> None:
    vm = new_vm(name, "Group_(1).2-ü")
    await write(ledger, row_of(vm), trigger(), None)

    for spelled in (str(vm).upper(), str(vm).lower()):
        found = parse_id(spelled)
        assert isinstance(found, VmId)
        assert [stored.row.vm_name for stored in (await rows(ledger, found)).values()] == [name]
    keys = [entity["PartitionKey"] + entity["RowKey"] async for entity in table.list_entities()]
    assert len(keys) == 3
    assert all(key == key.lower() and not set(key) & set("/\\#?") for key in keys)


async def test_a_vm_does_not_read_rows_of_a_vm_with_a_longer_name(ledger: TableLedger) -> None:
    vm = new_vm("web")
    for name in ("web", "web-01", "web1", "we"):
        await write(ledger, row_of(replace(vm, name=name)), trigger(), None)

    assert [stored.row.vm_name for stored in (await rows(ledger, vm)).values()] == ["web"]
    assert [line.vm_name async for line in ledger.history(vm)] == ["web"]


async def test_of_two_claims_for_different_extensions_of_a_machine_one_wins(ledger: TableLedger) -> None:
    vm = new_vm()

    async def claim_for(extension: str) -> None:
        row = row_of(vm, extension=extension)
        machine = MachineRow(resource_id=str(vm), claim=claim_of(extension))
        await ledger.commit(machine, None, [RowWrite(row, history=False)], trigger(extension))

    ended = await asyncio.gather(*(claim_for(each) for each in ("one", "another")), return_exceptions=True)

    assert [type(each) for each in ended].count(LostRace) == 1
    known = await ledger.read(vm)
    assert known.machine is not None
    assert known.machine.row.claim == claim_of(next(iter(known.targets)))
    assert len(known.targets) == 1


@pytest.mark.parametrize("new", [True, False], ids=["there was no row", "there was a row"])
async def test_a_claim_can_be_taken_back(ledger: TableLedger, new: bool) -> None:
    vm = new_vm()
    before = final(vm)
    version = None if new else await write(ledger, before, trigger("before"), None)
    own = (await ledger.read(vm)).machine
    stored = None if new else (await rows(ledger, vm))[OMS]
    machine = MachineRow(resource_id=str(vm), claim=claim_of(OMS))
    claimed = RowWrite(row_of(vm), version, history=False)
    versions = await ledger.commit(machine, own.version if own else None, [claimed], trigger("claim"))

    await ledger.undo(MachineRow(resource_id=str(vm)), versions.machine, OMS, stored, versions.targets[OMS])

    known = await ledger.read(vm)
    assert known.machine is not None
    assert known.machine.row.claim is None
    assert [each.row for each in known.targets.values()] == ([] if new else [before])


async def test_more_extensions_than_one_transaction_takes_are_all_written(ledger: TableLedger) -> None:
    vm = new_vm()
    entries = [RowWrite(row_of(vm, extension=f"extension-{number}")) for number in range(25)]

    versions = await ledger.commit(MachineRow(resource_id=str(vm)), None, entries, trigger())

    known = await ledger.read(vm)
    assert {name: stored.version for name, stored in known.targets.items()} == versions.targets
    assert known.machine is not None
    assert known.machine.version == versions.machine
    assert len(versions.targets) == 25


def claim_of(extension: str) -> Claim:
    return Claim(target=extension, step="extension", attempt=1, digest="d", at=TIME, trigger="event-1")


CALLS: dict[str, Callable[[TableLedger, VmId], Awaitable[object]]] = {
    "read": lambda ledger, vm: ledger.read(vm),
    "write": lambda ledger, vm: write(ledger, row_of(vm), trigger(), None),
    "append": lambda ledger, vm: ledger.append(row_of(vm), trigger()),
    "overdue": lambda ledger, vm: listed(ledger.overdue(TIME)),
    "current": lambda ledger, vm: listed(ledger.current()),
    "history": lambda ledger, vm: listed(ledger.history(vm)),
    "unpublished": lambda ledger, vm: listed(ledger.unpublished(TIME)),
    "mark_published": lambda ledger, vm: ledger.mark_published(final(vm)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_an_unreachable_account_is_a_storage_error_long_before_event_grid_gives_up(
    call: Callable[[TableLedger, VmId], Awaitable[object]],
) -> None:
    async with onboarding_table(storage_of(NOWHERE), None) as table:
        with pytest.raises(StorageError):
            async with asyncio.timeout(10):
                await call(TableLedger(table, outbox=True), new_vm())


@pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")  # the SDK, reading XML
@pytest.mark.parametrize("key", ["d3Jvbmc=", "no base64!"], ids=["another key", "no key"])
async def test_a_wrong_key_is_a_storage_error_that_does_not_show_it(storage: Storage, key: str) -> None:
    assert storage.connection_string is not None
    parts = storage.connection_string.reveal().split(";")
    connection = ";".join(f"AccountKey={key}" if part.startswith("AccountKey=") else part for part in parts)
    async with onboarding_table(storage_of(connection), None) as table:
        for call in (CALLS["read"], CALLS["write"]):
            with pytest.raises(StorageError) as raised:
                await call(TableLedger(table), new_vm())
            assert key not in "".join(format_exception(raised.value))


async def test_reading_writes_nothing(ledger: TableLedger, table: TableClient) -> None:
    await ledger.read(new_vm())

    with pytest.raises(ResourceNotFoundError):
        await anext(aiter(table.list_entities()))
