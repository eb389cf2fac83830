"""Writes of the ledger, in memory and on a real table: one transaction, versions, and races of two workers."""

from __future__ import annotations

import asyncio
from copy import replace
from datetime import UTC, timedelta
from typing import Any

import pytest

from onboarding.application.ports import Ledger, MachineRows, RowVersions, RowWrite, StoredRow
from onboarding.domain.errors import LostRace
from onboarding.domain.reconcile.machine_row import Claim, MachineRow
from onboarding.domain.reconcile.row import Row
from onboarding.domain.resource_id import VmId, parse_id
from tests.adapters.storage.rows import OMS, TIME, claim, final, listed, new_vm, row_of, rows, trigger, write
from tests.contract.backends import Backend, LedgerOfAll

SECOND = "inventory-agent"
LATER = TIME + timedelta(days=1)


@pytest.fixture
def ledger(backend: Backend) -> LedgerOfAll:
    return backend.ledger


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


def claim_of(extension: str) -> Claim:
    return Claim(target=extension, step="extension", attempt=1, digest="d", at=TIME, trigger="event-1")


async def own_version(ledger: Ledger, vm: VmId) -> str | None:
    own = (await ledger.read(vm)).machine
    return own.version if own else None


async def commit(ledger: Ledger, vm: VmId, *entries: RowWrite, identity: str = "event-1") -> RowVersions:
    """Write rows over the machine's own row as it is now."""
    machine = MachineRow(resource_id=str(vm), vm_id=f"written by {identity}")
    return await ledger.commit(machine, await own_version(ledger, vm), entries, trigger(identity))


async def test_every_column_of_a_row_is_read_back_as_it_was_written(ledger: LedgerOfAll) -> None:
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


async def test_every_column_of_the_machines_own_row_is_read_back(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    machine = MachineRow(resource_id=str(vm), vm_id="'x' é", last_read_at=TIME, claim=claim_of(OMS))

    written = await ledger.commit(machine, None, [], trigger())

    own = (await ledger.read(vm)).machine
    assert own is not None
    assert (own.row, own.version) == (machine, written.machine)


async def test_for_a_new_vm_only_its_own_row_is_read(backend: Backend) -> None:
    ledger, vm, other = backend.ledger, new_vm(), new_vm()
    assert await ledger.read(vm, new=True) == MachineRows()
    for extension in (OMS, "another", "a third"):
        await write(ledger, replace(row_of(vm), extension=extension), trigger(), None)
    await write(ledger, row_of(other), trigger(), None)

    everything = await ledger.read(vm, new=True)

    assert set(everything.targets) == {OMS, "another", "a third"}
    assert everything.machine is not None
    assert everything == await ledger.read(vm)
    await backend.remove(vm, "")
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
        "o'clock ''twice'' \"and\" <&>",
    ],
    ids=[
        "8 KiB",
        "8 Ki of two bytes",
        "emoji",
        "line ends",
        "control characters",
        "lone surrogate",
        "looks like HTTP",
        "quotes",
    ],
)
async def test_any_text_of_a_handler_can_be_written(ledger: LedgerOfAll, text: str) -> None:
    vm = new_vm()
    row = row_of(vm, message=text)

    await write(ledger, row, trigger(), None)

    assert (await rows(ledger, vm))[OMS].row == row


@pytest.mark.parametrize(
    "column",
    [
        name
        for name, kind in Row.__annotations__.items()
        # These four are part of the row's key; their length is checked when they are read.
        if kind == "str" and name not in ("resource_id", "vm_name", "resource_group", "extension")
    ],
)
async def test_a_text_of_any_length_is_cut_and_written(ledger: LedgerOfAll, column: str) -> None:
    """The guest agent or a person can write texts of any length: here one of 40,000 characters."""
    vm = new_vm()

    failed = {"error_code": "51"} if column == "cause" else {}  # there is no cause without an error
    long: dict[str, Any] = {**failed, column: "x" * 40_000}
    await write(ledger, replace(final(vm), **long), trigger(), None)

    stored = getattr((await rows(ledger, vm))[OMS].row, column)
    assert 0 < len(stored) <= 8192
    assert stored.startswith("xxx")
    (line,) = await listed(ledger.history(vm))
    assert len(getattr(line, column)) <= 8192
    (outcome,) = await listed(ledger.unpublished(vm.subscription, LATER))
    assert getattr(outcome, column) == stored


async def test_a_duration_of_a_year_can_be_written(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    row = final(vm, duration_ms=365 * 24 * 3600 * 1000)

    await write(ledger, row, trigger(), None)

    assert (await rows(ledger, vm))[OMS].row == row
    assert [line.duration_ms async for line in ledger.history(vm)] == [row.duration_ms]


async def test_every_write_changes_the_versions_of_what_it_wrote_alone(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    first = await commit(ledger, vm, RowWrite(row_of(vm)), RowWrite(row_of(vm, extension=SECOND)))
    same = RowWrite(row_of(vm), first.targets[OMS])

    second = await commit(ledger, vm, same, identity="event-2")

    assert set(second.targets) == {OMS}
    assert second.machine != first.machine
    assert second.targets[OMS] != first.targets[OMS]
    known = await ledger.read(vm)
    assert known.version(OMS) == second.targets[OMS]
    assert known.version(SECOND) == first.targets[SECOND]
    assert known.machine is not None
    assert known.machine.version == second.machine


async def test_a_second_claim_of_a_new_row_is_lost(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm, reason="first"), trigger("event-1"), None)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm, reason="second"), trigger("event-2"), None)

    assert (await rows(ledger, vm))[OMS].row.reason == "first"
    assert len(await listed(ledger.history(vm))) == 1


async def test_a_claim_is_a_row_without_history_and_the_next_write_follows_it(ledger: LedgerOfAll) -> None:
    vm = new_vm()

    version = await claim(ledger, full_row(vm), None)

    assert (await rows(ledger, vm))[OMS].row == full_row(vm)
    assert await listed(ledger.history(vm)) == []
    after = await write(ledger, row_of(vm, reason="asked"), trigger(), version)
    assert (await rows(ledger, vm))[OMS].version == after
    assert [line.reason async for line in ledger.history(vm)] == ["asked"]


async def test_of_two_claims_of_a_new_row_one_is_lost(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    claims = [claim(ledger, row_of(vm, reason=reason), None) for reason in ("this", "that")]

    ended = await asyncio.gather(*claims, return_exceptions=True)

    assert [type(each) for each in ended].count(LostRace) == 1
    assert len(await rows(ledger, vm)) == 1


async def test_a_claim_over_an_old_version_is_lost(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    old = await claim(ledger, row_of(vm), None)
    newer = await claim(ledger, row_of(vm, reason="newer"), old)

    with pytest.raises(LostRace):
        await claim(ledger, row_of(vm, reason="stale"), old)

    assert (await rows(ledger, vm))[OMS].row.reason == "newer"
    assert (await rows(ledger, vm))[OMS].version == newer


async def test_a_write_over_an_old_version_is_lost(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    old = await write(ledger, row_of(vm), trigger("event-1"), None)
    await write(ledger, row_of(vm, reason="newer"), trigger("event-2"), old)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm, reason="stale"), trigger("event-3"), old)

    assert (await rows(ledger, vm))[OMS].row.reason == "newer"
    assert len(await listed(ledger.history(vm))) == 2


@pytest.mark.parametrize("version", ["none", "old"])
async def test_a_write_over_another_version_of_the_machines_own_row_is_lost(ledger: LedgerOfAll, version: str) -> None:
    vm = new_vm()
    machine = MachineRow(resource_id=str(vm))
    first = await ledger.commit(machine, None, [RowWrite(row_of(vm))], trigger())
    second = await ledger.commit(machine, first.machine, [], trigger("event-2"))

    entry = RowWrite(row_of(vm, reason="stale"), first.targets[OMS])
    with pytest.raises(LostRace):
        await ledger.commit(machine, first.machine if version == "old" else None, [entry], trigger("event-3"))

    assert await own_version(ledger, vm) == second.machine
    assert (await rows(ledger, vm))[OMS].row == row_of(vm)


@pytest.mark.parametrize("stale", [0, 1, 2])
async def test_of_several_targets_all_are_written_or_none(ledger: LedgerOfAll, stale: int) -> None:
    vm, names = new_vm(), (OMS, SECOND, "a third")
    old = await commit(ledger, vm, *(RowWrite(row_of(vm, extension=name)) for name in names))
    overtaken = row_of(vm, extension=names[stale], reason="newer")
    newer = await commit(ledger, vm, RowWrite(overtaken, old.targets[names[stale]]), identity="event-2")
    before = await ledger.read(vm)

    entries = [RowWrite(final(vm, extension=name, reason="mine"), old.targets[name]) for name in names]
    with pytest.raises(LostRace):
        await commit(ledger, vm, *entries, identity="event-3")

    assert await ledger.read(vm) == before
    assert newer.machine == before.machine.version if before.machine else None
    assert "mine" not in {line.reason async for line in ledger.history(vm)}
    assert await listed(ledger.unpublished(vm.subscription, LATER)) == []
    entries[stale] = RowWrite(entries[stale].row, newer.targets[names[stale]])
    await commit(ledger, vm, *entries, identity="event-4")
    assert {stored.row.reason for stored in (await rows(ledger, vm)).values()} == {"mine"}
    assert len(await listed(ledger.unpublished(vm.subscription, LATER))) == 3


async def test_a_line_of_history_that_exists_stops_the_whole_transaction(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    await ledger.append(row_of(vm, extension=SECOND), trigger())

    with pytest.raises(LostRace):
        await commit(ledger, vm, RowWrite(row_of(vm)), RowWrite(row_of(vm, extension=SECOND)))

    assert await ledger.read(vm) == MachineRows()
    assert len(await listed(ledger.history(vm))) == 1


async def test_an_event_with_a_line_of_history_loses_the_race_and_changes_nothing(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm, reason="as it was"), trigger(), None)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm, reason="redelivered"), trigger(), version)

    assert (await rows(ledger, vm))[OMS].version == version
    assert (await rows(ledger, vm))[OMS].row.reason == "as it was"


async def test_the_same_event_may_write_again_with_again(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm, reason="claimed"), trigger(), None)

    await write(ledger, row_of(vm, reason="requested"), trigger(), version, again=True)

    assert (await rows(ledger, vm))[OMS].row.reason == "requested"
    assert [line.reason async for line in ledger.history(vm)] == ["requested"]


@pytest.mark.parametrize("new", [True, False], ids=["a new row", "a row that is there"])
async def test_of_many_writers_of_one_row_exactly_one_wins(ledger: LedgerOfAll, new: bool) -> None:
    vm = new_vm()
    version = None if new else await write(ledger, row_of(vm), trigger("before"), None)
    writes = [write(ledger, row_of(vm, reason=f"{n}"), trigger(f"event-{n}"), version) for n in range(6)]

    results = await asyncio.gather(*writes, return_exceptions=True)

    lost = [result for result in results if isinstance(result, LostRace)]
    winners = [f"{n}" for n, result in enumerate(results) if isinstance(result, str)]
    assert len(lost) == 5
    assert [(await rows(ledger, vm))[OMS].row.reason] == winners
    assert len(await listed(ledger.history(vm))) == (1 if new else 2)


async def test_of_many_deliveries_of_one_event_exactly_one_wins(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    writes = [write(ledger, row_of(vm), trigger(), None) for _ in range(4)]

    results = await asyncio.gather(*writes, return_exceptions=True)

    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, LostRace) for result in results) == 3


async def test_of_two_claims_for_different_extensions_of_a_machine_one_wins(ledger: LedgerOfAll) -> None:
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


@pytest.mark.parametrize("gone", [OMS, ""], ids=["the row", "the machine's own row"])
async def test_a_deleted_row_is_not_written_again(backend: Backend, gone: str) -> None:
    ledger, vm = backend.ledger, new_vm()
    version = await write(ledger, row_of(vm), trigger("event-1"), None)
    own = await own_version(ledger, vm)
    await backend.remove(vm, gone)
    before = await ledger.read(vm)

    with pytest.raises(LostRace):
        await ledger.commit(
            MachineRow(resource_id=str(vm)), own, [RowWrite(row_of(vm, reason="new"), version)], trigger("event-2")
        )

    assert await ledger.read(vm) == before
    assert len(await listed(ledger.history(vm))) == 1


async def test_more_extensions_than_one_transaction_takes_are_all_written(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    entries = [RowWrite(row_of(vm, extension=f"extension-{number}")) for number in range(25)]

    versions = await ledger.commit(MachineRow(resource_id=str(vm)), None, entries, trigger())

    known = await ledger.read(vm)
    assert {name: stored.version for name, stored in known.targets.items()} == versions.targets
    assert known.machine is not None
    assert known.machine.version == versions.machine
    assert len(versions.targets) == 25


async def test_the_extensions_of_a_vm_are_rows_of_their_own(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    for extension in (OMS, "azure-monitor-agent-linux"):
        await write(ledger, row_of(vm, extension=extension), trigger(), None)

    assert set(await rows(ledger, vm)) == {OMS, "azure-monitor-agent-linux"}


@pytest.mark.parametrize("name", ["web-01", "WEB-01", "web.01_(new)", "wéb-漢", "WÉB.ü_(1)", "a", "x" * 64])
async def test_a_vm_is_found_by_any_spelling_of_its_id(ledger: LedgerOfAll, name: str) -> None:
    vm = new_vm(name, "Group_(1).2-ü")
    await write(ledger, row_of(vm), trigger(), None)

    for spelled in (str(vm).upper(), str(vm).lower()):
        found = parse_id(spelled)
        assert isinstance(found, VmId)
        assert [stored.row.vm_name for stored in (await rows(ledger, found)).values()] == [name]
        assert [line.vm_name async for line in ledger.history(found)] == [name]


async def test_another_spelling_of_an_id_or_an_extension_is_the_same_row(ledger: LedgerOfAll) -> None:
    vm = new_vm("Wéb.01")
    spelled = VmId(vm.subscription.upper(), vm.resource_group.lower(), vm.name.upper())
    version = await write(ledger, row_of(vm), trigger("event-1"), None)

    with pytest.raises(LostRace):
        await write(ledger, row_of(spelled, extension=OMS.upper()), trigger("event-2"), None)
    await write(ledger, row_of(spelled, extension=OMS.upper()), trigger("event-3", LATER), version)

    assert set(await rows(ledger, vm)) == {OMS.upper()}
    assert [line.vm_name async for line in ledger.history(vm)] == [spelled.name, vm.name]


async def test_the_id_of_an_event_is_the_same_in_any_case(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    version = await write(ledger, row_of(vm), trigger("Event-É'1"), None)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm), trigger("event-é'1"), version)


async def test_a_vm_does_not_read_rows_of_a_vm_with_a_longer_name(ledger: LedgerOfAll) -> None:
    vm = new_vm("web")
    for name in ("web", "web-01", "web1", "we"):
        await write(ledger, row_of(replace(vm, name=name)), trigger(), None)

    assert [stored.row.vm_name for stored in (await rows(ledger, vm)).values()] == ["web"]
    assert [line.vm_name async for line in ledger.history(vm)] == ["web"]


# A claim whose request was not sent is taken back.


@pytest.mark.parametrize("new", [True, False], ids=["there was no row", "there was a row"])
async def test_a_claim_can_be_taken_back(ledger: LedgerOfAll, new: bool) -> None:
    vm = new_vm()
    before = final(vm)
    version = None if new else await write(ledger, before, trigger("before"), None)
    stored = None if new else (await rows(ledger, vm))[OMS]
    machine = MachineRow(resource_id=str(vm), claim=claim_of(OMS))
    claimed = RowWrite(row_of(vm), version, history=False)
    versions = await ledger.commit(machine, await own_version(ledger, vm), [claimed], trigger("claim"))
    lines = await listed(ledger.history(vm))

    await ledger.undo(MachineRow(resource_id=str(vm)), versions.machine, OMS, stored, versions.targets[OMS])

    known = await ledger.read(vm)
    assert known.machine is not None
    assert known.machine.row.claim is None
    assert known.machine.version != versions.machine
    assert known.version(OMS) != versions.targets[OMS]
    assert [each.row for each in known.targets.values()] == ([] if new else [before])
    assert await listed(ledger.history(vm)) == lines


@pytest.mark.parametrize("stale", ["the row", "the machine's own row"])
@pytest.mark.parametrize("new", [True, False], ids=["there was no row", "there was a row"])
async def test_a_claim_that_was_overtaken_is_not_taken_back(ledger: LedgerOfAll, new: bool, stale: str) -> None:
    vm = new_vm()
    machine = MachineRow(resource_id=str(vm), claim=claim_of(OMS))
    version = None if new else await write(ledger, final(vm), trigger("before"), None)
    stored = None if new else (await rows(ledger, vm))[OMS]
    claimed = await ledger.commit(
        machine, await own_version(ledger, vm), [RowWrite(row_of(vm), version, history=False)], trigger("claim")
    )
    over = [RowWrite(row_of(vm, reason="newer"), claimed.targets[OMS])] if stale == "the row" else []
    newer = await ledger.commit(machine, claimed.machine, over, trigger("newer"))
    own = newer.machine if stale == "the row" else claimed.machine
    known = await ledger.read(vm)

    with pytest.raises(LostRace):
        await ledger.undo(MachineRow(resource_id=str(vm)), own, OMS, stored, claimed.targets[OMS])

    assert await ledger.read(vm) == known


async def test_a_claim_whose_row_is_gone_is_not_taken_back(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm()
    versions = await commit(ledger, vm, RowWrite(row_of(vm), history=False))
    await backend.remove(vm, OMS)

    with pytest.raises(LostRace):
        await ledger.undo(MachineRow(resource_id=str(vm)), versions.machine, OMS, None, versions.targets[OMS])

    assert await own_version(ledger, vm) == versions.machine


OPEN, OTHER = "policy:azure-monitor", "policy:other"


async def stored_rows(ledger: Ledger, vm: VmId, *targets: str) -> tuple[StoredRow, ...]:
    """Waiting rows of these targets, written as one."""
    await commit(ledger, vm, *(RowWrite(row_of(vm, extension=target)) for target in targets), identity="before")
    known = await ledger.read(vm)
    return tuple(known.targets[target] for target in targets)


async def test_a_row_is_moved_to_another_target_in_one_transaction(ledger: LedgerOfAll) -> None:
    vm, other = new_vm(), new_vm()
    replaced = await stored_rows(ledger, vm, OPEN, OTHER)
    await stored_rows(ledger, other, OPEN)
    moved = row_of(vm, reason="moved")

    versions = await commit(ledger, vm, RowWrite(moved, replaces=replaced), RowWrite(row_of(vm, extension=SECOND)))

    known = await ledger.read(vm)
    assert {target: stored.row.reason for target, stored in known.targets.items()} == {
        OMS: "moved",
        SECOND: row_of(vm).reason,
    }
    assert {target: stored.version for target, stored in known.targets.items()} == dict(versions.targets)
    lines = await listed(ledger.history(vm))
    assert sorted(row.extension for row in lines) == sorted([OMS, SECOND, OPEN, OTHER]), "a deletion needs no line"
    assert set((await ledger.read(other)).targets) == {OPEN}


async def test_a_row_that_is_there_takes_the_place_of_another(ledger: LedgerOfAll) -> None:
    vm = new_vm()
    there, *replaced = await stored_rows(ledger, vm, OMS, OPEN)

    await commit(ledger, vm, RowWrite(there.row, there.version, history=False, replaces=tuple(replaced)))

    assert {target: stored.row for target, stored in (await ledger.read(vm)).targets.items()} == {OMS: there.row}


@pytest.mark.parametrize("stale", [0, 1])
async def test_nothing_is_moved_if_a_replaced_row_has_changed(ledger: LedgerOfAll, stale: int) -> None:
    vm = new_vm()
    replaced = await stored_rows(ledger, vm, OPEN, OTHER)
    changed = replaced[stale]
    newer = row_of(vm, extension=changed.row.extension, reason="newer")
    await commit(ledger, vm, RowWrite(newer, changed.version), identity="newer")
    known = await ledger.read(vm)

    with pytest.raises(LostRace):
        await commit(ledger, vm, RowWrite(row_of(vm), replaces=replaced))

    assert await ledger.read(vm) == known


async def test_nothing_is_moved_if_a_replaced_row_is_gone(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm()
    replaced = await stored_rows(ledger, vm, OPEN, OTHER)
    await backend.remove(vm, OTHER)

    with pytest.raises(LostRace):
        await commit(ledger, vm, RowWrite(row_of(vm), replaces=replaced))

    assert set((await ledger.read(vm)).targets) == {OPEN}


# Two versions of the product work on one table.

NEWS = {"Mood": "identity: done 'é'", "Flag": True}


async def test_columns_of_a_newer_version_stay_when_a_row_is_written(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm()
    version = await write(ledger, row_of(vm), trigger(), None)
    for extension in (OMS, ""):
        await backend.add_columns(vm, extension, NEWS)

    known = await ledger.read(vm)
    stored, own = known.targets[OMS], known.machine
    assert own is not None
    assert (dict(stored.rest), dict(own.rest)) == (NEWS, NEWS)
    assert (stored.row, stored.version != version) == (row_of(vm), True)
    entry = RowWrite(row_of(vm, reason="later"), stored.version, rest=stored.rest)
    await ledger.commit(own.row, own.version, [entry], trigger("event-2"), rest=own.rest)

    known = await ledger.read(vm)
    assert known.machine is not None
    assert (dict(known.targets[OMS].rest), dict(known.machine.rest)) == (NEWS, NEWS)
    assert known.targets[OMS].row.reason == "later"


async def test_columns_that_are_not_handed_back_are_gone(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    for extension in (OMS, ""):
        await backend.add_columns(vm, extension, NEWS)

    known = await ledger.read(vm)
    await commit(ledger, vm, RowWrite(row_of(vm), known.version(OMS)), identity="event-2")

    known = await ledger.read(vm)
    assert known.machine is not None
    assert (dict(known.targets[OMS].rest), dict(known.machine.rest)) == ({}, {})


async def test_a_write_over_a_row_that_a_newer_version_changed_is_lost(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm()
    version = await write(ledger, row_of(vm), trigger(), None)
    await backend.add_columns(vm, OMS, NEWS)

    with pytest.raises(LostRace):
        await write(ledger, row_of(vm), trigger("event-2"), version)


async def test_columns_of_a_newer_version_stay_when_a_claim_is_taken_back(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    for extension in (OMS, ""):
        await backend.add_columns(vm, extension, NEWS)
    known = await ledger.read(vm)
    own, stored = known.machine, known.targets[OMS]
    assert own is not None
    claimed = RowWrite(row_of(vm, reason="claimed"), stored.version, history=False)
    versions = await ledger.commit(own.row, own.version, [claimed], trigger("claim"), rest=own.rest)

    await ledger.undo(own.row, versions.machine, OMS, stored, versions.targets[OMS], rest=own.rest)

    known = await ledger.read(vm)
    assert known.machine is not None
    assert (dict(known.targets[OMS].rest), dict(known.machine.rest)) == (NEWS, NEWS)
    assert known.targets[OMS].row == stored.row


async def test_an_unreadable_row_is_replaced_and_keeps_its_history(backend: Backend) -> None:
    ledger, vm = backend.ledger, new_vm("bad")
    await write(ledger, row_of(vm, attempt=1), trigger("before"), None)
    await write(ledger, row_of(vm, extension=SECOND), trigger("before"), None)
    old = (await ledger.read(vm)).version(OMS)
    await backend.spoil(vm, OMS)

    known = await ledger.read(vm)
    assert set(known.targets) == {SECOND}
    assert set(known.unreadable) == {OMS}
    for stale in (None, old):
        with pytest.raises(LostRace):
            await write(ledger, row_of(vm), trigger("stale"), stale)
    await write(ledger, row_of(vm, reason="anew"), trigger("after"), known.version(OMS))

    known = await ledger.read(vm)
    assert known.targets[OMS].row.reason == "anew"
    assert known.unreadable == {}
    assert len([line async for line in ledger.history(vm) if line.extension == OMS]) == 2
