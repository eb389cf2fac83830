"""What a newer version, or many rows, do to the lists of the ledger on a real table service."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables.aio import TableClient as SdkTableClient

from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId
from tests.adapters.storage.rows import OMS, TIME, listed, new_vm, row_of, rows, trigger, write, write_fleet


@pytest.fixture
async def fleet(ledger: TableLedger) -> tuple[VmId, ...]:
    return await write_fleet(ledger)


async def test_totals_leave_out_outcomes_of_a_newer_version_with_a_warning(
    ledger: TableLedger, fleet: tuple[VmId, ...], sdk_table: SdkTableClient, caplog: pytest.LogCaptureFixture
) -> None:
    entity = await sdk_table.get_entity(fleet[2].subscription, f"vm|prod|db|{OMS}")
    await sdk_table.update_entity({**entity, "Outcome": "Postponed"})

    assert {kind.outcome: rows for kind, rows in (await ledger.count()).items()} == {
        Outcome.INSTALLED: 1,
        Outcome.FAILED: 1,
    }
    assert "Postponed" in caplog.text


async def test_more_rows_than_a_page_holds_are_all_listed(ledger: TableLedger, sdk_table: SdkTableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    base = await sdk_table.get_entity(vm.subscription, f"vm|shop-prod|web-01|{OMS}")
    more = [{**base, "RowKey": f"vm|shop-prod|web-{n:04}|{OMS}"} for n in range(1000)]
    for start in range(0, len(more), 100):
        await sdk_table.submit_transaction([("create", entity) for entity in more[start : start + 100]])

    assert len(await listed(ledger.current(Selection(subscription=vm.subscription)))) == 1001


@pytest.mark.parametrize(
    "change",
    [{"Outcome": "Postponed"}, {"Outcome": None}, {"ResourceId": None}, {"WaitingFor": "godot"}],
    ids=["unknown outcome", "no outcome", "no id", "unknown wait"],
)
async def test_an_unreadable_row_hides_no_others_and_is_logged(
    ledger: TableLedger, sdk_table: SdkTableClient, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    good, bad = new_vm("good"), new_vm("bad")
    await write(ledger, row_of(good), trigger(), None)
    await write(ledger, row_of(bad), trigger(), None)
    entity = await sdk_table.get_entity(bad.subscription, f"vm|shop-prod|bad|{OMS}")
    await sdk_table.delete_entity(entity)
    await sdk_table.create_entity({name: change.get(name, value) for name, value in entity.items()})

    assert [row.vm_name async for row in ledger.current()] == ["good"]
    for vm, found in ((good, ["good"]), (bad, [])):
        assert [each.vm.name async for each in ledger.overdue(vm.subscription, TIME + timedelta(days=1))] == found
    assert f"vm|shop-prod|bad|{OMS}" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"Outcome": "Postponed"}, {"Outcome": None}, {"ResourceId": None}, {"NextAttemptAt": "soon"}, {"Attempt": "x"}],
    ids=["unknown outcome", "no outcome", "no id", "no time", "no number"],
)
async def test_an_unreadable_row_is_replaced_and_keeps_its_history(
    ledger: TableLedger, sdk_table: SdkTableClient, change: dict[str, Any]
) -> None:
    vm = new_vm("bad")
    await write(ledger, row_of(vm, attempt=1), trigger("before"), None)
    entity = await sdk_table.get_entity(vm.subscription, f"vm|shop-prod|bad|{OMS}")
    await sdk_table.delete_entity(entity)
    await sdk_table.create_entity({name: change.get(name, value) for name, value in entity.items()})

    known = await ledger.read(vm)
    assert known.targets == {}
    await write(ledger, row_of(vm, reason="anew"), trigger("after"), known.version(OMS))

    assert (await rows(ledger, vm))[OMS].row.reason == "anew"
    assert len(await listed(ledger.history(vm))) == 2


async def test_unknown_keys_are_ignored(ledger: TableLedger, sdk_table: SdkTableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    for key in (f"vm|shop-prod|web-01|{OMS}|more", "vm|shop-prod|web-01|x|y|z"):
        await sdk_table.create_entity({"PartitionKey": vm.subscription, "RowKey": key, "Outcome": "Installed"})

    assert set(await rows(ledger, vm)) == {OMS}
