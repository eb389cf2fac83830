"""The lines of history of changes, in memory and on a real table: written with the rows, taken back, listed."""

from __future__ import annotations

from copy import replace
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest

from onboarding.application.ports import RowWrite
from onboarding.domain.errors import LostRace
from onboarding.domain.reconcile.change import Answer, Change, HistoryLine
from onboarding.domain.reconcile.machine_row import MachineRow
from onboarding.domain.reconcile.row import EVERYTHING, Outcome, Selection, WaitingFor
from onboarding.domain.resource_id import VmId
from tests.adapters.storage.rows import OMS, TIME, final, listed, new_vm, row_of, trigger
from tests.contract.backends import Backend, LedgerOfAll

DAY = timedelta(days=1)
WHOLE: dict[str, Any] = {
    "subject": "OMSExtension",
    "attempt": 2,
    "policy": "linux",
    "policy_hash": "abc",
    "reason": "no extension was found",
    "client_request_id": "11111111-2222",
    "by": "33333333-4444",
    "answer": Answer.REFUSED,
    "error_code": "Conflict",
    "message": "another operation is under way",
    "correlation_id": "55555555-6666",
}


@pytest.fixture
def ledger(backend: Backend) -> LedgerOfAll:
    return backend.ledger


def change_of(vm: VmId, step: str = "extension", **columns: Any) -> Change:
    usual: dict[str, Any] = {"extension": OMS, "event_id": "event-1", "event_time": TIME, "sent_at": TIME}
    return Change(**{"resource_id": str(vm), "step": step, **usual, **columns})


async def commit(ledger: LedgerOfAll, vm: VmId, *changes: Change, history: bool = False) -> None:
    own = (await ledger.read(vm)).machine
    entries = [RowWrite(final(vm, client_request_id="11111111-2222", error_code="51"))] if history else []
    machine, version = MachineRow(resource_id=str(vm)), own.version if own else None
    await ledger.commit(machine, version, entries, trigger(), changes=changes)


async def found(ledger: LedgerOfAll, vm: VmId, selection: Selection = EVERYTHING, **since: Any) -> list[Change]:
    lines = await listed(ledger.changes(vm.subscription, selection, since.get("since", TIME - DAY)))
    return [line for line in lines if isinstance(line, Change)]


async def test_a_change_is_read_back_as_it_was_written_in_the_transaction_of_its_rows(
    ledger: LedgerOfAll, caplog: pytest.LogCaptureFixture
) -> None:
    vm = new_vm()
    change = change_of(vm, **WHOLE)
    await commit(ledger, vm, change, history=True)

    lines = await listed(ledger.changes(vm.subscription.upper(), EVERYTHING, TIME))

    line = HistoryLine(str(vm), OMS, Outcome.INSTALLED, None, "51", "11111111-2222", "", TIME)
    assert sorted(lines, key=lambda each: isinstance(each, Change)) == [line, change]
    assert [row.outcome async for row in ledger.history(vm)] == [Outcome.INSTALLED]
    assert caplog.records == [], "it is no row that cannot be read"


async def test_a_line_of_a_row_that_waits_says_for_what(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    await ledger.append(row_of(vm), trigger())
    (line,) = await listed(ledger.changes(vm.subscription, EVERYTHING, TIME))
    assert isinstance(line, HistoryLine)
    assert (line.waiting_for, line.client_request_id, line.steps) == (WaitingFor.VM_RUNNING, "", "")


async def test_the_answer_replaces_the_line_and_other_writes_of_the_pass_do_not(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    rules = [change_of(vm, "association", subject=f"/rules/{name}") for name in ("linux", "security")]
    await commit(ledger, vm, change_of(vm), change_of(vm, "identity"), *rules)
    await commit(ledger, vm, change_of(vm).answered(Answer.ACCEPTED))

    changes = await found(ledger, vm)

    assert sorted((each.step, each.subject, each.answer.value) for each in changes) == [
        ("association", "/rules/linux", "unanswered"),
        ("association", "/rules/security", "unanswered"),
        ("extension", "", "accepted"),
        ("identity", "", "unanswered"),
    ]


async def test_nothing_is_kept_of_a_transaction_that_lost_and_its_changes_are_kept_alone(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    first = await ledger.commit(MachineRow(resource_id=str(vm)), None, [], trigger())
    with pytest.raises(LostRace):
        await ledger.commit(MachineRow(resource_id=str(vm)), None, [], trigger(), changes=[change_of(vm)])
    assert await found(ledger, vm) == []
    await ledger.append_changes([change_of(vm), change_of(vm, "identity")])
    assert len(await found(ledger, vm)) == 2
    own = (await ledger.read(vm)).machine
    assert own is not None
    assert own.version == first.machine


async def test_more_changes_than_a_transaction_takes_are_written_in_several(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    rules = [change_of(vm, "association", subject=f"/rules/{number}") for number in range(250)]
    entries = [RowWrite(row_of(vm, extension=f"agent-{number}")) for number in range(11)]
    versions = await ledger.commit(MachineRow(resource_id=str(vm)), None, entries, trigger(), changes=rules)
    assert len(await found(ledger, vm)) == 250
    known = await ledger.read(vm)
    assert known.machine is not None
    assert known.machine.version == versions.machine
    assert {name: stored.version for name, stored in known.targets.items()} == versions.targets


async def test_a_claim_that_is_taken_back_takes_its_change_along(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    change, machine = change_of(vm), MachineRow(resource_id=str(vm))
    claimed = await ledger.commit(machine, None, [RowWrite(row_of(vm), history=False)], trigger(), changes=[change])
    await ledger.undo(machine, claimed.machine, OMS, None, claimed.targets[OMS], change=change)
    assert await found(ledger, vm) == []


async def test_changes_are_listed_by_names_and_by_when_they_were_sent(ledger: LedgerOfAll) -> None:
    first = new_vm("web", "prod")
    second, third = replace(first, name="web-2"), replace(first, resource_group="test")
    elsewhere = new_vm("web", "prod")
    for vm in (first, second, third, elsewhere):
        await commit(ledger, vm, change_of(vm), change_of(vm, "identity", sent_at=TIME + 3 * DAY))

    everything = await found(ledger, first)
    assert {each.resource_id for each in everything} == {str(first), str(second), str(third)}
    assert len(list(groupby(everything, key=lambda each: each.resource_id))) == 3, "those of one machine are together"
    for selection, names in (
        (Selection(resource_group="PROD"), {str(first), str(second)}),
        (Selection(resource_group="Prod", vm_name="WEB"), {str(first)}),
    ):
        assert {each.resource_id for each in await found(ledger, first, selection)} == names
    late = await found(ledger, first, since=TIME + 3 * DAY)
    assert [each.step for each in late] == ["identity"] * 3, "its event happened days before it was sent"
    assert await found(ledger, first, since=TIME + 4 * DAY) == []


async def test_old_changes_are_deleted_with_the_history(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    await ledger.append_changes([change_of(vm, event_time=TIME - 9 * DAY), change_of(vm, "identity")])
    steps = await listed(ledger.prune(vm.subscription, TIME - DAY))
    assert sum(step.rows for step in steps) == 1
    assert [each.step for each in await found(ledger, vm)] == ["identity"]
