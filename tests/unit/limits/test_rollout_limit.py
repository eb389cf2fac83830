"""A policy's rollout limit as data: reading it, and what is stored of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.limits.canary import Canary, CanaryCounts
from onboarding.domain.limits.rollout_limit import ROLLOUT_COLUMNS, RolloutLimit, RolloutState, spread
from onboarding.domain.reconcile.wait_schedule import Duration
from onboarding.domain.resource_id import VmId
from onboarding.domain.typed_file import read_as

NOW = datetime(2026, 11, 20, 10, 59, tzinfo=UTC)


def test_a_rollout_limit_is_read() -> None:
    assert read_as({"maxInstallsPerHour": 100}, RolloutLimit, "p.yaml: brake") == RolloutLimit(100, None)
    both = {"stopAfterFailures": 5, "maxInstallsPerHour": 1}
    assert read_as(both, RolloutLimit, "p.yaml: brake") == RolloutLimit(1, 5)
    canary = {"canary": {"percent": 5, "for": "24h"}}
    assert read_as(canary, RolloutLimit, "p.yaml: brake") == RolloutLimit(canary=Canary(5, Duration(24 * 3600)))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ([], "an empty list is not a rollout limit (p.yaml: brake); write a mapping with the keys maxInstalls"),
        ({}, "the rollout limit is empty (p.yaml: brake); write {maxInstallsPerHour"),
        (
            {"maxFailures": 3},
            "unknown key 'maxFailures' in a rollout limit (p.yaml: brake.maxFailures); known keys: maxInstalls",
        ),
        ({"stopAfterFailures": 0}, "0 is not a whole number above 0 (p.yaml: brake.stopAfterFailures); write"),
        ({"stopAfterFailures": True}, "true is not a whole number above 0 (p.yaml: brake.stopAfterFailures); write"),
        (
            {"maxInstallsPerHour": "100"},
            "'100' is not a whole number above 0 (p.yaml: brake.maxInstallsPerHour); write",
        ),
        ({"canary": {"percent": 5}}, "missing key 'for' in a canary (p.yaml: brake.canary.for); add"),
        (
            {"canary": {"percent": 0, "for": "1h"}},
            "0 is not a whole number from 1 to 99 (p.yaml: brake.canary.percent); write",
        ),
        ({"canary": {"percent": 5, "for": "15d"}}, "a canary lasts at most 14 days (p.yaml: brake.canary.for); write"),
        (
            {"canary": {"percent": 5, "for": "1h", "failures": -1}},
            "-1 is not a whole number (p.yaml: brake.canary.failures); write",
        ),
    ],
)
def test_what_is_not_a_rollout_limit_is_named(raw: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_as(raw, RolloutLimit, "p.yaml: brake")
    assert says in str(caught.value)


def test_an_hour_is_an_hour_of_the_clock() -> None:
    rollout_limit, vm = RolloutLimit(1, None), VmId("s", "g", "web01")
    state = RolloutState("p").installed(rollout_limit, vm, NOW)
    held = state.blocked(rollout_limit, vm, NOW)
    assert held is not None
    assert held.until == NOW + timedelta(minutes=1)
    assert state.blocked(rollout_limit, vm, NOW + timedelta(minutes=1)) is None
    assert state.installed(rollout_limit, vm, NOW + timedelta(minutes=1)).installs == 1


@given(st.text(max_size=20))
def test_those_that_wait_come_spread_over_the_next_hour(name: str) -> None:
    moment = spread(NOW, VmId("s", "g", name))
    assert NOW <= moment < NOW + timedelta(hours=1)
    assert moment == spread(NOW, VmId("S", "G", name))


@pytest.mark.parametrize("stopped_at", [None, NOW])
@pytest.mark.parametrize("canary", [CanaryCounts(), CanaryCounts("hash", "key", NOW, 3, 1, NOW, stopped=True)])
def test_what_is_stored_comes_back(stopped_at: datetime | None, canary: CanaryCounts) -> None:
    state = RolloutState("p", NOW, 3, 2, stopped_at, "web01: the handler failed", canary)
    columns = state.to_properties()
    assert RolloutState.from_properties(columns) == state
    assert set(columns) <= ROLLOUT_COLUMNS


def test_a_row_of_the_version_before_has_no_canary() -> None:
    columns = {"Policy": "p", "Hour": NOW, "Installs": 3, "Failures": 2, "Because": "x"}
    assert RolloutState.from_properties(columns) == RolloutState("p", NOW, 3, 2, None, "x")


@pytest.mark.parametrize("percent", [1, 5, 50, 99])
def test_the_canary_is_that_part_of_a_fleet_and_the_same_each_time(percent: int) -> None:
    canary = Canary(percent, Duration(3600))
    names = [f"vm{number}" for number in range(4000)]
    chosen = [name for name in names if canary.has(VmId("s", "g", name))]
    assert percent * 0.8 - 0.3 < len(chosen) / 40 < percent * 1.2 + 0.3
    assert chosen == [name for name in names if canary.has(VmId("S", "G", name.upper()))]


def test_a_larger_canary_has_all_machines_of_a_smaller_one() -> None:
    small, large = Canary(5, Duration(1)), Canary(20, Duration(1))
    vms = [VmId("s", "g", f"vm{number}") for number in range(1000)]
    assert all(large.has(vm) for vm in vms if small.has(vm))
