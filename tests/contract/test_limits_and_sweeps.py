"""What policies and sweeps keep between two runs: counts of rollout limits, versions of policies, the sweep's state."""

from __future__ import annotations

import asyncio
from copy import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from onboarding.application.ports import Pruning, SweepState
from onboarding.domain.errors import LostRace, StorageError
from onboarding.domain.limits.canary import CanaryCounts
from onboarding.domain.limits.rollout_limit import RolloutState
from onboarding.domain.policy.policy_version import PolicyState
from onboarding.domain.reconcile.sweep_requests import MOST, Mark
from tests.adapters.storage.rows import TIME, new_vm
from tests.contract.backends import Backend
from tests.contract.test_breakers import breaker_of

NAMES = ("linux-monitoring", "50% of a/b #?", "Über 'alles' \\ \"x\"", "tab\tand\x7f")


@pytest.mark.parametrize("name", NAMES)
async def test_counts_are_read_back_for_any_policy_name(backend: Backend, name: str) -> None:
    rollouts = backend.rollouts
    state = RolloutState(name, TIME, 3, 2, TIME, "web01: the 'handler' failed, é")
    assert await rollouts.read(state.policy) is None

    version = await rollouts.write(state, None)

    stored = await rollouts.read(state.policy)
    assert stored is not None
    assert (stored.state, stored.version) == (state, version)
    assert await rollouts.read_all() == (state,)


async def test_the_counts_of_all_policies_are_listed(backend: Backend) -> None:
    assert await backend.rollouts.read_all() == ()
    states = {RolloutState(name, installs=number) for number, name in enumerate(NAMES)}
    for state in states:
        await backend.rollouts.write(state, None)
    assert set(await backend.rollouts.read_all()) == states


async def test_names_that_differ_in_forbidden_characters_or_case_alone_have_counts_of_their_own(
    backend: Backend,
) -> None:
    names = ("a-b", "a/b", "a#b", "A-B", "a?b")
    for number, name in enumerate(names):
        assert await backend.rollouts.read(name) is None
        await backend.rollouts.write(RolloutState(name, installs=number), None)

    for number, name in enumerate(names):
        stored = await backend.rollouts.read(name)
        assert stored is not None
        assert stored.state == RolloutState(name, installs=number)
        await backend.rollouts.write(RolloutState(name, installs=number + 10), stored.version, rest=stored.rest)

    expected = {RolloutState(name, installs=number + 10) for number, name in enumerate(names)}
    assert set(await backend.rollouts.read_all()) == expected


async def test_the_counts_of_a_canary_come_back(backend: Backend) -> None:
    canary = CanaryCounts("0123abcd", "/subscriptions/s/…/web01", TIME, 3, 1, TIME, stopped=True)
    state = RolloutState("p", TIME, 3, 2, TIME, "web01 failed", canary)
    version = await backend.rollouts.write(state, None)
    stored = await backend.rollouts.read("p")
    assert stored is not None
    assert (stored.state, stored.rest) == (state, {})
    await backend.rollouts.write(state.recovered(), version)
    stored = await backend.rollouts.read("p")
    assert stored is not None
    assert stored.state.canary == CanaryCounts("0123abcd")


NEWS = {"Zone": "kept 'ü'", "Flag": True}


async def test_columns_of_a_newer_version_stay_with_the_counts(backend: Backend) -> None:
    rollouts = backend.rollouts
    stopped = RolloutState("p", TIME, 3, 2, TIME, "web01 failed")
    await rollouts.write(stopped, None)
    first = await rollouts.read("p")
    assert first is not None
    assert first.rest == {}
    await backend.widen(NEWS)

    with pytest.raises(LostRace):
        await rollouts.write(stopped.recovered(), first.version, rest=first.rest)
    seen = await rollouts.read("p")
    assert seen is not None
    assert (seen.state, seen.rest) == (stopped, NEWS)
    await rollouts.write(stopped.recovered(), seen.version, rest=seen.rest)

    last = await rollouts.read("p")
    assert last is not None
    assert (last.state, last.rest) == (stopped.recovered(), NEWS)


async def test_columns_of_a_newer_version_stay_with_a_breaker(backend: Backend) -> None:
    breaker = breaker_of(new_vm().subscription)
    await backend.breakers.write(breaker, None)
    (first,) = await backend.breakers.read(breaker.subscription)
    assert first.rest == {}
    await backend.widen(NEWS)

    with pytest.raises(LostRace):
        await backend.breakers.write(breaker, first.version, rest=first.rest)
    (seen,) = await backend.breakers.read(breaker.subscription)
    assert (seen.breaker, seen.rest) == (breaker, NEWS)
    await backend.breakers.write(replace(breaker, probes=1), seen.version, rest=seen.rest)

    (last,) = await backend.breakers.read(breaker.subscription)
    assert (last.breaker.probes, last.rest) == (1, NEWS)


async def test_columns_of_a_newer_version_stay_with_the_sweeps_state(backend: Backend) -> None:
    sweeps = backend.sweeps
    full = SweepState(TIME, TIME, "sub", Mark(TIME, "key"), b"12345678" * 20_000, Pruning(TIME, "sub", "log|"))
    version = await sweeps.write(full, None)
    assert (await sweeps.read()).rest == {}
    await backend.widen(NEWS)

    with pytest.raises(LostRace):
        await sweeps.write(SweepState(), version)
    seen = await sweeps.read()
    assert (seen.state, seen.rest) == (full, NEWS)
    await sweeps.write(SweepState(), seen.version, rest=seen.rest)

    last = await sweeps.read()
    assert (last.state, last.rest) == (SweepState(), NEWS)


async def test_of_concurrent_writes_of_the_counts_exactly_one_wins(backend: Backend) -> None:
    state = RolloutState(str(uuid4()))
    version: str | None = None
    for _ in range(2):
        state = replace(state, installs=state.installs + 1)
        writes = (backend.rollouts.write(state, version) for _ in range(4))
        results = await asyncio.gather(*writes, return_exceptions=True)
        (version,) = [result for result in results if isinstance(result, str)]
        assert sum(isinstance(result, LostRace) for result in results) == 3


async def test_counts_over_an_old_version_are_lost_and_a_stop_can_be_lifted(backend: Backend) -> None:
    stopped = RolloutState("p", TIME, 3, 2, TIME, "web01 failed")
    old = await backend.rollouts.write(stopped, None)
    new = await backend.rollouts.write(stopped.recovered(), old)

    with pytest.raises(LostRace):
        await backend.rollouts.write(stopped, old)

    stored = await backend.rollouts.read("p")
    assert stored is not None
    assert (stored.state, stored.version, new != old) == (stopped.recovered(), new, True)
    assert stored.state.stopped_at is None


async def test_counts_with_a_version_need_a_row(backend: Backend) -> None:
    version = await backend.rollouts.write(RolloutState("p"), None)

    with pytest.raises(LostRace):
        await backend.rollouts.write(RolloutState("another"), version)

    assert await backend.rollouts.read("another") is None


async def test_policy_versions_are_read_back_for_any_policy_name(backend: Backend) -> None:
    store = backend.policy_states
    assert await store.read_all() == {}
    states = [
        PolicyState("linux-monitoring", "0123456789abcdef"),
        PolicyState("Linux-Monitoring", "e" * 16, None, {"a" * 16: TIME, "b" * 16: TIME + timedelta(days=1)}),
        PolicyState("50% of a/b #?", "b" * 16, TIME),
        PolicyState("50% of a-b #?", "c" * 16, TIME),
        PolicyState("Über 'alles'", "f" * 16),
        PolicyState("long" * 400, "d" * 16),
        PolicyState("long" * 401, "g" * 16),
    ]
    for state in states:
        await store.write(state, None)
    assert {name: each.state for name, each in (await store.read_all()).items()} == {s.policy: s for s in states}


async def test_a_policy_version_replaces_the_one_that_was_read(backend: Backend) -> None:
    version = None
    for state in (PolicyState("p", "a"), PolicyState("p", "b", TIME), PolicyState("p", "c", TIME + timedelta(hours=1))):
        await backend.policy_states.write(state, version)
        stored = await backend.policy_states.read_all()
        assert {name: each.state for name, each in stored.items()} == {"p": state}
        version = stored["p"].version


async def test_of_two_workers_that_see_a_policy_first_one_loses_the_race(backend: Backend) -> None:
    first, second = PolicyState("p", "a", None, {"d": TIME}), PolicyState("p", "a", None, {"d": TIME + timedelta(1)})
    await backend.policy_states.write(first, None)
    with pytest.raises(LostRace):
        await backend.policy_states.write(second, None)
    version = (await backend.policy_states.read_all())["p"].version
    await backend.policy_states.write(first, version)
    with pytest.raises(LostRace):
        await backend.policy_states.write(second, version)
    assert (await backend.policy_states.read_all())["p"].state == first


async def test_the_largest_state_of_a_sweep_is_read_back(backend: Backend) -> None:
    sweeps = backend.sweeps
    first = await sweeps.read()
    assert (first.state, first.version) == (SweepState(), None)
    unanswered = bytes(number % 251 for number in range(8 * MOST))
    state = SweepState(TIME, TIME + timedelta(hours=1), "subscription", Mark(TIME, "key|of 'ü'"), unanswered)
    state = replace(state, pruning=Pruning(TIME, "subscription", "log|group|vm|"))
    version = await sweeps.write(state, None)
    stored = await sweeps.read()
    assert (stored.state, stored.version) == (state, version)
    less = replace(state, held_until=None, unanswered=b"12345678", overdue=Mark(TIME))
    newer = await sweeps.write(less, version)
    assert newer != version
    assert (await sweeps.read()).state == less
    for old in (version, None):
        with pytest.raises(LostRace):
            await sweeps.write(state, old)
    assert (await sweeps.read()).version == newer


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice, for a body over 1 MiB
async def test_a_state_that_no_row_can_hold_is_refused_and_the_one_before_stays(backend: Backend) -> None:
    version = await backend.sweeps.write(SweepState(resume_at="here"), None)

    with pytest.raises(StorageError):
        await backend.sweeps.write(SweepState(unanswered=bytes(2**21)), version)

    stored = await backend.sweeps.read()
    assert (stored.state, stored.version) == (SweepState(resume_at="here"), version)


async def test_a_state_with_a_version_needs_a_row(backend: Backend) -> None:
    counted = await backend.rollouts.write(RolloutState("p"), None)  # any version, and the table

    with pytest.raises(LostRace):
        await backend.sweeps.write(SweepState(), counted)


async def test_of_concurrent_sweeps_one_holds_the_state(backend: Backend) -> None:
    version = None
    for number in range(2):
        state = SweepState(held_until=TIME + timedelta(hours=number))
        results = await asyncio.gather(
            *(backend.sweeps.write(state, version) for _ in range(4)), return_exceptions=True
        )
        (version,) = [result for result in results if isinstance(result, str)]
        assert sum(isinstance(result, LostRace) for result in results) == 3
