"""Pauses: one of each scope, all read at once, replaced and ended under their version."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from onboarding.application.ports import PauseStore
from onboarding.domain.errors import LostRace
from onboarding.domain.limits.pause import Pause
from tests.adapters.storage.rows import OMS, TIME, new_vm, row_of, rows, trigger, write
from tests.contract.backends import Backend, OnAzurite

PERSON = "0a1b2c3d-0000-4000-8000-00000000000f"


@pytest.fixture
def pauses(backend: Backend) -> PauseStore:
    return backend.pauses


def pause_of(subscription: str = "", policy: str = "", **more: Any) -> Pause:
    return Pause(reason="'ü' \"twice\" <&>", since=TIME, subscription=subscription, policy=policy, **more)


async def test_pauses_are_read_back_as_they_were_written(pauses: PauseStore) -> None:
    assert await pauses.read_all() == ()
    subscription = new_vm().subscription
    written = {
        pause_of(),
        pause_of(subscription, until=TIME + timedelta(hours=1)),
        pause_of(policy="linux-monitoring", by=PERSON),
        pause_of(subscription, "linux-monitoring"),
    }
    for pause in written:
        await pauses.write(pause, None)
    assert {stored.pause for stored in await pauses.read_all()} == written


@pytest.mark.parametrize("name", ["a/b", "a-b", "Ärger #1?", "o'brien", "*", "x" * 300])
async def test_a_policy_of_any_name_has_a_pause_of_its_own(pauses: PauseStore, name: str) -> None:
    for policy in ("", name, name.upper() + "!"):
        await pauses.write(pause_of(policy=policy), None)
    assert {stored.pause.policy for stored in await pauses.read_all()} == {"", name, name.upper() + "!"}


async def test_a_pause_is_replaced_only_as_it_was_read(pauses: PauseStore) -> None:
    first, second = pause_of(), pause_of(until=TIME + timedelta(hours=2))
    await pauses.write(first, None)
    (stored,) = await pauses.read_all()
    with pytest.raises(LostRace):
        await pauses.write(second, None)
    await pauses.write(second, stored.version)
    with pytest.raises(LostRace):
        await pauses.write(first, stored.version)
    with pytest.raises(LostRace):
        await pauses.delete(stored)
    assert [each.pause for each in await pauses.read_all()] == [second]


async def test_of_concurrent_people_exactly_one_begins_a_pause(pauses: PauseStore) -> None:
    results = await asyncio.gather(*(pauses.write(pause_of(), None) for _ in range(4)), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LostRace"] * 3 + ["NoneType"]


async def test_a_pause_may_be_ended_twice(pauses: PauseStore) -> None:
    await pauses.write(pause_of(policy="one"), None)
    await pauses.write(pause_of(), None)
    stored = next(each for each in await pauses.read_all() if not each.pause.policy)
    await pauses.delete(stored)
    await pauses.delete(stored)
    assert [each.pause.policy for each in await pauses.read_all()] == ["one"]


async def test_a_pause_is_neither_a_breaker_nor_a_row_of_a_vm(backend: Backend) -> None:
    vm, ledger = new_vm(), backend.ledger
    await write(ledger, row_of(vm), trigger(), None)
    for pause in (pause_of(), pause_of(vm.subscription)):
        await backend.pauses.write(pause, None)
    assert [row async for row in ledger.current()] == [row_of(vm)]
    assert set(await rows(ledger, vm)) == {OMS}
    for subscription in (vm.subscription, "*", "stop"):
        assert await backend.breakers.read(subscription) == ()
    assert await ledger.next_subscription(vm.subscription) == ""


async def test_what_cannot_be_read_of_a_pause_makes_it_wider(wire: OnAzurite) -> None:
    """A newer version, or a person, wrote it: no write may go out that somebody wanted to stop."""
    keys = {"PartitionKey": "stop", "RowKey": "stop|later|form"}
    await wire.table.create_table()
    await wire.table.create_entity({**keys, "Subscription": 7, "Until": "soon", "By": "Somebody's Name", "Group": "g"})
    (stored,) = await wire.pauses.read_all()
    pause = stored.pause
    assert (pause.scope, pause.until, pause.by) == (("", ""), None, "")
    assert pause.covers(new_vm().subscription, ())
    await wire.pauses.delete(stored)
    assert await wire.pauses.read_all() == ()


async def test_columns_of_a_newer_version_are_kept(wire: OnAzurite) -> None:
    await wire.pauses.write(pause_of(), None)
    await wire.widen({"Ticket": "CHG-1"})
    (stored,) = await wire.pauses.read_all()
    await wire.pauses.write(pause_of(until=TIME), stored.version, rest=stored.rest)
    entity = await wire.table.get_entity("stop", "stop||")
    assert entity["Ticket"] == "CHG-1"
