"""Timers of a running host, and the schedules they follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.host.ncrontab import BadSchedule, Cron, parse_schedule
from tests.host.conftest import Client, eventually

START = datetime(2026, 11, 22, 10, 30, 15, tzinfo=UTC)  # a Sunday


async def test_a_timer_runs_at_start_and_then_by_its_schedule(client: Client) -> None:
    async def three() -> bool:
        return len([run for run in await client.seen("tick") if run["status"]]) >= 3

    await eventually(three)
    first, *others = [run for run in await client.seen("tick") if run["status"]]  # without those started by hand
    assert first["past_due"] is False
    assert set(first["status"]) == {"Last", "Next", "LastUpdated"}
    assert all(0 <= run["at"] % 1 < 0.5 for run in others)


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("* * * * * *", "2026-11-22T10:30:16"),
        ("*/20 * * * * *", "2026-11-22T10:30:20"),
        ("0 */5 * * * *", "2026-11-22T10:35:00"),
        ("15 30 10 * * *", "2026-11-23T10:30:15"),
        ("0 0 3 * * mon-fri", "2026-11-23T03:00:00"),
        ("0 0 3 * * Monday", "2026-11-23T03:00:00"),
        ("0 0 0 * * 7", "2026-11-29T00:00:00"),
        ("0 0 0 1 1,jul *", "2027-01-01T00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 0 13 * 5", "2027-08-13T00:00:00"),
        ("30-40/5 * * * * *", "2026-11-22T10:30:30"),
        ("10/20 * * * * *", "2026-11-22T10:30:30"),
        ("30 10 * * *", "2026-11-23T10:30:00"),
        ("00:00:30", "2026-11-22T10:30:45"),
        ("1.00:00:00", "2026-11-23T10:30:15"),
    ],
)
def test_the_next_time(text: str, following: str) -> None:
    assert parse_schedule(text).after(START) == datetime.fromisoformat(following).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("", "often", "* * *", "* * * * * * *", "60 * * * * *", "* * * * 13 *", "0 0 0 0 * *", "0 0 0 * * 8"),
        *("*/0 * * * * *", "5-1 * * * * *", "1,,2 * * * * *", "-1 * * * * *", "0 0 0 30 2 *", "0 0 0 * smarch *"),
        *("00:00:00", "*/x * * * * *", "? * * * * *"),
    ],
)
def test_a_malformed_schedule_is_named(text: str) -> None:
    with pytest.raises(BadSchedule, match="schedule expression"):
        parse_schedule(text)


@given(
    st.sampled_from(["* * * * * *", "7/13 */9 5,17 * * *", "0 59 23 31 12 *", "1 2 3 * 2 1-5", "59 59 23 * * 0"]),
    st.timedeltas(timedelta(0), timedelta(days=3650)).map(lambda span: START + span),
)
def test_the_next_time_is_the_first_that_matches(text: str, moment: datetime) -> None:
    schedule = parse_schedule(text)
    assert isinstance(schedule, Cron)
    following = schedule.after(moment)
    assert following > moment
    assert matches(schedule, following)
    second = moment.replace(microsecond=0) + timedelta(seconds=1)
    until = min(following, second + timedelta(minutes=5))
    while second < until:
        assert not matches(schedule, second)
        second += timedelta(seconds=1)


@given(st.text(max_size=30))
def test_parsing_raises_nothing_else(text: str) -> None:
    try:
        parse_schedule(text)
    except BadSchedule:
        return


def matches(schedule: Cron, moment: datetime) -> bool:
    return (
        moment.second in schedule.seconds
        and moment.minute in schedule.minutes
        and moment.hour in schedule.hours
        and moment.day in schedule.days
        and moment.month in schedule.months
        and moment.isoweekday() % 7 in schedule.weekdays
    )
