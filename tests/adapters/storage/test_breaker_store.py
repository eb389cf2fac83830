"""Open circuit breakers in the table: written once, read by subscription, closed by the first worker."""

from __future__ import annotations

import asyncio
from copy import replace
from datetime import timedelta

import pytest

from onboarding.azure.storage.breaker_store import TableBreakerStore
from onboarding.azure.storage.storage_clients import OnboardingTable
from onboarding.azure.storage.table_ledger import TableLedger
from onboarding.domain.errors import LostRace
from onboarding.domain.failures.classification import Cause
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, CircuitBreaker
from tests.adapters.storage.rows import OMS, TIME, new_vm, row_of, rows, trigger, write


@pytest.fixture
def breakers(table: OnboardingTable) -> TableBreakerStore:
    return TableBreakerStore(table)


def breaker_of(subscription: str, group: str = "shop-prod") -> CircuitBreaker:
    return CircuitBreaker(
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


async def test_a_breaker_is_read_back_as_it_was_written(breakers: TableBreakerStore) -> None:
    subscription = new_vm().subscription
    assert await breakers.read(subscription) == ()

    for group in ("shop-prod", EVERYWHERE):
        await breakers.write(breaker_of(subscription, group), None)

    assert {stored.breaker for stored in await breakers.read(subscription)} == {
        breaker_of(subscription),
        breaker_of(subscription, EVERYWHERE),
    }
    assert await breakers.read(new_vm().subscription) == ()


async def test_of_concurrent_workers_exactly_one_opens_or_probes_a_breaker(breakers: TableBreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)

    first = await asyncio.gather(*(breakers.write(breaker, None) for _ in range(4)), return_exceptions=True)
    (stored,) = await breakers.read(breaker.subscription)
    probed = replace(breaker, probes=1)
    second = await asyncio.gather(*(breakers.write(probed, stored.version) for _ in range(4)), return_exceptions=True)

    for results in (first, second):
        assert sum(isinstance(result, LostRace) for result in results) == 3
        assert sum(result is None for result in results) == 1
    assert [stored.breaker for stored in await breakers.read(breaker.subscription)] == [probed]


async def test_a_breaker_may_be_closed_twice(breakers: TableBreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)
    await breakers.write(breaker, None)

    (stored,) = await breakers.read(breaker.subscription)
    await breakers.delete(breaker, stored.version)
    await breakers.delete(breaker, stored.version)

    assert await breakers.read(breaker.subscription) == ()


async def test_a_breaker_that_was_written_since_it_was_read_stays_open(breakers: TableBreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)
    await breakers.write(breaker, None)
    (stored,) = await breakers.read(breaker.subscription)
    await breakers.write(replace(breaker, since=breaker.since + timedelta(minutes=9)), stored.version)

    with pytest.raises(LostRace):
        await breakers.delete(breaker, stored.version)

    assert len(await breakers.read(breaker.subscription)) == 1


async def test_an_unreadable_breaker_hides_no_others(breakers: TableBreakerStore, table: OnboardingTable) -> None:
    breaker = breaker_of(new_vm().subscription)
    await breakers.write(breaker, None)
    await table.create_entity({"PartitionKey": breaker.subscription, "RowKey": "pause|newer|x", "ErrorCode": "mood"})

    assert [stored.breaker for stored in await breakers.read(breaker.subscription)] == [breaker]


async def test_a_breaker_is_not_listed_as_a_row_of_a_vm(breakers: TableBreakerStore, ledger: TableLedger) -> None:
    vm = new_vm()
    await write(ledger, row_of(vm), trigger(), None)
    await breakers.write(breaker_of(vm.subscription), None)

    assert [row async for row in ledger.current()] == [row_of(vm)]
    assert set(await rows(ledger, vm)) == {OMS}
