"""Open circuit breakers: written once, read by subscription, closed by the first worker."""

from __future__ import annotations

import asyncio
from copy import replace
from datetime import timedelta

import pytest

from onboarding.application.ports import BreakerStore
from onboarding.domain.errors import LostRace
from onboarding.domain.failures.classification import Cause
from onboarding.domain.limits.circuit_breaker import EVERYWHERE, CircuitBreaker
from tests.adapters.storage.rows import OMS, TIME, new_vm, row_of, rows, trigger, write
from tests.contract.backends import Backend


@pytest.fixture
def breakers(backend: Backend) -> BreakerStore:
    return backend.breakers


def breaker_of(subscription: str, group: str = "shop-prod", extension: str = OMS) -> CircuitBreaker:
    return CircuitBreaker(
        subscription=subscription,
        resource_group=group,
        extension=extension,
        cause=Cause.NOT_AUTHORIZED,
        meaning="The identity has no role there.",
        advice="Give it one: 'ü' \"twice\" <&>",
        message="AuthorizationFailed: …",
        since=TIME,
        next_probe_at=TIME + timedelta(minutes=5),
    )


async def test_a_breaker_is_read_back_as_it_was_written(breakers: BreakerStore) -> None:
    subscription = new_vm().subscription
    assert await breakers.read(subscription) == ()

    places = ("shop-prod", EVERYWHERE, "=0123456789abcdef", "o'brien (ü).1")
    for group in places:
        await breakers.write(breaker_of(subscription, group), None)

    assert {stored.breaker for stored in await breakers.read(subscription)} == {
        breaker_of(subscription, group) for group in places
    }
    assert await breakers.read(new_vm().subscription) == ()


async def test_breakers_of_every_subscription_are_kept_apart_from_those_of_one(breakers: BreakerStore) -> None:
    subscription = new_vm().subscription
    for owner in (subscription, EVERYWHERE):
        await breakers.write(breaker_of(owner), None)

    for owner in (subscription, EVERYWHERE):
        assert [stored.breaker for stored in await breakers.read(owner)] == [breaker_of(owner)]


async def test_every_write_of_a_breaker_changes_its_version(breakers: BreakerStore) -> None:
    breaker, seen = breaker_of(new_vm().subscription), set()
    version = None
    for _ in range(3):
        await breakers.write(breaker, version)
        (stored,) = await breakers.read(breaker.subscription)
        version = stored.version
        seen.add(version)
    assert len(seen) == 3


async def test_of_concurrent_workers_exactly_one_opens_or_probes_a_breaker(breakers: BreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)

    first = await asyncio.gather(*(breakers.write(breaker, None) for _ in range(4)), return_exceptions=True)
    (stored,) = await breakers.read(breaker.subscription)
    probed = replace(breaker, probes=1)
    second = await asyncio.gather(*(breakers.write(probed, stored.version) for _ in range(4)), return_exceptions=True)

    for results in (first, second):
        assert sum(isinstance(result, LostRace) for result in results) == 3
        assert sum(result is None for result in results) == 1
    assert [stored.breaker for stored in await breakers.read(breaker.subscription)] == [probed]


async def test_another_spelling_of_the_place_is_the_same_breaker(breakers: BreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription, "shop-ü")
    await breakers.write(breaker, None)

    with pytest.raises(LostRace):
        await breakers.write(replace(breaker, resource_group="SHOP-Ü", extension=OMS.upper()), None)


async def test_a_breaker_may_be_closed_twice(breakers: BreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)
    await breakers.write(breaker, None)

    (stored,) = await breakers.read(breaker.subscription)
    await breakers.delete(breaker, stored.version)
    await breakers.delete(breaker, stored.version)

    assert await breakers.read(breaker.subscription) == ()


async def test_a_breaker_that_was_closed_is_not_probed_and_can_be_opened_again(breakers: BreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)
    await breakers.write(breaker, None)
    (stored,) = await breakers.read(breaker.subscription)
    await breakers.delete(breaker, stored.version)

    with pytest.raises(LostRace):
        await breakers.write(replace(breaker, probes=1), stored.version)
    assert await breakers.read(breaker.subscription) == ()

    await breakers.write(breaker, None)
    assert len(await breakers.read(breaker.subscription)) == 1


async def test_a_breaker_that_was_written_since_it_was_read_stays_open(breakers: BreakerStore) -> None:
    breaker = breaker_of(new_vm().subscription)
    await breakers.write(breaker, None)
    (stored,) = await breakers.read(breaker.subscription)
    await breakers.write(replace(breaker, since=breaker.since + timedelta(minutes=9)), stored.version)

    with pytest.raises(LostRace):
        await breakers.delete(breaker, stored.version)

    assert len(await breakers.read(breaker.subscription)) == 1


async def test_a_breaker_is_not_listed_as_a_row_of_a_vm(backend: Backend) -> None:
    vm, ledger = new_vm(), backend.ledger
    await write(ledger, row_of(vm), trigger(), None)
    await backend.breakers.write(breaker_of(vm.subscription), None)

    assert [row async for row in ledger.current()] == [row_of(vm)]
    assert set(await rows(ledger, vm)) == {OMS}
