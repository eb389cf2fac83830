"""The lists of the ledger on a real table service: history, overdue rows, current rows, unpublished outcomes."""

from __future__ import annotations

from collections import Counter
from copy import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.data.tables.aio import TableClient

from onboarding.application.ports import RowWrite
from onboarding.azure.storage.storage_clients import OnboardingTable
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId
from tests.adapters.storage.rows import OMS, TIME, final, listed, new_vm, row_of, rows, trigger, write


async def test_the_history_has_the_newest_line_first_with_what_triggered_it(ledger: TableLedger) -> None:
    vm, version = new_vm(), None
    moments = [TIME, TIME + timedelta(milliseconds=1), TIME + timedelta(days=400)]
    for number, moment in enumerate(moments):
        version = await write(ledger, row_of(vm, event_id="opened"), trigger(f"event-{number}", moment), version)
    await ledger.append(row_of(vm), trigger("late", TIME - timedelta(hours=1)))

    lines = await listed(ledger.history(vm))

    assert [line.event_id for line in lines] == ["event-2", "event-1", "event-0", "late"]
    assert [line.event_time for line in lines] == [*reversed(moments), TIME - timedelta(hours=1)]


async def test_overdue_rows_are_found_in_every_subscription(ledger: TableLedger) -> None:
    late, later, in_time, done = (new_vm(name) for name in ("late", "later", "in-time", "done"))
    await write(ledger, row_of(late, next_attempt_at=TIME - timedelta(milliseconds=1)), trigger(), None)
    await write(ledger, row_of(later, next_attempt_at=TIME - timedelta(days=9)), trigger(), None)
    await write(ledger, row_of(in_time, next_attempt_at=TIME), trigger(), None)
    await write(ledger, final(done), trigger(), None)

    assert {row.vm_name async for row in ledger.overdue(TIME)} == {"late", "later"}


@pytest.fixture
async def fleet(ledger: TableLedger) -> tuple[VmId, ...]:
    """Three VMs, two of them with the same name, and an outcome for each."""
    first = new_vm("web", "prod")
    vms = (first, replace(first, resource_group="test"), VmId(new_vm().subscription, "prod", "db"))
    outcomes = (Outcome.INSTALLED, Outcome.FAILED, Outcome.UNSUPPORTED)
    for vm, outcome in zip(vms, outcomes, strict=True):
        await write(ledger, final(vm, outcome), trigger(), None)
    return vms


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), {0, 1, 2}),
        (Selection(vm_name="WEB"), {0, 1}),
        (Selection(resource_group="PROD"), {0, 2}),
        (Selection(resource_group="prod", vm_name="Web"), {0}),
        (Selection(outcomes=(Outcome.FAILED,)), {1}),
        (Selection(outcomes=(Outcome.FAILED, Outcome.UNSUPPORTED)), {1, 2}),
        (Selection(outcomes=(Outcome.FAILED, Outcome.UNSUPPORTED), resource_group="prod"), {2}),
        (Selection(vm_name="web", outcomes=(Outcome.GONE,)), set()),
        (Selection(resource_group="pro"), set()),
    ],
)
async def test_rows_are_selected_by_name_and_outcome(
    ledger: TableLedger, fleet: tuple[VmId, ...], selection: Selection, found: set[int]
) -> None:
    expected = {fleet[number].key for number in found}
    rows = await listed(ledger.current(selection))
    assert {row.resource_id.lower() for row in rows} == expected
    assert await ledger.totals(selection) == Counter(row.outcome for row in rows)


async def test_totals_leave_out_outcomes_of_a_newer_version_with_a_warning(
    ledger: TableLedger, fleet: tuple[VmId, ...], table: TableClient, caplog: pytest.LogCaptureFixture
) -> None:
    entity = await table.get_entity(fleet[2].subscription, f"vm|prod|db|{OMS}")
    await table.update_entity({**entity, "Outcome": "Postponed"})

    assert await ledger.totals() == {Outcome.INSTALLED: 1, Outcome.FAILED: 1}
    assert "Postponed" in caplog.text


async def test_rows_are_selected_by_subscription(ledger: TableLedger, fleet: tuple[VmId, ...]) -> None:
    selection = Selection(subscription=fleet[2].subscription.upper())
    assert [row.vm_name async for row in ledger.current(selection)] == ["db"]


async def test_more_rows_than_a_page_holds_are_all_listed(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    base = await table.get_entity(vm.subscription, f"vm|shop-prod|web-01|{OMS}")
    more = [{**base, "RowKey": f"vm|shop-prod|web-{n:04}|{OMS}"} for n in range(1000)]
    for start in range(0, len(more), 100):
        await table.submit_transaction([("create", entity) for entity in more[start : start + 100]])

    assert len(await listed(ledger.current(Selection(subscription=vm.subscription)))) == 1001


@pytest.mark.parametrize(
    "change",
    [{"Outcome": "Postponed"}, {"Outcome": None}, {"ResourceId": None}, {"WaitingFor": "godot"}],
    ids=["unknown outcome", "no outcome", "no id", "unknown wait"],
)
async def test_an_unreadable_row_hides_no_others_and_is_logged(
    ledger: TableLedger, table: TableClient, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    good, bad = new_vm("good"), new_vm("bad")
    await write(ledger, row_of(good), trigger(), None)
    await write(ledger, row_of(bad), trigger(), None)
    entity = await table.get_entity(bad.subscription, f"vm|shop-prod|bad|{OMS}")
    await table.delete_entity(entity)
    await table.create_entity({name: change.get(name, value) for name, value in entity.items()})

    assert [row.vm_name async for row in ledger.current()] == ["good"]
    assert [row.vm_name async for row in ledger.overdue(TIME + timedelta(days=1))] == ["good"]
    assert f"vm|shop-prod|bad|{OMS}" in caplog.text


@pytest.mark.parametrize(
    "change",
    [{"Outcome": "Postponed"}, {"Outcome": None}, {"ResourceId": None}, {"NextAttemptAt": "soon"}, {"Attempt": "x"}],
    ids=["unknown outcome", "no outcome", "no id", "no time", "no number"],
)
async def test_an_unreadable_row_is_replaced_and_keeps_its_history(
    ledger: TableLedger, table: TableClient, change: dict[str, Any]
) -> None:
    vm = new_vm("bad")
    await write(ledger, row_of(vm, attempt=1), trigger("before"), None)
    entity = await table.get_entity(vm.subscription, f"vm|shop-prod|bad|{OMS}")
    await table.delete_entity(entity)
    await table.create_entity({name: change.get(name, value) for name, value in entity.items()})

    known = await ledger.read(vm)
    assert known.targets == {}
    await write(ledger, row_of(vm, reason="anew"), trigger("after"), known.version(OMS))

    assert (await rows(ledger, vm))[OMS].row.reason == "anew"
    assert len(await listed(ledger.history(vm))) == 2


async def test_unknown_keys_are_ignored(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    for key in (f"vm|shop-prod|web-01|{OMS}|more", "vm|shop-prod|web-01|x|y|z"):
        await table.create_entity({"PartitionKey": vm.subscription, "RowKey": key, "Outcome": "Installed"})

    assert set(await rows(ledger, vm)) == {OMS}


async def test_columns_of_a_newer_version_stay_when_a_row_is_written(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    keys = [f"vm|shop-prod|web-01|{OMS}", "vm|shop-prod|web-01|"]
    news = {"Steps": "identity: done", "Shoesize": (2**40, "Edm.Int64"), "Since": TIME, "Big": b"\x00\x01"}
    for key in keys:
        await table.update_entity({"PartitionKey": vm.subscription, "RowKey": key, **news})

    known = await ledger.read(vm)
    stored, own = known.targets[OMS], known.machine
    assert own is not None
    entry = RowWrite(row_of(vm, reason="later"), stored.version, rest=stored.rest)
    await ledger.commit(own.row, own.version, [entry], trigger("event-2"), rest=own.rest)

    for key in keys:
        entity = await table.get_entity(vm.subscription, key)
        assert (entity["Steps"], entity["Big"], entity["Shoesize"].value) == ("identity: done", b"\x00\x01", 2**40)
        assert entity["Since"] == TIME
    assert (await rows(ledger, vm))[OMS].row.reason == "later"


async def test_rows_with_columns_of_a_newer_version_are_read(ledger: TableLedger, table: TableClient) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    entity = await table.get_entity(vm.subscription, f"vm|shop-prod|web-01|{OMS}")
    await table.update_entity({**entity, "Shoesize": 43})

    assert (await rows(ledger, vm))[OMS].row == row_of(vm)


async def test_columns_of_a_newer_version_stay_when_a_claim_is_taken_back(
    ledger: TableLedger, table: TableClient
) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    own_key = "vm|shop-prod|web-01|"
    await table.update_entity({"PartitionKey": vm.subscription, "RowKey": own_key, "Steps": "identity: done"})
    known = await ledger.read(vm)
    own, stored = known.machine, known.targets[OMS]
    assert own is not None
    claimed = RowWrite(row_of(vm, reason="claimed"), stored.version, history=False)
    versions = await ledger.commit(own.row, own.version, [claimed], trigger("claim"), rest=own.rest)

    await ledger.undo(own.row, versions.machine, OMS, stored, versions.targets[OMS], rest=own.rest)

    assert (await table.get_entity(vm.subscription, own_key))["Steps"] == "identity: done"
    assert (await rows(ledger, vm))[OMS].row == stored.row


async def test_a_final_outcome_is_in_the_outbox_until_it_is_published(table: OnboardingTable) -> None:
    ledger, vm = TableLedger(table, outbox=True), new_vm()
    done = final(vm)
    await write(ledger, row_of(vm), trigger("event-1"), None)
    version = (await rows(ledger, vm))[OMS].version
    await write(ledger, done, trigger("event-2"), version)

    assert await listed(ledger.unpublished(TIME + timedelta(days=1))) == [done]
    assert await listed(ledger.unpublished(TIME)) == []

    await ledger.mark_published(done)
    await ledger.mark_published(done)
    assert await listed(ledger.unpublished(TIME + timedelta(days=1))) == []
    assert (await rows(ledger, vm))[OMS].row == done


async def test_without_publishing_the_outbox_stays_empty(ledger: TableLedger, table: TableClient) -> None:
    await write(ledger, final(new_vm()), trigger(), None)

    assert not [entity async for entity in table.list_entities() if entity["RowKey"].startswith("untold")]
