"""The ledger's table where the contract ends: no table yet, no account, a wrong key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from copy import replace

import pytest

from onboarding.azure.storage.storage_clients import onboarding_table
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import StorageError
from onboarding.domain.resource_id import VmId
from tests.adapters.conftest import storage_of
from tests.adapters.storage.rows import OMS, TIME, claim, final, listed, new_vm, row_of, rows, trigger, write

NOWHERE = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;TableEndpoint=http://127.0.0.1:9/a;"


async def test_a_cause_without_an_error_is_not_read(ledger: TableLedger) -> None:
    """A version that does not know the column clears the error alone, and keeps the column as it was."""
    vm = new_vm()
    await write(ledger, replace(final(vm), cause="throttled"), trigger(), None)
    assert (await rows(ledger, vm))[OMS].row.cause == ""


async def test_a_missing_table_is_empty_and_created_by_the_first_write(ledger: TableLedger) -> None:
    vm = new_vm()
    assert await rows(ledger, vm) == {}
    assert await listed(ledger.current()) == []
    assert await listed(ledger.overdue(vm.subscription, TIME)) == []
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


CALLS: dict[str, Callable[[TableLedger, VmId], Awaitable[object]]] = {
    "read": lambda ledger, vm: ledger.read(vm),
    "write": lambda ledger, vm: write(ledger, row_of(vm), trigger(), None),
    "append": lambda ledger, vm: ledger.append(row_of(vm), trigger()),
    "overdue": lambda ledger, vm: listed(ledger.overdue(vm.subscription, TIME)),
    "current": lambda ledger, vm: listed(ledger.current()),
    "history": lambda ledger, vm: listed(ledger.history(vm)),
    "unpublished": lambda ledger, vm: listed(ledger.unpublished(vm.subscription, TIME)),
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
