"""When to look again, and when to give up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.reconcile.row import WaitingFor
from onboarding.domain.reconcile.wait_schedule import DEFAULTS, Duration, Schedule, ScheduleEntry, Waits, waits_of
from onboarding.domain.typed_file import read_as


def parse_duration(text: object, place: str) -> float:
    return read_as(text, Duration, place)


def parse_waits(raw: object, place: str) -> Waits:
    return waits_of(read_as(raw, dict[WaitingFor, ScheduleEntry], place))


GROWING = Schedule((60, 120, 300), 1000)


def test_every_kind_of_waiting_has_a_schedule_that_ends() -> None:
    for kind in WaitingFor:
        assert 0 < Waits()[kind].intervals[0] <= Waits()[kind].give_up_after < float("inf")


@pytest.mark.parametrize(
    ("elapsed", "interval"),
    [
        (-5, 60),
        (0, 60),
        (29, 60),
        (31, 120),  # a check that comes early counts as on time
        (60, 120),
        (61, 120),
        (170, 300),
        (180, 300),
        (480, 300),
        (999, 300),
        (1000, None),
        (5000, None),
    ],
)
def test_the_interval_follows_from_the_time_that_has_passed(elapsed: float, interval: float | None) -> None:
    found = GROWING.next_interval(timedelta(seconds=elapsed))
    assert (found.total_seconds() if found else None) == interval


@given(st.sampled_from(WaitingFor), st.floats(min_value=0, max_value=120))
def test_checks_that_come_late_still_end_and_stay_ordered(kind: WaitingFor, late: float) -> None:
    schedule, elapsed, intervals = DEFAULTS[kind], timedelta(), list[timedelta]()
    # A year of hourly looks is the longest schedule.
    while (interval := schedule.next_interval(elapsed)) is not None and len(intervals) < 10_000:
        intervals.append(interval)
        elapsed += interval + timedelta(seconds=late)
    assert intervals == sorted(intervals)
    assert elapsed.total_seconds() >= schedule.give_up_after


@pytest.mark.parametrize(("attempt", "interval"), [(1, 60), (2, 120), (3, 300), (4, None), (9, None)])
def test_tries_are_used_up(attempt: int, interval: float | None) -> None:
    found = GROWING.interval_after(attempt)
    assert (found.total_seconds() if found else None) == interval


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("90s", 90), ("5m", 300), (" 1.5 h ", 5400), ("2d", 172800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text, "p") == seconds


@pytest.mark.parametrize(
    "text", ["", "5", 5, None, "soon", "-5m", "0s", "0.0001ms", "5 weeks", "1h30m", "9999999999d", True, ["5m"]]
)
def test_what_is_no_duration_names_its_place(text: object) -> None:
    with pytest.raises(
        ConfigurationError, match=r" is not a duration \(p\.yaml: waits\); use a number and s, m, h or d"
    ):
        parse_duration(text, "p.yaml: waits")


def test_a_policy_changes_what_it_names_alone() -> None:
    waits = parse_waits({"agent-ready": {"every": ["1m", "1h"], "giveUpAfter": "2d"}, "install": {}}, "p")
    assert waits[WaitingFor.AGENT_READY] == Schedule((60, 3600), 172800)
    assert all(waits[kind] == DEFAULTS[kind] for kind in WaitingFor if kind is not WaitingFor.AGENT_READY)


@pytest.mark.parametrize("raw", [{"agent-ready": {"giveUpAfter": "1d"}}, {"agent-ready": {"every": []}}])
def test_half_a_schedule_keeps_the_other_half(raw: object) -> None:
    assert parse_waits(raw, "p")[WaitingFor.AGENT_READY].intervals == DEFAULTS[WaitingFor.AGENT_READY].intervals


def test_no_waits_are_the_defaults() -> None:
    assert waits_of({}) == Waits()


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (["agent-ready"], "a list is not a mapping (p.yaml: waits); write"),
        ({"agent": {}}, "unknown key 'agent' (p.yaml: waits.agent); known keys: install-request"),
        ({5: {}}, "unknown key 5 (p.yaml: waits.5); known keys:"),
        ({"install": "5m"}, "'5m' is not a schedule (p.yaml: waits.install); write"),
        (
            {"install": {"evry": ["5m"]}},
            "unknown key 'evry' in a schedule (p.yaml: waits.install.evry); known keys: every",
        ),
        ({"install": {"every": "5m"}}, "'5m' is not a list (p.yaml: waits.install.every); write"),
        ({"install": {"every": ["5m", "often"]}}, "'often' is not a duration (p.yaml: waits.install.every[1]); use"),
        ({"install": {"giveUpAfter": "never"}}, "'never' is not a duration (p.yaml: waits.install.giveUpAfter); use"),
    ],
)
def test_bad_waits_name_their_place(raw: object, says: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_waits(raw, "p.yaml: waits")
    assert str(raised.value).startswith(says)
