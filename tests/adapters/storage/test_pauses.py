"""Paused scopes in the table: written once, read by subscription, lifted by whoever comes first."""

from __future__ import annotations

import asyncio
from copy import replace
from datetime import timedelta

import pytest

from onboarding.azure.storage.breaker_store import TablePauses
from onboarding.azure.storage.storage_clients import OnboardingTable
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import LostRace
from onboarding.domain.failures.classification import Cause
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, Pause
from tests.adapters.storage.rows import OMS, TIME, new_vm, row_of, rows, trigger, write


@pytest.fixture
def pauses(table: OnboardingTable) -> TablePauses:
    return TablePauses(table)


def pause_of(subscription: str, group: str = "shop-prod") -> Pause:
    return Pause(
        subscription=subscription,
        resource_group=group,
        extension=OMS,
        cause=Cause.NOT_AUTHORIZED,
        meaning="The identity has no role there.",
        advice="Give it one.",
        message="AuthorizationFailed: …",
        since=TIME,
        next_probe_at=TIME + timedelta(minutes=5),
    )


async def test_a_pause_comes_back_as_it_was_written(pauses: TablePauses) -> None:
    subscription = new_vm().subscription
    assert await pauses.read(subscription) == ()

    for group in ("shop-prod", EVERYWHERE):
        await pauses.write(pause_of(subscription, group), None)

    assert {stored.pause for stored in await pauses.read(subscription)} == {
        pause_of(subscription),
        pause_of(subscription, EVERYWHERE),
    }
    assert await pauses.read(new_vm().subscription) == ()


async def test_of_many_that_pause_or_probe_a_scope_exactly_one_does(pauses: TablePauses) -> None:
    pause = pause_of(new_vm().subscription)

    first = await asyncio.gather(*(pauses.write(pause, None) for _ in range(4)), return_exceptions=True)
    (stored,) = await pauses.read(pause.subscription)
    probed = replace(pause, probes=1)
    second = await asyncio.gather(*(pauses.write(probed, stored.version) for _ in range(4)), return_exceptions=True)

    for results in (first, second):
        assert sum(isinstance(result, LostRace) for result in results) == 3
        assert sum(result is None for result in results) == 1
    assert [stored.pause for stored in await pauses.read(pause.subscription)] == [probed]


async def test_a_pause_is_lifted_once_or_twice(pauses: TablePauses) -> None:
    pause = pause_of(new_vm().subscription)
    await pauses.write(pause, None)

    (stored,) = await pauses.read(pause.subscription)
    await pauses.delete(pause, stored.version)
    await pauses.delete(pause, stored.version)

    assert await pauses.read(pause.subscription) == ()


async def test_a_pause_that_was_written_since_it_was_read_stays(pauses: TablePauses) -> None:
    pause = pause_of(new_vm().subscription)
    await pauses.write(pause, None)
    (stored,) = await pauses.read(pause.subscription)
    await pauses.write(replace(pause, since=pause.since + timedelta(minutes=9)), stored.version)

    with pytest.raises(LostRace):
        await pauses.delete(pause, stored.version)

    assert len(await pauses.read(pause.subscription)) == 1


async def test_a_pause_that_cannot_be_read_hides_no_others(pauses: TablePauses, table: OnboardingTable) -> None:
    pause = pause_of(new_vm().subscription)
    await pauses.write(pause, None)
    await table.create_entity({"PartitionKey": pause.subscription, "RowKey": "pause|newer|x", "ErrorCode": "mood"})

    assert [stored.pause for stored in await pauses.read(pause.subscription)] == [pause]


async def test_a_pause_is_no_row_of_a_vm(pauses: TablePauses, ledger: TableLedger) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    await pauses.write(pause_of(vm.subscription), None)

    assert [row async for row in ledger.current()] == [row_of(vm)]
    assert set(await rows(ledger, vm)) == {OMS}
