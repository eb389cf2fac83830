"""Timer schedules: six-field NCRONTAB, five fields (seconds 0), or a time span between runs.

Fields are `second minute hour day month weekday`, each `*`, a value, a range, a step, or a list; months and
weekdays have names, Sunday is 0 or 7. Unlike in Unix cron, day and weekday must both agree. Times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from simulator.host.configuration import timespan

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HORIZON_DAYS = 366 * 8  # a leap day can be eight years away


class BadSchedule(ValueError):
    """A schedule that the host does not recognize."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("weekday", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """Sorted allowed values of each field; weekdays count from Sunday 0."""

    text: str
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    def after(self, moment: datetime) -> datetime:
        """The first time that is strictly later."""
        start = moment.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        midnight = start.replace(hour=0, minute=0, second=0)
        for offset in range(_HORIZON_DAYS):
            day = midnight + timedelta(days=offset)
            if self._runs_on(day):
                found = next(self._times(day, start), None)
                if found is not None:
                    return found
        raise BadSchedule(f"The schedule expression '{self.text}' names no day that exists")

    def _runs_on(self, day: datetime) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _times(self, day: datetime, start: datetime) -> Iterator[datetime]:
        """The times of a day that are not before `start`; whole hours and minutes before it are skipped."""
        for hour in self.hours:
            if day.replace(hour=hour, minute=59, second=59) < start:
                continue
            for minute in self.minutes:
                if day.replace(hour=hour, minute=minute, second=59) < start:
                    continue
                times = (day.replace(hour=hour, minute=minute, second=second) for second in self.seconds)
                yield from (time for time in times if time >= start)


@dataclass(frozen=True, slots=True)
class Interval:
    """A time span between runs."""

    text: str
    span: timedelta

    def after(self, moment: datetime) -> datetime:
        return moment + self.span


type Schedule = Cron | Interval


def parse_schedule(text: str) -> Schedule:
    """Read a schedule; BadSchedule says which field is wrong."""
    seconds = timespan(text)
    if seconds:
        return Interval(text, timedelta(seconds=seconds))
    parts = text.split()
    if len(parts) == 5:
        parts = ["0", *parts]
    if len(parts) != len(_FIELDS):
        raise BadSchedule(f"The schedule expression '{text}' was not recognized: it has {len(parts)} fields, not six")
    second, minute, hour, day, month, weekday = (
        _values(part, cron_field, text) for part, cron_field in zip(parts, _FIELDS, strict=True)
    )
    schedule = Cron(text, second, minute, hour, day, month, tuple(sorted({value % 7 for value in weekday})))
    schedule.after(datetime(2024, 1, 1, tzinfo=UTC))  # a schedule that never runs is refused here, not at its first run
    return schedule


def _values(part: str, cron_field: _Field, text: str) -> tuple[int, ...]:
    values = {value for item in part.split(",") for value in _item(item, cron_field, text)}
    return tuple(sorted(values))


def _item(item: str, cron_field: _Field, text: str) -> range:
    span, slash, step_text = item.partition("/")
    first, dash, last = span.partition("-")
    top = 6 if cron_field.name == "weekday" else cron_field.most
    if span == "*":
        low, high = cron_field.least, top
    else:
        low = _number(first, cron_field, text)
        high = _number(last, cron_field, text) if dash else top if slash else low
    step = int(step_text) if step_text.isdecimal() else 0 if slash else 1
    if step < 1 or high < low:
        raise BadSchedule(f"The schedule expression '{text}' was not recognized: '{item}' is no {cron_field.name}")
    return range(low, high + 1, step)


def _number(word: str, cron_field: _Field, text: str) -> int:
    if word.isdecimal() and cron_field.least <= int(word) <= cron_field.most:
        return int(word)
    if word.lower()[:3] in cron_field.names:
        return cron_field.names.index(word.lower()[:3]) + (1 if cron_field.name == "month" else 0)
    raise BadSchedule(f"The schedule expression '{text}' was not recognized: '{word}' is no {cron_field.name}")
