"""The lists of the ledger, in memory and on a real table: history, overdue and current rows, summaries, the outbox."""

from __future__ import annotations

from collections import Counter
from copy import replace
from datetime import timedelta

import pytest

from onboarding.application.ports import MachineRows, RowWrite, ScheduledCheck
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.reconcile.row_totals import RowKind, Totals
from onboarding.domain.resource_id import VmId
from tests.adapters.storage.rows import (
    OMS,
    TIME,
    claim,
    final,
    listed,
    new_vm,
    row_of,
    rows,
    trigger,
    write,
    write_fleet,
)
from tests.contract.backends import Backend, LedgerOfAll

LATER = TIME + timedelta(days=1)


@pytest.fixture
def ledger(backend: Backend) -> LedgerOfAll:
    return backend.ledger


async def test_the_history_has_the_newest_line_first_with_what_triggered_it(ledger: LedgerOfAll) -> None:
    vm, version = new_vm(), None
    moments = [TIME, TIME + timedelta(milliseconds=1), TIME + timedelta(days=400)]
    for number, moment in enumerate(moments):
        version = await write(ledger, row_of(vm, event_id="opened"), trigger(f"event-{number}", moment), version)
    await ledger.append(row_of(vm), trigger("late", TIME - timedelta(hours=1)))

    lines = await listed(ledger.history(vm))

    assert [line.event_id for line in lines] == ["event-2", "event-1", "event-0", "late"]
    assert [line.event_time for line in lines] == [*reversed(moments), TIME - timedelta(hours=1)]
    assert {line.correlation_id for line in lines} == {"correlation-1"}


async def test_a_line_of_history_is_written_without_a_current_row_and_over_itself(ledger: LedgerOfAll) -> None:
    vm = new_vm()

    for reason in ("first", "again"):
        await ledger.append(row_of(vm, reason=reason), trigger())
    await ledger.append(row_of(vm, reason="the same event at another time"), trigger(time=LATER))

    assert [line.reason async for line in ledger.history(vm)] == ["the same event at another time", "again"]
    assert await rows(ledger, vm) == {}
    assert await listed(ledger.current()) == []


async def test_the_last_row_of_an_earlier_machine_gets_a_line_of_its_own(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    ended = final(vm, Outcome.GONE, vm_id="the first")
    entry = RowWrite(row_of(vm, vm_id="the second"), ended=ended)

    await ledger.commit(MachineRow(resource_id=str(vm)), None, [entry], trigger())

    lines = {line.event_id: line.vm_id async for line in ledger.history(vm)}
    assert lines == {"event-1": "the second", "event-1.ended": "the first"}
    assert [row.vm_id async for row in ledger.current()] == ["the second"]
    assert await listed(ledger.unpublished(vm.subscription, LATER)) == []


async def test_the_overdue_rows_of_a_subscription_are_found_the_earliest_minute_first(ledger: LedgerOfAll) -> None:
    late = new_vm("late")
    later, just, in_time, done = (replace(late, name=name) for name in ("a-later", "just", "in-time", "done"))
    other = new_vm("other")
    due = {late: TIME - timedelta(hours=1), later: TIME - timedelta(minutes=9), just: TIME - timedelta(milliseconds=1)}
    for vm, moment in {**due, in_time: TIME, other: TIME - timedelta(days=9)}.items():
        await write(ledger, row_of(vm, next_attempt_at=moment), trigger(), None)
    await write(ledger, final(done), trigger(), None)

    for subscription in (late.subscription, late.subscription.upper()):
        found = await listed(ledger.overdue(subscription, TIME))
        assert {each.vm.name for each in found} == {"late", "a-later", "just"}
    assert [each.vm.name async for each in ledger.overdue(other.subscription, TIME)] == ["other"]


async def test_a_row_that_waits_on_or_ends_is_overdue_no_more(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm, next_attempt_at=TIME - timedelta(hours=1)), trigger("event-1"), None)
    waits = row_of(vm, next_attempt_at=TIME + timedelta(hours=1))
    version = await write(ledger, waits, trigger("event-2"), version)
    assert await listed(ledger.overdue(vm.subscription, TIME)) == []
    assert await listed(ledger.overdue(vm.subscription, LATER)) == [ScheduledCheck(vm, TIME + timedelta(hours=1))]

    version = await write(ledger, final(vm), trigger("event-3"), version)
    assert await listed(ledger.overdue(vm.subscription, LATER)) == []
    await write(ledger, waits, trigger("event-4"), version)
    assert await listed(ledger.overdue(vm.subscription, LATER)) == [ScheduledCheck(vm, TIME + timedelta(hours=1))]


async def test_a_machine_has_one_check_however_many_rows_wait_for_it_or_for_later(ledger: LedgerOfAll) -> None:
    vm, check = new_vm(), TIME - timedelta(hours=1)
    second = replace(vm, name="web-02")
    for each in (vm, second):
        entries = [
            RowWrite(row_of(each, extension=f"e{hours}", next_attempt_at=check + timedelta(hours=hours)))
            for hours in range(3)
        ]
        await ledger.commit(MachineRow(resource_id=str(each), next_attempt_at=check), None, entries, trigger())

    found = await listed(ledger.overdue(vm.subscription, LATER))
    assert sorted(found, key=str) == [ScheduledCheck(vm, check), ScheduledCheck(second, check)]
    assert await listed(ledger.overdue(vm.subscription, check)) == []


async def test_a_row_that_waits_for_an_earlier_moment_than_the_machines_check_is_found_by_its_own(
    ledger: LedgerOfAll,
) -> None:
    """A version that does not know the machine's check left it as it was."""
    vm = new_vm()
    early, check = TIME - timedelta(hours=1), TIME + timedelta(hours=1)
    await write(ledger, row_of(vm, next_attempt_at=early), trigger(), None, check=check)

    assert await listed(ledger.overdue(vm.subscription, TIME)) == [ScheduledCheck(vm, early)]
    found = await listed(ledger.overdue(vm.subscription, LATER))
    assert found == [ScheduledCheck(vm, early), ScheduledCheck(vm, check)]


async def test_a_check_that_moves_or_ends_is_overdue_no_more(ledger: LedgerOfAll) -> None:
    vm, first, second = new_vm(), TIME - timedelta(hours=1), TIME + timedelta(hours=1)
    version = await write(ledger, row_of(vm, next_attempt_at=first), trigger("event-1"), None, check=first)
    version = await write(ledger, row_of(vm, next_attempt_at=second), trigger("event-2"), version, check=second)
    assert await listed(ledger.overdue(vm.subscription, TIME)) == []
    assert await listed(ledger.overdue(vm.subscription, LATER)) == [ScheduledCheck(vm, second)]
    await write(ledger, final(vm), trigger("event-3"), version)
    assert await listed(ledger.overdue(vm.subscription, LATER)) == []


async def test_a_claim_that_is_taken_back_leaves_the_row_as_overdue_as_it_was(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    row = row_of(vm, next_attempt_at=TIME - timedelta(hours=1))
    await write(ledger, row, trigger(), None)
    before = (await rows(ledger, vm))[OMS]
    at = await claim(ledger, row_of(vm, next_attempt_at=TIME + timedelta(minutes=4)), before.version)
    assert await listed(ledger.overdue(vm.subscription, TIME)) == []

    own = (await ledger.read(vm)).machine
    assert own is not None
    await ledger.undo(own.row, own.version, OMS, before, at)

    assert await listed(ledger.overdue(vm.subscription, TIME)) == [ScheduledCheck(vm, TIME - timedelta(hours=1))]


async def test_only_the_final_rows_that_need_a_person_want_attention(ledger: LedgerOfAll) -> None:
    vm, other = new_vm(), new_vm()
    versions = {}
    for outcome in Outcome:
        row = final(vm, outcome, extension=outcome) if outcome.final else row_of(vm, outcome=outcome, extension=outcome)
        versions[outcome] = await write(ledger, row, trigger(f"event-{outcome}"), None)
    await write(ledger, final(other, Outcome.FAILED), trigger(), None)

    wanted = {row.outcome async for row in ledger.attention(vm.subscription.upper())}
    assert wanted == {Outcome.FAILED, Outcome.UNDETERMINED}

    repaired = final(vm, extension=Outcome.FAILED)
    await write(ledger, repaired, trigger("repaired"), versions[Outcome.FAILED])
    assert {row.outcome async for row in ledger.attention(vm.subscription)} == {Outcome.UNDETERMINED}
    assert {row.outcome async for row in ledger.attention(other.subscription)} == {Outcome.FAILED}


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_rows_come_in_pages_that_follow_each_other(ledger: LedgerOfAll, most: int) -> None:
    first, other = new_vm("a"), new_vm("b")
    vms = [first, *(replace(first, name=f"vm-{number}") for number in range(4)), other]
    for vm in vms:
        outcome = Outcome.FAILED if vm.name in ("a", "vm-2") else Outcome.INSTALLED
        await write(ledger, final(vm, outcome), trigger(), None)

    async def names(selection: Selection) -> list[str]:
        page = await ledger.page(selection, most=most)
        found = [row.vm_name for row in page.rows]
        while page.following:
            page = await ledger.page(selection, page.following, most)
            assert len(page.rows) <= most
            found += [row.vm_name for row in page.rows]
        return found

    mine = Selection(subscription=first.subscription.upper())
    assert await names(mine) == ["a", "vm-0", "vm-1", "vm-2", "vm-3"]
    assert await names(replace(mine, outcomes=(Outcome.FAILED,))) == ["a", "vm-2"]
    assert sorted(await names(Selection())) == ["a", "b", "vm-0", "vm-1", "vm-2", "vm-3"]
    assert await names(Selection(subscription=new_vm().subscription)) == []


@pytest.mark.parametrize("begin", ["nonsense", "NextRowKey=x", "subscription="])
async def test_a_page_does_not_begin_at_a_place_that_was_made_up(ledger: LedgerOfAll, begin: str) -> None:
    await write(ledger, final(new_vm()), trigger(), None)
    with pytest.raises(ValueError, match=r"not where a page|bad query"):
        await ledger.page(begin=begin)


async def test_totals_are_kept_one_a_day(ledger: LedgerOfAll) -> None:
    vm, other = new_vm(), new_vm()
    kind = RowKind("50% of 'a'", OMS, Outcome.FAILED, "throttled", "")
    waits = RowKind("", "another", Outcome.WAITING, "", "vm-running")
    days = [
        Totals(vm.subscription, TIME + timedelta(days=number), {kind: number + 1, waits: 2}, TIME)
        for number in range(3)
    ]
    for totals in (*days, replace(days[1], counts={kind: 7}, indexed_at=None)):
        await ledger.write_totals(totals)
    await ledger.write_totals(Totals(other.subscription, TIME, {}))

    found = [totals async for totals in ledger.totals(vm.subscription.upper(), TIME.date())]
    assert found == [days[0], replace(days[1], counts={kind: 7}, indexed_at=None), days[2]]
    assert [each.at async for each in ledger.totals(vm.subscription, days[2].day)] == [days[2].at]
    assert [each async for each in ledger.totals(vm.subscription, days[2].day + timedelta(days=1))] == []
    assert [each.counts async for each in ledger.totals(other.subscription, TIME.date())] == [{}]


@pytest.fixture
async def fleet(ledger: LedgerOfAll) -> tuple[VmId, ...]:
    return await write_fleet(ledger)


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
        (Selection(resource_group="o'brien", vm_name="'"), set()),
    ],
)
async def test_rows_are_selected_by_name_and_outcome(
    ledger: LedgerOfAll, fleet: tuple[VmId, ...], selection: Selection, found: set[int]
) -> None:
    expected = {fleet[number].key for number in found}
    rows = await listed(ledger.current(selection))
    assert {row.resource_id.lower() for row in rows} == expected
    assert await ledger.count(selection) == Counter(RowSummary.of(row).kind for row in rows)


async def test_rows_are_selected_by_subscription(ledger: LedgerOfAll, fleet: tuple[VmId, ...]) -> None:
    selection = Selection(subscription=fleet[2].subscription.upper())
    assert [row.vm_name async for row in ledger.current(selection)] == ["db"]
    assert await ledger.count(selection) == {RowKind("", OMS, Outcome.UNSUPPORTED, "", ""): 1}


@pytest.mark.parametrize("index", [False, True])
async def test_the_summaries_of_a_subscription_have_what_the_sweep_compares(ledger: LedgerOfAll, index: bool) -> None:
    vm, other = new_vm(), new_vm()
    row = final(
        vm, policy="p", policy_hash="0123456789abcdef", vm_id="id", extension_name="OMSExtension", step="association"
    )
    failed = final(vm, Outcome.FAILED, extension="third", error_code="429", cause="throttled")
    open_row = row_of(vm, extension="another", event_time=TIME)
    for each in (row, open_row, failed, final(other)):
        await write(ledger, each, trigger(), None)

    for subscription in (vm.subscription, vm.subscription.upper()):
        read = ledger.summaries(subscription, index=index)
        found = [(resource_id, summary) async for resource_id, summary in read]
        assert {resource_id for resource_id, _ in found} == {str(vm)}
        assert {summary.extension: summary for _, summary in found} == {
            each.extension: RowSummary.of(each) for each in (row, open_row, failed)
        }


async def test_an_unreadable_row_is_in_no_list(backend: Backend) -> None:
    ledger, good, bad = backend.ledger, new_vm("good"), new_vm("bad")
    for vm in (good, bad):
        await write(ledger, row_of(vm), trigger(), None)
    await backend.spoil(bad, OMS)

    assert [row.vm_name async for row in ledger.current()] == ["good"]
    assert [each.vm.name async for each in ledger.overdue(good.subscription, LATER)] == ["good"]
    assert await listed(ledger.overdue(bad.subscription, LATER)) == []
    assert await ledger.count() == {RowKind("", OMS, Outcome.WAITING, "", "vm-running"): 1}
    assert [each async for each in ledger.summaries(bad.subscription, index=True)] == []


async def test_a_final_outcome_is_in_the_outbox_until_it_is_published(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    done = final(vm)
    await write(ledger, row_of(vm), trigger("event-1"), None)
    version = (await rows(ledger, vm))[OMS].version
    await write(ledger, done, trigger("event-2"), version)

    assert done.finished_at is not None
    assert await listed(ledger.unpublished(vm.subscription, LATER)) == [done]
    assert await listed(ledger.unpublished(vm.subscription, done.finished_at + timedelta(milliseconds=1))) == [done]
    assert await listed(ledger.unpublished(vm.subscription, done.finished_at)) == []

    await ledger.mark_published(replace(done, resource_id=str(vm).upper()))
    await ledger.mark_published(done)
    assert await listed(ledger.unpublished(vm.subscription, LATER)) == []
    assert (await rows(ledger, vm))[OMS].row == done


async def test_every_outcome_of_a_row_is_published_by_itself(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    first, second = final(vm, Outcome.FAILED), final(vm, finished_at=TIME + timedelta(hours=2))
    version = await write(ledger, first, trigger("event-1"), None)
    await write(ledger, second, trigger("event-2"), version)

    assert {row.outcome async for row in ledger.unpublished(vm.subscription, LATER)} == {
        Outcome.FAILED,
        Outcome.INSTALLED,
    }
    await ledger.mark_published(second)
    assert await listed(ledger.unpublished(vm.subscription, LATER)) == [first]


async def test_a_final_row_that_is_written_without_history_is_not_published_again(ledger: LedgerOfAll) -> None:
    """A row that only got another policy hash says nothing new to anybody."""
    vm = new_vm()
    version = await write(ledger, final(vm), trigger("event-1"), None)
    await ledger.mark_published(final(vm))

    await write(ledger, final(vm, policy_hash="another"), trigger("event-2"), version, history=False)

    assert await listed(ledger.unpublished(vm.subscription, LATER)) == []


async def test_a_claim_takes_no_unpublished_outcome_away(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, final(vm), trigger("event-1"), None)

    await claim(ledger, row_of(vm), version)

    assert await listed(ledger.unpublished(vm.subscription, LATER)) == [final(vm)]


# Rows that are older than they are kept.


async def pruned(ledger: LedgerOfAll, subscription: str, after: str = "") -> int:
    """Delete what is older than an hour before `TIME`; returns how many rows were deleted."""
    return sum([step.rows async for step in ledger.prune(subscription, TIME - timedelta(hours=1), after)])


async def test_the_subscriptions_with_rows_follow_each_other(ledger: LedgerOfAll) -> None:
    vms = [new_vm() for _ in range(3)]
    await write(ledger, row_of(vms[0]), trigger(), None)
    await ledger.append(row_of(vms[1]), trigger())
    await ledger.commit(MachineRow(resource_id=str(vms[2])), None, [], trigger())

    found = [await ledger.next_subscription("")]
    while found[-1]:
        found.append(await ledger.next_subscription(found[-1]))

    assert found == [*sorted(vm.subscription for vm in vms), ""]


async def test_old_lines_of_history_are_deleted_and_current_rows_stay(ledger: LedgerOfAll) -> None:
    vm, other = new_vm(), new_vm()
    for each in (vm, other):
        await ledger.append(row_of(each), trigger("old", TIME - timedelta(hours=2)))
        await ledger.append(row_of(each), trigger("kept", TIME - timedelta(hours=1)))
    await write(ledger, final(vm, finished_at=TIME - timedelta(days=9)), trigger(), None)

    assert await pruned(ledger, vm.subscription) == 1

    assert [line.event_id async for line in ledger.history(vm)] == ["event-1", "kept"]
    assert [line.event_id async for line in ledger.history(other)] == ["kept", "old"]
    assert set(await rows(ledger, vm)) == {OMS}
    assert await pruned(ledger, vm.subscription) == 0


async def test_old_totals_are_deleted(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    for days in (400, 2, 1, 0):
        await ledger.write_totals(Totals(vm.subscription, TIME - timedelta(days=days), {}))

    assert await pruned(ledger, vm.subscription) == 3
    assert [each.at async for each in ledger.totals(vm.subscription, TIME.date() - timedelta(days=999))] == [TIME]


@pytest.mark.parametrize("rest", ["gone", "gone late", "installed", "waiting", "unreadable"])
async def test_a_machine_is_deleted_when_all_its_rows_have_been_gone_for_long(backend: Backend, rest: str) -> None:
    ledger, vm, old = backend.ledger, new_vm(), TIME - timedelta(days=9)
    others = {
        "gone": final(vm, Outcome.GONE, finished_at=old, extension="another"),
        "gone late": final(vm, Outcome.GONE, finished_at=TIME, extension="another"),
        "installed": final(vm, finished_at=old, extension="another"),
        "waiting": row_of(vm, extension="another"),
        "unreadable": final(vm, Outcome.GONE, finished_at=old, extension="another"),
    }
    entries = [RowWrite(final(vm, Outcome.GONE, finished_at=old)), RowWrite(others[rest])]
    await ledger.commit(MachineRow(resource_id=str(vm)), None, entries, trigger())
    if rest == "unreadable":
        await backend.spoil(vm, "another")
    before = await ledger.read(vm)

    assert await pruned(ledger, vm.subscription) == (3 if rest == "gone" else 0)

    after = await ledger.read(vm)
    assert after == (MachineRows() if rest == "gone" else before)


async def test_pruning_goes_on_after_a_place(ledger: LedgerOfAll) -> None:
    first = new_vm("a")
    for vm in (first, replace(first, name="b")):
        await ledger.append(row_of(vm), trigger("old", TIME - timedelta(days=9)))
    steps = [step async for step in ledger.prune(first.subscription, TIME)]
    assert sum(step.rows for step in steps) == 2

    await ledger.append(row_of(first), trigger("old", TIME - timedelta(days=9)))
    assert await pruned(ledger, first.subscription, steps[-1].after) == 0
    assert await pruned(ledger, first.subscription) == 1
