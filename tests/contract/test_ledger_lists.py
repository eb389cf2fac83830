"""The lists of the ledger, in memory and on a real table: history, overdue and current rows, summaries, the outbox."""

from __future__ import annotations

from collections import Counter
from copy import replace
from datetime import timedelta

import pytest

from onboarding.application.ports import MachineRows, RowWrite
from onboarding.domain.reconcile.drift import RowSummary
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import Outcome, Selection
from onboarding.domain.resource_id import VmId
from tests.adapters.storage.rows import OMS, TIME, claim, final, listed, new_vm, row_of, rows, trigger, write
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
    assert await listed(ledger.unpublished(LATER)) == []


async def test_overdue_rows_are_found_in_every_subscription(ledger: LedgerOfAll) -> None:
    late, later, in_time, done = (new_vm(name) for name in ("late", "later", "in-time", "done"))
    await write(ledger, row_of(late, next_attempt_at=TIME - timedelta(milliseconds=1)), trigger(), None)
    await write(ledger, row_of(later, next_attempt_at=TIME - timedelta(days=9)), trigger(), None)
    await write(ledger, row_of(in_time, next_attempt_at=TIME), trigger(), None)
    await write(ledger, final(done), trigger(), None)

    assert {row.vm_name async for row in ledger.overdue(TIME)} == {"late", "later"}


@pytest.fixture
async def fleet(ledger: LedgerOfAll) -> tuple[VmId, ...]:
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
        (Selection(resource_group="o'brien", vm_name="'"), set()),
    ],
)
async def test_rows_are_selected_by_name_and_outcome(
    ledger: LedgerOfAll, fleet: tuple[VmId, ...], selection: Selection, found: set[int]
) -> None:
    expected = {fleet[number].key for number in found}
    rows = await listed(ledger.current(selection))
    assert {row.resource_id.lower() for row in rows} == expected
    assert await ledger.totals(selection) == Counter(row.outcome for row in rows)


async def test_rows_are_selected_by_subscription(ledger: LedgerOfAll, fleet: tuple[VmId, ...]) -> None:
    selection = Selection(subscription=fleet[2].subscription.upper())
    assert [row.vm_name async for row in ledger.current(selection)] == ["db"]
    assert await ledger.totals(selection) == {Outcome.UNSUPPORTED: 1}


async def test_the_summaries_of_a_subscription_have_what_the_sweep_compares(ledger: LedgerOfAll) -> None:
    vm, other = new_vm(), new_vm()
    row = final(
        vm, policy="p", policy_hash="0123456789abcdef", vm_id="id", extension_name="OMSExtension", step="association"
    )
    open_row = row_of(vm, extension="another", event_time=TIME)
    for each in (row, open_row, final(other)):
        await write(ledger, each, trigger(), None)

    for subscription in (vm.subscription, vm.subscription.upper()):
        found = [(resource_id, summary) async for resource_id, summary in ledger.summaries(subscription)]
        assert {resource_id for resource_id, _ in found} == {str(vm)}
        assert {summary.extension: summary for _, summary in found} == {
            each.extension: RowSummary.of(each) for each in (row, open_row)
        }


async def test_an_unreadable_row_is_in_no_list(backend: Backend) -> None:
    ledger, good, bad = backend.ledger, new_vm("good"), new_vm("bad")
    for vm in (good, bad):
        await write(ledger, row_of(vm), trigger(), None)
    await backend.spoil(bad, OMS)

    assert [row.vm_name async for row in ledger.current()] == ["good"]
    assert [row.vm_name async for row in ledger.overdue(LATER)] == ["good"]
    assert await ledger.totals() == {Outcome.WAITING: 1}
    assert [each async for each in ledger.summaries(bad.subscription)] == []


async def test_a_final_outcome_is_in_the_outbox_until_it_is_published(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    done = final(vm)
    await write(ledger, row_of(vm), trigger("event-1"), None)
    version = (await rows(ledger, vm))[OMS].version
    await write(ledger, done, trigger("event-2"), version)

    assert done.finished_at is not None
    assert await listed(ledger.unpublished(LATER)) == [done]
    assert await listed(ledger.unpublished(done.finished_at + timedelta(milliseconds=1))) == [done]
    assert await listed(ledger.unpublished(done.finished_at)) == []

    await ledger.mark_published(replace(done, resource_id=str(vm).upper()))
    await ledger.mark_published(done)
    assert await listed(ledger.unpublished(LATER)) == []
    assert (await rows(ledger, vm))[OMS].row == done


async def test_every_outcome_of_a_row_is_published_by_itself(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    first, second = final(vm, Outcome.FAILED), final(vm, finished_at=TIME + timedelta(hours=2))
    version = await write(ledger, first, trigger("event-1"), None)
    await write(ledger, second, trigger("event-2"), version)

    assert {row.outcome async for row in ledger.unpublished(LATER)} == {Outcome.FAILED, Outcome.INSTALLED}
    await ledger.mark_published(second)
    assert await listed(ledger.unpublished(LATER)) == [first]


async def test_a_final_row_that_is_written_without_history_is_not_published_again(ledger: LedgerOfAll) -> None:
    """A row that only got another policy hash says nothing new to anybody."""
    vm = new_vm()
    version = await write(ledger, final(vm), trigger("event-1"), None)
    await ledger.mark_published(final(vm))

    await write(ledger, final(vm, policy_hash="another"), trigger("event-2"), version, history=False)

    assert await listed(ledger.unpublished(LATER)) == []


async def test_a_claim_takes_no_unpublished_outcome_away(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, final(vm), trigger("event-1"), None)

    await claim(ledger, row_of(vm), version)

    assert await listed(ledger.unpublished(LATER)) == [final(vm)]


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
