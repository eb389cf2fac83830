"""The pages of the ledger for people, in memory and on a real table: names, and the rows to which index rows lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from copy import replace
from datetime import timedelta

import pytest

from onboarding.application.ports import RowPage
from onboarding.domain.reconcile.row import Outcome, Row, Selection, WaitingFor
from onboarding.domain.reconcile.row_totals import Activity, RowKind, Totals
from tests.adapters.storage.rows import OMS, TIME, final, new_vm, row_of, trigger, write
from tests.contract.backends import Backend, LedgerOfAll


@pytest.fixture
def ledger(backend: Backend) -> LedgerOfAll:
    return backend.ledger


async def all_of(read: Callable[[str], Awaitable[RowPage]]) -> list[Row]:
    page = await read("")
    rows = list(page.rows)
    while page.following:
        page = await read(page.following)
        rows += page.rows
    return rows


@pytest.mark.parametrize(
    ("group", "prefix", "found"),
    [
        ("shop", "web", ["web", "Web-01", "web-ü"]),
        ("shop", "WEB-", ["Web-01", "web-ü"]),
        ("", "web", ["web", "Web-01", "web-ü", "web"]),
        ("shop", "o'", []),
        ("shop", "w", ["web", "Web-01", "web-ü"]),
    ],
)
async def test_machines_are_found_by_what_their_name_begins_with(
    ledger: LedgerOfAll, group: str, prefix: str, found: list[str]
) -> None:
    one = new_vm("web", "shop")
    for name in ("web", "Web-01", "web-ü", "db", "vweb"):
        await write(ledger, final(replace(one, name=name)), trigger(), None)
    await write(ledger, final(replace(one, resource_group="test")), trigger(), None)
    selection = Selection(subscription=one.subscription, resource_group=group, vm_prefix=prefix)

    rows = await all_of(lambda place: ledger.page(selection, place, 2))

    assert Counter(row.vm_name for row in rows) == Counter(found)
    assert sum((await ledger.count(selection)).values()) == len(found)


async def test_what_needs_a_person_is_read_by_pages(ledger: LedgerOfAll) -> None:
    vm = new_vm("web", "b")
    failed = [replace(vm, name=f"web{number}") for number in range(5)]
    for each in failed:
        await write(ledger, final(each, Outcome.FAILED), trigger(), None)
        await write(ledger, final(each, Outcome.UNDETERMINED, extension="another"), trigger(), None)
    await write(ledger, final(replace(vm, name="done")), trigger(), None)
    await write(ledger, final(replace(vm, resource_group="a"), Outcome.FAILED), trigger(), None)
    await write(ledger, final(new_vm(), Outcome.FAILED), trigger(), None)
    everywhere = Selection(subscription=vm.subscription.upper())

    rows = await all_of(lambda place: ledger.attention_page(everywhere, place, 3))
    assert [row.resource_group for row in rows] == ["a"] + ["b"] * 10

    in_b = Selection(subscription=vm.subscription, resource_group="B", outcomes=(Outcome.FAILED,))
    rows = await all_of(lambda place: ledger.attention_page(in_b, place, 3))
    assert [row.vm_name for row in rows] == [each.name for each in failed]
    one = Selection(subscription=vm.subscription, vm_prefix="web3")
    assert len(await all_of(lambda place: ledger.attention_page(one, place, 100))) == 2


async def test_a_row_that_has_ended_well_is_on_no_page_of_what_needs_a_person(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, final(vm, Outcome.FAILED), trigger("event-1"), None)
    await write(ledger, final(vm), trigger("event-2"), version)
    assert (await ledger.attention_page(Selection(subscription=vm.subscription))).rows == []


async def test_open_rows_are_read_by_pages_the_earliest_check_first(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    moments = {"c": 1, "a": 2, "b": 3, "d": 4}
    for name, hours in moments.items():
        due = TIME + timedelta(hours=hours)
        await write(ledger, row_of(replace(vm, name=name), next_attempt_at=due), trigger(), None, check=due)
    await write(ledger, final(replace(vm, name="done")), trigger(), None)

    rows = await all_of(lambda place: ledger.open_page(Selection(subscription=vm.subscription), place, 3))

    assert [row.vm_name for row in rows] == list(moments)
    assert {row.waiting_for for row in rows} == {WaitingFor.VM_RUNNING}


async def test_a_machine_whose_check_moved_is_on_one_page(ledger: LedgerOfAll) -> None:
    vm, version = new_vm(), None
    for hours in (1, 2, 3):
        due = TIME + timedelta(hours=hours)
        row = row_of(vm, next_attempt_at=due)
        version = await write(ledger, row, trigger(f"event-{hours}"), version, check=due)

    rows = await all_of(lambda place: ledger.open_page(Selection(subscription=vm.subscription), place, 1))
    assert [row.next_attempt_at for row in rows] == [TIME + timedelta(hours=3)]


@pytest.mark.parametrize("begin", ["nonsense", "&"])
async def test_a_page_of_an_index_does_not_begin_at_a_place_that_was_made_up(ledger: LedgerOfAll, begin: str) -> None:
    vm = new_vm()
    for read in (ledger.attention_page, ledger.open_page):
        with pytest.raises(ValueError, match=r"not where a page|bad query"):
            await read(Selection(subscription=vm.subscription), begin)


async def test_the_totals_keep_what_rows_say_of_events_and_times(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    done = final(vm, event_id="0b3c", event_time=TIME, duration_ms=84_000)
    found = final(vm, extension="b", event_id="sweep.missed.20261120t091407.331820z", duration_ms=1, event_time=TIME)
    late = row_of(vm, extension="c", event_id="1f00", event_time=TIME + timedelta(hours=1))
    for row in (done, found, late):
        await write(ledger, row, trigger(), None)
    activity = Activity()
    _ = [each async for each in ledger.summaries(vm.subscription, activity=activity)]

    assert activity.last_event == TIME + timedelta(hours=1)
    assert activity.opened == {"event": 2, "sweep.missed": 1}
    assert 84 <= (activity.seconds(0.5) or 0) <= 84 * 1.05

    kind = RowKind("p", OMS, Outcome.INSTALLED, "", "")
    await ledger.write_totals(Totals(vm.subscription, TIME, {kind: 1}, activity=activity))
    (read,) = [totals async for totals in ledger.totals(vm.subscription, TIME.date())]
    assert read.activity == activity


async def test_messages_are_counted(backend: Backend) -> None:
    assert (await backend.poison.count(), await backend.poison.backlog()) == (0, 0)
    await backend.fail("not a message", "another")
    assert await backend.poison.count() == 2
