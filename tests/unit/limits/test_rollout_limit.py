"""A policy's rollout limit as data: reading it, and what is stored of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.limits.rollout_limit import RolloutLimit, RolloutState, spread
from onboarding.domain.resource_id import VmId
from onboarding.domain.typed_file import read_as

NOW = datetime(2026, 11, 20, 10, 59, tzinfo=UTC)


def test_a_rollout_limit_is_read() -> None:
    assert read_as({"maxInstallsPerHour": 100}, RolloutLimit, "p.yaml: brake") == RolloutLimit(100, None)
    both = {"stopAfterFailures": 5, "maxInstallsPerHour": 1}
    assert read_as(both, RolloutLimit, "p.yaml: brake") == RolloutLimit(1, 5)


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
    ],
)
def test_what_is_not_a_rollout_limit_is_named(raw: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_as(raw, RolloutLimit, "p.yaml: brake")
    assert says in str(caught.value)


def test_an_hour_is_an_hour_of_the_clock() -> None:
    rollout_limit, state = RolloutLimit(1, None), RolloutState("p").installed(NOW)
    held = state.blocked(rollout_limit, NOW)
    assert held is not None
    assert held.until == NOW + timedelta(minutes=1)
    assert state.blocked(rollout_limit, NOW + timedelta(minutes=1)) is None
    assert state.installed(NOW + timedelta(minutes=1)).installs == 1


@given(st.text(max_size=20))
def test_those_that_wait_come_spread_over_the_next_hour(name: str) -> None:
    moment = spread(NOW, VmId("s", "g", name))
    assert NOW <= moment < NOW + timedelta(hours=1)
    assert moment == spread(NOW, VmId("S", "G", name))


@pytest.mark.parametrize("stopped_at", [None, NOW])
def test_what_is_stored_comes_back(stopped_at: datetime | None) -> None:
    state = RolloutState("p", NOW, 3, 2, stopped_at, "web01: the handler failed")
    assert RolloutState.from_properties(state.to_properties()) == state
