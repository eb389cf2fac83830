"""Change windows: what opens and closes them, against a clock that is read for every minute of a year, and what of a
tag can be read."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onboarding.domain.errors import ConfigurationError
from onboarding.domain.policy.change_window import ChangeWindows, Day, read_tag
from onboarding.domain.policy.rule import compile_rule
from tests.reference import parse_policy

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
BEGIN, MINUTES = datetime(2026, 1, 1, tzinfo=UTC), 365 * 24 * 60
# Daylight saving in both halves of the world, by half an hour (Lord Howe), at midnight (Beirut), and none.
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "Asia/Kolkata", "UTC")
LINES = (
    "sat,sun 02:00-06:00",
    "daily 02:15-02:45",  # in the hour that most zones skip and repeat
    "sun 02:30-03:10",
    "daily 00:00-00:20",
    "fri 22:00-02:30",  # over midnight
    "sun 01:00-02:40; mon 23:59-00:01",
    "daily 00:00-24:00",
)


def open_minutes(line: str) -> bytearray:
    """For each minute of a week, from Monday on, whether a person would say that the window is open; written without
    the product's arithmetic."""
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    found = bytearray(7 * 24 * 60)
    for minute in range(len(found)):
        today, yesterday = names[minute // 1440], names[minute // 1440 - 1]
        clock = f"{minute % 1440 // 60:02}:{minute % 60:02}"
        for part in line.split(";"):
            days, times = part.split()
            begin, end = times.split("-")
            listed = names if days == "daily" else days.split(",")
            if begin < end:
                found[minute] |= today in listed and begin <= clock < end
            else:
                found[minute] |= (today in listed and clock >= begin) or (yesterday in listed and clock < end)
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_a_window_is_as_the_clock_on_the_wall_says_in_every_minute_of_a_year(zone: str) -> None:
    clock = ZoneInfo(zone)
    moments = [BEGIN + number * MINUTE for number in range(MINUTES)]
    walls = [moment.astimezone(clock) for moment in moments]
    of_week = [wall.weekday() * 1440 + wall.hour * 60 + wall.minute for wall in walls]
    shifts = [n for n in range(1440, MINUTES, 1440) if walls[n].utcoffset() != walls[n - 1440].utcoffset()]
    assert len(shifts) == (0 if zone in ("Asia/Kolkata", "UTC") else 2)
    near = [n for shift in shifts for n in range(shift - 1500, shift + 60)]
    for number, line in enumerate(LINES):
        windows = read_tag("; ".join(f"{part.strip()} {zone}" for part in line.split(";")))
        is_open = [bool(minute) for minute in map(open_minutes(line).__getitem__, of_week)]
        step = 1 if number == ZONES.index(zone) else 29  # every minute of one window in each zone
        for n in (*range(0, MINUTES, step), *near):
            assert windows.is_open(moments[n]) is is_open[n], (line, moments[n])
        openings = [MINUTES] * (MINUTES + 1)
        for n in reversed(range(MINUTES)):
            openings[n] = n if is_open[n] else openings[n + 1]
        for n in (*range(0, MINUTES - 15 * 1440, 2003), *near[::11]):
            assert windows.next_opening(moments[n]) == moments[openings[n]], (line, moments[n])


def test_a_skipped_hour_opens_nothing_and_a_repeated_one_twice() -> None:
    windows = read_tag("sun 02:15-02:45 Europe/Berlin")
    spring = datetime(2026, 3, 29, tzinfo=UTC)  # 02:00 becomes 03:00
    assert windows.next_opening(spring) == datetime(2026, 4, 5, 0, 15, tzinfo=UTC)
    autumn = datetime(2026, 10, 25, tzinfo=UTC)  # 03:00 becomes 02:00
    first, second = datetime(2026, 10, 25, 0, 15, tzinfo=UTC), datetime(2026, 10, 25, 1, 15, tzinfo=UTC)
    assert windows.next_opening(autumn) == first
    assert windows.next_opening(first + 30 * MINUTE) == second
    assert windows.next_opening(second + 30 * MINUTE) == datetime(2026, 11, 1, 1, 15, tzinfo=UTC)


def test_a_window_whose_beginning_is_skipped_opens_where_the_clock_goes_on() -> None:
    windows = read_tag("sun 02:30-04:00 Europe/Berlin")
    assert windows.next_opening(datetime(2026, 3, 29, tzinfo=UTC)) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


times = st.integers(0, 24 * 60 - 1).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
days = st.lists(st.sampled_from(Day), min_size=1, unique=True).map(lambda found: ",".join(sorted(found)))
lines = st.tuples(days, times, times, st.sampled_from(ZONES)).filter(lambda parts: parts[1] != parts[2])


@given(lines, st.integers(0, 2 * MINUTES))
def test_any_window_opens_at_its_first_minute_and_comes_back_as_it_is_written(
    parts: tuple[str, str, str, str], minute: int
) -> None:
    weekdays, begin, end, zone = parts
    windows, now = read_tag(f"{weekdays} {begin}-{end} {zone}"), BEGIN + minute * MINUTE
    assert read_tag(str(windows)) == windows
    opening = windows.next_opening(now)
    assert windows.is_open(opening)
    assert now <= opening < now + 15 * DAY
    assert opening == now or not windows.is_open(opening - MINUTE)


@given(lines, st.integers(0, MINUTES), st.text(min_size=1, max_size=30))
def test_each_machine_has_its_own_turn_in_the_window_that_stays_until_it_opens(
    parts: tuple[str, str, str, str], minute: int, key: str
) -> None:
    windows, now = read_tag("{} {}-{} {}".format(*parts)), BEGIN + minute * MINUTE
    opening = windows.next_opening(now)
    turn = windows.turn_of(key, now)
    assert windows.is_open(turn)
    assert timedelta() <= turn - opening < 30 * MINUTE
    assert opening == now or windows.turn_of(key, now + (opening - now) / 2) == turn


def test_the_turns_of_a_fleet_are_spread_over_the_first_quarter_of_the_window() -> None:
    windows, now = read_tag("sun 02:00-03:00"), datetime(2026, 11, 20, tzinfo=UTC)
    opening = windows.next_opening(now)
    seconds = [(windows.turn_of(f"vm{number}", now) - opening).total_seconds() for number in range(900)]
    assert max(seconds) < 15 * 60
    assert max(sum(minute * 60 <= each < minute * 60 + 60 for each in seconds) for minute in range(15)) < 120


@pytest.mark.parametrize(
    ("text", "is_read_as"),
    [
        ("sat,sun 02:00-06:00 Europe/Berlin", "sat,sun 02:00-06:00 Europe/Berlin"),
        (" Sun , SAT 02:00 - 06:00  Europe/Berlin ", "sat,sun 02:00-06:00 Europe/Berlin"),
        ("22:00-24:00", "daily 22:00-24:00 UTC"),
        ("fri-mon,wed 01:00-02:00", "mon,wed,fri,sat,sun 01:00-02:00 UTC"),
        ("daily 22:00-02:00; sat 00:00-24:00", "daily 22:00-02:00 UTC; sat 00:00-24:00 UTC"),
        ('{"days":["sat"],"from":"02:00","to":"06:00","zone":"Europe/Berlin"}', "sat 02:00-06:00 Europe/Berlin"),
        (
            '[{"from":"02:00","to":"06:00"},{"from":"12:00","to":"13:00"}]',
            "daily 02:00-06:00 UTC; daily 12:00-13:00 UTC",
        ),
    ],
)
def test_a_tag_is_read(text: str, is_read_as: str) -> None:
    assert str(read_tag(text)) == is_read_as


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is not days, two times and a time zone"),
        ("at night", "'at night' is not days, two times and a time zone"),
        ("sat 2:00-6:00", "'sat 2:00-6:00' is not days, two times"),
        ("xyz 01:00-02:00", "'xyz' is not a day; write mon, tue,"),
        ("01:00-25:00", "'25:00' is not a time of day; write hours and minutes"),
        ("01:00-24:01", "'24:01' is not a time of day"),
        ("02:00-02:00", "the window from 02:00 to 02:00 has no beginning or no end"),
        ("24:00-02:00", "the window from 24:00 to 02:00 has no beginning or no end"),
        ("01:00-02:00 Europe", "'Europe' is not a time zone; write UTC or a name such as Europe/Berlin"),
        ("01:00-02:00 Mars/Base", "'Mars/Base' is not a time zone"),
        ("01:00-02:00 ../../etc/passwd", "'../../etc/passwd' is not a time zone"),
        ("{", "it is not valid JSON"),
        ("[]", "an empty list is not a change window"),
        ('{"from":"02:00"}', "missing key 'to' in a change window"),
        ('{"from":"02:00","to":"03:00","when":1}', "unknown key 'when' in a change window"),
        ('{"from":120,"to":"03:00"}', '120 is not a time of day; write hours and minutes in quotes, such as "02:00"'),
        ("x" * 257, "it has more than 256 characters"),
        ("sat\n02:00-03:00", "some that cannot be printed"),
        ("password=hunter2secret", "'password=***' is not days"),
    ],
)
def test_what_is_not_a_window_is_named_with_the_right_form(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_tag(text)
    assert says in str(caught.value)
    assert str(caught.value).endswith("a window is written as in sat,sun 02:00-06:00 Europe/Berlin")
    assert "hunter2secret" not in str(caught.value)
    assert len(str(caught.value)) < 700


@given(st.text(max_size=300) | st.from_regex(r"[a-z,-]{0,12} ?\d\d:\d\d-\d\d:\d\d ?[A-Za-z/]{0,20}", fullmatch=True))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        windows = read_tag(text)
    except ConfigurationError:
        return
    assert len(windows) > 0


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"from": "02:00", "to": "06:00", "zone": "Europe/Berln"}, "p.yaml: changeWindow.zone"),
        ({"from": 1320, "to": "06:00"}, "(p.yaml: changeWindow.from); write hours and minutes in quotes"),
        ({"days": ["saturday"], "from": "02:00", "to": "06:00"}, "(p.yaml: changeWindow.days[0]); known days: mon,"),
        ({"days": [], "from": "02:00", "to": "06:00"}, "p.yaml: changeWindow.days"),
        ({"from": "02:00", "to": "02:00"}, "(p.yaml: changeWindow); write two times"),
        ([], "p.yaml: changeWindow"),
        ("sat 02:00-06:00", "is not a change window or a list of them (p.yaml: changeWindow); write {from:"),
        ([{"from": "02:00"}], "missing key 'to' in a change window (p.yaml: changeWindow[0]"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_policy_file_is_named_with_its_place(raw: Any, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_policy({"name": "p", "extension": "oms-agent-linux", "changeWindow": raw}, "p.yaml", compile_rule)
    assert says in str(caught.value)


def test_a_policy_has_one_window_or_several() -> None:
    night = {"days": ["sat", "sun"], "from": "02:00", "to": "06:00", "zone": "Europe/Berlin"}

    def windows(raw: Any) -> ChangeWindows:
        file = {"name": "p", "extension": "oms-agent-linux", "changeWindow": raw}
        return parse_policy(file, "p.yaml", compile_rule).change_windows

    assert windows(night) == read_tag("sat,sun 02:00-06:00 Europe/Berlin")
    noon = {"from": "12:00", "to": "13:00"}
    assert windows([night, noon]) == read_tag("sat,sun 02:00-06:00 Europe/Berlin; 12:00-13:00")
    assert windows(None) == ()


def test_without_the_tables_of_time_zones_the_error_says_what_to_install() -> None:
    """Windows and slim containers have none, and Python reads them from the package tzdata."""
    code = (
        "import sys, zoneinfo; sys.modules['tzdata'] = None; zoneinfo.reset_tzpath([])\n"
        "from onboarding.domain.policy.change_window import read_tag\n"
        "print(read_tag('02:00-03:00 UTC'))\n"
        "try:\n    read_tag('02:00-03:00 Europe/Berlin')\n"
        "except Exception as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "daily 02:00-03:00 UTC"
    assert "the time zone 'Europe/Berlin' cannot be read: this Python has no time zones" in second
    assert "install the package tzdata, or write UTC" in second
